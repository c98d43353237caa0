"""Files that threads append to, through the page cache or past it, and whose pages go to the disk meanwhile."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import queue
import threading
from typing import TYPE_CHECKING

import numpy as np

from tilejit.system.files import c_function, open_regular
from tilejit.system.limits import available_memory

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


SEGMENT = 1 << 19  # bytes that are written past the page cache at once; a disk is slower with half as many
SEGMENTS = 3  # segments in memory: one that is being filled, and others that are being written or wait for it
PAGE = 4096  # bytes to whose multiples direct writes are bound; no disk asks for more
CACHED_SHARE = 8
"""A file of more than this fraction of the memory that is free goes past the page cache: it would push out what others
have there, and most of itself."""


class CachedAppendFile:
    """Appends what many threads bring, in no order, through the page cache, where the next reader finds it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = open_regular(path, os.O_RDWR)
        self._turn = threading.Lock()
        self._end = os.fstat(self.descriptor).st_size

    def append(self, data: NDArray[np.uint8], most: int) -> int:
        """Add bytes, which may be reused then, to the end of a file of so many at most; returns where they go.

        It raises the OSError of these or of earlier ones that cannot be written.
        """
        with self._turn:
            offset = self._end
            self._end = checked_end(offset + data.size, most)
        write_all(self.descriptor, data.data, offset)
        return offset

    def finish(self) -> None:
        """Write what is left, of which there is none here, or raise the error of what could not be written."""

    def close(self) -> None:
        """Let go of the file; idempotent."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class DirectAppendFile:
    """Appends past the page cache, in large pieces, by a thread of its own.

    640 MB took 0.07 core seconds instead of 0.15 to 0.3, and nothing is left to sync at the end. Other files keep their
    place in the cache, for the price that the next reader of this one finds it on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = open_regular(path, os.O_RDWR)
        self._direct = _open_direct(path)
        self._end = -(-os.fstat(self.descriptor).st_size // PAGE) * PAGE
        self._turn = threading.Lock()
        self._free: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[mmap.mmap, int] | None] = queue.SimpleQueue()
        for _ in range(SEGMENTS):
            self._free.put(mmap.mmap(-1, SEGMENT))  # a direct write wants memory that begins on a page
        self._segment, self._used = self._free.get(), 0
        self._error: OSError | None = None
        self._writer = threading.Thread(target=self._write_segments, name="tilejit-writer", daemon=True)
        self._writer.start()

    def append(self, data: NDArray[np.uint8], most: int) -> int:
        """See `CachedAppendFile.append`."""
        with self._turn:
            if self._error is not None:
                raise self._error
            offset = self._end
            checked_end(offset + data.size, most)
            # In turns: copying takes a hundredth of the time that encoding took.
            while data.size:
                data = self._fill(data)
            return offset

    def _fill(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Copy what the segment has room for; returns the rest."""
        part = data[: SEGMENT - self._used]
        np.frombuffer(self._segment, np.uint8)[self._used : self._used + part.size] = part
        self._used += part.size
        self._end += part.size
        if self._used == SEGMENT:
            self._full.put((self._segment, self._end - SEGMENT))
            self._segment, self._used = self._free.get(), 0
        return data[part.size :]

    def _write_segments(self) -> None:
        """Write segments as they come full; after an error it only hands their memory back."""
        while (full := self._full.get()) is not None:
            segment, offset = full
            try:
                if self._error is None:
                    self._write_segment(memoryview(segment), offset)
            except OSError as error:
                self._error = error
            self._free.put(segment)

    def _write_segment(self, data: memoryview, offset: int) -> None:
        try:
            write_all(self._direct, data, offset)
        except OSError as error:
            # Some file systems take the flag and then no write, and none takes the rest of an odd partial write.
            if error.errno != errno.EINVAL:
                raise
            write_all(self.descriptor, data, offset)

    def finish(self) -> None:
        """See `CachedAppendFile.finish`."""
        self._stop()
        if self._error is not None:
            raise self._error
        write_all(self.descriptor, memoryview(self._segment)[: self._used], self._end - self._used)

    def close(self) -> None:
        """See `CachedAppendFile.close`."""
        self._stop()
        for descriptor in {self.descriptor, self._direct} - {-1}:
            os.close(descriptor)
        self.descriptor = self._direct = -1

    def _stop(self) -> None:
        self._full.put(None)
        self._writer.join()


AppendFile = CachedAppendFile | DirectAppendFile


def open_append_file(path: Path, size: int) -> AppendFile:
    """Open a file that is there to append to, in the way that suits about how many bytes it will have."""
    memory = available_memory()
    is_large = memory is not None and size > memory / CACHED_SHARE
    return DirectAppendFile(path) if is_large and hasattr(os, "O_DIRECT") else CachedAppendFile(path)


def checked_end(end: int, most: int) -> int:
    """The end of a file, if it may grow so far."""
    if end > most:
        raise OSError("the file would pass 4 GB, which only a BigTIFF can: give the option BIGTIFF=YES")
    return end


def _open_direct(path: Path) -> int:
    """A descriptor past the page cache, or through it where the system or the file system has no other."""
    try:
        return open_regular(path, os.O_WRONLY | getattr(os, "O_DIRECT", 0))
    except OSError:
        return open_regular(path, os.O_WRONLY)


def write_all(descriptor: int, left: memoryview, offset: int) -> None:
    """Write bytes at an offset; a system may take a part of them at a time."""
    while left.nbytes:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


_SECONDS = 0.05
_CALL = "sync_file_range"  # Linux's call; an fsync in its place would wait twenty times a second
_WRITE = 2  # its SYNC_FILE_RANGE_WRITE: begin to write, and wait for nothing


class Flusher:
    """Begins to write a file now and then in a thread of its own, so that little is left to sync at the end.

    Where the system cannot begin without waiting for the disk, nothing happens before the end.

    A 657 MB output took 0.14 s to sync at the end of a run of 1.6 s, with both cores idle, and takes 0.003 s so. An
    fsync four times a second instead, which waits for the disk, leaves 0.03 s.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._stop = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="tilejit-flusher", daemon=True)
        if c_function(_CALL) is not None:
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_SECONDS) and self._error is None:
            try:
                begin_writing(self._descriptor)
            except OSError as error:
                # The system reports a failed write once: what is not kept here would be lost.
                self._error = error

    def stop(self) -> None:
        """End the thread; idempotent."""
        if not self._stop.is_set():
            self._stop.set()
            if self._thread.ident is not None:
                self._thread.join()
            os.close(self._descriptor)

    def finish(self) -> None:
        """End the thread, or raise the OSError of a page that could not be written."""
        self.stop()
        if self._error is not None:
            raise self._error


def begin_writing(descriptor: int) -> None:
    """Begin to write what of a file is in memory alone, where the system can without waiting."""
    begin = c_function(_CALL)
    if begin is not None and begin(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE):  # from 0 to the end
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
