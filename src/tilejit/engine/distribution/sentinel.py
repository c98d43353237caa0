"""The sentinel of a run: a file that is there while it goes on, and that its workers look for, wherever they are.

An executor that somebody else made ends no worker, and MPI none but all. So each worker asks the file system, which
they share with the leader, and stops within about a second of the run's end.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.engine.pipeline.cancellation import stopped
from tilejit.errors import SinkError
from tilejit.formats.leftovers import sweep
from tilejit.formats.target import hidden_beside, write_new
from tilejit.system.landmark import Landmark, temporary_folder
from tilejit.system.origin import origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilejit.engine.pipeline.cancellation import Cancellation

_GLANCE = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A file that is there as long as a run goes on."""

    path: Path
    """Among temporary files; where workers are on other machines, beside the first output, so that they may see it."""
    folder: Landmark
    """Its folder: a worker that sees it, and not the file, knows that the run has ended."""

    @classmethod
    def of(cls, run: str, output: str, *, local: bool) -> Sentinel:
        """The sentinel of a run.

        Args:
            run: What tells it from all others.
            output: The file that it writes first; empty for an array.
            local: Whether all its workers share temporary files with it.

        Raises:
            OSError: The folder is not there.
        """
        target = temporary_folder() / "tilejit" if local or not output else Path(output)
        path = hidden_beside(target.resolve(), f"{origin()}-{run}.running")
        return cls(path, Landmark.of(path.parent))

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Is there inside the ``with``.

        Raises:
            SinkError: It cannot be made.
        """
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

    @contextlib.contextmanager
    def watched(self, cancellation: Cancellation) -> Iterator[None]:
        """Cancels what a worker does inside the ``with`` when the sentinel goes, if it is seen from here.

        Raises:
            RunStoppedError: The run has ended already.
        """
        if not self.path.exists():
            if self.folder.is_seen():
                raise stopped()
            yield
            return
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(cancellation, ended), name="tilejit-sentinel", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _watch(self, cancellation: Cancellation, ended: threading.Event) -> None:
        while not ended.wait(_GLANCE):
            if not self.path.exists():
                cancellation.cancel()
                return
