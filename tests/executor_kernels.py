"""Kernels that workers import by name."""

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
def counted(z):
    steps = 0
    while z < 1000.0:
        z = z * 1.0005 + 0.001
        steps += 1
    return steps
