"""Which sink writes an output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilejit.io.output_file import OutputFile
from tilejit.io.rasterio_sink import RasterioSink

if TYPE_CHECKING:
    from tilejit.io.sink import OutputProfile, Sink


def open_sink(profile: OutputProfile, threads: int = 1) -> Sink:
    """Open the sink that an output's options ask for.

    Args:
        profile: What the file will be.
        threads: Threads that compress, where GDAL does.

    Returns:
        A GeoTIFF sink.

    Raises:
        SinkError: The name is not a GeoTIFF's, or the file cannot be created.
    """
    return RasterioSink(OutputFile(profile), threads)
