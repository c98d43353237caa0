"""The demo's terrain: a landscape of noise, made by a kernel like any other, streamed into a GeoTIFF.

Octaves of value noise are added up, and each counts less where the ones before are steep: valleys fill up and
ridges stay sharp, as if water had run there (Quilez, https://iquilezles.org/articles/morenoise/).
"""

# The bodies of kernels bear no annotations: what they compute in is the call's business.
# ruff: noqa: ANN001, ANN201, ARG001
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

import tilejit as tj
from tilejit.grid import Grid

if TYPE_CHECKING:
    from pathlib import Path

    from tilejit.engine.pipeline.report import Report
    from tilejit.raster.raster import Raster

CELL = 30.0  # metres; the wavelengths of the kernel are meant for it


def corner(x, y, seed):
    """Returns a number from 0 to 1 that a lattice point always gets."""
    mixed = (x * 374761393 + y * 668265263 + seed * 69069) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) / 65536.0


def noise(x, y, seed):
    """Returns smooth noise from 0 to 1, and its slope in both directions."""
    left = math.floor(x)
    top = math.floor(y)
    col = int(left)
    row = int(top)
    u = x - left
    v = y - top
    a = corner(col, row, seed)
    b = corner(col + 1, row, seed)
    c = corner(col, row + 1, seed)
    d = corner(col + 1, row + 1, seed)
    # Quintic, so that the slope of the noise is smooth too.
    ease_u = u * u * u * (u * (u * 6.0 - 15.0) + 10.0)
    ease_v = v * v * v * (v * (v * 6.0 - 15.0) + 10.0)
    twist = a - b - c + d
    value = a + (b - a) * ease_u + (c - a) * ease_v + twist * ease_u * ease_v
    slope_u = 30.0 * u * u * (u * (u - 2.0) + 1.0) * (b - a + twist * ease_v)
    slope_v = 30.0 * v * v * (v * (v - 2.0) + 1.0) * (c - a + twist * ease_u)
    return value, slope_u, slope_v


@tj.local
def elevation(nothing, *, row=tj.ROW, col=tj.COL, seed=19, wavelength=700.0, relief=3000.0, lake=0.18):
    """Elevation in metres of a landscape that is made up; its lakes have none."""
    u = (0.83 * col - 0.56 * row) / wavelength
    v = (0.56 * col + 0.83 * row) / wavelength
    bend, _, _ = noise(0.6 * u + 3.1, 0.6 * v + 8.7, seed + 51)
    massif, _, _ = noise(0.4 * u + 11.3 + 0.8 * bend, 0.4 * v + 7.9 - 0.8 * bend, seed + 101)
    x = u + 0.7 * bend
    y = v - 0.5 * bend
    height = 0.0
    east = 0.0
    south = 0.0
    weight = 1.0
    for octave in range(9):
        value, slope_x, slope_y = noise(x, y, seed + octave)
        east += slope_x
        south += slope_y
        height += weight * value / (1.0 + east * east + south * south)
        weight *= 0.5
        # Twice as fine, and turned, so that the lattice does not show.
        x, y = 1.6 * x - 1.2 * y, 1.2 * x + 1.6 * y
    above = height * (0.2 + 1.2 * massif) - lake
    return relief * above if above > 0.0 else math.nan


def terrain(size: int) -> Raster:
    """Returns a lazy terrain of ``size`` rows and columns of 30 m, in UTM."""
    grid = Grid(size, size, (CELL, 0.0, 400_000.0, 0.0, -CELL, 5_300_000.0), "EPSG:32633")
    # One byte, seen everywhere: the kernel needs the grid alone.
    nothing = tj.from_array(np.broadcast_to(np.uint8(0), grid.shape), grid=grid)
    result: Raster = elevation(nothing)
    return result


def write_terrain(path: Path, size: int, *, overwrite: bool = False) -> Report:
    """Writes the terrain; lakes are nodata."""
    return terrain(size).save(path, overwrite=overwrite)
