"""Counts of cells by zone and key: what majorities, varieties, histograms and exact percentiles are read from.

A key is an integer in the order of values: an integer itself, the bits of a float, or the number of a class.
Percentiles of wide values take two passes: the first counts keys without their last digits and tells which prefix each
rank has; the second counts whole keys of the cells that have one of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit.native_function import Functions, NativeFunction
from tilejit.engine.partials import gathered
from tilejit.engine.reductions import contiguous
from tilejit.errors import MemoryLimitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.engine.runs import Runs

    Array = NDArray[Any]

MOST_ENTRIES = 20_000_000  # entries that a table may have, of 24 bytes each
SHARE_UNITS = 1 << 30  # what a whole cell counts where cells count by shares: these are rounded to 1e-9
_LOOPS = Path(__file__).with_name("key_loops.py")
_U8, _I32, _I64 = (np.dtype(name) for name in ("u1", "i4", "i8"))
_TABLE = 1 << 12  # how many places the hash table of a tile begins with


@dataclass(frozen=True, eq=False, slots=True)
class Targets:
    """Prefixes of the keys that ranks have, by zone, and how much lies below each; in the order of both."""

    entries: Array  # (target, 3): zone, prefix, and what the cells of the zone count that have a lesser one
    shift: int  # how far keys are shifted to prefixes
    totals: Array  # (zone, 2): zone, and what its cells count

    def spans(self, zones: Array) -> Array:
        """(zone, 2): the targets of each zone, from one and up to another."""
        return np.stack([np.searchsorted(self.entries[:, 0], zones, side) for side in ("left", "right")], axis=1)

    def totals_of(self, zones: Array) -> Array:
        """What the cells of some zones count, in whose order there are all that have some."""
        found = np.zeros(zones.size, np.int64)
        found[np.searchsorted(zones, self.totals[:, 0])] = self.totals[:, 1]
        return found


def prefix_shift(dtype: np.dtype) -> int:
    """How many digits of a key the first pass leaves out: of float32 it has 7 of the mantissa, of float64 8."""
    return 16 if dtype.itemsize == 4 else 44


def loop(name: str) -> NativeFunction:
    """A function of `tilejit.engine.key_loops` as machine code."""
    return NativeFunction.of_loops(_LOOPS, name)


def key_functions() -> Functions:
    """The native functions that `counted` and `merged` call."""
    entries = contiguous((_I64, 2))[0]
    cells = contiguous((_I64, 2), (_U8, 2), (_I32, 2), (_I64, 1), (_I64, 2), (_I64, 1), (_I64, 1), (_I64, 2), (_I64, 1))
    return [(loop("count_keys"), cells), (loop("merge_entries"), (entries, entries, entries))]


NOWHERE = np.iinfo(np.int64).max  # the place of the extremes of a zone without cells that count


def place_functions(dtype: np.dtype) -> Functions:
    """The native functions that `find_first` calls for a band of a dtype."""
    ends = np.dtype(np.float64) if dtype.kind == "f" else _I64
    return [(loop("find_extreme"), contiguous((dtype, 2), (_U8, 2), (_I32, 2), (ends, 1), (_I64, 1), (_I64, 1)))]


def find_first(values: Array, valid: Array, runs: Runs, ends: Array, frame: Array) -> Array:
    """The row times 2 ** 32, and the column, of the first cell of each zone that is an extreme.

    Args:
        values: (row, col).
        valid: Where cells count.
        runs: The zones.
        ends: (zone,) the extremes.
        frame: See `tilejit.engine.zonal_tile.ZonalTile.frame`.
    """
    found = np.full(ends.size, NOWHERE)
    loop("find_extreme")(values, valid, runs.where, np.ascontiguousarray(ends), frame, found)
    return found


def keys_of(values: Array) -> Array:
    """Keys in the order of values; both zeros have one."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    bits = (values + values.dtype.type(0)).view(f"i{values.dtype.itemsize}")
    keys: Array = np.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits).astype(np.int64)
    return keys


def values_of(keys: Array, dtype: np.dtype) -> Array:
    """The values of keys: what `keys_of` made them of."""
    if dtype.kind != "f":
        return keys
    bits = keys.astype(f"i{dtype.itemsize}")
    return np.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits).view(dtype).astype(np.float64)


def classes_of(values: Array, edges: Sequence[float]) -> Array:
    """The number of the class of each value; -1 and the number of classes for what lies outside.

    A class has its lower edge, and the last both, as with `numpy.histogram`.
    """
    found = np.searchsorted(edges, values, "right") - 1
    found[values == edges[-1]] = len(edges) - 2
    return found.astype(np.int64)


def counted(keys: Array, valid: Array, runs: Runs, shift: int = 0, targets: Targets | None = None) -> list[Array]:
    """The entries of one tile: one piece of what `merged` takes.

    Args:
        keys: (row, col).
        valid: Where cells count.
        runs: The zones.
        shift: How many digits of keys are left out.
        targets: The prefixes of the cells that count; None for all.
    """
    units = np.zeros(0, np.int64) if runs.shares is None else np.rint(runs.shares * SHARE_UNITS).astype(np.int64)
    spans = np.zeros((0, 2), np.int64) if targets is None else targets.spans(runs.zones)
    prefixes = np.zeros(0, np.int64) if targets is None else np.ascontiguousarray(targets.entries[:, 1])
    shifts, size = np.array([0 if targets is None else targets.shift, shift]), _TABLE
    while True:
        table, counts = np.full((size, 2), -1, np.int64), np.zeros(size, np.int64)
        count = loop("count_keys")(keys, valid, runs.where, units, spans, prefixes, shifts, table, counts)
        if count >= 0:
            break
        size *= 8
    used = np.flatnonzero(table[:, 0] >= 0)
    order = np.argsort(runs.zones)
    ranks, keys = np.argsort(order)[table[used, 0]], table[used, 1]
    used = used[_order(ranks, keys)]
    return [_checked(np.stack([runs.zones[table[used, 0]], table[used, 1], counts[used]], axis=1))]


def _order(ranks: Array, keys: Array) -> Array:
    """What sorts entries by zone and key; where both fit in one number a sort of that takes a fifth of the time."""
    low, high = (keys.min(), keys.max()) if keys.size else (0, 0)
    if int(high) - int(low) < 1 << 32:
        return np.argsort((ranks << 32) | (keys - low))
    return np.lexsort((keys, ranks))


def merged(one: Sequence[Array], other: Sequence[Array]) -> list[Array]:
    """The entries of both, in pieces: see `tilejit.engine.partials.gathered`."""
    return gathered([*one, *other], len, _merged)


def whole(pieces: Sequence[Array]) -> Array:
    """The entries of all pieces."""
    entries = np.zeros((0, 3), np.int64)
    for piece in reversed(pieces):
        entries = _merged(entries, piece)
    return entries


def _merged(one: Array, other: Array) -> Array:
    entries = np.empty((len(one) + len(other), 3), np.int64)
    count = loop("merge_entries")(one, other, entries)
    return _checked(entries[:count] if 4 * count > 3 * len(entries) else entries[:count].copy())


def _checked(entries: Array) -> Array:
    if len(entries) > MOST_ENTRIES:
        raise MemoryLimitError(
            f"majority, minority, variety and percentiles count the distinct values of each zone, and there are more "
            f"than {MOST_ENTRIES:,}: round the values in the kernel (round(value, 1)), or take fewer zones at a time"
        )
    return entries


@dataclass(frozen=True, slots=True)
class Counted:
    """Entries by zone, to be read.

    Args:
        entries: Those of some zones, in the order of these.
        zones: The zones, and those without an entry.
        is_weighted: Whether entries count shares.
    """

    entries: Array
    zones: Array
    is_weighted: bool

    @property
    def bounds(self) -> tuple[Array, Array]:
        """The first entry of each zone, and that after its last."""
        first, last = (np.searchsorted(self.entries[:, 0], self.zones, side) for side in ("left", "right"))
        return first, last

    def variety(self) -> Array:
        """How many values each zone has."""
        first, last = self.bounds
        varieties: Array = last - first
        return varieties

    def most(self, dtype: np.dtype, *, is_least: bool) -> Array:
        """The value that most cells of each zone have, or fewest; of several the least."""
        if not len(self.entries):
            return np.full(self.zones.size, math.nan)
        weight = self.entries[:, 2] if is_least else -self.entries[:, 2]
        order = self.entries[np.lexsort((self.entries[:, 1], weight, self.entries[:, 0]))]
        first, last = self.bounds
        return _or_nan(values_of(order[np.minimum(first, len(order) - 1), 1], dtype), first == last)

    def classes(self, count: int) -> Array:
        """(zone, class): what the cells of each class count."""
        table = np.zeros((self.zones.size, count), np.int64)
        inside = (self.entries[:, 1] >= 0) & (self.entries[:, 1] < count)
        entries = self.entries[inside]
        table[np.searchsorted(self.zones, entries[:, 0]), entries[:, 1]] = entries[:, 2]
        shares: Array = table / SHARE_UNITS
        return shares if self.is_weighted else table

    def starts(self, targets: Targets | None) -> Array:
        """What the cells of each entry's zone count that lie below it."""
        ends = np.cumsum(self.entries[:, 2])
        starts = ends - self.entries[:, 2]
        groups = self.entries[:, 0] if targets is None else self._targets_of(targets)
        begins = np.flatnonzero(np.append(True, groups[1:] != groups[:-1])) if len(groups) else np.zeros(0, int)
        lengths = np.diff(np.append(begins, len(groups)))
        below = 0 if targets is None else targets.entries[groups, 2]
        found: Array = starts - np.repeat(starts[begins], lengths) + below
        return found

    def _targets_of(self, targets: Targets) -> Array:
        """The target of each entry."""
        first, last = targets.spans(self.entries[:, 0]).T
        found: Array
        found, prefixes = first.copy(), self.entries[:, 1] >> targets.shift
        while (late := (found < last - 1) & (targets.entries[found, 1] != prefixes)).any():
            found[late] += 1
        return found

    def totals(self) -> Array:
        """What the cells of each zone count."""
        ends = np.append(0, np.cumsum(self.entries[:, 2]))
        first, last = self.bounds
        totals: Array = ends[last] - ends[first]
        return totals

    def ranks(self, percent: float, totals: Array) -> tuple[Array, Array, Array]:
        """The two ranks that a percentile lies between, and how far from the first; one rank where cells are weighted.

        As `numpy.percentile` has them: linear between ranks, and of weights the inverted distribution.
        """
        most = np.maximum(totals, 1) - 1
        if self.is_weighted:
            rank = np.clip(np.ceil(totals * (percent / 100)).astype(np.int64) - 1, 0, most)
            return rank, rank, np.zeros(rank.shape)
        place = most * (percent / 100)
        low = np.floor(place).astype(np.int64)
        return low, np.minimum(low + 1, most), place - low

    def at(self, ranks: Array, starts: Array) -> Array:
        """The entry of a rank of each zone; of zones without one it means nothing."""
        first, last = self.bounds
        low, high = first.copy(), np.maximum(last - 1, first)
        while (low < high).any():  # of the entries of each zone, the last that begins at the rank or before it
            middle = (low + high + 1) // 2
            is_before = starts[np.minimum(middle, len(starts) - 1)] <= ranks
            low, high = np.where(is_before, middle, low), np.where(is_before, high, np.maximum(middle - 1, low))
        return np.minimum(low, len(starts) - 1)

    def targets(self, percents: Sequence[float], shift: int) -> Targets:
        """The prefixes that the ranks of percentiles have, of entries whose keys are such."""
        starts, totals = self.starts(None), self.totals()
        found = [self.at(rank, starts)[totals > 0] for p in percents for rank in self.ranks(p, totals)[:2]]
        chosen = np.unique(np.concatenate(found))
        entries = np.stack([*self.entries[chosen, :2].T, starts[chosen]], axis=1)
        return Targets(entries, shift, np.stack([self.zones, totals], axis=1))

    def percentile(self, percent: float, dtype: np.dtype, targets: Targets | None) -> Array:
        """A percentile of each zone: NaN where no cell counts."""
        if not len(self.entries):
            return np.full(self.zones.size, math.nan)
        told = self.totals() if targets is None else targets.totals_of(self.zones)
        starts, (first, second, share) = self.starts(targets), self.ranks(percent, told)
        values = values_of(self.entries[:, 1], dtype).astype(np.float64)
        low, high = (values[self.at(rank, starts)] for rank in (first, second))
        with np.errstate(invalid="ignore"):  # of infinite values
            step = high - low
            between = np.where(share < 0.5, low + step * share, high - step * (1 - share))
        return _or_nan(np.where(low == high, low, between), told == 0)


def _or_nan(values: Array, none: Array) -> Array:
    return np.where(none, np.nan, values) if none.any() else values
