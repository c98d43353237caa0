"""From lazy Rasters to a frozen plan, before a pixel is read: windows, halos, memory, backend, parts."""
