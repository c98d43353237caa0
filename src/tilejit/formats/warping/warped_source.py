"""A source on another grid: its cells are made when they are read, and are the same whatever windows are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit.native_function import NativeFunction
from tilejit.errors import ParameterError
from tilejit.formats.cells import convert, nodata_key, set_nan
from tilejit.formats.files import FileTags
from tilejit.formats.source import (
    BandInfo,
    Source,
    SourceStorage,
    blank_of,
    check_request,
    kept_blocks,
    make_ready,
    storage_of,
)
from tilejit.formats.warping.lattice import BLOCK, Lattice
from tilejit.formats.warping.mapping import Mapping, Relation
from tilejit.formats.warping.memory import memory, own_memory
from tilejit.grid import Grid, crs_name
from tilejit.window import Window, tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tilejit.formats.warping.resampling import Resampling

    Array = NDArray[Any]

_PLACES, _POINTS, _AREAS = (Path(__file__).with_name(f"{name}_loops.py") for name in ("place", "warp", "area"))
_MOST_CELLS = 1 << 22
"""Cells of a source that are read at a time, where a part of the output can be so small."""
_MOST_SPAN = 4096.0
"""Cells of a source that one of the output may span, down and across."""
_U8, _I64, _F64 = np.dtype(np.uint8), np.dtype(np.int64), np.dtype(np.float64)


@dataclass(frozen=True, slots=True)
class Place:
    """What a part of the output is made of."""

    window: Window  # the part
    cells: Window  # cells of the source, whose columns may go on beyond its last one around the world; empty for none


@dataclass(frozen=True, eq=False, slots=True)
class WarpedSource:
    """The cells of a source on another grid.

    Example:
        >>> from tilejit.formats.in_memory import ArraySource
        >>> from tilejit.formats.warping.resampling import resampling_of
        >>> source = ArraySource.of(np.float32([[1, 3], [5, 7]]))
        >>> coarse = WarpedSource.of(source, Grid(1, 1, (2.0, 0.0, 0.0, 0.0, 2.0, 0.0)), resampling_of("average"))
        >>> out = np.empty((1, 1, 1), np.float32)
        >>> coarse.read((1,), Window(0, 0, 1, 1), out)
        >>> out.tolist()
        [[[4.0]]]
    """

    source: Source  # what is warped
    grid: Grid
    resampling: Resampling
    relation: Relation
    lattice: Lattice
    bands: tuple[BandInfo, ...]
    storage: SourceStorage

    @classmethod
    def of(cls, source: Source, grid: Grid, resampling: Resampling) -> WarpedSource:
        """Makes it; nothing is read.

        Raises:
            GridMismatchError: The source does not lie on the grid, or one of both has no CRS.
            ParameterError: A cell would be made of very many.
        """
        mapping = Mapping(grid, source.grid)
        relation = mapping.relation(source.name)
        if max(relation.rows_per_row, relation.cols_per_col) > _MOST_SPAN:
            raise ParameterError(
                f"{source.name}: a cell of the grid would be made of {relation.rows_per_row:g} x "
                f"{relation.cols_per_col:g} cells, and {_MOST_SPAN:g} x {_MOST_SPAN:g} are the most: warp it to a "
                "finer grid, as grid.zoom_out(1/16), save that, and warp it again"
            )
        bands = tuple(_warped_band(band, resampling) for band in source.bands)
        lattice, storage = Lattice(mapping, edges=resampling.is_area), _storage(source, resampling, relation)
        return cls(source, grid, resampling, relation, lattice, bands, storage)

    @property
    def name(self) -> str:
        """What messages call it: the source's."""
        return self.source.name

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns whose places come from one block of the lattice."""
        return BLOCK, BLOCK

    @property
    def made_of(self) -> tuple[Source, Callable[[Source], Source]]:
        """The source, and what makes this of it in another process; see `tilejit.formats.source.made_of`."""
        return self.source, partial(WarpedSource.of, grid=self.grid, resampling=self.resampling)

    def __reduce__(self) -> tuple[Callable[..., Source], tuple[Source]]:
        source, make = self.made_of
        return make, (source,)

    def read(self, bands: tuple[int, ...], window: Window, out: Array, valid: Array | None = None) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        with own_memory():
            for place in self._places(window):
                rows, cols = place.window.slices(window)
                flags = None if valid is None else valid[:, rows, cols]
                if place.cells.is_empty:
                    for k, band in enumerate(bands):
                        _fill_blank(self.bands[band - 1], out[k, rows, cols], None if flags is None else flags[k])
                else:
                    self._make(bands, place, out[:, rows, cols], flags)

    def ready(self, threads: int, blocks: int) -> None:
        """Make ready for a run; see `make_ready`. Decoded blocks are kept, for tiles have them in common."""
        del blocks
        make_ready(self.source, threads, threads * kept_blocks(storage_of(self.source)))

    def close(self) -> None:
        """Let go of the file."""
        self.lattice.clear()
        self.source.close()

    def _places(self, window: Window) -> Iterator[Place]:
        """Cuts a window until each part needs few cells of the source at once; mostly it need not be cut."""
        cells = self._cells_of(window)
        if cells.height * cells.width <= _MOST_CELLS or window.height == window.width == 1:
            yield Place(window, cells)
            return
        for part in _halves(window):
            yield from self._places(part)

    def _blocks(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """The parts of a window by blocks of the lattice, each with its whole block."""
        top, left = window.row_off // BLOCK * BLOCK, window.col_off // BLOCK * BLOCK
        for block in tiles(window.row_end - top, window.col_end - left, BLOCK, BLOCK):
            whole = Window(top + block.row_off, left + block.col_off, BLOCK, BLOCK)
            yield whole.intersection(window), whole

    def _span(self, part: Window, block: Window) -> tuple[Array, float]:
        """The least and the greatest column and row at a part of a block, and where its columns begin.

        (2, 2): columns first. NaN where it has no place in the source's CRS.
        """
        found = self.lattice.block(block.row_off // BLOCK, block.col_off // BLOCK)
        nodes = found.part(part.shifted(-block.row_off, -block.col_off))
        if np.isnan(nodes).all():
            return np.full((2, 2), np.nan), 0.0
        span = np.array((np.nanmin(nodes, axis=(1, 2)), np.nanmax(nodes, axis=(1, 2)))).T
        mapping = self.lattice.mapping
        period = mapping.period
        if not period:
            return span, 0.0
        start = (self.source.grid.width - period) / 2
        turns = np.floor((span[0] - start) / period)
        if turns[0] == turns[1]:
            span[0] -= turns[0] * period
        elif mapping.wraps and span[0, 1] - span[0, 0] < period:
            span[0] -= turns[0] * period
            return span, float(np.floor(span[0, 0]))
        else:
            span[0] = start, start + period
        return span, start

    def _cells_of(self, window: Window) -> Window:
        """The cells of the source that a window is made of."""
        spans = np.array([self._span(part, block)[0] for part, block in self._blocks(window)])
        if np.isnan(spans).all():
            return Window(0, 0, 0, 0)
        left, top = np.floor(np.nanmin(spans[:, :, 0], axis=0)).tolist()
        right, bottom = np.ceil(np.nanmax(spans[:, :, 1], axis=0)).tolist()
        rows, cols = self.resampling.margin(self.relation)
        grid = self.source.grid
        top, bottom = max(0, int(top) - rows), min(grid.height, int(bottom) + rows)
        left, right = int(left) - cols, int(right) + cols
        if not self.lattice.mapping.wraps:
            left, right = max(0, left), min(grid.width, right)
        if top >= bottom or left >= right:
            return Window(0, 0, 0, 0)
        return Window(top, left, bottom - top, right - left)

    def _make(self, bands: tuple[int, ...], place: Place, out: Array, valid: Array | None) -> None:
        """Make the cells of a part of the output, band by band."""
        for k, number in enumerate(bands):
            band, flags = self.source.bands[number - 1], None if valid is None else valid[k]
            dtype, made_band = self.resampling.working_dtype(band.dtype), self.bands[number - 1]
            blank = blank_of(made_band, made_band.dtype)
            is_apart = dtype.kind != "f"  # whether validity is told beside the cells, and not by NaN
            cells = memory("cells", place.cells.height * place.cells.width, dtype)
            mask = memory("mask", cells.size if is_apart and band.may_be_invalid else 0, _U8)
            self._read_around(number, place.cells, cells, mask)
            made = memory("made", out[k].size, dtype)
            known = memory("known", made.size if is_apart else 0, _U8)
            for part, block in self._blocks(place.window):
                self._run(part, block, place, (cells, mask, made, known), blank if is_apart else np.nan)
            _hand_over(made.reshape(out[k].shape), known, blank, out[k], flags)

    def _read_around(self, number: int, cells: Window, out: Array, mask: Array) -> None:
        """Read cells of one band, around the world where they go on beyond its last column."""
        width, left = self.source.grid.width, cells.col_off
        out, mask = out.reshape(1, *cells.shape), mask.reshape(1, cells.height, -1)
        while left < cells.col_end:
            col = left % width
            count = min(cells.col_end - left, width - col)
            to = slice(left - cells.col_off, left - cells.col_off + count)
            part = Window(cells.row_off, col, cells.height, count)
            self.source.read((number,), part, out[:, :, to], mask[:, :, to] if mask.size else None)
            left += count

    def _run(self, part: Window, block: Window, place: Place, arrays: tuple[Array, ...], blank: Any) -> None:
        """Have compiled loops make the part of a block."""
        mapping, (cells, mask, made, known) = self.lattice.mapping, arrays
        lattice = self.lattice.block(block.row_off // BLOCK, block.col_off // BLOCK)
        _, start = self._span(part, block)
        grid, window = self.source.grid, place.window
        ends = (-math.inf, math.inf) if mapping.wraps else (0.0, float(grid.width))
        torn = [_TORN * max(1.0, n) for n in (self.relation.cols_per_col, self.relation.rows_per_row)]
        limits = np.array([start, mapping.period, *ends, grid.height, *torn])
        frame = np.array([place.cells.row_off, place.cells.col_off, place.cells.width], np.int64)
        first = (part.row_off - window.row_off) * window.width + part.col_off - window.col_off
        inner = part.shifted(-block.row_off, -block.col_off)
        shape = np.array([inner.row_off, inner.col_off, *part.shape, first, window.width], np.int64)
        size = max(part.width + 1, lattice.nodes.shape[2])
        places = memory("places", 5 * size, _F64).reshape(5, size)
        at = frame, limits, lattice.nodes, lattice.per_cell, shape, places
        _resample(self.resampling, self.relation, (cells, mask, made, known), at, np.array([blank], made.dtype))


def _resample(
    resampling: Resampling, relation: Relation, arrays: tuple[Array, ...], at: tuple[Any, ...], blank: Array
) -> None:
    cells, mask, made, known = arrays
    if resampling.name == "nearest":
        bits = f"u{cells.itemsize}"  # which is all that a copy needs: one loop for all types of a size
        loop("nearest")(cells.view(bits), mask, *at, blank.view(bits), made.view(bits), known)
    elif resampling.is_area:
        values, shares = memory("values", cells.size, cells.dtype), memory("shares", cells.size, _F64)
        turned = int(relation.turned)
        loop("reduced")(cells, mask, *at, resampling.number, turned, values, shares, blank, made, known)
    else:
        scales, width = resampling.scales(relation), at[-1].shape[1]
        if resampling.name == "bilinear" and scales[:2] == (1.0, 1.0):
            weights = memory("weights", 2 * width, cells.dtype).reshape(2, width)
            loop("bilinear")(cells, *at, weights, memory("at", width, _I64), made)
        else:
            count = scales[2] + scales[3] + 3
            taps = memory("taps", count * width, _F64).reshape(count, width)
            places = memory("at", width, _I64)
            loop("filtered")(cells, *at, resampling.number, np.array(scales, np.float64), taps, places, made)


_TORN = 1e4
"""How many times as wide as it should be a cell's extent in the source is where that is torn: at a map's end."""


def loop(name: str) -> NativeFunction:
    """A function of `tilejit.formats.warping.warp_loops`, or of `area_loops`, as machine code."""
    return NativeFunction.of_loops(_AREAS if name == "reduced" else _POINTS, name, _PLACES)


def _halves(window: Window) -> tuple[Window, Window]:
    """A window cut across its longer side, between blocks of the lattice where there are several."""
    rows, cols = window.shape
    size = max(rows, cols)
    half = size // 2 if size <= BLOCK else max(BLOCK, size // 2 // BLOCK * BLOCK)
    if rows >= cols:
        return replace(window, height=half), replace(window, row_off=window.row_off + half, height=rows - half)
    return replace(window, width=half), replace(window, col_off=window.col_off + half, width=cols - half)


def _warped_band(band: BandInfo, resampling: Resampling) -> BandInfo:
    """What is known of a band then: beyond the source there is nodata, for which integers have a value or a mask."""
    dtype = resampling.dtype(band.dtype)
    nodata = band.nodata if dtype.kind == band.dtype.kind else None
    has_mask = dtype.kind != "f" and (band.has_mask or nodata_key(dtype, nodata) is None)
    return replace(band, dtype=dtype, nodata=nodata, has_mask=has_mask)


def _fill_blank(band: BandInfo, out: Array, valid: Array | None) -> None:
    out[...] = blank_of(band, out.dtype)
    if valid is not None:
        valid[...] = 0


def _hand_over(made: Array, known: Array, blank: Any, out: Array, valid: Array | None) -> None:
    """Convert cells into what was asked for, with NaN or a flag of 0 where there is no data."""
    convert(made, out)
    if known.size:
        known = known.reshape(out.shape)
        if out.dtype.kind == "f":
            set_nan(out, known, np.uint8(0))
    elif out.dtype.kind != "f":
        known = ~np.isnan(made)
        if blank == blank:  # noqa: PLR0124 - no NaN
            np.copyto(out, blank, where=~known, casting="unsafe")
    if valid is not None and out.dtype.kind != "f":
        np.copyto(valid, known)


def _storage(source: Source, resampling: Resampling, relation: Relation) -> SourceStorage:
    """How it is stored: as the source, with what a thread takes to warp."""
    told, decoding = storage_of(source), storage_of(source).decoding
    kept = 0 if decoding is None else kept_blocks(told) * decoding.run_bytes + decoding.thread_bytes
    itemsize = max(resampling.working_dtype(band.dtype).itemsize for band in source.bands)
    cells = _MOST_CELLS * (itemsize + (itemsize + 8 if resampling.is_area else 1))
    size = "{} x {} cells".format(*source.grid.shape)
    ratio = f"{relation.rows_per_row:.3g} x {relation.cols_per_col:.3g} of them to one"
    reader = (
        f"warped ({resampling.name}) from {size}, {crs_name(source.grid.crs)}, {ratio}; {relation.share:.0%} of it is "
        f"read, {told.reader}"
    )
    tags = FileTags({}, tuple(band.without_statistics() for band in told.tags.bands))
    return replace(
        told,
        reader=reader,
        block_bytes=max(told.block_bytes, kept) + cells,
        decoding=None,
        tags=tags if resampling.keeps_values else FileTags(),
        identity=f"{told.identity} by {resampling.name}",
    )
