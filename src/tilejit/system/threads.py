"""A thread whose end can be waited for, also when Ctrl-C comes while one waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_GLANCE = 0.05
"""Seconds between two looks at whether Ctrl-C was pressed: a wait without an end does not let it through everywhere."""
_BEGINS = 20
"""Looks within which a thread that was asked for has begun."""


class AwaitedThread(threading.Thread):
    """A thread that tells its end itself: one whose `join` Ctrl-C interrupts counts as ended in Python 3.11 and 3.12.

    Args:
        work: What it does.
        name: Its name.

    Example:
        >>> thread = AwaitedThread(lambda: None, "tilejit-example")
        >>> thread.start()
        >>> thread.wait()
        >>> thread.has_ended()
        True
    """

    def __init__(self, work: Callable[[], object], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._does, self._end, self._asked = work, threading.Event(), False

    def start(self) -> None:
        """Starts it. Where Ctrl-C comes meanwhile, it may begin all the same."""
        self._asked = True
        super().start()

    def run(self) -> None:
        """Does its work."""
        try:
            self._does()
        finally:
            self._end.set()

    def has_ended(self, seconds: float = 0) -> bool:
        """Whether its work is done; waits for that so long at most."""
        return self._end.wait(seconds)

    def wait(self) -> None:
        """Waits until its work is done, if it was started."""
        looks = 0
        while self._asked and not self.has_ended(_GLANCE) and (self.ident is not None or looks < _BEGINS):
            looks += 1
