"""What GeoTIFF has no keys for and GDAL keeps in a file beside it: a rotated pole, and what has no EPSG code."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tilejit.io.gdal.library import load_rasterio, messages, quiet
from tilejit.io.target import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from tilejit.grid import Grid


def needs_side_file(grid: Grid) -> bool:
    """Whether the CRS of a GeoTIFF goes into ``<name>.aux.xml``."""
    return grid.crs is not None and not _geotiff_holds(grid.crs)


def write_side_file(path: str, target: Path, grid: Grid) -> None:
    """Write what lies beside a GeoTIFF that has its name, if its CRS needs it.

    Args:
        path: What messages call the GeoTIFF.
        target: The GeoTIFF.
        grid: Where its cells lie.

    Raises:
        OSError: It cannot be written.
    """
    if needs_side_file(grid):
        root = ET.Element("PAMDataset")
        place = ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2")
        place.text = grid.crs
        side = target.with_name(f"{target.name}.aux.xml")
        write_text(path, side, ET.tostring(root, encoding="unicode"), overwrite=True)


@functools.lru_cache(maxsize=64)
def _geotiff_holds(crs: str) -> bool:
    """Whether GDAL reads a CRS from a GeoTIFF that it wrote, found by trying."""
    rasterio = load_rasterio()
    with quiet(), messages(), rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.MemoryFile() as memory:
        place = {"crs": rasterio.crs.CRS.from_wkt(crs), "transform": rasterio.Affine(1, 0, 1, 0, -1, 1)}
        try:
            with memory.open(driver="GTiff", height=1, width=1, count=1, dtype="uint8", **place):
                pass
            with memory.open() as dataset:
                return bool(dataset.crs)
        except rasterio.errors.RasterioError:
            return True  # what cannot be written at all, its sink says
