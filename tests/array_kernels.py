"""Kernels with local arrays, tuples and rewritten syntax, as one would write them, for the tests of every backend."""

import math

import numpy as np

import tilejit as tj

CLASSES = 5
WEIGHTS = (0.5, 0.25, 0.125)


# Kernels as one would write them.


@tj.focal
def majority(c: np.uint8) -> np.uint8:
    """The class that most of 3x3 cells have; of several the lowest."""
    counts = tj.zeros(CLASSES, dtype=int)
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            counts[min(c[dy, dx], CLASSES - 1)] += 1
    best = 0
    for k in range(1, CLASSES):
        if counts[k] > counts[best]:
            best = k
    return best


@tj.focal
def entropy(z):
    """Of a histogram of eight classes of 5x5 cells, in bits."""
    counts = np.zeros(8)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            counts[min(max(int(z[dy, dx] * 8), 0), 7)] += 1
    return -sum(n / 25 * math.log2(n / 25) for n in counts if n > 0)


@tj.focal
def median_5x5(z):
    values, n = tj.window(z, 5)
    return tj.median(values, n)


@tj.focal(nodata="kernel")
def percentile_of_valid(z, *, q=90.0):
    values, n = tj.window(z, 3)
    return tj.percentile(values, n, q), n


@tj.local(nodata="kernel")
def best_pixel(*dates):
    """The median of any number of dates, and how many are valid."""
    held = tj.zeros(len(dates))
    n = 0
    for v in dates:
        if tj.is_valid(v):
            held[n] = v
            n += 1
    return tj.median(held, n), n


def rise(z):
    return z[0, 1] - z[0, -1]


@tj.focal(nodata="kernel")
def of_any_number(mask, *rasters: np.int16, limit=3):
    """Neighbours of each, by name, by number, and of one that the pixel chooses."""
    total, n, last = 0, 0, 0
    for k, r in enumerate(rasters):
        for dy in range(-1, 2):
            if tj.is_valid(r[dy, 1]):
                total += r[dy, 1] * (k + 1)
                n += 1
        if r[0, 0] > limit:
            last = k
            break
    first = sum(1 for r in rasters if tj.is_valid(r[0, 0]))
    chosen = rasters[last][0, -1] + max(rise(r) for r in rasters) + rise(rasters[-1])
    return (total if tj.is_valid(mask) else -1), n, first, chosen, tj.is_valid(rasters[last][1, 0])


@tj.focal
def lee(z, *, noise=0.05):
    """Lee's filter of speckle, 5x5."""
    cells = [z[dy, dx] for dy in range(-2, 3) for dx in range(-2, 3)]
    mean = sum(cells) / len(cells)
    variance = sum((v - mean) ** 2 for v in cells) / len(cells)
    weight = variance / (variance + noise * mean**2) if variance > 0 else 0.0
    return mean + weight * (z[0, 0] - mean)


# What the language has, one by one.


def add(h, k, v):
    h[k] += v


def first_above(h, limit):
    for k in range(len(h)):
        if h[k] > limit:
            return k
    return -1


def smallest_two(a, b, c):
    low, middle, _ = sorted((a, b, c))
    return low, middle


@tj.local
def made(a, b):
    """Every way to make an array."""
    h, flags, counts = tj.zeros(4), tj.zeros(3, dtype=bool), [0] * 3
    h[1], h[-1] = a, b
    h[2] += h[1] * 2
    for k in range(3):
        flags[k] = h[k] > h[k + 1]
        counts[k] += flags[k]
    ones, full, listed = np.ones(2), np.full(3, 0.25), [a, b, 1]
    listed[int(abs(a)) % 3] = 7
    copy = list(listed)
    copy[0] = 0.5
    return sum(h), sum(counts), ones[0] + full[2], listed[0] - copy[0], listed[1] + listed[2], any(flags), all(flags)


@tj.local
def helped(a, b):
    """Arrays in helpers, and tuples from them."""
    h = [0.0] * 5
    for k in range(5):
        add(h, k, a * k)
    add(h, 2, b)
    t = smallest_two(a, b, 0.25)
    return first_above(h, 0.5), t[0] + t[1], max(t), sum(h), min(h)


@tj.local
def tupled(a, b, *, which: int = 1):
    """Tuples, and what goes over them."""
    t = (a, b, 1)
    u = (b, a)
    total, steps = 0.0, 0
    for k, v in enumerate(t):
        total += v * (k + 1)
    for x, y in zip(t, u, strict=False):
        total += x * y
        steps += 1
    for v in reversed(list(u)):
        total = total * 0.5 + v
    x, y = u
    third = t[which] if which < len(t) else 0.0
    return total, steps, third, x - y, min(t), max((a, b, 0.5)), sum((a, b)), t[2] // 2


@tj.local
def reduced(a, b, *, n: int = 3):
    """Sums and the like over generators."""
    h = [a, b, a * b, 0.5]
    weighted = sum(w * v for w, v in zip(WEIGHTS, h, strict=False))
    running = sum(h[k] * k for k in range(n))
    positive = sum(v for v in h if v > 0)
    return (weighted, running, positive, any(v > 1.5 for v in h), all(h[k] > 0 for k in range(n)),
            max(v * v for v in h), sum([v > 0 for v in h]), any(h[j] > h[k] for j in range(n) for k in range(j)))  # fmt: skip


@tj.local
def sorted_values(a, b):
    """Sorting, of floats with NaN and of integers, short and long."""
    h = [a, b, a - b, a * b, math.sqrt(a), 0.0, -0.0, b]
    down = sorted(h)
    tj.sort(h, 5)
    long = tj.zeros(40)
    for k in range(40):
        long[k] = math.sqrt(a - k * b) if k % 3 == 0 else a * (7 * k % 11)
    tj.sort(long)
    whole = [int(a * 10) % 7, int(b * 10) % 5, 3, 1]
    tj.sort(whole, 3)
    return down[0], down[3], down[-1], h[0], h[4], h[7], long[3], long[39], whole[0], whole[2]


@tj.local
def drawn(a, b):
    """Elements that only the run shows, in loops whose length it shows."""
    h = tj.zeros(8, dtype=int)
    k, steps = 0, 0
    while steps < 20 and h[k] < 3:
        h[k] += 1
        k = (k * 5 + steps) % 8 if a > b else (k + 3) & 7
        steps += 1
        if steps % 7 == 6:
            h[0], h[k] = h[k], h[0]
    return steps, h[0], max(h), sum(h), h[steps // 3 - 8]


# An index that may lie outside.


@tj.local
def histogram_of(z):
    h = tj.zeros(4, dtype=int)
    h[int(z)] += 1
    return sum(h)


@tj.local
def read_of_tuple(z):
    t = (z, 2 * z)
    return t[int(z)]


@tj.local
def sorted_too_far(z):
    h = [z, 1, 2]
    tj.sort(h, int(z))
    return h[0]


@tj.local
def rewritten(a, b: np.int16):
    """Syntax that is rewritten, of all something."""
    near = lambda v: v + a  # noqa: E731

    match b & 3:
        case 0 | 1:
            r = near(1.0)
        case n if a > 0:
            r = near(n) * 2
        case _:
            r = -a
    for k in range(5):
        if r < k:
            found = k
            break
    else:
        found = -1
    n = 0
    while (rest := r - n) > 3 and n < 40:
        n += 1
    return r + found + (a or 2.0) + rest


@tj.local
def whole(a, b):
    """Slices, rows, columns, masks and arithmetic of whole arrays, and dicts."""
    h = np.array([a, b, 2.0, a - b])
    m = np.array([[a, b], [1.0, 3.0]])
    m[1, 0] += h[1:3].sum()
    turned = m.T @ np.array([1.0, 2.0])
    codes = {1: a, 4: b}
    k = 4 if a > b else 1
    codes[k] += 1.0
    first, *rest = sorted(h[1:], reverse=True)
    unlike = (h * 2 > 1.0).sum() + np.abs(h - h.mean()).max()
    return turned[1] + codes.get(k, 0.0) + first - rest[1] + unlike, m[k // 4].sum(), ((a, k), b)[0][0]


@tj.local(nodata="kernel")
def grown(a, b):
    """Lists that grow and shrink."""
    held = []
    for v in (a, b, a * b, 1.0, a - 1.0):
        if tj.is_valid(v) and v > -3:
            held.append(v)  # noqa: PERF401 - what is tested
    held.insert(1, 0.5)
    last = held.pop()
    ordered = sorted(held)
    some = np.array([a, b, 2.0])
    return np.median(np.array(held)), last, ordered[-1] + len(held), sum(held), some[some > 0.5].sum()
