"""Loops of `tilejit.engine.reductions` and `tilejit.engine.runs`, which are compiled as they stand.

A float is its mantissa, an integer, at the place that its exponent tells, so that sums of floats are sums of integers,
and nothing is rounded. ``digits`` are those of a mantissa as it is stored: 23 for float32, 52 for float64, whose bits
come beside the cells. A mantissa has a lower part of 26 bits, and an upper one, 0 in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_LIMB, _LOWER = 0xFFFFFFFF, 0x3FFFFFF
_HASH = np.uint64(0x9E3779B97F4A7C15)  # unsigned, for LLVM is told that signed products do not overflow


def moments(  # noqa: PLR0917 - compiled functions take their arguments by place
    cells: NDArray[Any],
    bits: NDArray[Any],
    counters: NDArray[Any],
    told: NDArray[Any],
    ends: NDArray[Any],
    digits: int,
) -> None:
    """Add the mantissas of floats, and their squares, to counters by exponent.

    Args:
        cells: (row, col).
        bits: The same memory, as unsigned integers.
        counters: (exponent, 8): lower and upper parts of mantissas; of their squares, each in 32 lower and further
            upper bits, lower times lower, lower times upper, and upper times upper.
        told: Valid cells, those that are infinite, those that are minus infinite.
        ends: The least and the greatest cell.
        digits: Bits of a mantissa.
    """
    count = up = down = 0
    low, high = ends[0], ends[1]
    special = 255 if digits == 23 else 2047
    for y in range(cells.shape[0]):
        for x in range(cells.shape[1]):
            value = cells[y, x]
            if value != value:  # noqa: PLR0124 - NaN
                continue
            count += 1
            low, high = min(low, value), max(high, value)
            word = np.int64(bits[y, x])
            exponent, mantissa = (word >> digits) & special, word & ((1 << digits) - 1)
            if exponent == special:
                if value > 0:
                    up += 1
                else:
                    down += 1
                continue
            if exponent > 0:
                mantissa |= 1 << digits
            lower, upper = mantissa & _LOWER, mantissa >> 26
            sign = 1 if value > 0 else -1
            square = lower * lower
            counters[exponent, 0] += sign * lower
            counters[exponent, 2] += square & _LIMB
            counters[exponent, 3] += square >> 32
            if upper:
                across, square = lower * upper, upper * upper
                counters[exponent, 1] += sign * upper
                counters[exponent, 4] += across & _LIMB
                counters[exponent, 5] += across >> 32
                counters[exponent, 6] += square & _LIMB
                counters[exponent, 7] += square >> 32
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


def count_classes(cells: NDArray[Any], edges: NDArray[Any], counts: NDArray[Any], is_even: int) -> None:
    """Count cells by class; what lies outside, and NaN, is left out.

    Args:
        cells: (row, col).
        edges: Of the classes, rising.
        counts: (class,).
        is_even: Whether classes are equally wide, so that a product tells about which one it is.
    """
    last = len(counts) - 1
    low, high = edges[0], edges[last + 1]
    factor = len(counts) / (high - low)
    for y in range(cells.shape[0]):
        for x in range(cells.shape[1]):
            value = np.float64(cells[y, x])
            if not (low <= value <= high):
                continue
            if is_even:
                k = min(int((value - low) * factor), last)
                while value < edges[k]:
                    k -= 1
                while k < last and value >= edges[k + 1]:
                    k += 1
            else:
                k, end = 0, last
                while k < end:
                    middle = (k + end + 1) // 2
                    if value >= edges[middle]:
                        k = middle
                    else:
                        end = middle - 1
            counts[k] += 1


def alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two pieces of a row are equal; in one go, for LLVM makes vectors of it."""
    differing = one[0] ^ other[0]
    for x in range(1, 16):
        differing |= one[x] ^ other[x]
    return bool(differing == 0)


def find_runs(  # noqa: PLR0917 - compiled functions take their arguments by place
    zones: NDArray[Any],
    valid: NDArray[Any],
    keys: NDArray[Any],
    slots: NDArray[Any],
    ids: NDArray[Any],
    runs: NDArray[Any],
    told: NDArray[Any],
) -> int:
    """Find the runs of a tile's zones, which are numbered as they are met by a hash table with open addresses.

    Args:
        zones: (row, col).
        valid: (row, col), uint8; empty where all cells have a zone.
        keys: The table's zones; its length is a power of two.
        slots: The number of each, -1 for none.
        ids: Is set to the zone of each number; half as long as the table.
        runs: (run, 4): is set to the number of each one's zone, its row, first column, and column after the last.
        told: Is set to how many zones there are.

    Returns:
        How many runs there are; -1 if the table is too small.
    """
    count, run, mask, width = 0, 0, len(slots) - 1, zones.shape[1]
    is_masked = valid.size > 0
    for y in range(zones.shape[0]):
        start, x, cells = 0, 1, zones[y]
        while x <= width:
            whole = x % 16 == 0 and x + 16 <= width and alike(cells[x : x + 16], cells[x - 1 : x + 15])
            if whole and (not is_masked or alike(valid[y, x : x + 16], valid[y, x - 1 : x + 15])):
                x += 16
                continue
            if x < width and cells[x] == cells[start] and not (is_masked and valid[y, x] != valid[y, start]):
                x += 1
                continue
            if not is_masked or valid[y, start] != 0:
                zone = np.int64(cells[start])
                slot = np.int64((np.uint64(zone) * _HASH) >> np.uint64(33)) & mask
                while slots[slot] >= 0 and keys[slot] != zone:
                    slot = (slot + 1) & mask
                if slots[slot] < 0:
                    if count == len(ids):
                        return -1
                    keys[slot], slots[slot], ids[count] = zone, count, zone
                    count += 1
                runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3] = slots[slot], y, start, x
                run += 1
            start = x
            x += 1
    told[0] = count
    return run
