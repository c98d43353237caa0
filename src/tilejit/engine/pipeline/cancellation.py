"""A way to stop a run from another thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilejit.errors import RunStoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
        """Ends a run that is not to go on.

        Raises:
            RunStoppedError: It is cancelled.
        """
        if self._is_cancelled:
            raise stopped()

    @contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Calls ``action`` when the run is cancelled inside the ``with``, and at once where it is already.

        Args:
            action: Is called from the thread that cancels, and must not wait for anything.
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
