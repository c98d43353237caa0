"""Where Rasters come from: files, arrays, and calls of kernels with Rasters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.engine.planning.graph import Application, ResultBand, SourceBand
from tilejit.errors import ParameterError
from tilejit.formats.containers import given_array
from tilejit.formats.registry import open_source
from tilejit.formats.scaled_source import ScaledSource
from tilejit.formats.source import ArraySource
from tilejit.grid import Grid
from tilejit.raster.raster import Raster
from tilejit.raster.running import check_one_grid

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from tilejit.formats.containers import Given
    from tilejit.formats.source import Source
    from tilejit.kernel.kernel import Kernel


def open_raster(path: str | os.PathLike[str], *, band: int | None = None, scaled: bool | None = None) -> Raster:
    """Opens a raster file lazily: its grid and bands are read, no pixel is.

    Args:
        path: Anything that GDAL opens: a GeoTIFF, a VRT, ``/vsicurl/…``.
        band: One band, from 1; None for all.
        scaled: What becomes of a band with a scale and an offset, as most of netCDF. None: kernels take its values,
            cell * scale + offset, but for parameters that are annotated with an integer dtype; copies, and what is read
            of an untouched band, are the stored cells. True: it is values everywhere. False: it is what is stored.

    Raises:
        SourceError: It is missing, no raster, or holds what tilejit does not read.
        ParameterError: It has no such band.
    """
    source = open_source(path)
    raster = Raster(source.grid, _bands(source, scaled))
    return raster if band is None else raster.band(band)


def _bands(source: Source, scaled: bool | None) -> tuple[SourceBand, ...]:
    """The bands of a source, as counts or as values."""
    if scaled is False or not any(info.is_scaled for info in source.bands):
        return tuple(SourceBand(source, info) for info in source.bands)
    values = ScaledSource(source)
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
    return raster_of(given_array(array, "array"), grid, nodata)


def raster_of(given: Given, grid: Grid | None = None, nodata: float | None = None) -> Raster:
    """Makes a Raster of what a caller holds; see `from_array`."""
    if grid is not None and not isinstance(grid, Grid):
        raise ParameterError(f"grid is a {type(grid).__name__}: give a tilejit.Grid, as tj.open(path).grid")
    if grid is not None and grid.crs is not None and grid.metric.kind == "none":
        from tilejit.formats.gdal.crs import located

        grid = located(grid)
    mask = given.mask if given.mask is not None and given.mask.any() else None
    source = ArraySource.of(given.cells, grid, given.nodata if nodata is None else nodata, mask=mask)
    return Raster(source.grid, tuple(SourceBand(source, info) for info in source.bands))


def apply_kernel(kernel: Kernel, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> Raster:
    """Applies a kernel to Rasters lazily; see `Kernel.__call__`.

    Raises:
        ParameterError: An input is no single band.
        GridMismatchError: The inputs lie on different grids; with both.
    """
    for parameter, raster in zip(kernel.rasters, inputs, strict=True):
        if not isinstance(raster, Raster):
            raise ParameterError(
                f"{kernel.name}: {parameter.name} is {type(raster).__name__}, and another input is a Raster: "
                "give Rasters only (tj.from_array(array, grid=raster.grid) makes one), or arrays only"
            )
        if len(raster) != 1:
            raise ParameterError(
                f"{kernel.name} takes one band as {parameter.name}, and {raster.label} has {len(raster)}: "
                "choose one with .band(1), or tj.open(path, band=1)"
            )
    check_one_grid(inputs, [f"{kernel.name}: {p.name}" for p in kernel.rasters])
    bands = tuple(raster.bands[0] for raster in inputs)
    application = Application(kernel, bands, kernel.bind(parameters))
    return Raster(inputs[0].grid, tuple(ResultBand(application, k) for k in range(len(kernel.results))))
