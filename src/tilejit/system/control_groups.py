"""What Linux's control groups allow this process: the limits of containers, batch jobs and services.

A group is held to the limits of all groups around it, so each is read, from this process's own to the topmost that is
mounted here, of version 1 and 2. (Dask and loky read one group, psutil none.)
"""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNLIMITED = 1 << 60
"""Version 1 has a number for no limit: the largest that the kernel can count pages to."""
_MEMORY = ("memory.max", "memory.high", "memory.limit_in_bytes")
"""Beyond the first and the last a process is killed; beyond the second it is slowed down to a crawl."""
_CACHED = ("inactive_file", "active_file")
"""Pages of files, which are counted as used, and which the kernel takes back when memory is wanted."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much there is of something, and what says so."""

    value: int
    """Cores, or bytes."""
    name: str
    """What holds it there."""


@functools.cache
def core_quotas(root: Path) -> tuple[Limit, ...]:
    """Returns the quotas of CPU time, in cores.

    They are read once: that takes longer than all else that a call of a kernel does before its loop.

    Args:
        root: Where ``/proc`` and ``/sys`` are.
    """
    found = []
    for folder in _groups("cpu", root):
        for quota, period in _quotas(folder):
            if quota > 0 and period > 0:  # version 1 says -1 for none
                found.append(Limit(max(1, round(quota / period)), f"quota of {_shown(folder, root)}"))
    return tuple(found)


def _quotas(folder: Path) -> Iterator[tuple[int, int]]:
    words = _read(folder / "cpu.max").split()
    if len(words) == 2 and words[0] != "max":
        yield int(words[0]), int(words[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    if quota is not None and period is not None:
        yield quota, period


def memory_left(root: Path) -> list[Limit]:
    """Returns the bytes that each limit of memory leaves.

    Args:
        root: Where ``/proc`` and ``/sys`` are.
    """
    found = []
    for file in _memory_files(root):
        limit = _number(file)
        if limit is not None and limit < _UNLIMITED:
            found.append(Limit(max(0, limit - _held(file.parent)), f"{file.name} of {_shown(file.parent, root)}"))
    return found


@functools.cache
def _memory_files(root: Path) -> tuple[Path, ...]:
    """The files that say how much memory there is: they are looked for once, and read anew each time."""
    return tuple(file for folder in _groups("memory", root) for name in _MEMORY if (file := folder / name).is_file())


def _held(folder: Path) -> int:
    """The bytes that a group's processes cannot be made to give back."""
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
    stat = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
    # Version 1 says "total_" of what groups inside hold, too, as version 2 does of all.
    return max(0, used - sum(int(stat.get(f"total_{name}", stat.get(name, 0))) for name in _CACHED))


def _groups(controller: str, root: Path) -> tuple[Path, ...]:
    """The folders of this process's group and of those around it, where one may say what a controller limits."""
    paths = _paths(root)
    folders: list[Path] = []
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, *_, options = after.split(" ")
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
            top, place = (_plain(word) for word in before.split(" ")[3:5])
            inside = _inside(paths.get("" if kind == "cgroup2" else controller, "/"), top)
            folders += [root / place.lstrip("/") / part for part in (inside, *inside.parents)]
    return tuple(dict.fromkeys(folders))


def _paths(root: Path) -> dict[str, str]:
    """Controller -> the path of this process's group; that of version 2, which has all of them, under no name."""
    rows = (line.split(":", 2) for line in _read(root / "proc/self/cgroup").splitlines())
    return {controller: path for _, controllers, path in rows for controller in controllers.split(",")}


def _inside(path: str, top: str) -> PurePosixPath:
    """A group's path below a mount; the mount itself where it shows only groups around or beside this one."""
    with contextlib.suppress(ValueError):
        inside = PurePosixPath(path).relative_to(top)
        if ".." not in inside.parts:
            return inside
    return PurePosixPath()


def _plain(word: str) -> str:
    r"""A word of mountinfo, which spells a blank ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _shown(folder: Path, root: Path) -> str:
    return f"/{folder.relative_to(root).as_posix()}"


def _read(file: Path) -> str:
    """What a file says; nothing where there is none, or it is not for this user."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    with contextlib.suppress(ValueError):
        return int(_read(file))
    return None
