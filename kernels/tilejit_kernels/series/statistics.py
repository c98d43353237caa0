"""Statistics of the valid dates of a pixel: how many, their mean, extremes, spread, median and percentiles."""

import math

import tilejit as tj


@tj.series(nodata="kernel")
def count(t):
    """Number of dates on which the pixel is valid."""
    n = 0
    for k in range(len(t)):
        n += 1 if tj.is_valid(t[k]) else 0
    return n


@tj.series(nodata="kernel", unit="input")
def mean(t):
    """Arithmetic mean of the valid dates."""
    total, n = 0.0, 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            total += t[k]
            n += 1
    return total / n if n > 0 else math.nan


@tj.series(nodata="kernel", unit="input")
def minimum(t):
    """Least value of the valid dates."""
    least = math.inf
    n = 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            least = min(least, t[k])
            n += 1
    return least if n > 0 else math.nan


@tj.series(nodata="kernel", unit="input")
def maximum(t):
    """Greatest value of the valid dates."""
    most = -math.inf
    n = 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            most = max(most, t[k])
            n += 1
    return most if n > 0 else math.nan


@tj.series(nodata="kernel", unit="input")
def standard_deviation(t, *, ddof: int = 0):
    """Standard deviation of the valid dates, in two passes; of the population, or with ddof=1 of a sample."""
    total, n = 0.0, 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            total += t[k]
            n += 1
    middle = total / n if n > 0 else 0.0
    square = 0.0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            square += (t[k] - middle) * (t[k] - middle)
    return math.sqrt(square / (n - ddof)) if n > ddof else math.nan


def at_percent(values, n, q):
    """The q-th percentile of the first n of values that are sorted, by NumPy's linear definition."""
    place = (n - 1) * q / 100.0
    low = int(place)
    high = min(low + 1, n - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


@tj.series(nodata="kernel", unit="input")
def percentile(t, *, q=50.0):
    """Percentile q of the valid dates, from 0 to 100, by linear interpolation as numpy.percentile has it."""
    values, n = tj.zeros(len(t)), 0
    for k in range(len(t)):
        values[k] = t[k]  # NaN where it is invalid, which comes last
        n += 1 if tj.is_valid(t[k]) else 0
    tj.sort(values)
    return at_percent(values, n, q) if n > 0 and 0.0 <= q <= 100.0 else math.nan


@tj.series(nodata="kernel", unit="input")
def median(t):
    """Median of the valid dates."""
    values, n = tj.zeros(len(t)), 0
    for k in range(len(t)):
        values[k] = t[k]  # NaN where it is invalid, which comes last
        n += 1 if tj.is_valid(t[k]) else 0
    tj.sort(values)
    return at_percent(values, n, 50.0) if n > 0 else math.nan
