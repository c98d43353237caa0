"""Sends a file's pages to the disk while the file is still being written."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 0.25


class Flusher:
    """Syncs a file now and then in a thread of its own, so that little is left to sync at the end.

    A 600 MB output took 0.4 s to sync at the end of a run of 3.7 s, with both cores idle.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._stop = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="tilejit-flusher", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_SECONDS) and self._error is None:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                # The system reports a failed write once: what is not kept here would be lost.
                self._error = error

    def stop(self) -> None:
        """Ends the thread; nothing happens a second time."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            os.close(self._descriptor)

    def finish(self) -> None:
        """Ends the thread.

        Raises:
            OSError: A page could not be written.
        """
        self.stop()
        if self._error is not None:
            raise self._error
