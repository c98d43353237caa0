"""The same work in several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def on_threads(function: Callable[[], object], count: int) -> None:
    """Calls a function in so many threads at once.

    Raises:
        Exception: What one of them raised: a thread of its own would only print it, and its way would look slow.
    """
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(function) for _ in range(count)]
    for future in futures:
        future.result()
