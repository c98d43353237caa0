"""Standard output and error, which services and daemons may lack, and what libraries tell there."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_open(stream: Any) -> bool:
    """Whether a stream takes what is written to it: it may be None, closed, or lead nowhere.

    Example:
        >>> is_open(io.StringIO()), is_open(None)
        (True, False)
    """
    if stream is None or getattr(stream, "closed", False):
        return False
    try:
        os.fstat(stream.fileno())
    except (AttributeError, io.UnsupportedOperation):  # one that no file is behind, as a notebook's
        return True
    except OSError:
        return False
    return True


def is_terminal(stream: Any) -> bool:
    """Whether a person reads what is written to a stream.

    Example:
        >>> is_terminal(io.StringIO()), is_terminal(None)
        (False, False)
    """
    return is_open(stream) and bool(stream.isatty())


@contextlib.contextmanager
def all_open() -> Iterator[None]:
    """Has what is written to a stream that is missing go nowhere.

    Their numbers are taken as well: a file that is opened next would get them, and C libraries write to number 2.
    """
    with contextlib.ExitStack() as stack:
        for number in range(3):
            try:
                os.fstat(number)
            except OSError:
                stack.callback(os.close, os.open(os.devnull, os.O_RDWR))  # which takes the least number that is free
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123 - it is no path
        if not is_open(sys.stdout):
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if not is_open(sys.stderr):
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


@contextlib.contextmanager
def unlogged(name: str) -> Iterator[None]:
    """Keeps this thread's messages out of the host program's log, and off the terminal where it has none."""
    thread = threading.get_ident()
    logger = logging.getLogger(name)

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)
