"""The values of a kernel's keyword-only parameters over a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.kinds import Kind, Quantity
from tilejit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tilejit.grid import Grid
    from tilejit.kernel.kernel import Kernel
    from tilejit.window import Window

_OF_ROWS = {Quantity.GROUND_WIDTH: "ground_width", Quantity.GROUND_HEIGHT: "ground_height", Quantity.Y: "y"}


def scalar_values(
    kernel: Kernel, bound: Mapping[str, Any], compute: np.dtype, window: Window, grid: Grid | None
) -> list[Any]:
    """Returns what a launch takes as scalars.

    Args:
        kernel: The kernel.
        bound: Its parameters: numbers, or Quantity values still to fill in.
        compute: The compute dtype.
        window: The pixels that the launch computes, as they lie in the raster.
        grid: Where they lie; None for plain arrays. What varies by row or column is turned as bodies see the grid.

    Raises:
        ParameterError: A quantity needs a grid and there is none.
    """
    values: list[Any] = []
    for scalar in kernel.scalars:
        value = bound[scalar.name]
        if isinstance(value, Quantity):
            value = _quantity(kernel, scalar.name, value, window, grid)
        if scalar.kind is not Kind.FLOAT:
            values.append(value)
        elif scalar.quantity is None or scalar.quantity.axis == "grid":
            values.append(compute.type(value))
        else:
            values.append(_line(value, scalar.quantity, compute, window, grid))
    return values


def _line(value: Any, quantity: Quantity, compute: np.dtype, window: Window, grid: Grid | None) -> NDArray[Any]:
    """The values of the window's rows or columns, in the order in which a body meets them."""
    axis, length = (0, window.height) if quantity.axis == "row" else (1, window.width)
    values = np.broadcast_to(np.asarray(value, compute), (length,))
    return np.ascontiguousarray(values[grid.facing[axis]] if grid is not None else values)


def _count(quantity: Quantity, window: Window, grid: Grid | None) -> int:
    """The number of the row or column that a body meets first; see `Signature.counts_down`."""
    axis = 0 if quantity is Quantity.ROW else 1
    first, end = ((window.row_off, window.row_end), (window.col_off, window.col_end))[axis]
    return end - 1 if grid is not None and grid.flips[axis] else first


def _quantity(kernel: Kernel, name: str, quantity: Quantity, window: Window, grid: Grid | None) -> Any:
    if quantity.is_index:
        return _count(quantity, window, grid)
    if quantity is Quantity.Z_FACTOR:
        return 1.0  # a plan puts its own number in the place
    if grid is None:
        raise ParameterError(
            f"{kernel.name} takes {name} from the raster's grid ({quantity!r}), and plain arrays have none: "
            f"give {name}=…, or open the raster with tj.open"
        )
    if quantity is Quantity.CELL_WIDTH:
        return grid.cell_width
    if quantity is Quantity.CELL_HEIGHT:
        return grid.cell_height
    if quantity is Quantity.X:
        return grid.x(np.arange(window.col_off, window.col_end))
    return getattr(grid, _OF_ROWS[quantity])(np.arange(window.row_off, window.row_end))
