"""Zones from polygons: which cells of a tile belong to each, as runs, however many overlap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilejit.compiler.jit.native_function import Functions, NativeFunction
from tilejit.engine.reductions import contiguous
from tilejit.engine.runs import Runs
from tilejit.window import Window, tiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tilejit.formats.vector import GridPolygons
    from tilejit.grid import Grid

    Array = NDArray[Any]

Cells = Literal["centre", "fraction", "touched"]
"""Which cells belong to a polygon: those whose centre it holds, each by its share, all that it touches."""
_CELLS: dict[str, int] = {"centre": 0, "fraction": 1, "touched": 2}
_FRACTION = 1
_STEPS = 2.0**40  # steps of a cell in which heights are counted: `polygon_loops`
_CHUNK = 32  # edges that are looked at together when those of a tile are looked for
_PANEL, _PROBE = (64, 1024), (32, 256)
"""Rows and columns that are filled at a time: 1 MB of covers and areas; and where a centre is looked for."""
_STRIP = 1 << 17  # rows times polygons that are folded at a time
_LOOPS = Path(__file__).with_name("polygon_loops.py")
_I32, _I64, _F64 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float64)
_BUFFERS = (_F64, 2), (_F64, 2), (_I64, 2), (_I32, 2), (_F64, 1)
_POLYGONS = (_F64, 2), (_I64, 2), (_F64, 2), (_I64, 1), (_I64, 2), (_I64, 1)
_NUMBER = _I64, 0, ""


@dataclass(frozen=True, eq=False, slots=True)
class PolygonZones:
    """Polygons over a raster, the zones of a `tilejit.engine.zones.ZonalTable`: zone 0, 1, … in their order.

    It does not change, and any process takes it. Which cells a polygon has of a window, and their shares, have the same
    bits whatever the window.

    Example:
        >>> from tilejit.formats.vector import GridPolygons
        >>> from tilejit.grid import Grid
        >>> from tilejit.window import Window
        >>> square = np.array([(0.5, 0), (2, 0), (2, 1), (0.5, 1), (0.5, 0)])
        >>> polygons = GridPolygons(square, *map(np.array, ([0, 5], [0, 1], [0, 1], [0])))
        >>> runs = PolygonZones.of(polygons, Grid(2, 3), "fraction").runs(Window(0, 0, 2, 3))
        >>> runs.starts.tolist(), runs.stops.tolist(), runs.shares.tolist()
        ([0, 1], [1, 2], [0.5, 1.0])
    """

    grid: Grid  # of the raster
    points: Array  # (point, 2): columns and rows as bodies see the raster
    chunks: Array  # (chunk, 3): edges of a ring: their first point, their last one, what their right side counts
    reaches: Array  # (chunk, 4): the upmost row, the lowest, the leftmost column and the rightmost that they reach
    firsts: Array  # (polygon + 1,): the first chunk of each
    bounds: Array  # (polygon, 4): its first row, the row after the last, and so its columns, within the raster
    cells: Array  # (polygon,): which cells belong to it, a number of `polygon_loops`

    @classmethod
    def of(cls, polygons: GridPolygons, grid: Grid, cells: Cells) -> PolygonZones:
        """Makes them of valid polygons."""
        points = np.array(polygons.points, np.float64, order="C")
        points[:, 1] = np.rint(points[:, 1] * _STEPS) / _STEPS
        starts, edges = polygons.rings[:-1], np.diff(polygons.rings) - 1
        counts = -(-edges // _CHUNK)
        ring = np.repeat(np.arange(edges.size), counts)
        begins = starts[ring] + _CHUNK * (np.arange(ring.size) - np.repeat(np.cumsum(counts) - counts, counts))
        ends = np.minimum(begins + _CHUNK, starts[ring] + edges[ring])
        chunks = np.column_stack([begins, ends, _signs(points, polygons)[ring]]).astype(np.int64)
        reaches = _reaches(points, begins, ends)
        firsts = np.append(0, np.cumsum(counts))[polygons.parts[polygons.polygons]].astype(np.int64)
        numbers = np.full(firsts.size - 1, _CELLS[cells], np.int64)
        zones = cls(grid, points, chunks, reaches, firsts, _bounds(reaches, firsts, grid.shape), numbers)
        if cells == "centre":
            _loop("probe")(*zones._arrays(), *_buffers(*_PROBE, _PROBE[0] * _PROBE[1]))
        return zones

    @property
    def is_weighted(self) -> bool:
        """Whether some polygon has shares of cells."""
        return bool(self.by_share.any())

    @property
    def by_share(self) -> NDArray[np.bool_]:
        """Which polygons have shares of cells: all or none, or those that hold no centre."""
        return np.equal(self.cells, _FRACTION)

    @property
    def meets_raster(self) -> bool:
        """Whether there is one that reaches into the raster."""
        top, bottom, left, right = self.bounds.T
        return bool(((top < bottom) & (left < right)).any())

    def functions(self) -> Functions:
        """The native functions that `runs` calls."""
        numbers = (_NUMBER,) * 4
        return [(_loop("fill"), (*contiguous(*_POLYGONS, (_I64, 1)), *numbers, *contiguous(*_BUFFERS, (_I64, 1))))]

    def strips(self, window: Window) -> Iterator[tuple[slice, Window]]:
        """See `tilejit.engine.runs.Zones`: as many rows as have half a million runs of polygons without many edges."""
        near = int(np.count_nonzero(self._near(self._seen(window))))
        rows = max(_STRIP // max(near, 1), 1)
        for strip in tiles(*window.shape, rows, window.width):
            top = window.height - strip.row_end if self.grid.flips[0] else strip.row_off
            yield slice(top, top + strip.height), strip.shifted(window.row_off, window.col_off)

    def runs(self, window: Window) -> Runs:
        """The runs of a tile, as bodies see it; the raster's first tile names all zones, so that each gets a row."""
        is_first, window = window.row_off == window.col_off == 0, self._seen(window)
        top, bottom, left, right = self.bounds.T
        is_near = (
            (top < window.row_end) & (bottom > window.row_off) & (left < window.col_end) & (right > window.col_off)
        )
        chosen = np.flatnonzero(is_near | is_first)
        found = list(self._found(chosen, window)) if chosen.size else []
        places = np.concatenate([part for part, _ in found] or [np.zeros((0, 4), np.int32)])
        shares = np.concatenate([part for _, part in found]) if found and self.is_weighted else None
        slots, rows, starts, stops = places.T
        return Runs(chosen, slots, rows, starts, stops, shares)

    def _near(self, window: Window) -> NDArray[np.bool_]:
        """Which polygons may meet a window."""
        top, bottom, left, right = self.bounds.T
        near = (top < window.row_end) & (bottom > window.row_off) & (left < window.col_end) & (right > window.col_off)
        return np.asarray(near, np.bool_)

    def _found(self, chosen: Array, window: Window) -> Iterator[tuple[Array, Array]]:
        """Slots, rows, starts and stops, with shares, of panel after panel."""
        rows, cols = (min(size, most) for size, most in zip(window.shape, _PANEL, strict=True))
        cover, area, marks, places, shares = _buffers(rows, cols, 2 * rows * cols)
        for panel in tiles(*window.shape, rows, cols):
            (height, width), progress = panel.shape, np.zeros(2, np.int64)
            seen = (
                *(_shaped(field, height, width + 1) for field in (cover, area)),
                _shaped(marks, height, -(-width // 32)),
            )
            while progress[0] < chosen.size:
                progress[1] = 0
                _loop("fill")(*self._arrays(), chosen, window.row_off + panel.row_off, window.col_off + panel.col_off,
                              panel.row_off, panel.col_off, *seen, places, shares, progress)  # fmt: skip
                yield places[: progress[1]].copy(), shares[: progress[1]].copy()

    def _arrays(self) -> tuple[Array, ...]:
        return self.points, self.chunks, self.reaches, self.firsts, self.bounds, self.cells

    def _seen(self, window: Window) -> Window:
        """A window of the file's rows and columns, in those that bodies see."""
        (height, width), (rows, cols) = self.grid.shape, self.grid.flips
        row = height - window.row_end if rows else window.row_off
        return Window(row, width - window.col_end if cols else window.col_off, *window.shape)


def _loop(name: str) -> NativeFunction:
    return NativeFunction.of_loops(_LOOPS, name)


def _buffers(rows: int, cols: int, runs: int) -> tuple[Array, ...]:
    """Covers, areas and marks of a panel, and room for runs: as `polygon_loops` takes them."""
    fields = np.zeros((rows, cols + 1)), np.zeros((rows, cols + 1)), np.zeros((rows, -(-cols // 32)), np.int64)
    return *fields, np.empty((runs, 4), np.int32), np.empty(runs)


def _shaped(field: Array, rows: int, row: int) -> Array:
    """The beginning of a field as that of a smaller panel: it is all zero between panels."""
    return field.reshape(-1)[: rows * row].reshape(rows, row)


def _signs(points: Array, polygons: GridPolygons) -> Array:
    """What the right side of each ring's edges counts, so that shells count 1 within, and holes -1."""
    if not len(points):
        return np.zeros(0, np.int64)
    (x, y), starts = points.T, polygons.rings[:-1]
    x = x - np.repeat(x[starts], np.diff(polygons.rings))  # for areas far below the coordinates' own digits
    steps = np.append(0.5 * (x[1:] + x[:-1]) * np.diff(y), 0.0)
    steps[polygons.rings[1:] - 1] = 0.0
    signs = np.where(np.add.reduceat(steps, starts) > 0, 1, -1)
    signs[polygons.parts[:-1]] *= -1
    return signs


def _reaches(points: Array, begins: Array, ends: Array) -> Array:
    """The upmost row, the lowest, the leftmost column and the rightmost of the edges between points."""
    if not begins.size:
        return np.zeros((0, 4))
    pairs = np.column_stack([begins, ends + 1]).ravel()
    x, y = np.append(points, points[-1:], axis=0).T
    found = [ends.reduceat(values, pairs)[::2] for values in (y, x) for ends in (np.minimum, np.maximum)]
    return np.column_stack(found)


def _bounds(reaches: Array, firsts: Array, shape: tuple[int, int]) -> Array:
    """The cells of each polygon that edges may reach, within the raster; a crossing may count one column further on."""
    bounds = np.zeros((firsts.size - 1, 4), np.int64)
    full = firsts[1:] > firsts[:-1]
    if full.any():
        starts = firsts[:-1][full]
        top, bottom, left, right = (
            ends.reduceat(reaches[:, k], starts) for k, ends in enumerate((np.minimum, np.maximum) * 2)
        )
        limits = np.column_stack([np.floor(top), np.ceil(bottom), np.floor(left), np.floor(right) + 2])
        bounds[full] = np.clip(limits, 0, np.repeat(shape, 2))
    return bounds
