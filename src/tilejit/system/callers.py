"""Whose code is running: tilejit's, or that of the person who called it."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_FOLDER = str(Path(__file__).parents[1]) + os.sep


def is_ours(file: str) -> bool:
    """Whether a source file is one of this package's.

    Example:
        >>> is_ours(__file__), is_ours("/home/me/my_kernels.py")
        (True, False)
    """
    return file.startswith(_FOLDER)


def warn_caller(message: Warning) -> None:
    """Warns, and points at the line outside this package that led here.

    Args:
        message: What is said, an instance of its category.
    """
    frame, level = sys._getframe(), 1  # noqa: SLF001 - the documented way to the stack
    while is_ours(frame.f_code.co_filename) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
