"""Reductions: partials of the cells of a band, exact whatever the order in which tiles come.

Floating cells are summed as integers: each adds its mantissa to a counter for its exponent, and counters are added up
without rounding. A sum is rounded once, at the end, so that it has the same bits for any tiling, and is the nearest
number to the true one. (R. M. Neal, "Fast exact summation using small and large superaccumulators", 2015.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tilejit.compiler.jit.native_function import Functions, NativeFunction
from tilejit.engine.partials import Partial, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.machine_code import ArgumentType
    from tilejit.window import Window

KEY_BITS = 20
"""Bits of a float by which cells are counted for percentiles: sign, exponent, and 11 of the mantissa; 8 MB of counters.
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

    def of(self, cells: Sequence[NDArray[Any]], valid: Sequence[NDArray[np.bool_] | None], window: Window) -> State:
        """The state of one tile.

        Args:
            cells: (row, col) for each band; in floats, NaN is no cell.
            valid: Where cells of each band count; None for everywhere.
            window: Where the tile lies.
        """


class Refined(Reduction, Protocol):
    """A reduction that takes what an earlier pass over the same bands has made."""

    def given(self, result: Any) -> Reduction:
        """The reduction that has it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What `Moments` come to; all but the count are NaN where there is no cell."""

    count: int  # valid cells
    sum: float  # their sum, rounded once
    mean: float  # their mean, rounded once
    std: float  # their standard deviation, of the population
    min: float  # the least of them
    max: float  # the greatest of them


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum, sum of squares, minimum and maximum of cells.

    Example:
        >>> from tilejit.window import Window
        >>> moments, tile = Moments("heights"), Window(0, 0, 1, 2)
        >>> one = moments.of([np.float32([[1e8, 1.0]])], [None], tile)
        >>> both = moments.combine(one, moments.of([np.float32([[-1e8, np.nan]])], [None], tile))
        >>> moments.finalize(both).sum, moments.finalize(both).count
        (1.0, 3)
    """

    name: str
    cell_bytes: ClassVar[int] = 17  # a copy, and of integers two
    state_bytes: ClassVar[int] = 200_000

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        if dtypes[0].kind != "f":
            return []
        bits, ends = np.dtype(f"u{dtypes[0].itemsize}"), np.dtype(np.float64)
        types = contiguous((dtypes[0], 2), (bits, 2), (_I64, 2), (_I64, 1), (ends, 1))
        return [(loop("moments"), (*types, (_I64, 0, "")))]

    def init(self) -> State:
        """No cell."""
        return {"count": 0, "sum": 0, "squares": 0, "low": math.inf, "high": -math.inf, "up": 0, "down": 0}

    def of(self, bands: Sequence[NDArray[Any]], flags: Sequence[NDArray[np.bool_] | None], _: Window) -> State:
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
        total, squares, unit = state["sum"], state["squares"], 1 << _SCALE
        std = deviation(count, total, squares, unit)
        mean = quotient(total, count * unit)
        return Summary(count, quotient(total, unit), mean, std, state["low"], state["high"])


_SCALE = 1074  # sums count units of 2 ** -1074, the smallest float64; sums of squares the square of that


def quotient(dividend: int, divisor: int) -> float:
    """The float nearest to a quotient of integers."""
    try:
        return dividend / divisor
    except OverflowError:
        return math.inf if dividend > 0 else -math.inf


def deviation(count: int, total: int, squares: int, unit: int) -> float:
    """The standard deviation, of the population.

    Args:
        count: How many numbers there are.
        total: Their sum, in parts of which a whole has ``unit``.
        squares: The sum of their squares, in the square of those.
        unit: An integer.
    """
    return math.sqrt(quotient(squares * count - total * total, (count * unit) ** 2))


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
    bits, digits = bits_of(cells)
    bias = 149 if digits == 23 else 1074
    counters, told = np.zeros((256 if digits == 23 else 2048, 8), np.int64), np.zeros(3, np.int64)
    ends = np.array([np.inf, -np.inf])
    loop("moments")(cells, bits, counters, told, ends, digits)
    total = squares = 0
    for exponent in np.flatnonzero(counters.any(axis=1)).tolist():
        row = counters[exponent].tolist()
        shift = max(exponent, 1) - 1 + _SCALE - bias
        total += row[0] + (row[1] << 26) << shift
        products = (row[k] + (row[k + 1] << 32) for k in (2, 4, 6))
        squares += sum(product << 26 * k + (k == 1) for k, product in enumerate(products)) << 2 * shift
    count, up, down = told.tolist()
    low, high = ends.tolist()
    return {"count": count, "sum": total, "squares": squares, "low": low, "high": high, "up": up, "down": down}


def bits_of(cells: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The bits of contiguous floats, and how many of them are digits of a mantissa."""
    return (cells.view(np.uint32), 23) if cells.dtype == np.float32 else (cells.view(np.uint64), 52)


_I64 = np.dtype(np.int64)
_LOOPS = Path(__file__).with_name("loops.py")


def contiguous(*arrays: tuple[np.dtype, int]) -> tuple[ArgumentType, ...]:
    """The types of contiguous arrays, each by its dtype and dimensions."""
    return tuple((dtype, dimensions, "C") for dtype, dimensions in arrays)


def loop(name: str) -> NativeFunction:
    """A function of `tilejit.engine.loops` as machine code."""
    return NativeFunction.of_loops(_LOOPS, name)


@dataclass(frozen=True, slots=True)
class RankCounts:
    """How many cells there are of each value, or of each of 2 ** 20 classes of values, for percentiles.

    Integers of up to 16 bits are counted one by one, so that percentiles are exact. Others are counted by the first 20
    bits of a float32: a class of float32 is 1/2048 of its values wide.

    Example:
        >>> from tilejit.window import Window
        >>> counts = RankCounts("bytes")
        >>> counts.finalize(counts.of([np.uint8([[1, 2, 3, 200]])], [None], Window(0, 0, 1, 4))).percentile(50.0)
        2.5
    """

    name: str
    cell_bytes: ClassVar[int] = 17  # keys, and a copy
    state_bytes: ClassVar[int] = 8 << KEY_BITS

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        if dtypes[0].kind != "f" and dtypes[0].itemsize <= 2:
            return []
        return [(loop("count_keys"), contiguous((np.dtype(np.uint32), 2), (_I64, 1)))]

    def init(self) -> State:
        """No cell; the dtype is not known yet."""
        return {"dtype": "", "counts": np.zeros(0, np.int64)}

    def of(self, bands: Sequence[NDArray[Any]], flags: Sequence[NDArray[np.bool_] | None], _: Window) -> State:
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
        loop("count_keys")(np.ascontiguousarray(floats).view(np.uint32), counts)
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
    """The least float32 of a class: the inverse of what `loops.count_keys` does."""
    ordered = min(key << 32 - KEY_BITS, 0xFFFFFFFF)
    bits = ordered ^ 0x80000000 if ordered & 0x80000000 else ordered ^ 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))
