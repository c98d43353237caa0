"""How a raster is divided into the blocks of a TIFF."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Place:
    """A block of a TIFF, by its row and column of blocks, from 0."""

    plane: int
    """Which of the rasters that are stored apart, from 0."""
    row: int
    col: int


@dataclass(frozen=True, slots=True)
class BlockRun:
    """Blocks that are decoded together, from a row and a column of blocks on: their numbers follow each other."""

    row: int
    col: int
    rows: int
    """Blocks from the top down."""
    cols: int
    """Blocks beside each other."""

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

    shape: tuple[int, int]
    """Rows and columns of the raster."""
    block: tuple[int, int]
    """Rows and columns of a block."""
    tiled: bool
    """Whether a block at the lower edge is stored whole; a strip ends with the raster."""
    planes: int
    """How many times the raster is stored, each time with as many samples."""

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
