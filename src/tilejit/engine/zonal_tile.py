"""A tile as zonal reductions see it: its zones, its bands in the dtypes that loops take, and the cells that count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.amounts import folded_as, loop
from tilejit.engine.reductions import contiguous
from tilejit.engine.runs import Runs, Zones, run_functions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.native_function import Functions
    from tilejit.window import Window

    Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True)
class ZonalTile:
    """The zones of a tile, and bands of values."""

    runs: Runs  # its zones
    dtypes: tuple[np.dtype, ...]  # those of the bands as they come
    bands: tuple[Array, ...]  # (row, col), each
    flags: NDArray[np.uint8]  # (row, col): where cells count, for all bands hold data
    window: Window  # where it lies

    @classmethod
    def strips(
        cls, zones: Zones | None, cells: Sequence[Array], valid: Sequence[NDArray[np.bool_] | None], window: Window
    ) -> Iterator[ZonalTile]:
        """The tile of a window; of zones that overlap deeply, in pieces: see `of`."""
        for rows, part in [(slice(None), window)] if zones is None else zones.strips(window):
            known = [None if flags is None else flags[rows] for flags in valid]
            yield cls.of(zones, [band[rows] for band in cells], known, part)

    @classmethod
    def of(
        cls, zones: Zones | None, cells: Sequence[Array], valid: Sequence[NDArray[np.bool_] | None], window: Window
    ) -> ZonalTile:
        """The tile of a window.

        Args:
            zones: Where zones come from; None for the first band.
            cells: Bands; NaN is no value.
            valid: Where each of them counts; None for everywhere.
            window: Where it lies.
        """
        first = 1 if zones is None else 0
        runs = Runs.of(cells[0], valid[0]) if zones is None else zones.runs(window)
        dtypes, is_weighted = tuple(band.dtype for band in cells[first:]), zones is not None and zones.is_weighted
        bands = tuple(
            np.ascontiguousarray(band, folded_as(band.dtype, is_weighted=is_weighted)) for band in cells[first:]
        )
        flags = np.ones(window.shape, np.uint8)
        for band, known in zip(bands, valid[first:], strict=True):
            if known is not None:
                flags &= known
            if band.dtype.kind == "f":
                loop("clear_nan")(band, flags)
        return cls(runs, dtypes, bands, flags, window)

    def frame(self, flips: tuple[bool, bool]) -> Array:
        """The raster's row of the tile's first one and the step to the next, and so for columns."""
        w = self.window
        rows, cols = (
            ((w.row_end - 1, -1) if flips[0] else (w.row_off, 1)),
            ((w.col_end - 1, -1) if flips[1] else (w.col_off, 1)),
        )
        return np.array([*rows, *cols])


def tile_functions(zones: Zones | None, dtypes: Sequence[np.dtype]) -> Functions:
    """The native functions that `ZonalTile.of` calls for bands of some dtypes."""
    found = run_functions(dtypes[0]) if zones is None else zones.functions()
    is_weighted = zones is not None and zones.is_weighted
    bands = {folded_as(dtype, is_weighted=is_weighted) for dtype in dtypes[zones is None :]}
    flags = np.dtype(np.uint8), 2
    return found + [(loop("clear_nan"), contiguous((band, 2), flags)) for band in bands if band.kind == "f"]
