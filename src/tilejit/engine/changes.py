"""Which cells a sweep has changed: the partial by which an iteration knows its end, and which tiles go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.formats.cells import chunks
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.native_function import Functions
    from tilejit.engine.partials import State


@dataclass(frozen=True, slots=True)
class Changed:
    """What has changed."""

    cells: int  # how many cells
    boxes: tuple[Window, ...]  # for each tile with such cells the smallest window that holds them


@dataclass(frozen=True, slots=True)
class Changes:
    """The cells of a band that differ from those of another: in their bits, but that NaN is like any other NaN.

    So 0.0 and -0.0 differ. Were they one, a cell's sign would depend on whether other cells of its tile have changed.

    Example:
        >>> before, after = np.float32([[1, np.nan, 3]]), np.float32([[1, np.nan, 4]])
        >>> changes = Changes((False, False))
        >>> changed = changes.finalize(changes.of([before, after], [None, None], Window(5, 0, 1, 3)))
        >>> changed.cells, str(changed.boxes[0])
        (1, 'rows 5:6, cols 2:3')
    """

    flips: tuple[bool, bool]  # whether rows and columns of cells are turned around, as bodies see them
    name: ClassVar[str] = "which cells changed"
    cell_bytes: ClassVar[int] = 3  # flags: of what differs, and of what is NaN
    state_bytes: ClassVar[int] = 1000

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """None: NumPy's own loops do."""
        del dtypes
        return []

    def init(self) -> State:
        """No cell."""
        return {"cells": 0, "boxes": []}

    def of(self, cells: Sequence[NDArray[Any]], valid: Sequence[NDArray[np.bool_] | None], window: Window) -> State:
        """What has changed in one tile: see `Reduction.of`."""
        del valid  # cells without data are NaN, or have the same value in both
        different = _different(*cells)
        count = int(np.count_nonzero(different))
        if not count:
            return self.init()
        lines = (np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0)))
        (row, row_end), (col, col_end) = (
            (size - int(found[-1]) - 1, size - int(found[0])) if flip else (int(found[0]), int(found[-1]) + 1)
            for found, size, flip in zip(lines, different.shape, self.flips, strict=True)
        )
        box = [row + window.row_off, col + window.col_off, row_end - row, col_end - col]
        return {"cells": count, "boxes": [box]}

    def combine(self, one: State, other: State) -> State:
        """Both together."""
        return {"cells": one["cells"] + other["cells"], "boxes": one["boxes"] + other["boxes"]}

    def finalize(self, state: State) -> Changed:
        """The boxes in the order of the raster."""
        return Changed(state["cells"], tuple(Window(*box) for box in sorted(state["boxes"])))


def _different(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    if before.dtype.kind != "f":
        flags: NDArray[np.bool_] = before != after
        return flags
    bits, different = np.dtype(f"u{before.dtype.itemsize}"), np.empty(before.shape, np.bool_)
    for rows in chunks(before):
        one, other = before[rows], after[rows]
        np.not_equal(one.view(bits), other.view(bits), out=different[rows])
        if different[rows].any():
            different[rows] &= ~(np.isnan(one) & np.isnan(other))
    return different
