"""What lies outside a raster: where an outside cell takes its value from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.kernel.kernel import Edge
    from tilejit.window import Window


def inside_index(index: NDArray[np.intp], size: int, edge: Edge) -> NDArray[np.intp]:
    """Returns, for each row or column number, the one inside ``0:size`` that it takes its value from.

    Args:
        index: Row or column numbers, which may lie outside.
        size: Rows or columns of the raster.
        edge: ``"nearest"``, ``"reflect"`` (``dcba|abcd|dcba``) or ``"wrap"``.

    Example:
        >>> inside_index(np.arange(-3, 5), 3, "reflect").tolist()
        [2, 1, 0, 0, 1, 2, 2, 1]
    """
    if edge == "wrap":
        return index % size
    if edge == "reflect":
        folded = index % (2 * size)
        return np.minimum(folded, 2 * size - 1 - folded)
    return np.clip(index, 0, size - 1)


def is_index_edge(edge: Edge) -> bool:
    """Whether outside cells repeat cells of the raster."""
    return edge in {"nearest", "reflect", "wrap"}


def fill_outside(tile: NDArray[Any], window: Window, shape: tuple[int, int], edge: Edge, nodata: Any) -> None:
    """Fills the part of a tile that lies outside the raster.

    Args:
        tile: (row, col) over ``window``; its part inside the raster is filled already.
        window: What the tile covers.
        shape: Rows and columns of the raster.
        edge: The rule; for ``"nearest"`` and ``"reflect"`` the cells repeated must lie in the window.
        nodata: What fills it under ``"nodata"``.
    """
    top, left = max(0, -window.row_off), max(0, -window.col_off)
    bottom = window.height - max(0, window.row_end - shape[0])
    right = window.width - max(0, window.col_end - shape[1])
    if (top, left, bottom, right) == (0, 0, *window.shape):
        return
    if not is_index_edge(edge):
        value = nodata if edge == "nodata" else edge
        tile[:top] = tile[bottom:] = value
        tile[top:bottom, :left] = tile[top:bottom, right:] = value
        return
    rows = inside_index(np.arange(window.row_off, window.row_end), shape[0], edge) - window.row_off
    cols = inside_index(np.arange(window.col_off, window.col_end), shape[1], edge) - window.col_off
    for col in (*range(left), *range(right, window.width)):
        tile[top:bottom, col] = tile[top:bottom, cols[col]]
    for row in (*range(top), *range(bottom, window.height)):
        tile[row] = tile[rows[row]]
