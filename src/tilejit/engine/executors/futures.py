"""Any executor of ``concurrent.futures`` that is handed over."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from tilejit.engine.executors.base import PoolExecutor, cause
from tilejit.errors import PlanError
from tilejit.system.identity import here, is_here
from tilejit.system.limits import available_cores

if TYPE_CHECKING:
    from concurrent import futures


class FuturesExecutor(PoolExecutor):
    """A pool of the caller's, who closes it too.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(2) as pool:
        ...     sorted(outcome.result for outcome in FuturesExecutor(pool).map(abs, [-1, 2]))
        [1, 2]
    """

    def __init__(self, pool: futures.Executor) -> None:
        self._pool = pool
        self.name = type(pool).__name__
        # The standard library's pools and those that copy them say it so; the protocol does not.
        self.workers: int = getattr(pool, "_max_workers", None) or available_cores()

    @functools.cached_property
    def local(self) -> bool:
        """Whether a worker is on this machine: one is asked."""
        if threading.current_thread() in (getattr(self._pool, "_threads", None) or ()):
            raise PlanError(
                f"executor={self.name}: this run is led by a thread of that pool itself, and its threads might all "
                "wait for each other: give another pool, or leave executor= out"
            )
        try:
            found: bool = self._pool.submit(is_here, here()).result()
        except Exception as error:
            raise PlanError(f"executor={self.name}: its workers do not answer: {cause(error)}") from error
        return found

    def close(self, *, at_once: bool = False) -> None:
        """The pool is the caller's."""
