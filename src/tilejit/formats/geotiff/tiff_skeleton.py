"""A GeoTIFF with every tag and no blocks, as GDAL leaves it: where blocks are entered, and how they are coded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.codecs import BlockCodec
from tilejit.formats.geotiff.tiff_tags import COMPRESSIONS, KINDS, SEPARATE, UNSIGNED
from tilejit.system.logs import unlogged

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TagArray:
    """The numbers of one tag, one for each block."""

    position: int
    """Where they begin in the file."""
    count: int
    """How many there are."""
    dtype: np.dtype[Any]
    """How they are stored, with the byte order."""


@dataclass(frozen=True, slots=True)
class TiffSkeleton:
    """What a file's directory says of blocks that are not there yet."""

    codec: BlockCodec
    """What encodes a block."""
    tiled: bool
    """Whether a block at the lower edge is stored whole; a strip ends with the raster."""
    largest: int
    """The largest size of the file: 4 GB unless it is a BigTIFF."""
    offsets: TagArray
    """Where the offset of each block goes."""
    counts: TagArray
    """Where the byte count of each block goes."""

    def enter(self, descriptor: int, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Write the offset and the byte count of each block into the directory.

        Raises:
            OSError: A number is larger than the directory's type holds.
        """
        for tag, numbers in ((self.offsets, offsets), (self.counts, counts)):
            if numbers.max(initial=0) > np.iinfo(tag.dtype).max:
                raise OSError(f"the directory's numbers are {tag.dtype}, and cannot be {numbers.max()}")
            left, offset = memoryview(numbers.astype(tag.dtype).tobytes()), tag.position
            while left:
                written = os.pwrite(descriptor, left, offset)
                left, offset = left[written:], offset + written


def read_skeleton(path: Path, level: int | None) -> TiffSkeleton:
    """Read the directory of a file that GDAL has created.

    What is read there, and not what was asked for, says how blocks are coded, so that the two cannot differ.

    Args:
        path: The file.
        level: How hard to compress, which no tag says.

    Returns:
        The skeleton.

    Raises:
        CodecError: Blocks of this kind cannot be encoded.
    """
    import tifffile

    with unlogged("tifffile"), tifffile.TiffFile(path) as tiff:
        tags, order = tiff.pages.first.tags, tiff.byteorder
        compression = COMPRESSIONS.get(_value(tags, "Compression", 1), "unknown")
        predictor = 1 if compression == "NONE" else _value(tags, "Predictor", 1)
        dtype = np.dtype(f"{order}{KINDS[_value(tags, 'SampleFormat', 1)]}{_value(tags, 'BitsPerSample', 1) // 8}")
        separate = _value(tags, "PlanarConfiguration", 1) == SEPARATE
        samples = 1 if separate else _value(tags, "SamplesPerPixel", 1)
        tiled = "TileWidth" in tags
        kind = "Tile" if tiled else "Strip"
        return TiffSkeleton(
            BlockCodec(compression, predictor, dtype, samples, level),
            tiled,
            2**63 - 1 if tiff.is_bigtiff else 2**32 - 1,
            _array(tags[f"{kind}Offsets"], order),
            _array(tags[f"{kind}ByteCounts"], order),
        )


def _value(tags: Any, name: str, default: int) -> int:
    """The number of a tag; the samples of a file that was just created share one."""
    value = tags.valueof(name, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _array(tag: Any, order: str) -> TagArray:
    return TagArray(tag.valueoffset, tag.count, np.dtype(f"{order}{UNSIGNED[int(tag.dtype)]}"))
