"""What outputs of many files have in common: who may write when, what has been written, and how it all appears."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.folders.checksums import check_checksums
from tilejit.formats.folders.coverage import Coverage
from tilejit.formats.folders.output_folder import OutputFolder
from tilejit.formats.gdal.creation_options import is_sparse
from tilejit.formats.geotiff.block_grid import BlockGrid
from tilejit.formats.sink import check_write
from tilejit.system.identity import FileIdentity, process_name
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from tilejit.formats.sink import BranchOpener, OutputProfile, Record, Storage


class FolderSink(ABC):
    """An output of many files in one folder, which workers anywhere write by branches; threads here share one.

    Raises:
        SinkError: It cannot be created; nothing is left.
    """

    concurrent = True
    """Threads write to different files."""

    def __init__(self, profile: OutputProfile, storage: Storage, folder: Path) -> None:
        self.grid = profile.grid
        """Where its cells lie."""
        self.block = storage.block
        """Rows and columns of the storage blocks."""
        self._profile, self._storage = profile, storage
        self._coverage = Coverage(profile.path, BlockGrid(self.grid.shape, self.block, tiled=True, planes=1))
        self._turn = threading.Condition()
        self._writers = 0
        self._failure: str | None = None
        self._open, self._prepared = True, False
        check = self._check_replaced if profile.overwrite else None
        self._folder = OutputFolder(profile.path, folder, profile.kept, check)
        try:
            with self._folder.completing("created"):
                if not self._folder.kept:
                    self._create()
                self._own = self.branch(local=True)()
        except BaseException:
            self.abort()
            raise

    @abstractmethod
    def branch(self, *, local: bool) -> BranchOpener:
        """What opens a worker's end; see `SharedSink.branch`."""

    @abstractmethod
    def _create(self) -> None:
        """Put into the folder what is there before any window."""

    @abstractmethod
    def _note(self, record: Record) -> None:
        """Keep what a branch wrote."""

    @abstractmethod
    def _complete(self) -> None:
        """Put into the folder what is only known in the end."""

    @abstractmethod
    def _publish(self) -> None:
        """Give the output its name."""

    @abstractmethod
    def _check_replaced(self, folder: Path) -> None:
        """Refuse to replace the folder, wherever it is now, for what it holds."""

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window of whole blocks; see `Sink.write`.

        Raises:
            SinkError: It cuts a block, or one was written before; or it cannot be written: the message has the file,
                window and cause, and the output cannot be completed after that.
        """
        check_profile_write(self._profile, window, array)
        with self._turn:
            self._require_open()
            self._coverage.claim(window)
            self._writers += 1
        try:
            with self._failures_kept(window):
                self._own.write(window, array)
        finally:
            with self._turn:
                self._writers -= 1
                self._turn.notify_all()

    @contextmanager
    def _failures_kept(self, window: Window) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            cause = str(error).removeprefix(f"{self._profile.path}: ") or type(error).__name__
            prefix = "" if cause.startswith("cannot write") else f"cannot write {window}: "
            self._failure = f"{prefix}{cause}{'' if 'bytes left' in cause else self._folder.hint(error)}"
            if not isinstance(error, Exception):
                raise
            raise SinkError(f"{self._profile.path}: {self._failure}") from error

    def take(self, record: Record) -> Record:
        """Note what a branch wrote; see `SharedSink.take`.

        Raises:
            SinkError: Another branch wrote a part of it, too.
        """
        with self._turn:
            self._require_open()
            for numbers in record["windows"]:
                self._coverage.claim(Window(*numbers))
            self._note(record)
        return record

    def keep(self, records: Iterable[Record]) -> None:
        """Take what earlier runs wrote; see `KeptSink.keep`.

        Raises:
            SinkError: A file of it is gone, cut or altered.
        """
        for record in records:
            check_checksums(self._profile.path, self._folder.temporary, record["checksums"])
            self.take(record)
        self._folder.kept = True

    def sync(self) -> None:
        """Wait until what was taken is on the disk; see `KeptSink.sync`."""
        self._folder.sync()

    def prepare(self) -> None:
        """Complete the folder and sync it: all that can still fail but its name.

        Raises:
            SinkError: A block was not written, or a part did not reach the disk; nothing is left behind.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._writers == 0)
            self._require_open()
            self._open = False
            with self._folder.completing():
                self._note(self._own.finish())
                if not is_sparse(self._storage.options):
                    self._coverage.check_complete()
                self._complete()
                self._folder.sync()
                self._prepared = True

    def commit(self) -> None:
        """Prepare the output where that is not done yet, and give it its name.

        Raises:
            SinkError: A part of it did not reach the disk; nothing is left behind, and an output that was to be
                replaced is untouched.
        """
        if not self._prepared:
            self.prepare()
        with self._turn, self._folder.completing():
            self._publish()

    def abort(self) -> None:
        """Remove what was written; nothing happens after `commit`."""
        with self._turn:
            # A file that a writer makes in a folder that is being removed would keep the folder.
            self._turn.wait_for(lambda: self._writers == 0)
            self._open = self._prepared = False
            self._folder.remove()

    def _require_open(self) -> None:
        if self._failure is not None:
            raise SinkError(f"{self._profile.path}: an earlier write failed: {self._failure}")
        if not self._open:
            raise SinkError(f"{self._profile.path}: the output has been committed or aborted")


def check_folder(path: str, folder: FileIdentity) -> None:
    """Refuse to write where the leader's folder is not seen.

    Of a network file system two machines, and two mounts of one machine, know one folder by different numbers: there
    its name has to do, which nobody can guess.

    Raises:
        SinkError: It is not there, or is another; with the worker that says so.
    """
    try:
        found = FileIdentity.of(folder.path)
    except OSError:
        found = None
    is_other = found is not None and (found.kernel, found.device) == (folder.kernel, folder.device) and found != folder
    if found is None or is_other:
        raise SinkError(
            f"{path}: the worker that is {process_name()} does not see the folder "
            f"{Path(folder.path).parent} of the process that leads: give workers on other machines and in containers "
            "that folder by the same path"
        )


def check_profile_write(profile: OutputProfile, window: Window, array: NDArray[Any]) -> None:
    """Refuse a write that an output cannot take; see `check_write`."""
    check_write(profile.path, grid=profile.grid, count=profile.count, dtype=profile.dtype, window=window, array=array)


def stored_cells(array: NDArray[Any]) -> NDArray[Any]:
    """An array as it is stored: truth values are bytes."""
    return array.view(np.uint8) if array.dtype == np.bool_ else array


def numbers_of(window: Window) -> list[int]:
    """A window in a record."""
    return [window.row_off, window.col_off, window.height, window.width]
