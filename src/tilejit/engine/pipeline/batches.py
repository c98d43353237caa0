"""Writers that threads share, tile after tile, in batches that a journal can note."""

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
    """Tiles that go through the same writers."""

    writers: tuple[Writer, ...]
    totals: Totals
    windows: list[Window] = field(default_factory=list)
    under_way: int = 0
    failed: bool = False


class Batches:
    """Has tiles written, and tells the journal what they are whenever it asks; without a journal all are one batch.

    A tile counts when all outputs have it. A batch in which one fails is not told: what is in it is computed again.
    """

    def __init__(self, sinks: Sequence[Sink], journal: Journal | None) -> None:
        self._sinks, self._journal = sinks, journal
        self._lock = threading.Lock()
        self._current: _Batch | None = None
        if journal is not None:
            journal.before_flush = self.close

    @contextmanager
    def tile(self, window: Window, states: Sequence[State]) -> Iterator[Sequence[Writer]]:
        """Gives a writer of each output; a tile is finished when what runs inside has written it."""
        if self._journal is not None:
            self._journal.check()
        batch = self._joined()
        try:
            yield batch.writers
            if self._journal is not None:
                with self._lock:
                    batch.windows.append(window)
                batch.totals.add(states)
        except BaseException:
            batch.failed = True
            raise
        finally:
            self._leave(batch)

    def close(self) -> None:
        """Begins another batch, and merges this one as soon as nobody writes to it."""
        with self._lock:
            batch, self._current = self._current, None
            is_idle = batch is not None and batch.under_way == 0
        if batch is not None and is_idle:
            self._merge(batch)

    def _joined(self) -> _Batch:
        with self._lock:
            if self._current is None:
                partials = () if self._journal is None else self._journal.partials
                self._current = _Batch(tuple(sink.writer() for sink in self._sinks), Totals(partials))
            self._current.under_way += 1
            return self._current

    def _leave(self, batch: _Batch) -> None:
        with self._lock:
            batch.under_way -= 1
            is_last = batch.under_way == 0 and batch is not self._current
        if is_last:
            self._merge(batch)

    def _merge(self, batch: _Batch) -> None:
        if batch.failed:
            return
        manifests = [sink.merge(writer.finish()) for sink, writer in zip(self._sinks, batch.writers, strict=True)]
        if self._journal is not None:
            self._journal.add(batch.windows, manifests, batch.totals.states)
