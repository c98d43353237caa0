"""One pixel through all dates: counts, means, extremes, linear and monotonic trends, composites by an index.

Dates on which a pixel is invalid are left out. Years are of 365.25 days, counted from the first layer.
"""

import math

import numpy as np

import tilejit as tj

YEAR = 365.25


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


@tj.series(nodata="kernel", unit="input")
def median_composite(t: tj.Stack, qa: tj.Stack[np.uint16], *, mask: int = 1):
    """Median of the dates on which the pixel is valid and no bit of the mask is set in its quality."""
    values, n = tj.zeros(len(t)), 0
    for k in range(len(t)):
        is_clear = tj.is_valid(t[k]) and tj.is_valid(qa[k]) and qa[k] & mask == 0  # type: ignore[arg-type]
        values[k] = t[k] if is_clear else math.nan
        n += 1 if is_clear else 0
    tj.sort(values)
    return at_percent(values, n, 50.0) if n > 0 else math.nan


def _continued_fraction(a, b, x):
    """Modified Lentz's method for the incomplete beta function (Thompson and Barnett, 1986).

    It needs terms as the root of the greater of a and b.
    """
    terms = 30 + int(2.0 * math.sqrt(a + b))
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    h = d
    for m in range(1, terms):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d, c = 1.0 / (1.0 + even * d), 1.0 + even / c
        h = h * d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d, c = 1.0 / (1.0 + odd * d), 1.0 + odd / c
        h = h * d * c
    return h


def student_p(t, freedom):
    """Two-sided p of Student's t: the regularised incomplete beta function of f / (f + t^2), f / 2 and 1 / 2.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.5.8 and 26.7.1.
    """
    a, x = 0.5 * freedom, freedom / (freedom + t * t)
    ratio = 1.0 / math.pi if freedom % 2 == 1 else 0.5  # of gamma(a + 1/2) to gamma(a) gamma(1/2)
    for f in range(2 - freedom % 2, freedom, 2):
        ratio = ratio * (f + 1.0) / f
    is_small = x < (a + 1.0) / (a + 2.5)
    fraction = _continued_fraction(a if is_small else 0.5, 0.5 if is_small else a, x if is_small else 1.0 - x)
    part = math.exp(a * math.log(x)) * math.sqrt(1.0 - x) * ratio * fraction / (a if is_small else 0.5)
    return part if is_small else 1.0 - part


@tj.series(nodata="kernel")
def trend(t):
    """Linear trend by least squares: change in a year, its standard error, and the two-sided p that there is none.

    The error and p need three valid dates, the change two of different days; of a constant they are 0, 0 and 1.

    Source: Draper and Smith, Applied Regression Analysis, 3rd ed. (1998), 1.2 to 1.4.
    """
    days, values, n = 0.0, 0.0, 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            days += t.time[k]
            values += t[k]
            n += 1
    day, value = days / max(n, 1), values / max(n, 1)
    both, square = 0.0, 0.0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            since = (t.time[k] - day) / YEAR
            both += since * (t[k] - value)
            square += since * since
    slope = both / square if square > 0.0 else math.nan
    left = 0.0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            off = t[k] - value - slope * (t.time[k] - day) / YEAR
            left += off * off
    error, p = math.nan, math.nan
    if n > 2 and square > 0.0:
        error = math.sqrt(left / (n - 2) / square)
        p = student_p(abs(slope) / error, n - 2) if error > 0.0 else (1.0 if slope == 0.0 else 0.0)
    return slope, error, p


@tj.series(nodata="kernel")
def mann_kendall(t):
    """Mann-Kendall test of a monotonic trend: S, its normal deviate z, and the two-sided p; with a correction for ties.

    Layers are taken in their order, which is that of the dates.

    Source: Mann, Econometrica 13 (1945); Kendall, Rank Correlation Methods, 4th ed. (1970), chapter 4; Hirsch, Slack
    and Smith, Water Resources Research 18 (1982), equations 1 to 4.
    """
    s, n, ties = 0, 0, 0
    for i in range(len(t)):
        same = 0
        for j in range(len(t)):
            if tj.is_valid(t[i]) and tj.is_valid(t[j]):
                same += 1 if t[j] == t[i] else 0
                if j < i:
                    s += 1 if t[i] > t[j] else 0
                    s -= 1 if t[i] < t[j] else 0
        if same > 0:
            n += 1
            ties += (same - 1) * (2 * same + 5)
    spread = n * (n - 1) * (2 * n + 5) - ties
    if n < 2:
        return math.nan, math.nan, math.nan
    if spread == 0:
        return 0.0, 0.0, 1.0
    step = 1 if s > 0 else (-1 if s < 0 else 0)
    z = (s - step) / math.sqrt(spread / 18.0)
    return 1.0 * s, z, math.erfc(abs(z) / math.sqrt(2.0))


@tj.series(nodata="kernel", unit="input")
def max_index_composite(value, index):
    """Value on the date of the greatest index, the first of several, and the number of its layer; -1 for none.

    Source: Holben, Characteristics of maximum-value composite images, International Journal of Remote Sensing 7 (1986).
    """
    best, chosen, at = -math.inf, math.nan, -1
    for k in range(len(index)):
        if tj.is_valid(index[k]) and tj.is_valid(value[k]) and (at < 0 or index[k] > best):
            best, chosen, at = index[k], value[k], k
    return chosen, at
