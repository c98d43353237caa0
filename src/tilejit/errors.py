"""Everything that tilejit raises on purpose, so that one ``except`` catches it all.

A low floor says what is wrong; the floor above adds the file, the window and the kernel, and raises ``from`` the first.
"""

from __future__ import annotations

from tilejit.callers import users_traceback
from tilejit.text import printable

__all__ = [
    "BackendError",
    "CodecError",
    "GridMismatchError",
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


def __dir__() -> list[str]:
    return sorted(__all__)


class TilejitError(Exception):
    """The base of every error that tilejit raises on purpose."""

    def __str__(self) -> str:
        """Returns the message; what a file's name would do to a terminal is spelled out."""
        return printable(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it, in a notebook: the lines of the user's own; those of tilejit help nobody there."""
        return users_traceback(self)


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


class RunStoppedError(TilejitError):
    """A run was stopped before its end because somebody wanted that, not because anything failed."""


class BackendError(TilejitError):
    """A backend is unknown, or cannot run on this machine."""


class NodataWarning(UserWarning):
    """A result equals nodata, or its type does not hold it, or its body asked for cells beyond the radius."""
