"""Lazy Rasters: bands of files, and what kernels will make of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilejit.engine.planning.graph import Band, SourceBand
from tilejit.errors import ParameterError
from tilejit.formats.source import Source, storage_of
from tilejit.raster.cutting import Cutting
from tilejit.raster.operators import Operators
from tilejit.raster.options import RunOptions
from tilejit.raster.running import plan_job, read_window, save_outputs, warned
from tilejit.raster.statistics import Statistics
from tilejit.raster.warping import Warping
from tilejit.sizes import counted
from tilejit.system.signals import ends_heard
from tilejit.times import Dates, Times, date_in, since

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from numpy.typing import DTypeLike, NDArray

    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.prediction import Prediction
    from tilejit.grid import Grid
    from tilejit.raster.asynchronous import Tile
    from tilejit.window import Window


_MOST_NAMES = 3  # files that messages name one by one


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Raster(Statistics, Operators, Warping, Cutting):
    """A grid and a promise: bands that are read and computed when they are asked for.

    Make one with `tilejit.open`, or by calling a kernel with Rasters.
    """

    grid: Grid
    """Where its cells lie."""
    bands: tuple[Band, ...]
    """What its bands are made of, in order."""
    dates: Dates | None = None
    """When each band was taken, where that was given; see `times`."""

    def __len__(self) -> int:
        """Returns how many bands it has."""
        return len(self.bands)

    def band(self, number: int) -> Raster:
        """Returns one band as a Raster.

        Args:
            number: From 1, as GDAL counts.

        Raises:
            ParameterError: There is no such band.
        """
        if not 1 <= number <= len(self):
            known = f"bands 1 to {len(self)}" if len(self) > 1 else "one band, 1"
            raise ParameterError(f"{self.label} has {known}, not {number}")
        given = None if self.dates is None else self.dates[number - 1 : number]
        return Raster(self.grid, (self.bands[number - 1],), given)

    def __iter__(self) -> Iterator[Raster]:
        """Yields its bands, so that results unpack as those of arrays do: ``total, count = sums(dem)``."""
        return (self.band(number) for number in range(1, len(self) + 1))

    @property
    def times(self) -> NDArray[np.datetime64] | None:
        """When each band was taken, in seconds, or None: what kernels see as ``t.time``.

        As given to `tilejit.stack`; else by bands' descriptions, TIFFTAG_DATETIME, the time coordinate of netCDF or
        Zarr, or a date in the file's name: the first that says it of every band.
        """
        known = _dates_of(self.bands) if self.dates is None else self.dates
        return None if known is None else np.array(known, "datetime64[s]")

    @property
    def label(self) -> str:
        """What messages call it."""
        names = list(dict.fromkeys(_file_label(band) for band in self.bands))
        more = len(names) - _MOST_NAMES
        return ", ".join(names) if more <= 1 else f"{', '.join(names[:_MOST_NAMES])} and {more} more"

    def plan(
        self, path: str | os.PathLike[str] | None = None, *,
        nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
        executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
        tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
        progress: bool | None = None, profile: Mapping[str, Any] | None = None, resume: bool = False, cog: bool = False,
    ) -> Plan:  # fmt: skip
        """Returns how it would be computed, without reading a pixel: windows, halos, bytes, memory, backend and why.

        It takes what `save` takes; without a path it would be an array.

        Raises:
            MemoryLimitError: It does not fit the memory given.
        """
        options = RunOptions(
            nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress, profile, resume, cog
        )
        return plan_job(self, path, options).plan

    def predict(
        self, path: str | os.PathLike[str] | None = None, *,
        nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
        executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
        tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
        progress: bool | None = None, profile: Mapping[str, Any] | None = None, resume: bool = False, cog: bool = False,
    ) -> Prediction:  # fmt: skip
        """Returns how long `save` or `compute` will take.

        Some tiles from the middle of the inputs are run, and their results thrown away: a second or two, and the time
        that kernels take to compile.
        It takes what `save` takes; without a path it would be an array.

        Raises:
            PlanError: An input is no local file, or its blocks are very large.
            ReadError: Those tiles cannot be read.
        """
        from tilejit.engine.prediction import predict_job

        options = RunOptions(
            nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress, profile, resume, cog
        )
        with ends_heard():  # the tiles are written to a temporary folder
            return predict_job(plan_job(self, path, options))

    def read(
        self, window: Window | None = None, *,
        nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
        executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
        tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
        progress: bool | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """Computes a window of it into memory.

        Without a window all of it. The options are those of `save`, but ``overwrite`` is of the trace alone, and a
        progress bar is shown only where ``progress=True`` asks for one.

        Returns:
            A (band, row, col) array; invalid cells are NaN in floats, and the nodata value in integers.

        Raises:
            ParameterError: The window reaches outside the raster.
            ReadError: A block cannot be read.
        """
        options = RunOptions(nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress)
        return warned(*read_window(self, window, options))

    def compute(
        self, *,
        nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
        executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
        tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
        progress: bool | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """Computes all of it into memory; see `read`."""
        options = RunOptions(nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress)
        return warned(*read_window(self, None, options))

    async def acompute(
        self, *,
        nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
        executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
        tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
        progress: bool | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """Computes all of it into memory, as `compute` does, while the event loop goes on.

        Cancelling the task stops the run; the task ends when its threads have.
        """
        from tilejit.raster.asynchronous import acompute

        options = RunOptions(nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress)
        return await acompute(self, options)

    def tiles(
        self, *,
        nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
        executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
        tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
    ) -> AsyncGenerator[Tile, None]:  # fmt: skip
        """Computes it tile by tile, for ``async for``: in bounded memory, whatever its size, and into no file.

        Tiles come in no order. At most one for each worker waits, then the run does, so a slow receiver costs no
        memory. ``break``, an exception or cancelling the task stops the run.

        The options are those of `read`.

        Raises:
            TilejitError: From the ``async for``, as `read` does.

        Example:
            >>> import asyncio
            >>> import numpy as np
            >>> import tilejit as tj
            >>> async def total(raster):
            ...     return sum([tile.array.sum() async for tile in raster.tiles(tile=(2, 4))])
            >>> float(asyncio.run(total(tj.from_array(np.ones((8, 8), np.float32)))))
            64.0
        """
        from tilejit.raster.asynchronous import tiles

        options = RunOptions(nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite)
        return tiles(self, options)

    def save(
        self, path: str | os.PathLike[str], *,
        nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
        executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
        tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
        progress: bool | None = None, profile: Mapping[str, Any] | None = None, resume: bool = False, cog: bool = False,
    ) -> Report:  # fmt: skip
        """Computes it into a file: streamed, in bounded memory, on all cores or the GPU.

        The file is written under a temporary name, synced and renamed: it is there whole, or not at all.

        Args:
            path: The file: ``.tif`` for a GeoTIFF, ``.vrt`` for GeoTIFF shards under a VRT, ``.zarr`` for Zarr.
            nodata: The file's nodata value; None for the dtype's own; "none" for a file without one.
            dtype: "int16": values are rounded and held within its range.
            profile: GDAL's creation options by name, over tiled 512, ZSTD level 1 with the right predictor.
            overwrite: Whether existing files may be replaced.
            resume: Whether to keep a journal, and to go on from one that is there; see docs/resuming.md.
            cog: Whether the GeoTIFF is cloud-optimised, with overviews; see docs/outputs.md.
            backend: "auto", "cpu", "cuda" or "python".
            executor: "threads", "serial", "processes", "mpi", "dask", or a pool; see docs/executors.md.
            workers: Threads, or processes where those are started; None for all cores.
            memory: What the process may take, as "2GB".
            tile: Rows and columns of a tile.
            progress: Whether to show a progress bar; None: on a terminal.
            trace: A JSON file for chrome://tracing or ui.perfetto.dev: what each thread did when; written also when the
                run fails.

        Returns:
            What the run did, in figures.

        Raises:
            MemoryLimitError: It does not fit the memory given; nothing was read.
            SourceError: An input cannot be read.
            SinkError: The output cannot be written.
        """
        options = RunOptions(
            nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress, profile, resume, cog
        )
        return save_outputs({path: self}, options)

    async def asave(
        self, path: str | os.PathLike[str], *,
        nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
        executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
        tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
        progress: bool | None = None, profile: Mapping[str, Any] | None = None, resume: bool = False, cog: bool = False,
    ) -> Report:  # fmt: skip
        """Computes it into a file, as `save` does, while the event loop goes on.

        Cancelling the task stops the run: the task ends when its threads have, and no file is left.
        """
        from tilejit.raster.asynchronous import asave_outputs

        options = RunOptions(
            nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress, profile, resume, cog
        )
        return await asave_outputs({path: self}, options)

    def __repr__(self) -> str:
        times = self.times if len(self) > 1 else None
        dates = "" if times is None else f", {Times(tuple(times))}"
        return f"<Raster {self.label}: {counted(len(self), 'band')}{dates}, {self.grid}>"


def _file_label(band: Band) -> str:
    return band.source.name if isinstance(band, SourceBand) else band.application.kernel.name


def _dates_of(bands: tuple[Band, ...]) -> Dates | None:
    """When bands of files were taken, as these say; None where one does not.

    What a file says of all its bands is no date of several.
    """
    found: dict[tuple[int, np.datetime64], None] = {}
    known: dict[int, Dates | None] = {}
    for band in bands:
        if not isinstance(band, SourceBand):
            if band.date is None:
                return None
            found[-len(found), band.date] = None
            continue
        number = id(band.source)
        if number not in known:
            known[number] = _dates_of_source(band.source)
        dates = known[number]
        if dates is None:
            return None
        found[number, dates[band.info.index - 1]] = None
    return tuple(date for _, date in found) if len(found) == len(bands) else None


_COORDINATE = re.compile(r"NETCDF_DIM_(.+)|DIM_(.+)_VALUE")  # what a layer has in a coordinate, of netCDF and of Zarr
_CALENDARS = {"standard", "gregorian", "proleptic_gregorian"}


def _dates_of_source(source: Source) -> Dates | None:
    """When each band was taken, as the first says that tells it of all; what a file says of itself, each band has."""
    tags, count = storage_of(source).tags, len(source.bands)
    file = tags.tags.get("", {})
    found = (
        [date_in(info.description or "") for info in source.bands],
        [date_in(file.get("TIFFTAG_DATETIME", ""))] * count,
        [_by_coordinate(band.tags, file) for band in tags.bands] or [None],
        [date_in(Path(source.name).name)] * count,
    )
    return next((tuple(date for date in dates if date is not None) for dates in found if None not in dates), None)


def _by_coordinate(tags: Mapping[str, str], file: Mapping[str, str]) -> np.datetime64 | None:
    """By what GDAL says of a layer in netCDF's variables, and of Zarr's."""
    for name, value in tags.items():
        found = _COORDINATE.fullmatch(name)
        dimension = (found[1] or found[2]) if found else ""
        units = tags.get(f"DIM_{dimension}_UNIT", file.get(f"{dimension}#units", ""))
        if found and " since " in units and file.get(f"{dimension}#calendar", "standard") in _CALENDARS:
            return since(units, [float(value)])[0]
    return None
