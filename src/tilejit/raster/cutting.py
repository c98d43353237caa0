"""Rasters cut to a place: bounds, polygons, what holds data; and overviews of their files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tilejit.engine.planning.graph import Reduced, SourceBand
from tilejit.errors import GridMismatchError, ParameterError
from tilejit.formats.source import ScaledSource
from tilejit.grid import Grid, cells_between, crs_name, same_crs_name
from tilejit.raster.options import RunOptions
from tilejit.raster.running import LazyRaster
from tilejit.raster.statistics import run_reduced
from tilejit.sizes import counted
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.engine.polygons import PolygonZones
    from tilejit.formats.source import Source

_EDGE_POINTS = 33
"""Points of each edge by which bounds are found in another CRS."""


class Cutting(LazyRaster):
    """What a Raster does to be smaller."""

    __slots__ = ()

    def mask(
        self, geometry: Any, *, invert: bool = False, all_touched: bool = False, crop: bool = False,
        layer: str | int | None = None,
    ) -> Self:  # fmt: skip
        """Returns it with no data outside of polygons; its cells are read where these are.

        Args:
            geometry: A path that pyogrio reads, a GeoDataFrame, shapely, GeoJSON-like, or a list of such. Without a CRS
                of its own it is in the raster's; from another one it is reprojected, and the plan says so.
            invert: Whether cells inside lose their data, and those outside keep it.
            all_touched: Whether all cells that a polygon touches belong to it; else those whose centre it holds.
            crop: Whether the raster is cut to the cells that polygons touch, as `rasterio.mask` does.
            layer: The name or number of a file's layer.

        Raises:
            ParameterError: It is no polygon, or empty, or ``invert`` and ``crop`` are both given.
            GridMismatchError: No polygon meets the raster.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> raster = tj.from_array(np.ones((2, 3), np.float32))
            >>> square = {"type": "Polygon", "coordinates": [[(1, 0), (2, 0), (2, 2), (1, 2), (1, 0)]]}
            >>> raster.mask(square).read()[0].tolist()
            [[nan, 1.0, nan], [nan, 1.0, nan]]
        """
        if invert and crop:
            raise ParameterError("invert=True keeps what lies outside the polygons, and crop=True cuts it off: leave "
                                 "one out")  # fmt: skip
        from tilejit.engine.masked import MaskedSource  # which few runs need

        zones, window, label = _laid(geometry, self.grid, layer, all_touched=all_touched)
        told = f"{label}, {'inverted, ' * invert}{'all cells that are touched' if all_touched else 'cells by centre'}"
        masked = _through(self, lambda source: MaskedSource.of(source, zones, invert=invert, label=told))
        made: Self = _part(masked, window) if crop else masked
        return made

    def crop_to_valid(self) -> Self:
        """Returns the least window of it that holds all cells with data, of any band; one pass finds it, now.

        Raises:
            ParameterError: No cell holds data.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> raster = tj.from_array(np.uint8([[0, 0, 0], [0, 7, 0]]), nodata=0)
            >>> raster.crop_to_valid().grid.bounds
            Bounds(left=1.0, bottom=1.0, right=2.0, top=2.0)
        """
        from tilejit.engine.extent import Extent

        label = self.label
        reduced = Reduced(self.grid, self.bands, Extent("extent", self.grid.flips))
        window = run_reduced([reduced], label, RunOptions(progress=False))[0]
        if window is None:
            raise ParameterError(f"{label}: no cell holds data, so nothing is left of it")
        cut: Self = _part(self, window)
        return cut

    def level(self, number: int) -> Self:
        """Returns an overview of its file: the same place in fewer cells, as the file has them.

        Args:
            number: From 1, the finest overview; 0 is the raster itself.

        Raises:
            ParameterError: The file has no such overview, or a band is none of a file.
        """
        if number == 0:
            return self
        from tilejit.formats.overviews import overview_of

        computed = next((band for band in self.bands if not isinstance(band, SourceBand)), None)
        if computed is not None:
            raise ParameterError(f"{computed.label} is what a kernel makes, and overviews are those of files: take "
                                 "open(path).level(k) first, and the kernel of that")  # fmt: skip
        coarser: Self = _through(self, lambda source: overview_of(source, number))
        return coarser


def clipped(raster: Any, place: Any) -> Any:
    """A raster cut to a place; see `Raster.clip`."""
    found = place if isinstance(place, Grid) else getattr(place, "grid", None)
    if isinstance(found, Grid):
        return _part(raster, _window_of(raster.grid, found))
    if is_bounds(place):
        return _part(raster, _window_within(raster.grid, tuple(map(float, place))))
    return raster.mask(place, crop=True)


def is_bounds(place: Any) -> bool:
    """Whether it is left, bottom, right and top."""
    is_four = isinstance(place, (tuple, list, np.ndarray)) and len(place) == 4
    return is_four and all(isinstance(side, (int, float, np.number)) for side in place)


def is_place(given: Any) -> bool:
    """Whether it says where cells lie, and is no bound of their values."""
    if isinstance(given, Grid) or isinstance(getattr(given, "grid", None), Grid) or is_bounds(given):
        return True
    from tilejit.formats.vector import is_vector

    return is_vector(given)


def _through(raster: Any, make: Callable[[Source], Source]) -> Any:
    """A raster whose bands are read through what is made of each of their sources, once."""
    from tilejit.engine.computed import read_bands

    made: dict[int, Source] = {}
    bands = read_bands(raster.bands, raster.grid)
    for band in bands:
        if id(band.source) not in made:
            made[id(band.source)] = make(band.source)
    grid = made[id(bands[0].source)].grid
    return replace(raster, grid=grid, bands=tuple(_read_through(band, made[id(band.source)]) for band in bands))


def _read_through(band: SourceBand, source: Source) -> SourceBand:
    values = None if band.values is None else ScaledSource.of(source)
    return SourceBand(source, source.bands[band.info.index - 1], values)


def _part(raster: Any, window: Window) -> Any:
    if window == Window(0, 0, *raster.grid.shape):
        return raster
    from tilejit.formats.joining.part_source import PartSource

    return _through(raster, lambda source: PartSource.of(source, window))


def _window_of(grid: Grid, place: Grid) -> Window:
    """The cells of a grid that lie on another; all that touch its bounds where that is in another CRS."""
    if same_crs_name(grid.crs, place.crs):
        return _window_within(grid, place.bounds)
    if grid.crs is None or place.crs is None:
        told = f"{crs_name(grid.crs)} and {crs_name(place.crs)}"
        raise GridMismatchError(f"one of two grids has a CRS: {told}: give bounds\n  {grid}\n  {place}")
    from tilejit.formats.warping.mapping import Mapping

    edge, mapping = np.linspace(0, 1, _EDGE_POINTS), Mapping(place, grid)
    found = mapping.normal(mapping.at(edge * place.height, edge * place.width)).reshape(2, -1)
    found = found[:, np.isfinite(found).all(axis=0)]
    if not found.size:
        raise _nowhere(grid, str(place))
    (left, top), (right, bottom) = found.min(axis=1), found.max(axis=1)
    return _window_between(grid, (top, bottom, left, right), str(place))


def _window_within(grid: Grid, bounds: tuple[float, ...]) -> Window:
    """The cells of a grid that bounds touch, in its own CRS."""
    return _window_between(grid, grid.sides_of(bounds), f"bounds {tuple(bounds)}")  # type: ignore[arg-type] # four


def _window_between(grid: Grid, sides: tuple[float, float, float, float], what: str) -> Window:
    """The cells that rows and columns touch."""
    window = cells_between(sides).intersection(Window(0, 0, *grid.shape))
    if window.is_empty:
        raise _nowhere(grid, what)
    return window


def _nowhere(grid: Grid, what: str) -> GridMismatchError:
    return GridMismatchError(
        f"{what} and the raster do not meet: bounds are in the raster's own CRS, {crs_name(grid.crs)}\n"
        f"  the raster: {grid}\n  its bounds: {tuple(grid.bounds)}"
    )


def _laid(geometry: Any, grid: Grid, layer: str | int | None, *, all_touched: bool) -> tuple[PolygonZones, Window, str]:
    """Polygons over a grid, the window that they touch, and what a plan says of them."""
    from tilejit.engine.polygons import PolygonZones
    from tilejit.formats.vector import is_vector, lay, read_features

    if not is_vector(geometry):
        raise ParameterError(
            f"a {type(geometry).__name__} is no geometry: give GeoJSON, shapely, a GeoDataFrame, a list of them, a "
            "path, or bounds (left, bottom, right, top) to clip()"
        )
    features = read_features(geometry, layer)
    laid = lay(features, grid)
    if not len(laid.points):
        raise ParameterError(f"{features.name}: the geometry is empty, so no cell would be left")
    cols, rows = laid.points.T
    sides = rows.min(), rows.max(), cols.min(), cols.max()
    label = f"{counted(len(features.index), 'polygon')} of {features.name}{''.join(f'; {n}' for n in laid.notes)}"
    window = _window_between(grid.north_up(), sides, label)
    zones = PolygonZones.of(laid, grid, "touched" if all_touched else "centre")
    if not zones.meets_raster:
        raise _nowhere(grid, label)
    flips, (height, width) = grid.flips, grid.shape
    row = height - window.row_end if flips[0] else window.row_off
    col = width - window.col_end if flips[1] else window.col_off
    return zones, replace(window, row_off=row, col_off=col), label
