"""Kernels that ship with tilejit, written as a user's own would be: on `import tilejit` alone.

- `tilejit_kernels.terrain`: slope, aspect, shading, curvature and roughness of an elevation raster.
- `tilejit_kernels.indices`: vegetation, water, burn and built-up indices of multispectral bands.
- `tilejit_kernels.filters`: mean, extremes, median, standard deviation, Gaussian, Sobel and Laplacian.
- `tilejit_kernels.morphology`: reconstruction by dilation and erosion.
- `tilejit_kernels.series`: counts, means, extremes, trends and composites of one pixel through all dates.
- `tilejit_kernels.masks`: quality bands of Landsat and Sentinel-2, and reclassification by breaks.

Call one with NumPy arrays to get arrays at once, or with Rasters to get a lazy Raster:

    from tilejit_kernels.terrain import slope

    slope(elevation, dx=30.0, dy=30.0)
    slope(tj.open("dem.tif")).save("slope.tif")
"""
