"""What GeoTIFF has no keys for and GDAL keeps in a file beside it: a rotated pole, and what has no EPSG code."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tilejit.formats.gdal.library import load_rasterio, messages, quiet
from tilejit.formats.target import check_length, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from tilejit.grid import Grid

SIDE_SUFFIX = ".aux.xml"
"""How its name goes on behind the GeoTIFF's."""


def needs_side_file(grid: Grid) -> bool:
    """Whether the CRS of a GeoTIFF goes into ``<name>.aux.xml``."""
    return grid.crs is not None and not _geotiff_holds(grid.crs)


def check_side_file(path: str, target: Path, grid: Grid) -> None:
    """Refuse a name that is too long for what would lie beside it.

    Raises:
        SinkError: The CRS needs such a file.
    """
    if needs_side_file(grid):
        check_length(f"{path}: its CRS goes into a file beside it", _side_of(target))


def write_side_file(path: str, target: Path, grid: Grid, *, overwrite: bool) -> None:
    """Write what lies beside a GeoTIFF that has its name, if its CRS needs it.

    Args:
        path: What messages call the GeoTIFF.
        target: The GeoTIFF.
        grid: Where its cells lie.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        NameTakenError: Something that may not be replaced is there by now; the file stays under another name.
        OSError: It cannot be written.
    """
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
