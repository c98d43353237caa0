"""Which worker does what next: bounded, in order, and never waiting while there is work.

Tiles are read in the plan's order into a fixed number of tile buffers, and computed as soon as their halos are whole. A
worker computes if it can and reads otherwise, so tile buffers come free as early as possible.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.backends import OF, ROWS, STOP, new_control
from tilejit.engine.pipeline.tile_buffers import Boundaries, TileBuffer, TileMemory

if TYPE_CHECKING:
    from tilejit.backends import LaunchControl
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.steps import Index
    from tilejit.window import Window


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a thread does next: a tile to read, or one to compute."""

    kind: str
    """``"read"`` or ``"compute"``."""
    index: Index
    """The tile."""
    buffer: TileBuffer
    """Its inputs."""


class Schedule:
    """Hands out the tiles of a plan to worker threads."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._tiles = plan.tiles()
        self._next: tuple[Index, Window] | None = next(self._tiles, None)
        self._free = [TileMemory(plan) for _ in range(plan.tile_buffers)]
        self._boundaries = Boundaries()
        self._ready: deque[Index] = deque()
        self._open: dict[Index, TileBuffer] = {}
        self._decoded: set[Index] = set()
        self._missing: dict[Index, int] = {}
        self._reading: dict[Index, int] = {}
        self._group, self._group_number = None if self._next is None else plan.group_of(self._next[0]), 0
        self._groups_read = plan.groups_read if any(map(plan.cuts, plan.reads)) else plan.tile_count
        self._unfinished = plan.tile_count
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._compiled = False
        self._controls: list[LaunchControl] = []

    def compiled(self) -> None:
        """Lets tiles be computed: until then workers only read."""
        with self._changed:
            self._compiled = True
            self._changed.notify_all()

    def take(self) -> Assignment | None:
        """Returns what to do next, waiting for it; None when all is done or the run has failed."""
        with self._changed:
            while True:
                if self._failure is not None or self._unfinished == 0:
                    return None
                if self._ready and self._compiled:
                    index = self._ready.popleft()
                    return Assignment("compute", index, self._open[index])
                if self._next is not None and self._free and self._is_held():
                    return self._start_read()
                self._changed.wait()

    def _is_held(self) -> bool:
        """Whether blocks of the next tile's group may be decoded: those that older tiles are still to read are held."""
        return not self._reading or self._group_number - min(self._reading.values()) < self._groups_read

    def _start_read(self) -> Assignment:
        index, window = self._next  # type: ignore[misc]
        self._reading[index] = self._group_number
        self._next = next(self._tiles, None)
        if self._next is not None and (group := self.plan.group_of(self._next[0])) != self._group:
            self._group, self._group_number = group, self._group_number + 1
        panel, exchanges = self.plan.panel(index), self.plan.exchanges
        self._open[index] = buffer = TileBuffer(window, panel, self._free.pop(), self._boundaries, exchanges)
        self._missing[index] = len(self._neighbours(index)) + 1
        return Assignment("read", index, buffer)

    def decoded(self, index: Index) -> list[Index]:
        """Notes that a tile's own cells are there; returns the neighbours that it exchanges halos with now."""
        with self._changed:
            partners = [n for n in self._neighbours(index) if n in self._decoded]
            self._decoded.add(index)
            del self._reading[index]
            self._settle(index, 1)
            self._changed.notify_all()
            return partners

    def buffer(self, index: Index) -> TileBuffer:
        """The open buffer of a tile."""
        return self._open[index]

    def exchanged(self, index: Index, partners: list[Index]) -> None:
        """Notes that a tile and each of its partners have handed each other their halos."""
        if not partners:  # the tile may be computed already
            return
        with self._changed:
            for partner in partners:
                self._settle(partner, 1)
            self._settle(index, len(partners))

    def _settle(self, index: Index, count: int) -> None:
        self._missing[index] -= count
        if self._missing[index] == 0:
            self._ready.append(index)
            self._changed.notify()

    def computed(self, index: Index) -> None:
        """Notes that a tile's buffer is no longer needed."""
        with self._changed:
            self._free.append(self._open.pop(index).memory)
            del self._missing[index]
            # It has exchanged with all its neighbours, which no longer ask for it.
            self._decoded.discard(index)
            self._changed.notify_all()

    def finished(self) -> None:
        """Notes that a tile is written."""
        with self._changed:
            self._unfinished -= 1
            if self._unfinished == 0:
                self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Stops the run; the first error counts."""
        with self._changed:
            if self._failure is None:
                self._failure = error
            for control in self._controls:
                control[STOP] = 1
            self._changed.notify_all()

    def control(self) -> LaunchControl:
        """Returns what stops the launches of a worker when the run has failed, and tells how far they are."""
        control = new_control()
        with self._changed:
            self._controls.append(control)
            control[STOP] = self._failure is not None
        return control

    def under_way(self) -> float:
        """How many tiles' worth is computed of those that are not finished."""
        return sum(min(1.0, int(p[ROWS]) / max(1, int(p[OF]))) for p in list(self._controls))

    @property
    def failure(self) -> BaseException | None:
        """What stopped the run."""
        return self._failure

    def _neighbours(self, index: Index) -> list[Index]:
        """The tiles of the same panel whose cells lie in this one's halo, or the other way round."""
        if not self.plan.exchanges:
            return []
        down, across = self.plan.reach
        rows, cols = self.plan.tile_counts
        row, col = index
        first = col // self.plan.panel_tiles * self.plan.panel_tiles
        last = min(first + self.plan.panel_tiles, cols)
        return [
            (r, c)
            for r in range(max(0, row - down), min(rows, row + down + 1))
            for c in range(max(first, col - across), min(last, col + across + 1))
            if (r, c) != index
        ]
