"""What a process and its descendants take, as Linux tells it under /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PROC = Path("/proc")


def family(pid: int) -> list[int]:
    """Returns a process and its descendants; itself alone where the system does not tell."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for member in found:  # grows while it is gone through
        found += children.get(member, [])
    return found


def child_of(ancestor: int) -> int:
    """Returns the child of an ancestor through which this process descends from it; this process where it is untold."""
    member = os.getpid()
    while fields := _stat(member):
        if int(fields[1]) == ancestor:
            return member
        member = int(fields[1])
    return os.getpid()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold spaces; none of a process that has ended."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return []


def cpu_seconds(pid: int) -> float:
    """Returns the core seconds of a process and its descendants, those that have ended among them."""
    ticks = sum(sum(map(int, fields[11:15])) for fields in map(_stat, family(pid)) if fields)
    return ticks / _TICKS


def machine_seconds() -> float:
    """Returns the core seconds that all programs have spent since the machine started; 0 where untold."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        words = (_PROC / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system, _idle, _waiting, *others = map(int, words[1:8])
        return (user + nice + system + sum(others)) / _TICKS
    return 0.0


def queued_seconds() -> float:
    """Returns the seconds in which this thread could have run, and waited for a core; 0 where untold."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((_PROC / "thread-self" / "schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    return 0.0


def memory(members: Iterable[int]) -> int | None:
    """Returns the bytes that processes hold together, memory that they share counted once; None: untold."""
    own, shared = 0, 0
    for member in members:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (_PROC / str(member) / "statm").read_text(encoding="ascii").split()
            resident, common = int(fields[1]), int(fields[2])
            own, shared = own + resident - common, max(shared, common)
    return (own + shared) * _PAGE or None


def age(pid: int) -> float:
    """Returns the seconds since a process was started; 0 where the system does not tell."""
    fields = _stat(pid)
    with contextlib.suppress(OSError, ValueError, IndexError):
        up = float((_PROC / "uptime").read_text(encoding="ascii").split()[0])
        return max(0.0, up - int(fields[19]) / _TICKS)
    return 0.0
