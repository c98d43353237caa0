"""A picture of a terrain: shaded relief on the left, slope on the right.

It is read in strips, so that any size will do.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from tilejit.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.raster.raster import Raster

    Floats = NDArray[np.float64]
    Ramp = tuple[tuple[float, tuple[int, int, int]], ...]
    """Values and their colours; between them colours blend."""

SIDE = 600
"""About the pixels of each of the two pictures, down and across."""
GAP = 8
"""White pixels between them."""

ELEVATION: Ramp = (
    (0.0, (78, 122, 76)),
    (0.12, (118, 150, 88)),
    (0.28, (176, 178, 112)),
    (0.45, (196, 166, 118)),
    (0.62, (160, 124, 98)),
    (0.78, (142, 128, 124)),
    (0.9, (214, 214, 218)),
    (1.0, (255, 255, 255)),
)
"""From lowland to snow; 1 is the highest cell."""
SLOPE: Ramp = (
    (0, (250, 246, 232)),
    (8, (247, 214, 140)),
    (18, (236, 140, 80)),
    (30, (190, 62, 88)),
    (42, (102, 28, 104)),
    (60, (28, 12, 60)),
)
"""Degrees."""
WATER, PALE_WATER = (74, 122, 158), (158, 186, 204)
FLAT_SHADE = math.cos(math.radians(45.0))
"""What the hillshade of a level cell is, of 1."""


def picture(elevation: Raster, hillshade: Raster, slope: Raster) -> NDArray[np.uint8]:
    """Returns the picture.

    Args:
        elevation: One band; cells without data are water.
        hillshade: Of it, 1 to 255.
        slope: Of it, in degrees.

    Returns:
        (row, col, 3) colours.
    """
    heights, dry = shrunk(elevation)
    (shades, _), (slopes, sloped) = shrunk(hillshade), shrunk(slope)
    shade = np.nan_to_num(shades / 255.0, nan=FLAT_SHADE)[..., np.newaxis]
    relief = coloured(heights / max(float(np.nanmax(heights, initial=1.0)), 1.0), ELEVATION)
    dark, bright = 0.25 + 0.75 * shade / FLAT_SHADE, 1.0 + 0.45 * (shade - FLAT_SHADE) / (1.0 - FLAT_SHADE)
    left = _mixed(relief * np.where(shade < FLAT_SHADE, dark, bright), WATER, dry)
    right = _mixed(coloured(slopes, SLOPE), PALE_WATER, np.where(sloped > 0, dry, 0.0))
    white = np.full((len(left), GAP, 3), 255.0)
    both = np.concatenate([left, white, right], axis=1)
    # 32 levels are plenty to the eye, and the file is half as large.
    colours = np.clip(both + 4.0, 0, 255).astype(np.uint8)
    return (colours & np.uint8(0xF8)) | np.uint8(0x04)


def _mixed(colours: Floats, other: tuple[int, int, int], share: Floats) -> Floats:
    """Lets colours fade into another where only a share of a block's cells has data."""
    return np.asarray(other) + (np.minimum(colours, 255.0) - other) * share[..., np.newaxis]


def shrunk(raster: Raster) -> tuple[Floats, Floats]:
    """Reads one band in strips and averages blocks of cells; a small raster's cells are repeated instead.

    Returns:
        The means, NaN for a block without data; and the share of each block that has data.
    """
    height, width = raster.grid.shape
    factor = max(1, math.ceil(max(height, width) / SIDE))
    rows, cols = max(1, height // factor), max(1, width // factor)
    means, shares = np.full((2, rows, cols), np.nan)
    step = max(1, 2_000_000 // (factor * width))
    for row in range(0, rows, step):
        count = min(step, rows - row)
        strip = raster.read(Window(row * factor, 0, count * factor, cols * factor))[0]
        blocks = strip.reshape(count, factor, cols, factor)
        shares[row : row + count] = np.isfinite(blocks).mean(axis=(1, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a block without data has no mean
            means[row : row + count] = np.nanmean(blocks, axis=(1, 3))
    larger = max(1, SIDE // max(rows, cols))
    means, shares = (part.repeat(larger, axis=0).repeat(larger, axis=1) for part in (means, shares))
    return means, shares


def coloured(values: Floats, ramp: Ramp) -> Floats:
    """Gives each value its colour, (…, 3); NaN gets that of the lowest.

    Example:
        >>> coloured(np.array([0.0, 0.5]), ((0.0, (0, 0, 0)), (1.0, (100, 200, 50)))).tolist()
        [[0.0, 0.0, 0.0], [50.0, 100.0, 25.0]]
    """
    stops = [stop for stop, _ in ramp]
    known = np.nan_to_num(values, nan=stops[0])
    return np.stack([np.interp(known, stops, [colour[k] for _, colour in ramp]) for k in range(3)], axis=-1)
