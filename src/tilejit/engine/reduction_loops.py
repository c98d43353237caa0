"""Loops of `tilejit.engine.reductions` over the bits of floats, which compiles this file with Numba."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPILED = ("moments_32", "moments_64", "count_keys")
"""The functions that are compiled."""


def moments_32(
    cells: NDArray[Any], bits: NDArray[Any], counters: NDArray[Any], told: NDArray[Any], ends: NDArray[Any]
) -> None:
    """Add the mantissas of float32 cells, and their squares, to counters by exponent.

    Args:
        cells: (row, col).
        bits: The same memory, as uint32.
        counters: (exponent, 3): mantissas of 24 bits; their squares' lower 24 bits; and the upper ones.
        told: Valid cells, those that are infinite, those that are minus infinite.
        ends: The least and the greatest cell.
    """
    count = up = down = 0
    low, high = ends[0], ends[1]
    for y in range(cells.shape[0]):
        for x in range(cells.shape[1]):
            value = cells[y, x]
            if value != value:  # noqa: PLR0124 - NaN
                continue
            count += 1
            low, high = min(low, value), max(high, value)
            word = np.int64(bits[y, x])
            exponent, mantissa = (word >> 23) & 255, word & 0x7FFFFF
            if exponent == 255:
                if value > 0:
                    up += 1
                else:
                    down += 1
                continue
            if exponent > 0:
                mantissa |= 0x800000
            square = mantissa * mantissa
            counters[exponent, 0] += mantissa if value > 0 else -mantissa
            counters[exponent, 1] += square & 0xFFFFFF
            counters[exponent, 2] += square >> 24
    told[0], told[1], told[2] = count, up, down
    ends[0], ends[1] = low, high


def moments_64(
    cells: NDArray[Any], bits: NDArray[Any], counters: NDArray[Any], told: NDArray[Any], ends: NDArray[Any]
) -> None:
    """Add the mantissas of float64 cells, and their squares, to counters by exponent: see `moments_32`.

    Args:
        cells: (row, col).
        bits: The same memory, as uint64.
        counters: (exponent, 8): the lower 26 and the upper 27 bits of mantissas; of their squares, each in 32 lower and
            further upper bits, lower times lower, twice lower times upper over 2, and upper times upper.
        told: Valid cells, those that are infinite, those that are minus infinite.
        ends: The least and the greatest cell.
    """
    count = up = down = 0
    low, high = ends[0], ends[1]
    for y in range(cells.shape[0]):
        for x in range(cells.shape[1]):
            value = cells[y, x]
            if value != value:  # noqa: PLR0124 - NaN
                continue
            count += 1
            low, high = min(low, value), max(high, value)
            word = np.int64(bits[y, x])
            exponent, mantissa = (word >> 52) & 2047, word & 0xFFFFFFFFFFFFF
            if exponent == 2047:
                if value > 0:
                    up += 1
                else:
                    down += 1
                continue
            if exponent > 0:
                mantissa |= 0x10000000000000
            lower, upper = mantissa & 0x3FFFFFF, mantissa >> 26
            sign = 1 if value > 0 else -1
            counters[exponent, 0] += sign * lower
            counters[exponent, 1] += sign * upper
            for k in range(3):
                product = lower * lower if k == 0 else lower * upper if k == 1 else upper * upper
                counters[exponent, 2 + 2 * k] += product & 0xFFFFFFFF
                counters[exponent, 3 + 2 * k] += product >> 32
    told[0], told[1], told[2] = count, up, down
    ends[0], ends[1] = low, high


def count_keys(bits: NDArray[Any], counts: NDArray[Any]) -> None:
    """Count float32 cells by their first 20 bits, in the order of their values; NaN is left out.

    Args:
        bits: (row, col), the cells as uint32.
        counts: One for each class.
    """
    for y in range(bits.shape[0]):
        for x in range(bits.shape[1]):
            word = np.int64(bits[y, x])
            if word & 0x7FFFFFFF > 0x7F800000:
                continue
            ordered = word ^ 0xFFFFFFFF if word & 0x80000000 else word ^ 0x80000000
            counts[ordered >> 12] += 1
