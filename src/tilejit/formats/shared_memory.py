"""Memory that other processes of this machine reach too."""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.system.identity import FileIdentity, process_space

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """Memory by a name that can be sent to another process.

    On Linux it has no name of its own in any file system: it is gone with the last process that holds it, however that
    ends. ``multiprocessing.shared_memory`` lies in /dev/shm, which containers limit to 64 MB, and a program that goes
    beyond that is killed; and its memory cannot be let go of while an array looks at it.
    """

    path: str
    """Where a process opens it."""
    identity: tuple[int, int]
    """Device and inode: a descriptor's number is used again once it is closed."""
    space: FileIdentity
    """What processes see that may open it there."""

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Returns it as an array, which keeps the memory for as long as it lives.

        Raises:
            SinkError: It is no longer there.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except OSError as error:
            raise SinkError(f"the array of the run is no longer there: {error}") from error
        try:
            if _identity(descriptor) != self.identity:
                raise SinkError(f"the array of the run is no longer there: {self.path} is something else by now")
            size = int(np.prod(shape)) * dtype.itemsize
            return np.frombuffer(mmap.mmap(descriptor, size), dtype).reshape(shape)
        finally:
            os.close(descriptor)


class SharedArray:
    """An array in memory that other processes reach until `close`; the array itself lives on."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._descriptor, path = _reserve(int(np.prod(shape)) * dtype.itemsize)
        self.memory = SharedMemory(path, _identity(self._descriptor), process_space())
        """What is sent to the others."""
        self.array = self.memory.array(shape, dtype)
        """The cells."""

    def close(self) -> None:
        """Lets no other process in any more."""
        os.close(self._descriptor)
        if not self.memory.path.startswith("/proc/"):
            os.unlink(self.memory.path)  # noqa: PTH108 - as it was made


def _reserve(size: int) -> tuple[int, str]:
    """A descriptor of so many bytes, and the name by which other processes open them."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tilejit")
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="tilejit-")
    os.ftruncate(descriptor, size)
    return descriptor, path


def _identity(descriptor: int) -> tuple[int, int]:
    stat = os.fstat(descriptor)
    return stat.st_dev, stat.st_ino
