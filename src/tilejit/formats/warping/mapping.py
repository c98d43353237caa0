"""Where the cells of one grid lie in another's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import GridMismatchError
from tilejit.formats.gdal.reprojecting import points_in
from tilejit.grid import Grid, crs_name, same_crs_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_STEPS = 2.0**20
"""Steps of a cell to which places are rounded: what PROJ and arithmetic round differently elsewhere is gone then, and
whole cells are whole."""
_SAMPLES = 33  # places along each side at which two grids are compared
_GLOBAL = 1e-3  # cells that a raster around the world may lack, or have too many


@dataclass(frozen=True, slots=True)
class Relation:
    """How two grids lie to each other; the same for all parts of them."""

    rows_per_row: float
    """Rows of the source that one of the target's spans: 1 where they are alike, 2 where the target is coarser."""
    cols_per_col: float
    """So for columns."""
    turned: bool
    """Whether rows run so much across the source's rows that a cell's corners do not tell what it covers."""
    share: float
    """The part of the source that lies on the target, about."""


@dataclass(frozen=True)
class Mapping:
    """From places in one grid to those in another, in cells from the upper left corner: cell 3 lies from 3 to 4.

    Example:
        >>> mapping = Mapping(Grid(4, 4), Grid(2, 2, (2.0, 0.0, 0.0, 0.0, 2.0, 0.0)))
        >>> mapping.at(np.array([1.0]), np.array([3.0])).ravel().tolist()
        [1.5, 0.5]
    """

    target: Grid  # where the places are told
    source: Grid  # where they are looked for

    def __post_init__(self) -> None:
        if (self.target.crs is None) != (self.source.crs is None):
            told = f"{crs_name(self.source.crs)} and {crs_name(self.target.crs)}"
            raise GridMismatchError(
                f"one of two grids has a CRS: {told}: give the other its own, as rio edit-info --crs EPSG:… FILE, or "
                f"Grid(…, crs=…)\n  {self.source}\n  {self.target}"
            )

    @property
    def is_affine(self) -> bool:
        """Whether both are in one CRS, so that PROJ is not asked."""
        return same_crs_name(self.target.crs, self.source.crs)

    @cached_property
    def period(self) -> float:
        """The columns after which the source's CRS comes back to the same place; 0 where it does not."""
        metric, width = self.source.metric, self.source.cell_width
        if self.source.is_rotated or metric.kind not in {"geographic", "mercator"}:
            return 0.0
        turn = 2 * math.pi * (metric.semi_major if metric.kind == "mercator" else 1 / metric.unit)
        period = turn / width
        return float(self.source.width) if self.wraps_at(period) else round(period * _STEPS) / _STEPS

    def wraps_at(self, period: float) -> bool:
        """Whether the source goes around the world, so that its last column has the first one beside it."""
        return abs(period - self.source.width) < _GLOBAL

    @property
    def wraps(self) -> bool:
        """See `wraps_at`."""
        return self.period > 0 and self.wraps_at(self.period)

    def at(self, rows: Floats, cols: Floats) -> Floats:
        """Find (2, row, col): the column and the row of the source at rows and columns of the target.

        NaN where the source's CRS has no such place.
        """
        return self.places(*np.meshgrid(rows, cols, indexing="ij"))

    def places(self, rows: Floats, cols: Floats) -> Floats:
        """Find the column and the row of the source at places of the target, of any shape."""
        a, b, c, d, e, f = self.target.transform
        x, y = a * cols + b * rows + c, d * cols + e * rows + f
        if not self.is_affine and self.target.crs and self.source.crs:
            x, y = points_in(self.target.crs, self.source.crs, x, y)
        a, b, c, d, e, f = self.source.transform
        x, y, determinant = x - c, y - f, a * e - b * d
        if b == d == 0:
            found = np.array((x / a, y / e))
        else:
            found = np.array(((e * x - b * y) / determinant, (a * y - d * x) / determinant))
        return np.rint(found * _STEPS) / _STEPS

    def relation(self, name: str) -> Relation:
        """Compare both by some places that they have in common.

        Args:
            name: The source's, for messages.

        Raises:
            GridMismatchError: They have none.
        """
        (height, width), back = self.target.shape, Mapping(self.source, self.target)
        rows, cols = (np.linspace(0.5, side - 0.5, _SAMPLES) for side in (height, width))
        found = self.normal(self.at(rows, cols))
        inside = self._inside(found, self.source)
        share = inside.mean() * height * width
        grid = np.stack(np.meshgrid(rows, cols, indexing="ij"))[:, inside]
        own_rows, own_cols = (np.linspace(0.5, side - 0.5, _SAMPLES) for side in self.source.shape)
        there = back.normal(back.at(own_rows, own_cols))
        meets = back._inside(there, self.target)
        common = np.concatenate([grid, there[::-1][:, meets]], axis=1)
        if not common.size:
            raise GridMismatchError(
                f"{name} does not lie on the grid that it is wanted on: take bounds that it has, as "
                f"raster.grid.to_crs(crs).bounds\n  {name}: {self.source}\n  wanted: {self.target}"
            )
        ahead, down = self._slopes(*common)
        if not ahead.size:
            raise GridMismatchError(f"{name} has no place on the grid that it is wanted on\n  wanted: {self.target}")
        cols_per_col, rows_per_row = (_rounded(np.median(np.hypot(ahead[k], down[k]))) for k in (0, 1))
        diagonal, other = np.abs(ahead + down), np.abs(ahead - down)
        turned = bool((np.maximum(diagonal, other) > 2 * np.minimum(diagonal, other)).any())
        by_area = share * cols_per_col * rows_per_row / (self.source.height * self.source.width)
        return Relation(rows_per_row, cols_per_col, turned, float(min(1.0, max(by_area, meets.mean()))))

    def normal(self, found: Floats) -> Floats:
        """Places with their columns within one period around the source."""
        if self.period > 0:
            start = (self.source.width - self.period) / 2
            found[0] -= self.period * np.floor((found[0] - start) / self.period)
        return found

    @staticmethod
    def _inside(found: Floats, grid: Grid) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            inside = (found[0] >= 0) & (found[0] < grid.width) & (found[1] >= 0) & (found[1] < grid.height)
        return np.asarray(inside, np.bool_)

    def _slopes(self, rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
        """How many columns and rows of the source one goes ahead, a column to the right and a row down."""
        rows, cols = np.clip(rows, 0.5, self.target.height - 0.5), np.clip(cols, 0.5, self.target.width - 0.5)
        right, left = self.places(rows, cols + 0.5), self.places(rows, cols - 0.5)
        lower, upper = self.places(rows + 0.5, cols), self.places(rows - 0.5, cols)
        ahead, down = right - left, lower - upper
        if self.period > 0:
            for step in (ahead, down):
                step[0] -= self.period * np.rint(step[0] / self.period)
        is_known = np.isfinite(ahead).all(axis=0) & np.isfinite(down).all(axis=0)
        return ahead[:, is_known], down[:, is_known]


def _rounded(value: Any) -> float:
    """To four digits: how much coarser a grid is decides over every cell, and PROJ's last digits should not."""
    return float(f"{float(value):.4g}")
