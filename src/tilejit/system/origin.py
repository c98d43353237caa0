"""Which process has made a file, as the file's name tells it, and whether that process has ended."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from pathlib import Path

ORIGIN = r"\d+-[0-9a-f]+-[0-9a-f]{12}"
"""What an origin looks like, as a regular expression."""
_STATE, _THREADS, _BEGIN = 0, 17, 19
"""Where these are in /proc/PID/stat, behind the program's name; the beginning in ticks since the boot."""
_NAMESPACES = ("pid", "time")
"""What gives a process its number, and its beginning."""


def origin() -> str:
    """What tells this process from all others: its number, its beginning, and where the two mean something.

    Example:
        >>> has_ended(origin())
        False
    """
    number = os.getpid()
    stat = _stat("self")
    return f"{number}-{0 if stat is None else int(stat[_BEGIN]):x}-{_place(number) or '0' * 12}"


def has_ended(maker: str) -> bool:
    """Whether a process is gone; False where that cannot be known from here.

    That is on another machine or in another container, after a restart, and on systems without /proc.

    Args:
        maker: The process's origin.

    Example:
        >>> has_ended("4711-1f00-0123456789ab")  # of another machine
        False
    """
    number, begin, place = maker.split("-")
    if place != _place(os.getpid()):
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # another user's process has the number by now, or has had it all along
        pass
    stat = _stat(number)
    if stat is None:
        return False
    # Nobody may have asked yet how it ended. One of several threads goes on when the first has ended.
    is_dead = stat[_STATE] in "ZX" and int(stat[_THREADS]) <= 1
    return is_dead or int(stat[_BEGIN]) != int(begin, 16)


def _stat(process: str) -> list[str] | None:
    try:
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


@functools.lru_cache(maxsize=1)
def _place(number: int) -> str:
    """The machine, its last start, and the namespaces of this process; empty where that is not known.

    Args:
        number: This process's: a child may be in another namespace.
    """
    own = Path("/proc/self")
    try:
        if str(own.readlink()) != str(number):  # the files of another namespace
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        spaces = [str((own / "ns" / name).readlink()) for name in _NAMESPACES if os.path.lexists(own / "ns" / name)]
    except OSError:
        return ""
    return hashlib.sha256("\n".join([platform.node(), boot, *spaces]).encode()).hexdigest()[:12]
