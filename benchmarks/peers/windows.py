"""What the recipes with rasterio share: windows, halos, nodata as NaN and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.windows import Window

from peers.jobs import JOBS, NODATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from peers.task import Task

SIDE = 2048
"""Rows and columns of a window, and of dask's chunks: 16 MB of float32, a multiple of the file's blocks."""


def bound_cache(megabytes: int = 64) -> None:
    """Bounds GDAL's block cache before its first use, where the user has not.

    Of windows of 512, 1024 and 2048, with this cache and with GDAL's own (5 % of the memory, whose lock the threads
    wait for), this pair was the fastest: slope over 8192 x 8192 with threads and NumPy took 1.22 s, others 1.4 to 2.1.
    """
    os.environ.setdefault("GDAL_CACHEMAX", str(megabytes))


def windows_of(dataset: Any) -> list[Window]:
    """Returns the windows of a raster, row by row."""
    height, width = dataset.shape
    return [
        Window(col, row, min(SIDE, width - col), min(SIDE, height - row))
        for row in range(0, height, SIDE)
        for col in range(0, width, SIDE)
    ]


def read(dataset: Any, window: Window, radius: int) -> NDArray[Any]:
    """Reads a window and ``radius`` cells around it; NaN where there is no data and beyond the raster."""
    rows = window.row_off - radius, window.row_off + window.height + radius
    cols = window.col_off - radius, window.col_off + window.width + radius
    inside = [(max(0, low), min(size, high)) for (low, high), size in zip((rows, cols), dataset.shape, strict=True)]
    array = dataset.read(1, window=tuple(inside))
    if dataset.nodata is not None:
        array[array == dataset.nodata] = np.nan
    if array.shape == (rows[1] - rows[0], cols[1] - cols[0]):
        return array
    around = [(part[0] - low, high - part[1]) for (low, high), part in zip((rows, cols), inside, strict=True)]
    return np.pad(array, around, constant_values=np.nan)


def write(dataset: Any, window: Window, array: NDArray[Any]) -> None:
    """Writes a window, NaN as the nodata value."""
    dataset.write(np.where(np.isnan(array), np.float32(NODATA), array), 1, window=window)


def radius_of(task: Task) -> int:
    """Returns how far a job reads beyond the cell that it computes."""
    return JOBS[task.job].border


def output_profile(task: Task, like: Any, threads: int) -> dict[str, Any]:
    """Returns what rasterio needs to create an output on the grid of ``like``."""
    return {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 1,
        "height": like.height,
        "width": like.width,
        "crs": like.crs,
        "transform": like.transform,
        "nodata": NODATA,
        "num_threads": threads,
        **task.creation,
    }


def open_all(paths: Sequence[str], **options: Any) -> list[Any]:
    """Opens files to read."""
    return [rasterio.open(path, **options) for path in paths]
