"""Zonal tables: a partial that has a row for each zone, made of the cells that kernels compute."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.engine.amounts import (
    LIMBS,
    RUNS,
    SHARE_UNIT,
    Amounts,
    Weights,
    carried,
    column_of,
    loop,
    new_limbs,
    whole_numbers,
)
from tilejit.engine.joining import Piece, joined, size_of
from tilejit.engine.keys import (
    NOWHERE,
    Counted,
    Targets,
    classes_of,
    counted,
    find_first,
    key_functions,
    keys_of,
    place_functions,
    whole,
)
from tilejit.engine.partials import State, gathered
from tilejit.engine.reductions import contiguous
from tilejit.engine.zonal_tile import ZonalTile, tile_functions
from tilejit.kernel.zonal import Fold, Histogram, Percentile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.native_function import Functions
    from tilejit.engine.runs import Runs, Zones
    from tilejit.window import Window

    Array = NDArray[Any]

_WANTS: Mapping[Fold, tuple[str, ...]] = {
    "sum": ("sums",),
    "mean": ("sums",),
    "std": ("sums", "squares"),
    "min": ("ends",),
    "max": ("ends",),
    "min_row": ("ends", "low_at"),
    "min_col": ("ends", "low_at"),
    "max_row": ("ends", "high_at"),
    "max_col": ("ends", "high_at"),
}
"""What each fold takes of the cells; folds of one band share it."""
OF_CONSTANTS = ("sum", "mean", "std", "min", "max")
"""Folds of a column whose cells all have one value that need no cells."""
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
    zones: Zones | None = None  # where zones come from; None for the first band
    flips: tuple[bool, bool] = (False, False)
    """Whether rows and columns of tiles run against the raster's: `Grid.flips`."""
    targets: Mapping[int, Targets] = field(default_factory=dict, compare=False)
    """Which prefixes the ranks of percentiles have, by band; of others whole values are counted in one pass."""

    state_bytes: ClassVar[int] = 0
    """How many zones there are is not known before; each takes 24 bytes, and 100 for a sum of float32."""

    @property
    def cell_bytes(self) -> int:
        """Zones, a run for each cell at worst, flags, a copy of a band, and its keys if there are any."""
        return 8 + 16 + 2 + 8 + 8 * any(keys_name(column.fold) != "" for column in self.columns)

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        found: Functions = [(loop("count_cells"), contiguous(_FLAGS, RUNS, _SHARES, LIMBS, LIMBS, LIMBS))]
        found += tile_functions(self.zones, dtypes)
        for number, dtype in enumerate(dtypes[self.zones is None :]):
            amounts = self._amounts(number, dtype)
            found += amounts.functions
            if {"low_at", "high_at"} & amounts.wants:
                found += place_functions(amounts.folded_as)
            if any(map(keys_name, self._folds(number))):
                found += key_functions()
        return found

    @property
    def is_weighted(self) -> bool:
        """Whether cells may count by a share."""
        return self.zones is not None and self.zones.is_weighted

    def given(self, result: Mapping[int, Targets]) -> ZonalTable:
        """The table that knows where the ranks of its percentiles lie: see `tilejit.engine.ranking.Ranking`."""
        return replace(self, targets=result)

    def _folds(self, number: int) -> list[Fold]:
        return [c.fold for c in self.columns if c.constant is None and c.input == number]

    def _amounts(self, number: int, dtype: np.dtype) -> Amounts:
        parts = frozenset(part for fold in self._folds(number) for part in _WANTS.get(fold, ()))
        return Amounts(dtype, parts, self.is_weighted)

    def init(self) -> State:
        """No zone."""
        return []

    def of(self, cells: Sequence[Array], valid: Sequence[NDArray[np.bool_] | None], window: Window) -> State:
        """The table of one tile.

        Args:
            cells: (row, col): zones, if they come from a band, then each band of values; NaN is no value.
            valid: Where each of them counts; None for everywhere.
            window: Where the tile lies.
        """
        state = self.init()
        for tile in ZonalTile.strips(self.zones, cells, valid, window):
            if tile.runs.zones.size:
                state = self.combine(state, [self._of(tile)])
        return state

    def _of(self, tile: ZonalTile) -> Piece:
        runs = tile.runs
        state, ragged = {"zone": runs.zones} | self._counted(tile.flags, runs), dict[str, Any]()
        for number, band in enumerate(tile.bands):
            parts = self._amounts(number, tile.dtypes[number]).of(band, tile.flags, runs)
            parts |= self._places(number, parts, tile)
            state |= {f"{number}:{part}": array for part, array in parts.items()}
            ragged |= {f"{number}:{part}": array for part, array in self._keys(number, tile).items()}
        order = np.argsort(runs.zones)
        return {name: array[order] for name, array in state.items()} | ragged

    def _places(self, number: int, parts: Mapping[str, Array], tile: ZonalTile) -> dict[str, Array]:
        """Where the extremes of a band lie."""
        wants = self._amounts(number, tile.dtypes[number]).wants & {"low_at", "high_at"}
        band, frame = tile.bands[number], tile.frame(self.flips)
        return {part: find_first(band, tile.flags, tile.runs, parts[part.partition("_")[0]], frame) for part in wants}

    def _keys(self, number: int, tile: ZonalTile) -> dict[str, Any]:
        """The cells of a band, counted by zone and value, or by class; and how keys become values."""
        band, found = tile.bands[number], dict[str, Any]()
        for fold in self._folds(number):
            name = keys_name(fold, is_ranked=number in self.targets)
            if name and name not in found:
                keys = classes_of(band, fold.edges) if isinstance(fold, Histogram) else keys_of(band)
                targets = self.targets[number] if name == "ranks" else None
                found |= {name: counted(keys, tile.flags, tile.runs, 0, targets), "dtype": band.dtype.str}
        return found

    def _counted(self, flags: Array, runs: Runs) -> dict[str, Array]:
        """The cells of each zone that count, and that do not; and their shares."""
        size, unit = runs.zones.size, SHARE_UNIT if self.is_weighted else 0
        counts, known, unknown = np.zeros((size, 2), np.int64), new_limbs(size, unit), new_limbs(size, unit)
        loop("count_cells")(flags, runs.where, runs.weights, counts, known, unknown)
        return {"counts": counts} | ({"known": carried(known), "unknown": carried(unknown)} if unit else {})

    def combine(self, one: State, other: State) -> State:
        """Both together, in pieces, for there may be millions of zones."""
        return gathered([*one, *other], size_of, joined)

    def finalize(self, state: State) -> dict[str, Array]:
        """The columns, ``zone`` first; then how many cells each zone has with values, and without."""
        if not state:
            names = *(column.name for column in self.columns), "cells", "nodata"
            return {"zone": np.zeros(0, np.int64)} | {name: np.zeros(0) for name in names}
        piece = functools.reduce(joined, reversed(state))
        ids, counts = piece["zone"], piece["counts"]
        table = {"zone": ids}
        known, unknown = (
            Weights(counts[:, k], whole_numbers(piece[name]) if name in piece else None)
            for k, name in enumerate(("known", "unknown"))
        )
        for column in self.columns:
            parts = {key.partition(":")[2]: part for key, part in piece.items() if key.startswith(f"{column.input}:")}
            if column.constant is not None:
                table[column.name] = _of_constant(column.fold, column.constant, known)
            elif name := keys_name(column.fold, is_ranked=column.input in self.targets):
                entries = Counted(whole(parts[name]), ids, self.is_weighted)
                table[column.name] = self._of_keys(column, entries, np.dtype(parts["dtype"]))
            elif isinstance(column.fold, str) and column.fold.endswith(("row", "col")):
                table[column.name] = _of_places(column.fold, parts)
            else:
                table[column.name] = column_of(column.fold, parts, known)
        return table | {"cells": known.column, "nodata": unknown.column}

    def _of_keys(self, column: Column, entries: Counted, dtype: np.dtype) -> Array:
        fold = column.fold
        if isinstance(fold, Histogram):
            return entries.classes(len(fold.edges) - 1)
        percent = percent_of(fold)
        if percent is not None:
            return entries.percentile(percent, dtype, self.targets.get(column.input))
        return entries.variety() if fold == "variety" else entries.most(dtype, is_least=fold == "minority")


def _of_constant(fold: Fold, constant: float, weights: Weights) -> Array:
    """A column of cells that all have one value."""
    if fold == "sum":
        return weights.column * constant
    value, none = 0.0 if fold == "std" else constant, weights.counts == 0
    return np.where(none, np.nan, value) if none.any() else np.full(none.shape, value)


def percent_of(fold: Fold) -> float | None:
    """The percent of a percentile; None of other folds."""
    if isinstance(fold, Percentile):
        return fold.percent
    return 50.0 if fold == "median" else None


def keys_name(fold: Fold, *, is_ranked: bool = False) -> str:
    """What the counts are called that a fold is read from; nothing of folds that take no keys."""
    if isinstance(fold, Histogram):
        return f"classes {fold.edges}"
    is_percentile = percent_of(fold) is not None
    if is_ranked and is_percentile:
        return "ranks"
    return "values" if is_percentile or fold in {"majority", "minority", "variety"} else ""


def _of_places(fold: str, parts: Mapping[str, Array]) -> Array:
    """The row or the column of the first of the least or the greatest cells; -1 where no cell counts."""
    found = parts["low_at" if fold.startswith("min") else "high_at"]
    return np.where(found == NOWHERE, -1, found >> 32 if fold.endswith("row") else found & 0xFFFFFFFF)
