"""A grid is where a raster's cells lie: height, width, transform and CRS together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tilejit.errors import ParameterError
from tilejit.grid.metric import Metric
from tilejit.grid.names import crs_name, same_crs_name, transform_text
from tilejit.grid.placing import IDENTITY, Placing, Transform

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from tilejit.window import Window

    Float64s = NDArray[np.float64]

_TRANSFORM_TOLERANCE = 1e-3
"""How far, in cells, two transforms may part and still be one grid for kernels: writers round to some decimals."""
_NO_METRIC = Metric()
_EQUAL_TOLERANCE = 1e-6
"""How far, in cells, those of equal grids may part: what arithmetic rounds."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid(Placing):
    """Where a raster's cells lie: ``tj.from_array`` takes one, ``tj.open(path).grid`` is one.

    Grids are equal whose corners lie within a millionth of a cell of each other, in one CRS.

    Raises:
        ValueError: A side has no cells, or the transform is not six finite numbers.

    Example:
        >>> grid = Grid(2, 3, (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_300_000.0), "EPSG:32633")
        >>> grid.cell_width, grid.x([0, 1, 2]).tolist()
        (30.0, [500015.0, 500045.0, 500075.0])
    """

    height: int
    """Rows, one or more."""
    width: int
    """Columns, one or more."""
    transform: Transform = IDENTITY
    """(a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f, at a cell's upper left corner; an
    ``affine.Affine`` is one."""
    crs: str | None = None
    """The coordinate reference system as WKT; ``tj.from_array`` also takes ``"EPSG:32633"``."""
    metric: Metric = _NO_METRIC
    """How the CRS's units turn into metres; ``tj.from_array`` and ``tj.open`` find it out."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a grid has one row and one column or more, not {self.height} x {self.width}")
        transform = tuple(float(value) for value in self.transform)
        if transform[6:] == (0.0, 0.0, 1.0):  # an affine.Affine has a third row
            transform = transform[:6]
        if len(transform) != 6 or not all(map(math.isfinite, transform)):
            raise ValueError(f"a transform is six finite numbers (a, b, c, d, e, f), not {self.transform}")
        object.__setattr__(self, "transform", transform)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        if self.shape != other.shape or self.metric != other.metric or not same_crs_name(self.crs, other.crs):
            return False
        return self.transform == other.transform or self.transform_gap(other) <= _EQUAL_TOLERANCE

    def __hash__(self) -> int:
        return hash(self.shape)  # which all have in common that are equal

    def __str__(self) -> str:
        size = f"{self.height} rows x {self.width} cols"
        if self.crs is None and self.transform == IDENTITY:
            return f"{size}, not georeferenced"
        a, _, c, _, e, f = self.transform
        return f"{size}, cell {a:.9g} x {e:.9g} from ({c:.9g}, {f:.9g}), {crs_name(self.crs)}"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def cell_width(self) -> float:
        """A cell's size along a row, in CRS units, positive."""
        return math.hypot(self.transform[0], self.transform[3])

    @property
    def cell_height(self) -> float:
        """A cell's size along a column, in CRS units, positive."""
        return math.hypot(self.transform[1], self.transform[4])

    @property
    def is_rotated(self) -> bool:
        """Whether rows do not run along x, or columns not along y."""
        return self.transform[1] != 0 or self.transform[3] != 0

    @property
    def is_north_up(self) -> bool:
        """Whether row 0 is the northernmost and column 0 the westernmost."""
        return not self.is_rotated and self.transform[0] > 0 > self.transform[4]

    @property
    def flips(self) -> tuple[bool, bool]:
        """Whether rows, and whether columns, are turned around for bodies, which see all rasters north-up.

        A raster that is not georeferenced is taken as it is. Of one that is rotated a mirror image is put right, so
        that east lies to the right of north; north is then the grid's.

        Example:
            >>> Grid(2, 2, (30.0, 0.0, 0.0, 0.0, 30.0, 0.0)).flips
            (True, False)
        """
        a, b, _, d, e, _ = self.transform
        if (a, b, d, e) == (1, 0, 0, 1) and (self.crs is None or self.transform == IDENTITY):
            return False, False
        east, north = self.metric.towards
        cols = a * east < 0
        return ((a * e - b * d) * east * north > 0) != cols, cols

    @property
    def facing(self) -> tuple[slice, slice]:
        """The index by which an array of its cells is seen north-up, as bodies see it; and by which it is put back."""
        rows, cols = (slice(None, None, -1 if flip else None) for flip in self.flips)
        return rows, cols

    def north_up(self) -> Grid:
        """The grid of the same place whose rows run south and whose columns run east, as bodies see it.

        Example:
            >>> Grid(2, 2, (30.0, 0.0, 0.0, 0.0, 30.0, 0.0)).north_up().transform
            (30.0, 0.0, 0.0, 0.0, -30.0, 60.0)
        """
        a, b, c, d, e, f = self.transform
        rows, cols = self.flips
        # 0.0 - x, for -x of 0 is another 0.
        if rows:
            b, c, e, f = 0.0 - b, c + b * self.height, 0.0 - e, f + e * self.height
        if cols:
            a, c, d, f = 0.0 - a, c + a * self.width, 0.0 - d, f + d * self.width
        return replace(self, transform=(a, b, c, d, e, f))

    @property
    def turn(self) -> float:
        """Degrees, clockwise, from north to the way up that bodies see."""
        _, b, _, _, e, _ = self.transform
        east, north = self.metric.towards
        sign = 1 if self.flips[0] else -1
        return math.degrees(math.atan2(sign * b * east, sign * e * north)) if self.is_rotated else 0.0

    def x(self, cols: ArrayLike) -> Float64s:
        """The x of the cells' centres in CRS units, for column numbers of any shape, also outside the raster.

        Raises:
            ParameterError: The grid is rotated, so x depends on the row as well.

        Example:
            >>> Grid(2, 2, (10.0, 0.0, 100.0, 0.0, -10.0, 50.0)).x([0, 1]).tolist()
            [105.0, 115.0]
        """
        self._require_unrotated("x")
        return (np.asarray(cols, dtype=np.float64) + 0.5) * self.transform[0] + self.transform[2]

    def y(self, rows: ArrayLike) -> Float64s:
        """The y of the cells' centres in CRS units, for row numbers of any shape, also outside the raster.

        Example:
            >>> Grid(2, 2, (10.0, 0.0, 100.0, 0.0, -10.0, 50.0)).y([0, 1]).tolist()
            [45.0, 35.0]
        """
        self._require_unrotated("y")
        return (np.asarray(rows, dtype=np.float64) + 0.5) * self.transform[4] + self.transform[5]

    def ground_width(self, rows: ArrayLike) -> Float64s:
        """What a cell of each row measures east to west on the ground, in metres.

        Geographic: N(latitude) cos(latitude) times the cell's longitude. Web Mercator: the same ground length
        over the map's, which is that of a sphere of radius a (EPSG Guidance Note 7-2, Popular Visualisation
        Pseudo Mercator). Projected: the cell's size times its unit; a projection's own scale (0.9996 at a UTM
        zone's middle) is left out.

        Raises:
            ParameterError: The raster has no CRS, is rotated and not projected, or reaches beyond a pole.

        Example:
            >>> degree = Grid(1, 1, (1.0, 0, 0, 0, -1.0, 0.5), None, Metric("geographic", unit=math.pi / 180))
            >>> round(float(degree.ground_width(0)), 2)
            111319.49
        """
        if self.metric.kind == "projected":
            return np.full(np.shape(rows), self.cell_width * self.metric.unit)
        latitude = self._latitude(rows, "width")
        _, prime_vertical = self.metric.radii(latitude)
        parallel = prime_vertical * np.cos(latitude)
        if self.metric.kind == "geographic":
            return parallel * (self.cell_width * self.metric.unit)
        return parallel * (self.cell_width / self.metric.semi_major)

    def ground_height(self, rows: ArrayLike) -> Float64s:
        """What a cell of each row measures north to south on the ground, in metres.

        Geographic: M(latitude) times the cell's latitude. Web Mercator, projected, and errors as in
        `ground_width`.

        Example:
            >>> degree = Grid(1, 1, (1.0, 0, 0, 0, -1.0, 0.5), None, Metric("geographic", unit=math.pi / 180))
            >>> round(float(degree.ground_height(0)), 2)
            110574.28
        """
        if self.metric.kind == "projected":
            return np.full(np.shape(rows), self.cell_height * self.metric.unit)
        latitude = self._latitude(rows, "height")
        meridional, _ = self.metric.radii(latitude)
        if self.metric.kind == "geographic":
            return meridional * (self.cell_height * self.metric.unit)
        return meridional * np.cos(latitude) * (self.cell_height / self.metric.semi_major)

    def part(self, window: Window) -> Grid:
        """The grid of a window.

        Example:
            >>> from tilejit.window import Window
            >>> Grid(4, 4, (2.0, 0.0, 10.0, 0.0, -2.0, 20.0)).part(Window(1, 1, 2, 3)).transform
            (2.0, 0.0, 12.0, 0.0, -2.0, 18.0)
        """
        a, b, c, d, e, f = self.transform
        x, y = c + a * window.col_off + b * window.row_off, f + d * window.col_off + e * window.row_off
        return replace(self, height=window.height, width=window.width, transform=(a, b, x, d, e, y))

    def differences(self, other: Grid) -> list[str]:
        """What keeps two grids from being one: a line for each part that differs, with both values.

        Example:
            >>> Grid(2, 3).differences(Grid(2, 4))
            ['size: 2 rows x 3 cols and 2 rows x 4 cols']
        """
        found = []
        if self.shape != other.shape:
            mine, theirs = (f"{grid.height} rows x {grid.width} cols" for grid in (self, other))
            found.append(f"size: {mine} and {theirs}")
        if self.transform_gap(other) > _TRANSFORM_TOLERANCE:
            mine, theirs = (transform_text(grid.transform) for grid in (self, other))
            found.append(f"transform: {mine} and {theirs}")
        if not same_crs_name(self.crs, other.crs):
            mine, theirs = crs_name(self.crs), crs_name(other.crs)
            same_name = " (one name, but different definitions)" if mine == theirs else ""
            found.append(f"CRS: {mine} and {theirs}{same_name}")
        return found

    def _latitude(self, rows: ArrayLike, side: str) -> Float64s:
        """Geodetic latitudes in radians of a geographic or Web Mercator grid's rows."""
        if self.metric.kind == "none":
            raise ParameterError(
                f"the raster has no CRS, so the ground {side} of a cell is unknown: give dx=... and dy=...",
            )
        y = self.y(rows)
        if self.metric.kind == "mercator":
            return np.asarray(np.arctan(np.sinh(y / self.metric.semi_major)), dtype=np.float64)
        self._require_degrees()
        # A halo's rows may lie beyond a pole.
        return np.clip(y * self.metric.unit, -math.pi / 2, math.pi / 2)

    def _require_degrees(self) -> None:
        """Refuses metres that are said to be degrees: centres more than a cell beyond a pole."""
        pole = math.pi / 2 / self.metric.unit
        row = max(0, self.height - 1, key=lambda row: abs(float(self.y(row))))
        y = float(self.y(row))
        if abs(y) > pole + self.cell_height:
            raise ParameterError(
                f"row {row} lies at y = {y:.9g}, and {crs_name(self.crs)} has latitudes up to {pole:.9g}: the "
                "coordinates look like metres or feet, so give the file the CRS that they are of (rio edit-info "
                "--crs EPSG:… FILE, or gdal_edit.py -a_srs EPSG:… FILE)"
            )

    def _require_unrotated(self, axis: str) -> None:
        if self.is_rotated:
            raise ParameterError(
                f"the raster is rotated (transform {transform_text(self.transform)}), so {axis} is not one "
                "number per row or column: warp it to a north-up grid first (gdalwarp)",
            )
