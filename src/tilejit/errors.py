"""Everything that tilejit raises on purpose, so that one ``except`` catches it all.

A low floor says what is wrong; the floor above adds the file, the window and the kernel, and raises ``from`` the first.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import unicodedata
import warnings
from pathlib import Path

__all__ = [
    "BackendError",
    "CodecError",
    "DatesWarning",
    "GridMismatchError",
    "IterationLimitError",
    "KernelError",
    "MemoryLimitError",
    "NameTakenError",
    "NodataWarning",
    "ParameterError",
    "PlanError",
    "ReadError",
    "RunStoppedError",
    "SinkError",
    "SourceError",
    "TilejitError",
]

_FOLDER = str(Path(__file__).parent) + os.sep
_PYTHON = str(Path(os.__file__).parent) + os.sep
_LINK = "\nThe above exception was the direct cause of the following exception:\n"
_KEPT = "\n\t"
_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, halves of a character (bytes of a file's name that are no text), and line breaks."""
_TURNS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the direction of the text that follows it."""


def __dir__() -> list[str]:
    return sorted(__all__)


class TilejitError(Exception):
    """The base of every error that tilejit raises on purpose."""

    def __str__(self) -> str:
        """Returns the message; what a file's name would do to a terminal is spelled out."""
        return printable(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it, in a notebook: the lines of the user's own; those of tilejit help nobody there."""
        return _users_traceback(self)


class KernelError(TilejitError):
    """A kernel says something that its language cannot take, or is called with what it cannot take."""


class ParameterError(TilejitError):
    """A scalar parameter is missing, unknown, or of the wrong type."""


class GridMismatchError(TilejitError):
    """Rasters that should lie on one grid lie on different ones."""


class SourceError(TilejitError):
    """A raster cannot be opened, or holds what tilejit does not read (complex, rotated, no bands)."""


class ReadError(SourceError):
    """A window of a raster cannot be read: a corrupt or truncated block."""


class CodecError(TilejitError):
    """The bytes of a block are not what its compression says, or there is no such way to code one."""


class SinkError(TilejitError):
    """An output cannot be created or written: an unwritable folder, a full disk, an existing file."""


class NameTakenError(SinkError):
    """An output is finished, and somebody has its name by now: it stays under a temporary one, which is told."""


class PlanError(TilejitError):
    """A job cannot run as asked: refused before any pixel is read."""


class MemoryLimitError(PlanError):
    """A plan needs more memory than it was given."""


class IterationLimitError(TilejitError):
    """An iteration has not come to its end within the sweeps that it was allowed."""


class RunStoppedError(TilejitError):
    """A run was stopped before its end because somebody wanted that, not because anything failed."""


class BackendError(TilejitError):
    """A backend is unknown, or cannot run on this machine."""


class NodataWarning(UserWarning):
    """A result equals nodata, or its type does not hold it, or its body asked for cells beyond the radius."""


class DatesWarning(UserWarning):
    """The dates of a stack do not rise, and a kernel goes through them one after the other."""


def _users_traceback(error: BaseException) -> list[str]:
    """The lines of a traceback without the frames of this package, of Python's own and of the notebook's.

    What an error was raised from is shown where that happened in the user's own lines.
    """
    before = [] if error.__cause__ is None else _users_frames(error.__cause__)
    told = [*_shown(error.__cause__, before), _LINK] if error.__cause__ is not None and before else []
    return "\n".join([*told, *_shown(error, _users_frames(error))]).split("\n")


def _users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]


def _is_users(file: str) -> bool:
    hidden = file.startswith(_FOLDER) or (file.startswith(_PYTHON) and "site-packages" not in Path(file).parts)
    return not hidden and "IPython" not in Path(file).parts


def _shown(error: BaseException, frames: list[traceback.FrameSummary]) -> list[str]:
    head = ["Traceback (most recent call last):"] if frames else []
    return [*head, *(p.rstrip("\n") for p in (*traceback.format_list(frames), *traceback.format_exception_only(error)))]


def warn_caller(message: Warning) -> None:
    """Warns, and points at the line outside this package that led here."""
    frame, level = sys._getframe(), 1  # noqa: SLF001 - the documented way to the stack
    while frame.f_code.co_filename.startswith(_FOLDER) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    # Python keeps quiet where there is no standard error, and fails where it is closed.
    quiet = contextlib.redirect_stderr(None) if getattr(sys.stderr, "closed", False) else contextlib.nullcontext()
    with quiet:
        warnings.warn(message, stacklevel=level)


def printable(text: str) -> str:
    r"""Returns text in which nothing moves the cursor, colours the terminal or hides a part of a name.

    Line breaks and tabulators stay: messages have several lines.

    Example:
        >>> printable("dem\x1b[31m.tif, größer 🏔")
        'dem\\x1b[31m.tif, größer 🏔'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in _KEPT or (unicodedata.category(character) not in _HIDDEN and character not in _TURNS):
        return character
    return character.encode("unicode_escape").decode("ascii")
