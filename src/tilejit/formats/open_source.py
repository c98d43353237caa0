"""Opens a raster with what reads it best."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tilejit.formats.gdal.rasterio_source import open_rasterio
from tilejit.formats.geotiff.block_source import BlockSource
from tilejit.formats.geotiff.tiff_layout import read_layout
from tilejit.formats.source import storage_of
from tilejit.formats.target import beside, check_not_read

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tilejit.formats.source import Source


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a raster; no pixel is read.

    Args:
        path: A file, or a name in GDAL's own file systems.

    Returns:
        A source that reads the blocks of a plain GeoTIFF directly, or GDAL's, whose ``reader`` says why; close it.

    Raises:
        SourceError: There is no such file, or it holds what tilejit does not read; see `open_rasterio`.
    """
    source = open_rasterio(path)
    try:
        layout = read_layout(source, source.driver)
        if not isinstance(layout, str):
            return BlockSource(source, layout)
    except BaseException:
        source.close()
        raise
    source.storage = replace(source.storage, reader=f"through GDAL: {layout}")
    return source


def check_no_input(name: str, places: Sequence[Path], sources: Iterable[Source], what: str = "an output") -> None:
    """Refuse to write what is read; see `check_not_read`.

    Args:
        name: What is to be written.
        places: Its files and folders.
        sources: What is read.
        what: What is to be written, for the message.

    Raises:
        SinkError: A place is a source's file, or holds one.
    """
    if not beside(places):  # an input is there
        return
    by_name = {source.name: storage_of(source).files or (source.name,) for source in sources}
    files = {file: name for name, files in by_name.items() for file in files}
    check_not_read(name, places, files, what)


def is_opened_by_name(source: Source) -> bool:
    """Whether `open_source` gives the same in another process, by its name, or what its values are made of."""
    return storage_of(source).environment is not None
