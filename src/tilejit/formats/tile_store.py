"""A band of cells in a file of whole tiles, uncompressed, which runs read and write again and again.

Each tile has two places in the file, and `TileStore.sides` says which of them holds its cells. A run reads the one and
writes the other: nobody reads what is being written, and a tile that did not change is neither copied nor moved.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from tilejit.errors import ReadError, SinkError
from tilejit.formats.append_file import write_all
from tilejit.formats.cells import fill, nodata_key
from tilejit.formats.in_memory import MemorySink
from tilejit.formats.publishing import sync_path
from tilejit.formats.sink import check_write
from tilejit.formats.source import BandInfo, SourceStorage, check_request
from tilejit.formats.target import disk_hint
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from tilejit.grid import Grid

    Index = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TileStore:
    """A band in a file of tiles as a source; a small value that any process reads by which sees the file."""

    path: str  # the file; places that were never written take up none of the disk
    name: str  # what messages call it
    grid: Grid  # where its cells lie
    bands: tuple[BandInfo]  # its one band
    block: tuple[int, int]  # rows and columns of a tile
    sides: bytes = b""  # for each tile, row by row, which of its places holds its cells: 0 or 1; empty for 0

    storage: ClassVar = SourceStorage("from tiles on the disk", is_value=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        (height, width), (rows, cols) = self.grid.shape, self.block
        return ceil(height / rows), ceil(width / cols)

    @property
    def place_bytes(self) -> int:
        """Bytes of one place of a tile in the file."""
        return prod(self.block) * self.bands[0].dtype.itemsize

    @property
    def file_bytes(self) -> int:
        """Bytes of the file with all places."""
        return 2 * prod(self.shape) * self.place_bytes

    def turned(self, tiles: Iterable[Index] | None = None) -> TileStore:
        """Returns the store after some tiles, or all, have been written to their other place."""
        sides = np.zeros(self.shape, np.uint8) if not self.sides else self._sides().copy()
        places = tuple(zip(*tiles, strict=True)) if tiles is not None else ...
        sides[places] ^= 1
        return replace(self, sides=sides.tobytes())

    def _sides(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.sides, np.uint8).reshape(self.shape)

    def tiles(self, window: Window) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
        """Yields for each tile that a window touches where it lies in the file, its first row and column, and its size.

        As plain numbers: there are nine for each tile with its halo.
        """
        (rows, cols), (height, width), across = self.block, self.grid.shape, self.shape[1]
        down = range(window.row_off // rows, ceil(window.row_end / rows))
        for row, col in product(down, range(window.col_off // cols, ceil(window.col_end / cols))):
            number, first, left = row * across + col, row * rows, col * cols
            place = 2 * number + (self.sides[number] if self.sides else 0)
            yield place * self.place_bytes, (first, left, min(rows, height - first), min(cols, width - left))

    def read(
        self, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None = None
    ) -> None:
        """Read a window; see `Source.read`.

        Whole rows of tiles are read, and copied in part: a map of the file costs more, and counts as the process's own
        memory.
        """
        check_request(self, bands, window, out, valid)
        info = self.bands[0]
        key, size = nodata_key(info.dtype, info.nodata), info.dtype.itemsize
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise ReadError(f"{self.name}: its tiles are no longer there: {error}") from error
        try:
            for offset, (row, col, height, width) in self.tiles(window):
                top, bottom = max(row, window.row_off), min(row + height, window.row_end)
                left, right = max(col, window.col_off), min(col + width, window.col_end)
                stored = os.pread(descriptor, (bottom - top) * width * size, offset + (top - row) * width * size)
                cells = np.frombuffer(stored, info.dtype).reshape(bottom - top, width)[:, left - col : right - col]
                rows = slice(top - window.row_off, bottom - window.row_off)
                cols = slice(left - window.col_off, right - window.col_off)
                for i in range(len(bands)):
                    fill(out[i, rows, cols], None if valid is None else valid[i, rows, cols], cells, key)
        except (OSError, ValueError) as error:
            raise ReadError(f"{self.name}: {window} cannot be read from {self.path}: {error}") from error
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True, slots=True)
class TileStoreSink(MemorySink):
    """Writes tiles to the place that a store's `sides` name; its own writer, here and in other processes."""

    store: TileStore  # what reads them later

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a tile."""
        return self.store.block

    def writer(self) -> Self:
        """What writes tiles: the sink itself."""
        return self

    def opener(self, *, local: bool) -> Self:
        """What is sent to other processes: the sink itself; see `opener_of`."""
        del local
        return self

    def __call__(self) -> Self:
        """Open a writer in a worker, which must see the file."""
        if not Path(self.store.path).exists():
            raise SinkError(
                f"{self.store.name}: {self.store.path} is not seen by a worker: save the result to a folder that all "
                "workers share, beside which the tiles lie, or leave executor= out"
            )
        return self

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write whole tiles; see `Writer.write`."""
        store = self.store
        check_write(store.name, grid=store.grid, count=1, dtype=store.bands[0].dtype, window=window, array=array)
        try:
            descriptor = os.open(store.path, os.O_WRONLY)
            try:
                for offset, tile in store.tiles(window):
                    cells = np.ascontiguousarray(array[0][Window(*tile).slices(window)])
                    write_all(descriptor, cells.data.cast("B"), offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            hint = disk_hint(Path(store.path).parent, error)
            raise SinkError(f"{store.name}: {window} cannot be written to {store.path}: {error}{hint}") from error

    def sync(self) -> None:
        """Wait until the file is on the disk; see `Sink.sync`."""
        sync_path(Path(self.store.path))
