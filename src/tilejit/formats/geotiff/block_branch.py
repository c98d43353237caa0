"""Where workers in other processes put the blocks of a GeoTIFF that `BlockSink` completes."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import CodecError, SinkError
from tilejit.formats.target import disk_hint
from tilejit.system.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tilejit.formats.codecs.entropy import Encoded
    from tilejit.formats.geotiff.block_encoder import BlockEncoder
    from tilejit.formats.sink import Record
    from tilejit.system.identity import FileIdentity
    from tilejit.window import Window


@dataclass(frozen=True, slots=True)
class AppendingOpener:
    """Opens an `AppendingBranch`."""

    encoder: BlockEncoder
    """What encodes blocks."""
    temporary: FileIdentity
    """The file that blocks are appended to; a worker that does not see it sends them home."""
    largest: int
    """The largest size of that file."""

    def __call__(self) -> AppendingBranch | SendingBranch:
        """Open it."""
        return AppendingBranch(self) if self.temporary.is_seen() else SendingBranch(self.encoder)


class AppendingBranch:
    """Encodes blocks and appends them to the file itself.

    The system puts each write to a file that is opened for appending behind all others, from whichever process, and the
    position after it tells where it went: workers need no lock and no word from each other.
    """

    def __init__(self, opener: AppendingOpener) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._entries: list[tuple[int, int, int]] = []

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window of whole blocks; see `Sink.write`."""
        encoder = self._opener.encoder
        encoder.check(window, array)
        with _failures_named(encoder.profile.path, window):
            # A descriptor of its own, whose position no other thread moves.
            descriptor = open_regular(self._opener.temporary.path, os.O_WRONLY | os.O_APPEND)
            try:
                entries = [(number, *self._append(descriptor, data)) for number, data in encoder.encode(window, array)]
            finally:
                os.close(descriptor)
        with self._lock:
            self._entries += entries

    def _append(self, descriptor: int, data: Encoded) -> tuple[int, int]:
        """Write a block; returns its offset and its bytes.

        Raises:
            OSError: The disk is full, or the file cannot hold so much.
        """
        block = np.frombuffer(data, np.uint8).data
        written = os.write(descriptor, block)
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if written < block.nbytes:
            raise OSError(f"the disk took {written:,} of the {block.nbytes:,} bytes of a block")
        if end > self._opener.largest:
            raise OSError("the file would pass 4 GB, which only a BigTIFF can: give the option BIGTIFF=YES")
        return end - written, written

    def finish(self) -> Record:
        """Return the blocks' numbers, offsets and byte counts."""
        return {
            "blocks": [number for number, _, _ in self._entries],
            "offsets": [offset for _, offset, _ in self._entries],
            "counts": [count for _, _, count in self._entries],
        }


@dataclass(frozen=True, slots=True)
class SendingOpener:
    """Opens a `SendingBranch`."""

    encoder: BlockEncoder
    """What encodes blocks."""

    def __call__(self) -> SendingBranch:
        """Open it."""
        return SendingBranch(self.encoder)


class SendingBranch:
    """Encodes blocks and sends them home, where the file is."""

    def __init__(self, encoder: BlockEncoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self._blocks: list[tuple[int, bytes]] = []

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window of whole blocks; see `Sink.write`."""
        self._encoder.check(window, array)
        with _failures_named(self._encoder.profile.path, window):
            # Copies: what is stored without compression is the caller's memory.
            blocks = [(number, bytes(data)) for number, data in self._encoder.encode(window, array)]
        with self._lock:
            self._blocks += blocks

    def finish(self) -> Record:
        """Return the blocks' numbers and the blocks."""
        return {"blocks": [number for number, _ in self._blocks], "data": [data for _, data in self._blocks]}


@contextmanager
def _failures_named(path: str, window: Window) -> Iterator[None]:
    try:
        yield
    except (OSError, CodecError) as error:
        hint = disk_hint(Path(os.path.realpath(path)).parent, error)
        raise SinkError(f"{path}: cannot write {window}: {error}{hint}") from error
