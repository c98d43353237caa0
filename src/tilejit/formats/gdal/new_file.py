"""A new GeoTIFF as GDAL makes it: every tag that an output has and no pixels yet; and what GDAL keeps beside it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from tilejit.errors import SinkError
from tilejit.formats.files import colour_options, write_tags
from tilejit.formats.gdal.creation_options import gdal_options, stored_dtype
from tilejit.formats.gdal.library import cause_of, load_rasterio, messages, quiet
from tilejit.formats.publishing import new_file, write_text
from tilejit.formats.target import check_length, checked_file
from tilejit.grid import IDENTITY, Grid
from tilejit.system.limits import open_files_hint
from tilejit.system.program import unlogged

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.sink import OutputProfile


_WRITTEN = ("DEFLATE", "LZW", "ZSTD", "LZMA", "PACKBITS", "LERC")
"""Codecs whose files can be made alike: JPEG and WEBP lose cells, and take bytes only."""
_COLOUR_OPTIONS = {"PHOTOMETRIC", "ALPHA"}  # creation options that say how bands are coloured


def create_dataset(profile: OutputProfile, temporary: Path, options: Mapping[str, str]) -> Any:
    """Create the temporary file of an output with its tags; returns the rasterio dataset, open for writing."""
    path = profile.path
    try:
        with quiet(), messages() as warned:
            dataset = _open(profile, temporary, gdal_options(options))
    except Exception as error:
        cause = cause_of(error)
        raise SinkError(f"{path}: cannot be created: {cause}{open_files_hint(cause)}") from error
    if warned:
        dataset.close()
        raise SinkError(f"{path}: cannot be created as asked: {'; '.join(warned)}")
    return dataset


def _open(profile: OutputProfile, temporary: Path, options: Mapping[str, str]) -> Any:
    rasterio = load_rasterio()
    has_colours = not _COLOUR_OPTIONS & {*options}
    # A side file would be litter: what GeoTIFF cannot hold is left out.
    with rasterio.Env(GDAL_PAM_ENABLED="NO"):
        dataset = rasterio.open(
            temporary, "w", driver="GTiff", height=profile.grid.height, width=profile.grid.width, count=profile.count,
            dtype=stored_dtype(profile.dtype).name, nodata=profile.nodata, **_place(rasterio, profile),
            **(colour_options(profile.tags) if has_colours else {}), **options,
        )  # fmt: skip
        try:
            _describe(dataset, profile)
            write_tags(dataset, profile.tags, colours=has_colours)
        except BaseException:
            dataset.close()
            raise
    return dataset


def _describe(dataset: Any, profile: OutputProfile) -> None:
    """Name the bands and their units."""
    for i, text in enumerate(profile.descriptions, 1):
        if text:
            dataset.set_band_description(i, text)
    for i, text in enumerate(profile.units, 1):
        if text:
            dataset.set_band_unit(i, text)


def _place(rasterio: Any, profile: OutputProfile) -> dict[str, Any]:
    """The grid as rasterio takes it."""
    place: dict[str, Any] = {}
    if profile.grid.transform != IDENTITY:
        place["transform"] = rasterio.Affine(*profile.grid.transform)
    crs, ground = profile.grid.crs, profile.tags.ground
    if ground is not None and not place and crs is None:
        from rasterio.control import GroundControlPoint

        place["gcps"], crs = [GroundControlPoint(*point) for point in ground.points], ground.crs
    if crs is not None:
        place["crs"] = rasterio.crs.CRS.from_wkt(crs)
    return place


def close_dataset(dataset: Any) -> None:
    """Close a dataset: GDAL writes its last blocks; what it says of a failure, which rasterio drops, is raised."""
    # Outside an Env GDAL's handler is its default, which prints on standard error.
    with messages() as said, load_rasterio().Env():
        dataset.close()
    if said:
        raise OSError(said[0])


def write_png(path: str | os.PathLike[str], colours: NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write a picture of (row, col, 3) red, green and blue; what was there stays where that fails."""
    rasterio, name = load_rasterio(), os.fspath(path)
    height, width, count = colours.shape
    shape = {"height": height, "width": width, "count": count, "dtype": "uint8"}
    with (
        new_file(name, checked_file(name, overwrite=overwrite), overwrite=overwrite) as temporary,
        quiet(),
        rasterio.Env(GDAL_PAM_ENABLED="NO"),
        rasterio.open(temporary, "w", driver="PNG", ZLEVEL=9, **shape) as dataset,
    ):
        dataset.write(colours.transpose(2, 0, 1))


def options_like(path: str) -> dict[str, str] | None:
    """The creation options of a local GeoTIFF's like; None of anything else.

    The level is not in the file; decoding hardly depends on it.
    """
    if not Path(path).is_file():
        return None
    with quiet(), load_rasterio().open(path) as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        codec = structure.get("COMPRESSION", "NONE").upper()
        if dataset.driver not in {"GTiff", "COG"} or codec not in {"NONE", *_WRITTEN}:
            return None
        options = {"COMPRESS": codec, "INTERLEAVE": structure.get("INTERLEAVE", "BAND").upper()}
        if codec in {"DEFLATE", "LZW", "ZSTD"}:
            options["PREDICTOR"] = structure.get("PREDICTOR", "1")
        rows, cols = dataset.block_shapes[0]
        options["BLOCKYSIZE"] = str(rows)
        return options | ({"TILED": "YES", "BLOCKXSIZE": str(cols)} if _is_tiled(path) else {"TILED": "NO"})


def _is_tiled(path: str) -> bool:
    """Whether a GeoTIFF's blocks are tiles; of one as wide as they are, GDAL does not tell them from strips."""
    import tifffile

    with unlogged("tifffile"), tifffile.TiffFile(path) as tiff:
        return bool(tiff.pages.first.is_tiled)


def colours_like(path: str) -> dict[str, str]:
    """The creation options that give another GeoTIFF's bands the colours that a raster's have."""
    with quiet(), load_rasterio().open(path) as dataset:
        colours = [colour.name for colour in dataset.colorinterp]
    options = {"PHOTOMETRIC": "RGB"} if colours[:3] == ["red", "green", "blue"] else {}
    return options | ({"ALPHA": "YES"} if colours[-1] == "alpha" else {})


SIDE_SUFFIX = ".aux.xml"  # how its name goes on behind the GeoTIFF's


def needs_side_file(grid: Grid) -> bool:
    """Whether the CRS of a GeoTIFF goes into ``<name>.aux.xml``."""
    return grid.crs is not None and not _geotiff_holds(grid.crs)


def check_side_file(path: str, target: Path, grid: Grid) -> None:
    """Refuse a name that is too long for what would lie beside it."""
    if needs_side_file(grid):
        check_length(f"{path}: its CRS goes into a file beside it", _side_of(target))


def write_side_file(path: str, target: Path, grid: Grid, *, overwrite: bool) -> None:
    """Write what lies beside a GeoTIFF that has its name, if its CRS needs it."""
    if needs_side_file(grid):
        root = ET.Element("PAMDataset")
        place = ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2")
        place.text = grid.crs
        side = _side_of(target)
        write_text(f"{path}{SIDE_SUFFIX}", side, ET.tostring(root, encoding="unicode"), overwrite=overwrite)


def _side_of(target: Path) -> Path:
    return target.with_name(f"{target.name}{SIDE_SUFFIX}")


@functools.lru_cache(maxsize=64)
def _geotiff_holds(crs: str) -> bool:
    """Whether GDAL reads a CRS from a GeoTIFF that it wrote, found by trying."""
    rasterio = load_rasterio()
    with quiet(), messages(), rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.MemoryFile() as memory:
        try:
            place = {"crs": rasterio.crs.CRS.from_wkt(crs), "transform": rasterio.Affine(1, 0, 1, 0, -1, 1)}
            with memory.open(driver="GTiff", height=1, width=1, count=1, dtype="uint8", **place):
                pass
            with memory.open() as dataset:
                return bool(dataset.crs)
        except (rasterio.errors.RasterioError, rasterio.errors.CRSError):
            return True  # what cannot be written at all, its sink says
