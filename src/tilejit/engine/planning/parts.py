"""Parts: the rectangles of whole tiles that workers get, and what is left of them where some tiles are finished."""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from tilejit.engine.planning.tiles import Tiling
    from tilejit.window import Window

_PARTS = 8
"""Parts for each worker: the last to end is then a sixteenth behind on the average."""
_LEAST_PARTS = 2
"""The same where blocks at their boundaries would be decoded too often."""
_BOUNDARY_SHARE = 0.1
"""The most of a raster's rows that is decoded twice, but for the least parts."""
_PART_BYTES = 256_000_000
"""Bytes of inputs and outputs of a part: what is lost with a worker, and what it holds where results are sent home."""


def parts_of(tiling: Tiling, workers: int, output_bytes: int) -> Iterator[Window]:
    """Cuts a window into rectangles of whole tiles: runs of rows of tiles, or of the tiles of a row.

    Args:
        tiling: The tiles.
        workers: How many parts are computed at once.
        output_bytes: Bytes of the outputs before compression.

    Yields:
        Windows that cover each cell exactly once, panel by panel.
    """
    (rows, cols), wide = tiling.tile_counts, tiling.panel_tiles
    firsts = range(0, cols, wide)
    wanted = ceil(_count(tiling, workers, output_bytes) / len(firsts))
    down, across = tiling.group  # whose tiles share blocks
    for first in firsts:
        end = min(first + wide, cols)
        for row, row_end in _runs(0, ceil(rows / down), wanted):
            for col, col_end in _runs(0, ceil((end - first) / across), wanted // ceil(rows / down)):
                ends = min(row_end * down, rows), min(first + col_end * across, end)
                yield tiling.tiles_window(row * down, ends[0], first + col * across, ends[1])


def _count(tiling: Tiling, workers: int, output_bytes: int) -> int:
    """How many parts there had better be."""
    bytes_in_all = tiling.source_bytes + output_bytes
    count = max(_PARTS * workers, ceil(bytes_in_all / _PART_BYTES))
    boundary = 2 * max((r.block[0] for r in tiling.reads if r.block_bytes and r.halo[0]), default=0)
    if boundary:
        count = max(_LEAST_PARTS * workers, min(count, 1 + int(_BOUNDARY_SHARE * tiling.window.height / boundary)))
    return count


def _runs(start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Cuts a range into about so many runs of about the same length."""
    count = max(1, min(wanted, end - start))
    edges = [start + k * (end - start) // count for k in range(count + 1)]
    yield from pairwise(edges)


def unfinished(tiling: Tiling, windows: Iterable[Window], finished: Iterable[Window]) -> Iterator[Window]:
    """Leaves tiles out of parts, and cuts what is left of each into few rectangles.

    Args:
        tiling: The tiles.
        windows: The parts: whole tiles.
        finished: What is left out: whole tiles.

    Yields:
        Windows that cover each cell that is left exactly once.
    """
    left = np.ones(tiling.tile_counts, np.bool_)
    for window in finished:
        left[_places(tiling, window)] = False
    for window in windows:
        rows, cols = _places(tiling, window)
        for row, row_end, col, col_end in _rectangles(left[rows, cols]):
            yield tiling.tiles_window(rows.start + row, rows.start + row_end, cols.start + col, cols.start + col_end)


def _places(tiling: Tiling, window: Window) -> tuple[slice, slice]:
    """The rows and the columns of tiles that a window is."""
    (rows, cols), whole = tiling.tile, tiling.window
    first_row, first_col = whole.row_off // rows, whole.col_off // cols
    return (
        slice(window.row_off // rows - first_row, ceil(window.row_end / rows) - first_row),
        slice(window.col_off // cols - first_col, ceil(window.col_end / cols) - first_col),
    )


def _rectangles(left: NDArray[np.bool_]) -> Iterator[tuple[int, int, int, int]]:
    """Cuts what is True into rectangles: the same columns of rows that follow each other are one."""
    open_runs: dict[tuple[int, int], int] = {}
    for row in range(len(left) + 1):
        runs = _true_runs(left[row]) if row < len(left) else []
        for run in [r for r in open_runs if r not in runs]:
            yield open_runs.pop(run), row, *run
        for run in runs:
            open_runs.setdefault(run, row)


def _true_runs(row: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The first and the end of each run of True."""
    edges = np.flatnonzero(np.diff(row, prepend=False, append=False))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
