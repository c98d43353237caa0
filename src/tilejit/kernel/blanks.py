"""Planes that hold nothing but nodata: known cheaply, carried as one value, and not computed with.

A raster's rim and its sea are tiles without a valid cell, and where nodata propagates so are the results. Five cells
tell most other tiles apart, so that looking costs microseconds; only a plane whose five are invalid is scanned, up to
the first valid cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.kernel.kernel import Kernel

    Array = NDArray[Any]

_ROWS = 64
"""Rows that are scanned at once: their flags stay in a core's cache, and a scan ends soon after a valid cell."""


def is_blank(cells: Array, valid: Array | None, nodata: float | None) -> bool:
    """Whether no cell of a plane is valid.

    Args:
        cells: (row, col).
        valid: Their validity where it is apart.
        nodata: The nodata value of integer cells; None where none is invalid.

    Example:
        >>> is_blank(np.full((9, 9), np.nan), None, None), is_blank(np.zeros((9, 9), np.uint8), None, 0)
        (True, True)
    """
    if is_constant(cells):
        return True
    if valid is not None:
        return _all(valid, lambda part: part == 0)
    if cells.dtype.kind == "f":
        return _all(cells, np.isnan)
    return nodata is not None and _all(cells, lambda part: part == nodata)


def _all(cells: Array, is_invalid: Any) -> bool:
    rows, cols = cells.shape
    if not cells.size:
        return False
    corners = cells[:: max(1, rows - 1), :: max(1, cols - 1)]
    if not is_invalid(corners).all() or not is_invalid(cells[rows // 2, cols // 2]):
        return False
    return all(bool(is_invalid(cells[row : row + _ROWS]).all()) for row in range(0, rows, _ROWS))


def constant(values: Array, shape: tuple[int, int]) -> Array:
    """One value for each band, as a (band, row, col) array that takes no memory: rows and columns have strides of 0."""
    return np.broadcast_to(values[:, np.newaxis, np.newaxis], (len(values), *shape))


def is_constant(array: Array) -> bool:
    """Whether an array is known to hold one value for each band, by its strides alone.

    Example:
        >>> is_constant(constant(np.float32([7]), (4, 4))), is_constant(np.zeros((1, 4, 4)))
        (True, False)
    """
    return array.strides[-2:] == (0, 0)


def deciding_inputs(kernel: Kernel) -> tuple[int, ...]:
    """The inputs of a kernel of which each makes all results nodata where it is nodata all over.

    Those whose cells the body reads, be it in a branch: where nodata propagates, any of them does. There is none of a
    kernel that deals with nodata itself.
    """
    if kernel.nodata != "propagate":
        return ()
    footprint = kernel.form.footprint
    return tuple(k for k, raster in enumerate(kernel.rasters) if footprint.get(raster.name))
