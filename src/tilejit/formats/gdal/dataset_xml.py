"""What GDAL knows of a dataset, as the XML of a VRT: exact where rasterio rounds or says nothing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from tilejit.formats.gdal.library import load_rasterio

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers: Iterator[int] = itertools.count()


def dataset_xml(dataset: Any) -> ET.Element:
    """Describe an open rasterio dataset; no pixel is read, and callers are `quiet`.

    GDAL writes 64-bit nodata values as integers here, and rasterio hands them over as float64, or not at all.

    Args:
        dataset: The dataset, open for reading.

    Returns:
        The element ``VRTDataset``.
    """
    rasterio = load_rasterio()
    from rasterio import shutil

    name = f"/vsimem/tilejit_{next(_numbers)}.vrt"
    shutil.copy(dataset, name, driver="VRT")
    try:
        with rasterio.open(name) as described:
            text = described.tags(ns="xml:VRT")["xml:VRT"]
    finally:
        shutil.delete(name, driver="VRT")
    return ET.fromstring(text)  # noqa: S314 - GDAL has just written it
