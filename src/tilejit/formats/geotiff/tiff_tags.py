"""What the numbers in a TIFF's directory mean, of what is read and written without GDAL."""

from __future__ import annotations

COMPRESSIONS = {1: "NONE", 5: "LZW", 8: "DEFLATE", 32946: "DEFLATE", 50000: "ZSTD"}
"""Values of Compression."""
KINDS = {1: "u", 2: "i", 3: "f"}
"""Values of SampleFormat, as NumPy's kinds."""
UNSIGNED = {3: "u2", 4: "u4", 16: "u8"}
"""The types of offsets and byte counts."""
SEPARATE = 2
"""What PlanarConfiguration says where each band has blocks of its own."""
