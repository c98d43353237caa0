"""Functions of the C library that Python has no name for."""

from __future__ import annotations

import ctypes
from typing import Any


def c_function(name: str) -> Any | None:
    """Returns a function of the C library that this process runs with; `ctypes.get_errno` has its error.

    Args:
        name: The function.

    Returns:
        The function; None where there is none of that name, and on Windows, where no library stands for all.

    Example:
        >>> c_function("no_such_function") is None
        True
    """
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name, None)
    except (OSError, TypeError):
        return None
