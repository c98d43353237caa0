"""Cuts the blocks of a TIFF out of windows."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Place:
    """A block of a TIFF, by its place."""

    plane: int
    """Which of the rasters that are stored apart, from 0."""
    row: int
    """The row of blocks, from 0."""
    col: int
    """The column of blocks, from 0."""


@dataclass(frozen=True, slots=True)
class BlockCutter:
    """How a raster is divided into the blocks of a TIFF."""

    shape: tuple[int, int]
    """Rows and columns of the raster."""
    block: tuple[int, int]
    """Rows and columns of a block."""
    tiled: bool
    """Whether a block at the lower edge is stored whole; a strip ends with the raster."""
    planes: int
    """How many times the raster is stored, each time with as many samples."""
    samples: int
    """Bands that are stored together."""

    @property
    def blocks(self) -> tuple[int, int]:
        """How many blocks there are, down and across."""
        return ceil(self.shape[0] / self.block[0]), ceil(self.shape[1] / self.block[1])

    def number(self, place: Place) -> int:
        """The number of a block in the directory, from 0."""
        down, across = self.blocks
        return (place.plane * down + place.row) * across + place.col

    def place(self, number: int) -> Place:
        """The block of a number."""
        down, across = self.blocks
        return Place(number // (down * across), number // across % down, number % across)

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

    def cut(self, place: Place, window: Window, cells: NDArray[Any]) -> NDArray[Any]:
        """Cut out a block.

        Args:
            place: The block.
            window: A window that holds it.
            cells: (band, row, col) of the window.

        Returns:
            (row, col, sample), C-contiguous: ``cells``' own memory where it is so already. A tile that reaches outside
            the raster repeats its last row and column there, which readers skip and compressors hardly notice.
        """
        rows, cols = self.block
        whole = Window(place.row * rows, place.col * cols, rows, cols)
        inside = whole.intersection(window)
        bands = slice(place.plane * self.samples, (place.plane + 1) * self.samples)
        part = cells[bands, *inside.slices(window)].transpose(1, 2, 0)
        stored = whole.shape if self.tiled else inside.shape
        if inside.shape == stored and part.flags.c_contiguous:
            return part
        out = np.empty((*stored, self.samples), cells.dtype)
        out[: inside.height, : inside.width] = part
        out[: inside.height, inside.width :] = out[: inside.height, inside.width - 1 : inside.width]
        out[inside.height :] = out[inside.height - 1]
        return out
