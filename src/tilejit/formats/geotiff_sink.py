"""Which sink writes a GeoTIFF, and the one through GDAL, which takes every creation option."""

from __future__ import annotations

import math
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.gdal.creation_options import block_of, default_options, is_sparse
from tilejit.formats.gdal.library import load_rasterio, quiet
from tilejit.formats.gdal.new_file import close_dataset, create_dataset
from tilejit.formats.geotiff.block_sink import BlockSink
from tilejit.formats.output import OutputFile, checked_geotiff
from tilejit.formats.output_sink import OutputSink, OutputWriter
from tilejit.formats.sink import WRITTEN_DIRECTLY, SinkFormat, Storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from tilejit.formats.output_sink import Guard
    from tilejit.formats.sink import Manifest, OutputProfile
    from tilejit.window import Window


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
    """Open the sink that a GeoTIFF's options ask for; unless synced, who calls syncs the published file."""
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


class RasterioSink(OutputSink):
    """A GeoTIFF that GDAL writes, one window at a time; it compresses on threads of its own meanwhile.

    Raises:
        SinkError: The file cannot be created; nothing is left.
    """

    def __init__(self, file: OutputFile, threads: int = 1) -> None:
        super().__init__(file, file.block)
        self._file = file
        self._dataset: Any = None
        try:
            self._dataset = create_dataset(
                file.profile, file.temporary, {"NUM_THREADS": str(max(1, threads))} | file.options
            )
            file.start_flusher()
        except BaseException:
            self.abort()
            raise

    def _new_writer(self, guard: Guard) -> RasterioWriter:
        return RasterioWriter(self._profile, self._dataset, guard)

    def _merge(self, manifest: Manifest) -> Manifest:
        return manifest

    def _complete(self) -> None:
        self._close()
        check_blocks(self._file)

    def _publish(self) -> None:
        self._file.publish()

    def _close(self) -> None:
        dataset, self._dataset = self._dataset, None
        if dataset is not None:
            close_dataset(dataset)


class RasterioWriter(OutputWriter):
    """Writes windows in turns: GDAL takes one at a time."""

    def __init__(self, profile: OutputProfile, dataset: Any, guard: Guard) -> None:
        super().__init__(profile, None, guard)
        self._dataset = dataset
        self._lock = threading.Lock()

    def _put(self, window: Window, cells: NDArray[Any]) -> None:
        place = (window.row_off, window.row_end), (window.col_off, window.col_end)
        with self._lock:
            self._dataset.write(cells, window=place)

    def finish(self) -> Manifest:
        """Nothing that GDAL does not know."""


def check_blocks(file: OutputFile) -> None:
    """Find each block in the closed file: a full disk leaves offsets of zero or beyond the file's end.

    Raises:
        OSError: A block is missing.
    """
    size = file.temporary.stat().st_size
    sparse = is_sparse(file.options)
    separate = file.options.get("INTERLEAVE", "PIXEL").upper() == "BAND"
    rows, cols = (math.ceil(n / side) for n, side in zip(file.profile.grid.shape, file.block, strict=True))
    with quiet(), load_rasterio().open(file.temporary) as dataset:
        for band in range(1, (file.profile.count if separate else 1) + 1):
            for row, col in np.ndindex(rows, cols):
                offset = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band)
                length = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)
                if offset is None and sparse:
                    continue
                if offset is None or not int(length or 0) or int(offset) + int(length) > size:
                    raise OSError(
                        f"band {band}, block row {row}, block col {col} is not in the file: it should be at "
                        f"byte {offset}, {length} bytes long, and the file has {size}",
                    )


GEOTIFF = SinkFormat(name="GeoTIFF", open=open_geotiff, storage=geotiff_storage, check=checked_geotiff)
"""What `tilejit.formats.registry` finds."""
