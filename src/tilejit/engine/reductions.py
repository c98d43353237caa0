"""Reductions: partials of the cells of a band, exact whatever the order in which tiles come.

Floating cells are summed as integers: each adds its mantissa to a counter for its exponent, and counters are added up
without rounding. A sum is rounded once, at the end, so that it has the same bits for any tiling, and is the nearest
number to the true one. (R. M. Neal, "Fast exact summation using small and large superaccumulators", 2015.)
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tilejit.compiler.jit.machine_code import OPTIONS
from tilejit.compiler.jit.native_function import NativeFunction
from tilejit.engine.partials import Partial, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.machine_code import ArgumentType
    from tilejit.compiler.jit.native_function import Functions

KEY_BITS = 20
"""Bits of a float by which cells are counted for percentiles: sign, exponent, and 11 of the mantissa; 8 MB of counters.
"""
_DECORATE = f"""

from numba import njit as _njit

for _name in COMPILED:
    globals()[_name] = _njit(**{{{OPTIONS}}})(globals()[_name])
"""


class Reduction(Partial, Protocol):
    """A partial that is made of the cells of bands."""

    @property
    def cell_bytes(self) -> int:
        """Bytes that a worker takes for each cell of a tile while it is reduced."""

    @property
    def state_bytes(self) -> int:
        """Bytes that a state takes, as far as that is known before."""

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """The native functions that it calls for bands of some dtypes: they are compiled before a run has buffers."""

    def of(self, cells: Sequence[NDArray[Any]], valid: Sequence[NDArray[np.bool_] | None]) -> State:
        """The state of one tile.

        Args:
            cells: (row, col) for each band; in floats, NaN is no cell.
            valid: Where cells of each band count; None for everywhere.
        """


@dataclass(frozen=True, slots=True)
class Summary:
    """What `Moments` come to; all but the count are NaN where there is no cell."""

    count: int
    """Valid cells."""
    sum: float
    """Their sum, rounded once."""
    mean: float
    """Their mean, rounded once."""
    std: float
    """Their standard deviation, of the population."""
    min: float
    """The least of them."""
    max: float
    """The greatest of them."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum, sum of squares, minimum and maximum of cells.

    Example:
        >>> moments = Moments("heights")
        >>> one = moments.of([np.float32([[1e8, 1.0]])], [None])
        >>> both = moments.combine(one, moments.of([np.float32([[-1e8, np.nan]])], [None]))
        >>> moments.finalize(both).sum, moments.finalize(both).count
        (1.0, 3)
    """

    name: str
    cell_bytes: ClassVar[int] = 17
    """A copy, and of integers two."""
    state_bytes: ClassVar[int] = 200_000

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        if dtypes[0].kind != "f":
            return []
        bits = 8 * dtypes[0].itemsize
        types = (dtypes[0], 2), (np.dtype(f"u{bits // 8}"), 2), (_I64, 2), (_I64, 1), (np.dtype(np.float64), 1)
        return [(_loop(f"moments_{bits}"), contiguous(*types))]

    def init(self) -> State:
        """No cell."""
        return {"count": 0, "sum": 0, "squares": 0, "low": math.inf, "high": -math.inf, "up": 0, "down": 0}

    def of(self, bands: Sequence[NDArray[Any]], flags: Sequence[NDArray[np.bool_] | None]) -> State:
        """The moments of one tile: see `Reduction.of`."""
        (cells,), (valid,) = bands, flags
        if cells.dtype.kind == "f":
            return self.init() | _float_moments(np.ascontiguousarray(cells))
        chosen = cells.ravel() if valid is None else cells[valid]
        return self.init() | (_integer_moments(chosen) if chosen.size else {})

    def combine(self, one: State, other: State) -> State:
        """Both together."""
        added = {name: one[name] + other[name] for name in ("count", "sum", "squares", "up", "down")}
        return added | {"low": min(one["low"], other["low"]), "high": max(one["high"], other["high"])}

    def finalize(self, state: State) -> Summary:
        """Sums divided and rounded."""
        count = state["count"]
        if not count:
            return Summary(0, 0.0, math.nan, math.nan, math.nan, math.nan)
        if state["up"] or state["down"]:
            infinite = math.inf * ((state["up"] > 0) - (state["down"] > 0))  # NaN where there are both
            return Summary(count, infinite, infinite, math.nan, state["low"], state["high"])
        total, squares = Fraction(state["sum"], 1 << _SCALE), Fraction(state["squares"], 1 << 2 * _SCALE)
        variance = squares / count - (total / count) ** 2
        return Summary(
            count, _rounded(total), _rounded(total / count), math.sqrt(_rounded(variance)), state["low"], state["high"]
        )


_SCALE = 1074
"""Sums count units of 2 ** -1074, the smallest float64; sums of squares the square of that."""


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _integer_moments(cells: NDArray[Any]) -> dict[str, Any]:
    if cells.dtype.itemsize < 8:
        wide = cells.astype(np.int64)
        squares = (wide * wide).view(np.uint64)
        total = int(wide.sum())
        square = int((squares & np.uint64(0xFFFFFFFF)).sum()) + (int((squares >> np.uint64(32)).sum()) << 32)
    else:
        exact = cells.astype(object)
        total, square = int(exact.sum()), int((exact * exact).sum())
    low, high = float(cells.min()), float(cells.max())
    return {"count": cells.size, "sum": total << _SCALE, "squares": square << 2 * _SCALE, "low": low, "high": high}


def _float_moments(cells: NDArray[Any]) -> dict[str, Any]:
    """Sums of floats by their exponents: mantissas in counters that do not overflow, then as Python's integers."""
    is_single = cells.dtype == np.float32
    width, bias, limbs = (256, 149, 3) if is_single else (2048, 1074, 8)
    counters, told, ends = np.zeros((width, limbs), np.int64), np.zeros(3, np.int64), np.array([np.inf, -np.inf])
    bits = cells.view(np.uint32 if is_single else np.uint64)
    _loop("moments_32" if is_single else "moments_64")(cells, bits, counters, told, ends)
    total = squares = 0
    for exponent in np.flatnonzero(counters.any(axis=1)).tolist():
        row = counters[exponent].tolist()
        shift = max(exponent, 1) - 1 + _SCALE - bias
        if is_single:
            mantissas, square = row[0], row[1] + (row[2] << 24)
        else:
            mantissas = row[0] + (row[1] << 26)
            square = row[2] + (row[3] << 32) + ((row[4] + (row[5] << 32)) << 27) + ((row[6] + (row[7] << 32)) << 52)
        total += mantissas << shift
        squares += square << 2 * shift
    count, up, down = told.tolist()
    low, high = ends.tolist()
    return {"count": count, "sum": total, "squares": squares, "low": low, "high": high, "up": up, "down": down}


_I64 = np.dtype(np.int64)


def contiguous(*arrays: tuple[np.dtype, int]) -> tuple[ArgumentType, ...]:
    """The types of contiguous arrays, each by its dtype and dimensions."""
    return tuple((dtype, dimensions, "C") for dtype, dimensions in arrays)


def compiled(path: Path, name: str) -> NativeFunction:
    """Returns a function of a file of loops as machine code.

    Args:
        path: The file, with the names of its functions in ``COMPILED``.
        name: One of them.
    """
    return NativeFunction(path.read_text("utf-8") + _DECORATE, name, f"{path.stem}_{name}")


_loop = functools.cache(lambda name: compiled(Path(__file__).with_name("reduction_loops.py"), name))


@dataclass(frozen=True, slots=True)
class RankCounts:
    """How many cells there are of each value, or of each of 2 ** 20 classes of values, for percentiles.

    Integers of up to 16 bits are counted one by one, so that percentiles are exact. Others are counted by the first 20
    bits of a float32: a class of float32 is 1/2048 of its values wide.

    Example:
        >>> counts = RankCounts("bytes")
        >>> counts.finalize(counts.of([np.uint8([[1, 2, 3, 200]])], [None])).percentile(50.0)
        2.5
    """

    name: str
    cell_bytes: ClassVar[int] = 17
    """Keys, and a copy."""
    state_bytes: ClassVar[int] = 8 << KEY_BITS

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        if dtypes[0].kind != "f" and dtypes[0].itemsize <= 2:
            return []
        return [(_loop("count_keys"), contiguous((np.dtype(np.uint32), 2), (_I64, 1)))]

    def init(self) -> State:
        """No cell; the dtype is not known yet."""
        return {"dtype": "", "counts": np.zeros(0, np.int64)}

    def of(self, bands: Sequence[NDArray[Any]], flags: Sequence[NDArray[np.bool_] | None]) -> State:
        """The counts of one tile: see `Reduction.of`."""
        (cells,), (valid,) = bands, flags
        if cells.dtype.kind != "f" and cells.dtype.itemsize <= 2:
            chosen = cells.ravel() if valid is None else cells[valid]
            keys = chosen.astype(np.int64) - int(np.iinfo(cells.dtype).min)
            counts = np.bincount(keys, minlength=1 << 8 * cells.dtype.itemsize)
            return {"dtype": cells.dtype.str[1:], "counts": counts.astype(np.int64)}
        floats = cells if cells.dtype == np.float32 else cells.astype(np.float32)
        if valid is not None:
            floats = np.where(valid, floats, np.float32(np.nan))
        counts = np.zeros(1 << KEY_BITS, np.int64)
        _loop("count_keys")(np.ascontiguousarray(floats).view(np.uint32), counts)
        return {"dtype": "f4", "counts": counts}

    def combine(self, one: State, other: State) -> State:
        """Both together."""
        if not one["dtype"] or not other["dtype"]:
            return one if one["dtype"] else other
        return {"dtype": one["dtype"], "counts": one["counts"] + other["counts"]}

    def finalize(self, state: State) -> Ranks:
        """The counts, to be asked for percentiles."""
        return Ranks(state["dtype"], state["counts"])


@dataclass(frozen=True, eq=False, slots=True)
class Ranks:
    """Counts of cells by value."""

    dtype: str
    counts: NDArray[np.int64]

    def percentile(self, percent: float) -> float:
        """The value below which so many percent of cells lie, with linear interpolation between ranks as NumPy's."""
        ends = np.cumsum(self.counts)
        if not ends.size or not ends[-1]:
            return math.nan
        rank = (int(ends[-1]) - 1) * percent / 100
        low, high = (self._value(ends, index) for index in (math.floor(rank), math.ceil(rank)))
        return low + (high - low) * (rank - math.floor(rank)) if high != low else low

    def _value(self, ends: NDArray[np.int64], rank: int) -> float:
        """The value of the cell of a rank; within a class, cells are taken to lie evenly."""
        key = int(np.searchsorted(ends, rank, side="right"))
        if self.dtype != "f4":
            return float(key + int(np.iinfo(self.dtype).min))
        share = (rank - (int(ends[key]) - int(self.counts[key])) + 0.5) / int(self.counts[key])
        low, high = _key_value(key), _key_value(key + 1)
        return low if low == high or not math.isfinite(high) else low + (high - low) * share


def _key_value(key: int) -> float:
    """The least float32 of a class: the inverse of what `reduction_loops.count_keys` does."""
    ordered = min(key << 32 - KEY_BITS, 0xFFFFFFFF)
    bits = ordered ^ 0x80000000 if ordered & 0x80000000 else ordered ^ 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))
