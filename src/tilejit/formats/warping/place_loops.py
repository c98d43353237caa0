"""Loops that find a row of places; those of `warp_loops` and `area_loops` are compiled together with them.

Places are columns and rows of a source in cells, from its upper left corner: cell 3 lies from 3 to 4. They come from a
lattice (`tilejit.formats.warping.lattice`) by linear interpolation, with the same bits whatever part is asked for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def locate(  # noqa: PLR0917 - compiled functions take their arguments by place
    nodes: Array, per_cell: float, y: float, x: float, line: Array, out: Array
) -> None:
    """Interpolate one coordinate of a row of places, a cell apart from each other, from (row, col) nodes.

    Nodes lie ``per_cell`` to a cell. ``y`` and ``x`` are the first place, in cells from the first node; ``line`` is for
    its own use.
    """
    last = nodes.shape[0] - 2
    row = min(int(y * per_cell), last)
    down = y * per_cell - row
    for j in range(nodes.shape[1]):
        line[j] = nodes[row, j] if down == 0 else nodes[row, j] + down * (nodes[row + 1, j] - nodes[row, j])
    if per_cell >= 1:  # where a node may be NaN that has no part in a place
        for k in range(len(out)):
            along = (x + k) * per_cell
            j = min(int(along), last)
            along -= j
            out[k] = line[j] if along == 0 else line[j] + along * (line[j + 1] - line[j])
        return
    k = 0
    while k < len(out):
        j = min(int((x + k) * per_cell), last)
        end = min(len(out), int(np.ceil((j + 1) / per_cell - x))) if j < last else len(out)
        first, step = line[j], line[j + 1] - line[j]
        for n in range(k, end):
            out[n] = first + ((x + n) * per_cell - j) * step
        k = end


def places(  # noqa: PLR0917
    nodes: Array, per_cell: float, y: float, x: float, limits: Array, line: Array, us: Array, vs: Array,
) -> None:  # fmt: skip
    """Find the columns and rows at a row of places, columns within one period."""
    locate(nodes[0], per_cell, y, x, line, us)
    locate(nodes[1], per_cell, y, x, line, vs)
    start, period = limits[0], limits[1]
    if period > 0:
        for k in range(len(us)):
            us[k] -= period * math.floor((us[k] - start) / period)
