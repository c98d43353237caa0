"""How many cores and how much memory this process may use."""

from __future__ import annotations

import functools
import os
from pathlib import Path


def available_cores() -> int:
    """Returns the cores that this process may run on: its CPU mask, and no more than its container's quota.

    Example:
        >>> available_cores() >= 1
        True
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, min(cores, quota) if quota else cores)


@functools.cache
def _cgroup_cores() -> int | None:
    """The container's quota, read once: it takes longer than all else that a call of a kernel does before its loop."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, round(int(quota) / int(period)))


def available_memory() -> int | None:
    """Returns the bytes of memory that this process may still take, or None where the system does not say.

    Example:
        >>> (available_memory() or 1) > 0
        True
    """
    free = [value for value in (_free_memory(), _cgroup_memory()) if value is not None]
    return min(free) if free else None


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _cgroup_memory() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)
