"""How a run is stopped: by another thread, and its workers in other processes.

A run on an executor has a sentinel: a file that is there while it goes on, and that its workers look for, wherever they
are. An executor that somebody else made ends no worker, and MPI none but all. So each worker asks the file system, that
they share with the leader, and stops within about a second of the run's end.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import RunStoppedError, SinkError
from tilejit.formats.publishing import sweep, write_new
from tilejit.formats.target import hidden_beside
from tilejit.system.identity import FileIdentity, origin, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GLANCE = 0.5
"""Seconds between two looks for the sentinel."""


def stopped() -> RunStoppedError:
    """What ends a run that was cancelled."""
    return RunStoppedError("the run was cancelled: no output is left half written")


class Cancellation:
    """Is given to a run, and stops it when it is asked to: once, for good, from any thread.

    Example:
        >>> stop, stopped = Cancellation(), []
        >>> with stop.calling(lambda: stopped.append("the workers")):
        ...     stop.cancel()
        >>> stopped
        ['the workers']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self._is_cancelled = False

    def cancel(self) -> None:
        """Stops what the run is doing, and what it would do next; returns at once."""
        with self._lock:
            self._is_cancelled = True
            actions = list(self._actions)
        for action in actions:
            action()

    def check(self) -> None:
        """Ends a run that is cancelled, by `RunStoppedError`."""
        if self._is_cancelled:
            raise stopped()

    @contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Calls ``action`` when the run is cancelled inside the ``with``, and at once where it is already.

        It is called from the thread that cancels, and must not wait for anything.
        """
        with self._lock:
            self._actions.append(action)
            is_late = self._is_cancelled
        try:
            if is_late:
                action()
            yield
        finally:
            with self._lock:
                self._actions.remove(action)


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A file that is there as long as a run goes on."""

    path: Path
    """Among temporary files; where workers are on other machines, beside the first output, so that they may see it."""
    folder: FileIdentity
    """Its folder: a worker that sees it, and not the file, knows that the run has ended."""

    @classmethod
    def of(cls, run: str, output: str, *, local: bool) -> Sentinel:
        """The sentinel of a run, by what tells it from all others and the file that it writes first, if any."""
        target = temporary_folder() / "tilejit" if local or not output else Path(output)
        path = hidden_beside(target.resolve(), f"{origin()}-{run}.running")
        return cls(path, FileIdentity.of(path.parent))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Is there inside the ``with``."""
        sweep(self.path.parent)
        try:
            write_new(self.path, b"")
        except OSError as error:
            raise SinkError(
                f"{self.path}: cannot be made ({error.strerror}), and workers look for it while a run goes on: "
                "make room there, or name another folder for temporary files in TMPDIR"
            ) from error
        try:
            yield
        finally:
            self.remove()

    def remove(self) -> None:
        """Ends what workers do."""
        self.path.unlink(missing_ok=True)

    @contextmanager
    def watched(self, cancellation: Cancellation) -> Iterator[None]:
        """Cancels what a worker does inside the ``with`` when the sentinel goes, if it is seen from here."""
        if not self.path.exists():
            if self.folder.is_seen():
                raise stopped()
            yield
            return
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_GLANCE):
                if not self.path.exists():
                    cancellation.cancel()
                    return

        threading.Thread(target=watch, name="tilejit-sentinel", daemon=True).start()
        try:
            yield
        finally:
            ended.set()
