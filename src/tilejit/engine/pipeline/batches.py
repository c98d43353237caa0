"""Tiles that threads finish, in batches that a journal can note."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tilejit.engine.partials import Totals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilejit.engine.partials import State
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.formats.sink import Branch, KeptSink
    from tilejit.window import Window


@dataclass(slots=True)
class _Batch:
    """Tiles that are written to the same branches."""

    branches: tuple[Branch, ...]
    totals: Totals
    windows: list[Window] = field(default_factory=list)
    writers: int = 0
    failed: bool = False


class Batches:
    """Writes tiles to branches of the outputs, and tells the journal what they are whenever it asks.

    A tile counts when all outputs have it. A batch in which one fails is not told: what is in it is computed again.
    """

    def __init__(self, sinks: Sequence[KeptSink], journal: Journal) -> None:
        self._sinks, self._journal = sinks, journal
        self._openers = [sink.branch(local=True) for sink in sinks]
        self._lock = threading.Lock()
        self._current: _Batch | None = None
        journal.before_flush = self.close

    @contextmanager
    def tile(self, window: Window, states: Sequence[State]) -> Iterator[Sequence[Branch]]:
        """Notes a tile as finished when what runs inside has written it.

        Args:
            window: The tile.
            states: What its pixels come to, for each partial.

        Yields:
            The outputs.
        """
        self._journal.check()
        batch = self._joined()
        try:
            yield batch.branches
            with self._lock:
                batch.windows.append(window)
                batch.totals.add(states)
        except BaseException:
            batch.failed = True
            raise
        finally:
            self._leave(batch)

    def close(self) -> None:
        """Begins another batch, and tells the journal of this one as soon as nobody writes to it."""
        with self._lock:
            batch, self._current = self._current, None
            is_idle = batch is not None and batch.writers == 0
        if batch is not None and is_idle:
            self._tell(batch)

    def _joined(self) -> _Batch:
        with self._lock:
            if self._current is None:
                self._current = _Batch(tuple(opener() for opener in self._openers), Totals(self._journal.partials))
            self._current.writers += 1
            return self._current

    def _leave(self, batch: _Batch) -> None:
        with self._lock:
            batch.writers -= 1
            is_last = batch.writers == 0 and batch is not self._current
        if is_last:
            self._tell(batch)

    def _tell(self, batch: _Batch) -> None:
        if not batch.failed:
            kept = [sink.take(branch.finish()) for sink, branch in zip(self._sinks, batch.branches, strict=True)]
            self._journal.add(batch.windows, kept, batch.totals.states)
