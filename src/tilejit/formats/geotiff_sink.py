"""GeoTIFF outputs: by blocks that the writing threads encode, or through GDAL, which takes every creation option."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.append_file import AppendFile, CachedAppendFile, open_append_file
from tilejit.formats.gdal.creation_options import (
    COG,
    RESAMPLING,
    block_of,
    default_options,
    is_auto,
    is_sparse,
    level_of,
    without_overviews,
)
from tilejit.formats.gdal.library import load_rasterio, quiet
from tilejit.formats.gdal.new_file import close_dataset, create_dataset
from tilejit.formats.geotiff.block_writer import BlockEncoder, BlockWriter, SharedAppendFile, open_blocks
from tilejit.formats.geotiff.blocks import BlockGrid
from tilejit.formats.geotiff.tiff_directory import read_skeleton
from tilejit.formats.output import OutputFile, checked_geotiff
from tilejit.formats.output_sink import OutputSink, OutputWriter, never_written
from tilejit.formats.sink import WRITTEN_DIRECTLY, Manifest, OutputProfile, SinkFormat, Storage, WriterOpener
from tilejit.system.identity import FileIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from numpy.typing import NDArray

    from tilejit.formats.codecs.block_codec import Encoded
    from tilejit.formats.output_sink import Guard
    from tilejit.window import Window


_ANY_VALUE = {
    "ALPHA", "BIGTIFF", "BLOCKXSIZE", "BLOCKYSIZE", "ENDIANNESS", "GEOTIFF_KEYS_FLAVOR", "GEOTIFF_VERSION",
    "NUM_THREADS", "PREDICTOR", "SPARSE_OK", "TILED", "ZLEVEL", "ZSTD_LEVEL",
}  # fmt: skip
"""Options that say how blocks are cut and coded, or what the directory says: GDAL writes that."""
_VALUES = {
    "COMPRESS": {"NONE", "DEFLATE", "LZW", "ZSTD"},
    "INTERLEAVE": {"BAND", "PIXEL"},
    "PHOTOMETRIC": {"MINISBLACK", "MINISWHITE", "RGB"},
}
"""Options of which some values change the stored cells."""


def open_geotiff(profile: OutputProfile, threads: int = 1, *, synced: bool = True) -> BlockSink | RasterioSink:
    """Open the sink that a GeoTIFF's options ask for; unless synced, who calls syncs the published file."""
    plain, overviews = without_overviews(profile.options, profile.dtype, profile.count)
    file = OutputFile(replace(profile, options=plain), synced=synced)
    if writer_of(file.options) == WRITTEN_DIRECTLY:
        return BlockSink(file, overviews, threads)
    return RasterioSink(file, threads)


def geotiff_storage(dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]) -> Storage:
    """How a GeoTIFF with these options is stored; see `storage_at`."""
    plain, overviews = without_overviews(options, dtype, count)
    complete = default_options(dtype, *shape, plain, count)
    writer = writer_of(complete)
    if overviews:
        _check_cog(complete, writer)
        complete |= {COG: "YES", RESAMPLING: overviews}
    return Storage(complete, block_of(complete, *shape), writer, shared=writer == WRITTEN_DIRECTLY)


def _check_cog(options: Mapping[str, str], writer: str) -> None:
    """Refuse a COG that `make_cog` cannot make."""
    if options.get("TILED", "NO").upper() in {"NO", "FALSE", "OFF", "0"}:
        raise SinkError("a COG is tiled: leave TILED=NO out, or cog=True")
    if writer != WRITTEN_DIRECTLY:
        raise SinkError(
            f"a COG is made of blocks that are written directly, and this file would be written {writer}: choose "
            "compress=zstd, deflate, lzw or none; or save shards (.vrt), of which tilejit merge --cog makes one by GDAL"
        )


def writer_of(options: Mapping[str, str]) -> str:
    """What writes a GeoTIFF with complete options, and why, in a few words for the plan.

    Example:
        >>> writer_of({"COMPRESS": "JPEG"})
        'through GDAL: COMPRESS=JPEG'
    """
    odd = [f"{k}={v}" for k, v in options.items() if k not in _ANY_VALUE and v.upper() not in _VALUES.get(k, ())]
    if odd:
        return f"through GDAL: {', '.join(odd)}"
    return WRITTEN_DIRECTLY if hasattr(os, "pwrite") else "through GDAL: this system has no pwrite"


def _cog() -> ModuleType:
    """What makes a COG, which few files are."""
    from tilejit.formats.geotiff import cog

    return cog


class BlockSink(OutputSink):
    """A GeoTIFF that is written block by block.

    GDAL creates the file with all its tags and no blocks. Each block is encoded by the thread that writes it and
    appended, in any order. The directory's offsets and byte counts are filled in at the end. With a way to make
    ``overviews`` a COG is made of it then, on so many threads.
    """

    def __init__(self, file: OutputFile, overviews: str = "", threads: int = 1) -> None:
        super().__init__(file, file.block)
        self._file, self._overviews, self._threads = file, overviews, threads
        self._appended: AppendFile | None = None
        self._shared: SharedAppendFile | None = None
        try:
            dataset = (
                None
                if file.kept
                else create_dataset(file.profile, file.temporary, file.options | {"SPARSE_OK": "TRUE"})
            )
            with file.completing("created"):
                self._take_over(dataset)
        except BaseException:
            self.abort()
            raise

    def _take_over(self, dataset: Any) -> None:
        """Have GDAL write the directory and let go of the file, unless an earlier run has."""
        file, profile = self._file, self._profile
        if dataset is not None:
            close_dataset(dataset)
            file.settle()
        self._is_cog = file.kept and bool(self._overviews) and _cog().is_cog(file.temporary)
        """Whether an earlier run has made the COG, of all blocks, and ended before it was named."""
        self._skeleton = skeleton = read_skeleton(file.temporary, level_of(file.options))
        samples = skeleton.codec.samples
        self._blocks = BlockGrid(profile.grid.shape, self.block, skeleton.tiled, profile.count // samples)
        self._encoder = BlockEncoder(
            profile, self._blocks, skeleton.codec, sparse=is_sparse(file.options), auto=is_auto(file.options)
        )
        if profile.checkpoint is None and not self._overviews:
            self._appended = open_append_file(file.temporary, profile.raw_bytes)
        else:
            # What a journal says must not lie in a buffer of this process, and who keeps the journal syncs. What
            # overviews are made of is read again, from the page cache.
            self._appended = CachedAppendFile(file.temporary)
        if isinstance(self._appended, CachedAppendFile):
            file.start_flusher()
        self._offsets = np.zeros(skeleton.offsets.count, np.int64)
        self._counts = np.zeros(skeleton.counts.count, np.int64)

    @property
    def coding(self) -> str:
        """What has encoded the blocks so far, and about how much that cost; empty where there is no choice."""
        return self._encoder.coding

    def _new_writer(self, guard: Guard) -> BlockWriter:
        return BlockWriter(self._encoder, self._append, guard)

    def opener(self, *, local: bool) -> WriterOpener:
        """What encodes blocks elsewhere, and appends them here or sends them home; see `opener_of`."""
        self._open_writers()
        if local:
            self._shared = SharedAppendFile(FileIdentity.of(self._file.temporary), self._skeleton.largest)
        return partial(open_blocks, self._encoder, self._shared)

    def _append(self, blocks: Iterable[tuple[int, Encoded]]) -> list[tuple[int, int, int]]:
        """Put blocks into the file; returns the number, offset and byte count of each."""
        if self._shared is not None:  # others append, too
            return self._shared.append(blocks)
        entries = []
        for number, data in blocks:
            stored = np.frombuffer(data, np.uint8)
            entries.append((number, self._open_file().append(stored, self._skeleton.largest), stored.size))
        return entries

    def _merge(self, manifest: Manifest) -> Manifest:
        """Note where blocks are, or append those that a writer sends home."""
        numbers = manifest["blocks"]
        if "data" in manifest:
            with self._writing("what a worker sent"):
                entries = self._append(zip(numbers, manifest["data"], strict=True))
            _, offsets, counts = zip(*entries, strict=True) if entries else ((), (), ())
        else:
            offsets, counts = manifest["offsets"], manifest["counts"]
        self._offsets[numbers], self._counts[numbers] = offsets, counts
        if self._profile.checkpoint is None:
            return None
        return {"blocks": list(numbers), "offsets": list(offsets), "counts": list(counts)}

    def _begin(self) -> None:
        """Cut off what was written after the last entry of a journal."""
        if self._is_cog:
            return
        end, size = int((self._offsets + self._counts).max(initial=0)), self._file.temporary.stat().st_size
        if size < end:
            raise SinkError(
                f"{self._profile.path}: cannot go on: {self._file.temporary} has {size:,} bytes, and its journal "
                f"says {end:,}: delete both to begin anew"
            )
        if end:
            os.ftruncate(self._open_file().descriptor, end)
            self._close()
            self._appended = CachedAppendFile(self._file.temporary)

    def _complete(self) -> None:
        """Enter the blocks into the directory, and make a COG of them if it is to be one."""
        if self._is_cog:
            return
        if not is_sparse(self._file.options) and not self._counts.all():
            place = self._blocks.place(int(np.argmin(self._counts)))
            band = f"band {place.plane + 1}, " if self._blocks.planes > 1 else ""
            raise never_written(f"{band}block row {place.row}, block col {place.col}")
        self._open_file().finish()
        self._skeleton.enter(self._open_file().descriptor, self._offsets, self._counts)
        if self._overviews:
            _cog().make_cog(self._file, self._overviews, self._threads)

    def _open_file(self) -> AppendFile:
        if self._appended is None:
            raise SinkError(f"{self._profile.path}: the output has been published or aborted")
        return self._appended

    def _close(self) -> None:
        appended, self._appended = self._appended, None
        if appended is not None:
            appended.close()


class RasterioSink(OutputSink):
    """A GeoTIFF that GDAL writes, one window at a time; it compresses on threads of its own meanwhile."""

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

    def _complete(self) -> None:
        self._close()
        check_blocks(self._file)

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
    """Find each block in the closed file: a full disk leaves offsets of zero or beyond the file's end."""
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
                        f"byte {offset}, {length} bytes long, and the file has {size}"
                    )


GEOTIFF = SinkFormat(name="GeoTIFF", open=open_geotiff, storage=geotiff_storage, check=checked_geotiff)
"""What `tilejit.formats.registry` finds."""
