"""The inputs of tiles while they wait for their halos.

A tile's own cells are decoded once, into the middle of its buffer; neighbours then hand each other the strips that lie
in the other's halo, as MPI programs exchange halos. Whichever of two is decoded later does the exchange for both, so
every pair is done once, and a buffer is whole when all its pairs are. Where a tile's halo reaches beyond its panel, it
decodes those cells itself, but for the columns that the panel before has left at the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.planning.tiles import cells_of
from tilejit.formats.in_memory import views_of
from tilejit.kernel.inputs import fill_outside, inside_index
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.steps import Operand, Read
    from tilejit.formats.source import Source


@dataclass(slots=True)
class Layer:
    """The cells of one read over one tile and its halo."""

    read: Read
    """What it holds."""
    cells: NDArray[Any]
    """(band, row, col), contiguous."""
    valid: NDArray[np.uint8] | None
    """The validity of integer cells, of the same shape."""

    def arrays(self) -> Iterator[NDArray[Any]]:
        """The cells, and their validity where there is any."""
        yield self.cells
        if self.valid is not None:
            yield self.valid


@dataclass(frozen=True, slots=True)
class Block:
    """The cells of reads of one form that follow one another, so that a stack of them is one array."""

    reads: tuple[Read, ...]
    """What it holds."""
    cells: NDArray[Any]
    """(plane, row, col), contiguous: the bands of the first read, of the second, and so on."""
    valid: NDArray[np.uint8] | None
    """The validity of integer cells, of the same shape."""

    def layers(self) -> Iterator[Layer]:
        """Yields the cells of each read."""
        first = 0
        for read in self.reads:
            own = slice(first, first + len(read.bands))
            yield Layer(read, self.cells[own], None if self.valid is None else self.valid[own])
            first = own.stop


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a plane, as kernels see them."""

    cells: NDArray[Any]
    """(row, col)."""
    valid: NDArray[np.uint8] | None = None
    """Their validity where it is apart."""
    block: Block | None = None
    """Where they are read to, with what lies beside them."""
    index: int = 0
    """Which plane of the block they are."""


class TileMemory:
    """The memory of one buffer, allocated once and used for tile after tile."""

    def __init__(self, plan: Plan) -> None:
        self._flat = []
        self.shared = [plan.shares(read) for read in plan.reads]
        """Of which reads each block is decoded once, though tiles may cut it."""
        stacked = {plane for step in plan.steps for o in step.operands if len(o.planes) > 1 for plane in o.planes}
        numbers = iter(range(len(plan.planes)))
        own = [{next(numbers) for _ in read.bands} for read in plan.reads]
        self.viewed = [
            read.halo == (0, 0) and not read.valid and planes.isdisjoint(stacked)
            for read, planes in zip(plan.reads, own, strict=True)
        ]
        """Which reads may stay where they lie, if that is in memory: stacks of layers lie beside each other here."""
        for (dtype, halo, is_valid), found in groupby(plan.reads, lambda r: (r.dtype, r.halo, r.valid)):
            reads = tuple(found)
            count = sum(len(read.bands) for read in reads) * cells_of(plan.largest_tile, halo)
            self._flat.append((reads, np.empty(count, dtype), np.empty(count, np.uint8) if is_valid else None))

    def blocks(self, window: Window) -> list[Block]:
        """Contiguous views for the tile ``window``."""
        blocks = []
        for reads, cells, valid in self._flat:
            (down, across), planes = reads[0].halo, sum(len(read.bands) for read in reads)
            shape = planes, window.height + 2 * down, window.width + 2 * across
            views = (None if a is None else a[: prod(shape)].reshape(shape) for a in (cells, valid))
            blocks.append(Block(reads, *views))  # type: ignore[arg-type]
        return blocks


class Boundaries:
    """What panels leave to the next: the last columns of their last tiles, as far as those lie in another's halo.

    Threads may share it. What a tile does not find here, because it is not decoded yet, it decodes itself.
    """

    def __init__(self) -> None:
        self._strips: dict[tuple[int, int, int], list[NDArray[Any]]] = {}

    def keep(self, number: int, layer: Layer, own: Window) -> None:
        """Copies the last columns of a tile's own cells; ``number`` tells layers apart."""
        down, across = layer.read.halo
        if 0 < across <= own.width:
            columns = slice(own.width, own.width + across)
            strips = [array[:, down : down + own.height, columns].copy() for array in layer.arrays()]
            self._strips[number, own.row_off, own.col_end] = strips

    def fill(self, number: int, layer: Layer, own: Window) -> bool:
        """Puts what was kept to the left of a tile's own cells, and lets go of it; whether there was any."""
        strips = self._strips.pop((number, own.row_off, own.col_off), None)
        if strips is None:
            return False
        down, across = layer.read.halo
        for array, strip in zip(layer.arrays(), strips, strict=True):
            array[:, down : down + own.height, :across] = strip
        return True


@dataclass(slots=True)
class TileBuffer:
    """One tile's inputs."""

    window: Window
    """The tile."""
    panel: Window
    """The tiles that hand each other halos."""
    memory: TileMemory
    """The memory, to be given back."""
    boundaries: Boundaries = field(default_factory=Boundaries)
    """What the panel before has left to this one, and this one leaves to the next."""
    is_exchanging: bool = True
    """Whether it is handed cells of its halo; otherwise it reads all of it."""
    blocks: list[Block] = field(init=False)
    """Its cells, in the order of the plan's planes."""
    layers: list[Layer] = field(init=False)
    """The same, one layer for each read."""
    views: dict[int, list[NDArray[Any]]] = field(default_factory=dict)
    """By the number of a read its cells, where they stay in the source's own memory."""

    def __post_init__(self) -> None:
        self.blocks = self.memory.blocks(self.window)
        self.layers = [layer for block in self.blocks for layer in block.layers()]

    @property
    def size(self) -> int:
        """Bytes of its cells and of their validity."""
        return sum(array.nbytes for layer in self.layers for array in layer.arrays())

    def planes(self, facing: tuple[slice, slice]) -> list[Cells]:
        """The cells as kernels see them.

        All that follows is turned as they are: halos are as wide on either side, so that places within them stay.
        """
        read = [
            Cells(cells[facing], None if block.valid is None else block.valid[k][facing], block, k)
            for block in self.blocks
            for k, cells in enumerate(block.cells)
        ]
        for number, views in self.views.items():
            first = sum(len(layer.read.bands) for layer in self.layers[:number])
            read[first : first + len(views)] = [Cells(view[facing]) for view in views]
        return read

    def decoded(self, read: Read, whole: Window) -> Window:
        """The cells that the tile reads: its own, and those of its halo that lie beyond the panel inside ``whole``."""
        halo, own, panel = self.window.expand(*read.halo), self.window, self.panel
        row = halo.row_off if own.row_off == panel.row_off else own.row_off
        col = halo.col_off if own.col_off == panel.col_off else own.col_off
        row_end = halo.row_end if own.row_end == panel.row_end else own.row_end
        col_end = halo.col_end if own.col_end == panel.col_end else own.col_end
        return Window(row, col, row_end - row, col_end - col).intersection(whole)

    def decode(self, sources: Sequence[Source], whole: Window) -> int:
        """Reads the cells that no other tile hands over, inside ``whole``; returns the bytes decoded."""
        total, own = 0, self.window
        for number, (layer, source) in enumerate(zip(self.layers, sources, strict=True)):
            window = self.decoded(layer.read, whole)
            views = views_of(source, layer.read.bands, layer.read.dtype, own) if self.memory.viewed[number] else None
            if views is not None:
                self.views[number] = views
                total += sum(view.nbytes for view in views)
                continue
            is_alone = window.row_off == own.row_off and window.height == own.height
            if window.col_off < own.col_off and is_alone and self.boundaries.fill(number, layer, own):
                window = replace(window, col_off=own.col_off, width=window.col_end - own.col_off)
            rows, cols = window.slices(own.expand(*layer.read.halo))
            valid = None if layer.valid is None else layer.valid[:, rows, cols]
            source.read(layer.read.bands, window, layer.cells[:, rows, cols], valid)
            total += self._decoded_bytes(number, window, whole)
            if self.is_exchanging and own.col_end == self.panel.col_end < whole.col_end:
                self.boundaries.keep(number, layer, own)
        return total

    def _decoded_bytes(self, number: int, window: Window, whole: Window) -> int:
        """Bytes of the whole blocks that a window is the first to touch, or touches at all; of an array, its own."""
        read, (rows, cols) = self.layers[number].read, window.shape
        if read.block_bytes:
            is_shared, panel = self.memory.shared[number], self.panel
            above, left = is_shared and window.row_off > panel.row_off, is_shared and window.col_off > panel.col_off
            rows = _touched(window.row_off, window.row_end, read.block[0], whole.height, after=above)
            cols = _touched(window.col_off, window.col_end, read.block[1], whole.width, after=left)
        return len(read.bands) * read.dtype.itemsize * rows * cols

    def exchange(self, other: TileBuffer, whole: Window) -> None:
        """Hands each of two neighbours the cells that the other has in its halo."""
        for number in range(len(self.layers)):
            self._hand_over(number, other, whole)
            other._hand_over(number, self, whole)

    def _hand_over(self, number: int, other: TileBuffer, whole: Window) -> None:
        mine, theirs = self.layers[number], other.layers[number]
        halo = other.window.expand(*theirs.read.halo)
        common = self.decoded(mine.read, whole).intersection(halo)
        if common.is_empty:
            return
        from_rows, from_cols = common.slices(self.window.expand(*mine.read.halo))
        to_rows, to_cols = common.slices(halo)
        for given, taken in zip(mine.arrays(), theirs.arrays(), strict=True):
            taken[:, to_rows, to_cols] = given[:, from_rows, from_cols]

    def complete(self, shape: tuple[int, int], sources: Sequence[Source]) -> None:
        """Fills what lies outside the raster."""
        for layer, source in zip(self.layers, sources, strict=True):
            halo = self.window.expand(*layer.read.halo)
            if layer.read.edge == "wrap":
                _wrap(layer, halo, shape, source)
                continue
            is_float = layer.read.dtype.kind == "f"
            for cells in layer.cells:
                fill_outside(cells, halo, shape, layer.read.edge, np.nan if is_float else 0)
            edge = layer.read.edge if isinstance(layer.read.edge, str) else 1
            for valid in () if layer.valid is None else layer.valid:
                fill_outside(valid, halo, shape, edge, 0)


def in_place(operand: Operand, planes: Sequence[Cells]) -> list[NDArray[Any]]:
    """Returns the planes of an operand where they lie, and behind them their validity, if it is asked for."""
    first = planes[operand.planes[0]]
    if first.block is None:
        # Planes that are known to be blank have no cells, until a kernel wants them.
        return [np.ascontiguousarray(np.broadcast_to(first.cells, (len(operand.planes), *first.cells.shape)))]
    own = slice(first.index, first.index + len(operand.planes))
    arrays = [first.block.cells, first.block.valid]
    return [array[own] for array in arrays[: 1 + operand.valid] if array is not None]


def _wrap(layer: Layer, halo: Window, shape: tuple[int, int], source: Source) -> None:
    """Reads the cells of the other side, one run of rows and columns at a time."""
    whole = Window(0, 0, *shape)
    for rows, row_from in _runs(halo.row_off, halo.row_end, shape[0]):
        for cols, col_from in _runs(halo.col_off, halo.col_end, shape[1]):
            part = Window(rows.start, cols.start, len(rows), len(cols))
            if part.intersection(whole) == part:
                continue
            to_rows, to_cols = part.slices(halo)
            valid = None if layer.valid is None else layer.valid[:, to_rows, to_cols]
            window = Window(row_from, col_from, len(rows), len(cols))
            source.read(layer.read.bands, window, layer.cells[:, to_rows, to_cols], valid)


def _runs(start: int, stop: int, size: int) -> Iterator[tuple[range, int]]:
    """Cuts ``start:stop`` where wrapping around ``size`` jumps; yields each run and where it is taken from."""
    while start < stop:
        first = int(inside_index(np.array([start]), size, "wrap")[0])
        end = min(stop, start + size - first)
        yield range(start, end), first
        start = end


def _touched(start: int, stop: int, block: int, size: int, *, after: bool) -> int:
    """The length of the blocks that ``start:stop`` touches; ``after`` others, of those that begin there."""
    begin = -(-start // block) if after else start // block
    return max(0, min(size, -(-stop // block) * block) - begin * block)
