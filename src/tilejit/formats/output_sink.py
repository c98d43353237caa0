"""The life of an output: written by writers, prepared, and published under its name; or aborted."""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from tilejit.errors import CodecError, SinkError
from tilejit.formats.gdal.new_file import write_side_file
from tilejit.formats.in_memory import MemorySink
from tilejit.formats.publishing import (
    completing,
    failed,
    give_name,
    remove_sidecars,
    replaced_folder,
    replacing_folder,
    sync_path,
)  # fmt: skip
from tilejit.formats.sink import Manifest, OutputProfile, WriterOpener, check_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tilejit.formats.geotiff.blocks import BlockGrid
    from tilejit.formats.output import OutputFile, OutputFolder
    from tilejit.window import Window

    Guard = Callable[[Window], AbstractContextManager[None]]
    """What stands around each write: it says which window failed."""

_GEOTIFF = {".tif", ".tiff", ".gtiff"}


class Coverage:
    """The blocks that have been written; threads may share it."""

    def __init__(self, path: str, blocks: BlockGrid) -> None:
        self._path, self._blocks = path, blocks
        self._written = np.zeros(blocks.blocks, np.bool_)
        self._lock = threading.Lock()

    def claim(self, window: Window) -> None:
        """Take blocks that nobody has written; refuses a window that cuts one, or holds one that was written."""
        rows, cols = self._blocks.block
        if not self._blocks.holds_whole(window):
            raise SinkError(f"{self._path}: {window} cuts blocks of {rows} x {cols}: write whole ones")
        top, left = window.row_off // rows, window.col_off // cols
        with self._lock:
            part = self._written[top : ceil(window.row_end / rows), left : ceil(window.col_end / cols)]
            if part.any():
                row, col = np.argwhere(part)[0] + (top, left)
                name = f"block row {row}, block col {col}"
                raise SinkError(f"{self._path}: cannot write {window}: {name} has been written already")
            part[...] = True

    def check_complete(self) -> None:
        """Refuse an output of which a block was never written."""
        if not self._written.all():
            row, col = np.argwhere(~self._written)[0]
            raise never_written(f"block row {row}, block col {col}")


def never_written(block: str) -> OSError:
    """The error of an output that lacks a block."""
    return OSError(
        f"{block} was never written: write every block, or give the option SPARSE_OK=TRUE, by which those left out "
        "read as nodata"
    )


class OutputWriter(ABC):
    """A writer of an output file or folder, in whatever process: of whole ``blocks``, each once, or of any windows.

    The guard stands around each write; in other processes than the sink's, errors are named and no more.
    """

    def __init__(self, profile: OutputProfile, blocks: BlockGrid | None, guard: Guard | None) -> None:
        self._profile = profile
        self._coverage = None if blocks is None else Coverage(profile.path, blocks)
        self._guard = guard or functools.partial(_failures_named, profile)

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window; see `Writer.write`."""
        check_profile(self._profile, window, array)
        if self._coverage is not None:
            self._coverage.claim(window)
        with self._guard(window):
            self._put(window, array.view(np.uint8) if array.dtype == np.bool_ else array)

    @abstractmethod
    def _put(self, window: Window, cells: NDArray[Any]) -> None:
        """Write cells as they are stored: truth values are bytes."""

    @abstractmethod
    def finish(self) -> Manifest:
        """Return the manifest; see `Writer.finish`."""


@contextmanager
def _failures_named(profile: OutputProfile, window: Window) -> Iterator[None]:
    try:
        yield
    except (OSError, CodecError) as error:
        raise failed(profile.path, f"cannot write {window}", error) from error


class OutputSink(ABC):
    """A sink over an output file or folder: who may write when, and what happens where something fails."""

    def __init__(self, output: OutputFile | OutputFolder, block: tuple[int, int]) -> None:
        self.block = block  # rows and columns of its storage blocks
        self._profile = output.profile
        self._life = output
        self._turn = threading.Condition()
        self._under_way = 0
        self._failure: str | None = None
        self._state: Literal["open", "prepared", "closed"] = "open"
        self._has_writers = False

    @abstractmethod
    def _new_writer(self, guard: Guard) -> OutputWriter: ...

    def _merge(self, manifest: Manifest) -> Manifest:
        """Take in a manifest; returns what a journal keeps of it."""
        return manifest

    @abstractmethod
    def _complete(self) -> None:
        """Put into the output what is only known in the end."""

    def _publish(self) -> None:
        """Give the output its name."""
        self._life.publish()

    def _check_kept(self, manifest: Manifest) -> None:  # noqa: B027 - not every output is gone on with
        """Refuse what an earlier run has written and is not there any more."""

    def _begin(self) -> None:  # noqa: B027 - few have anything to do
        """Make the output ready for the first writer: all that an earlier run has written is known."""

    def _close(self) -> None:  # noqa: B027 - a folder is not open
        """Let go of what is open."""

    def writer(self) -> OutputWriter:
        """Open a writer in this process; see `Sink.writer`."""
        self._open_writers()
        return self._new_writer(self._writing)

    def _open_writers(self) -> None:
        with self._turn:
            self._require_open()
            if not self._has_writers:
                self._begin()
            self._has_writers = True

    def merge(self, manifest: Manifest) -> Manifest:
        """Take in what a writer has written; see `Sink.merge`."""
        with self._turn:
            self._require_open()
            if not self._has_writers:
                self._check_kept(manifest)
            kept = self._merge(manifest)
            self._life.kept = self._profile.checkpoint is not None
        return kept

    @contextmanager
    def _writing(self, what: object) -> Iterator[None]:
        """Keep the output open while something is written, and remember what fails."""
        with self._turn:
            self._require_open()
            self._under_way += 1
        try:
            yield
        except BaseException as error:
            known = failed(self._profile.path, f"cannot write {what}", error)
            self._failure = str(known).removeprefix(f"{self._profile.path}: ")
            if not isinstance(error, Exception):
                raise
            raise known from error
        finally:
            with self._turn:
                self._under_way -= 1
                self._turn.notify_all()

    def sync(self) -> None:
        """Wait until what was merged is on the disk; see `Sink.sync`."""
        self._life.sync()

    def prepare(self) -> None:
        """Complete the output and sync it; see `Sink.prepare`."""
        with self._turn:
            self._turn.wait_for(lambda: self._under_way == 0)
            self._require_open()
            self._state = "closed"
            with self._life.completing():
                try:
                    self._complete()
                finally:
                    self._close()
                self._life.finish()
            self._state = "prepared"

    def publish(self) -> None:
        """Give the output its name; see `Sink.publish`."""
        with self._turn, self._life.completing():
            if self._state != "prepared":
                self._require_open()
                raise SinkError("it is published before it is prepared: call prepare()")
            self._state = "closed"
            self._publish()

    def abort(self) -> None:
        """Drop the output, but for a checkpoint; see `Sink.abort`."""
        with self._turn:
            # What is closed or removed under a writer may be another file's, or come back, by the time it writes.
            self._turn.wait_for(lambda: self._under_way == 0)
            self._state = "closed"
            with contextlib.suppress(Exception):
                self._close()
            self._life.remove()

    def _require_open(self) -> None:
        if self._failure is not None:
            raise SinkError(f"{self._profile.path}: an earlier write failed: {self._failure}")
        if self._state != "open":
            raise SinkError(f"{self._profile.path}: the output has been published or aborted")


@dataclass(frozen=True, eq=False)
class FinishedSink(MemorySink):
    """An output that an earlier run completed, but for its name: it was killed before some of its files had theirs."""

    profile: OutputProfile
    renames: Sequence[tuple[Path, Path]]  # its files and folders: what they are called until it is complete, and then
    check: Callable[[OutputProfile, Path], None] | None = None  # refuses to replace a folder for what it holds
    block: tuple[int, int] = (1, 1)

    def writer(self) -> NoReturn:
        """Refuse: all is written."""
        raise SinkError(f"{self.profile.path}: the output is complete: nothing can be written to it")

    def opener(self, *, local: bool) -> WriterOpener:  # noqa: ARG002 - a sink's
        """What would open a writer, if any part were left to do."""
        return self.writer

    def publish(self) -> None:
        """Give the output its name; see `Sink.publish`."""
        path, overwrite = self.profile.path, self.profile.overwrite
        check = functools.partial(self.check, self.profile) if self.check is not None and overwrite else None
        for temporary, target in self.renames:
            with completing(path, temporary, self.abort):
                if temporary.is_dir():
                    with replacing_folder(path, temporary, target, check):
                        pass
                elif temporary.exists():
                    give_name(path, temporary, target, overwrite=overwrite)
                # It may have been killed in the middle of either.
                if overwrite:
                    remove_sidecars(target)
                if target.suffix.lower() in _GEOTIFF:
                    write_side_file(path, target, self.profile.grid, overwrite=True)
                shutil.rmtree(replaced_folder(temporary), ignore_errors=True)
                sync_path(target.parent)
