"""Data for the benchmarks: fractal terrain, and two bands of a scene, made block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.windows import Window

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "bigtiff": "IF_SAFER",
    "compress": "ZSTD",
    "zstd_level": 1,
    "num_threads": "ALL_CPUS",
    "crs": "EPSG:32633",
    "transform": rasterio.Affine(30, 0, 500000, 0, -30, 5500000),
}
_PATTERN = 2048


def fractal(size: int, seed: int = 0) -> np.ndarray:
    """A periodic fractal surface in metres: a spectrum that falls with the 2.2nd power, and a decimetre of noise."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1
    spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency**2.2
    surface = np.fft.irfft2(spectrum, s=(size, size))
    surface = (surface - surface.min()) / np.ptp(surface) * 1500 + 100
    return (surface + rng.normal(scale=0.1, size=surface.shape)).astype(np.float32)


def write_terrain(path: Path, size: int, *, holes: bool = False) -> None:
    """A float32 DEM of size x size; with ``holes`` some lakes of nodata, 3 % of it."""
    pattern = fractal(min(size, _PATTERN))
    if holes:
        pattern[_lakes(pattern)] = -9999
    _write(path, pattern, size, predictor=3, nodata=-9999 if holes else None)


def write_bands(red: Path, nir: Path, size: int) -> None:
    """Red and near infrared of size x size, a file each."""
    for path, pattern in zip((red, nir), scene(min(size, _PATTERN)), strict=True):
        _write(path, pattern, size, predictor=2, nodata=None)


def _lakes(pattern: np.ndarray) -> np.ndarray:
    """Where it is low, in squares of 8 cells: Horn's window skips its centre, so programs differ on a lone cell."""
    side = 8
    corners = pattern[::side, ::side]
    low = np.kron(corners < np.quantile(corners, 0.03), np.ones((side, side), np.bool_))
    return low[: pattern.shape[0], : pattern.shape[1]]


def _write(path: Path, pattern: np.ndarray, size: int, **options: object) -> None:
    """A raster of size x size that repeats a pattern."""
    profile = PROFILE | {"dtype": pattern.dtype, "count": 1, "width": size, "height": size} | options
    with rasterio.open(path, "w", **profile) as dataset:
        for row, col in np.ndindex(*(-(-size // len(pattern)),) * 2):
            height, width = (min(len(pattern), size - k * len(pattern)) for k in (row, col))
            window = Window(col * len(pattern), row * len(pattern), width, height)
            dataset.write(pattern[:height, :width], 1, window=window)


def scene(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Red and near infrared as uint16 digital numbers."""
    base = fractal(min(size, _PATTERN), seed=1)
    red = (base * 8).astype(np.uint16)
    nir = (base[::-1] * 14).astype(np.uint16)
    count = -(-size // len(base))
    return tuple(np.ascontiguousarray(np.tile(b, (count, count))[:size, :size]) for b in (red, nir))  # type: ignore[return-value]
