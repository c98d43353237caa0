"""The rows and columns that hold data: a reduction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.native_function import Functions
    from tilejit.engine.partials import State


@dataclass(frozen=True, slots=True)
class Extent:
    """The least window that holds all valid cells of any band.

    Example:
        >>> extent, tile = Extent("extent", (False, False)), Window(4, 8, 2, 3)
        >>> print(extent.finalize(extent.of([np.float32([[np.nan] * 3, [np.nan, 1, 2]])], [None], tile)))
        rows 5:6, cols 9:11
    """

    name: str
    flips: tuple[bool, bool]  # whether rows and columns run the other way as bodies see them: `Grid.flips`
    cell_bytes: ClassVar[int] = 2
    state_bytes: ClassVar[int] = 1000

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """None."""
        del dtypes
        return []

    def init(self) -> State:
        """No cell."""
        return []

    def of(self, bands: Sequence[NDArray[Any]], flags: Sequence[NDArray[np.bool_] | None], window: Window) -> State:
        """First row, row after the last, and so columns, of one tile: see `Reduction.of`."""
        found: State = []
        for cells, valid in zip(bands, flags, strict=True):
            is_there: NDArray[np.bool_] = ~np.isnan(cells) if cells.dtype.kind == "f" else np.ones(cells.shape, bool)
            if valid is not None:
                is_there &= valid
            found_in = (np.asarray(is_there.any(axis=1 - k)) for k in (0, 1))
            rows, cols = (np.flatnonzero(a[::-1] if flip else a) for a, flip in zip(found_in, self.flips, strict=True))
            if rows.size:
                (top, bottom), (left, right) = ((int(at[0]), int(at[-1]) + 1) for at in (rows, cols))
                row, col = window.row_off, window.col_off
                found = self.combine(found, [row + top, row + bottom, col + left, col + right])
        return found

    def combine(self, one: State, other: State) -> State:
        """What holds both."""
        if not (one and other):
            return one or other
        return [f(a, b) for f, a, b in zip((min, max, min, max), one, other, strict=True)]

    def finalize(self, state: State) -> Window | None:
        """The window; None where no cell holds data."""
        if not state:
            return None
        top, bottom, left, right = state
        return Window(top, left, bottom - top, right - left)
