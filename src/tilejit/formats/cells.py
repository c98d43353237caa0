"""Cells from one type to another as GDAL converts them, which of them hold no data, and memory for them."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_CHUNK_CELLS = 1 << 16  # cells per step of a pass over cells: 64 K cells and their flags stay in a core's second cache


def chunks(cells: NDArray[Any]) -> Iterator[slice]:
    """Yields rows of (row, col) cells that stay in a core's cache from one pass over them to the next."""
    step = max(1, _CHUNK_CELLS // max(1, cells.shape[1]))
    return (slice(row, row + step) for row in range(0, len(cells), step))


def scratch(local: threading.local, name: str, size: int) -> NDArray[np.uint8]:
    """A thread's own bytes, kept from use to use: fresh memory costs page faults."""
    buffer: NDArray[np.uint8] | None = getattr(local, name, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        setattr(local, name, buffer)
    return buffer[:size]


def nodata_key(dtype: np.dtype[Any], nodata: float | None) -> np.generic | None:
    """The nodata value as a cell of a type; None where no cell can equal it (-9999 in bytes, 0.5 or NaN in integers).

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
    low, high = _limits(dtype)
    return dtype.type(int(nodata)) if low <= nodata <= high else None


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    return (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def survives(native: np.dtype[Any], out: np.dtype[Any], key: np.generic | None) -> bool:
    """Whether the nodata test gives the same in the floats ``out`` as in the band's own type."""
    if key is None:
        return True
    # Every integer up to 2 ** 24 is a float32 of its own, and up to 2 ** 53 a float64; NumPy calls int64 safe in it.
    if native.kind in "iu":
        return abs(int(key)) < int(2 ** (np.finfo(out).nmant + 1))
    return bool(np.can_cast(native, out, "safe"))


def fill(out: NDArray[Any], valid: NDArray[np.uint8] | None, cells: NDArray[Any], key: np.generic | None) -> None:
    """Convert cells into ``out``, with NaN or a flag of 0 where they hold no data; all are (row, col)."""
    convert(cells, out)
    if out.dtype.kind == "f":
        set_nan(out, cells, key)
    elif valid is not None:
        set_valid(valid, cells, key)


def convert(cells: NDArray[Any], out: NDArray[Any]) -> None:
    """Copy cells as GDAL does: integers round, halves away from 0, and clamp; NaN becomes 0."""
    if cells.dtype == out.dtype:
        np.copyto(out, cells)
        return
    if out.dtype.kind == "f" or np.can_cast(cells.dtype, out.dtype, "safe"):
        # Files hold NaN of any bits, and some of them signal.
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(out, cells, casting="unsafe")
        return
    if cells.dtype.kind == "f":
        with np.errstate(over="ignore"):
            cells = np.nan_to_num(cells, nan=0.0, posinf=None, neginf=None)
            cells = np.trunc(cells + np.copysign(cells.dtype.type(0.5), cells))
    low, high = _limits(out.dtype)
    # A float64 cannot say 2 ** 63 - 1, so the ends are set apart from the middle.
    with np.errstate(invalid="ignore"):
        np.copyto(out, cells, casting="unsafe")
    out[cells <= low] = low
    out[cells >= high] = high


def set_nan(out: NDArray[Any], cells: NDArray[Any], key: np.generic | None) -> None:
    """Set floats to NaN where ``cells``, the band's own or ``out`` itself, hold the nodata value."""
    if key is None or np.isnan(key):
        return
    for rows in chunks(out):
        hits = _equals(cells[rows], key)
        # Most chunks of most rasters hold no nodata, and looking is cheaper than a masked copy.
        if hits.any():
            np.copyto(out[rows], np.nan, where=hits)


def set_valid(valid: NDArray[np.uint8], cells: NDArray[Any], key: np.generic | None) -> None:
    """Set 1 where the band's own cells hold data, and 0 where they do not."""
    valid[...] = 1
    for rows in chunks(valid):
        part = cells[rows]
        if key is not None and not np.isnan(key):
            valid[rows][_equals(part, key)] = 0
        if part.dtype.kind == "f":
            valid[rows][np.isnan(part)] = 0


def _equals(cells: NDArray[Any], key: np.generic) -> Mask:
    """Which cells GDAL's mask takes for nodata; ``cells`` may have been widened since the key's type."""
    if key.dtype.kind != "f":
        equal: Mask = cells == cells.dtype.type(key)
        return equal
    found = [_within(cells, low, high) for low, high in _alike(key.dtype, float(key))]
    return found[0] if len(found) == 1 else found[0] | found[1]


def _within(cells: NDArray[Any], low: float, high: float) -> Mask:
    """Which cells lie in a range of which 0 is no inner point; nodata mostly lies beyond all data."""
    hits: Mask = cells <= high if high <= 0 else cells >= low
    if hits.any():
        hits &= cells >= low if high <= 0 else cells <= high
    return hits


@functools.lru_cache(maxsize=256)
def _alike(dtype: np.dtype[Any], nodata: float) -> tuple[tuple[float, float], ...]:
    """The ranges of a float type that GDAL's mask takes for a nodata value, which is not NaN.

    Equal to GDAL is what lies within four float32 epsilons, in float64 too (ARE_REAL_EQUAL in gdal_priv.h). The sum of
    two large floats overflows, and whatever makes it do so counts as equal: -1e38 where -3.4e38 is nodata. So there may
    be a second range, up to the type's largest.
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
