"""Pieces of zonal tables, joined zone by zone: in any order with the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.amounts import carried
from tilejit.engine.keys import NOWHERE, merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

Piece = dict[str, Any]  # zones in order, and parts of a table: rows for each of them, or entries of keys


def size_of(piece: Piece) -> int:
    """How many zones a piece has."""
    return len(piece["zone"])


def joined(one: Piece, other: Piece) -> Piece:
    """Both together, zone by zone."""
    ids = np.concatenate([one["zone"], other["zone"]])
    ids.sort(kind="stable")  # which merges what is sorted
    ids = ids[np.append(True, ids[1:] != ids[:-1])]
    places = [np.asarray(np.searchsorted(ids, state["zone"])) for state in (one, other)]
    both: Piece = {"zone": ids}
    for name, part in one.items():
        kind = name.partition(":")[2] or name
        if kind in _JOINS:
            both[name] = _joined(kind, [part, other[name]], places, ids.size)
        elif kind == "dtype":
            both[name] = part
        elif kind != "zone":
            both[name] = merged(part, other[name])
    for name in (name for name in both if name.endswith("_at")):
        ends = name.removesuffix("_at")
        for state, place in zip((one, other), places, strict=True):
            hidden = state[ends] != both[ends][place]
            both[name][place] = np.minimum(both[name][place], np.where(hidden, NOWHERE, state[name]))
    return both


_JOINS = {"counts", "sums", "squares", "known", "unknown", "low", "high", "low_at", "high_at"}
"""Parts of a state that have a row for each zone."""


def _joined(kind: str, arrays: Sequence[Array], places: Sequence[Array], count: int) -> Array:
    """A part of two tables; places of extremes are left for when these are known."""
    (one, other), (first, second) = arrays, places
    if kind.endswith("_at"):
        return np.full(count, NOWHERE)
    if kind not in {"low", "high"}:
        joined = np.zeros((count, *one.shape[1:]), np.int64)
        joined[first] = one
        both = joined[second] + other
        joined[second] = both if kind == "counts" else carried(both)
        return joined
    joined = np.full(count, _never(one.dtype, is_least=kind == "low"), one.dtype)
    joined[first] = one
    joined[second] = (np.minimum if kind == "low" else np.maximum)(joined[second], other)
    return joined


def _never(dtype: np.dtype, *, is_least: bool) -> float:
    """What is never the least value of a zone, or never the greatest."""
    if dtype.kind == "f":
        return np.inf if is_least else -np.inf
    return int(np.iinfo(dtype).max if is_least else np.iinfo(dtype).min)
