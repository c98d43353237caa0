"""From lazy Rasters to a plan: what each kernel needs of its inputs, how large a tile is, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.cpu import scratch_of
from tilejit.engine.partials import CountsPartial
from tilejit.engine.planning.demands import (
    NO_HALO,
    Demands,
    ReadNode,
    Request,
    StepNode,
    copy_form,
    halo_sum,
    operands_of,
    plane_of,
    requested_applications,
)
from tilejit.engine.planning.dispatch import compiler_of_plan
from tilejit.engine.planning.graph import (
    Iteration,
    Reduced,
    ResultBand,
    SourceBand,
    Statistic,
    passes_before,
)
from tilejit.engine.planning.heights import with_heights
from tilejit.engine.planning.plan import Plan
from tilejit.engine.planning.steps import Plane, Read, Reduce, Step, Write
from tilejit.engine.planning.tiling import fitting_plan
from tilejit.errors import PlanError
from tilejit.formats.output import can_be_written
from tilejit.formats.source import storage_of
from tilejit.kernel.inputs import TIMES, scalar_values
from tilejit.kernel.nodata import holds_nodata, plain_nodata
from tilejit.system.identity import temporary_folder
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tilejit.formats.source import Source
    from tilejit.grid import Grid
    from tilejit.kernel.kernel import Kernel


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
    """Rows and columns of a tile, or None to choose."""
    executor: str = "threads"
    """What computes the tiles."""
    processes: int = 1
    """Worker processes on this machine, each with so many threads."""
    scratch: str = ""
    """The folder of what passes keep on the disk; empty for that of temporary files."""


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
    earlier: tuple[Job, ...] = ()
    """The passes before this one."""
    reduced: tuple[Reduced, ...] = ()
    """What each of the plan's reduces is for."""
    iteration: Iteration | None = None
    """What it copies the inputs of, or sweeps over where the plan repeats it."""


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
    before = passes_before([band for r in requests for band in r.bands], [r.reduced for r in requests if r.reduced])
    jobs = tuple(job for where, made in before for job in _jobs_of(where, made, settings))
    job = _pass_of(grid, requests, settings, window)
    return replace(job, plan=replace(job.plan, earlier=tuple(each.plan for each in jobs)), earlier=jobs)


def _jobs_of(grid: Grid, made: Sequence[Reduced] | Iteration, settings: Settings) -> list[Job]:
    """One pass that reduces bands; or one that copies the inputs of an iteration, and one that is repeated."""
    if not isinstance(made, Iteration):
        return [_pass_of(grid, [request_of(reduced) for reduced in made], settings)]
    from tilejit.engine.planning.iterations import all_tiles, copies, repeat_of, scans_of, sweep, tile_of

    tile = tile_of(made, settings.tile)
    first = _pass_of(grid, copies(made, tile), replace(settings, tile=None))
    writes, scans, active = first.plan.writes, scans_of(made, settings.backend), all_tiles(grid.shape, tile)
    sweeps = _pass_of(grid, sweep(made, writes), replace(settings, tile=tile), active=active, scans=scans)
    repeat = repeat_of(made, writes, settings.scratch or str(temporary_folder()))
    return [replace(first, iteration=made), replace(sweeps, plan=replace(sweeps.plan, repeat=repeat), iteration=made)]


def request_of(reduced: Reduced) -> Request:
    """Returns the request for what is reduced: nothing is written."""
    bands = (band.for_kernel(None) if isinstance(band, SourceBand) else band for band in reduced.bands)
    return Request(tuple(bands), reduced=reduced)


def awaited(job: Job) -> list[Statistic]:
    """Returns the numbers that the job's kernels take from earlier passes, in the order of its parameters."""
    return [value for given in job.parameters for value in given.values() if isinstance(value, Statistic)]


def bound(job: Job, numbers: Iterable[float], stores: Mapping[Iteration, Source]) -> Job:
    """Returns a job whose parameters are numbers, one for each that it awaits, and whose sources have been filled."""
    left = iter(numbers)

    def number(kernel: Kernel, name: str, value: Any) -> Any:
        if not isinstance(value, Statistic):
            return value
        return next(s for s in kernel.scalars if s.name == name).convert(next(left))

    pairs = zip(job.kernels, job.parameters, strict=True)
    parameters = tuple({n: number(kernel, n, v) for n, v in given.items()} for kernel, given in pairs)
    sources = tuple(stores[s] if isinstance(s, Iteration) else s for s in job.sources)
    return replace(job, parameters=parameters, sources=sources, earlier=(), plan=replace(job.plan, earlier=()))


def _pass_of(
    grid: Grid,
    requests: Sequence[Request],
    settings: Settings,
    window: Window | None = None,
    *,
    active: bytes | None = None,
    scans: int = 0,
) -> Job:
    """One pass; see `Tiling.active` and `Step.scans`."""
    if not scans and active is None and len(requested_applications(requests)) > 1:
        from tilejit.engine.planning.fusion import fused  # which a run of one kernel does without

        requests = fused(requests)
    builder = Demands(requests)
    for node in builder.steps.values():
        kernel = node.application.kernel
        numbers_only = {n: 0.0 if isinstance(v, Statistic) else v for n, v in node.application.parameters.items()}
        # Grid quantities that this grid does not have are refused here, before anything is read.
        scalar_values(kernel, numbers_only, np.dtype(np.float64), Window(0, 0, 0, 0), grid)
    planes: list[Plane] = []
    numbers: dict[tuple[Any, ...], int] = {}
    reads = [_make_read(key, node, planes, numbers) for key, node in builder.reads.items()]
    nodes = _producers_first(builder, requests)
    heights = [with_heights(node.application, grid) for _, node in nodes]
    made = (_make_step(builder, key, node, planes, numbers) for key, node in nodes)
    steps = [
        replace(_on_grid(step, node.application.kernel, grid, *told), scans=scans)
        for step, (_, node), told in zip(made, nodes, heights, strict=True)
    ]
    outputs = [request for request in requests if request.reduced is None]
    writes = tuple(_make_write(request, planes, numbers) for request in outputs)
    reduces = [(request.reduced, _make_reduce(request, numbers)) for request in requests if request.reduced]
    whole = Window(0, 0, *grid.shape)
    plan = Plan(
        grid=grid,
        window=window or whole,
        tile=settings.tile or (1, 1),
        active=active,
        reads=tuple(reads),
        planes=tuple(planes),
        steps=tuple(steps),
        writes=writes,
        reduces=tuple(reduce for _, reduce in reduces),
        partials=(CountsPartial(), *(reduced.reduction for reduced, _ in reduces)),
        backend=settings.backend,
        reason=settings.reason,
        workers=settings.workers,
        memory_limit=settings.memory,
        executor=settings.executor,
        processes=settings.processes,
    )
    blocks = [request.storage(write.dtype).block for request, write in zip(outputs, writes, strict=True)]
    is_slow = any(node.application.kernel.facts.is_open_ended for _, node in nodes)
    kernels = tuple(node.application.kernel for _, node in nodes)
    plan = replace(plan, compiler=compiler_of_plan(plan, kernels))
    if plan.backend == "cpu":
        pairs = zip(plan.steps, kernels, strict=True)
        scratch = ((0, 0) if s.takes_arrays else scratch_of(k, s.signature) for s, k in pairs)
        plan = replace(plan, steps=tuple(replace(s, scratch=own) for s, own in zip(plan.steps, scratch, strict=True)))
    plan = fitting_plan(plan, blocks, settings.tile, is_slow=is_slow)
    sources = tuple(node.source for node in builder.reads.values())
    bound_ones = tuple(given for given, _ in heights)
    return Job(plan, sources, kernels, bound_ones, reduced=tuple(reduced for reduced, _ in reduces))


def _producers_first(builder: Demands, requests: Sequence[Request]) -> list[tuple[tuple[Any, ...], StepNode]]:
    order = {id(a): k for k, a in enumerate(requested_applications(requests))}
    return sorted(builder.steps.items(), key=lambda item: order[id(item[1].application)])


def _make_read(key: tuple[Any, ...], node: ReadNode, planes: list[Plane], numbers: dict[tuple[Any, ...], int]) -> Read:
    by_number = {b.index: b for b in node.source.bands}
    for band in node.bands:
        numbers[(*key, band)] = len(planes)
        label = SourceBand(node.source, by_number[band]).label
        own = by_number[band].nodata
        marked = node.dtype.kind != "f" and not node.valid and holds_nodata(node.dtype, own)
        turned = any(node.source.grid.flips)
        nodata = own if marked else None
        planes.append(Plane(label, node.dtype, node.halo, node.edge, nodata, turned))
    source, storage = node.source, storage_of(node.source)
    return Read(
        source.name,
        tuple(node.bands),
        node.dtype,
        node.halo,
        node.edge,
        node.valid,
        source.block,
        storage.block_bytes,
        storage.stored_bytes,
        storage.reader,
        storage.decoding,
        tuple(storage.scales[band - 1] for band in node.bands) if storage.scales else (),
    )


def _make_step(
    builder: Demands, key: tuple[Any, ...], node: StepNode, planes: list[Plane], numbers: dict[tuple[Any, ...], int]
) -> Step:
    kernel = node.application.kernel
    halo = halo_sum(node.halo, kernel.radius)
    operands, held = operands_of(node.application, halo, planes, numbers)
    outputs, bands = kernel.signature(held).outputs, [ResultBand(node.application, k) for k in range(kernel.bands)]
    layers = [bands] if kernel.by_date else [[band] for band in bands]
    given = [builder.nodata.value(ones, dtype) for ones, dtype in zip(layers, outputs, strict=True)]
    signature = kernel.signature(held, given)
    signature = replace(signature, inputs=tuple(o.dtype for o in operands))
    nodata = tuple(plain_nodata(d, v) for d, v in zip(signature.outputs, given, strict=True))
    results = []
    for ones, dtype, value in zip(layers, signature.outputs, nodata, strict=True):
        first = len(planes)
        results.append(tuple(range(first, first + len(ones))))
        numbers.update(((*key, band.index), first + k) for k, band in enumerate(ones))
        planes += [Plane(band.label, dtype, node.halo, node.edge, value, run=first) for band in ones]
        _check_edge(planes[-1])
    return Step(
        f"{kernel.module}:{kernel.name}", operands, tuple(results), nodata, signature, node.halo, kernel.radius,
        takes_arrays=kernel.kind == "block",
    )  # fmt: skip


def _check_edge(plane: Plane) -> None:
    """Refuses a number outside a raster of integers that these do not hold."""
    is_held = isinstance(plane.edge, str) or plane.dtype.kind == "f" or holds_nodata(plane.dtype, plane.edge)
    if plane.halo != NO_HALO and not is_held:
        raise PlanError(
            f"{plane.label} gives {plane.dtype}, which cannot be {plane.edge} outside the raster: give another edge=, "
            f"or let {plane.label} return floats"
        )


def _on_grid(step: Step, kernel: Kernel, grid: Grid, given: Mapping[str, Any], heights: str) -> Step:
    """The step, told which way rows and columns run where it counts them, and what unit heights have."""
    counts = any(s.quantity is not None and s.quantity.is_index for s in kernel.scalars)
    signature = replace(step.signature, counts_down=grid.flips) if counts else step.signature
    awaited = ", ".join(f"{name}={value!r}" for name, value in given.items() if isinstance(value, Statistic))
    dates = str(given.get(TIMES, ""))
    return replace(step, signature=signature, heights=heights, awaited=awaited, dates=dates)


def _make_write(request: Request, planes: Sequence[Plane], numbers: Mapping[tuple[Any, ...], int]) -> Write:
    forms = [copy_form(request, b) if isinstance(b, SourceBand) else None for b in request.bands]
    chosen = tuple(plane_of(numbers, b, form, "nodata", NO_HALO) for b, form in zip(request.bands, forms, strict=True))
    dtype = np.result_type(*(planes[p].dtype for p in chosen)) if request.dtype is None else request.dtype
    taken = [planes[p] for p in chosen]
    given = _kept_nodata(request, taken, dtype) if request.nodata is None else request.nodata
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
        is_scratch=request.is_scratch,
    )


def _make_reduce(request: Request, numbers: Mapping[tuple[Any, ...], int]) -> Reduce:
    forms = (copy_form(request, band) if isinstance(band, SourceBand) else None for band in request.bands)
    pairs = zip(request.bands, forms, strict=True)
    return Reduce(tuple(plane_of(numbers, band, form, "nodata", NO_HALO) for band, form in pairs))


def _kept_nodata(request: Request, planes: Sequence[Plane], dtype: np.dtype) -> float | None:
    """The nodata value that the cells have already; floats in memory have NaN."""
    if dtype.kind == "f" and not request.path:
        return None
    files = [b.info.nodata for b in request.bands if isinstance(b, SourceBand)]
    own = [p.nodata for p in planes if p.dtype == dtype and dtype.kind != "f"]
    kept = (value for value in (*files, *own) if holds_nodata(dtype, value))
    return next((value for value in kept if not request.path or can_be_written(dtype, value)), None)
