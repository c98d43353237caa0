"""A source is what windows are read from: its contract, the nodata pass, and the source over an array."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilejit.compiler.kinds import is_real
from tilejit.errors import ReadError, SourceError
from tilejit.formats.file_tags import FileTags
from tilejit.grid import Grid
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tilejit.formats.file_names import State
    from tilejit.formats.gdal.environment import Environment

CHUNK_CELLS = 1 << 16
"""Cells per step of a pass over cells: 64 K cells and their flags stay in a core's second cache."""


@dataclass(frozen=True, slots=True)
class BandInfo:
    """What is known of one band without reading it."""

    index: int
    """Its number, from 1."""
    dtype: np.dtype[Any]
    """The type that it is stored in."""
    nodata: float | None = None
    """The value that marks a cell without data; an int where the type is an integer."""
    description: str | None = None
    """What the file calls it."""
    unit: str | None = None
    """The unit of its values."""
    has_mask: bool = False
    """Whether a mask or an alpha band, and not the nodata value, says which cells hold data."""
    scale: float = 1.0
    """What a cell is to be multiplied by."""
    offset: float = 0.0
    """What is to be added then."""

    @property
    def is_scaled(self) -> bool:
        """Whether its cells are counts, and its values others."""
        return (self.scale, self.offset) != (1.0, 0.0)

    @property
    def may_be_invalid(self) -> bool:
        """Whether a cell may be without data."""
        return self.has_mask or self.nodata is not None or self.dtype.kind == "f"


@dataclass(frozen=True, slots=True)
class Decoding:
    """What decoding takes where threads share decoded blocks, so that tiles may cut them."""

    run: tuple[int, int]
    """Rows and columns that are decoded together: a block, or a run of small ones."""
    run_bytes: int
    """Bytes of them, decoded."""
    thread_bytes: int
    """Bytes that each thread takes beside: for blocks as stored, and between two codings."""
    is_apart: bool
    """Whether each band has blocks of its own."""
    by_rows: bool
    """Whether rows are read alone, for nothing is decoded."""
    is_compiled: bool
    """Whether a part of the decoder is compiled by Numba: a predictor, LZW."""


@dataclass(frozen=True, slots=True)
class SourceStorage:
    """How a source is stored: what a plan says of it, and what copies take along."""

    reader: str = "by its own reader"
    """How it is read, for the plan: ``read directly``, ``through GDAL: its blocks are JPEG``."""
    block_bytes: int = 0
    """Bytes that decoding one block takes, with all bands that are stored in it; 0 where nothing is decoded."""
    stored_bytes: int | None = None
    """The file's size where it is known."""
    decoding: Decoding | None = None
    """What decoding takes where threads share decoded blocks; None where they do not."""
    tags: FileTags = field(default_factory=FileTags)
    """What the file says beside its cells."""
    files: Mapping[str, State | None] = field(default_factory=dict)
    """Its files, and what tells each of them from another of its name; None of one that is not local."""
    environment: Environment | None = None
    """What held of ``rasterio.Env`` when it was opened by its name; None where no other process can open it so."""


def storage_of(source: Source) -> SourceStorage:
    """Returns how a source is stored: its member ``storage``, or the defaults where it has none."""
    storage: SourceStorage = getattr(source, "storage", SourceStorage())
    return storage


def make_ready(source: Source, threads: int, blocks: int = 0) -> None:
    """Make a source ready for a run: by its method ``ready(threads, blocks)``, where it has one.

    Opening a file silences Python's warnings for a moment, which is done for the whole process and must not happen in
    two threads at once: it would leave the host's filters changed.

    Args:
        source: The source.
        threads: How many new threads will read.
        blocks: How many decoded blocks, or runs of small ones, tiles share.
    """
    ready: Callable[[int, int], None] | None = getattr(source, "ready", None)
    if ready is not None:
        ready(threads, blocks)


class Source(Protocol):
    """What windows are read from; `read` may be called from several threads at once.

    Two members more are optional: ``storage``, see `storage_of`, and ``ready(threads, blocks)``, see `make_ready`.
    """

    @property
    def name(self) -> str:
        """What messages call it: the path."""

    @property
    def grid(self) -> Grid:
        """Where its cells lie."""

    @property
    def bands(self) -> tuple[BandInfo, ...]:
        """All its bands, in order."""

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of its storage blocks."""

    def read(
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None = None,
    ) -> None:
        """Read a window that lies inside the raster into an array of any real type.

        Values convert as GDAL converts them: rounded and clamped to what ``out`` holds. The nodata value is
        compared in the band's own type, as GDAL's mask does.

        Args:
            bands: Band numbers, from 1.
            window: Cells to read.
            out: (band, row, col), any strides. If floating, cells without data become NaN.
            valid: (band, row, col), any strides. If ``out`` is an integer array, cells are set to 1, and to
                0 where they hold no data.

        Raises:
            ReadError: A block cannot be read.
        """

    def close(self) -> None:
        """Let go of the file, which a later read opens again: every run ends so."""


@dataclass(frozen=True, slots=True)
class ArraySource:
    """An array as a source.

    Raises:
        SourceError: The array has no cells, or a type that tilejit does not read.

    Example:
        >>> source = ArraySource.of(np.array([[1, -1]], np.int16), nodata=-1)
        >>> out = np.empty((1, 1, 2), np.float32)
        >>> source.read((1,), Window(0, 0, 1, 2), out)
        >>> out.tolist()
        [[[1.0, nan]]]
    """

    array: NDArray[Any]
    """(band, row, col)."""
    grid: Grid
    """Where its cells lie."""
    bands: tuple[BandInfo, ...]
    """All its bands."""
    name: str = "array"
    """What messages call it."""
    block: tuple[int, int] = (512, 512)
    """Rows and columns that a reader does well to keep to."""
    storage: SourceStorage = SourceStorage("in memory")
    """How it is stored."""
    mask: NDArray[np.bool_] | None = None
    """Where it holds no data, (band, row, col), whatever the nodata value says; None for nowhere."""

    @classmethod
    def of(
        cls,
        array: NDArray[Any],
        grid: Grid | None = None,
        nodata: float | None = None,
        name: str = "array",
        mask: NDArray[np.bool_] | None = None,
    ) -> ArraySource:
        """Wrap an array.

        Args:
            array: (band, row, col), or (row, col) for one band.
            grid: Where its cells lie; not georeferenced if left out.
            nodata: The value that marks a cell without data, in every band.
            name: What messages call it.
            mask: Where it holds no data, of its shape.

        Returns:
            The source, which shares the array's memory.

        Raises:
            SourceError: The array has no cells or is not (band, row, col), its type is not a real number, or
                the grid has another shape.
        """
        stack = array[np.newaxis] if array.ndim == 2 else array
        if stack.ndim != 3 or 0 in stack.shape:
            raise SourceError(
                f"{name}: an array is (band, row, col) or (row, col), with cells, not {array.shape}",
            )
        if not is_real(stack.dtype):
            raise SourceError(
                f"{name}: tilejit reads integers and floats of up to 64 bits, not {array.dtype}: "
                "convert it with .astype(np.float64), or take its .real or .imag"
            )
        grid = grid or Grid(*stack.shape[1:])
        if grid.shape != stack.shape[1:]:
            raise SourceError(f"{name}: the array has {stack.shape[1:]} rows and cols, its grid {grid.shape}")
        bands = tuple(BandInfo(i + 1, stack.dtype, nodata, has_mask=mask is not None) for i in range(len(stack)))
        storage = SourceStorage("in memory", stored_bytes=stack.nbytes)
        return cls(stack, grid, bands, name, storage=storage, mask=None if mask is None else mask.reshape(stack.shape))

    def read(
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None = None,
    ) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        rows, cols = window.slices(Window(0, 0, *self.grid.shape))
        for i, band in enumerate(bands):
            cells = self.array[band - 1, rows, cols]
            key = nodata_key(cells.dtype, self.bands[band - 1].nodata)
            convert(cells, out[i])
            if out.dtype.kind == "f":
                blank(out[i], cells, key)
            elif valid is not None:
                flag(valid[i], cells, key)
            if self.mask is not None:
                masked = self.mask[band - 1, rows, cols]
                if out.dtype.kind == "f":
                    out[i][masked] = np.nan
                elif valid is not None:
                    valid[i][masked] = 0

    def close(self) -> None:
        """Nothing to let go of."""


def check_request(
    source: Source,
    bands: tuple[int, ...],
    window: Window,
    out: NDArray[Any],
    valid: NDArray[np.uint8] | None,
) -> None:
    """Refuse a read that no source can do.

    Raises:
        ReadError: The window reaches outside the raster, a band does not exist, or an array has another
            shape than (bands, rows, cols).
    """
    count, (height, width) = len(source.bands), source.grid.shape
    if window.row_off < 0 or window.col_off < 0 or window.row_end > height or window.col_end > width:
        raise ReadError(f"{source.name}: the window {window} reaches outside {height} rows x {width} cols")
    if not all(1 <= band <= count for band in bands):
        raise ReadError(f"{source.name}: bands run from 1 to {count}, and {bands} were asked for")
    for name, array in (("out", out), ("valid", valid)):
        if array is not None and array.shape != (len(bands), *window.shape):
            expected = (len(bands), *window.shape)
            raise ReadError(f"{source.name}: {name} has the shape {array.shape}, and should have {expected}")


def nodata_key(dtype: np.dtype[Any], nodata: float | None) -> np.generic | None:
    """The nodata value as a cell of a type can hold it.

    Args:
        dtype: The band's type.
        nodata: The nodata value, or None.

    Returns:
        A scalar of the type; None where no cell can equal the value (-9999 in bytes, 0.5 or NaN in integers).

    Example:
        >>> nodata_key(np.dtype(np.uint8), -9999) is None
        True
    """
    if nodata is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            key = dtype.type(nodata)
        return None if np.isinf(key) and not math.isinf(nodata) else key
    if isinstance(nodata, float) and not nodata.is_integer():
        return None
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return dtype.type(int(nodata)) if low <= nodata <= high else None


def survives(native: np.dtype[Any], out: np.dtype[Any], key: np.generic | None) -> bool:
    """Whether the nodata test gives the same after a conversion as before it.

    Args:
        native: The band's type.
        out: The floating type that it is converted to.
        key: The band's nodata value in its own type.

    Returns:
        True where no other value of the band's type converts to what the nodata value converts to.
    """
    if key is None:
        return True
    # Every integer up to 2 ** 24 is a float32 of its own, and up to 2 ** 53 a float64; NumPy calls int64 safe in it.
    if native.kind in "iu":
        return abs(int(key)) < int(2 ** (np.finfo(out).nmant + 1))
    return bool(np.can_cast(native, out, "safe"))


def convert(cells: NDArray[Any], out: NDArray[Any]) -> None:
    """Copy cells into an array of another type as GDAL does.

    Integers round, halves away from 0, and clamp; NaN becomes 0.
    """
    if out.dtype.kind == "f" or np.can_cast(cells.dtype, out.dtype, "safe"):
        # Files hold NaN of any bits, and some of them signal.
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(out, cells, casting="unsafe")
        return
    if cells.dtype.kind == "f":
        with np.errstate(over="ignore"):
            cells = np.nan_to_num(cells, nan=0.0, posinf=None, neginf=None)
            cells = np.trunc(cells + np.copysign(cells.dtype.type(0.5), cells))
    low, high = (np.iinfo(out.dtype).min, np.iinfo(out.dtype).max) if out.dtype.kind != "b" else (0, 1)
    # A float64 cannot say 2 ** 63 - 1, so the ends are set apart from the middle.
    with np.errstate(invalid="ignore"):
        np.copyto(out, cells, casting="unsafe")
    out[cells <= low] = low
    out[cells >= high] = high


def blank(out: NDArray[Any], cells: NDArray[Any], key: np.generic | None) -> None:
    """Set the cells without data to NaN.

    Args:
        out: (row, col), floating.
        cells: (row, col), what the nodata value is compared with: the band's own cells, or ``out`` itself.
        key: The nodata value.
    """
    if key is None or np.isnan(key):
        return
    step = max(1, CHUNK_CELLS // max(1, out.shape[1]))
    for row in range(0, len(out), step):
        hits = _equals(cells[row : row + step], key)
        # Most chunks of most rasters hold no nodata, and looking is cheaper than a masked copy.
        if hits.any():
            np.copyto(out[row : row + step], np.nan, where=hits)


def flag(valid: NDArray[np.uint8], cells: NDArray[Any], key: np.generic | None) -> None:
    """Set 1 where a cell holds data and 0 where it does not.

    Args:
        valid: (row, col).
        cells: (row, col), the band's own cells.
        key: The nodata value.
    """
    valid[...] = 1
    step = max(1, CHUNK_CELLS // max(1, valid.shape[1]))
    for row in range(0, len(valid), step):
        part = cells[row : row + step]
        if key is not None and not np.isnan(key):
            valid[row : row + step][_equals(part, key)] = 0
        if part.dtype.kind == "f":
            valid[row : row + step][np.isnan(part)] = 0


def _equals(cells: NDArray[Any], key: np.generic) -> NDArray[np.bool_]:
    """Which cells GDAL's mask takes for nodata; ``cells`` may have been widened since the key's type."""
    if key.dtype.kind != "f":
        equal: NDArray[np.bool_] = cells == cells.dtype.type(key)
        return equal
    found = [_within(cells, low, high) for low, high in _alike(key.dtype, float(key))]
    return found[0] if len(found) == 1 else found[0] | found[1]


def _within(cells: NDArray[Any], low: float, high: float) -> NDArray[np.bool_]:
    """Which cells lie in a range of which 0 is no inner point; nodata mostly lies beyond all data."""
    hits: NDArray[np.bool_] = cells <= high if high <= 0 else cells >= low
    if hits.any():
        hits &= cells >= low if high <= 0 else cells <= high
    return hits


@functools.lru_cache(maxsize=256)
def _alike(dtype: np.dtype[Any], nodata: float) -> tuple[tuple[float, float], ...]:
    """The ranges of a float type that GDAL's mask takes for a nodata value.

    Equal to GDAL is what lies within four float32 epsilons, in float64 too (ARE_REAL_EQUAL in gdal_priv.h). The sum of
    two large floats overflows, and whatever makes it do so counts as equal: -1e38 where -3.4e38 is nodata. So there may
    be a second range, up to the type's largest.

    Args:
        dtype: The band's type.
        nodata: The nodata value, as the type holds it; not NaN.
    """
    if nodata == 0 or math.isinf(nodata):
        return ((nodata, nodata),)
    middle, largest = _ordinal(dtype.type(abs(nodata))), _ordinal(np.finfo(dtype).max)
    # GDAL compares float16 as float32.
    kind = np.promote_types(dtype, np.float32).type
    key = kind(_float_at(dtype, middle))

    def total(number: int) -> Any:
        with np.errstate(over="ignore"):
            return kind(_float_at(dtype, number)) + key

    def is_apart(number: int) -> bool:
        return bool(abs(kind(_float_at(dtype, number)) - key) >= kind(2.0**-23) * total(number) * kind(2))

    first = _last(lambda number: not np.isinf(total(number)), 0, largest + 1) + 1
    low = _last(is_apart, -1, middle) + 1
    high = _last(lambda number: not is_apart(number), middle, max(first, middle + 1))
    ranges = [(low, largest)] if high + 1 >= first else [(low, high), (first, largest)][: 1 + (first <= largest)]
    values = [(float(_float_at(dtype, a)), float(_float_at(dtype, b))) for a, b in ranges]
    return tuple(values if nodata > 0 else [(-b, -a) for a, b in values])


def _last(is_so: Callable[[int], bool], start: int, stop: int) -> int:
    """The last number of which something is so, as it is of ``start``; from some number on it is not."""
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (middle, stop) if is_so(middle) else (start, middle)
    return start


def _ordinal(value: np.generic) -> int:
    """The number of a float that is not negative, counted from 0."""
    return int(value.view(f"u{value.dtype.itemsize}"))


def _float_at(dtype: np.dtype[Any], number: int) -> Any:
    return np.array(number, f"u{dtype.itemsize}").view(dtype)[()]
