"""Several Rasters on one grid."""

from __future__ import annotations

from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any

from tilejit.errors import ParameterError
from tilejit.grid import Grid, cells_between
from tilejit.raster.making import open_raster
from tilejit.raster.raster import Raster
from tilejit.raster.warping import grid_wanted

if TYPE_CHECKING:
    from collections.abc import Callable

_JOINED: dict[str, Callable[[Any, Any], Any]] = {"intersection": and_, "union": or_}


def align(
    *rasters: Any,
    to: Any = "first",
    resolution: float | tuple[float, float] | None = None,
    resampling: str | None = None,
) -> tuple[Raster, ...]:
    """Returns Rasters on one grid, so that kernels take them together.

    Args:
        *rasters: Rasters, or paths.
        to: ``"first"``: the grid of the first. ``"intersection"`` or ``"union"``: the first one's cells, or those that
            go on from them, that lie within the bounds of all, or that cover these. Or a `tilejit.Grid`, or a Raster.
        resolution: Another cell's width and height in units of that CRS.
        resampling: As for `Raster.to`; a Raster that lies on the grid already stays as it is.

    Raises:
        ParameterError: There is none, or ``to`` is none of those.
        GridMismatchError: They have nothing in common.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> fine = tj.from_array(np.ones((4, 4), np.float32))
        >>> coarse = tj.from_array(np.ones((1, 1), np.float32), grid=fine.grid.zoom_out(4))
        >>> [raster.grid.shape for raster in tj.align(fine, coarse)]
        [(4, 4), (4, 4)]
    """
    found = [one if isinstance(one, Raster) else open_raster(one) for one in rasters]
    if not found:
        raise ParameterError("align of no rasters: give at least one")
    grid = _common_grid([raster.grid for raster in found], to)
    if resolution is not None:
        grid = Grid.from_bounds(grid.bounds, grid.crs, resolution=resolution)
    return tuple(raster if raster.grid == grid else raster.to(grid, resampling=resampling) for raster in found)


def _common_grid(grids: list[Grid], to: Any) -> Grid:
    if not isinstance(to, str):
        return grid_wanted(to)
    first = grids[0]
    if to == "first":
        return first
    if to not in _JOINED:
        raise ParameterError(f"to={to!r}: it is 'first', 'intersection', 'union', a Grid or a Raster")
    inside = to == "intersection"
    return reduce(_JOINED[to], [first, *(_on_lines_of(first, grid, inside=inside) for grid in grids[1:])])


def _on_lines_of(first: Grid, grid: Grid, *, inside: bool) -> Grid:
    """The cells, counted on from those of a grid, that lie within another's bounds, or that cover these."""
    bounds = grid.bounds if first.crs is None else grid.to_crs(first.crs).bounds
    return first.part(cells_between(first.sides_of(bounds), inside=inside))
