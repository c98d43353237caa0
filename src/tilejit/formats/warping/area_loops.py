"""Loops of `tilejit.formats.warping.warped_source` that make a cell of those that lie under it; see `warp_loops`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.warping.place_loops import places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

AVERAGE, SUM, MINIMUM, MAXIMUM, MEDIAN, MODE = range(6)
"""What the cells under a cell are reduced to."""
_TOUCHED = 1e-6  # the part of a cell that counts as none: places are rounded to it


def sort(values: Array, shares: Array, count: int) -> None:
    """Sort the first values, and their shares along with them (Shell's sort, Knuth's gaps)."""
    gap = 1
    while 3 * gap + 1 < count:
        gap = 3 * gap + 1
    while gap > 0:
        for k in range(gap, count):
            value, share, at = values[k], shares[k], k
            while at >= gap and values[at - gap] > value:
                values[at], shares[at] = values[at - gap], shares[at - gap]
                at -= gap
            values[at], shares[at] = value, share
        gap //= 3


def commonest(values: Array, shares: Array, count: int) -> Any:
    """Return the value of the greatest share; the least of several such."""
    sort(values, shares, count)
    best, most, k = values[0], -1.0, 0
    while k < count:
        value, share = values[k], 0.0
        while k < count and values[k] == value:
            share += shares[k]
            k += 1
        if share > most:
            best, most = value, share
    return best


def reduced(  # noqa: PLR0917, PLR0915, C901, PLR0912
    cells: Array, flags: Array, frame: Array, limits: Array, nodes: Array, per_cell: float, part: Array,
    scratch: Array, kind: int, turned: int, values: Array, shares: Array, blank: Array, out: Array, valid: Array,
) -> None:  # fmt: skip
    """Reduce the cells under a cell: those that its box touches, by the share of each that lies in it.

    The box is that of a cell's upper left and lower right corner, as GDAL has it; with ``turned`` it is that around a
    cell's middle, as wide as its longer side. Minimum, maximum and median count all cells alike. See `warp_loops`;
    ``values`` and ``shares`` are for its own use, one for each cell of the window.
    """
    width, ends = part[3], part[3] + 1
    us, vs, below_u, below_v = scratch[0, :ends], scratch[1, :ends], scratch[3, :ends], scratch[4, :ends]
    left, right, height, period = limits[2], limits[3], limits[4], limits[1]
    for y in range(part[2]):
        places(nodes, per_cell, float(part[0] + y), float(part[1]), limits, scratch[2], us, vs)
        places(nodes, per_cell, float(part[0] + y + 1), float(part[1]), limits, scratch[2], below_u, below_v)
        begin = part[4] + y * part[5]
        for x in range(width):
            out[begin + x] = blank[0]
            if valid.size:
                valid[begin + x] = 0
            u, v, wide, high = us[x], vs[x], below_u[x + 1] - us[x], below_v[x + 1] - vs[x]
            if period > 0:
                wide -= period * np.rint(wide / period)
            if turned:
                ahead, down = us[x + 1] - u, below_u[x] - u
                if period > 0:
                    ahead, down = ahead - period * np.rint(ahead / period), down - period * np.rint(down / period)
                middle_u, middle_v = u + wide / 2, v + high / 2
                wide, high = max(abs(ahead), abs(down)), max(abs(vs[x + 1] - v), abs(below_v[x] - v))
                u, v = middle_u - wide / 2, middle_v - high / 2
            u, wide = u + min(wide, 0.0), abs(wide)
            v, high = v + min(high, 0.0), abs(high)
            if not (wide < limits[5] and high < limits[6]):  # NaN, or torn apart where the map ends
                continue
            top, bottom = np.int64(math.floor(v + _TOUCHED)), np.int64(math.ceil(v + high - _TOUCHED))
            first, end = np.int64(math.floor(u + _TOUCHED)), np.int64(math.ceil(u + wide - _TOUCHED))
            count, total, weights = 0, 0.0, 0.0
            for j in range(max(0, int(top)), min(int(height), int(max(bottom, top + 1)))):
                tall = min(j + 1.0, v + high) - max(float(j), v)
                for i in range(int(first), int(max(end, first + 1))):
                    here = i - frame[1]
                    if right == math.inf and not 0 <= here < frame[2]:
                        here -= np.int64(period * math.floor(here / period))
                    if not (left <= i < right and here < frame[2]):
                        continue
                    at = (j - frame[0]) * frame[2] + here
                    value = cells[at]
                    if value != value or (flags.size > 0 and flags[at] == 0):  # noqa: PLR0124 - NaN
                        continue
                    share = tall * (min(i + 1.0, u + wide) - max(float(i), u))
                    if kind <= SUM:
                        total += share * value
                        weights += share
                    elif count > 0 and kind <= MAXIMUM:
                        values[0] = min(values[0], value) if kind == MINIMUM else max(values[0], value)
                    else:
                        values[count], shares[count] = value, share
                    count += 1
            if not count or (kind <= SUM and weights <= 0):
                continue
            if valid.size:
                valid[begin + x] = 1
            if kind == AVERAGE:
                out[begin + x] = total / weights
            elif kind == SUM:
                out[begin + x] = total
            elif kind == MODE:
                out[begin + x] = commonest(values, shares, count)
            elif kind == MEDIAN:
                sort(values, shares, count)
                out[begin + x] = values[(count - 1) // 2]
            else:
                out[begin + x] = values[0]
