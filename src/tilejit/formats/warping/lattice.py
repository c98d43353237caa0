"""A lattice of exact places over a grid, fine enough that those between lie where they should.

It is cut into blocks at fixed rows and columns, and each has its own step: whatever is asked for, in whatever order and
wherever, a cell gets its place from the same nodes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.formats.warping.mapping import Mapping
    from tilejit.window import Window

    Floats = NDArray[np.float64]

BLOCK = 512
"""Rows and columns of a block of the lattice. To make one of 256 took a third of a bilinear warp, mostly in calls."""
TOLERANCE = 0.02
"""How far, in cells of the source, a place may lie from the exact one."""
_OF_PLACES, _OF_EDGES = 0.25, 0.05
"""The parts of it that nodes of twice the step may be off, halfway between them, where an error of the second order is
greatest; those that are used are off by a quarter of that. Edges weigh more: a cell's share may be a small one."""
_FIRST, _LEAST, _EMPTY = 64.0, 0.5, 16.0
"""Cells between nodes: at first; at most that many tries later, when every cell's own middle is a node; and where what
has no place at all is taken for empty."""
_KEPT_BYTES = 1 << 25


@dataclass(frozen=True, eq=False, slots=True)
class LatticeBlock:
    """The nodes of one block."""

    nodes: Floats  # (2, row, col): columns and rows of the source
    per_cell: float  # nodes to a cell

    def part(self, window: Window) -> Floats:
        """The nodes around some of its cells, which are told from its first row and column."""
        rows, cols = (
            slice(int(np.floor(off * self.per_cell)), int(np.ceil(end * self.per_cell)) + 1)
            for off, end in ((window.row_off, window.row_end), (window.col_off, window.col_end))
        )
        return self.nodes[:, rows, cols]


class Lattice:
    """The blocks of a mapping's target; threads may share it."""

    def __init__(self, mapping: Mapping, *, edges: bool = False) -> None:
        self.mapping = mapping
        self._most = TOLERANCE * (_OF_EDGES if edges else _OF_PLACES)
        self._kept: OrderedDict[tuple[int, int], LatticeBlock] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def block(self, row: int, col: int) -> LatticeBlock:
        """Return a block by its row and column among blocks."""
        with self._lock:
            found = self._kept.get((row, col))
            if found is not None:
                self._kept.move_to_end((row, col))
                return found
        made = _refined(self.mapping, row * BLOCK, col * BLOCK, self._most)
        with self._lock:
            if (row, col) not in self._kept:
                self._kept[row, col] = made
                self._bytes += made.nodes.nbytes
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nodes.nbytes
        return made

    def clear(self) -> None:
        """Let go of what is kept."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


def _refined(mapping: Mapping, row: int, col: int, most: float) -> LatticeBlock:
    """A block whose nodes are near enough to each other, from a row and a column of the target."""
    if mapping.is_affine and not mapping.period:
        return LatticeBlock(_nodes(mapping, row, col, float(BLOCK)), 1 / BLOCK)
    step = _FIRST
    while True:
        step /= 2
        nodes = _nodes(mapping, row, col, step)
        if step <= _LEAST or _is_fine(nodes, mapping.period, step, most):
            return LatticeBlock(nodes, 1 / step)


def _nodes(mapping: Mapping, row: int, col: int, step: float) -> Floats:
    ahead = np.arange(round(BLOCK / step) + 1, dtype=np.float64) * step
    nodes = mapping.at(row + ahead, col + ahead)
    if mapping.period and not mapping.is_affine and not np.isnan(nodes).any():
        # Columns go on where the source's CRS begins anew; within one CRS they do anyway, however far nodes are apart.
        across = np.unwrap(nodes[0], period=mapping.period, axis=1)
        first = np.unwrap(across[:, 0], period=mapping.period)
        nodes[0] = across + (first - across[:, 0])[:, np.newaxis]
    return np.ascontiguousarray(nodes)


def _is_fine(nodes: Floats, period: float, step: float, most: float) -> bool:
    """Whether every second node would have done."""
    missing = np.isnan(nodes)
    if missing.any():
        return bool(missing.all()) and step <= _EMPTY
    coarse = nodes[:, ::2, ::2]
    between = np.empty_like(nodes)
    between[:, ::2, ::2] = coarse
    between[:, ::2, 1::2] = (coarse[:, :, 1:] + coarse[:, :, :-1]) / 2
    between[:, 1::2] = (between[:, 2::2] + between[:, :-2:2]) / 2
    off = np.abs(nodes - between)
    if period:
        off[0] = np.abs(off[0] - period * np.rint(off[0] / period))
    return bool(off.max() <= most)
