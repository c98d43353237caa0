"""All that goes through GDAL: other formats, other creation options, and the tags of every GeoTIFF."""
