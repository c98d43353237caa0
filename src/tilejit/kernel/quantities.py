"""The values of a kernel's keyword-only parameters over a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError
from tilejit.language.kinds import Kind
from tilejit.language.quantities import Quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        window: The pixels that the launch computes.
        grid: Where they lie; None for plain arrays.

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
            length = window.height if scalar.quantity.axis == "row" else window.width
            values.append(np.ascontiguousarray(np.broadcast_to(np.asarray(value, compute), (length,))))
    return values


def _quantity(kernel: Kernel, name: str, quantity: Quantity, window: Window, grid: Grid | None) -> Any:
    if quantity is Quantity.ROW:
        return window.row_off
    if quantity is Quantity.COL:
        return window.col_off
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
