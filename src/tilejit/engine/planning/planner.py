"""From lazy Rasters to a plan: what each kernel needs of its inputs, how large a task is, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.kinds import compute_dtype
from tilejit.engine.planning.graph import Application, Band, ResultBand, SourceBand, applications_of
from tilejit.engine.planning.heights import with_heights
from tilejit.engine.planning.plan import Halo, Operand, Plan, Plane, Read, Step, Write
from tilejit.engine.planning.result_nodata import ResultNodata
from tilejit.engine.planning.tiling import fitting_plan
from tilejit.errors import PlanError
from tilejit.formats.output_file import can_be_written
from tilejit.formats.scaled_source import scales_of
from tilejit.formats.sink import Storage
from tilejit.formats.source import decoding_of
from tilejit.kernel.nodata import holds_nodata, plain_nodata
from tilejit.kernel.operations import is_open_ended
from tilejit.kernel.quantities import scalar_values
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.formats.source import Source
    from tilejit.grid import Grid
    from tilejit.kernel.kernel import Edge, Kernel

NO_HALO: Halo = (0, 0)


def no_storage(dtype: np.dtype) -> Storage:
    """The storage of an array, which has no blocks."""
    del dtype
    return Storage()


@dataclass(frozen=True)
class Request:
    """One output that is asked for."""

    bands: tuple[Band, ...]
    """Its bands."""
    path: str = ""
    """The file; empty for an array."""
    nodata: float | None = None
    """The nodata value asked for."""
    storage: Callable[[np.dtype], Storage] = no_storage
    """How a dtype is stored there."""
    handed_over: bool = False
    """Whether its tiles go to a receiver one by one."""
    notes: tuple[str, ...] = ()
    """What of the inputs' georeferencing it keeps elsewhere, or does not keep."""
    is_tagged: bool = True
    """Whether it says which value is nodata, where it has one."""
    dtype: np.dtype | None = None
    """The dtype asked for; None for that of its bands."""

    @cached_property
    def is_masked(self) -> bool:
        """Whether every band of it is a file's that has a mask."""
        return all(isinstance(b, SourceBand) and b.info.has_mask for b in self.bands)


@dataclass(frozen=True)
class Settings:
    """How a job is to run."""

    backend: str
    """The backend's name."""
    reason: str
    """Why it is this one."""
    workers: int
    """Threads."""
    memory: int | None = None
    """Bytes that may be taken, or None for what the machine has."""
    tile: tuple[int, int] | None = None
    """Rows and columns of a task, or None to choose."""
    executor: str = "threads"
    """What runs the tasks."""
    processes: int = 1
    """Worker processes on this machine, each with so many threads."""


@dataclass(frozen=True)
class Job:
    """A plan, and the live objects that its names stand for."""

    plan: Plan
    """The plan."""
    sources: tuple[Source, ...]
    """One for each of the plan's reads."""
    kernels: tuple[Kernel, ...]
    """One for each of its steps."""
    parameters: tuple[Mapping[str, Any], ...]
    """The bound parameters of each step."""


@dataclass
class _ReadNode:
    """Cells of one source that are wanted in one form."""

    source: Source
    dtype: np.dtype
    valid: bool
    edge: Edge
    bands: dict[int, None] = field(default_factory=dict)
    """In order of first use, each once."""
    halo: Halo = NO_HALO


@dataclass
class _StepNode:
    """An application whose results are wanted with one edge."""

    application: Application
    edge: Edge
    halo: Halo = NO_HALO


class _Builder:
    """Collects what is demanded of each band, consumers first, then numbers the planes, producers first."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.reads: dict[tuple[Any, ...], _ReadNode] = {}
        self.steps: dict[tuple[Any, ...], _StepNode] = {}
        # What is still to be converted is NaN until then: a nodata value of the one type may be a result in the other.
        self.nodata = ResultNodata.of(
            (band, request.nodata if request.dtype is None else None) for request in requests for band in request.bands
        )
        for request in requests:
            for band in request.bands:
                if isinstance(band, SourceBand):
                    dtype, valid = copy_form(request, band)
                    self._demand_read(band, dtype, valid=valid, edge="nodata", halo=NO_HALO)
                else:
                    self._demand_step(band.application, "nodata", NO_HALO)
        for application in reversed(_applications(requests)):
            self._demand_inputs(application)

    def _demand_read(self, band: SourceBand, dtype: np.dtype, *, valid: bool, edge: Edge, halo: Halo) -> None:
        node = self.reads.setdefault(
            _read_key(band, dtype, valid, edge, halo), _ReadNode(band.source, dtype, valid, edge)
        )
        node.bands[band.info.index] = None
        node.halo = _larger(node.halo, halo)

    def _demand_step(self, application: Application, edge: Edge, halo: Halo) -> None:
        node = self.steps.setdefault(_step_key(application, edge, halo), _StepNode(application, edge))
        node.halo = _larger(node.halo, halo)

    def _demand_inputs(self, application: Application) -> None:
        for node in [n for n in self.steps.values() if n.application is application]:
            kernel = application.kernel
            halo = _sum(node.halo, kernel.radius)
            for k, band in enumerate(_taken(application)):
                if isinstance(band, SourceBand):
                    dtype, valid = read_form(kernel, k, band, halo)
                    self._demand_read(band, dtype, valid=valid, edge=kernel.edge, halo=halo)
                    continue
                if kernel.edge == "wrap" and halo != NO_HALO:
                    raise PlanError(
                        f"{kernel.name} wraps around the raster's edge, and its input {band.label} is computed: "
                        f"save {band.label} to a file first, then open that"
                    )
                self._demand_step(band.application, kernel.edge, halo)


def _taken(application: Application) -> list[Band]:
    """An application's inputs, as its kernel takes them."""
    rasters = application.kernel.rasters
    pairs = zip(application.inputs, rasters, strict=True)
    return [band.for_kernel(raster.dtype) if isinstance(band, SourceBand) else band for band, raster in pairs]


def _plane_of(
    planes: Mapping[tuple[Any, ...], int], band: Band, form: tuple[np.dtype, bool] | None, edge: Edge, halo: Halo
) -> int:
    """The number of the plane that holds a band for one consumer; ``form`` is how that reads a band of a file."""
    if isinstance(band, SourceBand):
        dtype, valid = form or (band.info.dtype, False)
        return planes[(*_read_key(band, dtype, valid, edge, halo), band.info.index)]
    return planes[(*_step_key(band.application, edge, halo), band.index)]


def copy_form(request: Request, band: SourceBand) -> tuple[np.dtype, bool]:
    """Returns the dtype that a band is copied as, and whether validity is read beside it.

    A mask, which the copy does not have, becomes a nodata value. Where a band of the output has none it is an alpha
    band, which goes along as it is.
    """
    dtype = _storable(band.info.dtype)
    return dtype, request.is_masked and dtype.kind != "f"


def _storable(dtype: np.dtype) -> np.dtype:
    """The dtype in this machine's byte order; truth values are bytes, and float16 is float32."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")


def read_form(kernel: Kernel, index: int, band: SourceBand, halo: Halo) -> tuple[np.dtype, bool]:
    """Returns the dtype that a band is read as for a kernel's parameter, and whether validity is read beside it.

    Integers without nodata stay as they are and are cast in the loop; where a cell may be invalid they are read as
    floats, with NaN there.

    Raises:
        PlanError: The parameter is annotated with an integer dtype that cannot hold the band's values.
    """
    native, wanted = _storable(band.info.dtype), kernel.rasters[index].dtype
    if wanted is not None:
        if native.kind == "f" or not np.can_cast(native, wanted, "safe"):
            raise PlanError(
                f"{kernel.name} takes {kernel.rasters[index].name} as {wanted}, and {band.label} holds {native}: "
                f"annotate the parameter with a dtype that holds it"
            )
        return wanted, True
    if native.kind == "f":
        return native, False
    outside = halo != NO_HALO and kernel.edge not in {"nearest", "reflect", "wrap"}
    if band.info.may_be_invalid or outside:
        return compute_dtype((native,)), False
    return native, False


def _read_key(band: SourceBand, dtype: np.dtype, valid: bool, edge: Edge, halo: Halo) -> tuple[Any, ...]:
    return id(band.source), dtype, valid, edge if halo != NO_HALO else "nodata"


def _step_key(application: Application, edge: Edge, halo: Halo) -> tuple[Any, ...]:
    return id(application), edge if halo != NO_HALO else "nodata"


def _applications(requests: Sequence[Request]) -> list[Application]:
    return applications_of(band for request in requests for band in request.bands)


def _larger(a: Halo, b: Halo) -> Halo:
    return max(a[0], b[0]), max(a[1], b[1])


def _sum(a: Halo, b: Halo) -> Halo:
    return a[0] + b[0], a[1] + b[1]


def make_job(grid: Grid, requests: Sequence[Request], settings: Settings, window: Window | None = None) -> Job:
    """Makes the plan of a job.

    Args:
        grid: Where all inputs and outputs lie.
        requests: The outputs.
        settings: Backend, workers, memory, tile.
        window: The part to compute, or None for all.

    Raises:
        PlanError: An input cannot be read as a kernel wants it.
        MemoryLimitError: It does not fit the memory given.
        ParameterError: A grid quantity is not known for this grid.
    """
    builder = _Builder(requests)
    for node in builder.steps.values():
        kernel, parameters = node.application.kernel, node.application.parameters
        # Grid quantities that this grid does not have are refused here, before anything is read.
        scalar_values(kernel, parameters, np.dtype(np.float64), Window(0, 0, 0, 0), grid)
    planes: list[Plane] = []
    numbers: dict[tuple[Any, ...], int] = {}
    reads = [_make_read(key, node, planes, numbers) for key, node in builder.reads.items()]
    nodes = _producers_first(builder, requests)
    heights = [with_heights(node.application, grid) for _, node in nodes]
    steps = [
        _on_grid(_make_step(builder, key, node, planes, numbers), node.application.kernel, grid, note)
        for (key, node), (_, note) in zip(nodes, heights, strict=True)
    ]
    writes = tuple(_make_write(request, planes, numbers) for request in requests)
    whole = Window(0, 0, *grid.shape)
    plan = Plan(
        grid=grid,
        window=window or whole,
        tile=settings.tile or (1, 1),
        reads=tuple(reads),
        planes=tuple(planes),
        steps=tuple(steps),
        writes=writes,
        backend=settings.backend,
        reason=settings.reason,
        workers=settings.workers,
        memory_limit=settings.memory,
        executor=settings.executor,
        processes=settings.processes,
    )
    blocks = [request.storage(write.dtype).block for request, write in zip(requests, writes, strict=True)]
    is_slow = any(is_open_ended(node.application.kernel) for _, node in nodes)
    plan = fitting_plan(plan, blocks, settings.tile, is_slow=is_slow)
    sources = tuple(node.source for node in builder.reads.values())
    kernels = tuple(node.application.kernel for _, node in nodes)
    return Job(plan, sources, kernels, tuple(parameters for parameters, _ in heights))


def _producers_first(builder: _Builder, requests: Sequence[Request]) -> list[tuple[tuple[Any, ...], _StepNode]]:
    order = {id(a): k for k, a in enumerate(_applications(requests))}
    return sorted(builder.steps.items(), key=lambda item: order[id(item[1].application)])


def _make_read(key: tuple[Any, ...], node: _ReadNode, planes: list[Plane], numbers: dict[tuple[Any, ...], int]) -> Read:
    by_number = {b.index: b for b in node.source.bands}
    for band in node.bands:
        numbers[(*key, band)] = len(planes)
        label = SourceBand(node.source, by_number[band]).label
        own = by_number[band].nodata
        marked = node.dtype.kind != "f" and not node.valid and holds_nodata(node.dtype, own)
        turned = any(node.source.grid.flips)
        planes.append(Plane(label, node.dtype, node.halo, node.edge, own if marked else None, turned))
    source = node.source
    return Read(
        source.name,
        tuple(node.bands),
        node.dtype,
        node.halo,
        node.edge,
        node.valid,
        source.block,
        source.block_bytes,
        source.stored_bytes,
        source.reader,
        decoding_of(source),
        scales_of(source, node.bands),
    )


def _make_step(
    builder: _Builder, key: tuple[Any, ...], node: _StepNode, planes: list[Plane], numbers: dict[tuple[Any, ...], int]
) -> Step:
    kernel = node.application.kernel
    halo = _sum(node.halo, kernel.radius)
    taken = _taken(node.application)
    inputs = [
        _plane_of(numbers, b, read_form(kernel, k, b, halo) if isinstance(b, SourceBand) else None, kernel.edge, halo)
        for k, b in enumerate(taken)
    ]
    operands = tuple(_operand(kernel, k, number, planes, halo) for k, number in enumerate(inputs))
    # Results are as wide as what the inputs hold, whether or not nodata makes floats of it.
    pairs = zip(taken, inputs, strict=True)
    held = [_storable(b.info.dtype) if isinstance(b, SourceBand) else planes[n].dtype for b, n in pairs]
    outputs = kernel.signature(held).outputs
    given = [builder.nodata.value(ResultBand(node.application, k), dtype) for k, dtype in enumerate(outputs)]
    signature = kernel.signature(held, given)
    signature = replace(signature, inputs=tuple(o.dtype for o in operands))
    nodata = tuple(plain_nodata(d, v) for d, v in zip(signature.outputs, given, strict=True))
    results = []
    for index, dtype in enumerate(signature.outputs):
        numbers[(*key, index)] = len(planes)
        results.append(len(planes))
        label = ResultBand(node.application, index).label
        planes.append(Plane(label, dtype, node.halo, node.edge, nodata[index]))
        _check_edge(planes[-1])
    return Step(f"{kernel.module}:{kernel.name}", operands, tuple(results), nodata, signature, node.halo, kernel.radius)


def _check_edge(plane: Plane) -> None:
    """Refuses a number outside a raster of integers that these do not hold."""
    is_held = isinstance(plane.edge, str) or plane.dtype.kind == "f" or holds_nodata(plane.dtype, plane.edge)
    if plane.halo != NO_HALO and not is_held:
        raise PlanError(
            f"{plane.label} gives {plane.dtype}, which cannot be {plane.edge} outside the raster: give another edge=, "
            f"or let {plane.label} return floats"
        )


def _on_grid(step: Step, kernel: Kernel, grid: Grid, heights: str) -> Step:
    """The step, told which way rows and columns run where it counts them, and what unit heights have."""
    counts = any(s.quantity is not None and s.quantity.is_index for s in kernel.scalars)
    signature = replace(step.signature, counts_down=grid.flips) if counts else step.signature
    return replace(step, signature=signature, heights=heights)


def _operand(kernel: Kernel, index: int, number: int, planes: Sequence[Plane], halo: Halo) -> Operand:
    plane, wanted = planes[number], kernel.rasters[index].dtype
    whole = plane.halo == halo and not plane.turned
    if wanted is not None:
        if plane.dtype.kind == "f" or not np.can_cast(plane.dtype, wanted, "safe"):
            raise PlanError(
                f"{kernel.name} takes {kernel.rasters[index].name} as {wanted}, and {plane.label} gives {plane.dtype}"
            )
        return Operand(number, wanted, halo, valid=True, direct=whole and plane.nodata is None)
    marked = plane.dtype.kind != "f" and plane.nodata is not None
    dtype = compute_dtype((plane.dtype,)) if marked else plane.dtype
    return Operand(number, dtype, halo, valid=False, direct=whole and not marked)


def _make_write(request: Request, planes: Sequence[Plane], numbers: Mapping[tuple[Any, ...], int]) -> Write:
    forms = [copy_form(request, b) if isinstance(b, SourceBand) else None for b in request.bands]
    chosen = tuple(_plane_of(numbers, b, form, "nodata", NO_HALO) for b, form in zip(request.bands, forms, strict=True))
    dtype = np.result_type(*(planes[p].dtype for p in chosen)) if request.dtype is None else request.dtype
    given = request.nodata
    if given is None:
        given = _kept_nodata(request, [planes[p] for p in chosen], dtype)
    is_sure = all(planes[p].nodata is None and planes[p].dtype.kind != "f" for p in chosen)
    all_valid = is_sure and not any(form and form[1] for form in forms)
    nodata = None if given is None and dtype.kind != "f" and all_valid else plain_nodata(dtype, given)
    storage = request.storage(dtype)
    return Write(
        request.path,
        chosen,
        dtype,
        nodata,
        storage.options,
        storage.block,
        storage.writer,
        handed_over=request.handed_over,
        held=storage.held,
        shared=storage.shared,
        notes=request.notes,
        is_tagged=request.is_tagged,
    )


def _kept_nodata(request: Request, planes: Sequence[Plane], dtype: np.dtype) -> float | None:
    """The nodata value that the cells have already; floats in memory have NaN."""
    if dtype.kind == "f" and not request.path:
        return None
    files = [b.info.nodata for b in request.bands if isinstance(b, SourceBand)]
    own = [p.nodata for p in planes if p.dtype == dtype and dtype.kind != "f"]
    kept = (value for value in (*files, *own) if holds_nodata(dtype, value))
    return next((value for value in kept if not request.path or can_be_written(dtype, value)), None)
