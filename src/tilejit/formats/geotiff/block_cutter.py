"""Cuts the blocks of a TIFF out of windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.kernel.nodata import is_constant
from tilejit.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.formats.geotiff.blocks import BlockGrid, Place


@dataclass(frozen=True, slots=True)
class BlockCutter:
    """What turns cells in the order of bands into blocks in the order of pixels."""

    grid: BlockGrid
    """Where the blocks lie."""
    samples: int
    """Bands that are stored together."""

    def cut(self, place: Place, window: Window, cells: NDArray[Any]) -> NDArray[Any]:
        """Cut out a block.

        Args:
            place: The block.
            window: A window that holds it.
            cells: (band, row, col) of the window.

        Returns:
            (row, col, sample), C-contiguous: ``cells``' own memory where it is so already. A tile that reaches outside
            the raster repeats its last row and column there, which readers skip and compressors hardly notice. Of
            constant cells a constant (see `tilejit.kernel.nodata`).
        """
        rows, cols = self.grid.block
        whole = Window(place.row * rows, place.col * cols, rows, cols)
        inside = whole.intersection(window)
        bands = slice(place.plane * self.samples, (place.plane + 1) * self.samples)
        part = cells[bands, *inside.slices(window)].transpose(1, 2, 0)
        stored = whole.shape if self.grid.tiled else inside.shape
        if is_constant(cells):
            return np.broadcast_to(part[:1, :1], (*stored, self.samples))
        if inside.shape == stored and part.flags.c_contiguous:
            return part
        out = np.empty((*stored, self.samples), cells.dtype)
        out[: inside.height, : inside.width] = part
        out[: inside.height, inside.width :] = out[: inside.height, inside.width - 1 : inside.width]
        out[inside.height :] = out[inside.height - 1]
        return out
