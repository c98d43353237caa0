"""Many Rasters as one."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.computed import ComputedSource, read_bands
from tilejit.engine.planning.graph import SourceBand
from tilejit.errors import GridMismatchError, ParameterError
from tilejit.formats.joining.mosaic_source import METHODS, MosaicSource, Piece
from tilejit.formats.source import ScaledSource
from tilejit.formats.warping.lattice import BLOCK
from tilejit.formats.warping.mapping import Mapping
from tilejit.formats.warping.resampling import resampling_of
from tilejit.formats.warping.warped_source import WarpedSource
from tilejit.grid import cells_between
from tilejit.raster.making import open_raster
from tilejit.raster.raster import Raster
from tilejit.raster.warping import check_place, default_resampling, grid_wanted
from tilejit.sizes import counted
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilejit.formats.source import Source
    from tilejit.formats.warping.resampling import Resampling
    from tilejit.grid import Grid

_EDGE = 33  # places along each side of a raster by which its bounds are found on another grid
_MARGIN = 2  # cells beyond, which an area's share may reach into


def mosaic(rasters: Iterable[Any], method: str = "first", *, grid: Any = None, resampling: str | None = None) -> Raster:
    """Returns one Raster of many, on different grids and in different CRSs.

    Each is read only where it is needed, and held open no longer than there is room. Those whose cells fall on those of
    the mosaic are read as they lie, others are warped; see `Raster.to`. Cells without data in one are filled of others.

    Args:
        rasters: Rasters or paths, in the order that decides; any number of them, all with as many bands.
        method: What a cell is that several have: the ``"first"`` or ``"last"`` of them that holds data, the ``"min"``,
            ``"max"``, ``"mean"`` or ``"median"`` of all that do.
        grid: A `tilejit.Grid`, or a Raster that has the one that is wanted. None: the cells of the first, and those
            that go on from them, that cover all.
        resampling: For those that are warped; see `Raster.to`.

    Returns:
        A lazy Raster, in the type that holds those of all (`numpy.result_type`); means and medians are floats.

    Raises:
        ParameterError: There is none, no such method, or one has another number of bands.
        GridMismatchError: One has a CRS and another has none, or none lies on the grid.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> left = tj.from_array(np.float32([[1, 2, np.nan]]))
        >>> right = tj.from_array(np.float32([[7, 8, 9]]), grid=tj.Grid(1, 3, (1, 0, 2, 0, 1, 0)))
        >>> tj.mosaic([left, right]).read()[0].tolist()
        [[1.0, 2.0, 7.0, 8.0, 9.0]]
    """
    given = [rasters] if isinstance(rasters, (Raster, str, os.PathLike)) else list(rasters)
    found = [one if isinstance(one, Raster) else open_raster(one) for one in given]
    if not found:
        raise ParameterError("mosaic of no rasters: give at least one")
    if method not in METHODS:
        raise ParameterError(f"method={method!r}: it is one of {', '.join(METHODS)}")
    _check_bands(found)
    asked = None if resampling is None else resampling_of(resampling)
    target = _covering(found) if grid is None else grid_wanted(grid)
    parts = _parts(found, target)
    chosen = [asked or default_resampling(band) for band in parts[0].bands]
    groups = dict.fromkeys(chosen)
    sources = {one: _joined([part.source_of(one) for part in parts], parts, target, method, one) for one in groups}
    return Raster(target, tuple(_band(sources[one], k) for k, one in enumerate(chosen)))


@dataclass(frozen=True, slots=True)
class _Part:
    """The bands of one raster, which are those of one source."""

    bands: tuple[SourceBand, ...]
    has_scales: bool  # whether its scales are those of all rasters
    is_warped: bool  # whether some raster is warped

    def source_of(self, resampling: Resampling) -> Source:
        """Its cells; values where counts are of different scales, or would lie between others."""
        source, values = self.bands[0].source, self.bands[0].values
        keeps = self.has_scales and (resampling.keeps_values or not self.is_warped)
        return source if keeps or values is None else values


def _check_bands(rasters: Sequence[Raster]) -> None:
    first = rasters[0]
    odd = next((raster for raster in rasters if len(raster) != len(first)), None)
    if odd is not None:
        raise ParameterError(
            f"mosaic: {first.label} has {counted(len(first), 'band')}, and {odd.label} has {len(odd)}: choose those "
            "that all have, as [tj.open(path, band=1) for path in paths]"
        )


def _parts(rasters: Sequence[Raster], grid: Grid) -> list[_Part]:
    found = [_one_source(raster) for raster in rasters]
    scales = {tuple((band.info.scale, band.info.offset) for band in bands) for bands in found}
    for bands in found:
        check_place(bands[0].source)
    is_warped = any(grid.offset_of(raster.grid) is None for raster in rasters)
    return [_Part(bands, len(scales) == 1, is_warped) for bands in found]


def _one_source(raster: Raster) -> tuple[SourceBand, ...]:
    """The bands of a raster, of one source; those of several are copied by a plan that reads them all."""
    bands = read_bands(raster.bands, raster.grid)
    if len({(id(band.source), id(band.values)) for band in bands}) == 1:
        return bands
    source = ComputedSource.of(raster.grid, [band.for_kernel(None) for band in bands])
    return tuple(SourceBand(source, info) for info in source.bands)


def _band(source: MosaicSource, index: int) -> SourceBand:
    info = source.bands[index]
    return SourceBand(source, info, ScaledSource.of(source) if info.is_scaled else None)


def _joined(
    sources: Sequence[Source], parts: Sequence[_Part], grid: Grid, method: str, resampling: Resampling
) -> MosaicSource:
    made = (
        _piece(source, tuple(band.info.index for band in part.bands), grid, resampling)
        for source, part in zip(sources, parts, strict=True)
    )
    pieces = [piece for piece in made if piece is not None]
    if not pieces:
        raise GridMismatchError(
            f"none of {len(sources)} rasters lies on the grid that is wanted: leave grid= out, by which it covers all\n"
            f"  {sources[0].name}: {sources[0].grid}\n  wanted: {grid}"
        )
    return MosaicSource.of(pieces, grid, method)


def _piece(source: Source, numbers: tuple[int, ...], grid: Grid, resampling: Resampling) -> Piece | None:
    """A source on the mosaic's lines, where it lies there."""
    whole, place = Window(0, 0, *grid.shape), grid.offset_of(source.grid)
    turn = round(Mapping(grid, source.grid).period)
    if place is not None:
        window = Window(*place, *source.grid.shape)
        again = [window.shifted(0, cols) for cols in (-turn, turn) if turn]  # around the world it may come once more
        if all(other.intersection(whole).is_empty for other in again):
            return None if window.intersection(whole).is_empty else Piece(source, window, numbers)
    sides = _sides(source.grid, grid)
    # By blocks of the lattice, so that cells have their places from the nodes that the whole grid has.
    top, left = (max(0, math.floor((side - _MARGIN) / BLOCK) * BLOCK) for side in (sides[0], sides[2]))
    bottom, right = (math.ceil((side + _MARGIN) / BLOCK) * BLOCK for side in (sides[1], sides[3]))
    window = Window(top, left, max(0, bottom - top), max(0, right - left)).intersection(whole)
    if window.is_empty:
        return None
    try:
        return Piece(WarpedSource.of(source, grid.part(window), resampling), window, numbers)
    except GridMismatchError:  # its blocks meet the grid, and it does not
        return None


def _sides(grid: Grid, target: Grid) -> tuple[float, float, float, float]:
    """The rows and columns of another grid between which a raster lies: first and last row, first and last column."""
    mapping, ahead = Mapping(grid, target), np.linspace(0, 1, _EDGE)
    start, end = np.zeros(_EDGE), np.ones(_EDGE)
    rows, cols = np.array([start, end, ahead, ahead]) * grid.height, np.array([ahead, ahead, start, end]) * grid.width
    found = mapping.normal(mapping.places(rows, cols))
    if not np.isfinite(found).all() or (mapping.period and np.ptp(found[0]) > mapping.period / 2):
        return 0.0, float(target.height), 0.0, float(target.width)
    # What lies between two places is as far from their line as a quarter of what every second place is off the others'.
    margin = float(np.abs(found[..., 1::2] - (found[..., :-2:2] + found[..., 2::2]) / 2).max()) / 4
    cols, rows = found
    return (
        float(rows.min()) - margin,
        float(rows.max()) + margin,
        float(cols.min()) - margin,
        float(cols.max()) + margin,
    )


def _covering(rasters: Sequence[Raster]) -> Grid:
    """The cells of the first, and those that go on from them, that cover all."""
    first = rasters[0].grid
    return reduce(or_, [first, *(_on_lines_of(first, raster) for raster in rasters[1:])])


def _on_lines_of(first: Grid, raster: Raster) -> Grid:
    """The cells, counted on from those of the first, that cover a raster."""
    place = first.offset_of(raster.grid)
    if place is not None:
        return first.part(Window(*place, *raster.grid.shape))
    return first.part(cells_between(_sides(raster.grid, first)))
