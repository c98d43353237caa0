"""Which blocks of an output have been written."""

from __future__ import annotations

import threading
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from tilejit.errors import SinkError

if TYPE_CHECKING:
    from tilejit.formats.geotiff.block_grid import BlockGrid
    from tilejit.window import Window


class Coverage:
    """Which blocks of an output have been written; threads may share it."""

    def __init__(self, path: str, blocks: BlockGrid) -> None:
        self._path, self._blocks = path, blocks
        self._written = np.zeros(blocks.blocks, np.bool_)
        self._lock = threading.Lock()

    def check_whole(self, window: Window) -> None:
        """Refuse a window that cuts a block.

        Raises:
            SinkError: It does.
        """
        if not self._blocks.holds_whole(window):
            rows, cols = self._blocks.block
            raise SinkError(f"{self._path}: {window} cuts blocks of {rows} x {cols}: write whole ones")

    def claim(self, window: Window) -> None:
        """Take blocks that nobody has written.

        Raises:
            SinkError: The window cuts a block, or one was written before.
        """
        self.check_whole(window)
        rows, cols = self._slices(window)
        with self._lock:
            part = self._written[rows, cols]
            if part.any():
                row, col = np.argwhere(part)[0] + (rows.start, cols.start)
                name = f"block row {row}, block col {col}"
                raise SinkError(f"{self._path}: cannot write {window}: {name} has been written already")
            part[...] = True

    def check_complete(self) -> None:
        """Find a block that was never written.

        Raises:
            OSError: There is one.
        """
        if not self._written.all():
            row, col = np.argwhere(~self._written)[0]
            raise OSError(
                f"block row {row}, block col {col} was never written: write every block, or give the option "
                "SPARSE_OK=TRUE, by which those left out read as nodata"
            )

    def _slices(self, window: Window) -> tuple[slice, slice]:
        rows, cols = self._blocks.block
        return (
            slice(window.row_off // rows, ceil(window.row_end / rows)),
            slice(window.col_off // cols, ceil(window.col_end / cols)),
        )
