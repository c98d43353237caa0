"""Runs: the cells of a tile that belong to zones, as pieces of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilejit.engine.reductions import contiguous, loop
from tilejit.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tilejit.compiler.jit.native_function import Functions
    from tilejit.window import Window

    Array = NDArray[Any]

_U8, _I32, _I64 = np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.int64)
_TABLE = 1 << 10  # how many places the hash table of a tile's zones begins with; half of them are filled at most


@dataclass(frozen=True, eq=False)
class Runs:
    """The zones of a tile: a run is cells of one row that belong to one zone. Runs of several zones may overlap.

    Example:
        >>> runs = Runs.of(np.int32([[7, 7, 9, 0]]), np.array([[True, True, True, False]]))
        >>> runs.zones.tolist(), runs.slots.tolist(), runs.starts.tolist(), runs.stops.tolist()
        ([7, 9], [0, 1], [0, 2], [2, 3])
    """

    zones: NDArray[np.int64]  # (zone,) distinct zones of the tile, in any order
    slots: NDArray[np.int32]  # (run,) index into zones
    rows: NDArray[np.int32]  # (run,) row in the tile, as bodies see it: north-up
    starts: NDArray[np.int32]  # (run,) first column
    stops: NDArray[np.int32]  # (run,) column after the last
    shares: NDArray[np.float64] | None = None
    """(run,) share of each of its cells that belongs to the zone, a multiple of 2 ** -40 in (0, 1]; None: all of it."""

    @classmethod
    def of(cls, zones: Array, valid: NDArray[np.bool_] | None) -> Runs:
        """The runs of a raster of zones.

        Args:
            zones: (row, col), whole numbers of any dtype.
            valid: Where cells have a zone; None for everywhere. NaN is no zone.
        """
        cells, flags = _whole(zones, valid)
        places, size = np.empty((cells.size, 4), np.int32), _TABLE  # of which only what is written takes memory
        while True:
            keys, slots, ids = np.zeros(size, np.int64), np.full(size, -1, np.int32), np.empty(size // 2, np.int64)
            told = np.zeros(1, np.int64)
            count = loop("find_runs")(cells, flags, keys, slots, ids, places, told)
            if count >= 0:
                found = cls(ids[: told[0]], *places[:count].T)
                vars(found)["where"] = places[:count]
                return found
            size *= 8

    @cached_property
    def where(self) -> Array:
        """What loops take of them: (run, 4), slots, rows, starts, stops."""
        return np.stack([self.slots, self.rows, self.starts, self.stops], axis=1)

    @property
    def weights(self) -> NDArray[np.float64]:
        """What loops take of shares: none where cells are whole."""
        return np.zeros(0) if self.shares is None else self.shares


class Zones(Protocol):
    """Where zones come from, if not from a raster: frozen, and pickled to workers."""

    @property
    def is_weighted(self) -> bool:
        """Whether runs may have shares."""

    def strips(self, window: Window) -> Iterator[tuple[slice, Window]]:
        """Rows of a tile that are folded at a time, for their runs take bounded memory: north-up, and their window."""

    def runs(self, window: Window) -> Runs:
        """The runs of a tile, whose rows and columns count from the window's, north-up.

        A zone that is named there gets a row, also without a run.
        """

    def functions(self) -> Functions:
        """The native functions that it calls."""


def run_functions(dtype: np.dtype) -> Functions:
    """The native functions that `Runs.of` calls for zones of a dtype."""
    table = contiguous((_I64, 1), (_I32, 1), (_I64, 1))
    types = (*contiguous((_cells_of(dtype), 2), (_U8, 2)), *table, *contiguous((_I32, 2), (_I64, 1)))
    return [(loop("find_runs"), types)]


def _cells_of(dtype: np.dtype) -> np.dtype:
    """The dtype that zones of a dtype are looked through in: one of two, for each is compiled."""
    return _I32 if np.can_cast(dtype, _I32) else _I64


def _whole(zones: Array, valid: NDArray[np.bool_] | None) -> tuple[Array, NDArray[np.uint8]]:
    """Zones as signed integers, and flags of those that are some; no flags where all are."""
    flags = None if valid is None else np.ascontiguousarray(valid)
    if zones.dtype.kind == "f":
        flags = ~np.isnan(zones) if flags is None else flags & ~np.isnan(zones)
        odd = zones[flags & ((zones != np.trunc(zones)) | (np.abs(zones) >= 2.0**63))]
        if odd.size:
            raise ReadError(f"zones are whole numbers, and there is {odd[0]}: round them, or give an integer raster")
        zones = np.where(flags, zones, 0)
    elif zones.dtype == np.uint64 and (zones if flags is None else zones[flags]).max(initial=0) > np.iinfo(_I64).max:
        raise ReadError(f"zones are integers of up to 64 bits with a sign, and there is {zones.max()}")
    cells = np.ascontiguousarray(zones, _cells_of(zones.dtype))
    return cells, np.empty((0, 0), np.uint8) if flags is None else flags.view(np.uint8)
