"""The pass before a table with percentiles: which prefixes of values their ranks have in each zone."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.engine.keys import Counted, Targets, counted, key_functions, keys_of, merged, prefix_shift, whole
from tilejit.engine.zonal_tile import ZonalTile, tile_functions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.native_function import Functions
    from tilejit.engine.partials import State
    from tilejit.engine.runs import Zones
    from tilejit.window import Window


@dataclass(frozen=True, slots=True)
class Ranking:
    """Counts of cells by zone and the first digits of their values.

    Example:
        >>> from tilejit.window import Window
        >>> ranking = Ranking("ranks", ((0, (50.0,)),))
        >>> state = ranking.of([np.ones((1, 3), int), np.float32([[1, 2, 4]])], [None, None], Window(0, 0, 1, 3))
        >>> ranking.finalize(state)[0].totals.tolist()
        [[1, 3]]
    """

    name: str
    percents: tuple[tuple[int, tuple[float, ...]], ...]  # the bands of values that have percentiles, and which
    zones: Zones | None = None  # where zones come from; None for the first band

    state_bytes: ClassVar[int] = 0
    cell_bytes: ClassVar[int] = 8 + 16 + 2 + 16
    """Zones, a run for each cell at worst, flags, a copy of a band, and its keys."""

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        return tile_functions(self.zones, dtypes) + key_functions()

    def init(self) -> State:
        """No zone."""
        return {}

    def of(self, cells: Sequence[NDArray[Any]], valid: Sequence[NDArray[np.bool_] | None], window: Window) -> State:
        """The counts of one tile: see `tilejit.engine.reductions.Reduction.of`."""
        return functools.reduce(self.combine, map(self._of, ZonalTile.strips(self.zones, cells, valid, window)))

    def _of(self, tile: ZonalTile) -> State:
        if not tile.runs.zones.size:
            return self.init()
        bands = ((number, tile.bands[number]) for number, _ in self.percents)
        return {
            number: (prefix_shift(band.dtype), counted(keys_of(band), tile.flags, tile.runs, prefix_shift(band.dtype)))
            for number, band in bands
        }

    def combine(self, one: State, other: State) -> State:
        """Both together."""
        if not one or not other:
            return one or other
        return {number: (shift, merged(pieces, other[number][1])) for number, (shift, pieces) in one.items()}

    def finalize(self, state: State) -> dict[int, Targets]:
        """The prefixes of each band."""
        is_weighted = self.zones is not None and self.zones.is_weighted
        found = {}
        for number, percents in self.percents:
            shift, pieces = state.get(number, (0, []))
            entries = whole(pieces)
            counts = Counted(entries, np.unique(entries[:, 0]), is_weighted)
            found[number] = counts.targets(percents, shift)
        return found
