"""How many cores and how much memory this process may use, and what says so."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.system.control_groups import Limit, core_quotas, memory_left

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path("/")
"""Where the system's own files are."""
_VARIABLES = ("SLURM_CPUS_PER_TASK", "PYTHON_CPU_COUNT", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables by which a scheduler or a user says how many cores a program may take."""
_value = attrgetter("value")


def available_cores() -> int:
    """Returns the cores that this process may use; see `core_limit`.

    Example:
        >>> available_cores() >= 1
        True
    """
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
    return *core_quotas(ROOT), _machine_cores()


@functools.cache
def _asked_once() -> tuple[Limit, ...]:
    """What is read once, as OpenMP and Numba read theirs: it takes five times as long as the CPU mask."""
    return tuple(asked_cores(os.environ))


def asked_cores(environment: Mapping[str, str]) -> list[Limit]:
    """Returns how many cores this process is asked to take at most, by whoever started it.

    Args:
        environment: The environment variables.

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


def _machine_cores() -> Limit:
    # Where there is a mask the machine's cores are not counted too: that reads a file, and takes 20 microseconds.
    affinity = getattr(os, "sched_getaffinity", None)
    return Limit(len(affinity(0)), "its CPU mask") if affinity else Limit(os.cpu_count() or 1, "this machine")


def available_memory() -> int | None:
    """Returns the bytes of memory that this process may hold; see `memory_limit`.

    Example:
        >>> (available_memory() or 1) > 0
        True
    """
    limit = memory_limit()
    return None if limit is None else limit.value


def memory_limit(root: Path = ROOT) -> Limit | None:
    """Returns the bytes of memory that this process may hold in all: what it has, and what is left beside that.

    Args:
        root: Where ``/proc`` and ``/sys`` are.

    Returns:
        The least that the machine or a group leaves it; None where the system does not say.
    """
    least = min((*_free_memory(root), *memory_left(root)), key=_value, default=None)
    return None if least is None else replace(least, value=least.value + _own_memory(root))


def _own_memory(root: Path) -> int:
    """The bytes that this process has already, but for pages of files; 0 where that is not told."""
    return _kilobytes(root / "proc/self/status", "RssAnon:") or 0


def _free_memory(root: Path) -> Iterator[Limit]:
    free = _kilobytes(root / "proc/meminfo", "MemAvailable:")
    if free is None:
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return
    yield Limit(free, "this machine")


def _kilobytes(file: Path, name: str) -> int | None:
    """The bytes that a line of a file under ``/proc`` tells."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, StopIteration, ValueError):
        return None
