"""Formats by the end of a name: tilejit's own, and those of other packages, which declare them as entry points."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import SourceError, TilejitError
from tilejit.formats.files import absolute_name, check_unchanged, size_of, states_of
from tilejit.formats.gdal.library import Environment
from tilejit.formats.geotiff.block_source import open_file
from tilejit.formats.source import make_ready, storage_of
from tilejit.formats.target import beside, check_not_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from importlib.metadata import EntryPoint

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.source import BandInfo, Source, SourceStorage
    from tilejit.grid import Grid
    from tilejit.window import Window

SOURCES, SINKS = "tilejit.sources", "tilejit.sinks"
"""Groups of entry points: the name ``ramp`` stands for names that end in ``.ramp`` or begin with ``ramp://``."""
OWN_SOURCES = dict.fromkeys((".tif", ".tiff", ".gtiff", ".vrt"), open_file)
"""What opens files of our own formats; what other names are, other packages are asked first, and then GDAL."""


def outside_format(group: str, name: str) -> Any:
    """What another package declares in a group for the name of an input or output; None where none does.

    Raises:
        SourceError: The package cannot be imported.
    """
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
    """Open a raster by its name; no pixel is read.

    Args:
        path: A file, a name in GDAL's own file systems, or one that another package takes.

    Returns:
        The source, which other processes can open by its name too; close it.

    Raises:
        SourceError: There is no such file, or it holds what tilejit does not read; see `open_rasterio`.
    """
    name = absolute_name(os.fspath(path))
    own = OWN_SOURCES.get(Path(name).suffix.lower())
    outside = outside_format(SOURCES, name) if own is None else None
    return open_file(name) if outside is None else _open_outside(name, outside)


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

    source: Source
    """The package's own."""
    name: str
    grid: Grid
    bands: tuple[BandInfo, ...]
    block: tuple[int, int]
    storage: SourceStorage

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[Any, ...]]:
        return (self.storage.environment or Environment()).call, (open_source, self.name)

    def read(
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None = None,
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
    """Refuse to write what is read, to files and folders of which a source's file is one; see `check_not_read`.

    Raises:
        SinkError: A place is a source's file, or holds one.
    """
    if not beside(places):  # an input is there
        return
    by_name = {source.name: storage_of(source).files or (source.name,) for source in sources}
    files = {file: name for name, files in by_name.items() for file in files}
    check_not_read(name, places, files, what)
