"""Zonal tables: a partial that has a row for each zone, made of the cells that kernels compute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.engine.reductions import bits_of, contiguous, deviation, loop, quotient
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

_LIMBS = {(23, False): 10, (23, True): 19, (52, False): 68, (52, True): 135}
"""Limbs of 32 bits that sums of floats take, by the digits of a mantissa, and of their squares."""
_INTEGER_LIMBS = 3
_LOOPS: Mapping[Fold, tuple[str, ...]] = {
    "sum": ("sum_floats",),
    "mean": ("sum_floats",),
    "std": ("sum_floats", "sum_squares"),
    "min": ("extremes",),
    "max": ("extremes",),
}
"""The loops of each fold; sums of integers have one of their own."""
_U8, _I32, _I64 = np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.int64)
_NUMBER = _I64, 0, ""
_RUNS = [(_I32, 1)] * 4


@dataclass(frozen=True, slots=True)
class ZonalTable:
    """A table by zone: the reduction of a band of zones and of one band for each column.

    Rows are in the order of zones' numbers. Sums are exact until they are rounded at the end, so that a table has the
    same bits however its raster is cut.

    Example:
        >>> from tilejit.window import Window
        >>> table = ZonalTable("by zone", (("total", "sum"),))
        >>> cells = [np.int16([[7, 7, 9]]), np.float32([[1, 2, np.nan]])]
        >>> state = table.of(cells, [None, None], Window(0, 0, 1, 3))
        >>> {name: column.tolist() for name, column in table.finalize(state).items()}
        {'zone': [7, 9], 'total': [3.0, 0.0], 'cells': [2, 0], 'nodata': [0, 1]}
    """

    name: str
    columns: tuple[tuple[str, Fold], ...]
    """Name and fold of each column."""
    zones: Zones | None = None
    """Where zones come from; None for the first band."""

    state_bytes: ClassVar[int] = 0
    """How many zones there are is not known before; each takes 16 bytes, and up to 88 for a sum of float32."""

    @property
    def cell_bytes(self) -> int:
        """Zones, a run for each cell at worst, flags, and a copy of a column."""
        return 8 + 16 + 2 + 8

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        found: Functions = [(loop("count_cells"), contiguous((_U8, 2), *_RUNS, (_I64, 2)))]
        if self.zones is None:
            found += run_functions(dtypes[0])
        for (_, fold), dtype in zip(self.columns, dtypes[self.zones is None :], strict=True):
            if dtype.kind == "f":
                found.append((loop("leave_out_nan"), contiguous((dtype, 2), (_U8, 2))))
            flags = contiguous((_U8, 2), *_RUNS)
            bits = np.dtype(np.uint32 if dtype == np.float32 else np.uint64)
            for name in _LOOPS[fold]:
                if fold in {"min", "max"}:
                    ends = contiguous((_folded_as(dtype), 1))
                    found.append((loop(name), (*contiguous((dtype, 2)), *flags, *ends, _NUMBER)))
                elif fold == "sum" and _folded_as(dtype) == _I64:
                    found.append((loop("sum_integers"), (*contiguous((dtype, 2)), *flags, *contiguous((_I64, 2)))))
                else:
                    found.append((loop(name), (*contiguous((bits, 2)), *flags, *contiguous((_I64, 2)), _NUMBER)))
        return found

    def init(self) -> State:
        """No zone."""
        return {"zone": np.zeros(0, np.int64)}

    def of(self, cells: Sequence[Array], valid: Sequence[NDArray[np.bool_] | None], window: Window) -> State:
        """The table of one tile.

        Args:
            cells: (row, col): zones, if they come from a band, then the values of each column; NaN is no value.
            valid: Where each of them counts; None for everywhere.
            window: Where the tile lies.

        Raises:
            ReadError: A zone is no whole number, or none that 64 bits hold.
        """
        runs = Runs.of(cells[0], valid[0]) if self.zones is None else self.zones.runs(window)
        ids, first = runs.zones, int(self.zones is None)
        if not ids.size:
            return self.init()
        columns = [np.ascontiguousarray(values) for values in cells[first:]]
        flags = np.ones(window.shape, np.uint8)
        for values, known in zip(columns, valid[first:], strict=True):
            if known is not None:
                flags &= known
            if values.dtype.kind == "f":
                loop("leave_out_nan")(values, flags)
        counts = np.zeros((ids.size, 2), np.int64)
        loop("count_cells")(flags, *runs.where, counts)
        state: dict[str, Any] = {"zone": ids, "counts": counts}
        for (name, fold), values in zip(self.columns, columns, strict=True):
            state |= {f"{name}:{part}": array for part, array in _folded(fold, values, flags, runs).items()}
        order = np.argsort(ids)
        return {name: array[order] for name, array in state.items()}

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
        counts = state.get("counts", np.zeros((0, 2), np.int64))
        for name, fold in self.columns:
            parts = {key.partition(":")[2]: array for key, array in state.items() if key.startswith(f"{name}:")}
            table[name] = _column(fold, parts, counts[:, 0]) if ids.size else np.zeros(0)
        return table | {"cells": counts[:, 0], "nodata": counts[:, 1]}


def _folded_as(dtype: np.dtype) -> np.dtype:
    """The dtype that extremes have: of floats, and of unsigned integers that int64 does not hold, float64."""
    return np.dtype(np.float64) if dtype.kind == "f" or dtype == np.uint64 else _I64


def _ends(dtype: np.dtype) -> tuple[float, float]:
    """What is never the least value of a zone, and never the greatest."""
    return (np.inf, -np.inf) if dtype.kind == "f" else (np.iinfo(np.int64).max, np.iinfo(np.int64).min)


def _folded(fold: Fold, values: Array, valid: Array, runs: Runs) -> Mapping[str, Array]:
    """What a column has of one tile, by zone."""
    wide, count = _folded_as(values.dtype), runs.zones.size
    if fold in {"min", "max"}:
        found = np.full(count, _ends(wide)[fold == "max"], wide)
        loop("extremes")(values, valid, *runs.where, found, int(fold == "max"))
        return {fold: found}
    if fold == "sum" and wide == _I64:
        limbs = np.zeros((count, _INTEGER_LIMBS + 2), np.int64)
        loop("sum_integers")(values, valid, *runs.where, limbs)
        return {"integers": _carried(limbs)}
    bits, digits = bits_of(values if values.dtype == np.float32 else values.astype(np.float64, copy=False))
    parts = {}
    for name in _LOOPS[fold]:
        limbs = np.zeros((count, _LIMBS[digits, name == "sum_squares"] + 2), np.int64)
        loop(name)(bits, valid, *runs.where, limbs, digits)
        parts[name] = _carried(limbs)
    return parts


def _carried(limbs: Array) -> Array:
    """Limbs with all but the highest below 2 ** 32, so that they can be added up two billion times more."""
    for k in range(limbs.shape[1] - 3):
        limbs[:, k + 1] += limbs[:, k] >> 32
        limbs[:, k] &= 0xFFFFFFFF
    return limbs


def _joined(name: str, arrays: Sequence[Array], places: Sequence[Array], count: int) -> Array:
    """A column of two tables."""
    part, first = name.partition(":")[2], arrays[0]
    if part in {"min", "max"}:
        joined = np.full(count, _ends(first.dtype)[part == "max"], first.dtype)
        join = np.maximum if part == "max" else np.minimum
        for array, place in zip(arrays, places, strict=True):
            joined[place] = join(joined[place], array)
        return joined
    joined = np.zeros((count, *first.shape[1:]), np.int64)
    for array, place in zip(arrays, places, strict=True):
        joined[place] += array
    return joined if name == "counts" else _carried(joined)


def _column(fold: Fold, parts: Mapping[str, Array], cells: Array) -> Array:
    """The values of a column; NaN for the extremes of a zone without cells that count."""
    if fold in parts:
        return np.where(cells == 0, np.nan, parts[fold]) if (cells == 0).any() else parts[fold]
    if "integers" in parts:
        sums = [_whole(row[:-2]) for row in parts["integers"].tolist()]
        is_held = all(-(2**63) <= total < 2**63 for total in sums)
        return np.array(sums, np.int64 if is_held else np.float64)
    counts = [1] * len(cells) if fold == "sum" else cells.tolist()
    sums = parts["sum_floats"].tolist()
    rows = zip(sums, parts.get("sum_squares", parts["sum_floats"]).tolist(), counts, strict=True)
    return np.array([_value(fold, *row) for row in rows])


def _value(fold: Fold, limbs: list[int], squares: list[int], count: int) -> float:
    *digits, up, down = limbs
    unit = 1 << (149 if len(digits) == _LIMBS[23, False] else 1074)
    if not count or (fold == "std" and (up or down)):
        return math.nan
    if up or down:
        return math.inf * ((up > 0) - (down > 0))  # NaN where there are both
    total = _whole(digits)
    return deviation(count, total, _whole(squares[:-2]), unit) if fold == "std" else quotient(total, count * unit)


def _whole(limbs: Sequence[int]) -> int:
    return sum(limb << 32 * k for k, limb in enumerate(limbs))
