"""Which process, kernel and file system this is: looked at, and not guessed from the name of a machine."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable

ORIGIN = r"\d+-[0-9a-f]+-[0-9a-f]{12}"  # what an `origin` looks like, as a regular expression
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux: what tells one run of one kernel from all others
_PROCESSES = Path("/proc/self/ns/pid")  # Linux: the space that process numbers are counted in; a container has its own
_NAMESPACES = ("pid", "time")  # what gives a process its number, and its beginning
_STATE, _THREADS, _BEGIN = 0, 17, 19
"""Where these are in /proc/PID/stat, behind the program's name; the beginning in ticks since the boot.

psutil tells the beginning by a clock that is set now and then, so that two processes may read two of one."""


_LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
"""The variables by which Open MPI, MVAPICH, MPICH and those like it, and Slurm tell a rank its number and their count.

Slurm sets its own in the one process of a batch script, too: that a rank has a count is no fault by itself."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """A file or a folder that another process finds again where it sees the same file system through the same kernel.

    Containers may have one host's name and different files, and different names and the same files. A device and an
    inode by the same path are the same file where the kernel is the same: devices of network file systems are numbered
    by each machine for itself.

    Example:
        >>> FileIdentity.of("/").is_seen()
        True
    """

    path: str  # where it is
    device: int  # the device that it is on
    inode: int  # its number there
    kernel: str  # the kernel through which it was looked at

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileIdentity:
        """Looks at a file or a folder."""
        place = Path(path).absolute()
        status = place.stat()
        return cls(str(place), status.st_dev, status.st_ino, kernel_name())

    def is_seen(self) -> bool:
        """Whether this process sees it."""
        if self.kernel != kernel_name():
            return False
        try:
            status = Path(self.path).stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (self.device, self.inode)


def temporary_folder() -> Path:
    """Where temporary files go."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise PlanError(f"there is no place for temporary files: {error.strerror}: name a folder in TMPDIR") from error


def process_space() -> FileIdentity:
    """What processes see that know this one by its number; where no system tells, those that share temporary files."""
    return FileIdentity.of(_PROCESSES if _PROCESSES.exists() else temporary_folder())


def here() -> tuple[FileIdentity, ...]:
    """What processes see that share this one's temporary files, and can reach its memory by its number."""
    return FileIdentity.of(temporary_folder()), process_space()


def is_here(places: Iterable[FileIdentity]) -> bool:
    """Whether this process sees all of them: what a worker is asked."""
    return all(place.is_seen() for place in places)


def process_name() -> str:
    """What people call this process; in containers others may have the same name."""
    return f"process {os.getpid()} on {platform.node()}"


@functools.cache
def kernel_name() -> str:
    """What tells the running kernel from others; the machine's name where the system has no better word."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return platform.node()


def origin() -> str:
    """What tells this process from all others: its number, its beginning, and where the two mean something.

    The names of files that it makes say it.
    """
    number = os.getpid()
    stat = _stat("self")
    return f"{number}-{0 if stat is None else int(stat[_BEGIN]):x}-{_place(number) or '0' * 12}"


def has_ended(maker: str) -> bool:
    """Whether the process of an `origin` is gone; False where that cannot be known from here.

    That is on another machine or in another container, after a restart, and on systems without /proc.

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
    """The machine, its last start, and the namespaces of the process of this number; empty where that is not known."""
    own = Path("/proc/self")
    try:
        if str(own.readlink()) != str(number):  # the files of another namespace
            return ""
        boot = _BOOT.read_text()
        spaces = [str((own / "ns" / name).readlink()) for name in _NAMESPACES if os.path.lexists(own / "ns" / name)]
    except OSError:
        return ""
    return hashlib.sha256("\n".join([platform.node(), boot, *spaces]).encode()).hexdigest()[:12]


def rank_name() -> str | None:
    """What this process is called among the ranks of its program; None where it is none of several."""
    for names in _LAUNCHERS:
        number, count = (os.environ.get(name, "") for name in names)
        if number.isdecimal() and count.isdecimal() and int(count) > 1:
            return f"rank {number} of the {count} of an MPI program"
    return None
