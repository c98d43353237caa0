"""Where the blocks of a TIFF lie and how they are coded, of a file whose blocks need no GDAL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import CodecError
from tilejit.formats.codecs import BlockCodec
from tilejit.formats.geotiff.block_grid import BlockGrid
from tilejit.formats.geotiff.tiff_tags import COMPRESSIONS, KINDS, SEPARATE, UNSIGNED
from tilejit.formats.source import Decoding, storage_of
from tilejit.sizes import counted
from tilejit.system.logs import unlogged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.formats.source import BandInfo, Source

_PLAIN_COLOURS = {0, 1, 2, 3}
"""White or black is zero, RGB, a palette: cells are stored as they are read."""
_SMALL_BLOCK, _RUN_BYTES = 1 << 16, 1 << 18
"""Blocks below the one are read in runs of the other: a call for each then takes longer than its decoding."""
_NO_LIMIT = 0xFFFFFFFF
"""What RowsPerStrip says where the whole raster is one strip."""


@dataclass(frozen=True, slots=True, eq=False)
class TiffLayout:
    """Where the blocks of a TIFF lie and how they are coded."""

    codec: BlockCodec
    """What decodes a block."""
    grid: BlockGrid
    """Where they lie in the raster."""
    offsets: NDArray[Any]
    """The first byte of each block; says nothing where there is none."""
    counts: NDArray[Any]
    """The bytes of each block; 0 where there is none."""

    def are_missing(self, number: int, count: int) -> bool:
        """Whether blocks are not stored, because their cells are all nodata or 0; GDAL looks at byte counts alone."""
        return not self.counts[number] and (count == 1 or not self.counts[number : number + count].any())

    def first_missing(self, band: int) -> tuple[int, int] | None:
        """Returns the row and column of a cell of a band, from 1, in a block that is not stored; None without one."""
        down, across = self.grid.blocks
        start = (band - 1) * down * across if self.grid.planes > 1 else 0
        part = slice(start, start + down * across)
        missing = np.flatnonzero(self.counts[part] == 0)
        if not missing.size:
            return None
        row, col = divmod(int(missing[0]), across)
        return row * self.grid.block[0], col * self.grid.block[1]

    def stored_shape(self, row: int) -> tuple[int, int, int]:
        """Returns what a block in a row of blocks is stored as: (row, col, sample)."""
        return self.grid.stored_rows(row), self.grid.block[1], self.codec.samples

    def alike(self, row: int, most: int) -> int:
        """Returns how many of the rows of blocks from one on have as many rows of cells: a last strip has fewer."""
        is_short = self.grid.stored_rows(row + most - 1) < self.grid.stored_rows(row)
        return most - is_short

    @property
    def block_bytes(self) -> int:
        """Bytes of a whole block, decoded."""
        rows, cols = self.grid.block
        return rows * cols * self.codec.samples * self.codec.dtype.itemsize

    @property
    def run(self) -> tuple[int, int]:
        """Blocks that are read and decoded together, down and across: one, or what small ones come to in a cache."""
        count = 1 if self.block_bytes >= _SMALL_BLOCK else _RUN_BYTES // self.block_bytes
        down, across = self.grid.blocks
        return (min(count, down), 1) if across == 1 and not self.grid.tiled else (1, min(count, across))

    @property
    def decoding(self) -> Decoding:
        """What decoding takes."""
        (down, across), (rows, cols) = self.run, self.grid.block
        run_bytes = down * across * self.block_bytes
        is_plain = self.codec.compression == "NONE" and down * across == 1
        # As stored; between two codings; and one under the other, from where tiles get beside each other.
        copies = (self.codec.predictor == 3) + (across > 1)
        thread_bytes = 0 if is_plain else down * across * int(self.counts.max()) + copies * run_bytes
        run = down * rows, across * cols
        is_compiled = self.codec.predictor > 1 or self.codec.compression == "LZW"
        is_apart = self.grid.planes > 1
        return Decoding(run, run_bytes, thread_bytes, is_apart=is_apart, by_rows=is_plain, is_compiled=is_compiled)


class _NotOurs(Exception):  # noqa: N818 - it says why, and nothing went wrong
    """Why GDAL has to read a file."""


def read_layout(source: Source, driver: str) -> TiffLayout | str:
    """Read where a file's blocks lie.

    Args:
        source: The file as GDAL opened it; what the directory says must agree.
        driver: The driver that GDAL opened it with.

    Returns:
        The layout; or, in a few words, why blocks are not read directly.
    """
    try:
        _check_file(source, driver)
        return _read_directory(source)
    except (_NotOurs, CodecError) as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001 - tifffile raises anything for a damaged file
        return f"its directory is odd ({type(error).__name__}: {error})"


def _check_file(source: Source, driver: str) -> None:
    if driver != "GTiff":
        raise _NotOurs(f"its format is {driver}")
    if source.name.startswith(("/vsi", "GTIFF_")) or not Path(source.name).is_file():
        raise _NotOurs("it is no local file")
    if not hasattr(os, "preadv"):
        raise _NotOurs("this system has no preadv")
    if any(band.has_mask for band in source.bands):
        raise _NotOurs("a mask or a rounded nodata value says which cells hold data")


def _read_directory(source: Source) -> TiffLayout:
    import tifffile

    with unlogged("tifffile"), tifffile.TiffFile(source.name) as tiff:
        tags = tiff.pages.first.tags
        _check_plain(tags, source)
        codec, planes = _codec_of(tags, tiff.byteorder, source.bands)
        grid = _grid_of(tags, source, planes)
        kind = "Tile" if grid.tiled else "Strip"
        offsets = _array(tiff, f"{kind}Offsets", grid.count)
        counts = _array(tiff, f"{kind}ByteCounts", grid.count)
    layout = TiffLayout(codec, grid, offsets, counts)
    if not grid.tiled and _looks_wrong(layout, storage_of(source).stored_bytes or 0):
        raise _NotOurs("its byte counts look wrong, and libtiff makes its own")
    # No compression takes twice the size of what it compresses: that is a damaged count, and memory.
    if counts.max() > 2 * layout.block_bytes + 4096:
        raise _NotOurs("a block is stored in more bytes than it holds")
    return layout


def _looks_wrong(layout: TiffLayout, size: int) -> bool:
    """Whether libtiff would not believe the byte counts of strips, which old writers got wrong."""
    counts, offsets, plain = layout.counts, layout.offsets, layout.codec.compression == "NONE"
    if len(counts) == 1:
        count, offset, whole = int(counts[0]), int(offsets[0]), layout.block_bytes
        return bool(offset and not count) or (plain and count > 0 and (count < whole or offset + count > size > offset))
    return plain and len(counts) > 2 and counts[0] != counts[1] and bool(counts[0] and counts[1])


def _check_plain(tags: Any, source: Source) -> None:
    """Refuse what changes the meaning of the stored bytes."""
    if _value(tags, "FillOrder", 1) != 1:
        raise _NotOurs("its bits are in reverse order")
    if _value(tags, "PhotometricInterpretation", 1) not in _PLAIN_COLOURS:
        raise _NotOurs("its colours are coded")
    samples = _value(tags, "SamplesPerPixel", 1)
    if samples != len(source.bands):
        raise _NotOurs(f"it stores {counted(samples, 'sample')} for {counted(len(source.bands), 'band')}")


def _codec_of(tags: Any, order: str, bands: tuple[BandInfo, ...]) -> tuple[BlockCodec, int]:
    """The codec, and how many planes there are."""
    number = _value(tags, "Compression", 1)
    if number not in COMPRESSIONS:
        name = getattr(tags.valueof("Compression"), "name", number)
        raise _NotOurs(f"its blocks are {name}")
    bits, kind = _same(tags, "BitsPerSample", 1), KINDS.get(_same(tags, "SampleFormat", 1))
    if kind is None or bits not in {8, 16, 32, 64} or (kind == "f" and bits < 32):
        raise _NotOurs(f"its cells are of {bits} bits, of an unusual format")
    dtype = np.dtype(f"{order}{kind}{bits // 8}")
    if any(band.dtype != dtype.newbyteorder("=") for band in bands):
        raise _NotOurs(f"its cells are stored as {dtype} and read as {bands[0].dtype}")
    planar = _value(tags, "PlanarConfiguration", 1)
    if planar not in {1, SEPARATE}:
        raise _NotOurs(f"its planar configuration is {planar}")
    compression = COMPRESSIONS[number]
    predictor = 1 if compression == "NONE" else _value(tags, "Predictor", 1)
    samples, planes = (1, len(bands)) if planar == SEPARATE else (len(bands), 1)
    return BlockCodec(compression, predictor, dtype, samples), planes


def _grid_of(tags: Any, source: Source, planes: int) -> BlockGrid:
    """How the raster is divided, if GDAL divides it so."""
    shape = _value(tags, "ImageLength", 0), _value(tags, "ImageWidth", 0)
    tiled = "TileWidth" in tags
    if tiled:
        block = _value(tags, "TileLength", 0), _value(tags, "TileWidth", 0)
    else:
        block = min(_value(tags, "RowsPerStrip", _NO_LIMIT), shape[0]), shape[1]
    if shape != source.grid.shape or block != source.block:
        raise _NotOurs(f"its blocks are {block[0]} x {block[1]}, and GDAL takes them as {_times(source.block)}")
    return BlockGrid(shape, block, tiled, planes)


def _times(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _value(tags: Any, name: str, default: int) -> int:
    value = tags.valueof(name, default)
    # libtiff ignores some of the tags with another count; which, it knows best.
    if not isinstance(value, int):
        raise _NotOurs(f"its {name} is no single number")
    return int(value)


def _same(tags: Any, name: str, default: int) -> int:
    """The value that all samples share; -1 if they do not."""
    value = tags.valueof(name, default)
    values = {int(v) for v in value} if isinstance(value, tuple) else {int(value)}
    return values.pop() if len(values) == 1 else -1


def _array(tiff: Any, name: str, count: int) -> NDArray[Any]:
    """The numbers of a tag with one for each block, as they are in the file.

    tifffile would make a tuple of them, which takes ten times the memory of the file's own.
    """
    tag = tiff.pages.first.tags.get(name)
    if tag is None or tag.count != count or int(tag.dtype) not in UNSIGNED:
        raise _NotOurs(f"its {name} are not one number for each of {count:,} blocks")
    dtype = np.dtype(f"{tiff.byteorder}{UNSIGNED[int(tag.dtype)]}")
    handle = tiff.filehandle
    size = count * dtype.itemsize
    if tag.valueoffset + size > handle.size:
        raise _NotOurs(f"its {name} reach beyond the file")
    handle.seek(tag.valueoffset)
    return np.frombuffer(handle.read(size), dtype).astype(np.int64)
