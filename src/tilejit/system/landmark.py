"""Whether two processes are at the same place: it is looked at, and not guessed from the name of a machine."""

from __future__ import annotations

import os
import platform
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Linux: what tells one run of one kernel from all others."""
_PROCESSES = Path("/proc/self/ns/pid")
"""Linux: what tells the space that process numbers are counted in; a container has one of its own."""


@dataclass(frozen=True, slots=True)
class Landmark:
    """A file or a folder that another process finds again where it sees the same file system through the same kernel.

    Containers may have one host's name and different files, and different names and the same files. A device and an
    inode by the same path are the same file where the kernel is the same: devices of network file systems are numbered
    by each machine for itself.

    Example:
        >>> Landmark.of("/").is_seen()
        True
    """

    path: str
    """Where it is."""
    device: int
    """The device that it is on."""
    inode: int
    """Its number there."""
    kernel: str
    """The kernel through which it was looked at."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Landmark:
        """Looks at a file or a folder.

        Raises:
            OSError: It is not there.
        """
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
    """Where temporary files go.

    Raises:
        PlanError: There is no folder that can be written to.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise PlanError(f"there is no place for temporary files: {error.strerror}: name a folder in TMPDIR") from error


def process_space() -> Landmark:
    """What processes see that know this one by its number; where no system tells, those that share temporary files."""
    return Landmark.of(_PROCESSES if _PROCESSES.exists() else temporary_folder())


def here() -> tuple[Landmark, ...]:
    """What processes see that share this one's temporary files, and can reach its memory by its number."""
    return Landmark.of(temporary_folder()), process_space()


def is_here(landmarks: Iterable[Landmark]) -> bool:
    """Whether this process sees all of them: what a worker is asked."""
    return all(landmark.is_seen() for landmark in landmarks)


def process_name() -> str:
    """What people call this process; in containers others may have the same name."""
    return f"process {os.getpid()} on {platform.node()}"


@cache
def kernel_name() -> str:
    """What tells the running kernel from others; the machine's name where the system has no better word."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return platform.node()
