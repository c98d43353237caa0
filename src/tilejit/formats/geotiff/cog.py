"""A cloud-optimised GeoTIFF, made of a plain one that is complete: its overviews, and all blocks in the order of a COG.

The file is laid out as by GDAL's COG driver: the header, the ghost area that tells the layout, the directories with all
that they point to, then the blocks of the smallest level first and those of the raster last, row by row, each with its
size before it and its last four bytes again behind it (https://gdal.org/en/stable/drivers/raster/cog.html).
"""

from __future__ import annotations

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.append_file import CachedAppendFile, begin_writing, checked_end, write_all
from tilejit.formats.gdal.creation_options import is_auto, is_sparse, level_of, stored_dtype
from tilejit.formats.gdal.new_file import close_dataset, create_dataset
from tilejit.formats.geotiff.block_source import open_file
from tilejit.formats.geotiff.block_writer import BlockEncoder
from tilejit.formats.geotiff.blocks import BlockGrid
from tilejit.formats.geotiff.overviews import Halving, level_shapes
from tilejit.formats.geotiff.tiff_bytes import Directory, read_directory, written_directories
from tilejit.formats.geotiff.tiff_directory import read_skeleton
from tilejit.formats.source import make_ready
from tilejit.formats.target import temporary_of
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tilejit.formats.output import OutputFile
    from tilejit.formats.source import Source

_GHOST = "LAYOUT=IFDS_BEFORE_DATA\n{order}BLOCK_LEADER=SIZE_AS_UINT4\nBLOCK_TRAILER=LAST_4_BYTES_REPEATED\n"
_EDITION = "KNOWN_INCOMPATIBLE_EDITION=NO\n "
"""The last line: who changes the file without keeping this layout writes YES over the NO, and needs the blank."""
_ROW_MAJOR = "BLOCK_ORDER=ROW_MAJOR\n"
_TOLD = "GDAL_STRUCTURAL_METADATA_SIZE="
_LEADER = 4  # bytes before a block, and as many behind it
_COPIED = 1 << 23  # bytes of blocks that are copied together
_TOGETHER = 4  # blocks beside each other that are made together, so that what lies under two is decoded less often


def is_cog(path: Path) -> bool:
    """Whether a GeoTIFF begins as `make_cog` writes it."""
    with path.open("rb") as file:
        return _TOLD.encode() in file.read(64)


def make_cog(file: OutputFile, way: str, threads: int) -> None:
    """Replace a complete plain file by a COG, with overviews made in a way of `without_overviews`."""
    plain, target = file.temporary, file.target
    shapes = level_shapes(file.profile.grid.shape, file.block)
    levels = [plain, *(temporary_of(target) for _ in shapes)]
    result = temporary_of(target)
    try:
        for before, path, shape in zip(levels[:-1], levels[1:], shapes, strict=True):
            with closing(open_file(before)) as source:
                dtype, nodata = stored_dtype(file.profile.dtype), file.profile.nodata
                halving = Halving(way, source.grid.shape, dtype, nodata)
                make_ready(source, threads, 0 if halving.is_even else 4 * threads)
                _write_level(file, path, shape, functools.partial(_cells, source, halving), threads)
        _assemble(levels, result, threads, is_pixels=file.options.get("INTERLEAVE", "PIXEL").upper() == "PIXEL")
        result.replace(plain)
    finally:
        for path in (*levels[1:], result):
            path.unlink(missing_ok=True)


def _write_level(
    file: OutputFile, path: Path, shape: tuple[int, int], cells: Callable[[Window], NDArray[Any]], threads: int
) -> None:
    """Write a level as a plain GeoTIFF of its own."""
    profile = replace(file.profile, grid=replace(file.profile.grid, height=shape[0], width=shape[1]))
    close_dataset(create_dataset(profile, path, file.options | {"SPARSE_OK": "TRUE"}))
    skeleton = read_skeleton(path, level_of(file.options))
    blocks = BlockGrid(shape, file.block, tiled=True, planes=profile.count // skeleton.codec.samples)
    encoder = BlockEncoder(profile, blocks, skeleton.codec, sparse=is_sparse(file.options), auto=is_auto(file.options))
    offsets, counts = np.zeros(blocks.count, np.int64), np.zeros(blocks.count, np.int64)
    with closing(CachedAppendFile(path)) as out:

        def work(window: Window) -> None:
            for number, data in encoder.encode(window, cells(window)):
                stored = np.frombuffer(data, np.uint8)
                offsets[number], counts[number] = out.append(stored, skeleton.largest), stored.size

        _on_threads(work, _windows(blocks), threads)
        skeleton.enter(out.descriptor, offsets, counts)


def _windows(blocks: BlockGrid) -> Iterator[Window]:
    """The windows of a level that are made at once."""
    (rows, cols), (down, across) = blocks.block, blocks.blocks
    whole = Window(0, 0, *blocks.shape)
    for row in range(down):
        for col in range(0, across, _TOGETHER):
            yield Window(row * rows, col * cols, rows, _TOGETHER * cols).intersection(whole)


def _cells(source: Source, halving: Halving, window: Window) -> NDArray[Any]:
    begin, end = (window.row_off, window.col_off), (window.row_end, window.col_end)
    rows, cols = halving.covered(begin, end)
    covered = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
    bands = tuple(range(1, len(source.bands) + 1))
    cells = np.empty((len(bands), *covered.shape), source.bands[0].dtype)
    source.read(bands, covered, cells)
    return halving.make(cells, begin, end)


def _on_threads(work: Callable[[Any], None], parts: Iterable[Any], threads: int) -> None:
    """Do each part on some thread; after an error no other is begun."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="tilejit-overviews")
    try:
        for _ in pool.map(work, parts):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _assemble(levels: list[Path], result: Path, threads: int, *, is_pixels: bool) -> None:
    """Write a COG of plain GeoTIFFs, the raster first and then its overviews."""
    directories = [read_directory(path) for path in levels]
    first = directories[0]
    kept = [first, *(directory.as_overview() for directory in directories[1:])]
    head, places = written_directories(kept, _ghost(is_pixels=is_pixels))
    end, offsets = len(head), [np.zeros(0, np.int64)] * len(levels)
    for k in reversed(range(len(levels))):
        counts = directories[k].counts
        sizes = np.where(counts > 0, counts + 2 * _LEADER, 0)
        starts = end + np.cumsum(sizes) - sizes
        offsets[k] = np.where(counts > 0, starts + _LEADER, 0)
        end += int(sizes.sum())
    checked_end(end, 2**63 - 1 if first.is_big else 2**32 - 1)
    with result.open("xb", buffering=0) as out:
        write_all(out.fileno(), memoryview(head), 0)
        for directory, place, lie in zip(directories, places, offsets, strict=True):
            write_all(out.fileno(), memoryview(lie.astype(directory.offset_type).tobytes()), place[0])
            write_all(out.fileno(), memoryview(directory.counts.astype(directory.count_type).tobytes()), place[1])
        for directory, lie, path in zip(reversed(directories), reversed(offsets), reversed(levels), strict=True):
            with path.open("rb", buffering=0) as file:
                copy = functools.partial(_copy, file.fileno(), out.fileno(), directory, lie)
                _on_threads(copy, _portions(directory.counts), threads)


def _ghost(*, is_pixels: bool) -> bytes:
    """The ghost area; readers take ROW_MAJOR for blocks that hold all bands."""
    text = _GHOST.format(order=_ROW_MAJOR if is_pixels else "") + _EDITION
    return f"{_TOLD}{len(text):06d} bytes\n{text}".encode()


def _portions(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Blocks that are copied together, by their numbers."""
    portion = np.cumsum(counts) // _COPIED
    begins = [0, *(np.flatnonzero(np.diff(portion)) + 1).tolist(), len(counts)]
    return (slice(begin, end) for begin, end in itertools.pairwise(begins))


def _copy(descriptor: int, out: int, directory: Directory, offsets: NDArray[np.int64], numbers: slice) -> None:
    """Copy blocks whose places in the COG follow each other."""
    pieces = bytearray()
    order = directory.order
    begin = -1
    for old, new, size in zip(
        directory.offsets[numbers].tolist(), offsets[numbers].tolist(), directory.counts[numbers].tolist(), strict=True
    ):
        if not size:
            continue
        data = os.pread(descriptor, size, old)
        if len(data) != size:
            raise OSError(f"a block should have {size} bytes at {old}, and {len(data)} are there")
        begin = new - _LEADER if begin < 0 else begin
        pieces += size.to_bytes(_LEADER, order)
        pieces += data
        pieces += data[-_LEADER:]
    if pieces:
        write_all(out, memoryview(pieces), begin)
        begin_writing(out)
