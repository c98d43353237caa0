"""Made-up cells that compress as well as a given file, for runs that measure the machine."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.io.source import nodata_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = (-16, -12, -8, -4, 0, 4, 8, 12)
"""From terraces that hardly differ to noise; each halves or doubles the noise, or what is rounded away, 16 times."""
_SIDE = 1024


def cells(dtype: np.dtype[Any], level: int, shape: tuple[int, int], seed: int, nodata: float | None) -> NDArray[Any]:
    """Returns a fractal surface with noise.

    Args:
        dtype: The type of its cells.
        level: How much a coder has to keep: one more doubles the noise; below 0, one less rounds one bit more away.
        shape: Rows and columns.
        seed: Which surface.
        nodata: The value of a few lakes, or None for none.
    """
    pattern = _pattern(np.dtype(dtype), level, seed)
    value = nodata_key(np.dtype(dtype), nodata)
    if value is not None:
        pattern = pattern.copy()
        pattern[: _SIDE // 8, : _SIDE // 4] = value
    out = np.empty(shape, dtype)
    for row in range(0, shape[0], _SIDE):
        for col in range(0, shape[1], _SIDE):
            # Turned on, so that no coder sees the same cells again nearby.
            part = np.roll(pattern, (col // _SIDE * 389, row // _SIDE * 389), (0, 1))
            target = out[row : row + _SIDE, col : col + _SIDE]
            target[...] = part[: target.shape[0], : target.shape[1]]
    return out


@functools.lru_cache(maxsize=8)
def _pattern(dtype: np.dtype[Any], level: int, seed: int) -> NDArray[Any]:
    if dtype.kind == "f":
        # The heights of a DEM, of which a float32 keeps 14 bits behind the point.
        relief, noise, quantum = 1500.0, 0.1, 2.0 ** -(np.finfo(dtype).nmant - 9)
    else:
        relief, noise, quantum = min(12_000.0, np.iinfo(dtype).max / 2), 0.5, 1.0
    surface, rough = _surface(seed)
    values = relief * (0.1 + surface) + min(noise * 2.0 ** max(0, level), relief / 2) * rough
    if level < 0:
        values = np.round(values / (quantum * 2.0**-level)) * (quantum * 2.0**-level)
    if dtype.kind != "f":
        values = np.clip(np.round(values), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return values.astype(dtype)


@functools.lru_cache(maxsize=8)
def _surface(seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """A periodic surface from 0 to 1, whose spectrum falls with the 2.2nd power, and noise of deviation 1."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(_SIDE)[:, np.newaxis], np.fft.rfftfreq(_SIDE))
    frequency[0, 0] = 1
    real, imaginary = generator.normal(size=(2, *frequency.shape))
    surface = np.fft.irfft2((real + 1j * imaginary) / frequency**2.2, s=(_SIDE, _SIDE))
    surface -= surface.min()
    return surface / surface.max(), generator.normal(size=surface.shape)
