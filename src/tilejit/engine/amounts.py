"""Amounts by zone: sums, sums of squares, and extremes of the cells of one band, exact until they are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit.native_function import Functions, NativeFunction
from tilejit.engine.reductions import contiguous, deviation, quotient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.engine.runs import Runs
    from tilejit.kernel.zonal import Fold

    Array = NDArray[Any]

_LOOPS = Path(__file__).with_name("zonal_loops.py")
SHARE_UNIT = 40  # a whole has 2 ** so many units of a share
_UNITS = {SHARE_UNIT: 4, 149: 10, 298: 19, 189: 13, 338: 21, 1074: 68, 2148: 135}
"""Limbs of 32 bits that sums take, by their unit, of which a whole has 2 ** so many: that of shares; of float32 and its
squares, and of both times shares; and of float64, and its squares."""
_UNIT_OF = {limbs: unit for unit, limbs in _UNITS.items()} | {4: 0, 6: 0}
"""The unit of sums with so many limbs; those of integers and of their squares count ones."""
_U8, _I32, _I64, _F32, _F64 = (np.dtype(name) for name in ("u1", "i4", "i8", "f4", "f8"))
RUNS, LIMBS = (_I32, 2), (_I64, 2)


def loop(name: str) -> NativeFunction:
    """A function of `tilejit.engine.zonal_loops` as machine code."""
    return NativeFunction.of_loops(_LOOPS, name)


def new_limbs(count: int, unit: int) -> Array:
    """Sums of nothing in units of 2 ** -unit; none at all where that is 0."""
    return np.zeros((count, _UNITS[unit] + 2 if unit else 0), np.int64)


def folded_as(dtype: np.dtype, *, is_weighted: bool) -> np.dtype:
    """One of few dtypes, for each is compiled; of unsigned integers that int64 does not hold it is float64."""
    if dtype.kind == "f":
        return dtype
    if is_weighted or dtype == np.uint64:
        return _F64
    return _I32 if np.can_cast(dtype, _I32) else _I64


@dataclass(frozen=True, slots=True)
class Amounts:
    """How the cells of a band are folded.

    Args:
        dtype: Theirs.
        wants: ``sums``, ``squares``, and what else is asked for.
        is_weighted: Whether cells may count by a share: then all is folded as float64.
    """

    dtype: np.dtype
    wants: frozenset[str]
    is_weighted: bool

    @property
    def folded_as(self) -> np.dtype:
        """As `folded_as`."""
        return folded_as(self.dtype, is_weighted=self.is_weighted)

    @property
    def units(self) -> tuple[int, int]:
        """Those of sums and squares; 0 where none are asked for."""
        unit, square = (149, 298) if self.folded_as == _F32 else (1074, 2148)
        if self.is_weighted:  # float64 is rounded to its own unit
            unit, square = (unit + SHARE_UNIT, square + SHARE_UNIT) if self.folded_as == _F32 else (unit, unit)
        return unit if {"sums", "squares"} & self.wants else 0, square if "squares" in self.wants else 0

    @property
    def functions(self) -> Functions:
        """The native functions that `of` calls."""
        if not self.wants:
            return []
        number, dtype, shares = (_I64, 0, ""), self.folded_as, (_F64, 1)
        cells, sums = contiguous((dtype, 2)), contiguous(LIMBS, LIMBS)
        if dtype.kind == "i":
            types = *cells, *contiguous((_U8, 2), RUNS), *sums, *contiguous(LIMBS), number
            return [(loop("fold_integers"), types)]
        flags = contiguous((_U8, 2), RUNS, shares)
        if dtype == _F32:
            types = *cells, *contiguous((_I32, 2)), *flags, *sums, *contiguous((_I32, 2)), number, number
            return [(loop("fold_singles"), types)]
        types = *cells, *flags, *sums, *contiguous((_F64, 2)), number, number
        return [(loop("fold_doubles"), types)]

    def of(self, values: Array, valid: Array, runs: Runs) -> dict[str, Array]:
        """The amounts of one tile, by zone; ``valid`` is where cells count, and NaN does not."""
        if not self.wants:
            return {}
        count, dtype = runs.zones.size, self.folded_as
        if dtype.kind == "i":
            sums, squares = np.zeros((count, 4 + 2), np.int64), np.zeros((count, 6 + 2), np.int64)
            ends = _new_ends(count, _I64, np.iinfo(np.int64).max, np.iinfo(np.int64).min)
            loop("fold_integers")(values, valid, runs.where, sums, squares, ends, int("squares" in self.wants))
            return self._wanted(sums, squares, ends)
        unit, square_unit = self.units
        sums, squares = new_limbs(count, unit), new_limbs(count, square_unit)
        if dtype == _F32:
            keys = _new_ends(count, _I32, np.iinfo(np.int32).max, np.iinfo(np.int32).min)
            bits = values.view(np.int32)
            loop("fold_singles")(values, bits, valid, runs.where, runs.weights, sums, squares, keys, unit, square_unit)
            return self._wanted(sums, squares, _value_of(keys))
        ends = _new_ends(count, _F64, np.inf, -np.inf)
        loop("fold_doubles")(values, valid, runs.where, runs.weights, sums, squares, ends, unit, square_unit)
        return self._wanted(sums, squares, ends + 0.0)  # for minus zero is as small as zero

    def _wanted(self, sums: Array, squares: Array, ends: Array) -> dict[str, Array]:
        found = {"sums": carried(sums), "squares": carried(squares)} if self.units[0] else {}
        if "squares" not in self.wants:
            found.pop("squares", None)
        return found | ({"low": ends[:, 0], "high": ends[:, 1]} if "ends" in self.wants else {})


def _new_ends(count: int, dtype: np.dtype, low: float, high: float) -> Array:
    ends = np.empty((count, 2), dtype)
    ends[:, 0], ends[:, 1] = low, high
    return ends


def _value_of(keys: Array) -> Array:
    """The floats of keys in their order: see `zonal_loops.fold_singles`. Zones without cells have NaN."""
    bits = np.where(keys < 0, keys ^ 0x7FFFFFFF, keys).astype(np.int32)
    found = bits.view(np.float32).astype(np.float64) + 0.0
    none = keys[:, 0] > keys[:, 1]
    found[none] = np.inf, -np.inf
    return found


def carried(limbs: Array) -> Array:
    """Limbs with all but the highest below 2 ** 32, so that they can be added up two billion times more."""
    for k in range(limbs.shape[1] - 3):
        limbs[:, k + 1] += limbs[:, k] >> 32
        limbs[:, k] &= 0xFFFFFFFF
    return limbs


def whole_numbers(limbs: Array) -> list[int]:
    """The integers that carried limbs stand for."""
    lower = np.ascontiguousarray(limbs[:, :-3], "<u4").view(np.uint8)
    upper = np.ascontiguousarray(limbs[:, -3:-2], "<i8").view(np.uint8)
    rows = np.concatenate([lower, upper], axis=1)
    return [int.from_bytes(row.tobytes(), "little", signed=True) for row in rows]


@dataclass(frozen=True, slots=True)
class Weights:
    """How much of each zone counts: cells, or sums of shares in their units."""

    counts: Array  # (zone,) cells
    shares: list[int] | None  # sums of shares, if cells have such

    @property
    def column(self) -> Array:
        """As a table has it."""
        return self.counts if self.shares is None else np.array([quotient(one, 1 << SHARE_UNIT) for one in self.shares])

    def units(self, unit: int) -> list[int]:
        """In units of which a whole has 2 ** so many."""
        return (
            [n << unit for n in self.counts.tolist()]
            if self.shares is None
            else [n << unit - SHARE_UNIT for n in self.shares]
        )


def column_of(fold: Fold, parts: Mapping[str, Array], weights: Weights) -> Array:
    """A column of amounts: NaN for the mean, the deviation and the extremes of a zone without cells that count."""
    if fold in {"min", "max"}:
        ends, none = parts["low" if fold == "min" else "high"], weights.counts == 0
        return np.where(none, np.nan, ends) if none.any() else ends
    unit = _UNIT_OF[parts["sums"].shape[1] - 2]
    sums, infinite = whole_numbers(parts["sums"]), parts["sums"][:, -2:].tolist()
    if fold == "sum":
        if unit == 0 and all(-(2**63) <= total < 2**63 for total in sums):
            return np.array(sums, np.int64)
        return np.array([_plain(*row, 1 << unit) for row in zip(sums, infinite, strict=True)], np.float64)
    if fold == "mean":
        rows = zip(sums, infinite, weights.units(unit), strict=True)
        return np.array([_plain(*row) if row[2] else math.nan for row in rows])
    squares, counts = whole_numbers(parts["squares"]), weights.counts.tolist()
    if weights.shares is not None:
        fine = _UNIT_OF[parts["squares"].shape[1] - 2]
        sums, counts = [total << fine - unit for total in sums], weights.units(fine)
    unit = 0 if weights.shares is not None else 1 << unit
    return np.array([_deviation(*row, unit) for row in zip(counts, sums, squares, infinite, strict=True)])


def _deviation(count: int, total: int, squares: int, ends: Sequence[int], one: int) -> float:
    """The standard deviation; ``one`` is a whole in units of the sum, 0 where all three are in the same units."""
    if not count or any(ends):
        return math.nan
    if one:
        return deviation(count, total, squares, one)
    return math.sqrt(max(quotient(squares * count - total * total, count * count), 0.0))


def _plain(total: int, ends: Sequence[int], divisor: int) -> float:
    """A quotient, unless cells are infinite: then NaN where there are both signs."""
    up, down = ends
    return math.inf * ((up > 0) - (down > 0)) if up or down else quotient(total, divisor)
