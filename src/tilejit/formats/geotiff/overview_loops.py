"""Loops of `tilejit.formats.geotiff.overviews` that make a cell of an overview of those that it covers.

The arithmetic and its order are those of GDAL's overviews (gcore/overview.cpp), so that the cells are the same.
"""

# ruff: noqa: PLR0124 - `x == x` is the NaN test of loops that need no Numba

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

COMPILED = ("rounded", "halve", "average", "mode")
"""The functions that are compiled."""
FLOATS, SMALL, SINGLE, DOUBLE = range(4)
"""What a mean becomes: a float, an unsigned integer of 8 or 16 bits, or another by way of float32, or of float64."""
NEVER, VALUE, NAN = range(3)
"""Which cells hold no data: none, those of a value, those that are NaN."""


def rounded(mean: float, kind: int) -> float:
    """Return the value that an integer cell takes of a mean: halves go away from zero."""
    if kind == SMALL:
        return math.floor(mean + 0.5)
    value = np.float64(np.float32(mean)) if kind == SINGLE else mean
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def halve(cells: Array, missing: int, kind: int, numbers: Array, out: Array) -> None:
    """Make each cell the mean of two by two that hold data: `average`, where all cells weigh alike.

    ``numbers`` are the nodata value, and what stands for it where a mean comes to that.
    """
    for y in range(out.shape[0]):
        upper, lower = cells[2 * y], cells[2 * y + 1]
        for x in range(out.shape[1]):
            a, b, c, d = upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1]
            if missing == NEVER:
                mean = (((np.float64(a) + b) + c) + d) * 0.25
            else:
                has_a, has_b, has_c, has_d = a == a, b == b, c == c, d == d
                if missing == VALUE:
                    has_a, has_b, has_c, has_d = a != numbers[0], b != numbers[0], c != numbers[0], d != numbers[0]
                count = np.float64(has_a) + np.float64(has_b) + np.float64(has_c) + np.float64(has_d)
                above = (np.float64(a) if has_a else 0.0) + (np.float64(b) if has_b else 0.0)
                below = (np.float64(c) if has_c else 0.0) + (np.float64(d) if has_d else 0.0)
                if count == 0.0:
                    out[y, x] = numbers[0]
                    continue
                mean = (above + below) / count
            if kind == FLOATS:
                out[y, x] = mean
                if missing == VALUE and out[y, x] == numbers[0]:
                    out[y, x] = numbers[1]
                continue
            value = rounded(mean, kind)
            tried = value if kind == SMALL else (np.float64(np.float32(mean)) if kind == SINGLE else mean)
            out[y, x] = value
            if missing == VALUE and tried == numbers[0]:
                out[y, x] = numbers[1]


def average(  # noqa: PLR0912, PLR0917, C901
    cells: Array, rows: Array, row_shares: Array, cols: Array, col_shares: Array, missing: int, kind: int,
    numbers: Array, out: Array,
) -> None:  # fmt: skip
    """Make each cell the mean of those that it covers and that hold data, by the share of each that lies under it.

    ``rows`` and ``cols`` are where those begin and end; the shares are of the first and of the last.
    """
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            total, weights, count = 0.0, 0.0, 0
            for i in range(rows[y, 0], rows[y, 1]):
                line, line_weights = 0.0, 0.0
                for j in range(cols[x, 0], cols[x, 1]):
                    cell = cells[i, j]
                    holds = True
                    if missing == VALUE:
                        holds = cell != numbers[0]
                    elif missing == NAN:
                        holds = cell == cell
                    if not holds:
                        continue
                    share = 1.0
                    if j == cols[x, 0]:
                        share = col_shares[x, 0]
                    elif j + 1 == cols[x, 1]:
                        share = col_shares[x, 1]
                    line += cell * share
                    line_weights += share
                    count += 1
                share = 1.0
                if i == rows[y, 0]:
                    share = row_shares[y, 0]
                elif i + 1 == rows[y, 1]:
                    share = row_shares[y, 1]
                total += line * share
                weights += line_weights * share
            if count == 0:
                out[y, x] = numbers[0]
                continue
            if missing == NEVER:
                weights = row_shares[y, 2] * col_shares[x, 2]
            mean = total / weights
            if kind == FLOATS:
                out[y, x] = mean
                if missing == VALUE and out[y, x] == numbers[0]:
                    out[y, x] = numbers[1]
                continue
            value = rounded(mean, kind)
            tried = value if kind == SMALL else (np.float64(np.float32(mean)) if kind == SINGLE else mean)
            out[y, x] = value
            if missing == VALUE and tried == numbers[0]:
                out[y, x] = numbers[1]


def mode(  # noqa: PLR0917
    cells: Array, rows: Array, cols: Array, missing: int, numbers: Array, out: Array
) -> None:  # fmt: skip
    """Make each cell the value that most of those have that it covers and that hold data: that which is first there."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            best, most = numbers[0], 0
            for i in range(rows[y, 0], rows[y, 1]):
                for j in range(cols[x, 0], cols[x, 1]):
                    cell = cells[i, j]
                    if (missing == VALUE and cell == numbers[0]) or (missing == NAN and cell != cell):
                        continue
                    count = 0
                    for k in range(rows[y, 0], i + 1):
                        end = j + 1 if k == i else cols[x, 1]
                        for m in range(cols[x, 0], end):
                            other = cells[k, m]
                            if other == cell or (other != other and cell != cell):
                                count += 1
                    if count > most:
                        best, most = cell, count
            out[y, x] = best
