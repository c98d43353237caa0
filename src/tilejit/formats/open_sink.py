"""Which sink writes an output: a table by the end of its name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import SinkError
from tilejit.formats.folders.shard_sink import ShardSink, check_shards_replaced, checked_shards, shard_storage, tiles_of
from tilejit.formats.folders.zarr_sink import ZarrSink, check_zarr_replaced, checked_zarr, zarr_storage
from tilejit.formats.geotiff_sink import geotiff_storage, open_geotiff
from tilejit.formats.output import checked_geotiff
from tilejit.formats.output_sink import FinishedSink
from tilejit.formats.target import temporary_of
from tilejit.system.files import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    import numpy as np

    from tilejit.formats.sink import OutputProfile, Sink, Storage


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What an output can be."""

    name: str
    """What messages call it."""
    suffixes: tuple[str, ...]
    """Names that end so are of this format, in lower case."""
    storage: Callable[[np.dtype[Any], tuple[int, int], int, Mapping[str, str]], Storage]
    """How cells of a dtype are stored: dtype, shape, bands, creation options."""
    check: Callable[[OutputProfile], Path]
    """The place behind the name, or a refusal."""
    open: Callable[[OutputProfile, int], Sink]
    """Opens the sink; the number is of the threads that compress, where GDAL does."""
    beside: Callable[[Path], Path] | None = None
    """What else it is, beside the file of its name."""
    check_replaced: Callable[[OutputProfile, Path], None] | None = None
    """Refuses to replace a folder for what it holds; None of what is no folder."""


FORMATS = (
    OutputFormat("GeoTIFF", (".tif", ".tiff", ".gtiff"), geotiff_storage, checked_geotiff, open_geotiff),
    OutputFormat(
        "a VRT of GeoTIFF shards",
        (".vrt",),
        shard_storage,
        checked_shards,
        lambda p, _: ShardSink(p),
        tiles_of,
        check_shards_replaced,
    ),
    OutputFormat("Zarr", (".zarr",), zarr_storage, checked_zarr, lambda p, _: ZarrSink(p), None, check_zarr_replaced),
)
"""All that is written."""


def format_of(path: str) -> OutputFormat:
    """What a name says that an output is.

    Raises:
        SinkError: It says nothing that is written.

    Example:
        >>> format_of("slope.VRT").name
        'a VRT of GeoTIFF shards'
    """
    suffix = Path(path).suffix.lower()
    found = next((f for f in FORMATS if suffix in f.suffixes), None)
    if found is None:
        known = ", ".join(f"{f.name} ({f.suffixes[0]})" for f in FORMATS)
        raise SinkError(
            f"{path}: tilejit writes {known}: give a name that ends in .tif, and convert it after that "
            "(gdal_translate, rio convert)"
        )
    return found


def storage_at(
    path: str, dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]
) -> Storage:
    """How an output is stored.

    Args:
        path: Its name.
        dtype: The type to store.
        shape: Rows and columns.
        count: Bands.
        options: Creation options, over tilejit's own.

    Raises:
        SinkError: The name or an option is not one of those that are known.
    """
    return format_of(path).storage(dtype, shape, count, options)


def checked_target(profile: OutputProfile) -> Path:
    """The place behind an output's name, with every refusal that needs no GDAL.

    Raises:
        SinkError: Its name is no format's, not local, cannot be written to, or exists already.
    """
    return format_of(profile.path).check(profile)


def open_sink(profile: OutputProfile, threads: int = 1) -> Sink:
    """Open the sink that an output's name and options ask for.

    Args:
        profile: What the output will be.
        threads: Threads that compress, where GDAL does.

    Raises:
        SinkError: The name is no format's, or the output cannot be created.
    """
    if profile.checkpoint is not None and profile.checkpoint.stage == "complete":
        check = format_of(profile.path).check_replaced
        return FinishedSink(profile, renames_of(profile), check)
    return format_of(profile.path).open(profile, threads)


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
