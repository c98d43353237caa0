"""Kernels that workers import by name."""

import math

import numpy as np

import tilejit as tj


@tj.focal
def smooth(z):
    total = 0.0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            total += z[dy, dx]
    return total / 25


@tj.focal
def slopes(z, *, dx=tj.GROUND_WIDTH, row=tj.ROW):
    return (z[0, 1] - z[0, -1]) / dx, z[1, 0] - z[-1, 0] + row


@tj.local
def scaled(z, *, factor=2.0):
    return z * factor


@tj.local
def counted(z, *, growth=1.0005):
    """Slow, for tests that stop it; with a larger growth some hundred times faster."""
    steps = 0
    while z < 1000.0:
        z = z * growth + 0.001
        steps += 1
    return steps


@tj.focal(nodata="kernel")
def flooded(mark, land):
    """What is marked grows over land, to four neighbours."""
    most = max(mark[0, 0], mark[-1, 0], mark[1, 0], mark[0, -1], mark[0, 1])
    return min(land[0, 0], most)


@tj.focal
def heated(z) -> np.float32:
    return math.floor((z[0, 0] + z[-2, 0] + z[2, 0] + z[0, -1] + z[0, 1]) * 0.2)


@tj.focal(nodata="kernel")
def labelled(number) -> np.int32:
    """Valid cells take the largest number of their four neighbours."""
    most = max(number[0, 0], number[-1, 0], number[1, 0], number[0, -1], number[0, 1])
    return most if tj.is_valid(number[0, 0]) else math.nan


@tj.focal(nodata="kernel")
def spread(number: np.int16, land: np.uint8) -> np.int16:
    """The largest number of eight neighbours, on land that is not 0; cells without a number get one."""
    most = -1
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            most = max(most, number[dy, dx]) if tj.is_valid(number[dy, dx]) else most
    return (most if most > -1 else -32768) if land[0, 0] != 0 else -32768
