"""How an existing GeoTIFF is stored, as the options that would store another so."""

from __future__ import annotations

from pathlib import Path

from tilejit.formats.gdal.library import load_rasterio, quiet
from tilejit.system.streams import unlogged

_WRITTEN = ("DEFLATE", "LZW", "ZSTD", "LZMA", "PACKBITS", "LERC")
"""Codecs whose files can be made alike: JPEG and WEBP lose cells, and take bytes only."""


def creation_options(path: str) -> dict[str, str] | None:
    """Returns the creation options of a local GeoTIFF's like, or None of anything else.

    The level is not in the file; decoding hardly depends on it.

    Args:
        path: A raster that can be opened.
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


def colour_options(path: str) -> dict[str, str]:
    """Returns the creation options that give another GeoTIFF's bands the colours that a GeoTIFF's have.

    Args:
        path: A raster that can be opened.
    """
    with quiet(), load_rasterio().open(path) as dataset:
        colours = [colour.name for colour in dataset.colorinterp]
    options = {"PHOTOMETRIC": "RGB"} if colours[:3] == ["red", "green", "blue"] else {}
    return options | ({"ALPHA": "YES"} if colours[-1] == "alpha" else {})
