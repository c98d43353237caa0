"""Rasters cut to a window, and joined to one."""
