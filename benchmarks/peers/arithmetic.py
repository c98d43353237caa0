"""The jobs in NumPy and SciPy, as their users write them: whole arrays in, with a halo where they look around.

NaN is nodata. Each takes the job's inputs and returns its outputs, smaller by the halo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from peers.jobs import CELL, SCALE, STEPS, WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def ndvi(red: NDArray[np.uint16], nir: NDArray[np.uint16]) -> list[NDArray[np.float32]]:
    """(nir - red) / (nir + red)."""
    low, high = red.astype(np.float32), nir.astype(np.float32)
    return [(high - low) / (high + low)]


def _gradient(z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Horn's gradient towards east and north."""
    west, east, north, south = z[:, :-2], z[:, 2:], z[:-2], z[2:]
    across, down = east - west, north - south
    per_cell = np.float32(8 * CELL)
    return (
        (across[:-2] + 2 * across[1:-1] + across[2:]) / per_cell,
        (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / per_cell,
    )


def slope(z: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Degrees, Horn."""
    return [np.degrees(np.arctan(np.hypot(*_gradient(z))))]


def terrain(z: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Hillshade from the north-west at 45 degrees, slope and aspect, of one gradient."""
    east, north = _gradient(z)
    light, half = np.float32(np.sqrt(0.5)), np.float32(0.5)
    cosine = (light + half * east - half * north) / np.sqrt(1 + east * east + north * north)
    hillshade = 1 + 254 * np.maximum(cosine, 0)
    aspect = np.degrees(np.arctan2(east, north)) + 180
    aspect[aspect >= 360] = 0
    aspect[(east == 0) & (north == 0)] = np.nan
    return [hillshade, np.degrees(np.arctan(np.hypot(east, north))), aspect]


def mean(z: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Mean of the valid cells of 11x11, NaN where there is none: two box filters, each of running sums."""
    from scipy.ndimage import uniform_filter

    valid = ~np.isnan(z)
    inner = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2
    sums = uniform_filter(np.where(valid, z, np.float32(0)), WINDOW, mode="constant")[inner]
    share = uniform_filter(valid.astype(np.float32), WINDOW, mode="constant")[inner]
    with np.errstate(invalid="ignore", divide="ignore"):
        return [np.where(share > 0.5 / WINDOW**2, sums / share, np.float32(np.nan))]


def iterate(z: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """A quadratic map whose constant is the pixel, in place."""
    constant = z / np.float32(SCALE)
    x = constant.copy()
    for _ in range(STEPS):
        x *= x
        x *= np.float32(0.5)
        x -= constant
    return [x]


FORMULAS: dict[str, Callable[..., list[NDArray[np.float32]]]] = {
    "ndvi": ndvi,
    "slope": slope,
    "mean": mean,
    "terrain": terrain,
    "iterate": iterate,
}
"""By the job's name."""
