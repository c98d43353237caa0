"""A line on a terminal that tells what is waited for, where that takes a while; it is gone when it is over."""

from __future__ import annotations

import contextlib
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilejit.errors import printable
from tilejit.system.program import is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 0.5  # seconds before it is told
_hushed = 0


@contextmanager
def told_on_terminal(text: str) -> Iterator[None]:
    """Shows a line on standard error after `PATIENCE`, where that is a terminal and no run tells how far it is."""
    if _hushed or not is_terminal(sys.stderr):
        yield
        return
    line, lock, is_shown, is_over = printable(text), threading.Lock(), threading.Event(), threading.Event()

    def show() -> None:
        with lock:
            if not is_over.is_set():
                is_shown.set()
                _write(line)

    timer = threading.Timer(PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            is_over.set()
        if is_shown.is_set():
            _write(f"\r{' ' * len(line)}\r")


@contextmanager
def hushed() -> Iterator[None]:
    """Shows no such line: a run has a progress bar, or none by its user's wish."""
    global _hushed  # noqa: PLW0603
    _hushed += 1
    try:
        yield
    finally:
        _hushed -= 1


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
