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
    from tilejit.formats.sink import Sink, Writer
    from tilejit.window import Window


@dataclass(slots=True)
class _Batch:
    """Tiles that the same writers write."""

    writers: tuple[Writer, ...]
    totals: Totals
    windows: list[Window] = field(default_factory=list)
    under_way: int = 0
    failed: bool = False


class Batches:
    """Writes tiles to the outputs by writers, and tells the journal what they are whenever it asks.

    A tile counts when all outputs have it. A batch in which one fails is not told: what is in it is computed again.
    """

    def __init__(self, sinks: Sequence[Sink], journal: Journal) -> None:
        self._sinks, self._journal = sinks, journal
        self._lock = threading.Lock()
        self._current: _Batch | None = None
        journal.before_flush = self.close

    @contextmanager
    def tile(self, window: Window, states: Sequence[State]) -> Iterator[Sequence[Writer]]:
        """Notes a tile as finished when what runs inside has written it.

        Args:
            window: The tile.
            states: What its pixels come to, for each partial.

        Yields:
            A writer of each output.
        """
        self._journal.check()
        batch = self._joined()
        try:
            yield batch.writers
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
            is_idle = batch is not None and batch.under_way == 0
        if batch is not None and is_idle:
            self._tell(batch)

    def _joined(self) -> _Batch:
        with self._lock:
            if self._current is None:
                self._current = _Batch(tuple(sink.writer() for sink in self._sinks), Totals(self._journal.partials))
            self._current.under_way += 1
            return self._current

    def _leave(self, batch: _Batch) -> None:
        with self._lock:
            batch.under_way -= 1
            is_last = batch.under_way == 0 and batch is not self._current
        if is_last:
            self._tell(batch)

    def _tell(self, batch: _Batch) -> None:
        if not batch.failed:
            kept = [sink.merge(writer.finish()) for sink, writer in zip(self._sinks, batch.writers, strict=True)]
            self._journal.add(batch.windows, kept, batch.totals.states)
