"""Where Rasters come from: files, arrays, and calls of kernels and chains with Rasters.

A chain's function is run once, over lazy Rasters; arrays are wrapped as such and computed. Over arrays, too, its
kernels run tile by tile in one pass: what they hand each other stays in a core's cache, and the nodata of integer
results in between is known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.captured import IMPORTS
from tilejit.compiler.form.parameters import REQUIRED
from tilejit.engine.pipeline.run import run_job
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.graph import Application, Band, ResultBand, SourceBand, applications_of
from tilejit.engine.planning.planner import Settings, make_job
from tilejit.errors import KernelError, ParameterError, TilejitError
from tilejit.formats.registry import open_source, variable_name
from tilejit.grid import Grid, Metric
from tilejit.kernel.inputs import with_times
from tilejit.kernel.kernel import SEE_NEIGHBOURS, Edge, Kernel
from tilejit.raster.options import RunOptions
from tilejit.raster.raster import Raster
from tilejit.raster.running import check_inputs, check_one_grid
from tilejit.times import Dates, as_dates

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.form.kinds import Signature
    from tilejit.formats.containers import Given
    from tilejit.formats.source import Source
    from tilejit.kernel.decorators import Chain

    Array = NDArray[Any]


def open_raster(
    path: str | os.PathLike[str], *, band: int | None = None, scaled: bool | None = None, variable: str | None = None
) -> Raster:
    """Opens a raster file lazily: its grid and bands are read, no pixel is.

    Args:
        path: Anything that GDAL opens: a GeoTIFF, a VRT, ``/vsicurl/…``.
        band: One band, from 1; None for all.
        scaled: What becomes of a band with a scale and an offset, as most of netCDF. None: kernels take its values,
            cell * scale + offset, but for parameters that are annotated with an integer dtype; copies, and what is read
            of an untouched band, are the stored cells. True: it is values everywhere. False: it is what is stored.
        variable: One variable of a netCDF file or of a Zarr store (the extra ``zarr``), whose last two dimensions are
            rows and columns; where there is one before them, its layers are bands, with times if it has dates. The
            only one of a store need not be named.

    Raises:
        SourceError: It is missing, no raster, or holds what tilejit does not read.
        ParameterError: It has no such band.
    """
    source = open_source(path if variable is None else variable_name(path, variable))
    raster = Raster(source.grid, _bands(source, scaled))
    return raster if band is None else raster.band(band)


def _bands(source: Source, scaled: bool | None) -> tuple[SourceBand, ...]:
    """The bands of a source, as counts or as values."""
    if scaled is False or not any(info.is_scaled for info in source.bands):
        return tuple(SourceBand(source, info) for info in source.bands)
    from tilejit.formats.source import ScaledSource

    values = ScaledSource.of(source)
    if scaled:
        sources = (values if info.is_scaled else source for info in source.bands)
        return tuple(SourceBand(each, each.bands[k]) for k, each in enumerate(sources))
    return tuple(SourceBand(source, info, values if info.is_scaled else None) for info in source.bands)


def from_array(array: Any, *, grid: Grid | None = None, nodata: float | None = None) -> Raster:
    """Makes a Raster of an array.

    Args:
        array: (row, col) or (band, row, col). Cells that a masked array masks hold no data; of a DataArray those that
            equal the nodata value that xarray or rioxarray knows.
        grid: Where its cells lie, as a `tilejit.Grid`; not georeferenced if left out.
        nodata: The value of invalid cells.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> grid = tj.Grid(2, 3, (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_300_000.0), "EPSG:32633")
        >>> raster = tj.from_array(np.zeros((2, 3), np.float32), grid=grid)
        >>> len(raster), raster.grid.metric.kind
        (1, 'projected')
    """
    from tilejit.formats.containers import given_array

    return raster_of(given_array(array, "array"), grid, nodata)


def raster_of(given: Given, grid: Grid | None = None, nodata: float | None = None) -> Raster:
    """Makes a Raster of what a caller holds; see `from_array`."""
    if grid is not None and not isinstance(grid, Grid):
        raise ParameterError(f"grid is a {type(grid).__name__}: give a tilejit.Grid, as tj.open(path).grid")
    if grid is not None and grid.crs is not None and grid.metric.kind == "none":
        from tilejit.formats.gdal.crs import located

        grid = located(grid)
    from tilejit.formats.in_memory import ArraySource

    mask = given.mask if given.mask is not None and given.mask.any() else None
    source = ArraySource.of(given.cells, grid, given.nodata if nodata is None else nodata, mask=mask)
    return Raster(source.grid, tuple(SourceBand(source, info) for info in source.bands), given.dates)


def stack(rasters: Iterable[Raster | str | os.PathLike[str]], times: Iterable[Any] | None = None) -> Raster:
    """Makes one Raster of the bands of several: the dates of many files, as a kernel takes them by `tilejit.Stack`.

    It is lazy, and nothing but a Raster of several bands, as `tilejit.open` makes one of a file that has them: such a
    file needs no stack.

    Args:
        rasters: Rasters on one grid, or paths, in the order of the layers.
        times: When each layer was taken: datetime objects, `numpy.datetime64`, or texts such as "2020-01-05". Unless
            given they are what files say; see `Raster.times`.

    Raises:
        ParameterError: There is none; or times are no dates, or not one for each layer.
        GridMismatchError: They lie on different grids.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> dates = tj.stack(tj.from_array(np.full((2, 2), year, np.int16)) for year in range(2016, 2024))
        >>> len(dates), dates.grid.shape
        (8, (2, 2))
    """
    if isinstance(rasters, (Raster, str)):
        rasters = [rasters]
    found = [one if isinstance(one, Raster) else open_raster(one) for one in rasters]
    if not found:
        raise ParameterError("stack of no rasters: give at least one")
    check_one_grid(found, [f"stack: raster {k}" for k in range(1, len(found) + 1)])
    bands = tuple(band for raster in found for band in raster.bands)
    dates = _dates(found) if times is None else as_dates(times, len(bands))
    return Raster(found[0].grid, bands, dates)


def _dates(rasters: Sequence[Raster]) -> Dates | None:
    """The dates of Rasters of which some were given dates; None where files say when all of them were taken."""
    if all(raster.dates is None for raster in rasters):
        return None
    parts = [raster.times for raster in rasters]
    unknown = next((raster.label for raster, part in zip(rasters, parts, strict=True) if part is None), None)
    if unknown is not None:
        raise ParameterError(f"stack: nothing says when {unknown} was taken, and others have dates: give times=[…]")
    return tuple(date for part in parts if part is not None for date in part)


def times_of(raster: Raster) -> Dates | None:
    """When the bands of a Raster were taken, as kernels' parameters hold it."""
    times = raster.times
    return None if times is None else tuple(times)


def apply_kernel(kernel: Kernel, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> Raster:
    """Applies a kernel to Rasters lazily; see `Kernel.__call__`."""
    for parameter, raster in zip(kernel.rasters, inputs, strict=True):
        if not isinstance(raster, Raster):
            raise ParameterError(
                f"{kernel.name}: {parameter.name} is {type(raster).__name__}, and another input is a Raster: "
                "give Rasters only (tj.from_array(array, grid=raster.grid) makes one), or arrays only"
            )
    check_inputs(kernel.name, [(p.name, one, p.is_stack) for p, one in zip(kernel.rasters, inputs, strict=True)])
    kernel = kernel.for_layers([len(raster) for raster in inputs])
    times = [times_of(raster) if p.is_stack else None for p, raster in zip(kernel.rasters, inputs, strict=True)]
    bound = with_times(kernel, kernel.bind(parameters), times)
    application = Application(kernel, tuple(raster.bands for raster in inputs), bound)
    return Raster(inputs[0].grid, tuple(ResultBand(application, k) for k in range(kernel.bands)))


def apply_chain(chain: Chain, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> Raster:
    """Applies a chain to Rasters lazily; see `Chain.__call__`."""
    for parameter, raster in zip(chain.rasters, inputs, strict=True):
        if not isinstance(raster, Raster) or (len(raster) != 1 and not parameter.is_stack):
            given = f"{len(raster)} bands" if isinstance(raster, Raster) else type(raster).__name__
            raise ParameterError(
                f"{chain.name} takes one band as {parameter.name}, not {given}: "
                "give Rasters of one band, or arrays only; .band(1) chooses one"
            )
    check_one_grid(inputs, [f"{chain.name}: {p.name}" for p in chain.rasters])
    bound = {name: value for name, value in parameters.items() if name != "edge"}
    rasters = _parts(chain, _called(chain, inputs, chain.bind(bound)))
    check_one_grid(rasters, [f"{chain.name}, result {k + 1}" for k in range(len(rasters))])
    bands = tuple(band for raster in rasters for band in raster.bands)
    if parameters.get("edge") is not None:
        bands = _with_edge(chain, bands, [band for raster in inputs for band in raster.bands], parameters["edge"])
    if len(bands) == 1 and isinstance(bands[0], ResultBand):
        bands = (replace(bands[0], called=chain.name),)
    return Raster(rasters[0].grid, bands)


def _with_edge(chain: Chain, bands: Sequence[Band], inputs: Sequence[Band], edge: Edge) -> tuple[Band, ...]:
    """What a chain made, with another edge in every focal kernel that it applies; its inputs stay as they are."""
    before = {id(application) for application in applications_of(inputs)}
    within = [application for application in applications_of(bands) if id(application) not in before]
    if all(application.kernel.kind not in SEE_NEIGHBOURS for application in within):
        raise KernelError(f"{chain.name} applies no focal kernel and has no edge: leave edge={edge!r} out")
    made: dict[int, Application] = {}

    def anew(band: Band) -> Band:
        known = made.get(id(band.application)) if isinstance(band, ResultBand) else None
        return band if known is None else replace(band, application=known)  # type: ignore[arg-type]

    for old in within:
        kernel = old.kernel if old.kernel.kind not in SEE_NEIGHBOURS else old.kernel.with_edge(edge)
        made[id(old)] = Application(kernel, tuple(tuple(map(anew, port)) for port in old.ports), old.parameters)
    return tuple(map(anew, bands))


def _called(chain: Chain, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> object:
    try:
        return chain.function(*inputs, **parameters)
    except TilejitError:
        raise
    except Exception as error:
        line = IMPORTS.get(error.name or "") if isinstance(error, NameError) else None
        advice = "a chain applies kernels and operators to Rasters, whose cells are not there yet"
        raise KernelError(
            f"{chain.source.where}: {chain.name} failed: {type(error).__name__}: {error}\n"
            f"  {advice if line is None else f'write {line} above the chain'}"
        ) from error


def _parts(chain: Chain, made: object) -> tuple[Raster, ...]:
    """The Rasters that a chain returned."""
    parts = made if isinstance(made, tuple) else (made,)
    odd = [type(part).__name__ for part in parts if not isinstance(part, Raster)]
    if odd or not parts:
        raise KernelError(
            f"{chain.source.where}: {chain.name} returns {', '.join(odd) or 'nothing'}: "
            "return the Raster that a kernel makes of its Rasters, or a tuple of Rasters"
        )
    return parts


def run_chain(
    chain: Chain,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    backend: str,
    workers: int | None,
    out: Array | Sequence[Array] | None,
) -> Any:
    """Runs a chain over arrays, as `tilejit.arrays.run_on_arrays` does a kernel."""
    from tilejit.arrays import check_out, warn_of
    from tilejit.formats.containers import Container, given_array
    from tilejit.formats.in_memory import ArraySink

    given = [given_array(v, f"{chain.name}: {r.name}") for v, r in zip(inputs, chain.rasters, strict=True)]
    for parameter, one in zip(chain.rasters, given, strict=True):
        if one.plane.ndim != 2 and not parameter.is_stack:
            raise KernelError(
                f"{chain.name}: {parameter.name} has the shape {one.cells.shape}; a raster is one band, "
                "(rows, columns): pass array[0]"
            )
    raster = apply_chain(chain, [raster_of(one) for one in given], parameters)
    requests = [Request(bands) for bands in _results(raster.bands)]
    job = make_job(raster.grid, requests, RunOptions(backend=backend, workers=workers).settings(raster.bands))
    pairs = zip(given, chain.rasters, strict=True)
    plane, stacked = Container.of([g.first if r.is_stack else g for g, r in pairs]), Container.of(given)
    writes, cells = job.plan.writes, raster.grid.shape
    containers = [stacked if _is_by_date(request.bands) else plane for request in requests]
    shapes = [c.shape((len(w.planes), *cells) if c is stacked else cells)
              for c, w in zip(containers, writes, strict=True)]  # fmt: skip
    results = [(shape, write.dtype) for shape, write in zip(shapes, writes, strict=True)]
    outs = None if out is None else [out] if isinstance(out, np.ndarray) else list(out)
    if outs is not None:
        check_out(chain.name, outs, results, given)
    arrays = [np.empty(*result) for result in results] if outs is None else outs
    sinks = [ArraySink(np.ma.getdata(a).reshape(-1, *cells), raster.grid) for a in arrays]
    report = run_job(job, sinks)
    warn_of(report.counts, chain.name, job.plan.nodata_values)
    parts = zip(containers, arrays, writes, strict=True)
    held = tuple(container.hold(a, w.nodata, chain.name, a) for container, a, w in parts)
    return held if len(held) > 1 else held[0]


def _results(bands: Sequence[Band]) -> list[tuple[Band, ...]]:
    """The bands of each array: one, or all that a kernel gives of which there is a value for each date."""
    results, left = [], list(bands)
    while left:
        count = left[0].application.kernel.bands if isinstance(left[0], ResultBand) else 1
        whole = tuple(left[: count if _is_by_date(left[:count]) else 1])
        results.append(whole)
        left = left[len(whole) :]
    return results


def _is_by_date(bands: Sequence[Band]) -> bool:
    """Whether bands are all that such a kernel gives."""
    made = [band for band in bands if isinstance(band, ResultBand)]
    kernel = made[0].application.kernel if made else None
    is_one = all(band.application is made[0].application and band.index == k for k, band in enumerate(made))
    return kernel is not None and kernel.by_date and is_one and len(made) == len(bands) == kernel.bands


def launches_of(chain: Chain, dtypes: Sequence[np.dtype]) -> list[tuple[Kernel, Signature]]:
    """The kernels that a chain applies, producers first, each with what inputs of these dtypes compile it for."""
    grid = Grid(1, 1, (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), None, Metric("projected"))
    rasters = [from_array(np.zeros((1, 1), dtype), grid=grid) for dtype in dtypes]
    # Their values are no matter: any will do for those that have no default.
    required = {s.name: s.convert(1) for s in chain.scalars if s.default is REQUIRED}
    raster = apply_chain(chain, rasters, required)
    job = make_job(grid, [Request(raster.bands)], Settings("cpu", "", workers=1))
    jobs = (*job.earlier, job)
    return [(kernel, step.signature) for one in jobs for kernel, step in zip(one.kernels, one.plan.steps, strict=True)]
