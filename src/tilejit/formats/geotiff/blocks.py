"""Blocks of a TIFF: where they lie in the raster, and those of one value."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_RATIO = 128  # a block of one value takes less than this part of its bytes with any codec (LZW 0.6 %, DEFLATE 0.1 %)
_MOST_KNOWN = 64  # shapes and values that are remembered of one file: few hold more that come again


@dataclass(frozen=True, slots=True)
class Place:
    """A block of a TIFF, by its row and column of blocks, from 0."""

    plane: int  # which of the rasters that are stored apart, from 0
    row: int
    col: int


@dataclass(frozen=True, slots=True)
class BlockRun:
    """Blocks that are decoded together, from a row and a column of blocks on: their numbers follow each other."""

    row: int
    col: int
    rows: int  # blocks from the top down
    cols: int  # blocks beside each other

    @property
    def count(self) -> int:
        """How many blocks they are."""
        return self.rows * self.cols

    def window(self, block: tuple[int, int]) -> Window:
        """The cells of the blocks, those beyond the raster among them."""
        height, width = block
        return Window(self.row * height, self.col * width, self.rows * height, self.cols * width)


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """The blocks of a TIFF, in the order of its directory."""

    shape: tuple[int, int]  # rows and columns of the raster
    block: tuple[int, int]  # rows and columns of a block
    tiled: bool  # whether a block at the lower edge is stored whole; a strip ends with the raster
    planes: int  # how many times the raster is stored, each time with as many samples

    @property
    def blocks(self) -> tuple[int, int]:
        """How many blocks there are, down and across."""
        return ceil(self.shape[0] / self.block[0]), ceil(self.shape[1] / self.block[1])

    @property
    def count(self) -> int:
        """How many blocks there are in all."""
        down, across = self.blocks
        return self.planes * down * across

    def number(self, place: Place) -> int:
        """The number of a block in the directory, from 0."""
        down, across = self.blocks
        return (place.plane * down + place.row) * across + place.col

    def place(self, number: int) -> Place:
        """The block of a number."""
        down, across = self.blocks
        return Place(number // (down * across), number // across % down, number % across)

    def stored_rows(self, row: int) -> int:
        """How many rows the blocks in a row of blocks are stored with."""
        return self.block[0] if self.tiled else min(self.block[0], self.shape[0] - row * self.block[0])

    def holds_whole(self, window: Window) -> bool:
        """Whether a window begins and ends between blocks, or where the raster ends."""
        starts = all(off % side == 0 for off, side in zip((window.row_off, window.col_off), self.block, strict=True))
        ends = zip((window.row_end, window.col_end), self.block, self.shape, strict=True)
        return starts and all(end % side == 0 or end == extent for end, side, extent in ends)

    def places(self, window: Window) -> Iterator[Place]:
        """Yields the blocks of a window, row by row, as a reader would want them."""
        rows, cols = self.block
        for row in range(window.row_off // rows, ceil(window.row_end / rows)):
            for plane in range(self.planes):
                for col in range(window.col_off // cols, ceil(window.col_end / cols)):
                    yield Place(plane, row, col)


class KnownBlocks:
    """What blocks of one value were stored as: those that are stored alike need no decoding; threads may share it."""

    def __init__(self, block_bytes: int) -> None:
        self._most = block_bytes // _RATIO
        self._known: dict[tuple[bytes, tuple[int, ...]], NDArray[Any]] = {}

    def get(self, stored: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[Any] | None:
        """The block of that shape that bytes are, as a constant; None where that is not known."""
        if stored.size > self._most or not self._known:
            return None
        pixel = self._known.get((stored.tobytes(), shape))
        return None if pixel is None else np.broadcast_to(pixel, shape)

    def learn(self, stored: NDArray[np.uint8], block: NDArray[Any]) -> None:
        """Remember what a block was stored as, if it holds one value."""
        if stored.size <= self._most and len(self._known) < _MOST_KNOWN and constant_of(block) is not None:
            self._known[stored.tobytes(), block.shape] = block[0, 0].copy()


def constant_of(block: NDArray[Any]) -> bytes | None:
    r"""The bytes of the pixel that all pixels of a (row, col, sample) block are; None where they differ.

    The corners and the middle tell most blocks apart without a look at the rest. A constant, with strides of 0, needs
    none at all.

    Example:
        >>> constant_of(np.full((2, 2, 1), 7, np.uint8))
        b'\x07'
    """
    bits = block.view(f"=u{block.itemsize}")
    if block.strides[:2] == (0, 0):
        return bytes(bits[0, 0].tobytes())
    rows, cols = bits.shape[0] - 1, bits.shape[1] - 1
    first = bits[0, 0]
    for row, col in ((rows, cols), (0, cols), (rows, 0), (rows // 2, cols // 2)):
        if (bits[row, col] != first).any():
            return None
    return first.tobytes() if bool((bits == first).all()) else None
