"""A sink that hands tiles to whoever asks for them, and lets the run wait while nobody does."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tilejit.errors import RunStoppedError
from tilejit.formats.sink import check_write

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.sink import Manifest
    from tilejit.grid import Grid
    from tilejit.window import Window


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A part of a raster, computed."""

    window: Window
    """Where its cells lie."""
    array: NDArray[Any]
    """(band, row, col), the receiver's own: nothing writes to it any more."""


class TileSink:
    """Keeps a few tiles until they are taken.

    Args:
        grid: Where all cells lie.
        count: Bands.
        dtype: The type of the cells.
        room: How many tiles may wait.
        notify: Is called from a worker's thread after each tile.
    """

    block = (1, 1)
    """Any window will do."""

    def __init__(self, grid: Grid, count: int, dtype: np.dtype[Any], room: int, notify: Callable[[], None]) -> None:
        self.grid = grid
        self._count, self._dtype, self._notify = count, dtype, notify
        self._room = threading.Semaphore(room)
        self._tiles: deque[Tile] = deque()
        self._is_closed = False

    def next_tile(self) -> Tile | None:
        """Returns a tile and makes room for another one, or None where none has come yet."""
        if not self._tiles:
            return None
        tile = self._tiles.popleft()
        self._room.release()
        return tile

    def close(self) -> None:
        """Wants no more tiles: ends every write that waits, and those to come."""
        self._is_closed = True
        self._room.release()

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Hands a window over when there is room for it; see `Writer.write`.

        Raises:
            RunStoppedError: Nobody wants it any more.
        """
        grid, count, dtype = self.grid, self._count, self._dtype
        check_write("the tiles", grid=grid, count=count, dtype=dtype, window=window, array=array)
        self._room.acquire()
        if self._is_closed:
            self._room.release()  # wakes the next one
            raise RunStoppedError("the run was stopped: nobody takes its tiles any more")
        self._tiles.append(Tile(window, array.copy()))
        self._notify()

    def writer(self) -> Self:
        """What hands windows over: the sink itself."""
        return self

    def finish(self) -> Manifest:
        """Nothing to tell: tiles are handed over as they come."""

    def merge(self, manifest: Manifest) -> Manifest:
        """Nothing to take in."""
        return manifest

    def sync(self) -> None:
        """Nothing to wait for."""

    def prepare(self) -> None:
        """Nothing to complete."""

    def publish(self) -> None:
        """Nothing to name."""

    def abort(self) -> None:
        """Nothing to drop: tiles that were handed over are whole."""
