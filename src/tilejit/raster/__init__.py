"""Lazy Rasters, and what they do when they are asked: read, save, compute, go on after a failure, merge."""
