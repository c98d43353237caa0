"""The jobs as loops for Numba, written by hand: compiled to release the GIL, cached on disk.

They take what `peers.arithmetic` takes and return the same; halves and whole numbers are float32 constants, so that
nothing turns into float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from peers.jobs import CELL, SCALE, STEPS, WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

F0, F1, F2, HALF, NAN = (np.float32(v) for v in (0, 1, 2, 0.5, np.nan))
PER_CELL, LIGHT = np.float32(8 * CELL), np.float32(math.sqrt(0.5))
DEGREES, TURN, BRIGHT = np.float32(180 / math.pi), np.float32(360), np.float32(254)
PER_STEP = np.float32(SCALE)

compiled = njit(nogil=True, cache=True, error_model="numpy")


@compiled
def ndvi(red, nir):
    out = np.empty(red.shape, np.float32)
    for y in range(red.shape[0]):
        for x in range(red.shape[1]):
            low, high = np.float32(red[y, x]), np.float32(nir[y, x])
            out[y, x] = (high - low) / (high + low)
    return (out,)


@compiled
def gradient(z, y, x):
    across = (z[y, x + 2] - z[y, x]) + F2 * (z[y + 1, x + 2] - z[y + 1, x]) + (z[y + 2, x + 2] - z[y + 2, x])
    down = (z[y, x] - z[y + 2, x]) + F2 * (z[y, x + 1] - z[y + 2, x + 1]) + (z[y, x + 2] - z[y + 2, x + 2])
    return across / PER_CELL, down / PER_CELL


@compiled
def slope(z):
    height, width = z.shape[0] - 2, z.shape[1] - 2
    out = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            east, north = gradient(z, y, x)
            out[y, x] = DEGREES * math.atan(math.sqrt(east * east + north * north))
    return (out,)


@compiled
def terrain(z):
    height, width = z.shape[0] - 2, z.shape[1] - 2
    shades, slopes, aspects = (
        np.empty((height, width), np.float32),
        np.empty((height, width), np.float32),
        np.empty((height, width), np.float32),
    )
    for y in range(height):
        for x in range(width):
            east, north = gradient(z, y, x)
            steep = east * east + north * north
            cosine = (LIGHT + HALF * east - HALF * north) / math.sqrt(F1 + steep)
            shades[y, x] = F1 + BRIGHT * (F0 if cosine < F0 else cosine)
            slopes[y, x] = DEGREES * math.atan(math.sqrt(steep))
            aspect = DEGREES * math.atan2(east, north) + HALF * TURN
            aspect = F0 if aspect >= TURN else aspect
            aspects[y, x] = NAN if steep == F0 else aspect
    return shades, slopes, aspects


@compiled
def mean(z):
    height, width = z.shape[0] - WINDOW + 1, z.shape[1] - WINDOW + 1
    out = np.empty((height, width), np.float32)
    # Sums of the columns' 11 cells, moved down row by row; in float64, so that what is added is taken away again.
    sums, counts = np.zeros(z.shape[1]), np.zeros(z.shape[1])
    for y in range(z.shape[0]):
        for x in range(z.shape[1]):
            new = z[y, x]
            old = z[y - WINDOW, x] if y >= WINDOW else NAN
            sums[x] += (new if new == new else F0) - (old if old == old else F0)
            counts[x] += (F1 if new == new else F0) - (F1 if old == old else F0)
        if y < WINDOW - 1:
            continue
        total, count = 0.0, 0.0
        for x in range(WINDOW - 1):
            total += sums[x]
            count += counts[x]
        for x in range(width):
            total += sums[x + WINDOW - 1]
            count += counts[x + WINDOW - 1]
            out[y - WINDOW + 1, x] = total / count if count > 0.5 else NAN
            total -= sums[x]
            count -= counts[x]
    return (out,)


@compiled
def iterate(z):
    out = np.empty(z.shape, np.float32)
    for y in range(z.shape[0]):
        for x in range(z.shape[1]):
            constant = z[y, x] / PER_STEP
            value = constant
            for _ in range(STEPS):
                value = value * value * HALF - constant
            out[y, x] = value
    return (out,)


LOOPS: dict[str, Callable[..., tuple[NDArray[np.float32], ...]]] = {
    "ndvi": ndvi,
    "slope": slope,
    "mean": mean,
    "terrain": terrain,
    "iterate": iterate,
}
"""By the job's name."""
