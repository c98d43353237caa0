"""Signals that tell a program to end, by which it ends when all has cleaned up; and waits that Ctrl-C interrupts."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
"""By kill or the system, when a terminal is closed, and by Ctrl-Break on Windows."""
_PATIENCE = 2.0
"""Seconds after the first signal in which others count for nothing: mpiexec, terminals and service managers send two or
three in a row, and the second would end the cleaning up. A later one is somebody who is tired of waiting."""
_GLANCE = 0.05  # seconds between two looks: a wait without an end does not let Ctrl-C through everywhere
_BEGINS = 20  # looks within which a thread that was asked for has begun

_going: list[Callable[[], object]] = []  # what stops each thing that goes on; the main thread alone looks at it
_told: list[tuple[int, float]] = []  # the signal that came first, and when


@contextmanager
def ends_heard(stop: Callable[[], object] | None = None) -> Iterator[None]:
    """Lets what goes on inside clean up where the program is told to end; it then ends by that signal.

    A signal for which the program has a handler of its own, or that it ignores, as under nohup, stays as it is. Outside
    the main thread nothing is done, for Python handles signals there alone. ``stop`` stops what goes on inside, and
    must not wait for that; without one SystemExit is raised in the main thread.

    Example:
        >>> with ends_heard():
        ...     signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        False
        >>> signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        True
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = stop or _leave
    _going.append(stop)
    try:
        for number in _ENDS:
            if signal.getsignal(number) == signal.SIG_DFL:
                with suppress(ValueError):  # of a subinterpreter, which may handle none
                    signal.signal(number, _hear)
        yield
    finally:
        _going.remove(stop)
        if not _going:
            _forget()
            if _told:
                _end_by(_told[0][0])


def told_to_end() -> int | None:
    """The signal by which this program will end when all has cleaned up; None where none has come."""
    return _told[0][0] if _told else None


def _hear(number: int, _frame: Any) -> None:
    if not _going or (_told and time.monotonic() - _told[0][1] > _PATIENCE):
        _end_by(number)
    if _told:
        return
    _told.append((number, time.monotonic()))
    for stop in sorted(_going, key=lambda stop: stop is _leave):  # which raises
        stop()


def _leave() -> NoReturn:
    sys.exit(128 + _told[0][0])


def _forget() -> None:
    """Has the system handle signals again that were heard here."""
    for number in _ENDS:
        if signal.getsignal(number) == _hear:
            signal.signal(number, signal.SIG_DFL)


def _end_by(number: int) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    _told.clear()
    sys.exit(128 + number)  # the first process of a container, which no signal ends that it does not handle


def _after_fork() -> None:
    """A child of this process has nothing to clean up."""
    _going.clear()
    _told.clear()
    _forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def lock_that_forks_await() -> threading.RLock:
    """Makes a lock that nobody but the forking thread holds while this process forks.

    One that another thread held would never be free in the child. The fork waits for as long as it is held.
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


class AwaitedThread(threading.Thread):
    """A thread that tells its end itself: one whose `join` Ctrl-C interrupts counts as ended in Python 3.11 and 3.12.

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
