"""Memory that a thread keeps from tile to tile while it warps."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tilejit.formats.cells import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

_local = threading.local()


@contextmanager
def own_memory() -> Iterator[None]:
    """Gives other memory than that of a read which goes on in this thread: what is warped may be made of such."""
    _local.depth = getattr(_local, "depth", 0) + 1
    try:
        yield
    finally:
        _local.depth -= 1


def memory(name: str, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A thread's own cells by a name, inside `own_memory`."""
    return scratch(_local, f"{name} {_local.depth}", count * dtype.itemsize).view(dtype)
