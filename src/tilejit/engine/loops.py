"""Loops of `tilejit.engine.reductions` and `tilejit.engine.zones`, which compile this file with Numba.

A float is its mantissa, an integer, at the place that its exponent tells, so that sums of floats are sums of integers,
and nothing is rounded. ``digits`` are those of a mantissa as it is stored: 23 for float32, 52 for float64, whose bits
come beside the cells. A mantissa has a lower part of 26 bits, and an upper one, 0 in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPILED = (
    "moments",
    "count_keys",
    "place",
    "find_runs",
    "leave_out_nan",
    "count_cells",
    "sum_integers",
    "sum_floats",
    "sum_squares",
    "extremes",
)
"""The functions that are compiled."""

_LIMB, _LOWER = 0xFFFFFFFF, 0x3FFFFFF
_HASH = np.uint64(0x9E3779B97F4A7C15)  # unsigned, for Numba takes it that signed products do not overflow


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


def place(limbs: NDArray[Any], position: Any, part: Any) -> None:
    """Add an integer of up to 27 bits and a sign to limbs, integers of 32 bits each, from a bit's position on."""
    shifted = part << (position & 31)
    limbs[position >> 5] += shifted & _LIMB
    limbs[(position >> 5) + 1] += shifted >> 32


def find_runs(  # noqa: PLR0917 - as above
    zones: NDArray[Any],
    valid: NDArray[Any],
    keys: NDArray[Any],
    slots: NDArray[Any],
    ids: NDArray[Any],
    run_slots: NDArray[Any],
    rows: NDArray[Any],
    starts: NDArray[Any],
    stops: NDArray[Any],
    told: NDArray[Any],
) -> int:
    """Find the runs of a tile's zones, which are numbered as they are met by a hash table with open addresses.

    Args:
        zones: (row, col).
        valid: (row, col), uint8; empty where all cells have a zone.
        keys: The table's zones; its length is a power of two.
        slots: The number of each, -1 for none.
        ids: Is set to the zone of each number; half as long as the table.
        run_slots: Is set to the number of each run's zone.
        rows: Is set to its row.
        starts: Is set to its first column.
        stops: Is set to the column after its last.
        told: Is set to how many zones there are.

    Returns:
        How many runs there are; -1 if the table is too small.
    """
    count, run, mask, width = 0, 0, len(slots) - 1, zones.shape[1]
    is_masked = valid.size > 0
    for y in range(zones.shape[0]):
        x = 0
        while x < width:
            if is_masked and valid[y, x] == 0:
                x += 1
                continue
            start, cell = x, zones[y, x]
            x += 1
            while x < width and zones[y, x] == cell and not (is_masked and valid[y, x] == 0):
                x += 1
            zone = np.int64(cell)
            slot = np.int64((np.uint64(zone) * _HASH) >> np.uint64(33)) & mask
            while slots[slot] >= 0 and keys[slot] != zone:
                slot = (slot + 1) & mask
            if slots[slot] < 0:
                if count == len(ids):
                    return -1
                keys[slot], slots[slot], ids[count] = zone, count, zone
                count += 1
            run_slots[run], rows[run], starts[run], stops[run] = slots[slot], y, start, x
            run += 1
    told[0] = count
    return run


def leave_out_nan(values: NDArray[Any], valid: NDArray[Any]) -> None:
    """Clear the flag of each cell that is NaN."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            if values[y, x] != values[y, x]:
                valid[y, x] = 0


def count_cells(  # noqa: PLR0917 - as above
    valid: NDArray[Any],
    slots: NDArray[Any],
    rows: NDArray[Any],
    starts: NDArray[Any],
    stops: NDArray[Any],
    counts: NDArray[Any],
) -> None:
    """Count the cells of each zone: (zone, 2), those with a result and those without."""
    for run in range(len(slots)):
        for x in range(starts[run], stops[run]):
            counts[slots[run], 0 if valid[rows[run], x] else 1] += 1


def sum_integers(  # noqa: PLR0917 - as above
    values: NDArray[Any],
    valid: NDArray[Any],
    slots: NDArray[Any],
    rows: NDArray[Any],
    starts: NDArray[Any],
    stops: NDArray[Any],
    limbs: NDArray[Any],
) -> None:
    """Add integers up by zone, in (zone, limb)."""
    for run in range(len(slots)):
        number, y = slots[run], rows[run]
        for x in range(starts[run], stops[run]):
            if valid[y, x]:
                value = np.int64(values[y, x])
                limbs[number, 0] += value & _LIMB
                limbs[number, 1] += value >> 32


def sum_floats(  # noqa: PLR0917 - as above
    bits: NDArray[Any],
    valid: NDArray[Any],
    slots: NDArray[Any],
    rows: NDArray[Any],
    starts: NDArray[Any],
    stops: NDArray[Any],
    limbs: NDArray[Any],
    digits: int,
) -> None:
    """Add floats up by zone.

    Args:
        bits: (row, col), the cells as unsigned integers.
        valid: (row, col), uint8; NaN is not.
        slots: The number of each run's zone.
        rows: Its row.
        starts: Its first column.
        stops: The column after its last.
        limbs: (zone, limb); the last two count infinite cells, and minus infinite ones.
        digits: Bits of a mantissa.
    """
    special, top, ends = 255 if digits == 23 else 2047, 31 if digits == 23 else 63, limbs.shape[1] - 2
    for run in range(len(slots)):
        number, y = slots[run], rows[run]
        for x in range(starts[run], stops[run]):
            if valid[y, x] == 0:
                continue
            word = np.int64(bits[y, x])
            exponent, mantissa = (word >> digits) & special, word & ((1 << digits) - 1)
            is_negative = (word >> top) & 1
            if exponent == special:
                limbs[number, ends + is_negative] += 1
                continue
            if exponent > 0:
                mantissa |= 1 << digits
                exponent -= 1
            lower, upper = mantissa & _LOWER, mantissa >> 26
            place(limbs[number], exponent, -lower if is_negative else lower)
            if upper:
                place(limbs[number], exponent + 26, -upper if is_negative else upper)


def sum_squares(  # noqa: PLR0917 - as above
    bits: NDArray[Any],
    valid: NDArray[Any],
    slots: NDArray[Any],
    rows: NDArray[Any],
    starts: NDArray[Any],
    stops: NDArray[Any],
    limbs: NDArray[Any],
    digits: int,
) -> None:
    """Add the squares of floats up by zone: see `sum_floats`."""
    special, ends = 255 if digits == 23 else 2047, limbs.shape[1] - 2
    for run in range(len(slots)):
        number, y = slots[run], rows[run]
        for x in range(starts[run], stops[run]):
            if valid[y, x] == 0:
                continue
            word = np.int64(bits[y, x])
            exponent, mantissa = (word >> digits) & special, word & ((1 << digits) - 1)
            if exponent == special:
                limbs[number, ends] += 1
                continue
            if exponent > 0:
                mantissa |= 1 << digits
                exponent -= 1
            lower, upper = mantissa & _LOWER, mantissa >> 26
            for k in range(3 if upper else 1):
                product = lower * lower if k == 0 else 2 * lower * upper if k == 1 else upper * upper
                place(limbs[number], 2 * exponent + 26 * k, product & 0x7FFFFFF)
                place(limbs[number], 2 * exponent + 26 * k + 27, product >> 27)


def extremes(  # noqa: PLR0917 - as above
    values: NDArray[Any],
    valid: NDArray[Any],
    slots: NDArray[Any],
    rows: NDArray[Any],
    starts: NDArray[Any],
    stops: NDArray[Any],
    found: NDArray[Any],
    is_max: int,
) -> None:
    """Find the least value of each zone, or the greatest; ``found`` holds what is never one."""
    for run in range(len(slots)):
        number, y = slots[run], rows[run]
        for x in range(starts[run], stops[run]):
            if valid[y, x]:
                value = values[y, x]
                if (value > found[number]) if is_max else (value < found[number]):
                    found[number] = value
