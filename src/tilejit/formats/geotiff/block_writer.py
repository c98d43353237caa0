"""What encodes the blocks of a GeoTIFF where their cells are, and where they are put then."""

from __future__ import annotations

import functools
import os
import threading
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.append_file import checked_end
from tilejit.formats.codecs.compression_level import MixedEncoder
from tilejit.formats.geotiff.blocks import BlockGrid, Place, constant_of
from tilejit.formats.output_sink import OutputWriter
from tilejit.kernel.nodata import is_constant
from tilejit.system.files import open_regular
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from tilejit.formats.codecs.block_codec import BlockCodec, Encoded
    from tilejit.formats.output_sink import Guard
    from tilejit.formats.sink import Manifest, OutputProfile
    from tilejit.system.identity import FileIdentity

    Appending = Callable[[Iterable[tuple[int, Encoded]]], list[tuple[int, int, int]]]
    """Puts encoded blocks into the file; returns the number, offset and byte count of each."""


def cut_block(blocks: BlockGrid, samples: int, place: Place, window: Window, cells: NDArray[Any]) -> NDArray[Any]:
    """Cut a block, (row, col, sample), C-contiguous, out of (band, row, col) cells of a window that holds it.

    It is the cells' own memory where it is so already. A tile that reaches outside the raster repeats its last row and
    column there, which readers skip and compressors hardly notice. Of constant cells a constant (see
    `tilejit.kernel.nodata`).
    """
    rows, cols = blocks.block
    whole = Window(place.row * rows, place.col * cols, rows, cols)
    inside = whole.intersection(window)
    bands = slice(place.plane * samples, (place.plane + 1) * samples)
    part = cells[bands, *inside.slices(window)].transpose(1, 2, 0)
    stored = whole.shape if blocks.tiled else inside.shape
    if is_constant(cells):
        return np.broadcast_to(part[:1, :1], (*stored, samples))
    if inside.shape == stored and part.flags.c_contiguous:
        return part
    out = np.empty((*stored, samples), cells.dtype)
    out[: inside.height, : inside.width] = part
    out[: inside.height, inside.width :] = out[: inside.height, inside.width - 1 : inside.width]
    out[inside.height :] = out[inside.height - 1]
    return out


class BlockEncoder:
    """What a thread, or a worker elsewhere, needs to encode its blocks; threads may share it. See `MixedEncoder`."""

    def __init__(
        self, profile: OutputProfile, blocks: BlockGrid, codec: BlockCodec, *, sparse: bool, auto: bool
    ) -> None:
        self.profile = profile  # what the file will be
        self.blocks = blocks  # its blocks
        self._codec, self._sparse = codec, sparse
        self._mixed = MixedEncoder(codec.compression, codec.level, blocks.count, auto=auto)
        nodata = 0 if profile.nodata is None else profile.nodata
        self._left_out = np.asarray(nodata, codec.dtype.newbyteorder("="))  # what a missing block reads as
        self._last: tuple[tuple[int, ...], bytes, bytes] | None = None
        """The shape and cell of the last constant block, and what it is stored as."""
        self._made_of = functools.partial(BlockEncoder, sparse=sparse, auto=auto), (profile, blocks, codec)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process begins without what this one knows of the blocks so far."""
        return self._made_of

    @property
    def coding(self) -> str:
        """What has encoded the blocks so far, and about how much that cost; empty where there was no choice."""
        return self._mixed.summary()

    def encode(self, window: Window, cells: NDArray[Any]) -> Iterator[tuple[int, Encoded]]:
        """Yields a window's blocks, encoded, with their numbers, but for those that the file does without."""
        for place in self.blocks.places(window):
            data = self._encode(cut_block(self.blocks, self._codec.samples, place, window, cells))
            if data is not None:
                yield self.blocks.number(place), data

    def _encode(self, block: NDArray[Any]) -> Encoded | None:
        """Encode a block; one of one value is encoded once, and a sparse file does without one of nodata."""
        cell = constant_of(block)
        if cell is None:
            return self._codec.encode(block, self._mixed.compress)
        if self._sparse and self._is_left_out(block[0, 0]):
            return None
        last = self._last
        if last is not None and last[:2] == (block.shape, cell):
            return last[2]
        # A copy: what is stored without compression is the caller's own memory.
        encoded = bytes(self._codec.encode(np.ascontiguousarray(block)))
        self._last = block.shape, cell, encoded
        return encoded

    def _is_left_out(self, cell: NDArray[Any]) -> bool:
        """Whether a cell reads as itself where there is no block; minus zero does not."""
        same_bits = cell.tobytes() == np.full_like(cell, self._left_out).tobytes()
        both_nan = cell.dtype.kind == "f" and bool(np.isnan(cell).all()) and bool(np.isnan(self._left_out))
        return same_bits or both_nan


class BlockWriter(OutputWriter):
    """Encodes blocks; it appends them to the file, or without ``append`` sends them home."""

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


def open_blocks(encoder: BlockEncoder, file: SharedAppendFile | None) -> BlockWriter:
    """Open a writer in another process, which appends blocks to the file where it sees it."""
    return BlockWriter(encoder, file.append if file is not None and file.place.is_seen() else None)


@dataclass(frozen=True, slots=True)
class SharedAppendFile:
    """A file that several processes append to.

    The system puts each write to a file that is opened for appending behind all others, from whichever process, and the
    position after it tells where it went: workers need no lock and no word from each other.
    """

    place: FileIdentity  # the file
    largest: int  # the largest size that it may have

    def append(self, blocks: Iterable[tuple[int, Encoded]]) -> list[tuple[int, int, int]]:
        """Append blocks; returns the number, offset and byte count of each."""
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
        return checked_end(end, self.largest) - written, written
