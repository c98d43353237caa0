"""Polygons as zones: features, laid over a raster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from tilejit.engine.polygons import Cells, PolygonZones
from tilejit.errors import ParameterError
from tilejit.formats.vector import lay, read_features
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.vector import Features
    from tilejit.grid import Grid


@dataclass(frozen=True, eq=False, slots=True)
class PolygonLayer:
    """Polygons over a raster; several kernels may share one."""

    features: Features  # what they are in
    grid: Grid  # of the raster
    zones: PolygonZones  # which cells belong to each
    outside: NDArray[np.float64]  # the area of each that lies outside of the raster, in cells
    cells: Cells  # which cells belong to a polygon
    notes: tuple[str, ...]  # what was done to them, and what was assumed

    @classmethod
    def of(cls, zones: Any, grid: Grid, cells: Cells = "centre", layer: str | int | None = None) -> PolygonLayer:
        """Reads polygons and lays them over a raster: see `tilejit.formats.vector`."""
        if cells not in get_args(Cells):
            raise ParameterError(f"cells={cells!r}: it is one of {', '.join(map(repr, get_args(Cells)))}")
        features = read_features(zones, layer)
        polygons = lay(features, grid)
        found = PolygonZones.of(polygons, grid, cells)
        notes = polygons.notes if found.meets_raster else (*polygons.notes, "none of them meets the raster")
        return cls(features, grid, found, polygons.outside, cells, notes)

    @property
    def label(self) -> str:
        """What plans call them."""
        told = "".join(f"; {note}" for note in self.notes)
        return f"{counted(len(self.features.index), 'polygon')} of {self.features.name}, cells by {self.cells}{told}"

    def complete(self, columns: Mapping[str, NDArray[Any]], merged: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """A table's columns by features, with how many cells count, how many do not, and what is outside."""
        apart = {"cells": merged["cells"], "nodata": merged["nodata"], "outside": self.outside}
        if self.cells == "centre":
            apart["by_share"] = self.zones.by_share & (merged["cells"] + merged["nodata"] > 0)
        return (
            {"zone": self.features.index}
            | {name: columns[name] for name in columns if name != "zone"}
            | {name: column for name, column in apart.items() if name not in columns}
        )
