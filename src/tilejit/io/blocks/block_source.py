"""A GeoTIFF whose blocks are read by offset and byte count, and decoded by the thread that wants them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import CodecError, ReadError
from tilejit.io.blocks.block_grid import Place
from tilejit.io.blocks.constant_blocks import KnownBlocks
from tilejit.io.file_names import check_unchanged, identity_of
from tilejit.io.source import blank, check_request, convert, flag, nodata_key
from tilejit.kernel.blanks import is_constant
from tilejit.system.open_files import open_files_hint
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tilejit.grid import Grid
    from tilejit.io.blocks.tiff_layout import TiffLayout
    from tilejit.io.file_names import State
    from tilejit.io.file_tags import FileTags
    from tilejit.io.gdal.environment import Environment
    from tilejit.io.gdal.rasterio_source import RasterioSource
    from tilejit.io.source import BandInfo, Source


class BlockSource:
    """A GeoTIFF that is read without GDAL; threads may read at the same time.

    What it is, GDAL has said; for its cells GDAL is never asked: what the decoder here knows to be damaged, GDAL may
    take for pixels (it looks at no checksum of DEFLATE).
    """

    reader = "read directly"
    """How blocks are read."""

    def __init__(self, source: RasterioSource, layout: TiffLayout) -> None:
        self.name: str = source.name
        """The path."""
        self.grid: Grid = source.grid
        """Where its cells lie."""
        self.bands: tuple[BandInfo, ...] = source.bands
        """All its bands."""
        self.tags: FileTags = source.tags
        """What it says beside its cells."""
        self.states: dict[str, State] = source.states
        """What tells each of its files from another of its name."""
        self.environment: Environment = source.environment
        """What held of ``rasterio.Env`` when it was opened."""
        self.block: tuple[int, int] = source.block
        """Rows and columns of its storage blocks."""
        self.block_bytes: int = max(source.block_bytes, layout.decoding_bytes)
        """Bytes that decoding one block takes, by either path."""
        self.stored_bytes: int | None = source.stored_bytes
        """The file's size."""
        self._gdal = source
        self._layout = layout
        self._keys = tuple(nodata_key(band.dtype, band.nodata) for band in self.bands)
        self._missing = [_missing_cell(source, layout, band) for band in self.bands]
        self._known = KnownBlocks(layout.block_bytes)
        self._lock = threading.Lock()
        self._local = threading.local()
        self._file: int | None = None
        self._descriptor()
        source.close()

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[Any, ...]]:
        from tilejit.io.gdal.rasterio_source import opened_within
        from tilejit.io.open_source import open_source

        return opened_within, (self.environment, open_source, self.name)

    def __repr__(self) -> str:
        return f"BlockSource({self.name!r})"

    def __del__(self) -> None:
        # A lazy Raster is dropped without being closed, at the end of Python too, where nothing is imported any more.
        # GDAL's handles close themselves.
        file: int | None = getattr(self, "_file", None)
        if file is not None:
            os.close(file)

    def read(
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None = None,
    ) -> None:
        """Read a window; see `Source.read`.

        Raises:
            ReadError: A block cannot be read; the message has the file, band, window, cause and block.
        """
        check_request(self, bands, window, out, valid)
        if window.is_empty or not bands:
            return
        try:
            for row, col, part in self._parts(window):
                place = (slice(None), *part.slices(window))
                self._read_part(bands, (row, col), part, out[place], None if valid is None else valid[place])
        except (CodecError, OSError) as error:
            numbers = ", ".join(map(str, bands))
            raise ReadError(f"{self.name}: cannot read band {numbers}, {window}: {error}") from error

    def reserve(self, threads: int) -> None:  # noqa: ARG002 - one open file serves any number
        """Open the file again if it was closed; threads share it."""
        check_unchanged(self.name, self.states)
        self._descriptor()

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        with self._lock:
            file, self._file = self._file, None
            self._local = threading.local()
        if file is not None:
            os.close(file)
        self._gdal.close()

    def _parts(self, window: Window) -> Iterator[tuple[int, int, Window]]:
        """Cuts a window along the blocks: the row and column of a block, and the part that lies in it."""
        height, width = self.block
        for row in range(window.row_off // height, -(-window.row_end // height)):
            for col in range(window.col_off // width, -(-window.col_end // width)):
                yield row, col, window.intersection(Window(row * height, col * width, height, width))

    def _read_part(
        self,
        bands: tuple[int, ...],
        block: tuple[int, int],
        part: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None,
    ) -> None:
        """Read what lies in one block, of every band."""
        layout = self._layout
        for i, band in enumerate(bands):
            plane, sample = (band - 1, 0) if layout.grid.planes > 1 else (0, band - 1)
            number = layout.grid.number(Place(plane, *block))
            flags = None if valid is None else valid[i]
            if layout.is_missing(number):
                self._store(band, np.broadcast_to(self._missing[band - 1], part.shape), out[i], flags)
                continue
            rows, cols = part.slices(Window(block[0] * self.block[0], block[1] * self.block[1], *self.block))
            try:
                cells = self._cells(number, layout.stored_shape(block[0]), rows)
            except (CodecError, OSError) as error:
                raise CodecError(f"block {number} (row {block[0]}, col {block[1]}): {error}") from error
            self._store(band, cells[:, cols, sample], out[i], flags)

    def _store(self, band: int, cells: NDArray[Any], out: NDArray[Any], valid: NDArray[np.uint8] | None) -> None:
        if is_constant(cells):
            one, sure = np.empty((1, 1), out.dtype), np.empty((1, 1), np.uint8)
            self._store(band, cells[:1, :1].copy(), one, sure)
            out[...] = one
            if valid is not None:
                valid[...] = sure
            return
        key = self._keys[band - 1]
        convert(cells, out)
        if out.dtype.kind == "f":
            blank(out, cells, key)
        elif valid is not None:
            flag(valid, cells, key)

    def _cells(self, number: int, stored: tuple[int, int, int], rows: slice) -> NDArray[Any]:
        """Rows of a block's cells, in this thread's own memory until it reads the next."""
        local, codec = self._local, self._layout.codec
        # What is not compressed need not be read whole.
        part = rows if codec.compression == "NONE" else slice(0, stored[0])
        key = number, part.start, part.stop
        if getattr(local, "key", None) != key:
            # Kept, because tiles that are smaller than blocks come one after the other, and so do a pixel's bands.
            local.key = None
            native = codec.dtype.newbyteorder("=")
            shape = part.stop - part.start, *stored[1:]
            size = shape[0] * shape[1] * shape[2] * native.itemsize
            local.block = _scratch(local, "cells", size).view(native).reshape(shape)
            if codec.compression == "NONE":
                self._read_plain(number, stored, part.start, local.block)
            else:
                data = self._stored(number)
                known = self._known.get(data, stored)
                if known is not None:
                    return known[rows]
                codec.decode(data, local.block)
                self._known.learn(data, local.block)
            local.key = key
        block: NDArray[Any] = local.block
        return block[rows.start - part.start : rows.stop - part.start]

    def _read_plain(self, number: int, stored: tuple[int, int, int], row: int, out: NDArray[Any]) -> None:
        """Read rows of a block that is not compressed, where they are wanted."""
        offset, count = int(self._layout.offsets[number]), int(self._layout.counts[number])
        row_bytes = out.nbytes // len(out)
        if count < stored[0] * row_bytes:
            raise CodecError(f"it is stored in {count:,} bytes, and holds {stored[0] * row_bytes:,}")
        if self.stored_bytes is not None and offset + count > self.stored_bytes:
            # Be the rows there or not.
            raise CodecError(f"the file ends at byte {self.stored_bytes:,}, and the block at {offset + count:,}")
        self._fill(out.reshape(-1).view(np.uint8), offset + row * row_bytes)
        if not self._layout.codec.dtype.isnative:
            out.byteswap(inplace=True)

    def _stored(self, number: int) -> NDArray[np.uint8]:
        """A block as stored."""
        data = _scratch(self._local, "stored", int(self._layout.counts[number]))
        self._fill(data, int(self._layout.offsets[number]))
        return data

    def _fill(self, data: NDArray[np.uint8], offset: int) -> None:
        """Read bytes. A mapped file would be a signal instead of an error where it has been cut short."""
        done = 0
        while done < data.size:
            got = os.preadv(self._descriptor(), [data[done:].data], offset + done)
            if got == 0:
                raise CodecError(f"the file ends {data.size - done:,} bytes before it, at byte {offset + done:,}")
            done += got

    def _descriptor(self) -> int:
        """The open file."""
        file = self._file
        if file is None:
            with self._lock:
                file = self._file = self._file if self._file is not None else self._open()
        return file

    def _open(self) -> int:
        """Opens the file, which is still the one that the source was made of."""
        try:
            file = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ReadError(f"{self.name}: cannot be opened again: {error.strerror}{open_files_hint(error)}") from error
        if identity_of(os.fstat(file)) != self.states.get(self.name):
            os.close(file)
            raise ReadError(f"{self.name}: it was written or replaced since it was opened: open it again")
        return file


def _missing_cell(source: RasterioSource, layout: TiffLayout, band: BandInfo) -> NDArray[Any]:
    """What GDAL gives for a cell of a block that is not stored: the nodata value as the band can hold it, or 0.

    rasterio says nothing of a nodata value that the band cannot hold, so GDAL is asked for a cell; it decodes nothing.
    """
    cell: NDArray[Any] = np.zeros((1, 1, 1), band.dtype)
    place = layout.first_missing(band.index)
    if place is not None:
        source.read((band.index,), Window(*place, 1, 1), cell)
        if cell.dtype.kind == "f" and np.isnan(cell) and band.nodata is not None:
            cell[...] = band.nodata
    return cell.reshape(1, 1)


def _scratch(local: threading.local, name: str, size: int) -> NDArray[np.uint8]:
    """This thread's own bytes, kept from block to block: fresh memory costs page faults."""
    buffer: NDArray[np.uint8] | None = getattr(local, name, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        setattr(local, name, buffer)
    return buffer[:size]
