"""A plan in parts: what is handed to one worker at a time."""

from __future__ import annotations

import itertools
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilejit.plan import Plan
    from tilejit.window import Window

_PARTS = 8
"""Parts for each worker: the last to end is then a sixteenth behind on the average."""
_LEAST_PARTS = 2
"""The same where blocks at the seams would be decoded too often."""
_SEAM_SHARE = 0.1
"""The most of a raster's rows that is decoded twice, but for the least parts."""
_PART_BYTES = 256_000_000
"""Bytes of inputs and outputs of a part: what is lost with a worker, and what it holds where results are sent home."""


def parts_of(plan: Plan, workers: int) -> Iterator[Window]:
    """Cuts a plan's window into rectangles of whole tiles: runs of rows of tiles, or of the tiles of a row.

    Args:
        plan: The plan.
        workers: How many parts are computed at once.

    Yields:
        Windows that cover each cell exactly once, panel by panel.
    """
    (rows, cols), wide = plan.task_shape, plan.panel_tiles
    firsts = range(0, cols, wide)
    wanted = ceil(_count(plan, workers) / len(firsts))
    for first in firsts:
        end = min(first + wide, cols)
        for row, row_end in _runs(0, rows, wanted):
            for col, col_end in _runs(first, end, wanted // rows):
                yield plan.tiles_window(row, row_end, col, col_end)


def _count(plan: Plan, workers: int) -> int:
    """How many parts there had better be."""
    bytes_in_all = plan.source_bytes + plan.output_bytes
    count = max(_PARTS * workers, ceil(bytes_in_all / _PART_BYTES))
    seam = 2 * max((r.block[0] for r in plan.reads if r.block_bytes and r.halo[0]), default=0)
    if seam:
        count = max(_LEAST_PARTS * workers, min(count, 1 + int(_SEAM_SHARE * plan.window.height / seam)))
    return count


def _runs(start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Cuts a range into about so many runs of about the same length."""
    count = max(1, min(wanted, end - start))
    edges = [start + k * (end - start) // count for k in range(count + 1)]
    yield from itertools.pairwise(edges)
