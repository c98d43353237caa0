"""What PROJ knows of places in two CRSs: the grid of one that covers another's, and points."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError
from tilejit.formats.gdal.crs import located
from tilejit.formats.gdal.library import load_rasterio, quiet
from tilejit.grid import Grid, crs_name, same_crs_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_local = threading.local()  # a thread's own transformers
_MOST_TRANSFORMERS = 64
_EDGE_POINTS = 101
"""Points of each edge by which bounds are found in another CRS."""


def reprojected(grid: Grid, crs: str, resolution: Any, aligned: bool) -> Grid:
    """The north-up grid in another CRS that covers one; see `Grid.to_crs`."""
    if grid.crs is None:
        raise ParameterError(
            f"the grid has no CRS, so it has no place in {crs}: give it one, as Grid(…, crs=…)\n  {grid}"
        )
    target, source = located(replace(grid, crs=crs)), grid if grid.metric.kind != "none" else located(grid)
    if resolution is None and not aligned and same_crs_name(source.crs, target.crs):
        return source
    bounds = _bounds_in(source, target)
    if resolution is None and not aligned and _is_gdals(bounds, target):
        return _gdals_grid(source, target)
    side = resolution or _diagonal(bounds) / math.hypot(grid.height, grid.width)
    return Grid.from_bounds(bounds, target.crs, resolution=side, aligned=aligned)


def _bounds_in(grid: Grid, target: Grid) -> tuple[float, float, float, float]:
    """What a grid covers in another's CRS; across the antimeridian degrees go on beyond 180."""
    rasterio = load_rasterio()
    from rasterio.warp import transform_bounds

    try:
        with quiet():
            found = transform_bounds(grid.crs, target.crs, *grid.bounds, densify_pts=_EDGE_POINTS)
    except rasterio.errors.RasterioError as error:
        raise _no_place(grid, target, error) from error
    left, bottom, right, top = found
    if target.metric.kind == "geographic" and right <= left:
        right += 2 * math.pi / target.metric.unit
    if not (all(map(math.isfinite, found)) and left < right and bottom < top):
        raise _no_place(grid, target, f"its bounds there would be {found}")
    return left, bottom, right, top


def _no_place(grid: Grid, target: Grid, cause: object) -> ParameterError:
    return ParameterError(
        f"the grid has no place in {crs_name(target.crs)}: {cause}; take a part of it, as grid & other\n  {grid}"
    )


def _is_gdals(bounds: tuple[float, float, float, float], target: Grid) -> bool:
    """Whether GDAL's suggestion is asked: it takes what crosses the antimeridian for the whole world."""
    half_turn = math.pi / target.metric.unit
    return target.metric.kind != "geographic" or (bounds[2] <= half_turn + 1e-9 and bounds[0] >= -half_turn - 1e-9)


def _gdals_grid(source: Grid, target: Grid) -> Grid:
    rasterio = load_rasterio()
    from rasterio.warp import calculate_default_transform

    try:
        with quiet():
            transform, width, height = calculate_default_transform(
                source.crs, target.crs, source.width, source.height, *source.bounds
            )
    except rasterio.errors.RasterioError as error:
        raise _no_place(source, target, error) from error
    return replace(target, height=int(height), width=int(width), transform=tuple(transform))


def _diagonal(bounds: tuple[float, float, float, float]) -> float:
    return math.hypot(bounds[2] - bounds[0], bounds[3] - bounds[1])


def points_in(source: str, target: str, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Coordinates of points in another CRS, x before y in both; NaN where a point has no place there.

    pyproj says so of each point; rasterio refuses all of them for one.
    """
    transformers: dict[tuple[str, str], Any] = vars(_local).setdefault("transformers", {})
    transformer = transformers.get((source, target))
    if transformer is None:
        import pyproj

        if len(transformers) > _MOST_TRANSFORMERS:
            transformers.clear()
        transformer = transformers[source, target] = pyproj.Transformer.from_crs(source, target, always_xy=True)
    there = np.array(transformer.transform(x, y), np.float64)
    there[:, ~np.isfinite(there).all(axis=0)] = np.nan
    return there[0], there[1]
