"""Tiles: how the cells of a grid are cut, in which order they come, what they share, and parts of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise, product
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.planning.steps import Halo, Index, Read, Value
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tilejit.grid import Grid

PANEL_BYTES = 35_000_000
"""What a row of tiles that waits for the row below may take before a raster is computed in panels of columns: that of
16384 columns of float32 just fits."""
BOUNDARY_SHARE = 0.02
"""The most of a raster that panels may decode a second time: the column of blocks to the right of a boundary."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Tiling(Value):
    """A window of a grid in tiles, for the reads that they are made of."""

    grid: Grid
    """Where the cells lie."""
    window: Window
    """The part that is computed: the whole grid, unless a window is read."""
    tile: tuple[int, int]
    """Rows and columns of a tile."""
    reads: tuple[Read, ...]
    """What is read."""
    workers: int
    """Threads."""
    is_shared: bool = True
    """Whether blocks that tiles cut are held until all their tiles have them; otherwise each tile decodes them."""
    active: bytes | None = None
    """For each tile of the grid, row by row, whether it is computed: 0 or 1. Each then reads its halo itself. None: all
    tiles are, and hand each other their halos."""
    alike: tuple[tuple[Read, int], ...] = field(init=False, repr=False)
    """One of all reads that tiles see alike, and how many there are: hundreds of dates are one."""

    def __post_init__(self) -> None:
        found: dict[Any, tuple[Read, int]] = {}
        for read in self.reads:
            key = read.block, read.block_bytes, read.decoding, read.halo, read.cell_bytes, len(read.bands)
            found[key] = read, found.get(key, (read, 0))[1] + 1
        object.__setattr__(self, "alike", tuple(found.values()))

    def tiles(self) -> Iterator[tuple[Index, Window]]:
        """Yields what is computed: panel by panel, in each group by group, row by row."""
        if self.active is None:
            yield from self._all_tiles()
            return
        for row, col in np.argwhere(self._active()).tolist():
            yield (row, col), self.tiles_window(row, row + 1, col, col + 1)

    def _active(self) -> NDArray[np.uint8]:
        """Which tiles of the window are computed, by row and column."""
        (rows, cols), (down, across) = self.tile, self.tile_counts
        row, col = self.window.row_off // rows, self.window.col_off // cols
        flags = np.frombuffer(self.active or b"", np.uint8).reshape(-1, ceil(self.grid.width / cols))
        return flags[row : row + down, col : col + across]

    def _all_tiles(self) -> Iterator[tuple[Index, Window]]:
        (rows, cols), wide = self.tile_counts, self.panel_tiles
        for first in range(0, cols, wide):
            for down, across in product(self._groups(0, 0, rows), self._groups(1, first, min(first + wide, cols))):
                for row, col in product(down, across):
                    yield (row, col), self.tiles_window(row, row + 1, col, col + 1)

    def _groups(self, axis: int, start: int, end: int) -> list[range]:
        """Rows or columns of tiles, cut where groups end; these lie on the grid's own lines, as tiles do."""
        size = self.group[axis]
        before = (self.window.row_off, self.window.col_off)[axis] // self.tile[axis] % size
        edges = [start, *range(start + size - (start + before) % size, end, size), end]
        return [range(a, b) for a, b in pairwise(edges)]

    @property
    def group(self) -> tuple[int, int]:
        """Rows and columns of tiles that come one after the other, because they cut the same blocks."""
        files = [r for r, _ in self.alike if r.block_bytes]
        down, across = (
            max((ceil(min(r.block[k], self.grid.shape[k]) / self.tile[k]) for r in files), default=1) for k in (0, 1)
        )
        return down, across

    def panel(self, index: Index) -> Window:
        """Returns the window of the panel that a tile belongs to; its tiles hand each other their halos."""
        if self.active is not None:
            return self.tiles_window(index[0], index[0] + 1, index[1], index[1] + 1)
        first = index[1] // self.panel_tiles * self.panel_tiles
        return self.tiles_window(0, self.tile_counts[0], first, first + self.panel_tiles)

    def tiles_window(self, row: int, row_end: int, col: int, col_end: int) -> Window:
        """Returns the window of some rows and columns of tiles, which lie on the grid's own tile lines."""
        rows, cols = self.tile
        first_row, first_col = self.window.row_off // rows, self.window.col_off // cols
        height, width = (row_end - row) * rows, (col_end - col) * cols
        window = Window((first_row + row) * rows, (first_col + col) * cols, height, width)
        return window.intersection(self.window)

    @property
    def panel_tiles(self) -> int:
        """Columns of tiles in a panel: all of them, but where a row of tiles would take much memory while it waits.

        Memory then does not grow with the width, for the price of decoding the blocks at their boundaries twice.
        """
        cols = self.tile_counts[1]
        waiting = self._reach_down * cols * self.tile_buffer_bytes
        wanted = ceil(waiting / PANEL_BYTES)
        boundary = max((r.block[1] for r, _ in self.alike if r.block_bytes), default=0)
        most = 1 + int(BOUNDARY_SHARE * self.window.width / boundary) if boundary else wanted
        across = self.group[1]
        return min(cols, ceil(cols / max(1, min(wanted, most)) / across) * across)

    @property
    def tile_counts(self) -> tuple[int, int]:
        """Tiles, down and across."""
        rows, cols = self.tile
        return (
            ceil(self.window.row_end / rows) - self.window.row_off // rows,
            ceil(self.window.col_end / cols) - self.window.col_off // cols,
        )

    @property
    def largest_tile(self) -> tuple[int, int]:
        """Rows and columns of the largest window that is computed at once: a tile, or less of a small raster."""
        return min(self.tile[0], self.window.height), min(self.tile[1], self.window.width)

    @property
    def tile_count(self) -> int:
        """How many tiles there are."""
        rows, cols = self.tile_counts
        return rows * cols if self.active is None else int(np.count_nonzero(self._active()))

    @property
    def halo(self) -> Halo:
        """The largest halo of the reads."""
        return (max((r.halo[0] for r, _ in self.alike), default=0), max((r.halo[1] for r, _ in self.alike), default=0))

    @property
    def exchanges(self) -> bool:
        """Whether neighbouring tiles hand each other halo cells, so that each block is decoded once."""
        return self.halo != (0, 0) and self.active is None

    @property
    def has_boundaries(self) -> bool:
        """Whether halo cells inside the raster belong to no tile of the same panel, and are read on their own."""
        return self.exchanges and (self.window.shape != self.grid.shape or self.panel_tiles < self.tile_counts[1])

    @property
    def _reach_down(self) -> int:
        return min(ceil(self.halo[0] / self.tile[0]), self.tile_counts[0] - 1)

    @property
    def reach(self) -> tuple[int, int]:
        """How many tiles away, down and across, halo cells come from; no further than there are tiles in a panel."""
        return self._reach_down, min(ceil(self.halo[1] / self.tile[1]), self.panel_tiles - 1)

    @property
    def tile_buffers(self) -> int:
        """How many tiles' inputs are held at once."""
        if not self.exchanges:
            return min(self.workers, self.tile_count)
        return min(self._waiting + 2 * self.workers, self.tile_count)

    @property
    def _waiting(self) -> int:
        """The most tiles that wait for halo cells of tiles that come later."""
        (down, across), (rows, cols), wide = self.reach, self.group, self.panel_tiles
        if rows == 1 or cols >= wide:
            return down * wide + across + 1
        # Below the groups that are done; to the right of the last one, and of what is done of this one; and in it.
        return down * (wide + across) + across * (rows + down + 1) + down * cols + across + 1

    @property
    def tile_buffer_bytes(self) -> int:
        """Bytes of one tile's inputs."""
        return sum(count * r.cell_bytes * cells_of(self.largest_tile, r.halo) for r, count in self.alike)

    @property
    def source_bytes(self) -> int:
        """Bytes of the cells that the job needs, as they are in memory: each once, however many forms it takes."""
        sizes: dict[tuple[str | int, int], int] = {}
        for number, read in enumerate(self.reads):
            for band in read.bands:
                # Arrays share a name, and nothing of them is decoded.
                key = read.source if read.block_bytes else number, band
                sizes[key] = max(sizes.get(key, 0), read.dtype.itemsize)
        return sum(sizes.values()) * self.window.height * self.window.width

    def cuts(self, read: Read) -> bool:
        """Whether tiles cut the blocks of a read."""
        sizes = zip(self.tile, read.block, self.grid.shape, strict=True)
        return bool(read.block_bytes) and any(tile % block and tile < size for tile, block, size in sizes)

    def shares(self, read: Read) -> bool:
        """Whether each block of a read is decoded once, though tiles may cut it."""
        if not self.cuts(read):
            return True
        # A tile that lies in two rows of blocks takes some of the lower one, which is gone when its own turn comes.
        sizes = zip(self.tile, read.block, self.grid.shape, strict=True)
        fits = [not tile % block or not block % tile or block >= size for tile, block, size in sizes]
        is_wide = read.block[1] >= self.grid.width
        return read.decoding is not None and self.is_shared and (all(fits) or is_wide)

    def keeps(self, read: Read) -> bool:
        """Whether decoded blocks of a read stay until all tiles that cut them have them."""
        return read.decoding is not None and self.is_shared and self.cuts(read)

    def blocks_held(self, read: Read) -> int:
        """How many decoded blocks of a read, or runs of small ones, its workers hold."""
        if read.decoding is None or not self.keeps(read):
            return self.decoders(read)
        row = self.largest_tile[0], self.largest_tile[1] * self.group[1]
        planes = len(read.bands) if read.decoding.is_apart else 1
        touched = planes * prod(map(_touched, row, self.run_of(read), self.grid.shape))
        return min(touched * self.groups_read, self.blocks_of(read))

    def decoders(self, read: Read) -> int:
        """How many workers decode blocks of a read at the same time."""
        return min(self.workers, self.tile_count, self.blocks_of(read))

    def blocks_of(self, read: Read) -> int:
        """How many blocks of a read there are, or runs of small ones."""
        planes = len(read.bands) if read.decoding is not None and read.decoding.is_apart else 1
        return planes * prod(map(_touched, self.grid.shape, self.run_of(read), self.grid.shape))

    def run_of(self, read: Read) -> tuple[int, int]:
        """Rows and columns that a worker decodes together, for a tile."""
        if read.decoding is None:
            return read.block
        parts = zip(read.decoding.run, self.largest_tile, read.block, strict=True)
        rows, cols = (min(run, ceil(tile / block) * block) for run, tile, block in parts)
        return rows, cols

    @property
    def groups_read(self) -> int:
        """How many groups of tiles are read at the same time: as many as one tile for each worker can be of."""
        workers = min(self.workers, self.tile_count)
        return min(workers, 1 + ceil((workers - 1) / prod(self.group)))

    def group_of(self, index: Index) -> Index:
        """Returns the row and column of a tile's group among groups."""
        (rows, cols), first = self.group, (self.window.row_off // self.tile[0], self.window.col_off // self.tile[1])
        return (first[0] + index[0]) // rows, (first[1] + index[1]) // cols


def _touched(tile: int, block: int, extent: int) -> int:
    """The most blocks that a tile lies in along one axis."""
    return min(ceil(tile / block) + bool(tile % block and block % tile), ceil(extent / block))


def cells_of(tile: tuple[int, int], halo: Halo) -> int:
    """How many cells a tile has with its halo."""
    return (tile[0] + 2 * halo[0]) * (tile[1] + 2 * halo[1])
