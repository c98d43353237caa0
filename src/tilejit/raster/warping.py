"""Rasters on another grid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from tilejit.engine.planning.graph import SourceBand
from tilejit.errors import ParameterError
from tilejit.formats.source import ScaledSource, Source, storage_of
from tilejit.grid import Grid
from tilejit.raster.running import LazyRaster

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.formats.warping.resampling import Resampling


class Warping(LazyRaster):
    """What a Raster does to lie on another grid."""

    __slots__ = ()

    def to(self, grid: Any, *, resampling: str | None = None) -> Self:
        """Returns it on another grid: its cells are made there when they are read.

        They have the same bits for any tiling, thread count and executor. What kernels make is computed window by
        window then, and held nowhere.

        Args:
            grid: A `tilejit.Grid`, or a Raster that has the one that is wanted.
            resampling: ``"nearest"``, ``"bilinear"``, ``"cubic"``, ``"lanczos"``, ``"average"``, ``"sum"``,
                ``"minimum"``, ``"maximum"``, ``"median"`` or ``"mode"``. None: nearest for bands of classes, which are
                those of 8-bit integers without a scale, of a colour table, and of masks; bilinear for others.

        Returns:
            A lazy Raster. Where values lie between those of the source it holds floats: float32 of integers up to 16
            bits, else float64.

        Raises:
            GridMismatchError: It does not lie on that grid, or one of both has no CRS.
            ParameterError: There is no such resampling, or a band is what an iteration makes.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> raster = tj.from_array(np.arange(16, dtype=np.float32).reshape(4, 4))
            >>> raster.to(raster.grid.zoom_out(2), resampling="average").read()[0].tolist()
            [[2.5, 4.5], [10.5, 12.5]]
        """
        target = grid_wanted(grid)
        from tilejit.engine.computed import read_bands  # which few runs need
        from tilejit.formats.warping.resampling import resampling_of

        asked = None if resampling is None else resampling_of(resampling)
        warped = _memo(target)
        bands = read_bands(self.bands, self.grid)
        return replace(self, grid=target, bands=tuple(_warped(band, asked, warped) for band in bands))  # type: ignore[type-var]


def grid_wanted(given: Any) -> Grid:
    """The grid of what a caller gave: a grid, or what has one."""
    found = given if isinstance(given, Grid) else getattr(given, "grid", None)
    if not isinstance(found, Grid):
        raise ParameterError(f"to({given!r}): give a tilejit.Grid, as tj.Grid.from_bounds(…), or a Raster that has one")
    return Grid.locate(found) if found.crs is not None and found.metric.kind == "none" else found


def _memo(grid: Grid) -> Callable[[Source, Resampling], Source]:
    """What warps each source once, for bands that come from it."""
    from tilejit.formats.warping.warped_source import WarpedSource

    made: dict[tuple[int, str], Source] = {}

    def warped(source: Source, resampling: Resampling) -> Source:
        key = id(source), resampling.name
        if key not in made:
            made[key] = WarpedSource.of(source, grid, resampling)
        return made[key]

    return warped


def _warped(band: SourceBand, asked: Resampling | None, warped: Callable[[Source, Resampling], Source]) -> SourceBand:
    check_place(band.source)
    resampling = asked or default_resampling(band)
    number = band.info.index - 1
    if band.values is None or not resampling.keeps_values:
        source = warped(band.source if band.values is None else band.values, resampling)
        return SourceBand(source, source.bands[number])
    # Counts stay counts, of which values are made as ever.
    source = warped(band.source, resampling)
    return SourceBand(source, source.bands[number], ScaledSource.of(source))


def check_place(source: Source) -> None:
    """Refuses what has its place on the ground by other means than a transform."""
    tags = storage_of(source).tags
    means = "ground control points" if tags.ground else "rational polynomials (RPC)" if tags.tags.get("RPC") else ""
    if means and source.grid.crs is None:
        raise ParameterError(
            f"{source.name}: its place is told by {means}, which are not warped here: warp it with GDAL first, as "
            "gdalwarp -et 0 -t_srs EPSG:… FILE WARPED.tif"
        )


def default_resampling(band: SourceBand) -> Resampling:
    """Nearest for classes, bilinear for what has values between."""
    info, tags = band.info, storage_of(band.source).tags.bands
    table = tags[info.index - 1].table if len(tags) >= info.index else None
    is_byte = info.dtype.kind in "iub" and info.dtype.itemsize == 1
    from tilejit.formats.warping.resampling import Resampling

    return Resampling("nearest" if table is not None or (is_byte and not info.is_scaled) else "bilinear")
