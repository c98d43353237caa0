"""Loops of `tilejit.formats.warping.warped_source` that make a cell of those around a place.

They are compiled together with `tilejit.formats.warping.place_loops`, which says what a place is.

``cells`` are those of a window of the source, row after row. ``frame`` says where it lies: its first row and column,
and how many columns it has. ``part`` says what is made: its first row and column, in cells from the first node; its
rows and columns; where it begins in ``out``, and how far rows lie apart there. ``limits`` say what there is of the
source: places from ``start`` on for one ``period``, by which columns repeat (0 where they do not); the columns ``left``
to ``right``, which are infinite around the world; ``height`` rows; and how many columns and rows a cell may span at
most, beyond which a map is torn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.warping.place_loops import places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

BILINEAR, CUBIC, LANCZOS = range(3)
"""Filters."""
_LEAST = 1e-6  # the sum of weights, below which there is nothing that a cell is made of


def nearest(  # noqa: PLR0917
    cells: Array, flags: Array, frame: Array, limits: Array, nodes: Array, per_cell: float, part: Array,
    scratch: Array, blank: Array, out: Array, valid: Array,
) -> None:  # fmt: skip
    """Take the cell that a place lies in; ``blank`` where there is none.

    Args:
        cells: Those of the window.
        flags: 1 for each that holds data; empty where that is not apart.
        frame: See above.
        limits: See above.
        nodes: (2, row, col): columns and rows.
        per_cell: How many nodes there are to a cell.
        part: See above.
        scratch: (3, at least as many as nodes or columns), for its own use.
        blank: What there is where there is nothing.
        out: What is made, as `part` says.
        valid: Beside it, whether cells hold data; empty where that is not apart.
    """
    width = part[3]
    us, vs = scratch[0, :width], scratch[1, :width]
    left, right, height = limits[2], limits[3], limits[4]
    for y in range(part[2]):
        places(nodes, per_cell, part[0] + y + 0.5, part[1] + 0.5, limits, scratch[2], us, vs)
        begin = part[4] + y * part[5]
        for x in range(width):
            u, v = us[x], vs[x]
            if not (left <= u < right and 0 <= v < height):
                out[begin + x] = blank[0]
                if valid.size:
                    valid[begin + x] = 0
                continue
            at = (int(v) - frame[0]) * frame[2] + np.int64(math.floor(u)) - frame[1]
            out[begin + x] = cells[at]
            if valid.size:
                valid[begin + x] = flags[at] if flags.size else 1


def cell_at(cells: Array, frame: Array, limits: Array, row: Any, col: Any) -> Any:
    """A cell of floats; NaN where the source has none."""
    if 0 <= row < limits[4] and limits[2] <= col < limits[3]:
        return cells[(row - frame[0]) * frame[2] + col - frame[1]]
    return cells.dtype.type(np.nan)


def is_inside(u: float, v: float, limits: Array) -> bool:
    """Whether the four cells around a place are the source's."""
    return bool((u >= limits[2]) & (u < limits[3] - 1) & (v >= 0) & (v < limits[4] - 1))


def inner_run(us: Array, vs: Array, limits: Array) -> tuple[int, int]:
    """The first places of a row that follow one another inside of the source: mostly all."""
    begin, end = 0, len(us)
    outside = 0
    for x in range(end):
        outside |= not is_inside(us[x] - 0.5, vs[x] - 0.5, limits)
    if outside:
        while begin < len(us) and not is_inside(us[begin] - 0.5, vs[begin] - 0.5, limits):
            begin += 1
        end = begin
        while end < len(us) and is_inside(us[end] - 0.5, vs[end] - 0.5, limits):
            end += 1
    return begin, end


def blend(a: Any, b: Any, c: Any, d: Any, across: Any, down: Any) -> Any:  # noqa: PLR0917
    """Interpolate between two cells and the two below them."""
    upper = a + across * (b - a)
    return upper + down * ((c + across * (d - c)) - upper)


def bilinear(  # noqa: PLR0917 - one loop, for a call would cost as much as a cell
    cells: Array, frame: Array, limits: Array, nodes: Array, per_cell: float, part: Array, scratch: Array,
    weights: Array, at: Array, out: Array,
) -> None:  # fmt: skip
    """Interpolate between the four cells around a place; those without data leave their weight to the others.

    Places in a row that lie inside of the source are done without a look at its edges, and where the four are not all
    data the result is NaN, and is made anew. See `nearest`; ``weights`` (2, col) and ``at`` are for its own use.
    """
    width = part[3]
    us, vs, across, down = scratch[0, :width], scratch[1, :width], weights[0, :width], weights[1, :width]
    left, right, height = limits[2], limits[3], limits[4]
    top, first, stride = frame[0], frame[1], frame[2]
    for y in range(part[2]):
        places(nodes, per_cell, part[0] + y + 0.5, part[1] + 0.5, limits, scratch[2], us, vs)
        line = out[part[4] + y * part[5] : part[4] + y * part[5] + width]
        begin, end = inner_run(us, vs, limits)
        for x in range(begin, end):
            u, v = us[x] - 0.5, vs[x] - 0.5
            whole_u, whole_v = math.floor(u), math.floor(v)
            across[x], down[x] = u - whole_u, v - whole_v
            at[x] = (int(whole_v) - top) * stride + int(whole_u) - first
        for x in range(begin, end):
            k = at[x]
            a, b, c, d = cells[k], cells[k + 1], cells[k + stride], cells[k + stride + 1]
            line[x] = blend(a, b, c, d, across[x], down[x])
        for x in range(width):
            if begin <= x < end and line[x] == line[x]:
                continue
            line[x] = np.nan
            if left <= us[x] < right and 0 <= vs[x] < height:
                line[x] = sifted(cells, frame, limits, vs[x], us[x])


def holds(cells: Array, frame: Array, limits: Array, v: float, u: float) -> bool:
    """Whether the cell that a place lies in holds data, without which nothing is made of those around it."""
    value = cell_at(cells, frame, limits, math.floor(v), math.floor(u))
    return bool(value == value)  # noqa: PLR0124 - no NaN


def sifted(cells: Array, frame: Array, limits: Array, v: float, u: float) -> Any:
    """Interpolate between those of the four cells around a place that are there and hold data."""
    row, col = np.int64(math.floor(v - 0.5)), np.int64(math.floor(u - 0.5))
    across, down = cells.dtype.type(u - 0.5 - col), cells.dtype.type(v - 0.5 - row)
    a, b = cell_at(cells, frame, limits, row, col), cell_at(cells, frame, limits, row, col + 1)
    c, d = cell_at(cells, frame, limits, row + 1, col), cell_at(cells, frame, limits, row + 1, col + 1)
    if a == a and b == b and c == c and d == d:  # noqa: PLR0124 - no NaN
        return blend(a, b, c, d, across, down)
    if not holds(cells, frame, limits, v, u):
        return cells.dtype.type(np.nan)
    total = weights = cells.dtype.type(0)
    one = cells.dtype.type(1)
    for k in range(4):
        value = (a if k == 0 else b) if k < 2 else (c if k == 2 else d)
        share = (down if k > 1 else one - down) * (across if k % 2 else one - across)
        if value == value and share > 0:  # noqa: PLR0124
            total += share * value
            weights += share
    return total / weights if weights > _LEAST else cells.dtype.type(np.nan)


def weight(kind: int, distance: float) -> float:
    """What a filter weighs a cell whose middle lies so many cells from a place, as GDAL has it.

    Cubic: Keys (1981), a = -0.5. Lanczos: of three lobes.
    """
    x = abs(distance)
    if kind == BILINEAR:
        return max(0.0, 1.0 - x)
    if kind == CUBIC:
        if x <= 1:
            return x * x * (1.5 * x - 2.5) + 1.0
        return x * x * (2.5 - 0.5 * x) - 4.0 * x + 2.0 if x < 2 else 0.0
    if x >= 3 or (x > 0 and x == math.floor(x)):
        return 0.0
    angle = math.pi * x
    return 1.0 if x == 0 else 3.0 * math.sin(angle) * math.sin(angle / 3.0) / (angle * angle)


def add_weights(  # noqa: PLR0917
    kind: int, places_of: Array, reach: int, scale: float, row: Array, sums: Array
) -> None:
    """Find the weights of the cells that lie so far from places, and add them to those before."""
    for x in range(len(sums)):
        place = places_of[x] - 0.5
        row[x] = weight(kind, (math.floor(place) + reach - place) * scale)
        sums[x] += row[x]


def filtered(  # noqa: D417, PLR0917, C901 - one loop, for a call would cost as much as a cell
    cells: Array, frame: Array, limits: Array, nodes: Array, per_cell: float, part: Array, scratch: Array, kind: int,
    scales: Array, taps: Array, at: Array, out: Array,
) -> None:  # fmt: skip
    """Weigh the cells around a place; those without data leave their weight to the others, as GDAL has it.

    Places beside each other are made together, tap by tap, which LLVM makes vectors of: three times as fast as place by
    place. Where not all cells are there and hold data, the place is made anew. See `nearest`.

    Args:
        kind: The filter.
        scales: What distances are multiplied with, down and across: 1, or less where the output is coarser; and how
            many cells are weighed, down and across.
        taps: (tap + 3, col), for the weights of rows and of columns, their sums, and what is made.
        at: (col), for the first cell of each place.
    """
    width, count_y, count_x = part[3], int(scales[2]), int(scales[3])
    us, vs, count = scratch[0, :width], scratch[1, :width], count_y + count_x
    sum_y, sum_x, total = taps[count, :width], taps[count + 1, :width], taps[count + 2, :width]
    left, right, height, stride = limits[2], limits[3], limits[4], frame[2]
    is_large = stride >= count_x and len(cells) >= stride * count_y
    for y in range(part[2]):
        places(nodes, per_cell, part[0] + y + 0.5, part[1] + 0.5, limits, scratch[2], us, vs)
        line = out[part[4] + y * part[5] : part[4] + y * part[5] + width]
        for x in range(width):
            top, first = math.floor(vs[x] - 0.5) + 1 - count_y // 2, math.floor(us[x] - 0.5) + 1 - count_x // 2
            inside = top >= 0 and top + count_y <= height and first >= left and first + count_x <= right
            at[x] = (np.int64(top) - frame[0]) * stride + np.int64(first) - frame[1] if inside else -1
            sum_y[x] = sum_x[x] = total[x] = 0.0
        for k in range(count):
            if k < count_y:
                add_weights(kind, vs, k + 1 - count_y // 2, scales[0], taps[k], sum_y)
            else:
                add_weights(kind, us, k - count_y + 1 - count_x // 2, scales[1], taps[k], sum_x)
        if is_large:
            for j in range(count_y):
                rows = taps[j]
                for i in range(count_x):
                    cols, offset = taps[count_y + i], j * stride + i
                    for x in range(width):
                        total[x] += rows[x] * cols[x] * cells[max(at[x], 0) + offset]
        for x in range(width):
            value = total[x] / (sum_y[x] * sum_x[x])
            if is_large and at[x] >= 0 and value == value:  # noqa: PLR0124 - no NaN
                line[x] = value
            else:
                line[x] = weighed(cells, frame, limits, vs[x], us[x], kind, scales, taps[:, x])


def weighed(  # noqa: PLR0917
    cells: Array, frame: Array, limits: Array, v: float, u: float, kind: int, scales: Array, taps: Array,
) -> Any:  # fmt: skip
    """Weigh those of the cells around one place that are there and hold data.

    Where some are missing, a cubic filter of 4 x 4 cells gives way to the bilinear one, as in GDAL.
    """
    nothing = cells.dtype.type(np.nan)
    if not (limits[2] <= u < limits[3] and 0 <= v < limits[4] and holds(cells, frame, limits, v, u)):
        return nothing
    count_y, count_x = int(scales[2]), int(scales[3])
    top, first = np.int64(math.floor(v - 0.5)) + 1 - count_y // 2, np.int64(math.floor(u - 0.5)) + 1 - count_x // 2
    total = weights = 0.0
    for j in range(count_y):
        for i in range(count_x):
            value = np.float64(cell_at(cells, frame, limits, top + j, first + i))
            if value == value:  # noqa: PLR0124
                total += taps[j] * taps[count_y + i] * value
                weights += taps[j] * taps[count_y + i]
            elif kind == CUBIC and scales[0] == 1 and scales[1] == 1:
                return sifted(cells, frame, limits, v, u)
    return cells.dtype.type(total / weights) if weights > _LEAST else nothing
