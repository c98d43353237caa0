"""Lazy Rasters: bands of files, and what kernels will make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from tilejit.callers import warn_caller
from tilejit.engine.planning.graph import Application, Band, ResultBand, SourceBand
from tilejit.errors import ParameterError
from tilejit.formats.containers import given_array
from tilejit.formats.open_source import open_source
from tilejit.formats.scaled_source import ScaledSource
from tilejit.formats.source import ArraySource
from tilejit.grid import Grid
from tilejit.raster.running import check_one_grid, plan_job, read_window, save
from tilejit.sizes import counted
from tilejit.system.ending import ends_heard

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.prediction.prediction import Prediction
    from tilejit.formats.containers import Given
    from tilejit.formats.source import Source
    from tilejit.formats.tile_sink import Tile
    from tilejit.kernel.kernel import Kernel
    from tilejit.raster.settings import RunOptions
    from tilejit.window import Window


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Raster:
    """A grid and a promise: bands that are read and computed when they are asked for.

    Make one with `tilejit.open`, or by calling a kernel with Rasters.
    """

    grid: Grid
    """Where its cells lie."""
    bands: tuple[Band, ...]
    """What its bands are made of, in order."""

    @property
    def count(self) -> int:
        """How many bands it has."""
        return len(self.bands)

    def band(self, number: int) -> Raster:
        """Returns one band as a Raster.

        Args:
            number: From 1, as GDAL counts.

        Raises:
            ParameterError: There is no such band.
        """
        if not 1 <= number <= self.count:
            known = f"bands 1 to {self.count}" if self.count > 1 else "one band, 1"
            raise ParameterError(f"{self.label} has {known}, not {number}")
        return Raster(self.grid, (self.bands[number - 1],))

    def __iter__(self) -> Iterator[Raster]:
        """Yields its bands, so that results unpack as those of arrays do: ``total, count = sums(dem)``."""
        return (Raster(self.grid, (band,)) for band in self.bands)

    @property
    def label(self) -> str:
        """What messages call it."""
        return ", ".join(dict.fromkeys(_file_label(band) for band in self.bands))

    def plan(self, path: str | os.PathLike[str] | None = None, **options: Unpack[RunOptions]) -> Plan:
        """Returns how it would be computed, without reading a pixel: windows, halos, bytes, memory, backend and why.

        Args:
            path: Where it would be saved.
            **options: As for `save`.

        Raises:
            MemoryLimitError: It does not fit the memory given.
        """
        return plan_job(self, path, options).plan

    def predict(self, path: str | os.PathLike[str] | None = None, **options: Unpack[RunOptions]) -> Prediction:
        """Returns how long `save` or `compute` will take.

        What this machine was never measured for is measured once, on some tiles from the middle of the inputs, whose
        results are thrown away: a second or two, and the time that kernels take to compile.

        Args:
            path: Where it would be saved; None for an array.
            **options: As for `save`.

        Raises:
            PlanError: An input is neither an array nor a local GeoTIFF.
            ReadError: Those tiles cannot be read.
        """
        from tilejit.engine.prediction.prediction import predict_job

        with ends_heard():  # what is measured is written to a temporary folder
            return predict_job(plan_job(self, path, options))

    def read(self, window: Window | None = None, **options: Unpack[RunOptions]) -> NDArray[Any]:
        """Computes a window of it into memory.

        Args:
            window: Rows and columns; None for all.
            **options: ``nodata``, ``dtype``, ``backend``, ``executor``, ``workers``, ``memory``, ``trace``, as for
                `save`.

        Returns:
            A (band, row, col) array; invalid cells are NaN in floats, and the nodata value in integers.

        Raises:
            ParameterError: The window reaches outside the raster.
            ReadError: A block cannot be read.
        """
        array, warning = read_window(self, window, options)
        if warning is not None:
            warn_caller(warning)
        return array

    def compute(self, **options: Unpack[RunOptions]) -> NDArray[Any]:
        """Computes all of it into memory; see `read`."""
        return self.read(None, **options)

    async def acompute(self, **options: Unpack[RunOptions]) -> NDArray[Any]:
        """Computes all of it into memory, as `compute` does, while the event loop goes on.

        Cancelling the task stops the run; the task ends when its threads have.
        """
        from tilejit.raster.asynchronous import acompute

        return await acompute(self, options)

    def tiles(self, **options: Unpack[RunOptions]) -> AsyncGenerator[Tile, None]:
        """Computes it tile by tile, for ``async for``: in bounded memory, whatever its size, and into no file.

        Tiles come in no order. At most one for each worker waits, then the run does, so a slow receiver costs no
        memory. ``break``, an exception or cancelling the task stops the run.

        Args:
            **options: ``nodata``, ``dtype``, ``backend``, ``workers``, ``memory``, ``tile``, ``trace``, as for `save`.

        Raises:
            TilejitError: From the ``async for``, as `read` does.

        Example:
            >>> import asyncio
            >>> import numpy as np
            >>> async def total(raster):
            ...     return sum([tile.array.sum() async for tile in raster.tiles(tile=(2, 4))])
            >>> float(asyncio.run(total(from_array(np.ones((8, 8), np.float32)))))
            64.0
        """
        from tilejit.raster.asynchronous import tiles

        return tiles(self, options)

    def save(self, path: str | os.PathLike[str], **options: Unpack[RunOptions]) -> Report:
        """Computes it into a file: streamed, in bounded memory, on all cores or the GPU.

        The file is written under a temporary name, synced and renamed: it is there whole, or not at all.

        Args:
            path: The file: ``.tif`` for a GeoTIFF, ``.vrt`` for GeoTIFF shards under a VRT, ``.zarr`` for Zarr.
            **options: ``nodata`` (its nodata value; "none" for a file without one), ``dtype`` ("int16": values are
                rounded and held within its range), ``profile`` (GDAL's creation options by name, over tiled 512,
                ZSTD level 1 with the right predictor), ``overwrite``, ``resume`` (True to keep a journal, and to go on
                from one that is there; see docs/resuming.md), ``backend`` ("auto", "cpu", "cuda", "python"),
                ``executor`` ("threads", "serial", "processes", "mpi", "dask", or a pool; see docs/executors.md),
                ``workers``, ``memory`` ("2GB"), ``tile`` (rows, columns), ``progress`` (True, False, or None for: on
                a terminal), ``trace`` (a JSON file for chrome://tracing or ui.perfetto.dev: what each thread did
                when; written also when the run fails).

        Returns:
            What the run did, in figures.

        Raises:
            MemoryLimitError: It does not fit the memory given; nothing was read.
            SourceError: An input cannot be read.
            SinkError: The output cannot be written.
        """
        return save({path: self}, **options)

    async def asave(self, path: str | os.PathLike[str], **options: Unpack[RunOptions]) -> Report:
        """Computes it into a file, as `save` does, while the event loop goes on.

        Cancelling the task stops the run: the task ends when its threads have, and no file is left.
        """
        from tilejit.raster.asynchronous import asave

        return await asave({path: self}, **options)

    def __repr__(self) -> str:
        return f"<Raster {self.label}: {counted(self.count, 'band')}, {self.grid}>"


def _file_label(band: Band) -> str:
    return band.source.name if isinstance(band, SourceBand) else band.application.kernel.name


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
        >>> raster.count, raster.grid.metric.kind
        (1, 'projected')
    """
    return raster_of(given_array(array, "array"), grid, nodata)


def raster_of(given: Given, grid: Grid | None = None, nodata: float | None = None) -> Raster:
    """Makes a Raster of what a caller holds; see `from_array`."""
    if grid is not None and not isinstance(grid, Grid):
        raise ParameterError(f"grid is a {type(grid).__name__}: give a tilejit.Grid, as tj.open(path).grid")
    if grid is not None and grid.crs is not None and grid.metric.kind == "none":
        from tilejit.formats.gdal.rasterio_source import located

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
        if raster.count != 1:
            raise ParameterError(
                f"{kernel.name} takes one band as {parameter.name}, and {raster.label} has {raster.count}: "
                "choose one with .band(1), or tj.open(path, band=1)"
            )
    check_one_grid(inputs, [f"{kernel.name}: {p.name}" for p in kernel.rasters])
    bands = tuple(raster.bands[0] for raster in inputs)
    application = Application(kernel, bands, kernel.bind(parameters))
    return Raster(inputs[0].grid, tuple(ResultBand(application, k) for k in range(len(kernel.results))))
