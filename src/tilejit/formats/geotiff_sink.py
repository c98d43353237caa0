"""Which sink writes a GeoTIFF."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tilejit.formats.gdal.creation_options import block_of, default_options
from tilejit.formats.gdal.rasterio_sink import RasterioSink
from tilejit.formats.geotiff.block_sink import BlockSink
from tilejit.formats.output import OutputFile
from tilejit.formats.sink import WRITTEN_DIRECTLY, Storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np

    from tilejit.formats.sink import OutputProfile

_ANY_VALUE = {
    "BIGTIFF",
    "BLOCKXSIZE",
    "BLOCKYSIZE",
    "ALPHA",
    "ENDIANNESS",
    "GEOTIFF_KEYS_FLAVOR",
    "GEOTIFF_VERSION",
    "NUM_THREADS",
    "PREDICTOR",
    "SPARSE_OK",
    "TILED",
    "ZLEVEL",
    "ZSTD_LEVEL",
}
"""Options that say how blocks are cut and coded, or what the directory says: GDAL writes that."""
_VALUES = {
    "COMPRESS": {"NONE", "DEFLATE", "LZW", "ZSTD"},
    "INTERLEAVE": {"BAND", "PIXEL"},
    "PHOTOMETRIC": {"MINISBLACK", "MINISWHITE", "RGB"},
}
"""Options of which some values change the stored cells."""


def open_geotiff(profile: OutputProfile, threads: int = 1, *, synced: bool = True) -> BlockSink | RasterioSink:
    """Open the sink that a GeoTIFF's options ask for.

    Args:
        profile: What the file will be.
        threads: Threads that compress, where GDAL does.
        synced: Whether it is on the disk once it is committed.

    Raises:
        SinkError: The file cannot be created.
    """
    file = OutputFile(profile, synced=synced)
    if writer_of(file.options) == WRITTEN_DIRECTLY:
        return BlockSink(file)
    return RasterioSink(file, threads)


def geotiff_storage(dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]) -> Storage:
    """How a GeoTIFF with these options is stored; see `storage_at`."""
    complete = default_options(dtype, *shape, options, count)
    writer = writer_of(complete)
    return Storage(complete, block_of(complete, *shape), writer, shared=writer == WRITTEN_DIRECTLY)


def writer_of(options: Mapping[str, str]) -> str:
    """What writes a GeoTIFF, and why.

    Args:
        options: What `default_options` returned.

    Returns:
        A few words for the plan.

    Example:
        >>> writer_of({"COMPRESS": "JPEG"})
        'through GDAL: COMPRESS=JPEG'
    """
    odd = [f"{k}={v}" for k, v in options.items() if k not in _ANY_VALUE and v.upper() not in _VALUES.get(k, ())]
    if odd:
        return f"through GDAL: {', '.join(odd)}"
    return WRITTEN_DIRECTLY if hasattr(os, "pwrite") else "through GDAL: this system has no pwrite"
