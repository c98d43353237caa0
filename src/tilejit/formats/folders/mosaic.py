"""The shards behind a VRT: read, and refused where they do not make one raster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SourceError
from tilejit.formats.folders.vrt import read_shards
from tilejit.formats.gdal.rasterio_source import open_rasterio
from tilejit.formats.geotiff.tiff_directory import TiffLayout, read_layout
from tilejit.grid import IDENTITY
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.formats.files import FileTags
    from tilejit.formats.folders.vrt import Shard
    from tilejit.formats.gdal.rasterio_source import RasterioSource
    from tilejit.formats.source import BandInfo
    from tilejit.grid import Grid


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A shard, and where its blocks lie."""

    path: Path
    """The file."""
    window: Window
    """Its place in the raster."""
    layout: TiffLayout | str
    """Where its blocks lie; or why they are not read directly."""


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """Shards of one kind that cover a raster, each cell once."""

    path: Path
    """The VRT."""
    grid: Grid
    """Where its cells lie."""
    bands: tuple[BandInfo, ...]
    """The bands, as the shards have them."""
    tiles: tuple[Tile, ...]
    """The shards, from the top left."""
    tags: FileTags
    """What the VRT says beside its cells."""


def read_mosaic(path: Path) -> Mosaic:
    """Read a VRT and the directories of its shards; no pixel is read.

    Raises:
        SourceError: It is no VRT of whole files, a shard is missing or differs from the others, shards overlap, or they
            leave a hole and there is no nodata value to fill it with.
    """
    shards = sorted(read_shards(path), key=lambda shard: (shard.window.row_off, shard.window.col_off))
    if not shards:
        raise SourceError(f"{path}: holds no shard")
    whole = open_rasterio(path)
    whole.close()
    tiles, bands, traits = zip(*(_read_tile(path, whole.grid, shard) for shard in shards), strict=True)
    _check_alike(path, [str(tile.path) for tile in tiles], traits)
    _check_whole(path, whole, bands[0])
    _check_cover(path, whole.grid, tiles, may_have_holes=all(band.nodata is not None for band in whole.bands))
    return Mosaic(path, whole.grid, bands[0], tiles, whole.storage.tags)


def _read_tile(path: Path, grid: Grid, shard: Shard) -> tuple[Tile, tuple[BandInfo, ...], dict[str, Any]]:
    source = open_rasterio(shard.name)
    try:
        _check_place(path, grid, shard, source)
        layout = read_layout(source, source.driver)
        return Tile(Path(shard.name), shard.window, layout), source.bands, _traits_of(source, layout)
    finally:
        source.close()


def _traits_of(source: RasterioSource, layout: TiffLayout | str) -> dict[str, Any]:
    """What shards of one raster have in common, by the word for it."""
    bands = source.bands
    stored = layout if isinstance(layout, str) else f"{layout.codec}"
    return {
        "number of bands": len(bands),
        "dtypes": [band.dtype.name for band in bands],
        "nodata values": [repr(band.nodata) for band in bands],
        "band descriptions": [band.description for band in bands],
        "units": [band.unit for band in bands],
        "masks": [band.has_mask for band in bands],
        "way of storing blocks": stored,
    }


def _check_alike(path: Path, names: Sequence[str], traits: Sequence[dict[str, Any]]) -> None:
    for name, other in zip(names, traits, strict=True):
        for word, value in other.items():
            if value != traits[0][word]:
                raise SourceError(
                    f"{path}: the shards differ in their {word}: {names[0]} has {traits[0][word]}, and {name} has "
                    f"{value}: make them alike, or save the VRT with tilejit.open(path).save(...)"
                )


def _check_whole(path: Path, whole: RasterioSource, bands: Sequence[BandInfo]) -> None:
    """Refuse a VRT that shows its shards as something else."""
    for ours, theirs in zip(whole.bands, bands, strict=True):
        for word, mine, other in (
            ("dtype", ours.dtype.name, theirs.dtype.name),
            ("nodata value", repr(ours.nodata), repr(theirs.nodata)),
        ):
            if mine != other:
                raise SourceError(f"{path}: band {ours.index} has the {word} {mine}, and the shards have {other}")


def _check_place(path: Path, grid: Grid, shard: Shard, source: RasterioSource) -> None:
    """Refuse a shard that lies elsewhere than the VRT shows it."""
    window = shard.window
    if window.row_end > grid.height or window.col_end > grid.width:
        raise SourceError(f"{path}: {shard.name} is shown at {window}, outside {grid.height} rows x {grid.width} cols")
    expected = grid.part(window)
    if grid.transform == IDENTITY and grid.crs is None:
        expected = source.grid if source.grid.shape == window.shape else expected
    differences = expected.differences(source.grid)
    if differences:
        raise SourceError(f"{path}: {shard.name} does not lie where it is shown, at {window}: {'; '.join(differences)}")


def _check_cover(path: Path, grid: Grid, tiles: Sequence[Tile], *, may_have_holes: bool) -> None:
    """Refuse shards that overlap, and holes where no value stands for no data."""
    rows = sorted({0, grid.height, *(n for t in tiles for n in (t.window.row_off, t.window.row_end))})
    cols = sorted({0, grid.width, *(n for t in tiles for n in (t.window.col_off, t.window.col_end))})
    # Between the edges of all shards a raster is of one piece: one cell stands for it.
    owner = np.full((len(rows) - 1, len(cols) - 1), -1, np.int64)
    for number, tile in enumerate(tiles):
        w = tile.window
        place = (
            slice(*np.searchsorted(rows, (w.row_off, w.row_end))),
            slice(*np.searchsorted(cols, (w.col_off, w.col_end))),
        )
        if (owner[place] >= 0).any():
            other = tiles[int(owner[place].max())]
            common = w.intersection(other.window)
            raise SourceError(f"{path}: {other.path} and {tile.path} overlap at {common}: which of them is right?")
        owner[place] = number
    holes = np.argwhere(owner < 0)
    if len(holes) and not may_have_holes:
        row, col = holes[0]
        hole = Window(rows[row], cols[col], rows[row + 1] - rows[row], cols[col + 1] - cols[col])
        raise SourceError(f"{path}: no shard holds {hole}, and there is no nodata value to fill it with")
