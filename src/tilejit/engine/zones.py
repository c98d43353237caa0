"""Zonal tables: a partial that has a row for each zone, made of the cells that kernels compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.engine.amounts import LIMBS, RUNS, Amounts, Weights, carried, column_of, loop, new_limbs, whole_numbers
from tilejit.engine.reductions import contiguous
from tilejit.engine.runs import Runs, run_functions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.native_function import Functions
    from tilejit.engine.partials import State
    from tilejit.engine.runs import Zones
    from tilejit.kernel.zonal import Fold
    from tilejit.window import Window

    Array = NDArray[Any]

_WANTS: Mapping[Fold, tuple[str, ...]] = {
    "sum": ("sums",),
    "mean": ("sums",),
    "std": ("sums", "squares"),
    "min": ("ends",),
    "max": ("ends",),
}
"""What each fold takes of the cells; folds of one band share it."""
_FLAGS, _SHARES = (np.dtype(np.uint8), 2), (np.dtype(np.float64), 1)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        name: What it is called.
        fold: How it takes the values of a zone's cells.
        input: The band of values that it folds, from 0.
        constant: What every cell has instead.
    """

    name: str
    fold: Fold
    input: int = 0
    constant: float | None = None


@dataclass(frozen=True, slots=True)
class ZonalTable:
    """A table by zone: the reduction of zones and of bands of values.

    Rows are in the order of zones' numbers. Sums are exact until they are rounded at the end, so that a table has the
    same bits however its raster is cut.

    Example:
        >>> from tilejit.window import Window
        >>> table = ZonalTable("by zone", (Column("total", "sum"), Column("count", "sum", constant=1)))
        >>> cells = [np.int16([[7, 7, 9]]), np.float32([[1, 2, np.nan]])]
        >>> state = table.of(cells, [None, None], Window(0, 0, 1, 3))
        >>> {name: column.tolist() for name, column in table.finalize(state).items()}
        {'zone': [7, 9], 'total': [3.0, 0.0], 'count': [2, 0], 'cells': [2, 0], 'nodata': [0, 1]}
    """

    name: str
    columns: tuple[Column, ...]
    zones: Zones | None = None
    """Where zones come from; None for the first band."""

    state_bytes: ClassVar[int] = 0
    """How many zones there are is not known before; each takes 24 bytes, and 100 for a sum of float32."""

    @property
    def cell_bytes(self) -> int:
        """Zones, a run for each cell at worst, twice, flags, and a copy of a band."""
        return 8 + 32 + 2 + 8

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        types = contiguous(_FLAGS, RUNS, _SHARES, LIMBS, LIMBS, LIMBS)
        found: Functions = [(loop("count_cells"), types)]
        found += run_functions(dtypes[0]) if self.zones is None else self.zones.functions()
        for number, dtype in enumerate(dtypes[self.zones is None :]):
            found += self._amounts(number, dtype).functions
        return found

    @property
    def is_weighted(self) -> bool:
        """Whether cells may count by a share."""
        return self.zones is not None and self.zones.is_weighted

    def _amounts(self, number: int, dtype: np.dtype) -> Amounts:
        folds = (c.fold for c in self.columns if c.constant is None and c.input == number)
        return Amounts(dtype, frozenset(part for fold in folds for part in _WANTS[fold]), self.is_weighted)

    def init(self) -> State:
        """No zone."""
        return {"zone": np.zeros(0, np.int64)}

    def of(self, cells: Sequence[Array], valid: Sequence[NDArray[np.bool_] | None], window: Window) -> State:
        """The table of one tile.

        Args:
            cells: (row, col): zones, if they come from a band, then each band of values; NaN is no value.
            valid: Where each of them counts; None for everywhere.
            window: Where the tile lies.

        Raises:
            ReadError: A zone is no whole number, or none that 64 bits hold.
        """
        runs = Runs.of(cells[0], valid[0]) if self.zones is None else self.zones.runs(window)
        if not runs.zones.size:
            return self.init()
        first = int(self.zones is None)
        amounts = [self._amounts(number, values.dtype) for number, values in enumerate(cells[first:])]
        bands = [np.ascontiguousarray(band, one.folded_as) for band, one in zip(cells[first:], amounts, strict=True)]
        flags = np.ones(window.shape, np.uint8)
        for band, known in zip(bands, valid[first:], strict=True):
            if known is not None:
                flags &= known
            if band.dtype.kind == "f":
                loop("clear_nan")(band, flags)
        state = {"zone": runs.zones} | self._counted(flags, runs)
        for number, (one, band) in enumerate(zip(amounts, bands, strict=True)):
            state |= {f"{number}:{part}": array for part, array in one.of(band, flags, runs).items()}
        order = np.argsort(runs.zones)
        return {name: array[order] for name, array in state.items()}

    def _counted(self, flags: Array, runs: Runs) -> dict[str, Array]:
        """The cells of each zone that count, and that do not; and their shares."""
        size, unit = runs.zones.size, 1074 if self.is_weighted else 0
        counts, known, unknown = np.zeros((size, 2), np.int64), new_limbs(size, unit), new_limbs(size, unit)
        loop("count_cells")(flags, runs.where, runs.weights, counts, known, unknown)
        return {"counts": counts} | ({"known": carried(known), "unknown": carried(unknown)} if unit else {})

    def combine(self, one: State, other: State) -> State:
        """Both together, zone by zone."""
        if not one["zone"].size or not other["zone"].size:
            return one if one["zone"].size else other
        ids = np.concatenate([one["zone"], other["zone"]])
        ids.sort(kind="stable")  # which merges what is sorted
        ids = ids[np.append(True, ids[1:] != ids[:-1])]
        places = [np.searchsorted(ids, state["zone"]) for state in (one, other)]
        return {"zone": ids} | {
            name: _joined(name, [one[name], other[name]], places, ids.size) for name in one if name != "zone"
        }

    def finalize(self, state: State) -> dict[str, Array]:
        """The columns, ``zone`` first; then how many cells each zone has with values, and without."""
        ids, table = state["zone"], {"zone": state["zone"]}
        if not ids.size:
            return table | {name: np.zeros(0) for name in (*(c.name for c in self.columns), "cells", "nodata")}
        counts = state["counts"]
        known, unknown = (
            Weights(counts[:, k], whole_numbers(state[name]) if name in state else None)
            for k, name in enumerate(("known", "unknown"))
        )
        for column in self.columns:
            parts = {key.partition(":")[2]: array for key, array in state.items() if key.startswith(f"{column.input}:")}
            if column.constant is None:
                table[column.name] = column_of(column.fold, parts, known)
            else:
                table[column.name] = _of_constant(column.fold, column.constant, known)
        return table | {"cells": known.column, "nodata": unknown.column}


def _of_constant(fold: Fold, constant: float, weights: Weights) -> Array:
    """A column of cells that all have one value."""
    if fold == "sum":
        return weights.column * constant
    value, none = 0.0 if fold == "std" else constant, weights.counts == 0
    return np.where(none, np.nan, value) if none.any() else np.full(none.shape, value)


def _joined(name: str, arrays: Sequence[Array], places: Sequence[Array], count: int) -> Array:
    """A column of two tables."""
    part, (one, other), (first, second) = name.rpartition(":")[2], arrays, places
    if part not in {"low", "high"}:
        joined = np.zeros((count, *one.shape[1:]), np.int64)
        joined[first] = one
        both = joined[second] + other
        joined[second] = both if part == "counts" else carried(both)
        return joined
    joined = np.full(count, _never(one.dtype, is_least=part == "low"), one.dtype)
    joined[first] = one
    joined[second] = (np.minimum if part == "low" else np.maximum)(joined[second], other)
    return joined


def _never(dtype: np.dtype, *, is_least: bool) -> float:
    """What is never the least value of a zone, or never the greatest."""
    if dtype.kind == "f":
        return np.inf if is_least else -np.inf
    return int(np.iinfo(dtype).max if is_least else np.iinfo(dtype).min)
