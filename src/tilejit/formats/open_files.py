"""Files that are open: no more than a process may well have, however many rasters are read together.

A source holds its file while it reads. Where too many are open, one that nobody reads is closed, that which was read
longest ago first; who reads it next opens it again.
"""

from __future__ import annotations

import functools
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from tilejit.system.limits import most_open_files
from tilejit.system.signals import lock_that_forks_await

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_MOST, _OTHERS = 512, 64
"""Files of rasters that are open at once at most, and what the limit of the system leaves to others, as outputs."""
_lock = lock_that_forks_await()
_order: dict[int, weakref.ref[OpenFile]] = {}  # type: ignore[type-arg]
"""Those that are open, by identity; that which was held longest ago first."""


@functools.cache
def most() -> int:
    """How many rasters may be open: half of what the system allows, for GDAL may open a file beside one."""
    limit = most_open_files()
    return _MOST if limit is None else max(4, min(_MOST, (limit - _OTHERS) // 2))


class OpenFile(Generic[T]):
    """A file that is open while it is held, and for as long after as there is room.

    Example:
        >>> import io
        >>> file = OpenFile(io.StringIO.close)
        >>> with file.held(lambda: io.StringIO("cells")) as opened:
        ...     opened.read()
        'cells'
        >>> file.is_open
        True
        >>> file.close()
        >>> file.is_open
        False
    """

    def __init__(self, close: Callable[[T], object]) -> None:
        self._close = close
        self._value: T | None = None
        self._holders = 0
        self._opening = threading.Lock()

    def __del__(self) -> None:
        # At the end of Python too, where nothing is imported any more.
        _order.pop(id(self), None)
        if self._value is not None:
            self._close(self._value)

    @property
    def is_open(self) -> bool:
        """Whether it is open now."""
        return self._value is not None

    @contextmanager
    def held(self, opened: Callable[[], T]) -> Iterator[T]:
        """Gives what ``opened`` opens, if it is not open yet; nobody closes it meanwhile."""
        with _lock:
            self._holders += 1
        try:
            with self._opening:
                if self._value is None:
                    _make_room()
                    self._value = opened()
                value = self._value
            with _lock:
                _order.pop(id(self), None)
                _order[id(self)] = weakref.ref(self)
            yield value
        finally:
            with _lock:
                self._holders -= 1

    def close(self) -> None:
        """Closes it, unless somebody holds it; who holds it next opens it again."""
        with _lock:
            if self._holders:
                return
            _order.pop(id(self), None)
            value, self._value = self._value, None
        if value is not None:
            self._close(value)


def has_room() -> bool:
    """Whether one more may be open."""
    return len(_order) < most()


def _make_room() -> None:
    """Closes files until one more may be open, or all others are held."""
    with _lock:
        # Of a list: a file that goes meanwhile takes itself out.
        files = [file for held in list(_order.values()) if (file := held()) is not None]
    for file in files:
        if has_room():
            return
        file.close()
