"""A GeoTIFF whose blocks are read by offset and byte count, and decoded by the thread that wants them."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from math import prod
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import CodecError, ReadError
from tilejit.formats.cells import fill, nodata_key, scratch
from tilejit.formats.codecs.block_codec import BlockError
from tilejit.formats.files import OpenFile, check_unchanged
from tilejit.formats.gdal.rasterio_source import RasterioSource, open_rasterio
from tilejit.formats.geotiff.blocks import BlockRun, KnownBlocks, Place
from tilejit.formats.geotiff.local_file import LocalFile
from tilejit.formats.geotiff.tiff_directory import TiffLayout, read_layout
from tilejit.formats.shared_blocks import Held, SharedBlocks
from tilejit.formats.source import BandInfo, Source, check_request
from tilejit.kernel.nodata import is_constant
from tilejit.sizes import counted, format_size
from tilejit.window import Window

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tilejit.formats.gdal.remote import RemoteHandles
    from tilejit.grid import Grid

    Spans = NDArray[np.int64]  # (block, 2): the first byte of each, and how many there are

_GAP = 64  # bytes between two blocks that are read along with them: a COG has 8, which say how long blocks are
_memory = threading.local()  # what a thread needs to decode, whatever it reads


def open_file(path: str | os.PathLike[str]) -> Source:
    """Open a file with what reads it best: its blocks directly, or GDAL, whose storage says why; no pixel is read."""
    source = open_rasterio(path)
    try:
        layout = read_layout(source, source.driver)
        if not isinstance(layout, str):
            return BlockSource(source, layout)
    except BaseException:
        source.close()
        raise
    source.storage = replace(source.storage, reader=f"{source.storage.reader}: {layout}")
    return source


class BlockSource:
    """A GeoTIFF that is read without GDAL; threads may read at the same time.

    What it is, GDAL has said; for its cells GDAL is never asked: what the decoder here knows to be damaged, GDAL may
    take for pixels (it looks at no checksum of DEFLATE).
    """

    def __init__(self, source: RasterioSource, layout: TiffLayout) -> None:
        decoding = layout.decoding
        size = decoding.run_bytes + decoding.thread_bytes
        self.name: str = source.name
        self.grid: Grid = source.grid
        self.bands: tuple[BandInfo, ...] = source.bands
        self.block: tuple[int, int] = source.block
        reader = _reader(source, layout)
        self.storage = replace(source.storage, reader=reader, block_bytes=size, decoding=decoding)
        self._gdal = source
        self._layout, self._run, self._by_rows = layout, layout.run, decoding.by_rows
        self._keys = tuple(nodata_key(band.dtype, band.nodata) for band in self.bands)
        self._missing = [_missing_cell(source, layout, band) for band in self.bands]
        self._known = KnownBlocks(layout.block_bytes)
        self._shared = SharedBlocks()
        self._file = OpenFile[Any](methodcaller("close"))
        with self._file.held(self._open):
            source.close()

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[Any, ...]]:
        return self._gdal.environment.call, (open_file, self.name)

    def __repr__(self) -> str:
        return f"BlockSource({self.name!r})"

    def read(
        self, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None = None
    ) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        if window.is_empty or not bands:
            return
        try:
            for run, whole, part in self._runs(window):
                place = (slice(None), *part.slices(window))
                self._read_part(bands, run, part.slices(whole), out[place], None if valid is None else valid[place])
        except (CodecError, OSError) as error:
            numbers = ", ".join(map(str, bands))
            raise ReadError(f"{self.name}: cannot read band {numbers}, {window}: {error}") from error

    def ready(self, threads: int, blocks: int) -> None:
        """Open the file again if it was closed; threads share it. Each may decode a block at the same time."""
        check_unchanged(self.name, self.storage.files)
        # Windows that cut runs would fetch their blocks again: where blocks stay, there are more and smaller ones.
        self._run = self._layout.least_run if blocks else self._layout.run
        parts = -(-prod(self._layout.run) // prod(self._run))
        self._shared.resize((blocks or threads) * parts, keeps=bool(blocks))
        with self._file.held(self._open):
            pass

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        self._shared.clear()
        self._file.close()
        self._gdal.close()

    def _runs(self, window: Window) -> Iterator[tuple[BlockRun, Window, Window]]:
        """Cuts a window along the blocks: runs of blocks, their windows, and the part that lies in each."""
        (height, width), (down, across) = self.block, self._run
        row_end, col_end = -(-window.row_end // height), -(-window.col_end // width)
        row = window.row_off // height
        while row < row_end:
            rows = self._layout.alike(row, min(down, row_end - row))
            for col in range(window.col_off // width, col_end, across):
                run = BlockRun(row, col, rows, min(across, col_end - col))
                whole = run.window(self.block)
                yield run, whole, window.intersection(whole)
            row += rows

    def _read_part(
        self,
        bands: tuple[int, ...],
        run: BlockRun,
        place: tuple[slice, slice],
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None,
    ) -> None:
        """Read a part of one run of blocks, of every band."""
        layout = self._layout
        rows, cols = place
        for i, band in enumerate(bands):
            plane, sample = (band - 1, 0) if layout.grid.planes > 1 else (0, band - 1)
            number = layout.grid.number(Place(plane, run.row, run.col))
            flags = None if valid is None else valid[i]
            if layout.are_missing(number, run.count):
                self._store(band, np.broadcast_to(self._missing[band - 1], out.shape[1:]), out[i], flags)
                continue
            # What is not compressed need not be read whole.
            part = rows if self._by_rows else slice(0, run.rows * layout.grid.stored_rows(run.row))
            with self._shared.hold((number, run.count, part.start, part.stop)) as held:
                cells = held.cells if held.cells is not None else self._decode_into(held, number, run, part)
                here = cells[rows.start - part.start : rows.stop - part.start, cols, sample]
                self._store(band, here, out[i], flags)

    def _store(self, band: int, cells: NDArray[Any], out: NDArray[Any], valid: NDArray[np.uint8] | None) -> None:
        key = self._keys[band - 1]
        if not is_constant(cells):
            fill(out, valid, cells, key)
            return
        one, sure = np.empty((1, 1), out.dtype), np.empty((1, 1), np.uint8)
        fill(one, sure, cells[:1, :1].copy(), key)
        out[...] = one
        if valid is not None:
            valid[...] = sure

    def _decode_into(self, held: Held, number: int, run: BlockRun, part: slice) -> NDArray[Any]:
        """Decode some rows of a run of blocks, of which the first has a number."""
        _, width, samples = self._layout.stored_shape(run.row)
        native = self._layout.codec.dtype.newbyteorder("=")
        shape = part.stop - part.start, run.cols * width, samples
        memory = held.room(shape[0] * shape[1] * samples * native.itemsize)
        cells = self._decoded(number, run, part.start, memory.view(native).reshape(shape))
        self._shared.decoded(held, cells)
        return cells

    def _decoded(self, number: int, run: BlockRun, row: int, out: NDArray[Any]) -> NDArray[Any]:
        """Blocks from the file: in ``out``, or as a constant."""
        try:
            if self._by_rows:
                self._read_plain(number, self._layout.stored_shape(run.row), row, out)
            elif run.count == 1:
                return self._decode_block(number, out)
            else:
                self._decode_run(number, run, out)
        except (CodecError, OSError) as error:
            at = self._layout.grid.place(number + getattr(error, "number", 0))
            raise CodecError(f"block {self._layout.grid.number(at)} (row {at.row}, col {at.col}): {error}") from error
        return out

    def _decode_block(self, number: int, out: NDArray[Any]) -> NDArray[Any]:
        data = scratch(_memory, "stored", int(self._layout.counts[number]))
        self._fetch([(data, int(self._layout.offsets[number]))])
        known = self._known.get(data, out.shape)
        if known is not None:
            return known
        self._layout.codec.decode(data, out)
        self._known.learn(data, out)
        return out

    def _decode_run(self, number: int, run: BlockRun, out: NDArray[Any]) -> None:
        """Decode blocks one under the other, and put tiles beside each other."""
        data, spans = self._stored(slice(number, number + run.count))
        rows, cols, samples = len(out) // run.rows, out.shape[1] // run.cols, out.shape[2]
        stack = out if run.cols == 1 else scratch(_memory, "stack", out.nbytes).view(out.dtype)
        self._decode_stack(number, data, spans, stack.reshape(-1, cols, samples))
        if stack is not out:
            beside = stack.reshape(run.cols, rows, cols, samples).transpose(1, 0, 2, 3)
            np.copyto(out.reshape(rows, run.cols, cols, samples), beside)

    def _decode_stack(self, number: int, data: NDArray[np.uint8], spans: Spans, out: NDArray[Any]) -> None:
        """Decode blocks one under the other, of which some may not be stored."""
        codec, there = self._layout.codec, np.flatnonzero(spans[:, 1])
        if len(there) == len(spans):
            codec.decode_run(data, spans, out)
            return
        blocks = out.reshape(len(spans), -1, *out.shape[1:])
        found = np.empty((len(there), *blocks.shape[1:]), out.dtype)
        try:
            codec.decode_run(data, spans[there], found.reshape(-1, *out.shape[1:]))
        except BlockError as error:
            raise BlockError(str(error), int(there[error.number])) from error
        plane = self._layout.grid.place(number).plane
        missing = self._missing if self._layout.grid.planes == 1 else self._missing[plane : plane + 1]
        blocks[:] = np.concatenate(missing, axis=1)[0]
        blocks[there] = found

    def _read_plain(self, number: int, stored: tuple[int, int, int], row: int, out: NDArray[Any]) -> None:
        """Read rows of a block that is not compressed, where they are wanted."""
        offset, count = int(self._layout.offsets[number]), int(self._layout.counts[number])
        row_bytes, size = out.nbytes // len(out), self.storage.stored_bytes
        if count < stored[0] * row_bytes:
            raise CodecError(f"it is stored in {count:,} bytes, and holds {stored[0] * row_bytes:,}")
        if size is not None and offset + count > size:  # be the rows there or not
            raise CodecError(f"the file ends at byte {size:,}, and the block at {offset + count:,}")
        self._fetch([(out.reshape(-1).view(np.uint8), offset + row * row_bytes)])
        if not self._layout.codec.dtype.isnative:
            out.byteswap(inplace=True)

    def _stored(self, numbers: slice) -> tuple[NDArray[np.uint8], Spans]:
        """Blocks as stored, read as the pieces of the file that they lie in, and where each is in what was read."""
        offsets, counts = self._layout.offsets[numbers], self._layout.counts[numbers]
        gaps = offsets[1:] - (offsets[:-1] + counts[:-1])
        edges = [0, *(1 + np.flatnonzero((gaps < 0) | (gaps > _GAP))).tolist(), len(counts)]
        firsts, lasts = np.array(edges[:-1]), np.array(edges[1:]) - 1
        ends = np.cumsum(offsets[lasts] + counts[lasts] - offsets[firsts])
        data = scratch(_memory, "stored", int(ends[-1]))
        starts = [0, *ends.tolist()]
        places = np.repeat(np.array(starts[:-1]) - offsets[firsts], np.diff(edges))
        pairs = zip(pairwise(starts), offsets[firsts].tolist(), strict=True)
        self._fetch([(data[start:end], offset) for (start, end), offset in pairs])
        return data, np.stack((offsets + places, counts), axis=1)

    def _fetch(self, pieces: list[tuple[NDArray[np.uint8], int]]) -> None:
        """Read bytes, each from a place in the file on."""
        with self._file.held(self._open) as file:
            file.read(pieces)

    def _open(self) -> LocalFile | RemoteHandles:
        """Opens the file, which is still the one that the source was made of."""
        if self.storage.remote is None:
            return LocalFile(self.name, self.storage.files.get(self.name))
        try:
            file = self.storage.remote.open(anew=True)
        except CodecError as error:
            raise ReadError(f"{self.name}: cannot be opened again: {error}") from error
        if (file.size, file.state) != (self.storage.stored_bytes, self.storage.state):
            file.close()
            raise ReadError(f"{self.name}: it was written or replaced since it was opened: open it again")
        return file


def _reader(source: RasterioSource, layout: TiffLayout) -> str:
    """How it is read, for the plan."""
    remote = source.storage.remote
    if remote is None:
        return "read directly"
    most = counted(layout.run[0] * layout.run[1], "block")
    size = format_size(int(layout.counts.sum()))
    return f"fetched from {remote.host}, {most} by a request, one by each worker at once; all blocks are {size}"


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
