"""Loops of `tilejit.engine.keys`, compiled: cells counted by zone and key, and where extremes lie.

An entry is a zone, a key and a count, and entries are in the order of both. Runs are those of
`tilejit.engine.runs.Runs.where`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def count_keys(  # noqa: C901, PLR0917 - one loop; compiled functions take their arguments by place
    keys: NDArray[Any],
    valid: NDArray[Any],
    runs: NDArray[Any],
    units: NDArray[Any],
    spans: NDArray[Any],
    prefixes: NDArray[Any],
    shifts: NDArray[Any],
    table: NDArray[Any],
    counts: NDArray[Any],
) -> int:
    """Count cells by zone and key in a hash table with open addresses.

    Args:
        keys: (row, col), int64.
        valid: (row, col), uint8.
        runs: (run, 4).
        units: (run,) what each cell counts; empty for 1.
        spans: (zone, 2): its prefixes, of which a cell's key has one; empty where all cells count.
        prefixes: Of keys.
        shifts: How far a key is shifted to a prefix, and how far before it is counted.
        table: (place, 2): the number of a zone, -1 for none, and a key; its length is a power of two.
        counts: (place,): what they count.

    Returns:
        How many entries there are; -1 if the table is too small.
    """
    entries, mask, slot_before, key_before, place = 0, len(table) - 1, np.int64(-1), np.int64(0), np.int64(0)
    is_sieved = spans.size > 0
    for run in range(len(runs)):
        slot, y = np.int64(runs[run, 0]), runs[run, 1]
        unit = units[run] if units.size > 0 else 1
        cells, flags = keys[y, runs[run, 2] : runs[run, 3]], valid[y, runs[run, 2] : runs[run, 3]]
        for x in range(len(cells)):
            if flags[x] == 0:
                continue
            if is_sieved:
                prefix, target = cells[x] >> shifts[0], spans[slot, 0]
                while target < spans[slot, 1] and prefixes[target] != prefix:
                    target += 1
                if target == spans[slot, 1]:
                    continue
            key = cells[x] >> shifts[1]
            if slot != slot_before or key != key_before:
                mixed = np.uint64(key) * _FIRST + np.uint64(slot) * _SECOND
                place = np.int64((mixed ^ (mixed >> np.uint64(29))) * _FIRST >> np.uint64(33)) & mask
                while table[place, 0] >= 0 and (table[place, 0] != slot or table[place, 1] != key):
                    place = (place + 1) & mask
                if table[place, 0] < 0:
                    if 2 * entries >= len(table):
                        return -1
                    table[place, 0], table[place, 1] = slot, key
                    entries += 1
                slot_before, key_before = slot, key
            counts[place] += unit
    return entries


def merge_entries(one: NDArray[Any], other: NDArray[Any], merged: NDArray[Any]) -> int:
    """Merge entries into others, (entry, 3); returns how many there are."""
    i, j, count = 0, 0, 0
    while i < len(one) or j < len(other):
        takes_one = j == len(other)
        takes_other = i == len(one)
        if i < len(one) and j < len(other):
            is_less = one[i, 0] < other[j, 0] or (one[i, 0] == other[j, 0] and one[i, 1] < other[j, 1])
            is_same = one[i, 0] == other[j, 0] and one[i, 1] == other[j, 1]
            takes_one, takes_other = is_less or is_same, not is_less
        merged[count, 2] = 0
        if takes_one:
            merged[count, 0], merged[count, 1] = one[i, 0], one[i, 1]
            merged[count, 2] += one[i, 2]
            i += 1
        if takes_other:
            merged[count, 0], merged[count, 1] = other[j, 0], other[j, 1]
            merged[count, 2] += other[j, 2]
            j += 1
        count += 1
    return count


def find_extreme(  # noqa: PLR0917 - as above
    values: NDArray[Any],
    valid: NDArray[Any],
    runs: NDArray[Any],
    ends: NDArray[Any],
    frame: NDArray[Any],
    found: NDArray[Any],
) -> None:
    """Find the first cell of each zone that has a value: by row, then by column.

    Args:
        values: (row, col).
        valid: (row, col), uint8.
        runs: (run, 4).
        ends: (zone,) the value.
        frame: The raster's row of the tile's first one and the step to the next, and so for columns.
        found: (zone,) is set to the row times 2 ** 32 and the column, where that is less.
    """
    for run in range(len(runs)):
        slot, y = runs[run, 0], runs[run, 1]
        row = frame[0] + frame[1] * y
        for x in range(runs[run, 2], runs[run, 3]):
            if valid[y, x] != 0 and values[y, x] == ends[slot]:
                found[slot] = min(found[slot], (row << 32) + frame[2] + frame[3] * x)
