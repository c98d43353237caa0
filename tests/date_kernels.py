"""Series kernels that give a value for each date."""

import math

import numpy as np

import tilejit as tj


@tj.series(nodata="kernel", output="dates")
def filled(t):
    """Holes between two valid dates, by a straight line."""
    values = tj.zeros(len(t))
    last = -1
    for k in range(len(t)):
        values[k] = t[k]
        if tj.is_valid(t[k]):
            for j in range(last + 1, k):
                if last >= 0:
                    share = (t.time[j] - t.time[last]) / (t.time[k] - t.time[last])
                    values[j] = t[last] + (t[k] - t[last]) * share
            last = k
    return values


@tj.series(nodata="kernel", output="dates")
def ordered(t, *, least: int = 3):
    """Sorted, where there are enough valid dates; returned as three arrays."""
    n = 0
    raw = [0.0] * len(t)
    for k in range(len(t)):
        raw[k] = t[k]
        if tj.is_valid(t[k]):
            n += 1
    if n == 0:
        return np.full(len(t), -1)
    if n < least:
        return raw
    return sorted(raw)


@tj.series(output="dates", radius=1)
def smoothed(t):
    values = np.full(len(t), math.nan)
    k = 0
    while k < len(t):
        values[k] = (t[k, -1, 0] + t[k, 1, 0] + t[k]) / 3
        k += 1
    return values


@tj.series(output="dates")
def above(t, weight: np.uint8, *, bound=0.5):
    """Truth values, of two stacks."""
    flags = tj.zeros(len(t), dtype=bool)
    for k in range(len(t)):
        flags[k] = t[k] * weight[k] > bound
    return flags


@tj.series(nodata="kernel", output="dates")
def rounded(t, *, factor=400.0) -> np.uint8:
    """Holds, rounds, and has nodata of its own."""
    values = tj.zeros(len(t))
    for k in range(len(t)):
        values[k] = factor * t[k]
    return values


@tj.series(output="dates")
def changes(t, *, factor=2.0):
    """Said as comprehensions, of which one is of the other."""
    doubled = [t[k] * factor for k in range(len(t))]
    return [doubled[k] - doubled[0] if k > 2 else k for k in range(len(t))]


@tj.series(nodata="kernel")
def valid_dates(t) -> np.int16:
    n = 0
    for k in range(len(t)):
        n += 1 if tj.is_valid(t[k]) else 0
    return n
