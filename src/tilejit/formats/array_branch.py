"""Where workers in other processes put the cells of an array that `ArraySink` fills."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from tilejit.formats.sink import ArraySink, ArrayWriter, check_write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.shared_memory import SharedMemory
    from tilejit.formats.sink import Manifest
    from tilejit.grid import Grid
    from tilejit.window import Window


@dataclass(frozen=True, slots=True)
class FillingOpener:
    """Opens a writer into the array's memory."""

    memory: SharedMemory
    """The array's memory."""
    grid: Grid
    """Where its cells lie."""
    count: int
    """Its bands."""
    dtype: np.dtype[Any]
    """Its type."""

    def __call__(self) -> ArrayWriter | SendingWriter:
        """Open it; a worker that does not reach the memory sends its cells home."""
        if not self.memory.space.is_seen():
            return SendingWriter(SendingOpener(self.grid, self.count, self.dtype))
        return ArrayWriter(ArraySink(self.memory.array((self.count, *self.grid.shape), self.dtype), self.grid))


@dataclass(frozen=True, slots=True)
class SendingOpener:
    """Opens a `SendingWriter`."""

    grid: Grid
    """Where the array's cells lie."""
    count: int
    """Its bands."""
    dtype: np.dtype[Any]
    """Its type."""

    def __call__(self) -> SendingWriter:
        """Open it."""
        return SendingWriter(self)


class SendingWriter:
    """Keeps cells, and sends them home."""

    def __init__(self, opener: SendingOpener) -> None:
        self._opener = opener
        self._windows: list[tuple[tuple[int, ...], NDArray[Any]]] = []

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window; see `Writer.write`."""
        like = self._opener
        check_write("the output array", grid=like.grid, count=like.count, dtype=like.dtype, window=window, array=array)
        # list.append is atomic, and the array may be reused after the call.
        self._windows.append((astuple(window), array.copy()))

    def finish(self) -> Manifest:
        """Return the windows and their cells."""
        return self._windows
