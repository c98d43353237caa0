"""The options of a run, the settings that they come to, and what its outputs will be.

A band that no kernel touched is a copy, and says what GDAL's own copies say (`gdal_translate`). What kernels make says
for itself what it is; of its inputs' tags only AREA_OR_POINT, RPCs and ground control points hold, which say where
cells lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.dispatch import choose_backend
from tilejit.engine.planning.graph import Band, ResultBand, SourceBand, applications_of, needed_bands, sources_of
from tilejit.engine.planning.planner import Settings
from tilejit.errors import ParameterError, SinkError
from tilejit.formats.files import BandTags, FileTags
from tilejit.formats.gdal.creation_options import COG
from tilejit.formats.gdal.new_file import needs_side_file
from tilejit.formats.registry import format_of, storage_at
from tilejit.formats.sink import OutputProfile, Stacked, Storage
from tilejit.formats.source import storage_of
from tilejit.grid import Grid, crs_name
from tilejit.sizes import parse_size
from tilejit.system.limits import allowed_cores, available_cores

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from tilejit.engine.executors.base import Executor
    from tilejit.engine.planning.steps import Write


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run was asked for; its fields are the options of `tilejit.save`.

    Raises:
        ParameterError: One makes no sense.
    """

    nodata: float | Literal["none"] | None = None
    """The nodata value of the outputs; None for the dtype's own; ``"none"`` for outputs without one, where there are no
    cells without data: an integer that is one all the same holds the dtype's own, and that is told."""
    dtype: DTypeLike | None = None
    """The dtype of the outputs; None for that of what they are made of."""
    backend: str = "auto"
    """``"auto"``, ``"cpu"``, ``"cuda"`` or ``"python"``."""
    executor: Any = "threads"
    """``"threads"``, ``"serial"``, ``"processes"``, ``"mpi"``, ``"dask"``, the address of a Dask scheduler, a
    ``distributed.Client`` or an executor of ``concurrent.futures``; see docs/executors.md."""
    workers: int | None = None
    """Threads, or processes where those are started; None for all cores."""
    memory: str | int | None = None
    """What the process may take: ``"2GB"``."""
    tile: tuple[int, int] | None = None
    """Rows and columns of a tile; None to choose."""
    trace: str | os.PathLike[str] | None = None
    """Where to write a Chrome trace of the run, a JSON file; None for none."""
    overwrite: bool = False
    """Whether existing files may be replaced."""
    progress: bool | None = None
    """Whether to show a progress bar; None: on a terminal."""
    profile: Mapping[str, Any] | None = None
    """GDAL's creation options by name."""
    resume: bool = False
    """Whether to keep a journal of finished tiles, and to go on from the one of a run that failed."""
    cog: bool = False
    """Whether GeoTIFFs are cloud-optimised, with overviews."""

    def __post_init__(self) -> None:
        workers = self.workers
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
            raise ParameterError(f"workers={workers!r}; it is a count of threads or processes, 1 or more")
        _check_tile(self.tile)

    def settings(self, bands: Sequence[Band], executor: Executor | None = None) -> Settings:
        """Returns what they come to for a run that makes ``bands``.

        Args:
            bands: What is made.
            executor: What runs it; None for threads of this process.

        Raises:
            ParameterError: The memory is no size.
            BackendError: The backend asked for cannot run here.
        """
        kernels = [application.kernel for application in applications_of(needed_bands(bands))]
        backend, reason = choose_backend(self.backend or "auto", kernels)
        return Settings(
            backend,
            reason,
            self._threads(executor),
            None if self.memory is None else parse_size(self.memory),
            self.tile,
            (self.executor or "threads") if executor is None else executor.name,
            executor.workers if executor is not None and executor.local else 1,
        )

    def _threads(self, executor: Executor | None) -> int:
        """The threads of each process: processes times threads are the cores of this machine.

        How many cores workers elsewhere have is not known here: there one is started for each core.
        """
        if executor is not None and executor.local and executor.name == "mpi":
            # What its launcher says in variables, it says of each rank.
            return max(1, min(available_cores(), allowed_cores() // executor.workers))
        if executor is not None:
            return max(1, available_cores() // executor.workers) if executor.local else 1
        return 1 if self.executor == "serial" else self.workers or available_cores()

    def asked_of(self, request: Request) -> Request:
        """Returns a request with what they say of the cells of outputs.

        Raises:
            ParameterError: The dtype is none that a raster holds, or the output cannot be without a nodata value.
        """
        if isinstance(self.nodata, str) and self.nodata == "none":
            if request.path.lower().endswith(".zarr"):
                raise ParameterError(
                    f"{request.path}: a Zarr array has a fill value, which GDAL takes for its nodata value: give a "
                    "nodata= that no cell has, or write .tif or .vrt"
                )
            request = replace(request, nodata=None, is_tagged=False)
        else:
            request = replace(request, nodata=self.nodata)
        return request if self.dtype is None else replace(request, dtype=_output_dtype(self.dtype))

    @property
    def creation(self) -> dict[str, str]:
        """The creation options, with their names in upper case."""
        return upper_options(self.profile or {}) | ({COG: "YES"} if self.cog else {})


def upper_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Creation options with their names in upper case."""
    try:
        return {name.upper(): str(value) for name, value in options.items()}
    except AttributeError as error:
        raise ParameterError(
            f"profile={options!r}; it is GDAL's creation options by name: {{'compress': 'deflate'}}"
        ) from error


def _output_dtype(given: DTypeLike) -> np.dtype:
    try:
        dtype = np.dtype(given).newbyteorder("=")
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
        raise ParameterError(f"dtype={given!r} is none that a raster holds: give uint8, int16, float32 or such")
    return dtype


def _check_tile(tile: Any) -> None:
    if tile is None:
        return
    try:
        rows, cols = (index(side) for side in tile)
    except (TypeError, ValueError):
        rows = cols = 0
    if rows < 1 or cols < 1:
        raise ParameterError(f"tile={tile!r}; it is rows and columns, 1 or more each: (512, 2048)")


_POINT = "AREA_OR_POINT"  # whether a cell's value holds for its area or for its middle


def file_request(
    bands: tuple[Band, ...], grid: Grid, path: str, options: Mapping[str, str], nodata: float | None = None
) -> Request:
    """The request for an output file, by creation options whose names are in upper case."""
    if options.get(COG) and format_of(path).name != "GeoTIFF":
        raise SinkError(f"{path}: cog=True makes a GeoTIFF: give a name that ends in .tif, or leave it out")

    def storage(dtype: np.dtype) -> Storage:
        return storage_at(path, dtype, grid.shape, len(bands), options)

    return Request(bands, path, nodata, storage, notes=_notes(bands, grid, path))


def _notes(bands: Sequence[Band], grid: Grid, path: str) -> tuple[str, ...]:
    """What an output keeps in another place than its input, or does not keep."""
    told = [storage_of(source).tags for source in sources_of(bands)]
    suffix, notes = Path(path).suffix.lower(), []
    if suffix == ".zarr":
        lost = {
            "ground control points": any(tags.ground for tags in told),
            "rational polynomials (RPC)": any(tags.tags.get("RPC") for tags in told),
            "AREA_OR_POINT=Point": any(tags.tags.get("", {}).get(_POINT) == "Point" for tags in told),
        }
        notes += [f"Zarr does not keep {what}" for what, is_there in lost.items() if is_there]
    elif suffix != ".vrt" and needs_side_file(grid):
        notes.append(f"GeoTIFF does not hold {crs_name(grid.crs)}: it goes into {Path(path).name}.aux.xml")
    if any(tags.ground != told[0].ground for tags in told):
        notes.append("the inputs' ground control points differ, and are not kept")
    return tuple(notes)


def output_profile(
    bands: Sequence[Band], grid: Grid, write: Write, options: Mapping[str, str], *, overwrite: bool
) -> OutputProfile:
    """What an output file will be."""
    return OutputProfile(
        path=write.path, grid=grid, count=len(bands), dtype=write.dtype, nodata=write.tag, stacked=_stacked(bands),
        descriptions=tuple(b.info.description if isinstance(b, SourceBand) else b.description for b in bands),
        units=tuple(band.unit for band in bands), tags=_carried_tags(bands, write), options=options,
        overwrite=overwrite,
    )  # fmt: skip


def _stacked(bands: Sequence[Band]) -> Stacked | None:
    """What bands are together, where a kernel has given a value for each of some dates."""
    dates = tuple(band.date for band in bands if isinstance(band, ResultBand) and band.date is not None)
    makers = {id(band.application): band.application for band in bands if isinstance(band, ResultBand)}
    is_one = len(makers) == 1 and len(dates) == len(bands)
    return Stacked(next(iter(makers.values())).kernel.name, dates) if is_one else None


def _carried_tags(bands: Sequence[Band], write: Write) -> FileTags:
    """What goes along from the inputs to an output: of the file, what all inputs agree upon."""
    told = [storage_of(source).tags for source in sources_of(bands)]
    said = [tags.tags for tags in told]
    copied = all(isinstance(band, SourceBand) for band in bands)
    spaces = dict.fromkeys(space for tags in said for space in tags)
    common = {space: _common([tags.get(space, {}) for tags in said]) for space in spaces}
    if not copied:
        default = {name: value for name, value in common.get("", {}).items() if name == _POINT}
        common = {"": default, "RPC": common.get("RPC", {})}
    ground = told[0].ground if all(tags.ground == told[0].ground for tags in told) else None
    return FileTags(common, tuple(_band_tags(band, k, write) for k, band in enumerate(bands)), ground)


def _common(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {name: value for name, value in tags[0].items() if all(other.get(name) == value for other in tags)}


def _band_tags(band: Band, position: int, write: Write) -> BandTags:
    known = storage_of(band.source).tags.bands if isinstance(band, SourceBand) else ()
    if not isinstance(band, SourceBand) or not known:
        return BandTags()
    tags = known[band.info.index - 1]
    # A TIFF has one table, for its first band, with at most an alpha band beside it.
    has_table = position == 0 and len(write.planes) <= 2 and write.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}
    kept = tags if _is_unchanged(band, write) else tags.without_statistics()
    return kept if has_table else replace(kept, table=None)


def _is_unchanged(band: SourceBand, write: Write) -> bool:
    """Whether a copy holds the same cells, of which the same ones count as valid."""
    info = band.info
    if info.has_mask or not write.is_tagged or write.dtype != info.dtype.newbyteorder("="):
        return False
    if info.nodata is None or write.nodata is None:
        # Statistics leave NaN out, be it nodata or not.
        return write.nodata is None or (info.nodata is None and isnan(write.nodata))
    return write.nodata == info.nodata or (isnan(write.nodata) and isnan(info.nodata))
