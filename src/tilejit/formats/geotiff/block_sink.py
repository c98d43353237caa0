"""GeoTIFF outputs whose blocks are encoded on the threads that write them, and appended to GDAL's own directory."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.gdal.creation_options import is_auto, is_sparse, level_of
from tilejit.formats.gdal.gdal_dataset import close_dataset, create_dataset
from tilejit.formats.geotiff.append_file import CachedAppendFile, open_append_file, write_all
from tilejit.formats.geotiff.block_branch import AppendingOpener, SendingOpener
from tilejit.formats.geotiff.block_encoder import BlockEncoder
from tilejit.formats.geotiff.block_grid import BlockGrid
from tilejit.formats.geotiff.tiff_directory import read_skeleton
from tilejit.formats.target import sync_path
from tilejit.system.identity import FileIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.formats.codecs.entropy import Encoded
    from tilejit.formats.geotiff.append_file import AppendFile
    from tilejit.formats.geotiff.block_grid import Place
    from tilejit.formats.output_file import OutputFile
    from tilejit.formats.sink import BranchOpener, Record
    from tilejit.window import Window


class BlockSink:
    """A GeoTIFF that is written block by block.

    GDAL creates the file with all its tags and no blocks. Each block is encoded by the thread that writes it and
    appended, in any order. The directory's offsets and byte counts are filled in at the end.

    Raises:
        SinkError: The file cannot be created; nothing is left.
    """

    concurrent = True
    """Several threads may be in `write`: only the place in the file is handed out in turns."""

    def __init__(self, file: OutputFile) -> None:
        self.grid = file.profile.grid
        """Where its cells lie."""
        self.block = file.block
        """Rows and columns of the storage blocks."""
        self._file = file
        self._turn = threading.Condition()
        self._writers = 0
        self._failure: str | None = None
        self._appended: AppendFile | None = None
        self._prepared = False
        try:
            dataset = None if file.kept else create_dataset(file, file.options | {"SPARSE_OK": "TRUE"})
            with file.completing("created"):
                self._take_over(dataset)
        except BaseException:
            self.abort()
            raise

    def _take_over(self, dataset: Any) -> None:
        """Have GDAL write the directory and let go of the file, unless an earlier run has."""
        file, profile = self._file, self._file.profile
        if dataset is not None:
            close_dataset(dataset)
            file.settle()
        self._skeleton = skeleton = read_skeleton(file.temporary, level_of(file.options))
        samples = skeleton.codec.samples
        self._blocks = BlockGrid(self.grid.shape, self.block, skeleton.tiled, profile.count // samples)
        self._encoder = BlockEncoder(
            profile, self._blocks, skeleton.codec, sparse=is_sparse(file.options), auto=is_auto(file.options)
        )
        if profile.kept is None:
            self._appended = open_append_file(file.temporary, profile.raw_bytes)
        else:  # what a journal says must not lie in a buffer of this process, and who keeps the journal syncs
            self._appended = CachedAppendFile(file.temporary)
        if isinstance(self._appended, CachedAppendFile):
            file.start_flusher()
        self._offsets = np.zeros(skeleton.offsets.count, np.int64)
        self._counts = np.zeros(skeleton.counts.count, np.int64)
        self._claimed = np.zeros(skeleton.offsets.count, np.bool_)

    @property
    def coding(self) -> str:
        """What has encoded the blocks so far, and about how much that cost; empty where there is no choice."""
        return self._encoder.coding

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window of whole blocks; see `Sink.write`.

        Raises:
            SinkError: It cuts a block, or one was written before; or it cannot be written: the message has the file,
                window and cause, and the output cannot be completed after that.
        """
        self._encoder.check(window, array)
        with self._claim(window, list(self._blocks.places(window))):
            for number, data in self._encoder.encode(window, array):
                self._append(number, data)

    def branch(self, *, local: bool) -> BranchOpener:
        """Returns what encodes blocks elsewhere, and appends them here or sends them home; see `SharedSink.branch`."""
        if local:
            return AppendingOpener(self._encoder, FileIdentity.of(self._file.temporary), self._skeleton.largest)
        return SendingOpener(self._encoder)

    def take(self, record: Record) -> Record:
        """Notes where a branch has put its blocks, or appends those that it sends home; see `SharedSink.take`.

        Raises:
            SinkError: They cannot be written; the output cannot be completed after that.
        """
        numbers = record["blocks"]
        if "data" not in record:
            self._claimed[numbers] = True
            self._offsets[numbers], self._counts[numbers] = record["offsets"], record["counts"]
            return record
        with self._claim(None, [self._blocks.place(number) for number in numbers]):
            for number, data in zip(numbers, record["data"], strict=True):
                self._append(number, data)
        offsets, counts = self._offsets[numbers].tolist(), self._counts[numbers].tolist()
        return {"blocks": numbers, "offsets": offsets, "counts": counts}

    def keep(self, records: Iterable[Record]) -> None:
        """Takes what earlier runs wrote; see `KeptSink.keep`.

        Raises:
            SinkError: The file is shorter than they say.
        """
        for record in records:
            self.take(record)
        end, size = int((self._offsets + self._counts).max(initial=0)), self._file.temporary.stat().st_size
        if size < end:
            raise SinkError(
                f"{self._file.profile.path}: cannot go on: {self._file.temporary} has {size:,} bytes, and its journal "
                f"says {end:,}: delete both to begin anew"
            )
        self._file.kept = True
        if end:  # what lies behind was written after the last entry of the journal
            os.ftruncate(self._open_file().descriptor, end)
            self._close()
            self._appended = CachedAppendFile(self._file.temporary)

    def sync(self) -> None:
        """Waits until what was taken is on the disk; see `KeptSink.sync`."""
        sync_path(self._file.temporary)

    @contextmanager
    def _claim(self, window: Window | None, places: Sequence[Place]) -> Iterator[None]:
        """Take blocks that nobody has written, and remember what fails."""
        what = "what a worker sent" if window is None else str(window)
        numbers = [self._blocks.number(place) for place in places]
        path = self._file.profile.path
        with self._turn:
            self._require_open()
            for place, number in zip(places, numbers, strict=True):
                if self._claimed[number]:
                    raise SinkError(f"{path}: cannot write {what}: {self._name(place)} has been written already")
            self._claimed[numbers] = True
            self._writers += 1
        try:
            yield
        except BaseException as error:
            self._failure = f"cannot write {what}: {error or type(error).__name__}{self._file.hint(error)}"
            if not isinstance(error, Exception):
                raise
            raise SinkError(f"{path}: {self._failure}") from error
        finally:
            with self._turn:
                self._writers -= 1
                self._turn.notify_all()

    def _append(self, number: int, data: Encoded) -> None:
        """Write an encoded block to the end of the file.

        Raises:
            OSError: The disk is full, or the file cannot hold so much.
        """
        stored = np.frombuffer(data, np.uint8)
        self._offsets[number] = self._open_file().append(stored, self._skeleton.largest)
        self._counts[number] = stored.size

    def prepare(self) -> None:
        """Enter the blocks into the directory and sync the file: all that can still fail but its name.

        Raises:
            SinkError: A block was not written, or a part did not reach the disk; nothing is left behind.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._writers == 0)
            self._require_open()
            with self._file.completing():
                try:
                    self._check_complete()
                    self._open_file().finish()
                    self._fill_directory()
                finally:
                    self._close()
                self._file.sync()
                self._prepared = True

    def commit(self) -> None:
        """Prepare the file where that is not done yet, and give it its name.

        Raises:
            SinkError: A part of it did not reach the disk; nothing is left behind, and a file that was to be
                replaced is untouched.
        """
        if not self._prepared:
            self.prepare()
        with self._turn, self._file.completing():
            self._file.publish()

    def abort(self) -> None:
        """Remove the temporary file; nothing happens after `commit`."""
        with self._turn:
            # A descriptor that is closed under a writer may be another file's by the time it writes.
            self._turn.wait_for(lambda: self._writers == 0)
            self._close()
            self._file.remove()

    def _check_complete(self) -> None:
        """Find a block that was never written.

        Raises:
            OSError: There is one, and blocks may not be left out.
        """
        if is_sparse(self._file.options) or self._counts.all():
            return
        place = self._blocks.place(int(np.argmin(self._counts)))
        raise OSError(
            f"{self._name(place)} was never written: write every block, or give the option SPARSE_OK=TRUE, by which "
            "those left out read as nodata"
        )

    def _fill_directory(self) -> None:
        for tag, numbers in ((self._skeleton.offsets, self._offsets), (self._skeleton.counts, self._counts)):
            if numbers.max() > np.iinfo(tag.dtype).max:
                raise OSError(f"the directory's numbers are {tag.dtype}, and cannot be {numbers.max()}")
            write_all(self._open_file().descriptor, memoryview(numbers.astype(tag.dtype).tobytes()), tag.position)

    def _name(self, place: Place) -> str:
        band = f"band {place.plane + 1}, " if self._blocks.planes > 1 else ""
        return f"{band}block row {place.row}, block col {place.col}"

    def _require_open(self) -> None:
        path = self._file.profile.path
        if self._failure is not None:
            raise SinkError(f"{path}: an earlier write failed: {self._failure}")
        self._open_file()

    def _open_file(self) -> AppendFile:
        if self._appended is None:
            raise SinkError(f"{self._file.profile.path}: the output has been committed or aborted")
        return self._appended

    def _close(self) -> None:
        appended, self._appended = self._appended, None
        if appended is not None:
            appended.close()
