"""Whose code is running: tilejit's, or that of the person who called it."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from pathlib import Path

_FOLDER = str(Path(__file__).parent) + os.sep
_PYTHON = str(Path(os.__file__).parent) + os.sep
_LINK = "\nThe above exception was the direct cause of the following exception:\n"


def is_ours(file: str) -> bool:
    """Whether a source file is one of this package's.

    Example:
        >>> is_ours(__file__), is_ours("/home/me/my_kernels.py")
        (True, False)
    """
    return file.startswith(_FOLDER)


def users_traceback(error: BaseException) -> list[str]:
    """Returns the lines of a traceback without the frames of this package, of Python's own and of the notebook's.

    Args:
        error: What was raised; what it was raised from is shown where that happened in the user's own lines.
    """
    before = [] if error.__cause__ is None else _users_frames(error.__cause__)
    told = [*_shown(error.__cause__, before), _LINK] if error.__cause__ is not None and before else []
    return "\n".join([*told, *_shown(error, _users_frames(error))]).split("\n")


def _users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]


def _is_users(file: str) -> bool:
    hidden = is_ours(file) or (file.startswith(_PYTHON) and "site-packages" not in Path(file).parts)
    return not hidden and "IPython" not in Path(file).parts


def _shown(error: BaseException, frames: list[traceback.FrameSummary]) -> list[str]:
    head = ["Traceback (most recent call last):"] if frames else []
    return [*head, *(p.rstrip("\n") for p in (*traceback.format_list(frames), *traceback.format_exception_only(error)))]


def warn_caller(message: Warning) -> None:
    """Warns, and points at the line outside this package that led here.

    Args:
        message: What is said, an instance of its category.
    """
    frame, level = sys._getframe(), 1  # noqa: SLF001 - the documented way to the stack
    while is_ours(frame.f_code.co_filename) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    # Python keeps quiet where there is no standard error, and fails where it is closed.
    quiet = contextlib.redirect_stderr(None) if getattr(sys.stderr, "closed", False) else contextlib.nullcontext()
    with quiet:
        warnings.warn(message, stacklevel=level)
