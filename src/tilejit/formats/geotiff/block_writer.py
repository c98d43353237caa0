"""What encodes the blocks of a GeoTIFF where their cells are, and where they are put then."""

from __future__ import annotations

import os
import threading
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.output_sink import OutputWriter
from tilejit.system.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from tilejit.formats.codecs.entropy import Encoded
    from tilejit.formats.geotiff.block_encoder import BlockEncoder
    from tilejit.formats.output_sink import Guard
    from tilejit.formats.sink import Manifest
    from tilejit.system.identity import FileIdentity
    from tilejit.window import Window

    Appending = Callable[[Iterable[tuple[int, Encoded]]], list[tuple[int, int, int]]]
    """Puts encoded blocks into the file; returns the number, offset and byte count of each."""


class BlockWriter(OutputWriter):
    """Encodes blocks; it appends them to the file, or sends them home where it does not reach that.

    Args:
        encoder: What encodes blocks.
        append: What puts them into the file; None where they go home.
        guard: What stands around each write.
    """

    def __init__(self, encoder: BlockEncoder, append: Appending | None, guard: Guard | None = None) -> None:
        super().__init__(encoder.profile, encoder.blocks, guard)
        self._encoder, self._append = encoder, append
        self._lock = threading.Lock()
        self._entries = array("q")
        self._sent: list[tuple[int, bytes]] = []

    def _put(self, window: Window, cells: NDArray[Any]) -> None:
        blocks = self._encoder.encode(window, cells)
        if self._append is not None:
            entries = self._append(blocks)
            with self._lock:
                for entry in entries:
                    self._entries.extend(entry)
        else:
            # Copies: what is stored without compression is the caller's memory.
            sent = [(number, bytes(data)) for number, data in blocks]
            with self._lock:
                self._sent += sent

    def finish(self) -> Manifest:
        """Return the blocks' numbers, with where they are in the file, or with the blocks themselves."""
        if self._append is None:
            return {"blocks": [number for number, _ in self._sent], "data": [data for _, data in self._sent]}
        return {"blocks": self._entries[::3], "offsets": self._entries[1::3], "counts": self._entries[2::3]}


@dataclass(frozen=True, slots=True)
class BlockWriterOpener:
    """Opens a `BlockWriter` in another process."""

    encoder: BlockEncoder
    """What encodes blocks."""
    file: SharedAppendFile | None
    """The file that blocks are appended to, where the worker sees it; None where it will not."""

    def __call__(self) -> BlockWriter:
        """Open it."""
        is_seen = self.file is not None and self.file.place.is_seen()
        return BlockWriter(self.encoder, self.file.append if self.file is not None and is_seen else None)


@dataclass(frozen=True, slots=True)
class SharedAppendFile:
    """A file that several processes append to.

    The system puts each write to a file that is opened for appending behind all others, from whichever process, and the
    position after it tells where it went: workers need no lock and no word from each other.
    """

    place: FileIdentity
    """The file."""
    largest: int
    """The largest size that it may have."""

    def append(self, blocks: Iterable[tuple[int, Encoded]]) -> list[tuple[int, int, int]]:
        """Append blocks; returns the number, offset and byte count of each.

        Raises:
            OSError: The disk is full, or the file cannot hold so much.
        """
        # A descriptor of its own, whose position no other thread moves.
        descriptor = open_regular(self.place.path, os.O_WRONLY | os.O_APPEND)
        try:
            return [(number, *self._append(descriptor, data)) for number, data in blocks]
        finally:
            os.close(descriptor)

    def _append(self, descriptor: int, data: Encoded) -> tuple[int, int]:
        block = np.frombuffer(data, np.uint8).data
        written = os.write(descriptor, block)
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if written < block.nbytes:
            raise OSError(f"the disk took {written:,} of the {block.nbytes:,} bytes of a block")
        if end > self.largest:
            raise OSError("the file would pass 4 GB, which only a BigTIFF can: give the option BIGTIFF=YES")
        return end - written, written
