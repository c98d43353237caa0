"""Loops of `tilejit.engine.zones`, which compiles this file with Numba.

A sum of floats is a row of *limbs*: integers of 32 bits each, lowest first, in counters of 64 bits. A float is its
mantissa, added at the place that its exponent tells, so that nothing is ever rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPILED = (
    "place",
    "index_zones",
    "count_cells",
    "sum_integers",
    "sum_32",
    "sum_64",
    "squares_32",
    "squares_64",
    "extremes",
)
"""The functions that are compiled."""

_LIMB = 0xFFFFFFFF


def place(limbs: NDArray[Any], position: Any, part: Any) -> None:
    """Add an integer of up to 27 bits and a sign to limbs, from a bit's position on."""
    shifted = part << (position & 31)
    limbs[position >> 5] += shifted & _LIMB
    limbs[(position >> 5) + 1] += shifted >> 32


def index_zones(  # noqa: PLR0917 - compiled functions take their arguments by place
    zones: NDArray[Any],
    valid: NDArray[Any],
    keys: NDArray[Any],
    slots: NDArray[Any],
    index: NDArray[Any],
    ids: NDArray[Any],
) -> int:
    """Number the zones of a tile in the order in which they are met, by a hash table with open addresses.

    Args:
        zones: (row, col), int64.
        valid: (row, col), uint8.
        keys: The table's zones; its length is a power of two.
        slots: The number of each, -1 for none.
        index: (row, col), int32: is set to the number of each cell's zone, -1 where there is none.
        ids: Is set to the zone of each number; half as long as the table.

    Returns:
        How many there are; -1 if the table is too small.
    """
    count, mask, last, number = 0, len(slots) - 1, np.int64(0), -1
    for y in range(zones.shape[0]):
        for x in range(zones.shape[1]):
            if valid[y, x] == 0:
                index[y, x] = -1
                continue
            zone = zones[y, x]
            if zone != last or number < 0:
                slot = ((zone * np.int64(0x9E3779B97F4A7C1)) >> 20) & mask
                while slots[slot] >= 0 and keys[slot] != zone:
                    slot = (slot + 1) & mask
                if slots[slot] < 0:
                    if count == len(ids):
                        return -1
                    keys[slot], slots[slot], ids[count] = zone, count, zone
                    count += 1
                last, number = zone, slots[slot]
            index[y, x] = number
    return count


def count_cells(valid: NDArray[Any], index: NDArray[Any], counts: NDArray[Any]) -> None:
    """Count the cells of each zone: (zone, 2), those with a result and those without."""
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            if index[y, x] >= 0:
                counts[index[y, x], 0 if valid[y, x] else 1] += 1


def sum_integers(values: NDArray[Any], valid: NDArray[Any], index: NDArray[Any], sums: NDArray[Any]) -> None:
    """Add integers up by zone."""
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            if index[y, x] >= 0 and valid[y, x]:
                sums[index[y, x]] += values[y, x]


def sum_32(bits: NDArray[Any], valid: NDArray[Any], index: NDArray[Any], limbs: NDArray[Any]) -> None:
    """Add float32 cells up by zone.

    Args:
        bits: (row, col), the cells as uint32.
        valid: (row, col), uint8; NaN is not.
        index: (row, col), the number of each cell's zone.
        limbs: (zone, limb); the last two count infinite cells, and minus infinite ones.
    """
    ends = limbs.shape[1] - 2
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            number = index[y, x]
            if number < 0 or valid[y, x] == 0:
                continue
            word = np.int64(bits[y, x])
            exponent, mantissa, is_negative = (word >> 23) & 255, word & 0x7FFFFF, word >> 31
            if exponent == 255:
                limbs[number, ends + is_negative] += 1
                continue
            if exponent > 0:
                mantissa |= 0x800000
                exponent -= 1
            place(limbs[number], exponent, -mantissa if is_negative else mantissa)


def sum_64(bits: NDArray[Any], valid: NDArray[Any], index: NDArray[Any], limbs: NDArray[Any]) -> None:
    """Add float64 cells up by zone: see `sum_32`; ``bits`` are uint64."""
    ends = limbs.shape[1] - 2
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            number = index[y, x]
            if number < 0 or valid[y, x] == 0:
                continue
            word = np.int64(bits[y, x])
            exponent, mantissa, is_negative = (word >> 52) & 2047, word & 0xFFFFFFFFFFFFF, (word >> 63) & 1
            if exponent == 2047:
                limbs[number, ends + is_negative] += 1
                continue
            if exponent > 0:
                mantissa |= 0x10000000000000
                exponent -= 1
            lower, upper = mantissa & 0x3FFFFFF, mantissa >> 26
            place(limbs[number], exponent, -lower if is_negative else lower)
            place(limbs[number], exponent + 26, -upper if is_negative else upper)


def squares_32(bits: NDArray[Any], valid: NDArray[Any], index: NDArray[Any], limbs: NDArray[Any]) -> None:
    """Add the squares of float32 cells up by zone: see `sum_32`."""
    ends = limbs.shape[1] - 2
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            number = index[y, x]
            if number < 0 or valid[y, x] == 0:
                continue
            word = np.int64(bits[y, x])
            exponent, mantissa = (word >> 23) & 255, word & 0x7FFFFF
            if exponent == 255:
                limbs[number, ends] += 1
                continue
            if exponent > 0:
                mantissa |= 0x800000
                exponent -= 1
            square = mantissa * mantissa
            place(limbs[number], 2 * exponent, square & 0xFFFFFF)
            place(limbs[number], 2 * exponent + 24, square >> 24)


def squares_64(bits: NDArray[Any], valid: NDArray[Any], index: NDArray[Any], limbs: NDArray[Any]) -> None:
    """Add the squares of float64 cells up by zone: see `sum_32`; ``bits`` are uint64."""
    ends = limbs.shape[1] - 2
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            number = index[y, x]
            if number < 0 or valid[y, x] == 0:
                continue
            word = np.int64(bits[y, x])
            exponent, mantissa = (word >> 52) & 2047, word & 0xFFFFFFFFFFFFF
            if exponent == 2047:
                limbs[number, ends] += 1
                continue
            if exponent > 0:
                mantissa |= 0x10000000000000
                exponent -= 1
            lower, upper = mantissa & 0x3FFFFFF, mantissa >> 26
            for k in range(3):
                product = lower * lower if k == 0 else 2 * lower * upper if k == 1 else upper * upper
                place(limbs[number], 2 * exponent + 26 * k, product & 0x7FFFFFF)
                place(limbs[number], 2 * exponent + 26 * k + 27, product >> 27)


def extremes(values: NDArray[Any], valid: NDArray[Any], index: NDArray[Any], found: NDArray[Any], is_max: int) -> None:
    """Find the least value of each zone, or the greatest; ``found`` holds what is never one."""
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            number = index[y, x]
            if number >= 0 and valid[y, x]:
                value = values[y, x]
                if (value > found[number]) if is_max else (value < found[number]):
                    found[number] = value
