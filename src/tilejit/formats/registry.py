"""Formats by the end of a name: tilejit's own, and those of other packages, which declare them as entry points."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import SinkError, SourceError, TilejitError
from tilejit.formats.files import absolute_name, check_unchanged, size_of, states_of
from tilejit.formats.gdal.library import Environment
from tilejit.formats.geotiff.block_source import open_file
from tilejit.formats.source import BandInfo, Source, SourceStorage, make_ready, storage_of
from tilejit.formats.target import beside, check_not_read, temporary_of
from tilejit.system.files import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from importlib.metadata import EntryPoint

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.sink import OutputProfile, Sink, SinkFormat, Storage
    from tilejit.grid import Grid
    from tilejit.window import Window

SOURCES, SINKS = "tilejit.sources", "tilejit.sinks"
"""Groups of entry points: the name ``ramp`` stands for names that end in ``.ramp`` or begin with ``ramp://``."""
OWN_SOURCES = dict.fromkeys((".tif", ".tiff", ".gtiff", ".vrt"), open_file)
"""What opens files of our own formats; what other names are, other packages are asked first, and then GDAL."""


def outside_format(group: str, name: str) -> Any:
    """What another package declares in a group for the name of an input or output; None where none does."""
    points = _outside_formats(group, tuple(sys.path))
    point = points.get(Path(name).suffix.lower()) or points.get(f"{name.partition('://')[0].lower()}://")
    if point is None:
        return None
    try:
        return point.load()
    except Exception as error:
        package = point.dist.name if point.dist else point.value
        raise SourceError(f"{name}: {package} declares the format {point.name}, and is broken: {error}") from error


@functools.lru_cache(maxsize=4)
def _outside_formats(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Entry points by the suffix and by the scheme that they take, as long as the import path is the same."""
    from importlib.metadata import entry_points  # its import takes as long as opening a file

    del path
    points = [(point.name.lower(), point) for point in entry_points(group=group)]
    return {key: point for name, point in points for key in (f".{name}", f"{name}://")}


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a raster by a name, GDAL's or another package's; no pixel is read. Other processes can open it so too."""
    name = absolute_name(os.fspath(path))
    if name.startswith("ZARR:"):
        from tilejit.formats.zarr_source import open_zarr

        return open_zarr(name)
    own = OWN_SOURCES.get(Path(name).suffix.lower())
    outside = outside_format(SOURCES, name) if own is None else None
    return _open_file(name) if outside is None else _open_outside(name, outside)


def _open_file(name: str) -> Source:
    """Open a file by GDAL; of a Zarr store that has no raster for it, the one variable that there is."""
    try:
        return open_file(name)
    except SourceError:
        if Path(name).suffix.lower() != ".zarr" or not Path(name).is_dir():
            raise
        from tilejit.formats.zarr_source import only_variable, open_zarr

        return open_zarr(variable_name(name, only_variable(name)))


def variable_name(path: str | os.PathLike[str], variable: str) -> str:
    """The name of a variable of a netCDF file or a Zarr store, as GDAL spells it.

    Example:
        >>> variable_name("cube.zarr", "ndvi"), variable_name("tas.nc", "tas")
        ('ZARR:"cube.zarr":/ndvi', 'NETCDF:"tas.nc":tas')
    """
    name = os.fspath(path)
    if Path(name).suffix.lower() == ".zarr":
        return f'ZARR:"{name}":/{variable}'
    if Path(name).suffix.lower() in {".nc", ".nc4", ".cdf", ".netcdf"}:
        return f'NETCDF:"{name}":{variable}'
    raise SourceError(f"{name}: variable={variable!r} is of a netCDF file (.nc) or a Zarr store (.zarr): leave it out")


def _open_outside(name: str, opener: Callable[[str], Source]) -> Source:
    try:
        source = opener(name)
    except TilejitError:
        raise
    except Exception as error:
        raise SourceError(f"{name}: cannot be opened by {opener.__module__}: {error}") from error
    told = storage_of(source)
    stored = told.stored_bytes if told.stored_bytes is not None else size_of(name)
    files = told.files or states_of([name])
    storage = replace(told, stored_bytes=stored, files=files, environment=Environment.current())
    return OutsideSource(source, name, source.grid, source.bands, source.block, storage)


@dataclass(frozen=True, eq=False, slots=True)
class OutsideSource:
    """A source of another package, with the name that opens it, and whether its files are still those."""

    source: Source  # the package's own
    name: str
    grid: Grid
    bands: tuple[BandInfo, ...]
    block: tuple[int, int]
    storage: SourceStorage

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[Any, ...]]:
        return (self.storage.environment or Environment()).call, (open_source, self.name)

    def read(
        self, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None = None
    ) -> None:
        """Read a window; see `Source.read`."""
        self.source.read(bands, window, out, valid)

    def ready(self, threads: int, blocks: int) -> None:
        """Make ready for a run; see `make_ready`."""
        check_unchanged(self.name, self.storage.files)
        make_ready(self.source, threads, blocks)

    def close(self) -> None:
        """Let go of the file."""
        self.source.close()


def is_opened_by_name(source: Source) -> bool:
    """Whether `open_source` gives the same in another process, by its name, or what its values are made of."""
    return storage_of(source).environment is not None


def check_no_input(name: str, places: Sequence[Path], sources: Iterable[Source], what: str = "an output") -> None:
    """Refuse to write what is read, to files and folders of which a source's file is one; see `check_not_read`."""
    if not beside(places):  # an input is there
        return
    by_name = {source.name: storage_of(source).files or (source.name,) for source in sources}
    files = {file: name for name, files in by_name.items() for file in files}
    check_not_read(name, places, files, what)


OWN_SINKS = dict.fromkeys((".tif", ".tiff", ".gtiff"), "tilejit.formats.geotiff_sink:GEOTIFF") | {
    ".vrt": "tilejit.formats.folders.shards:SHARDS",
    ".zarr": "tilejit.formats.folders.zarr_sink:ZARR",
}
"""Where the `SinkFormat` of our own formats is, by the end of a name; other packages are asked for what else there is.

A run imports those that it writes."""


def _own_format(suffix: str) -> SinkFormat | None:
    module, _, name = OWN_SINKS.get(suffix, "").partition(":")
    return getattr(importlib.import_module(module), name) if module else None


def format_of(path: str) -> SinkFormat:
    """What a name says that an output is.

    Example:
        >>> format_of("slope.VRT").name
        'a VRT of GeoTIFF shards'
    """
    suffix = Path(path).suffix.lower()
    found: SinkFormat | None = _own_format(suffix) or outside_format(SINKS, path)
    if found is None:
        raise SinkError(
            f"{path}: tilejit writes GeoTIFF (.tif), a VRT of GeoTIFF shards (.vrt), Zarr (.zarr): give a name that "
            "ends in .tif, and convert it after that (gdal_translate, rio convert)"
        )
    return found


def storage_at(
    path: str, dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]
) -> Storage:
    """How an output of that name is stored, with creation options over tilejit's own."""
    return format_of(path).storage(dtype, shape, count, options)


def checked_target(profile: OutputProfile) -> Path:
    """The place behind an output's name, with every refusal that needs no GDAL."""
    return format_of(profile.path).check(profile)


def open_sink(profile: OutputProfile, threads: int = 1) -> Sink:
    """Open the sink that an output's name and options ask for; where GDAL compresses, on so many threads."""
    form = format_of(profile.path)
    if profile.checkpoint is not None and profile.checkpoint.stage == "complete":
        from tilejit.formats.output_sink import FinishedSink

        return FinishedSink(profile, renames_of(profile), form.check_replaced)
    return form.open(profile, threads)


def places_of(path: str) -> list[Path]:
    """The files and folders that an output is.

    Example:
        >>> [str(place) for place in places_of("slope.vrt")]
        ['slope.vrt', 'slope.tiles']
    """
    beside = format_of(path).beside
    return [Path(path), *([] if beside is None else [beside(Path(path))])]


def renames_of(profile: OutputProfile) -> list[tuple[Path, Path]]:
    """What a kept output is called until it is complete, and then: a folder before the file that names its parts."""
    places = places_of(os.path.realpath(profile.path))
    return [(temporary_of(place, profile.checkpoint), place) for place in reversed(places)]


def is_begun(profile: OutputProfile) -> bool:
    """Whether an earlier run has left what a profile keeps."""
    temporary, _ = renames_of(profile)[0]
    return kind_of(temporary) is not None


def stored_bytes(path: str) -> int:
    """Bytes that an output takes on the disk."""
    files = [f for place in places_of(path) for f in ([place] if place.is_file() else place.rglob("*"))]
    return sum(f.stat().st_size for f in files if f.is_file())
