"""GeoTIFF without GDAL's codecs: blocks read by offset and byte count, and appended as they are encoded."""
