"""What this process may use of its machine: cores, memory, open files.

Linux's control groups are the limits of containers, batch jobs and services. A group is held to the limits of all
groups around it, so each is read, from this process's own to the topmost that is mounted here, of version 1 and 2.
(Dask and loky read one group, psutil none; importing psutil would take a short run 60 ms.)
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tilejit.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path("/")  # where the system's own files are
_VARIABLES = ("SLURM_CPUS_PER_TASK", "PYTHON_CPU_COUNT", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables by which a scheduler or a user says how many cores a program may take."""
_UNLIMITED = 1 << 60  # version 1 has a number for no limit: the largest that the kernel can count pages to
_MEMORY = ("memory.max", "memory.high", "memory.limit_in_bytes")
"""Beyond the first and the last a process is killed; beyond the second it is slowed down to a crawl."""
_CACHED = ("inactive_file", "active_file")
"""Pages of files, which are counted as used, and which the kernel takes back when memory is wanted."""
_value = attrgetter("value")


@dataclass(frozen=True, slots=True)
class Limit:
    """How much there is of something, and what says so."""

    value: int  # cores, or bytes
    name: str  # what holds it there


def available_cores() -> int:
    """Returns the cores that this process may use; see `core_limit`."""
    return core_limit().value


def core_limit() -> Limit:
    """Returns the cores that this process may use: the least of what it is allowed and what it is asked to take.

    Those are its CPU mask, the quotas of its control groups, and environment variables.
    """
    return min((*_asked_once(), *_allowed()), key=_value)  # the first, of those that are equal


def allowed_cores() -> int:
    """Returns the cores that this process and its likes may use together, whatever each is asked to take."""
    return min(_allowed(), key=_value).value


def _allowed() -> tuple[Limit, ...]:
    # Where there is a mask the machine's cores are not counted too: that reads a file, and takes 20 microseconds.
    mask = getattr(os, "sched_getaffinity", None)
    machine = Limit(len(mask(0)), "its CPU mask") if mask else Limit(os.cpu_count() or 1, "this machine")
    return *core_quotas(ROOT), machine


@functools.cache
def _asked_once() -> tuple[Limit, ...]:
    """What is read once, as OpenMP and Numba read theirs: it takes five times as long as the CPU mask."""
    return tuple(asked_cores(os.environ))


def asked_cores(environment: Mapping[str, str]) -> list[Limit]:
    """Returns how many cores this process is asked to take at most, by whoever started it.

    Example:
        >>> asked_cores({"OMP_NUM_THREADS": "4,2", "NUMBA_NUM_THREADS": "many"})
        [Limit(value=4, name='OMP_NUM_THREADS')]
    """
    asked = {name: environment[name] for name in _VARIABLES if name in environment}
    option = sys._xoptions.get("cpu_count")  # noqa: SLF001 - documented; Python itself heeds it since 3.13
    if option is not None:  # it goes before the variable
        asked["PYTHON_CPU_COUNT"] = str(option)
    # OpenMP has a list, of which the first is for the outermost loop.
    counts = {name: text.partition(",")[0].strip() for name, text in asked.items()}
    return [Limit(int(count), name) for name, count in counts.items() if count.isdecimal() and int(count)]


@functools.cache
def core_quotas(root: Path) -> tuple[Limit, ...]:
    """Returns the quotas of CPU time, in cores; read once, for that takes longer than a small call."""
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


def available_memory() -> int | None:
    """Returns the bytes of memory that this process may hold; see `memory_limit`."""
    limit = memory_limit()
    return None if limit is None else limit.value


def memory_limit(root: Path = ROOT) -> Limit | None:
    """Returns the bytes of memory that this process may hold in all: what it has, and what is left beside that.

    None where the system does not say.
    """
    free = _kilobytes(root / "proc/meminfo", "MemAvailable:")
    if free is None:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    machine = [] if free is None else [Limit(free, "this machine")]
    least = min((*machine, *memory_left(root)), key=_value, default=None)
    own = _kilobytes(root / "proc/self/status", "RssAnon:") or 0  # without pages of files
    return None if least is None else replace(least, value=least.value + own)


def memory_left(root: Path) -> list[Limit]:
    """Returns the bytes that each group's limit of memory leaves."""
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
    rows = (line.split(":", 2) for line in _read(root / "proc/self/cgroup").splitlines())
    # The group of version 2, which has all controllers, is under no name.
    paths = {name: path for _, controllers, path in rows for name in controllers.split(",")}
    folders: list[Path] = []
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, *_, options = after.split(" ")
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
            top, place = (_plain(word) for word in before.split(" ")[3:5])
            inside = _inside(paths.get("" if kind == "cgroup2" else controller, "/"), top)
            folders += [root / place.lstrip("/") / part for part in (inside, *inside.parents)]
    return tuple(dict.fromkeys(folders))


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


def _kilobytes(file: Path, name: str) -> int | None:
    """The bytes that a line of a file under ``/proc`` tells."""
    with contextlib.suppress(StopIteration, ValueError):
        return next(int(line.split()[1]) * 1024 for line in _read(file).splitlines() if line.startswith(name))
    return None


def most_open_files() -> int | None:
    """How many files this process may have open at once; None where the system sets no limit, or tells none."""
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def open_files_hint(error: BaseException | str) -> str:
    """What to do where too many files are open, in brackets; empty where an error, or what it says, is another."""
    if "too many open files" not in str(error).lower():
        return ""
    return f" (this process may have {most_open_files()} open: ulimit -n sets another limit; or take fewer at once)"


def require_open_files(count: int, what: str) -> None:
    """Refuses what opens more files than a process may."""
    most = most_open_files()
    if most is not None and count > most:
        raise PlanError(
            f"{what} takes {count} open files, and this process may have {most}: give fewer workers=, or set another "
            "limit with ulimit -n"
        )
