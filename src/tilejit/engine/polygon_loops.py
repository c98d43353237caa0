"""Loops of `tilejit.engine.polygons`, which are compiled: polygons to runs, as fonts are drawn.

An edge crosses a row between two heights. What lies to its right is covered by their difference, its *cover*; of the
cells that it crosses itself, what lies to its left is not: its *area*. Added up from the left, the covers of all edges
tell what is inside (R. Levien, font-rs; S. Barrett, stb_truetype). Heights are multiples of 2 ** -40 of a cell, so that
covers add up exactly, in any order, to 0 outside and 1 inside.

Tiles are filled in panels. A panel has ``cover`` and ``area``, (row, 1 + col), the first for what lies left of it, and
``marks``, (row, word), a bit for each column that an edge crosses; all are zero between polygons.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


CENTRE, FRACTION, TOUCHED = 0, 1, 2
_STEPS = float(1 << 40)


def rounded(height: float) -> float:
    """A height within a row as covers count it, or a share."""
    return math.floor(height * _STEPS + 0.5) / _STEPS


def put(  # noqa: PLR0917 - compiled functions take their arguments by place
    cover: NDArray[Any], area: NDArray[Any], marks: NDArray[Any], y: int, x: int, height: float, middle: float
) -> None:
    """Add a part of an edge to the cell that it crosses; ``middle`` is its mean distance from the cell's left."""
    cover[y, x + 1] += height
    area[y, x + 1] += height * middle
    marks[y, x >> 5] |= 1 << (x & 31)


def put_part(  # noqa: PLR0917 - as above
    cover: NDArray[Any],
    area: NDArray[Any],
    marks: NDArray[Any],
    y: int,
    col: int,
    left: float,
    right: float,
    begin: float,
    end: float,
    sign: int,
) -> None:
    """Add the part of an edge that lies in one row.

    Args:
        cover: Of the panel, as are area and marks.
        area: As above.
        marks: As above.
        y: The panel's row.
        col: The raster's column where the panel begins.
        left: The part's lesser x, in columns of the raster.
        right: Its greater one.
        begin: Its height in the row at the left.
        end: That at the right.
        sign: What a part that grows in height from left to right covers on its right.
    """
    if right <= col and left < col:
        cover[y, 0] += sign * (end - begin)
        return
    last = col + cover.shape[1] - 1
    rate = (end - begin) / (right - left) if right > left else 0.0
    low, high = min(begin, end), max(begin, end)
    x, before, at = math.floor(left), begin, left
    if x < col:
        x, at = col, float(col)
        before = rounded(min(max(begin + (at - left) * rate, low), high))
        cover[y, 0] += sign * (before - begin)
    while x < last:
        if right <= x + 1:
            put(cover, area, marks, y, x - col, sign * (end - before), 0.5 * ((at - x) + (right - x)))
            return
        height = rounded(min(max(begin + (x + 1 - left) * rate, low), high))
        put(cover, area, marks, y, x - col, sign * (height - before), 0.5 * ((at - x) + 1.0))
        x, before, at = x + 1, height, float(x + 1)


def add_areas(  # noqa: PLR0917 - as above
    points: NDArray[Any],
    first: int,
    last: int,
    sign: int,
    row: int,
    col: int,
    cover: NDArray[Any],
    area: NDArray[Any],
    marks: NDArray[Any],
) -> None:
    """Add the edges from one point to another to a panel, by the area that they cover.

    Where an edge meets a row's bounds is computed from its ends, the upper one first, so that it does not depend on the
    panel, nor on which of two neighbours it belongs to.
    """
    end = row + cover.shape[0]
    right = col + cover.shape[1] - 1
    for k in range(first, last):
        xa, ya, xb, yb, way = points[k, 0], points[k, 1], points[k + 1, 0], points[k + 1, 1], sign
        if ya > yb:
            xa, ya, xb, yb, way = xb, yb, xa, ya, -sign
        low, high = min(xa, xb), max(xa, xb)
        if ya == yb or yb <= row or ya >= end or low >= right:
            continue
        slope = (xb - xa) / (yb - ya)
        for y in range(max(row, math.floor(ya)), min(end, math.ceil(yb))):
            top, bottom, above, below = 0.0, 1.0, xa, xb
            if ya >= y:
                top = ya - y
            else:
                above = min(max(xa + (y - ya) * slope, low), high)
            if yb <= y + 1:
                bottom = yb - y
            else:
                below = min(max(xa + (y + 1 - ya) * slope, low), high)
            if above <= below:
                put_part(cover, area, marks, y - row, col, above, below, top, bottom, way)
            else:
                put_part(cover, area, marks, y - row, col, below, above, bottom, top, -way)


def add_crossings(  # noqa: PLR0917 - as above
    points: NDArray[Any],
    first: int,
    last: int,
    sign: int,
    row: int,
    col: int,
    cover: NDArray[Any],
    area: NDArray[Any],
    marks: NDArray[Any],
) -> None:
    """Add the edges from one point to another to a panel, by where they cross the rows' middles, as GDAL does.

    A centre on an edge belongs to what lies left of it, and one on a horizontal edge to what lies below.
    """
    end = row + cover.shape[0]
    width = cover.shape[1] - 1
    for k in range(first, last):
        xa, ya, xb, yb, way = points[k, 0], points[k, 1], points[k + 1, 0], points[k + 1, 1], sign
        if ya > yb:
            xa, ya, xb, yb, way = xb, yb, xa, ya, -sign
        for y in range(max(row, math.ceil(ya - 0.5)), min(end, math.ceil(yb - 0.5))):
            x = math.floor((y + 0.5 - ya) * (xb - xa) / (yb - ya) + xa + 0.5) - col
            if x < 0:
                cover[y - row, 0] += way
            elif x < width:
                put(cover, area, marks, y - row, x, float(way), 0.0)


def add_polygon(  # noqa: PLR0917 - as above
    points: NDArray[Any],
    chunks: NDArray[Any],
    reaches: NDArray[Any],
    first: int,
    last: int,
    cells: int,
    row: int,
    col: int,
    cover: NDArray[Any],
    area: NDArray[Any],
    marks: NDArray[Any],
) -> None:
    """Add those of a polygon's chunks to a panel that reach into it, or lie left of it."""
    for chunk in range(first, last):
        top, bottom, left = reaches[chunk, 0], reaches[chunk, 1], reaches[chunk, 2]
        if bottom <= row or top >= row + cover.shape[0] or left >= col + cover.shape[1] - 1:
            continue
        begin, end, sign = chunks[chunk, 0], chunks[chunk, 1], chunks[chunk, 2]
        if cells == CENTRE:
            add_crossings(points, begin, end, sign, row, col, cover, area, marks)
        else:
            add_areas(points, begin, end, sign, row, col, cover, area, marks)


def emit(  # noqa: PLR0917 - as above
    places: NDArray[Any],
    shares: NDArray[Any],
    count: int,
    slot: int,
    y: int,
    start: int,
    stop: int,
    share: float,
    cells: int,
) -> int:
    """Append a run, or lengthen the last one; returns how many there are."""
    share = rounded(share)
    if start == stop or share <= 0:
        return count
    share = 1.0 if cells == TOUCHED else min(share, 1.0)
    last = count - 1
    is_next = last >= 0 and places[last, 0] == slot and places[last, 1] == y and places[last, 3] == start
    if is_next and shares[last] == share:
        places[last, 3] = stop
        return count
    places[count, 0], places[count, 1], places[count, 2], places[count, 3] = slot, y, start, stop
    shares[count] = share
    return count + 1


def sweep(  # noqa: PLR0917 - as above
    cover: NDArray[Any],
    area: NDArray[Any],
    marks: NDArray[Any],
    top: int,
    bottom: int,
    left: int,
    right: int,
    cells: int,
    slot: int,
    offset: int,
    shift: int,
    places: NDArray[Any],
    shares: NDArray[Any],
    count: int,
) -> int:
    """Turn what was added to some of a panel's rows into runs, and clear it; returns how many runs there are.

    Args:
        cover: Of the panel, as are area and marks.
        area: As above.
        marks: As above.
        top: The first of its rows.
        bottom: The row after the last.
        left: The first of its columns that an edge may cross.
        right: The column after the last.
        cells: Which cells belong to the polygon.
        slot: The polygon's number among those of the tile.
        offset: The row of the tile where the panel begins.
        shift: The column of the tile where it begins.
        places: (run, 4): slots, rows, starts and stops.
        shares: (run,).
        count: Runs that there are.
    """
    for y in range(top, bottom):
        inside, done = cover[y, 0], 0
        cover[y, 0] = 0.0
        for word in range(left >> 5, (right + 31) >> 5):
            bits, x = marks[y, word], word << 5
            marks[y, word] = 0
            while bits != 0:
                if bits & 1:
                    share = inside + (cover[y, x + 1] - area[y, x + 1])
                    count = emit(places, shares, count, slot, y + offset, done + shift, x + shift, inside, cells)
                    count = emit(places, shares, count, slot, y + offset, x + shift, x + 1 + shift, share, cells)
                    inside += cover[y, x + 1]
                    cover[y, x + 1], area[y, x + 1], done = 0.0, 0.0, x + 1
                bits >>= 1
                x += 1
        count = emit(places, shares, count, slot, y + offset, done + shift, cover.shape[1] - 1 + shift, inside, cells)
    return count


def fill(  # noqa: PLR0917 - as above
    points: NDArray[Any],
    chunks: NDArray[Any],
    reaches: NDArray[Any],
    firsts: NDArray[Any],
    bounds: NDArray[Any],
    cells: NDArray[Any],
    chosen: NDArray[Any],
    row: int,
    col: int,
    offset: int,
    shift: int,
    cover: NDArray[Any],
    area: NDArray[Any],
    marks: NDArray[Any],
    places: NDArray[Any],
    shares: NDArray[Any],
    progress: NDArray[Any],
) -> None:
    """Append the runs of polygons in a panel, as far as there is room.

    Args:
        points: (point, 2): columns and rows of the raster.
        chunks: (chunk, 3): edges that follow each other: their first point, their last one, the sign of their ring.
        reaches: (chunk, 3): the upmost row, the lowest, and the leftmost column that they reach.
        firsts: (polygon + 1,): its first chunk.
        bounds: (polygon, 4): its first row, the row after the last, and so its columns.
        cells: (polygon,): which cells belong to it.
        chosen: Polygons that may meet the panel.
        row: The panel's first row in the raster.
        col: Its first column.
        offset: Its first row in the tile.
        shift: Its first column in the tile.
        cover: Of the panel.
        area: Of the panel.
        marks: Of the panel.
        places: (run, 4), as for `sweep`.
        shares: (run,).
        progress: How many of the chosen are done, and how many runs there are; is moved on.
    """
    count = progress[1]
    for k in range(progress[0], len(chosen)):
        polygon = chosen[k]
        top, bottom = max(bounds[polygon, 0] - row, 0), min(bounds[polygon, 1] - row, cover.shape[0])
        left, right = max(bounds[polygon, 2] - col, 0), min(bounds[polygon, 3] - col, cover.shape[1] - 1)
        if top >= bottom or left >= right:
            continue
        if count + (bottom - top) * (right - left) > len(shares):
            progress[0], progress[1] = k, count
            return
        add_polygon(points, chunks, reaches, firsts[polygon], firsts[polygon + 1], cells[polygon], row, col, cover,
                    area, marks)  # fmt: skip
        count = sweep(cover, area, marks, top, bottom, left, right, cells[polygon], k, offset, shift, places, shares,
                      count)  # fmt: skip
    progress[0], progress[1] = len(chosen), count


def probe(  # noqa: PLR0917 - as above
    points: NDArray[Any],
    chunks: NDArray[Any],
    reaches: NDArray[Any],
    firsts: NDArray[Any],
    bounds: NDArray[Any],
    cells: NDArray[Any],
    cover: NDArray[Any],
    area: NDArray[Any],
    marks: NDArray[Any],
    places: NDArray[Any],
    shares: NDArray[Any],
) -> None:
    """Set ``cells`` of each polygon that holds no centre to `FRACTION`; bounds are clipped to the raster."""
    for polygon in range(len(cells)):
        is_met, row = bounds[polygon, 2] >= bounds[polygon, 3], bounds[polygon, 0]
        while not is_met and row < bounds[polygon, 1]:
            col = bounds[polygon, 2]
            while not is_met and col < bounds[polygon, 3]:
                add_polygon(points, chunks, reaches, firsts[polygon], firsts[polygon + 1], CENTRE, row, col, cover,
                            area, marks)  # fmt: skip
                count = sweep(cover, area, marks, 0, cover.shape[0], 0, cover.shape[1] - 1, CENTRE, 0, row, col, places,
                              shares, 0)  # fmt: skip
                for k in range(count):
                    is_met |= places[k, 1] < bounds[polygon, 1] and places[k, 2] < bounds[polygon, 3]
                col += cover.shape[1] - 1
            row += cover.shape[0]
        if not is_met and bounds[polygon, 0] < bounds[polygon, 1]:
            cells[polygon] = FRACTION
