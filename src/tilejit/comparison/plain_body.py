"""The body as Python runs it: the user's own function on Python's own floats, pixel by pixel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.comparison.work import Call
    from tilejit.kernel.kernel import Kernel

    Array = NDArray[Any]


class _Cells:
    """The neighbours of a pixel in lists, which Python reads five times as fast as arrays."""

    __slots__ = ("col", "row", "rows")

    def __init__(self, rows: list[list[Any]]) -> None:
        self.rows, self.row, self.col = rows, 0, 0

    def __getitem__(self, offset: tuple[int, int]) -> Any:
        return self.rows[self.row + offset[0]][self.col + offset[1]]


class PlainBody:
    """Runs a kernel's undecorated function over tiles."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def __call__(self, call: Call, outputs: Sequence[Array]) -> None:
        """Computes one tile; a body that raises where IEEE arithmetic goes on (1 / 0) gets NumPy's floats there."""
        cells, (rows, cols) = self._cells(call), self.kernel.radius
        valid = self._valid(call)
        scalars = list(self._scalars(call))
        for row in range(call.window.height):
            for col in range(call.window.width):
                results = None
                if valid is None or valid[row][col]:
                    for _, one, _ in cells:
                        one.row, one.col = row + rows, col + cols
                    results = self._pixel(cells, _at(scalars, row, col))
                for k, output in enumerate(outputs):
                    value = None if results is None else _stored(results[k], output.dtype)
                    output[row, col] = call.nodata[k] if value is None else value

    def _cells(self, call: Call) -> list[tuple[str, _Cells, bool]]:
        arrays = iter(call.arrays)
        found = []
        for raster in self.kernel.rasters:
            array = next(arrays)
            values = array.astype(np.float64) if raster.dtype is None else array
            found.append((raster.name, _Cells(values.tolist()), raster.name in self.kernel.windows))
            if raster.dtype is not None:
                next(arrays)
        return found

    def _valid(self, call: Call) -> list[list[bool]] | None:
        """Which pixels have all the cells that they read; NumPy finds it out for a whole tile at a time."""
        if not self.kernel.is_checked:
            return None
        arrays, (rows, cols) = iter(call.arrays), self.kernel.radius
        height, width = call.window.shape
        valid = np.ones((height, width), bool)
        for raster in self.kernel.rasters:
            array = next(arrays)
            whole = array == array if raster.dtype is None else next(arrays) != 0  # noqa: PLR0124 - NaN differs
            for dy, dx in self.kernel.checked_cells[raster.name]:
                top, left = rows + dy, cols + dx
                valid &= whole[top : top + height, left : left + width]
        return valid.tolist()

    def _scalars(self, call: Call) -> Iterator[tuple[str, Any, str]]:
        """The name of each scalar, its value or values, and the axis that it varies along."""
        for scalar, value in zip(self.kernel.scalars, call.scalars, strict=True):
            axis = scalar.quantity.axis if scalar.quantity is not None else "grid"
            if scalar.quantity is not None and scalar.quantity.is_index:
                yield scalar.name, range(value, value + max(call.window.shape)), axis
            elif axis == "grid":
                kind = {Kind.BOOL: bool, Kind.INT: int}.get(scalar.kind, float)
                yield scalar.name, kind(value), axis
            else:
                yield scalar.name, value.tolist(), axis

    def _pixel(self, cells: Sequence[tuple[str, _Cells, bool]], scalars: dict[str, Any]) -> tuple[Any, ...]:
        arguments = [one if is_window else one[0, 0] for _, one, is_window in cells]
        body = self.kernel.source.function
        try:
            results = body(*arguments, **scalars)
        except ArithmeticError:
            results = self._as_numpy(cells, scalars)
        except ValueError:  # math.sqrt(-1), which is NaN in C
            results = (math.nan,) * len(self.kernel.results)
        return results if isinstance(results, tuple) else (results,)

    def _as_numpy(self, cells: Sequence[tuple[str, _Cells, bool]], scalars: dict[str, Any]) -> Any:
        """The body on NumPy's floats, which divide by zero; a function of ``math`` that still raises gives NaN."""
        arguments = [_Floats(one) if is_window else _floating(one[0, 0]) for _, one, is_window in cells]
        with np.errstate(all="ignore"):
            try:
                return self.kernel.source.function(*arguments, **{n: _floating(v) for n, v in scalars.items()})
            except (ArithmeticError, ValueError):
                return (math.nan,) * len(self.kernel.results)


class _Floats:
    """Cells as NumPy's floats."""

    def __init__(self, cells: _Cells) -> None:
        self._cells = cells

    def __getitem__(self, offset: tuple[int, int]) -> Any:
        return _floating(self._cells[offset])


def _floating(value: Any) -> Any:
    return np.float64(value) if type(value) is float else value


def _at(scalars: Sequence[tuple[str, Any, str]], row: int, col: int) -> dict[str, Any]:
    index = {"row": row, "col": col}
    return {name: value if axis == "grid" else value[index[axis]] for name, value, axis in scalars}


def _stored(value: Any, dtype: np.dtype[Any]) -> Any:
    """The value as an output holds it: integers rounded, halves away from 0, and clamped; None for NaN."""
    if value != value:  # noqa: PLR0124
        return None
    if dtype.kind == "f":
        return value
    info = np.iinfo(dtype)
    if isinstance(value, float):
        if math.isinf(value):
            return info.max if value > 0 else info.min
        value = int(math.copysign(math.floor(abs(value) + 0.5), value))
    return min(max(int(value), info.min), info.max)
