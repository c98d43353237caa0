"""Loops of `tilejit.engine.zones` and what it uses, which are compiled.

Sums are integers in limbs of 32 bits: a limb unit of ``unit`` is 2 ** -unit, and a float adds its mantissa at the place
that its exponent tells. The last two limbs count infinite cells, and minus infinite ones. Runs are those of
`tilejit.engine.runs.Runs.where`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_LIMB, _LOWER = 0xFFFFFFFF, 0x3FFFFFF
_LEAST, _MOST = np.int32(-0x80000000), np.int32(0x7FFFFFFF)
_WHOLE = 6755399441055744.0  # 1.5 * 2 ** 52: what is added to it is rounded to an integer, in its last 51 bits
_WHOLE_BITS = np.int64(0x4338000000000000)
_SHARE_UNIT = 40  # that of `amounts`
_PIECE = 1024  # cells whose digits are summed at once, so that 64 bits hold the sums


def clear_nan(values: NDArray[Any], valid: NDArray[Any]) -> None:
    """Clear the flag of each cell that is NaN."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            valid[y, x] &= values[y, x] == values[y, x]


def count_cells(  # noqa: PLR0917 - as above
    valid: NDArray[Any],
    runs: NDArray[Any],
    shares: NDArray[Any],
    counts: NDArray[Any],
    known: NDArray[Any],
    unknown: NDArray[Any],
) -> None:
    """Count the cells of each zone that count, and those that do not.

    Args:
        valid: (row, col).
        runs: (run, 4): the number of its zone, its row, its first column, and the column after its last.
        shares: (run,) of the cells; empty where all are whole.
        counts: (zone, 2): cells.
        known: (zone, limb): shares of the first ones; empty where none are asked for.
        unknown: (zone, limb): of the others.
    """
    for run in range(len(runs)):
        slot, count, flags = runs[run, 0], 0, valid[runs[run, 1], runs[run, 2] : runs[run, 3]]
        for x in range(len(flags)):
            count += flags[x]
        left = len(flags) - count
        counts[slot, 0] += count
        counts[slot, 1] += left
        if known.size > 0:
            if shares.size == 0 or shares[run] == 1.0:
                add(known[slot], np.float64(count), _SHARE_UNIT)
                add(unknown[slot], np.float64(left), _SHARE_UNIT)
                continue
            for _ in range(count):
                add(known[slot], shares[run], _SHARE_UNIT)
            for _ in range(left):
                add(unknown[slot], shares[run], _SHARE_UNIT)


def place(limbs: NDArray[Any], position: Any, part: Any) -> None:
    """Add an integer of up to 27 bits and a sign to limbs, from a bit's position on."""
    shifted = part << (position & 31)
    limbs[position >> 5] += shifted & _LIMB
    limbs[(position >> 5) + 1] += shifted >> 32


def place_total(limbs: NDArray[Any], position: Any, total: Any) -> None:
    """Add an integer of 63 bits and a sign, by its size, so that none but the limbs that hold it are touched."""
    sign, size = -1 if total < 0 else 1, abs(total)
    place(limbs, position, sign * (size & _LOWER))
    place(limbs, position + 26, sign * ((size >> 26) & _LOWER))
    if size >> 52 != 0:
        place(limbs, position + 52, sign * (size >> 52))


def add(limbs: NDArray[Any], value: Any, unit: Any) -> None:
    """Add a float64, which is a whole number of units."""
    word = np.float64(value).view(np.int64)
    exponent, mantissa = (word >> 52) & 2047, word & 0xFFFFFFFFFFFFF
    if exponent == 2047:
        limbs[len(limbs) - (1 if word < 0 else 2)] += 1
        return
    if exponent > 0:
        mantissa |= 1 << 52
        exponent -= 1
    if mantissa == 0:
        return
    position = exponent - 1074 + unit
    if position < 0:
        mantissa >>= -position
        position = 0
    sign = -1 if word < 0 else 1
    place(limbs, position, sign * (mantissa & _LOWER))
    place(limbs, position + 26, sign * (mantissa >> 26))


def add_square(limbs: NDArray[Any], value: Any) -> None:
    """Add the exact square of a float64, in units of 2 ** -2148."""
    word = np.float64(value).view(np.int64)
    exponent, mantissa = (word >> 52) & 2047, word & 0xFFFFFFFFFFFFF
    if exponent == 2047:
        limbs[len(limbs) - 2] += 1
        return
    if exponent > 0:
        mantissa |= 1 << 52
        exponent -= 1
    lower, upper = mantissa & _LOWER, mantissa >> 26
    place_total(limbs, 2 * exponent, lower * lower)
    place_total(limbs, 2 * exponent + 27, lower * upper)
    place_total(limbs, 2 * exponent + 52, upper * upper)


def add_cells(  # noqa: PLR0917 - as above
    cells: NDArray[Any],
    flags: NDArray[Any],
    share: float,
    sums: NDArray[Any],
    squares: NDArray[Any],
    unit: int,
    square_unit: int,
) -> None:
    """Add the cells of a run one by one, each times its share, and the squares of those that are asked for."""
    for x in range(len(cells)):
        if flags[x] == 0:
            continue
        value = np.float64(cells[x])
        add(sums, value * share, unit)
        if square_unit == 2148:
            add_square(squares, value)
        elif square_unit > 0:
            add(squares, value * value * share, square_unit)


def add_singles(  # noqa: PLR0917 - as above
    cells: NDArray[Any],
    flags: NDArray[Any],
    least: int,
    sums: NDArray[Any],
    squares: NDArray[Any],
    unit: int,
    square_unit: int,
) -> None:
    """Add float32 cells as integers of up to 51 bits, in units of the least exponent among them."""
    scale = np.uint64((1023 + 150 - least) << 52)
    factor, total = np.uint64(scale).view(np.float64), np.int64(0)
    position = least - 1 + unit - 149
    if square_unit == 0:
        for x in range(len(cells)):
            value = np.float64(cells[x]) if flags[x] != 0 else 0.0
            total += np.float64(value * factor + _WHOLE).view(np.int64) - _WHOLE_BITS
        place_total(sums, position, total)
        return
    lowest, middle, highest = np.int64(0), np.int64(0), np.int64(0)
    for x in range(len(cells)):
        value = np.float64(cells[x]) if flags[x] != 0 else 0.0
        whole = np.float64(value * factor + _WHOLE).view(np.int64) - _WHOLE_BITS
        lower, upper = whole & _LOWER, whole >> 26
        total += whole
        lowest += lower * lower
        middle += lower * upper
        highest += upper * upper
    place_total(sums, position, total)
    position = 2 * (least - 1) + square_unit - 298
    place_total(squares, position, lowest)
    place_total(squares, position + 27, middle)
    place_total(squares, position + 52, highest)


def fold_singles(  # noqa: PLR0917 - as above
    values: NDArray[Any],
    bits: NDArray[Any],
    valid: NDArray[Any],
    runs: NDArray[Any],
    shares: NDArray[Any],
    sums: NDArray[Any],
    squares: NDArray[Any],
    ends: NDArray[Any],
    unit: int,
    square_unit: int,
) -> None:
    """Fold float32 cells: their sum, the sum of their squares, the least and the greatest of them.

    Args:
        values: (row, col).
        bits: The same memory as int32.
        valid: (row, col), uint8; NaN is not.
        runs: (run, 4): the number of its zone, its row, its first column, and the column after its last.
        shares: (run,) of the cells; empty where all are whole.
        sums: (zone, limb).
        squares: (zone, limb).
        ends: (zone, 2), int32: the keys of the least and the greatest, which are in the order of the values.
        unit: Of the sums; 0 where none are asked for.
        square_unit: Of the squares; 0 where none are asked for.
    """
    for run in range(len(runs)):
        slot, y, start, stop = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
        share = shares[run] if shares.size > 0 else 1.0
        for begin in range(start, stop, _PIECE):
            end = min(begin + _PIECE, stop)
            cells, words, flags = values[y, begin:end], bits[y, begin:end], valid[y, begin:end]
            low, high, small, large = _MOST, _LEAST, _MOST, np.int32(0)
            for x in range(len(cells)):
                word, is_valid = words[x], flags[x] != 0
                size = np.int32(word & _MOST)
                key = np.int32(word ^ ((word >> np.int32(31)) & _MOST))
                low = min(low, key if is_valid else _MOST)
                high = max(high, key if is_valid else _LEAST)
                small = min(small, size if is_valid and size > 0 else _MOST)
                large = max(large, size if is_valid else np.int32(0))
            ends[slot, 0], ends[slot, 1] = min(ends[slot, 0], low), max(ends[slot, 1], high)
            if unit == 0 or large == 0:
                continue
            least = max(int(small) >> 23, 1)
            if share == 1.0 and (int(large) >> 23) - least <= 26 and large < 0x7F800000:
                add_singles(cells, flags, least, sums[slot], squares[slot], unit, square_unit)
            else:
                add_cells(cells, flags, share, sums[slot], squares[slot], unit, square_unit)


def fold_doubles(  # noqa: PLR0917 - as above
    values: NDArray[Any],
    valid: NDArray[Any],
    runs: NDArray[Any],
    shares: NDArray[Any],
    sums: NDArray[Any],
    squares: NDArray[Any],
    ends: NDArray[Any],
    unit: int,
    square_unit: int,
) -> None:
    """Fold cells of any dtype as float64: see `fold_singles`; ``ends`` are float64."""
    for run in range(len(runs)):
        slot, y, start, stop = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
        cells, flags = values[y, start:stop], valid[y, start:stop]
        low, high = ends[slot, 0], ends[slot, 1]
        for x in range(len(cells)):
            if flags[x] != 0:
                low, high = min(low, np.float64(cells[x])), max(high, np.float64(cells[x]))
        ends[slot, 0], ends[slot, 1] = low, high
        if unit > 0:
            share = shares[run] if shares.size > 0 else 1.0
            add_cells(cells, flags, share, sums[slot], squares[slot], unit, square_unit)


def fold_integers(  # noqa: PLR0917 - as above
    values: NDArray[Any],
    valid: NDArray[Any],
    runs: NDArray[Any],
    sums: NDArray[Any],
    squares: NDArray[Any],
    ends: NDArray[Any],
    wants_squares: int,
) -> None:
    """Fold integers, by digits of 26 bits: see `fold_singles`; ``ends`` are int64."""
    for run in range(len(runs)):
        slot, y, start, stop = runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3]
        for begin in range(start, stop, _PIECE):
            end = min(begin + _PIECE, stop)
            cells, flags = values[y, begin:end], valid[y, begin:end]
            low, high = ends[slot, 0], ends[slot, 1]
            a, b, c = np.int64(0), np.int64(0), np.int64(0)
            for x in range(len(cells)):
                value, is_valid = np.int64(cells[x]), flags[x] != 0
                low = min(low, value if is_valid else low)
                high = max(high, value if is_valid else high)
                value = value if is_valid else np.int64(0)
                a += value & _LOWER
                b += (value >> 26) & _LOWER
                c += value >> 52
            ends[slot, 0], ends[slot, 1] = low, high
            place_total(sums[slot], 0, a)
            place_total(sums[slot], 26, b)
            place_total(sums[slot], 52, c)
            if wants_squares == 0:
                continue
            for x in range(len(cells)):
                if flags[x] != 0:
                    value = np.int64(cells[x])
                    lower, middle, upper = value & _LOWER, (value >> 26) & _LOWER, value >> 52
                    place_total(squares[slot], 0, lower * lower)
                    place_total(squares[slot], 27, lower * middle)
                    place_total(squares[slot], 52, middle * middle + 2 * lower * upper)
                    place_total(squares[slot], 79, middle * upper)
                    place_total(squares[slot], 104, upper * upper)
