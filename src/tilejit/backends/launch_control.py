"""How a launch hears that it is to stop, and tells how far it is: three words of memory that both sides look at.

Compiled loops look at one of them before each row and count rows in another. That costs nothing that can be measured,
and a run on any number of threads stops within the time of a row.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from tilejit.system.signals import AwaitedThread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
LaunchControl: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
"""Three integers, at STOP, ROWS and OF."""

STOP, ROWS, OF = 0, 1, 2
"""Whether to stop (not 0); how many rows are done; of how many."""


def new_control() -> LaunchControl:
    """Returns the control of a launch that nobody has stopped."""
    return np.zeros(3, np.int64)


def interruptible(call: Callable[[], T], control: LaunchControl) -> T:
    """Calls compiled code so that Ctrl-C stops it.

    Python's signal handlers run in the main thread, and only between its own instructions. So the main thread hands
    the call to another one and waits; any other thread makes it itself.

    Example:
        >>> interruptible(lambda: 42, new_control())
        42
    """
    return on_threads(call, 1, control, joins=threading.current_thread() is not threading.main_thread())[0]


def on_threads(call: Callable[[], T], count: int, control: LaunchControl, *, joins: bool) -> list[T]:
    """Makes the same call on several threads at once, and waits for all of them.

    Threads are started for each call, and none is left over that a forked process would wait for: starting one takes
    0.1 ms, while those before it are computing already. Ctrl-C stops the calls, and an error in one of them; both are
    raised when the calls have returned, unless a second Ctrl-C gives up on them. This thread is one of them where it
    ``joins``: in the main thread Ctrl-C then waits for the call's next step in Python.

    Example:
        >>> on_threads(lambda: 42, 2, new_control(), joins=True)
        [42, 42]
    """
    if joins and count == 1:
        return [call()]
    futures: list[Future[T]] = [Future() for _ in range(count)]
    threads = [AwaitedThread(partial(_answer, f, call, control), "tilejit-call") for f in futures[joins:]]
    try:
        for thread in threads:
            thread.start()
        if joins:
            _answer(futures[0], call, control)
        for thread in threads:
            thread.wait()
    except BaseException:
        control[STOP] = 1
        try:
            for thread in threads:
                thread.wait()
        except KeyboardInterrupt as second:
            second.add_note("the kernel does not stop: it runs until this process ends, and calls may wait for it")
            raise
        raise
    return [future.result() for future in futures]


def _answer(future: Future[T], call: Callable[[], T], control: LaunchControl) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
        control[STOP] = 1
        future.set_exception(error)
