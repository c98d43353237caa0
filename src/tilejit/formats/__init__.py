"""Sources that rasters are read from and sinks that they are written to, one file each."""
