"""A TIFF's directory, over tifffile: where its blocks lie, how they are coded, and where those of a new file go."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import CodecError
from tilejit.formats.append_file import write_all
from tilejit.formats.codecs.block_codec import BlockCodec
from tilejit.formats.geotiff.blocks import BlockGrid
from tilejit.formats.shared_blocks import SMALL_BLOCK
from tilejit.formats.source import Decoding, Source, storage_of
from tilejit.sizes import counted
from tilejit.system.program import unlogged

if TYPE_CHECKING:
    from numpy.typing import NDArray


_COMPRESSIONS = {1: "NONE", 5: "LZW", 8: "DEFLATE", 32946: "DEFLATE", 50000: "ZSTD"}
_KINDS = {1: "u", 2: "i", 3: "f"}  # values of SampleFormat, as NumPy's kinds
_UNSIGNED = {3: "u2", 4: "u4", 16: "u8"}  # the types of offsets and byte counts
_TOGETHER, _APART = 1, 2  # values of PlanarConfiguration: each block holds all bands, or one
_PLAIN_COLOURS = {0, 1, 2, 3}  # white or black is zero, RGB, a palette: cells are stored as they are read
_RUN_BYTES = 1 << 18  # of a run of small blocks, which are decoded together
_REMOTE_BYTES = 1 << 21  # of a run that is fetched together: a request takes as long as some hundred KB of its answer
_NO_LIMIT = 0xFFFFFFFF  # what RowsPerStrip says where the whole raster is one strip


@dataclass(frozen=True, slots=True, eq=False)
class TiffLayout:
    """Where the blocks of a TIFF lie and how they are coded, of a file whose blocks need no GDAL."""

    codec: BlockCodec  # what decodes a block
    grid: BlockGrid  # where they lie in the raster
    offsets: NDArray[Any]  # the first byte of each block; says nothing where there is none
    counts: NDArray[Any]  # the bytes of each block; 0 where there is none
    is_remote: bool = False  # whether it pays to ask for several blocks at once, however large

    def are_missing(self, number: int, count: int) -> bool:
        """Whether blocks are not stored, because their cells are all nodata or 0; GDAL looks at byte counts alone."""
        return not self.counts[number] and (count == 1 or not self.counts[number : number + count].any())

    def first_missing(self, band: int) -> tuple[int, int] | None:
        """The row and column of a cell of a band, from 1, in a block that is not stored; None without one."""
        down, across = self.grid.blocks
        start = (band - 1) * down * across if self.grid.planes > 1 else 0
        missing = np.flatnonzero(self.counts[start : start + down * across] == 0)
        if not missing.size:
            return None
        row, col = divmod(int(missing[0]), across)
        return row * self.grid.block[0], col * self.grid.block[1]

    def stored_shape(self, row: int) -> tuple[int, int, int]:
        """What a block in a row of blocks is stored as: (row, col, sample)."""
        return self.grid.stored_rows(row), self.grid.block[1], self.codec.samples

    def alike(self, row: int, most: int) -> int:
        """How many of the rows of blocks from one on have as many rows of cells: a last strip has fewer."""
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
        return self._run(max(1, _REMOTE_BYTES // self.block_bytes)) if self.is_remote else self.least_run

    @property
    def least_run(self) -> tuple[int, int]:
        """The same without regard to the network."""
        return self._run(1 if self.block_bytes >= SMALL_BLOCK else _RUN_BYTES // self.block_bytes)

    def _run(self, count: int) -> tuple[int, int]:
        """So many blocks, as far as they lie one after the other in the file."""
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
        return Decoding(
            (down * rows, across * cols),
            run_bytes,
            thread_bytes,
            is_apart=self.grid.planes > 1,
            by_rows=is_plain,
            codec=self.codec,
        )


@dataclass(frozen=True, slots=True)
class TagArray:
    """The numbers of one tag, one for each block, as they lie in the file."""

    position: int  # where they begin
    count: int  # how many there are
    dtype: np.dtype[Any]  # how they are stored, with the byte order

    def read(self, file: Any) -> NDArray[np.int64]:
        """Read them. tifffile would make a tuple of them, which takes ten times the memory of the file's own."""
        file.seek(self.position)
        return np.frombuffer(file.read(self.count * self.dtype.itemsize), self.dtype).astype(np.int64)

    def write(self, descriptor: int, numbers: NDArray[np.int64]) -> None:
        """Write others into their place."""
        if numbers.max(initial=0) > np.iinfo(self.dtype).max:
            raise OSError(f"the directory's numbers are {self.dtype}, and cannot be {numbers.max()}")
        write_all(descriptor, memoryview(numbers.astype(self.dtype).tobytes()), self.position)


@dataclass(frozen=True, slots=True)
class TiffSkeleton:
    """A GeoTIFF with every tag and no blocks, as GDAL leaves it."""

    codec: BlockCodec  # what encodes a block
    tiled: bool  # whether a block at the lower edge is stored whole; a strip ends with the raster
    largest: int  # the largest size of the file: 4 GB unless it is a BigTIFF
    offsets: TagArray  # where the offset of each block goes
    counts: TagArray  # where the byte count of each block goes

    def enter(self, descriptor: int, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Write the offset and the byte count of each block into the directory."""
        self.offsets.write(descriptor, offsets)
        self.counts.write(descriptor, counts)


def read_skeleton(path: Path, level: int | None) -> TiffSkeleton:
    """Read the directory of a file that GDAL has created, with a level, which no tag says.

    What is read there, and not what was asked for, says how blocks are coded, so that the two cannot differ.
    """
    import tifffile

    with unlogged("tifffile"), tifffile.TiffFile(path) as tiff:
        codec, _ = _codec_of(tiff, level)
        largest = 2**63 - 1 if tiff.is_bigtiff else 2**32 - 1
        return TiffSkeleton(codec, _code("TileWidth") in tiff.pages.first.tags, largest, *_tag_arrays(tiff))


def read_layout(source: Source, driver: str) -> TiffLayout | str:
    """Read where the blocks of a file lie; or say, in a few words, why they are not read directly."""
    try:
        _check_file(source, driver)
        return _read_directory(source)
    except CodecError as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001 - tifffile raises anything for a damaged file
        return f"its directory is odd ({type(error).__name__}: {error})"


def _check_file(source: Source, driver: str) -> None:
    if driver != "GTiff":
        raise CodecError(f"its format is {driver}")
    is_local = not source.name.startswith(("/vsi", "GTIFF_")) and Path(source.name).is_file()
    if not is_local and storage_of(source).remote is None:
        raise CodecError("it is no local file")
    if not hasattr(os, "preadv"):
        raise CodecError("this system has no preadv")
    if any(band.has_mask for band in source.bands):
        raise CodecError("a mask or a rounded nodata value says which cells hold data")


def _read_directory(source: Source) -> TiffLayout:
    import tifffile

    remote = storage_of(source).remote
    with ExitStack() as stack:
        stack.enter_context(unlogged("tifffile"))
        file = source.name if remote is None else stack.enter_context(closing(remote.open())).stream()
        tiff = stack.enter_context(tifffile.TiffFile(file))
        tags, bands = tiff.pages.first.tags, source.bands
        _check_plain(tags, len(bands))
        codec, planes = _codec_of(tiff)
        if any(band.dtype != codec.dtype.newbyteorder("=") for band in bands):
            raise CodecError(f"its cells are stored as {codec.dtype} and read as {bands[0].dtype}")
        grid = _grid_of(tags, source, planes)
        offsets, counts = (tag.read(tiff.filehandle) for tag in _tag_arrays(tiff, grid.count))
    layout = TiffLayout(codec, grid, offsets, counts, is_remote=remote is not None)
    if not grid.tiled and _looks_wrong(layout, storage_of(source).stored_bytes or 0):
        raise CodecError("its byte counts look wrong, and libtiff makes its own")
    # No compression takes twice the size of what it compresses: that is a damaged count, and memory.
    if counts.max() > 2 * layout.block_bytes + 4096:
        raise CodecError("a block is stored in more bytes than it holds")
    return layout


def _looks_wrong(layout: TiffLayout, size: int) -> bool:
    """Whether libtiff would not believe the byte counts of strips, which old writers got wrong."""
    counts, offsets, plain = layout.counts, layout.offsets, layout.codec.compression == "NONE"
    if len(counts) == 1:
        count, offset, whole = int(counts[0]), int(offsets[0]), layout.block_bytes
        return bool(offset and not count) or (plain and count > 0 and (count < whole or offset + count > size > offset))
    return plain and len(counts) > 2 and counts[0] != counts[1] and bool(counts[0] and counts[1])


def _check_plain(tags: Any, bands: int) -> None:
    """Refuse what changes the meaning of the stored bytes."""
    if _value(tags, "FillOrder", 1) != 1:
        raise CodecError("its bits are in reverse order")
    if _value(tags, "PhotometricInterpretation", 1) not in _PLAIN_COLOURS:
        raise CodecError("its colours are coded")
    samples = _value(tags, "SamplesPerPixel", 1)
    if samples != bands:
        raise CodecError(f"it stores {counted(samples, 'sample')} for {counted(bands, 'band')}")


def _codec_of(tiff: Any, level: int | None = None) -> tuple[BlockCodec, int]:
    """The codec, and how many planes there are."""
    tags = tiff.pages.first.tags
    number = _value(tags, "Compression", 1)
    if number not in _COMPRESSIONS:
        raise CodecError(f"its blocks are {getattr(tags.valueof(_code('Compression')), 'name', number)}")
    bits, kind = _same(tags, "BitsPerSample", 1), _KINDS.get(_same(tags, "SampleFormat", 1))
    if kind is None or bits not in {8, 16, 32, 64} or (kind == "f" and bits < 32):
        raise CodecError(f"its cells are of {bits} bits, of an unusual format")
    planar, samples = _value(tags, "PlanarConfiguration", _TOGETHER), _value(tags, "SamplesPerPixel", 1)
    if planar not in {_TOGETHER, _APART}:
        raise CodecError(f"its planar configuration is {planar}")
    compression = _COMPRESSIONS[number]
    predictor = 1 if compression == "NONE" else _value(tags, "Predictor", 1)
    together, planes = (1, samples) if planar == _APART else (samples, 1)
    return BlockCodec(compression, predictor, np.dtype(f"{tiff.byteorder}{kind}{bits // 8}"), together, level), planes


def _grid_of(tags: Any, source: Source, planes: int) -> BlockGrid:
    """How the raster is divided, if GDAL divides it so."""
    shape, tiled = (_value(tags, "ImageLength", 0), _value(tags, "ImageWidth", 0)), _code("TileWidth") in tags
    if tiled:
        block = _value(tags, "TileLength", 0), _value(tags, "TileWidth", 0)
    else:
        block = min(_value(tags, "RowsPerStrip", _NO_LIMIT), shape[0]), shape[1]
    if shape != source.grid.shape or block != source.block:
        theirs = f"{source.block[0]} x {source.block[1]}"
        raise CodecError(f"its blocks are {block[0]} x {block[1]}, and GDAL takes them as {theirs}")
    return BlockGrid(shape, block, tiled, planes)


def _code(name: str) -> int:
    """The number of a tag: tifffile looks at the names of all tags for one that is asked for by its name."""
    import tifffile

    code: int = tifffile.TIFF.TAGS[name]
    return code


def _value(tags: Any, name: str, default: int) -> int:
    value = tags.valueof(_code(name), default)
    # libtiff ignores some of the tags with another count; which, it knows best.
    if not isinstance(value, int):
        raise CodecError(f"its {name} is no single number")
    return int(value)


def _same(tags: Any, name: str, default: int) -> int:
    """The value that all samples share; -1 if they do not."""
    value = tags.valueof(_code(name), default)
    values = {int(v) for v in value} if isinstance(value, tuple) else {int(value)}
    return values.pop() if len(values) == 1 else -1


def _tag_arrays(tiff: Any, count: int | None = None) -> list[TagArray]:
    """The tags of offsets and of byte counts, which a file may not have for each of so many blocks."""
    tags, found = tiff.pages.first.tags, []
    kind = "Tile" if _code("TileWidth") in tags else "Strip"
    for name in (f"{kind}Offsets", f"{kind}ByteCounts"):
        tag = tags.get(_code(name))
        if tag is None or (count is not None and tag.count != count) or int(tag.dtype) not in _UNSIGNED:
            raise CodecError(f"its {name} are not one number for each of {counted(count or 0, 'block')}")
        array = TagArray(tag.valueoffset, tag.count, np.dtype(f"{tiff.byteorder}{_UNSIGNED[int(tag.dtype)]}"))
        if array.position + array.count * array.dtype.itemsize > tiff.filehandle.size:
            raise CodecError(f"its {name} reach beyond the file")
        found.append(array)
    return found
