"""What a kernel is given of a window: cells outside the raster, and the values of its keyword-only parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.kinds import Kind, Quantity
from tilejit.errors import DatesWarning, ParameterError, warn_caller
from tilejit.times import Times, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.grid import Grid
    from tilejit.kernel.kernel import Edge, Kernel
    from tilejit.times import Dates
    from tilejit.window import Window

TIMES = "t.time"
"""The parameter that no author can name: when layers were taken."""
_OF_ROWS = {Quantity.GROUND_WIDTH: "ground_width", Quantity.GROUND_HEIGHT: "ground_height", Quantity.Y: "y"}


def inside_index(index: NDArray[np.intp], size: int, edge: Edge) -> NDArray[np.intp]:
    """Returns, for each row or column number, the one inside ``0:size`` that it takes its value from.

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
    """Fills the part of a tile over ``window`` that lies outside a raster of that shape; the rest is filled already.

    Cells that are repeated, as ``"nearest"`` and ``"reflect"`` do, must lie in the window.
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


def scalar_values(
    kernel: Kernel, bound: Mapping[str, Any], compute: np.dtype, window: Window, grid: Grid | None
) -> list[Any]:
    """Returns what a launch takes as scalars for the pixels of a window: numbers, and Quantity values filled in.

    What varies by row or column is turned as bodies see the grid; plain arrays have none.
    """
    values: list[Any] = []
    compute = np.dtype(np.float64) if kernel.kind == "block" else compute  # libraries want numbers as they were given
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
    if kernel.facts.reads_times:
        values.append(bound[TIMES].table.astype(compute))
    return values


def with_times(kernel: Kernel, bound: Mapping[str, Any], dates: Sequence[Dates | None]) -> Mapping[str, Any]:
    """Returns a kernel's parameters, and among them when the layers of its stacks were taken, where that is known.

    Args:
        kernel: The kernel.
        bound: Its bound parameters.
        dates: Of the layers of each of its rasters.

    Raises:
        ParameterError: The stacks are of different dates, or the kernel asks for some that nobody knows.
    """
    known = [(r.name, found) for r, found in zip(kernel.rasters, dates, strict=True) if r.is_stack and found]
    for name, other in known[1:]:
        first, times = known[0]
        k = next((k for k, (one, two) in enumerate(zip(times, other, strict=True)) if one != two), None)
        if k is not None:
            raise ParameterError(
                f"{kernel.name}: layer {k} of {first} is of {words(times[k])}, that of {name} of {words(other[k])}: "
                "give stacks of the same dates, or tj.stack(…, times=[…]) where the files say something else"
            )
    if known:
        found = Times(known[0][1])
        if kernel.kind == "series" and (fallen := found.fallen) is not None:
            warn_caller(DatesWarning(f"{kernel.name}: {fallen}: what goes by the order of layers "
                                     "takes them as they come; sort the files by their dates"))  # fmt: skip
        return {**bound, TIMES: found}
    if kernel.facts.reads_times:
        raise ParameterError(
            f"{kernel.name} asks when layers were taken, and nothing says so of all of them: give tj.stack(files, "
            "times=[…]), dates in the files' names, as ndvi_2020-01-05.tif, or a DataArray with a coordinate of dates"
        )
    return bound


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
