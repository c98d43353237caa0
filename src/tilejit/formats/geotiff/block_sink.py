"""GeoTIFF outputs whose blocks are encoded on the threads that write them, and appended to GDAL's own directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.append_file import CachedAppendFile, open_append_file
from tilejit.formats.gdal.creation_options import is_auto, is_sparse, level_of
from tilejit.formats.gdal.new_file import close_dataset, create_dataset
from tilejit.formats.geotiff.block_writer import BlockEncoder, BlockWriter, BlockWriterOpener, SharedAppendFile
from tilejit.formats.geotiff.blocks import BlockGrid
from tilejit.formats.geotiff.tiff_directory import read_skeleton
from tilejit.formats.output_sink import OutputSink, never_written
from tilejit.system.identity import FileIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilejit.formats.append_file import AppendFile
    from tilejit.formats.codecs.block_codec import Encoded
    from tilejit.formats.output import OutputFile
    from tilejit.formats.output_sink import Guard
    from tilejit.formats.sink import Manifest


class BlockSink(OutputSink):
    """A GeoTIFF that is written block by block.

    GDAL creates the file with all its tags and no blocks. Each block is encoded by the thread that writes it and
    appended, in any order. The directory's offsets and byte counts are filled in at the end.

    Raises:
        SinkError: The file cannot be created; nothing is left.
    """

    def __init__(self, file: OutputFile) -> None:
        super().__init__(file, file.block)
        self._file = file
        self._appended: AppendFile | None = None
        self._shared: SharedAppendFile | None = None
        try:
            dataset = (
                None
                if file.kept
                else create_dataset(file.profile, file.temporary, file.options | {"SPARSE_OK": "TRUE"})
            )
            with file.completing("created"):
                self._take_over(dataset)
        except BaseException:
            self.abort()
            raise

    def _take_over(self, dataset: Any) -> None:
        """Have GDAL write the directory and let go of the file, unless an earlier run has."""
        file, profile = self._file, self._profile
        if dataset is not None:
            close_dataset(dataset)
            file.settle()
        self._skeleton = skeleton = read_skeleton(file.temporary, level_of(file.options))
        samples = skeleton.codec.samples
        self._blocks = BlockGrid(profile.grid.shape, self.block, skeleton.tiled, profile.count // samples)
        self._encoder = BlockEncoder(
            profile, self._blocks, skeleton.codec, sparse=is_sparse(file.options), auto=is_auto(file.options)
        )
        if profile.checkpoint is None:
            self._appended = open_append_file(file.temporary, profile.raw_bytes)
        else:  # what a journal says must not lie in a buffer of this process, and who keeps the journal syncs
            self._appended = CachedAppendFile(file.temporary)
        if isinstance(self._appended, CachedAppendFile):
            file.start_flusher()
        self._offsets = np.zeros(skeleton.offsets.count, np.int64)
        self._counts = np.zeros(skeleton.counts.count, np.int64)

    @property
    def coding(self) -> str:
        """What has encoded the blocks so far, and about how much that cost; empty where there is no choice."""
        return self._encoder.coding

    def _new_writer(self, guard: Guard) -> BlockWriter:
        return BlockWriter(self._encoder, self._append, guard)

    def opener(self, *, local: bool) -> BlockWriterOpener:
        """What encodes blocks elsewhere, and appends them here or sends them home; see `opener_of`."""
        self._open_writers()
        if local:
            self._shared = SharedAppendFile(FileIdentity.of(self._file.temporary), self._skeleton.largest)
        return BlockWriterOpener(self._encoder, self._shared)

    def _append(self, blocks: Iterable[tuple[int, Encoded]]) -> list[tuple[int, int, int]]:
        """Put blocks into the file; returns the number, offset and byte count of each.

        Raises:
            OSError: The disk is full, or the file cannot hold so much.
        """
        if self._shared is not None:  # others append, too
            return self._shared.append(blocks)
        entries = []
        for number, data in blocks:
            stored = np.frombuffer(data, np.uint8)
            entries.append((number, self._open_file().append(stored, self._skeleton.largest), stored.size))
        return entries

    def _merge(self, manifest: Manifest) -> Manifest:
        """Note where blocks are, or append those that a writer sends home."""
        numbers = manifest["blocks"]
        if "data" in manifest:
            with self._writing("what a worker sent"):
                entries = self._append(zip(numbers, manifest["data"], strict=True))
            _, offsets, counts = zip(*entries, strict=True) if entries else ((), (), ())
        else:
            offsets, counts = manifest["offsets"], manifest["counts"]
        self._offsets[numbers], self._counts[numbers] = offsets, counts
        if self._profile.checkpoint is None:
            return None
        return {"blocks": list(numbers), "offsets": list(offsets), "counts": list(counts)}

    def _begin(self) -> None:
        """Cut off what was written after the last entry of a journal.

        Raises:
            SinkError: The file is shorter than its journal says.
        """
        end, size = int((self._offsets + self._counts).max(initial=0)), self._file.temporary.stat().st_size
        if size < end:
            raise SinkError(
                f"{self._profile.path}: cannot go on: {self._file.temporary} has {size:,} bytes, and its journal "
                f"says {end:,}: delete both to begin anew"
            )
        if end:
            os.ftruncate(self._open_file().descriptor, end)
            self._close()
            self._appended = CachedAppendFile(self._file.temporary)

    def _complete(self) -> None:
        """Enter the blocks into the directory."""
        if not is_sparse(self._file.options) and not self._counts.all():
            place = self._blocks.place(int(np.argmin(self._counts)))
            band = f"band {place.plane + 1}, " if self._blocks.planes > 1 else ""
            raise never_written(f"{band}block row {place.row}, block col {place.col}")
        self._open_file().finish()
        self._skeleton.enter(self._open_file().descriptor, self._offsets, self._counts)

    def _publish(self) -> None:
        self._file.publish()

    def _open_file(self) -> AppendFile:
        if self._appended is None:
            raise SinkError(f"{self._profile.path}: the output has been published or aborted")
        return self._appended

    def _close(self) -> None:
        appended, self._appended = self._appended, None
        if appended is not None:
            appended.close()
