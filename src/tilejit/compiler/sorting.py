"""Sorting of local arrays. All ways give the same bits: NaN comes last, as in NumPy, and zeros lose their sign.

Short arrays go through a network, which takes the same steps whatever the values are: pixels next to each other are
then sorted in vector code. A median of 5x5 cells takes a thirtieth of the time of a loop that puts one value after the
other in its place. Long ones of pixels that go through layers together lie beside each other, and the loops of
`by_lanes` take the network's steps for 64 of them: 200 elements in a tenth of the time of `by_gaps`.
"""

from __future__ import annotations

import math
from typing import Any

SHORT = 32
"""Elements that a network sorts."""


def pairs(size: int) -> list[tuple[int, int]]:
    """The places of elements that are compared, and exchanged where the second is less, in turn.

    Batcher's merge exchange: Knuth, The Art of Computer Programming 3, algorithm 5.2.2M.

    Example:
        >>> pairs(3)
        [(0, 2), (0, 1), (1, 2)]
    """
    top = 1 << max(0, (size - 1).bit_length() - 1)
    result, p = [], top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            result += [(i, i + d) for i in range(size - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return result


def by_network(a: Any, n: int) -> None:
    """Sorts the first ``n`` elements of a short array."""
    real = [k < n and a[k] == a[k] for k in range(len(a))]
    keys = [_without_sign(v) if is_real else math.inf for v, is_real in zip(a, real, strict=True)]
    for i, j in pairs(len(a)):
        if keys[j] < keys[i]:
            keys[i], keys[j] = keys[j], keys[i]
    for k in range(n):
        a[k] = keys[k] if k < sum(real) else math.nan


def _without_sign(value: Any) -> Any:
    """The value; 0.0 for -0.0, which equals it."""
    return value if value != 0 else abs(value)


def by_gaps(a: Any, n: int) -> None:
    """Sorts the first ``n`` elements of any array: Shell's method with Knuth's gaps. Compiled as it stands."""
    m = 0
    for k in range(n):
        v = a[k]
        if v == v:  # noqa: PLR0124
            a[k] = a[m]
            a[m] = v if v != 0 else abs(v)
            m += 1
    gap = 1
    while 9 * gap < m:
        gap = 3 * gap + 1
    while gap > 0:
        for k in range(gap, m):
            v = a[k]
            j = k
            while j >= gap and v < a[j - gap]:
                a[j] = a[j - gap]
                j -= gap
            a[j] = v
        gap //= 3


LANES = 64
"""Pixels whose arrays lie beside each other: 200 elements of each are 50 KB, and 64 are four to eight vectors."""


def by_lanes(  # noqa: C901, PLR0917 - one piece of machine code, which has no keywords
    a: Any, keys: Any, counts: Any, lanes: int, flip: int, infinity: int, nan: int, largest: int
) -> None:
    """Sorts the first elements of arrays that lie beside each other, `LANES` of them. Compiled as it stands.

    Elements are compared as integers, for which there is vector code: a float's bits, those below its sign turned
    around where it is negative. The steps are those of `pairs`, for as many elements as the longest has.

    Args:
        a: (element * LANES + pixel).
        keys: As many integers as wide as its elements, for its own use.
        counts: How many elements each pixel sorts.
        lanes: How many pixels there are.
        flip: The bits of a float below its sign; 0 of integers.
        infinity: The bits of infinity; 0 of integers.
        nan: The bits of NaN.
        largest: The largest key.
    """
    bits, size = a.view(keys.dtype), 0
    for x in range(lanes):
        size = max(size, counts[x])
    for k in range(size):
        for x in range(lanes):
            b = bits[LANES * k + x]
            b = 0 if (flip != 0) & (b == -flip - 1) else b
            is_key = (k < counts[x]) & ((b & flip) <= infinity)
            keys[LANES * k + x] = (b ^ ((b >> 63) & flip)) if is_key else largest
    top = 1
    while 2 * top < size:
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            for base in range(r, size - d, 2 * p):
                stop = min(base + p, size - d)
                first, second = keys[LANES * base : LANES * stop], keys[LANES * (base + d) : LANES * (stop + d)]
                for x in range(len(first)):
                    low, high = first[x], second[x]
                    first[x] = min(low, high)
                    second[x] = max(low, high)
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    for k in range(size):
        for x in range(lanes):
            key = keys[LANES * k + x]
            b = nan if (flip != 0) & (key == largest) else key ^ ((key >> 63) & flip)
            bits[LANES * k + x] = b if k < counts[x] else bits[LANES * k + x]
