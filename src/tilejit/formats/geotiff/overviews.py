"""Overviews: each level has half the rows and columns of the one before, and its cells are made of that one's.

Cells and shapes are those of GDAL's own overviews (``gdaladdo``, rasterio's ``build_overviews``) of powers of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit.native_function import NativeFunction
from tilejit.formats.geotiff.overview_loops import DOUBLE, FLOATS, NAN, NEVER, SINGLE, SMALL, VALUE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEAR = 1e-8  # what GDAL takes for no part of a cell
_LOOPS = Path(__file__).with_name("overview_loops.py")


def loop(name: str) -> NativeFunction:
    """A function of `tilejit.formats.geotiff.overview_loops` as machine code."""
    return NativeFunction.of_loops(_LOOPS, name)


def level_shapes(shape: tuple[int, int], block: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows and columns of the overviews, the largest first: halved until one block holds the last.

    Example:
        >>> level_shapes((2050, 700), (512, 512))
        [(1025, 350), (513, 175), (257, 88)]
    """
    rows, cols = shape
    found = []
    while rows > block[0] or cols > block[1]:
        rows, cols = -(-rows // 2), -(-cols // 2)
        found.append((rows, cols))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """What rows, or columns, of a level cover of those of the level before."""

    spans: NDArray[np.int64]  # (cell, 2): the first that is covered, and the one after the last
    shares: NDArray[np.float64]  # (cell, 3): how much of the first and of the last is covered, and of all together
    nearest: NDArray[np.int64]  # the one that is nearest, as GDAL has it

    def part(self, begin: int, end: int) -> Axis:
        """Some cells, whose spans are counted from the first that is covered."""
        first = self.spans[begin, 0]
        return Axis(self.spans[begin:end] - first, self.shares[begin:end], self.nearest[begin:end] - first)

    @property
    def is_even(self) -> bool:
        """Whether each cell covers two, which are no other's."""
        starts = 2 * np.arange(len(self.spans))
        return bool((self.spans == np.stack([starts, starts + 2], 1)).all() and (self.shares[:, :2] == 1).all())


def axis_of(cells: int) -> Axis:
    """What the rows, or columns, of a level cover of so many.

    Example:
        >>> axis_of(5).spans.tolist()
        [[0, 2], [1, 4], [3, 5]]
    """
    count = -(-cells // 2)
    edges = np.arange(count + 1) * (cells / count)
    first = (edges[:-1] + _NEAR).astype(np.int64)
    end = np.ceil(edges[1:] - _NEAR).astype(np.int64)
    end = np.minimum(np.maximum(end, first + 1), cells)
    left = np.where(end == first + 1, 1.0, 1 - (edges[:-1] - first))
    right = 1 - (end - edges[1:])
    whole = np.where(end == first + 1, left, left + (end - first - 2) + right)
    nearest = np.minimum((0.5 + edges[:-1]).astype(np.int64), cells - 1)
    return Axis(np.stack([first, end], 1), np.stack([left, right, whole], 1), nearest)


class Halving:
    """Makes the cells of a level of those of the level before; threads may share it."""

    def __init__(self, way: str, shape: tuple[int, int], dtype: np.dtype[Any], nodata: float | None) -> None:
        self._way, self._dtype = way, dtype
        self._rows, self._cols = axis_of(shape[0]), axis_of(shape[1])
        self._missing = NEVER if nodata is None else (NAN if np.isnan(nodata) else VALUE)
        self._numbers = np.array([nodata or 0, _beside(dtype, nodata)], dtype)
        self._kind = _kind_of(dtype)
        self.is_even = self._rows.is_even and self._cols.is_even
        if self._missing == NEVER and self._cols.is_even:
            # Here GDAL lets two rows weigh alike, also where a part of one is another's.
            self._rows.shares[np.diff(self._rows.spans)[:, 0] == 2] = 1, 1, 2

    def covered(self, begin: tuple[int, int], end: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of the level before that a window of this one is made of."""
        return (
            slice(int(self._rows.spans[begin[0], 0]), int(self._rows.spans[end[0] - 1, 1])),
            slice(int(self._cols.spans[begin[1], 0]), int(self._cols.spans[end[1] - 1, 1])),
        )

    def make(self, cells: NDArray[Any], begin: tuple[int, int], end: tuple[int, int]) -> NDArray[Any]:
        """The (band, row, col) cells of a window, of those that it covers."""
        rows, cols = self._rows.part(begin[0], end[0]), self._cols.part(begin[1], end[1])
        if self._way == "NEAREST":
            return cells[:, rows.nearest[:, None], cols.nearest]
        out = np.empty((len(cells), len(rows.spans), len(cols.spans)), cells.dtype)
        spans = rows.spans, rows.shares, cols.spans, cols.shares
        for band, made in zip(cells, out, strict=True):
            if self._way == "MODE":
                loop("mode")(band, rows.spans, cols.spans, self._missing, self._numbers, made)
            elif self.is_even:
                loop("halve")(band, self._missing, self._kind, self._numbers, made)
            else:
                loop("average")(band, *spans, self._missing, self._kind, self._numbers, made)
        return out


def _kind_of(dtype: np.dtype[Any]) -> int:
    """By what GDAL makes the mean of cells."""
    if dtype.kind == "f":
        return FLOATS
    if dtype.kind == "u" and dtype.itemsize < 4:
        return SMALL
    return SINGLE if dtype.itemsize < 4 else DOUBLE


def _beside(dtype: np.dtype[Any], nodata: float | None) -> float:
    """What stands for the nodata value where the mean of cells that hold data comes to that."""
    if nodata is None:
        return 0
    if dtype.kind == "f":
        return float(np.nextafter(dtype.type(nodata), np.finfo(dtype).max))
    return nodata + 1 if nodata < np.iinfo(dtype).max else nodata - 1
