"""Decoded blocks that threads share, so that tiles may cut them, and each is decoded once."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

_MOST_SPARE = 32  # pieces of memory that are kept for the next blocks: as many as threads decode at once, mostly
SMALL_BLOCK = 1 << 16
"""Bytes of a block below which a call for it takes longer than its decoding."""


@dataclass(slots=True, eq=False)
class Held:
    """One block that is held."""

    memory: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    """Kept from block to block: fresh memory costs page faults."""
    cells: NDArray[Any] | None = None  # its cells; None until it is decoded
    users: int = 1  # threads that read it

    def room(self, size: int) -> NDArray[np.uint8]:
        """So many bytes."""
        if self.memory.size < size:
            self.memory = np.empty(size, np.uint8)
        return self.memory[:size]


class SharedBlocks:
    """A fixed number of decoded blocks; that which came first goes first, for tiles come in the order of blocks.

    A thread may hold one at a time.

    Example:
        >>> shared = SharedBlocks()
        >>> with shared.hold("first") as place:
        ...     shared.decoded(place, place.room(2).view(np.uint16))
        >>> with shared.hold("first") as place:
        ...     place.cells.shape
        (1,)
    """

    _spare: ClassVar[deque[NDArray[np.uint8]]] = deque(maxlen=_MOST_SPARE)
    """Memory of blocks that nobody keeps, of all rasters: hundreds are read one after the other."""

    def __init__(self) -> None:
        self._most, self._keeps = 1, True
        self._places: dict[Hashable, Held] = {}
        self._changed = threading.Condition(threading.Lock())

    def resize(self, most: int, *, keeps: bool = True) -> None:
        """Say how many there are at most, and whether they stay when no thread holds them; without, one stays."""
        with self._changed:
            self._most, self._keeps = max(1, most), keeps
            while len(self._places) > self._most and (key := self._unused()) is not None:
                del self._places[key]
            self._changed.notify_all()

    def clear(self) -> None:
        """Let go of all blocks that no thread holds, and of spare memory; one stays from now on."""
        self.resize(1, keeps=False)
        with self._changed:
            for key in [key for key, place in self._places.items() if not place.users]:
                del self._places[key]
            self._spare.clear()

    def hold(self, key: Hashable) -> _Hold:
        """Hold a block while its context lasts; the caller decodes it where its cells are not there."""
        return _Hold(self, key)

    def decoded(self, place: Held, cells: NDArray[Any]) -> None:
        """Hand a block to all that wait for it."""
        with self._changed:
            place.cells = cells
            self._changed.notify_all()

    def take(self, key: Hashable) -> Held:
        """Wait for the block's place; where its cells are not there, they are for the caller to decode."""
        with self._changed:
            while True:
                place = self._places.get(key)
                if place is not None and place.cells is not None:
                    place.users += 1
                    return place
                if place is None and (place := self._free_place()) is not None:
                    self._places[key] = place
                    return place
                self._changed.wait()

    def give_back(self, key: Hashable, place: Held) -> None:
        """Let go of a block."""
        with self._changed:
            place.users -= 1
            if place.cells is None or not (self._keeps or place.users):  # it could not be decoded, or nobody wants it
                del self._places[key]
                if not place.users:
                    self._spare.append(place.memory)
            self._changed.notify_all()

    def _free_place(self) -> Held | None:
        """A place that no thread holds, or a new one; None where all are held."""
        if len(self._places) < self._most:
            return Held(self._spare.pop()) if self._spare else Held()
        key = self._unused()
        return None if key is None else Held(self._places.pop(key).memory)

    def _unused(self) -> Hashable | None:
        """The first block to come that no thread holds."""
        return next((key for key, place in self._places.items() if not place.users), None)


class _Hold:
    """The context in which a block is held; of a class of its own, for it comes with each block that is read."""

    __slots__ = ("_key", "_place", "_shared")

    def __init__(self, shared: SharedBlocks, key: Hashable) -> None:
        self._shared, self._key = shared, key

    def __enter__(self) -> Held:
        self._place = self._shared.take(self._key)
        return self._place

    def __exit__(self, *_: object) -> None:
        self._shared.give_back(self._key, self._place)
