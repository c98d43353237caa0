"""Messages of libraries, which are not for the person who runs tilejit."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def unlogged(name: str) -> Iterator[None]:
    """Keeps this thread's messages out of the host program's log, and off the terminal where it has none.

    Args:
        name: The logger that a library tells them.
    """
    thread = threading.get_ident()
    logger = logging.getLogger(name)

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)
