"""Which pieces of a mosaic are held: files that are open, with blocks that are decoded, within a bound."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilejit.formats.source import kept_blocks, made_of, make_ready, storage_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilejit.formats.source import Source

THREAD_BYTES = 48_000_000
"""Decoded blocks that are kept for each thread, of all pieces together."""
_MOST_LIVE = 64
"""Pieces that are held for each thread: as many small ones as lie along a row of tiles."""


class LivePieces:
    """Holds sources while they are read, and for as long after as there is room; threads may share it."""

    def __init__(self) -> None:
        self._live: OrderedDict[int, tuple[Source, int]] = OrderedDict()  # identity -> source, bytes of its blocks
        self._users: Counter[int] = Counter()
        self._bytes, self._threads = 0, 1
        self._lock = threading.Lock()

    def resize(self, threads: int) -> None:
        """Says how many threads read."""
        self._threads = threads

    @contextmanager
    def held(self, source: Source) -> Iterator[None]:
        """Has a source ready; nobody closes it meanwhile. Files are opened one at a time, see `make_ready`."""
        with self._lock:
            if id(source) not in self._live:
                self._take_in(source)
            self._live.move_to_end(id(source))
            self._users[id(source)] += 1
        try:
            yield
        finally:
            with self._lock:
                self._users[id(source)] -= 1

    def clear(self) -> None:
        """Lets go of all that nobody reads."""
        with self._lock:
            self._let_go(0, 0)

    def _take_in(self, source: Source) -> None:
        blocks, size = blocks_of(source)
        self._let_go(self._threads * _MOST_LIVE - 1, self._threads * THREAD_BYTES - size)
        make_ready(source, 1, blocks)
        self._live[id(source)] = source, size
        self._bytes += size

    def _let_go(self, count: int, size: int) -> None:
        """Closes those that were read longest ago until so many are left, of so many bytes."""
        for number in list(self._live):
            if len(self._live) <= count and self._bytes <= max(0, size):
                return
            if not self._users[number]:
                source, own = self._live.pop(number)
                del self._users[number]
                self._bytes -= own
                source.close()


def blocks_of(source: Source) -> tuple[int, int]:
    """Returns how many decoded blocks of the file that a source is made of are kept, and the bytes that they take."""
    file, _ = made_of(source)
    storage = storage_of(file)
    if storage.decoding is None:
        return 0, storage.block_bytes
    rows, cols = storage.decoding.run
    bands = len(file.bands) if storage.decoding.is_apart else 1
    all_blocks = -(-file.grid.height // rows) * -(-file.grid.width // cols) * bands
    count = max(1, min(kept_blocks(storage), all_blocks))
    return count, count * storage.decoding.run_bytes
