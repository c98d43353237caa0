"""Every strategy for being parallel, measured on the user's own kernel and raster: ``tilejit compare``."""
