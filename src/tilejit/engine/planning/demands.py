"""Demands: in what form, and how far beyond a tile, each band is wanted of files and of kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.kinds import common_dtype, compute_dtype
from tilejit.engine.planning.graph import Application, Band, ResultBand, SourceBand, applications_of
from tilejit.engine.planning.steps import Operand
from tilejit.errors import PlanError
from tilejit.formats.sink import Storage
from tilejit.kernel.nodata import holds_nodata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tilejit.engine.planning.graph import Reduced
    from tilejit.engine.planning.steps import Halo, Plane
    from tilejit.formats.source import Source
    from tilejit.kernel.kernel import Edge, Kernel

    _Result = tuple[int, int]
    """The identity of an application, and the number of its result."""

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
    reduced: Reduced | None = None
    """What its bands are reduced to, where it is no output."""
    is_scratch: bool = False
    """Whether it goes to tiles on the disk, for later passes alone."""

    @cached_property
    def is_masked(self) -> bool:
        """Whether every band of it is a file's that has a mask."""
        return all(isinstance(b, SourceBand) and b.info.has_mask for b in self.bands)


@dataclass
class ReadNode:
    """Cells of one source that are wanted in one form."""

    source: Source
    dtype: np.dtype
    valid: bool
    edge: Edge
    bands: dict[int, None] = field(default_factory=dict)
    """In order of first use, each once."""
    halo: Halo = NO_HALO


@dataclass
class StepNode:
    """An application whose results are wanted with one edge."""

    application: Application
    edge: Edge
    halo: Halo = NO_HALO


class Demands:
    """Collects what is demanded of each band, consumers first, then numbers the planes, producers first."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.reads: dict[tuple[Any, ...], ReadNode] = {}
        self.steps: dict[tuple[Any, ...], StepNode] = {}
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
        for application in reversed(requested_applications(requests)):
            self._demand_inputs(application)

    def _demand_read(self, band: SourceBand, dtype: np.dtype, *, valid: bool, edge: Edge, halo: Halo) -> None:
        node = self.reads.setdefault(
            _read_key(band, dtype, valid, edge, halo), ReadNode(band.source, dtype, valid, edge)
        )
        node.bands[band.info.index] = None
        node.halo = _larger(node.halo, halo)

    def _demand_step(self, application: Application, edge: Edge, halo: Halo) -> None:
        node = self.steps.setdefault(_step_key(application, edge, halo), StepNode(application, edge))
        node.halo = _larger(node.halo, halo)

    def _demand_inputs(self, application: Application) -> None:
        for node in [n for n in self.steps.values() if n.application is application]:
            kernel = application.kernel
            halo = halo_sum(node.halo, kernel.radius)
            for k, port in enumerate(taken_ports(application)):
                dtype, valid = read_form(kernel, k, port, halo)
                for band in port:
                    if isinstance(band, SourceBand):
                        self._demand_read(band, dtype, valid=valid, edge=kernel.edge, halo=halo)
                        continue
                    if kernel.edge == "wrap" and halo != NO_HALO:
                        raise PlanError(
                            f"{kernel.name} wraps around the raster's edge, and its input {band.label} is computed: "
                            f"save {band.label} to a file first, then open that"
                        )
                    self._demand_step(band.application, kernel.edge, halo)


def taken_ports(application: Application) -> list[list[Band]]:
    """An application's inputs, as its kernel takes them: the bands of each raster parameter."""
    return [
        [band.for_kernel(raster.dtype) if isinstance(band, SourceBand) else band for band in port]
        for port, raster in zip(application.ports, application.kernel.rasters, strict=True)
    ]


def plane_of(
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
    dtype = storable(band.info.dtype)
    is_masked = request.is_masked if request.reduced is None else band.info.has_mask
    return dtype, is_masked and dtype.kind != "f"


def storable(dtype: np.dtype) -> np.dtype:
    """The dtype in this machine's byte order; truth values are bytes, and float16 is float32."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")


def read_form(kernel: Kernel, index: int, port: Sequence[Band], halo: Halo) -> tuple[np.dtype, bool]:
    """Returns the dtype that bands are read as for a kernel's parameter, and whether validity is read beside them.

    Integers without nodata stay as they are and are cast in the loop; where a cell may be invalid they are read as
    floats, with NaN there. All bands of a stack have one form.

    Raises:
        PlanError: The parameter is annotated with an integer dtype that cannot hold the bands' values.
    """
    bands, wanted = [band for band in port if isinstance(band, SourceBand)], kernel.rasters[index].dtype
    if wanted is None:
        outside = halo != NO_HALO and kernel.edge not in {"nearest", "reflect", "wrap"}
        return common_dtype(_float_form(band, outside=outside) for band in bands), False
    for band in bands:
        native = storable(band.info.dtype)
        if native.kind == "f" or not np.can_cast(native, wanted, "safe"):
            raise PlanError(
                f"{kernel.name} takes {kernel.rasters[index].name} as {wanted}, and {band.label} holds {native}: "
                f"annotate the parameter with a dtype that holds it"
            )
    return wanted, True


def _float_form(band: SourceBand, *, outside: bool) -> np.dtype:
    """What a band is read as for a float; ``outside`` says whether cells beyond the raster are without data."""
    native = storable(band.info.dtype)
    is_whole = native.kind == "f" or not (band.info.may_be_invalid or outside)
    return native if is_whole else compute_dtype((native,))


def _read_key(band: SourceBand, dtype: np.dtype, valid: bool, edge: Edge, halo: Halo) -> tuple[Any, ...]:
    return id(band.source), dtype, valid, edge if halo != NO_HALO else "nodata"


def _step_key(application: Application, edge: Edge, halo: Halo) -> tuple[Any, ...]:
    return id(application), edge if halo != NO_HALO else "nodata"


def requested_applications(requests: Sequence[Request]) -> list[Application]:
    """The applications that outputs are made by, producers first."""
    return applications_of(band for request in requests for band in request.bands)


def _larger(a: Halo, b: Halo) -> Halo:
    return max(a[0], b[0]), max(a[1], b[1])


def halo_sum(a: Halo, b: Halo) -> Halo:
    """One halo around another."""
    return a[0] + b[0], a[1] + b[1]


@dataclass(frozen=True, slots=True)
class ResultNodata:
    """What the outputs of a job want in the results of kernels."""

    asked: Mapping[_Result, Sequence[float]]
    """What each output wants in a result, NaN where it does not care."""
    used: frozenset[_Result]
    """Results that other kernels take."""

    @staticmethod
    def of(wanted: Iterable[tuple[Band, float | None]]) -> ResultNodata:
        """Collects what outputs want.

        Args:
            wanted: Every band of every output, with the nodata value asked for.
        """
        asked: dict[_Result, list[float]] = {}
        bands = []
        for band, nodata in wanted:
            bands.append(band)
            if isinstance(band, ResultBand):
                asked.setdefault(_identity(band), []).append(math.nan if nodata is None else nodata)
        inputs = [band for application in applications_of(bands) for band in application.inputs]
        return ResultNodata(asked, frozenset(_identity(band) for band in inputs if isinstance(band, ResultBand)))

    def value(self, bands: Sequence[ResultBand], dtype: np.dtype) -> float | None:
        """Returns the value that a result is made with; None for the type's own.

        An integer takes the first that an output wants. A float is NaN for kernels that take it, and where outputs
        disagree; else it is made as it is written: a second pass, to replace NaN, takes ten times as long as NDVI does.

        Args:
            bands: The result: one band, or one for each layer.
            dtype: Its type.
        """
        asked = [value for band in bands for value in self.asked.get(_identity(band), ())]
        values = [value for value in asked if value == value]  # noqa: PLR0124 - what is no number is refused later
        if not values or not holds_nodata(dtype, values[0]):
            return None
        agreed = len(values) == len(asked) and len(set(values)) == 1
        return values[0] if dtype.kind != "f" or (agreed and self.used.isdisjoint(map(_identity, bands))) else None


def _identity(band: ResultBand) -> _Result:
    return id(band.application), band.index


def operands_of(
    application: Application, halo: Halo, planes: Sequence[Plane], numbers: Mapping[tuple[Any, ...], int]
) -> tuple[tuple[Operand, ...], list[np.dtype]]:
    """Returns the operands of an application that needs a halo, and for each the dtype that decides its results'.

    Raises:
        PlanError: A parameter is annotated with an integer dtype that a plane does not fit.
    """
    kernel = application.kernel
    ports = taken_ports(application)
    forms = [read_form(kernel, k, port, halo) for k, port in enumerate(ports)]
    inputs = [
        tuple(plane_of(numbers, band, form, kernel.edge, halo) for band in port)
        for port, form in zip(ports, forms, strict=True)
    ]
    operands = tuple(_operand(kernel, k, taken, planes, halo) for k, taken in enumerate(inputs))
    # Results are as wide as what the inputs hold, whether or not nodata makes floats of it.
    held = [
        common_dtype(
            storable(band.info.dtype) if isinstance(band, SourceBand) else planes[number].dtype
            for band, number in zip(port, taken, strict=True)
        )
        for port, taken in zip(ports, inputs, strict=True)
    ]
    return operands, held


def _operand(kernel: Kernel, index: int, numbers: tuple[int, ...], planes: Sequence[Plane], halo: Halo) -> Operand:
    taken, wanted = [planes[number] for number in numbers], kernel.rasters[index].dtype
    is_run = len({plane.run for plane in taken}) == 1 and numbers == tuple(range(numbers[0], numbers[-1] + 1))
    whole = all(p.halo == halo and not p.turned for p in taken) and is_run
    if wanted is None:
        dtype = common_dtype(compute_dtype((p.dtype,)) if _is_marked(p) else p.dtype for p in taken)
        direct = whole and all(p.dtype == dtype and not _is_marked(p) for p in taken)
        return Operand(numbers, dtype, halo, valid=False, direct=direct)
    for plane in taken:
        if plane.dtype.kind == "f" or not np.can_cast(plane.dtype, wanted, "safe"):
            raise PlanError(
                f"{kernel.name} takes {kernel.rasters[index].name} as {wanted}, and {plane.label} gives {plane.dtype}"
            )
    return Operand(numbers, wanted, halo, valid=True, direct=whole and all(p.nodata is None for p in taken))


def _is_marked(plane: Plane) -> bool:
    """Whether integers of it are no data."""
    return plane.dtype.kind != "f" and plane.nodata is not None
