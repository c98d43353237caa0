"""Many sources as one: each is read where it lies, and one cell is made of those that several have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.formats.cells import convert, nodata_key
from tilejit.formats.files import FileTags, check_unchanged, local_file, most
from tilejit.formats.joining.live_pieces import THREAD_BYTES, LivePieces, blocks_of
from tilejit.formats.registry import is_opened_by_name
from tilejit.formats.source import BandInfo, Source, SourceStorage, blank_of, check_request, storage_of
from tilejit.sizes import counted
from tilejit.system.identity import FileIdentity
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.formats.files import State
    from tilejit.grid import Grid

    Array = NDArray[Any]
    Flags = NDArray[np.bool_]

METHODS = ("first", "last", "min", "max", "mean", "median")
"""What is made of the cells that several pieces have."""
_WORDS = {"min": "the least", "max": "the greatest"} | {m: f"the {m}" for m in ("first", "last", "mean", "median")}
_BLOCK = 256, 256
_TILE_CELLS = 1 << 21  # cells of a tile, which the plan takes at most
_MOST_STACKED = 1 << 22  # cells of all pieces that a median is made of at a time


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """One source of a mosaic."""

    source: Source  # its cells fall on the mosaic's
    window: Window  # where it lies on the mosaic's grid, and perhaps beyond
    numbers: tuple[int, ...]  # the band that each of the mosaic's bands takes


@dataclass(frozen=True, eq=False, slots=True)
class MosaicSource:
    """The cells of many sources on one grid; their order decides where several have one.

    Each cell is made of the cells of the pieces at that place, one after the other, so that windows make no difference.

    Example:
        >>> from tilejit.formats.in_memory import ArraySource
        >>> from tilejit.grid import Grid
        >>> left, right = (ArraySource.of(np.float32([cells])) for cells in ([1, np.nan], [8, 9]))
        >>> pieces = [Piece(left, Window(0, 0, 1, 2), (1,)), Piece(right, Window(0, 1, 1, 2), (1,))]
        >>> out = np.empty((1, 1, 3), np.float32)
        >>> MosaicSource.of(pieces, Grid(1, 3), "first").read((1,), Window(0, 0, 1, 3), out)
        >>> out.tolist()
        [[[1.0, 8.0, 9.0]]]
    """

    pieces: tuple[Piece, ...]
    grid: Grid
    method: str  # one of `METHODS`
    bands: tuple[BandInfo, ...]
    storage: SourceStorage
    windows: NDArray[np.int64]  # (piece, 4): first row, row after the last, first column, column after the last
    block: tuple[int, int] = _BLOCK
    live: LivePieces = field(default_factory=LivePieces)  # those that are held

    @classmethod
    def of(cls, pieces: Sequence[Piece], grid: Grid, method: str) -> MosaicSource:
        """Makes it of one piece or more; nothing is read."""
        places = (piece.window for piece in pieces)
        windows = np.array([(w.row_off, w.row_end, w.col_off, w.col_end) for w in places], np.int64)
        bands = _bands(pieces, method, is_covered=_is_covered(windows, grid.shape))
        return cls(tuple(pieces), grid, method, bands, _storage(pieces, method, grid), windows)

    def __reduce__(self) -> tuple[Callable[..., MosaicSource], tuple[Any, ...]]:
        states = {file: state for file, state in self.storage.files.items() if state is not None}
        folders = {file: FileIdentity.of((local_file(file) or Path(file)).parent) for file in states}
        return _opened, (self.pieces, self.grid, self.method, states, folders)

    @property
    def name(self) -> str:
        """What messages call it."""
        count = len(self.pieces)
        return self.pieces[0].source.name if count == 1 else f"mosaic of {count} rasters"

    def read(self, bands: tuple[int, ...], window: Window, out: Array, valid: Array | None = None) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        near = self._near(window)
        if self.method in {"mean", "median"}:
            found = self._averaged(bands, window, near, out)
        elif self.method in {"min", "max"}:
            found = self._least(bands, window, near, out)
        else:
            found = self._filled(bands, window, near[:: -1 if self.method == "last" else 1], out)
        for k, band in enumerate(bands):
            if not found[k].all():
                out[k][~found[k]] = blank_of(self.bands[band - 1], out.dtype)
        if valid is not None:
            np.copyto(valid, found)

    def ready(self, threads: int, blocks: int) -> None:
        """Make ready for a run: files are opened where they are needed; see `make_ready`."""
        del blocks
        self.live.resize(threads)

    def close(self) -> None:
        """Let go of files."""
        self.live.clear()

    def _near(self, window: Window) -> list[int]:
        """The numbers of pieces that meet a window."""
        top, bottom, left, right = self.windows.T
        meets = (top < window.row_end) & (bottom > window.row_off) & (left < window.col_end) & (right > window.col_off)
        return np.flatnonzero(meets).tolist()

    def _read(self, number: int, bands: tuple[int, ...], part: Window, out: Array) -> Flags:
        """Read a part of the mosaic, all of which a piece has; returns where it holds data."""
        piece = self.pieces[number]
        numbers = tuple(piece.numbers[band - 1] for band in bands)
        valid = None if out.dtype.kind == "f" else np.empty(out.shape, np.uint8)
        with self.live.held(piece.source):
            piece.source.read(numbers, part.shifted(-piece.window.row_off, -piece.window.col_off), out, valid)
        return ~np.isnan(out) if valid is None else valid.view(np.bool_)

    def _filled(self, bands: tuple[int, ...], window: Window, near: Sequence[int], out: Array) -> Flags:
        """The first of each cell that holds data; a piece is read only where others have left holes."""
        found = np.zeros((len(bands), *window.shape), np.bool_)
        for number in near:
            part = _holes(found, window, self.pieces[number].window.intersection(window))
            if part.is_empty:
                continue
            place = (slice(None), *part.slices(window))
            done = found[place]
            if not done.any():
                done[...] = self._read(number, bands, part, out[place])
                continue
            cells = np.empty(done.shape, out.dtype)
            new = self._read(number, bands, part, cells) & ~done
            np.copyto(out[place], cells, where=new)
            done |= new
        return found

    def _each(
        self, bands: tuple[int, ...], window: Window, near: Sequence[int], dtype: np.dtype[Any]
    ) -> Iterator[tuple[tuple[slice, ...], Array, Flags]]:
        """The pieces of a window one after the other: place, cells, and where they hold data."""
        for number in near:
            part = self.pieces[number].window.intersection(window)
            cells = np.empty((len(bands), *part.shape), dtype)
            yield (slice(None), *part.slices(window)), cells, self._read(number, bands, part, cells)

    def _least(self, bands: tuple[int, ...], window: Window, near: Sequence[int], out: Array) -> Flags:
        """The least of each cell, or the greatest; of equal ones the first."""
        found = np.zeros((len(bands), *window.shape), np.bool_)
        for place, cells, new in self._each(bands, window, near, out.dtype):
            target, done = out[place], found[place]
            with np.errstate(invalid="ignore"):
                is_better = cells < target if self.method == "min" else cells > target
            np.copyto(target, cells, where=new & (~done | is_better))
            done |= new
        return found

    def _averaged(self, bands: tuple[int, ...], window: Window, near: Sequence[int], out: Array) -> Flags:
        """The mean or the median of each cell, of float64, rounded once."""
        found = np.empty((len(bands), *window.shape), np.bool_)
        whole = Window(0, 0, *window.shape)
        for rows in _strips(window, len(bands) * max(1, len(near))):
            place = (slice(None), *rows.shifted(-window.row_off, -window.col_off).slices(whole))
            values = (_mean if self.method == "mean" else _median)(
                self._each(bands, rows, self._near(rows), np.dtype(np.float64)), (len(bands), *rows.shape)
            )
            found[place] = ~np.isnan(values)
            for cells, target, band in zip(values, out[place], bands, strict=True):
                convert(cells.astype(self.bands[band - 1].dtype), target)
        return found


def _opened(
    pieces: Sequence[Piece], grid: Grid, method: str, states: Mapping[str, State], folders: Mapping[str, FileIdentity]
) -> MosaicSource:
    """A mosaic in another process, whose files must be what they were; workers elsewhere may have copies."""
    made = MosaicSource.of(pieces, grid, method)
    check_unchanged(made.name, {file: state for file, state in states.items() if folders[file].is_seen()})
    return made


def _mean(parts: Iterator[tuple[tuple[slice, ...], Array, Flags]], shape: tuple[int, ...]) -> Array:
    total, count = np.zeros(shape), np.zeros(shape, np.int32)
    for place, cells, valid in parts:
        np.add(total[place], cells, out=total[place], where=valid)
        count[place] += valid
    with np.errstate(invalid="ignore"):
        return total / count


def _median(parts: Iterator[tuple[tuple[slice, ...], Array, Flags]], shape: tuple[int, ...]) -> Array:
    """The middle one, or the mean of both that are, as `numpy.nanmedian`."""
    layers = []
    for place, cells, _ in parts:
        layer = np.full(shape, np.nan)
        layer[place] = cells
        layers.append(layer)
    if not layers:
        return np.full(shape, np.nan)
    ranked = np.sort(np.stack(layers), axis=0)  # NaN last
    count = np.count_nonzero(~np.isnan(ranked), axis=0)[np.newaxis]
    low, high = (np.take_along_axis(ranked, np.maximum(at, 0), axis=0)[0] for at in ((count - 1) // 2, count // 2))
    middle: Array = np.where(low == high, low, (low + high) / 2)
    return middle


def _strips(window: Window, layers: int) -> Iterator[Window]:
    """A window in strips of rows of which all layers are few enough."""
    rows = max(1, _MOST_STACKED // (layers * max(1, window.width)))
    for row in range(window.row_off, window.row_end, rows):
        yield Window(row, window.col_off, min(rows, window.row_end - row), window.width)


def _holes(found: Flags, window: Window, part: Window) -> Window:
    """The least part that holds all cells of a part that are not found yet."""
    if part.is_empty:
        return part
    rows, cols = part.slices(window)
    left = ~found[:, rows, cols]
    if left.all():
        return part
    down, across = np.flatnonzero(left.any(axis=(0, 2))), np.flatnonzero(left.any(axis=(0, 1)))
    if not down.size:
        return Window(0, 0, 0, 0)
    (top, bottom), (first, last) = ((int(at[0]), int(at[-1]) + 1) for at in (down, across))
    return Window(part.row_off + top, part.col_off + first, bottom - top, last - first)


def _is_covered(windows: NDArray[np.int64], shape: tuple[int, int]) -> bool:
    """Whether every cell lies in some piece; where that would take long to tell, it is not said."""
    (height, width), (top, bottom, left, right) = shape, windows.T
    rows = np.unique(np.clip(np.concatenate([top, bottom, [0, height]]), 0, height))
    cols = np.unique(np.clip(np.concatenate([left, right, [0, width]]), 0, width))
    if rows.size * cols.size > 1 << 24:
        return False
    seen = np.zeros((rows.size - 1, cols.size - 1), np.bool_)
    places = [np.searchsorted(rows, (top, bottom)), np.searchsorted(cols, (left, right))]
    for (first, last), (start, stop) in zip(places[0].T.tolist(), places[1].T.tolist(), strict=True):
        seen[first:last, start:stop] = True
    return bool(seen.all())


def _bands(pieces: Sequence[Piece], method: str, *, is_covered: bool) -> tuple[BandInfo, ...]:
    """What is known of the bands: the type that holds all of theirs, and the nodata value that they agree on.

    Where integers do not agree on one, or leave gaps and have none, a mask says which cells hold data.
    """
    columns = list(zip(*([p.source.bands[n - 1] for n in p.numbers] for p in pieces), strict=True))
    dtypes = [_dtype([band.dtype for band in column], method) for column in columns]
    has_mask = any(
        dtype.kind != "f" and _is_apart(column, dtype, is_covered=is_covered)
        for column, dtype in zip(columns, dtypes, strict=True)
    )
    return tuple(
        replace(
            column[0],
            index=number,
            dtype=dtype,
            nodata=next((band.nodata for band in column if nodata_key(dtype, band.nodata) is not None), None),
            has_mask=has_mask,
        )
        for number, (column, dtype) in enumerate(zip(columns, dtypes, strict=True), 1)
    )


def _dtype(dtypes: Sequence[np.dtype[Any]], method: str) -> np.dtype[Any]:
    dtype = np.result_type(*(np.uint8 if dtype.kind == "b" else dtype for dtype in set(dtypes))).newbyteorder("=")
    return np.promote_types(dtype, np.float32) if method in {"mean", "median"} or dtype == np.float16 else dtype


def _is_apart(column: Sequence[BandInfo], dtype: np.dtype[Any], *, is_covered: bool) -> bool:
    keys = {None if band.has_mask else nodata_key(dtype, band.nodata) for band in column}
    return any(band.has_mask for band in column) or len(keys) > 1 or (keys == {None} and not is_covered)


def _storage(pieces: Sequence[Piece], method: str, grid: Grid) -> SourceStorage:
    told = [storage_of(piece.source) for piece in pieces]
    sizes = [one.stored_bytes for one in told]
    kinds = Counter("warped" if "warped" in one.reader else "as they lie" for one in told)
    kinds_text = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    tile = min(_TILE_CELLS, grid.height * grid.width) * len(pieces[0].numbers)
    itemsize = max(band.dtype.itemsize for piece in pieces for band in piece.source.bands) + 2
    averaging = 32 * _MOST_STACKED if method in {"mean", "median"} else 0
    kept = min(THREAD_BYTES, sum(blocks_of(piece.source)[1] for piece in pieces))
    size = kept + max(one.block_bytes for one in told) + tile * itemsize + averaging
    tags = tuple(band.without_statistics() for band in told[0].tags.bands)
    keeps = method in {"first", "last", "min", "max"} and len(tags) >= max(pieces[0].numbers)
    return SourceStorage(
        f"each cell {_WORDS[method]} of those that hold data; {counted(len(pieces), 'raster')}, {kinds_text}, read "
        f"where they are needed, at most {min(len(pieces), most())} open at once",
        block_bytes=size,
        stored_bytes=sum(each for each in sizes if each is not None) if None not in sizes else None,
        tags=FileTags({}, tuple(tags[number - 1] for number in pieces[0].numbers)) if keeps else FileTags(),
        files=dict(chain.from_iterable(one.files.items() for one in told)),
        identity=f"{method} of {', '.join(map(_identity, pieces))}",
        is_value=all(storage_of(piece.source).is_value or is_opened_by_name(piece.source) for piece in pieces),
    )


def _identity(piece: Piece) -> str:
    return f"{piece.source.name} {piece.numbers} at {piece.window} {storage_of(piece.source).identity}"
