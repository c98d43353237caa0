"""What GDAL there is, for ``tilejit info``."""

from __future__ import annotations

from tilejit.formats.gdal.library import load_rasterio, messages, quiet

CODECS = ("DEFLATE", "LZW", "ZSTD", "LERC", "LERC_ZSTD", "LZMA", "PACKBITS", "JPEG", "WEBP", "JXL")
"""GeoTIFF's codecs; which of them GDAL has is a matter of how it was built."""


def gdal_versions() -> dict[str, str]:
    """Returns the versions of rasterio and of GDAL."""
    rasterio = load_rasterio()
    return {"rasterio": rasterio.__version__, "GDAL": rasterio.__gdal_version__}


def codecs() -> list[str]:
    """Returns the codecs that GDAL can write, found by writing a raster in memory with each."""
    return [codec for codec in CODECS if _writes(codec)]


def _writes(codec: str) -> bool:
    rasterio = load_rasterio()
    bands = 3 if codec in {"JPEG", "WEBP", "JXL"} else 1
    try:
        with (
            quiet(),
            messages() as warned,
            rasterio.MemoryFile() as memory,
            memory.open(driver="GTiff", height=16, width=16, count=bands, dtype="uint8", compress=codec,
                        interleave="pixel"),
        ):  # fmt: skip
            pass
    except Exception:  # noqa: BLE001 - whatever GDAL raises, it cannot write this
        return False
    return not warned
