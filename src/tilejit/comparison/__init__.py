"""Every way of being parallel, measured on the user's own kernel and raster: ``tilejit compare`` and ``tj.compare``."""
