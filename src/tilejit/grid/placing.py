"""Grids made of bounds and of other grids: coarser, larger, what two have in common, in another CRS."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from tilejit.errors import GridMismatchError, ParameterError
from tilejit.grid.names import crs_name, same_crs_name
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

Transform = tuple[float, float, float, float, float, float]

IDENTITY: Transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The transform of a raster that has none: x is the column, y is the row."""
_SLACK = 1e-6
"""The part of a cell that what is counted in cells may be off a whole number."""
_APART = 1e-3
"""How far, in cells, the lines of two grids may part and still be the same lines."""


class Bounds(NamedTuple):
    """What a raster covers, in CRS units, in rasterio's order."""

    left: float
    """The least x."""
    bottom: float
    """The least y."""
    right: float
    """The greatest x."""
    top: float
    """The greatest y."""


class Placing:
    """What `Grid` does with grids; what needs PROJ is handed in from above."""

    __slots__ = ()

    locate: ClassVar[Callable[[Any], Any]]
    """Gives a grid whose CRS a person wrote its WKT and its metric."""
    reproject: ClassVar[Callable[..., Any]]
    """Gives the grid in another CRS that covers one."""

    height: int
    width: int
    transform: Transform
    crs: str | None

    @classmethod
    def from_bounds(
        cls,
        bounds: tuple[float, float, float, float],
        crs: str | None = None,
        *,
        resolution: float | tuple[float, float] | None = None,
        shape: tuple[int, int] | None = None,
        aligned: bool = False,
    ) -> Self:
        """Makes a north-up grid that covers bounds.

        Args:
            bounds: Left, bottom, right, top, as rasterio has them.
            crs: A code, as "EPSG:32633", or WKT; None for none.
            resolution: A cell's width and height in CRS units, or one number for both. The grid begins at the left and
                at the top, and reaches over the right and the bottom where these are no whole number of cells away.
            shape: Rows and columns, instead of the resolution.
            aligned: Whether edges are moved outwards to multiples of the resolution, so that the cells of all such
                grids fall on each other ("target aligned pixels", gdalwarp's ``-tap``).

        Raises:
            ParameterError: The bounds are empty, the CRS is none, or resolution and shape are both given, or neither.

        Example:
            >>> import tilejit as tj
            >>> grid = tj.Grid.from_bounds((1, 2, 99, 55), resolution=10, aligned=True)
            >>> grid.shape, grid.bounds
            ((6, 10), Bounds(left=0.0, bottom=0.0, right=100.0, top=60.0))
        """
        left, bottom, right, top = _checked(bounds)
        if (resolution is None) == (shape is None):
            raise ParameterError("a grid of bounds needs resolution=, or shape= for rows and columns, and not both")
        if shape is not None:
            rows, cols = shape
            width, height = (right - left) / max(cols, 1), (top - bottom) / max(rows, 1)
        else:
            width, height = _sides(resolution)
        if aligned:
            left, top = math.floor(left / width + _SLACK) * width, math.ceil(top / height - _SLACK) * height
        rows = math.ceil((top - bottom) / height - _SLACK)
        cols = math.ceil((right - left) / width - _SLACK)
        transform = (width, 0.0, left, 0.0, -height, top)
        return cls._located(cls(max(1, rows), max(1, cols), transform, crs))  # type: ignore[call-arg]

    @classmethod
    def _located(cls, grid: Self) -> Self:
        located: Self = cls.locate(grid) if grid.crs is not None else grid
        return located

    @property
    def bounds(self) -> Bounds:
        """What it covers, in CRS units: of a rotated grid the box around it.

        Example:
            >>> import tilejit as tj
            >>> tj.Grid(2, 3, (10.0, 0.0, 100.0, 0.0, -10.0, 50.0)).bounds
            Bounds(left=100.0, bottom=30.0, right=130.0, top=50.0)
        """
        a, b, c, d, e, f = self.transform
        corners = [(col, row) for col in (0, self.width) for row in (0, self.height)]
        x, y = [a * col + b * row + c for col, row in corners], [d * col + e * row + f for col, row in corners]
        return Bounds(min(x), min(y), max(x), max(y))

    def sides_of(self, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Returns between which rows and columns bounds in its CRS lie: first and last row, first and last column.

        Raises:
            ParameterError: The bounds are empty.

        Example:
            >>> import tilejit as tj
            >>> tj.Grid(2, 3, (10.0, 0.0, 100.0, 0.0, -10.0, 50.0)).sides_of((105, 30, 120, 60))
            (-1.0, 2.0, 0.5, 2.0)
        """
        left, bottom, right, top = _checked(bounds)
        a, b, c, d, e, f = self.transform
        corners, whole = [(x - c, y - f) for x in (left, right) for y in (bottom, top)], a * e - b * d
        cols, rows = [(e * x - b * y) / whole for x, y in corners], [(a * y - d * x) / whole for x, y in corners]
        return min(rows), max(rows), min(cols), max(cols)

    @property
    def resolution(self) -> tuple[float, float]:
        """A cell's width and height in CRS units, positive."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(a, d), math.hypot(b, e)

    def zoom_out(self, factor: float) -> Self:
        """Returns the grid of the same place whose cells are so many times as wide and high; below 1 they are finer.

        It begins where this one does, and reaches over its end where that is no whole number of cells away.

        Raises:
            ParameterError: The factor is not positive.

        Example:
            >>> import tilejit as tj
            >>> tj.Grid(5, 8, (10.0, 0.0, 100.0, 0.0, -10.0, 50.0)).zoom_out(2).shape
            (3, 4)
        """
        if not (factor > 0 and math.isfinite(factor)):
            raise ParameterError(f"zoom_out({factor!r}): the factor is a positive number")
        a, b, c, d, e, f = self.transform
        height, width = (max(1, math.ceil(side / factor - _SLACK)) for side in (self.height, self.width))
        transform = (a * factor, b * factor, c, d * factor, e * factor, f)
        return replace(self, height=height, width=width, transform=transform)  # type: ignore[type-var]

    def pad(self, rows: int, cols: int | None = None) -> Self:
        """Returns it with so many rows more above and below, and columns left and right; as many if not given.

        Raises:
            ParameterError: One is negative.

        Example:
            >>> import tilejit as tj
            >>> tj.Grid(2, 2).pad(1).bounds
            Bounds(left=-1.0, bottom=-1.0, right=3.0, top=3.0)
        """
        cols = rows if cols is None else cols
        if rows < 0 or cols < 0:
            raise ParameterError(f"pad({rows}, {cols}): rows and columns to add are 0 or more")
        return self._part(-rows, -cols, self.height + rows, self.width + cols)

    def __and__(self, other: Self) -> Self:
        """Returns what both cover.

        Raises:
            GridMismatchError: Their cells do not fall on each other, or they do not meet.
        """
        row, col = self._offset(other)
        top, left = max(0, row), max(0, col)
        bottom, right = min(self.height, row + other.height), min(self.width, col + other.width)
        if top >= bottom or left >= right:
            raise GridMismatchError(f"the grids do not meet\n  {self}\n  {other}")
        return self._part(top, left, bottom, right)

    def __or__(self, other: Self) -> Self:
        """Returns the least grid that covers both.

        Raises:
            GridMismatchError: Their cells do not fall on each other.
        """
        row, col = self._offset(other)
        return self._part(
            min(0, row), min(0, col), max(self.height, row + other.height), max(self.width, col + other.width)
        )

    def to_crs(self, crs: str, *, resolution: float | tuple[float, float] | None = None, aligned: bool = False) -> Self:
        """Returns the north-up grid in another CRS that covers it.

        Args:
            crs: A code, as "EPSG:3857", or WKT.
            resolution: A cell's width and height in units of that CRS; None: as many cells along the diagonal as there
                are here, as gdalwarp has it.
            aligned: Whether edges lie on multiples of the resolution; see `from_bounds`.

        Raises:
            ParameterError: The CRS is none, this grid has none, or it has no place there.

        Example:
            >>> import tilejit as tj
            >>> grid = tj.Grid.from_bounds((500_000, 110_000, 600_000, 210_000), "EPSG:32633", resolution=1000)
            >>> [round(side, 2) for side in grid.to_crs("EPSG:4326").bounds]
            [15.0, 1.0, 15.9, 1.9]
        """
        found: Self = type(self).reproject(self, crs, resolution, aligned)
        return found

    def transform_gap(self, other: Self) -> float:
        """Returns the most that the two grids' corners lie apart, in cells of this grid."""
        width, height = self.resolution
        if not (width and height):
            return math.inf
        a, b, c, d, e, f = (mine - theirs for mine, theirs in zip(self.transform, other.transform, strict=True))
        corners = [(col, row) for col in (0, self.width) for row in (0, self.height)]
        return max(max(abs(a * col + b * row + c) / width, abs(d * col + e * row + f) / height) for col, row in corners)

    def _part(self, top: int, left: int, bottom: int, right: int) -> Self:
        """The grid of some rows and columns, which may lie outside."""
        a, b, c, d, e, f = self.transform
        x, y = c + a * left + b * top, f + d * left + e * top
        return replace(self, height=bottom - top, width=right - left, transform=(a, b, x, d, e, y))  # type: ignore[type-var]

    def offset_of(self, other: Self) -> tuple[int, int] | None:
        """Returns the row and the column of this grid at which another begins; None where its cells fall on no others.

        Example:
            >>> import tilejit as tj
            >>> grid = tj.Grid(4, 4)
            >>> grid.offset_of(grid.pad(2)), grid.offset_of(grid.zoom_out(2))
            ((-2, -2), None)
        """
        try:
            return self._offset(other)
        except GridMismatchError:
            return None

    def _offset(self, other: Self) -> tuple[int, int]:
        """The row and column of this grid at which another begins."""
        if not same_crs_name(self.crs, other.crs):
            raise GridMismatchError(
                f"the grids are in different CRSs, {crs_name(self.crs)} and {crs_name(other.crs)}: take "
                f"other.to_crs(grid.crs), and raster.to(grid) for what lies on it\n  {self}\n  {other}"
            )
        a, b, c, d, e, f = self.transform
        determinant = a * e - b * d
        x, y = other.transform[2] - c, other.transform[5] - f
        col, row = ((e * x - b * y) / determinant, (a * y - d * x) / determinant) if determinant else (math.nan,) * 2
        if not (math.isfinite(col) and math.isfinite(row)):
            raise GridMismatchError(f"a grid's cells have no size\n  {self}\n  {other}")
        there = self._part(round(row), round(col), round(row) + other.height, round(col) + other.width)
        if there.transform_gap(other) > _APART:
            raise GridMismatchError(
                "the grids' cells do not fall on each other: warp one raster onto the other's grid, as "
                "raster.to(other.grid), or several onto one, as tj.align(a, b, to='union'); "
                f"Grid.from_bounds(…, aligned=True) makes grids that do\n  {self}\n  {other}"
            )
        return round(row), round(col)


def cells_between(sides: tuple[float, float, float, float], *, inside: bool = False) -> Window:
    """Returns the cells that rows and columns touch, or those that lie within them; one at least.

    Args:
        sides: First and last row, first and last column; see `Grid.sides_of`.
        inside: Whether cells must lie within.

    Example:
        >>> print(cells_between((-1.0, 2.0, 0.5, 2.0)), "and", cells_between((-1.0, 2.0, 0.5, 2.0), inside=True))
        rows -1:2, cols 0:2 and rows -1:2, cols 1:2
    """
    begin, end, slack = (math.ceil, math.floor, -_SLACK) if inside else (math.floor, math.ceil, _SLACK)
    top, left = (begin(side + slack) for side in (sides[0], sides[2]))
    bottom, right = (end(side - slack) for side in (sides[1], sides[3]))
    return Window(top, left, max(1, bottom - top), max(1, right - left))


def _checked(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, bottom, right, top = map(float, bounds)
    if not (left < right and bottom < top and all(map(math.isfinite, (left, bottom, right, top)))):
        raise ParameterError(
            f"bounds={tuple(bounds)} hold nothing: they are left, bottom, right, top, with left below right and "
            "bottom below top"
        )
    return left, bottom, right, top


def _sides(resolution: Any) -> tuple[float, float]:
    """A cell's width and height, of one number or two."""
    try:
        width, height = map(float, resolution if isinstance(resolution, tuple | list) else (resolution, resolution))
    except (TypeError, ValueError):
        width = height = math.nan
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ParameterError(f"resolution={resolution!r}: it is above 0, or a cell's width and height: (10, 20)")
    return width, height
