"""A value for each date: gaps filled, smoothed by Savitzky and Golay or Whittaker, anomalies of the season.

They give a stack as long as they take, with its times, which another series kernel takes. What is invalid on a date may
be valid in the result.
"""

import math

import tilejit as tj
from tilejit_kernels.series.trends import MOST, factored, solve

MONTHS = 13
TERMS = 6


@tj.series(nodata="kernel", unit="input", output="dates")
def fill_gaps(t, *, limit=math.inf):
    """Fills gaps by a straight line in time between the valid dates on either side.

    Args:
        t: Values of each date, in the order of time.
        limit: The longest gap that is filled, in days between the valid dates; all are, unless it is given.

    Returns:
        The values; before the first valid date, behind the last, and in longer gaps, nodata.

    Source:
        Linear interpolation, as `numpy.interp` within the valid dates.

    Example:
        >>> import numpy as np
        >>> days = ["2020-01-01", "2020-01-02", "2020-01-05", "2020-01-06"]
        >>> t = tj.stack([tj.from_array(np.float32([1, np.nan, 5, np.nan])[:, None, None])], times=days)
        >>> fill_gaps(t).compute().ravel().tolist()
        [1.0, 2.0, 5.0, nan]
    """
    filled, slope, last_day, last = tj.zeros(len(t)), tj.zeros(len(t)), 0.0, math.nan
    next_day, following = 0.0, math.nan
    for back in range(len(t)):
        k = len(t) - 1 - back
        next_day = t.time[k] if tj.is_valid(t[k]) else next_day
        following = t[k] if tj.is_valid(t[k]) else following
        filled[k], slope[k] = following, next_day
    for k in range(len(t)):
        last_day = t.time[k] if tj.is_valid(t[k]) else last_day
        last = t[k] if tj.is_valid(t[k]) else last
        gap = slope[k] - last_day
        share = (t.time[k] - last_day) / gap if gap > 0.0 else 0.0
        filled[k] = last + (filled[k] - last) * share if gap <= limit else math.nan
    return filled


def factored_five(w, second, first, diagonal, smoothness):
    """Puts the factors of Whittaker's equations in three arrays: L D L' of a matrix of five diagonals."""
    n = len(w)
    d1, d2, c1, e1, e2 = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(w)):
        starts, inner, ends = k <= n - 3, 1 <= k <= n - 2, k >= 2
        own = w[k] + smoothness * ((1.0 if starts else 0.0) + (4.0 if inner else 0.0) + (1.0 if ends else 0.0))
        d = own - d1 * c1 * c1 - d2 * e2 * e2
        beside = -2.0 * smoothness * ((1.0 if starts else 0.0) + (1.0 if inner else 0.0))
        diagonal[k], first[k], second[k] = d, (beside - d1 * c1 * e1) / d, (smoothness if starts else 0.0) / d
        d1, d2, c1, e1, e2 = d, d1, first[k], second[k], e1


def solve_five(second, first, diagonal, z):
    """Solves the equations of these factors for their right sides, in their place."""
    one, two, c, e1, e2 = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(z)):
        z[k] -= c * one + e2 * two
        one, two, c, e1, e2 = z[k], one, first[k], second[k], e1
    one, two = 0.0, 0.0
    for back in range(len(z)):
        k = len(z) - 1 - back
        z[k] = z[k] / diagonal[k] - first[k] * one - second[k] * two
        one, two = z[k], one


def levelled(y, w, z):
    """Adds the weighted line through what is left over, which the penalty does not see and the equations barely do."""
    weight, place, rest = 0.0, 0.0, 0.0
    for k in range(len(y)):
        weight += w[k]
        place += w[k] * k
        rest += w[k] * (y[k] - z[k])
    place, rest = place / weight, rest / weight
    both, square = 0.0, 0.0
    for k in range(len(y)):
        both += w[k] * (k - place) * (y[k] - z[k] - rest)
        square += w[k] * (k - place) * (k - place)
    slope = both / square if square > 0.0 else 0.0
    for k in range(len(y)):
        z[k] += rest + slope * (k - place)


def smoothed(y, w, z, smoothness):
    """Whittaker's smooth series of values with weights, in z; twice more for what is left over."""
    second, first, diagonal, left = tj.zeros(len(y)), tj.zeros(len(y)), tj.zeros(len(y)), tj.zeros(len(y))
    factored_five(w, second, first, diagonal, smoothness)
    turn = 0
    while True:  # a for loop of four would be written out
        levelled(y, w, z)
        if turn == 3:
            break
        turn += 1
        s1, s2 = 0.0, 0.0
        for k in range(len(y)):
            # Differences of neighbours are exact in floats.
            bend = (z[k] - z[k + 1]) - (z[k + 1] - z[k + 2]) if k < len(y) - 2 else 0.0
            left[k] = w[k] * (y[k] - z[k]) - smoothness * (bend - 2.0 * s1 + s2)
            s1, s2 = bend, s1
        solve_five(second, first, diagonal, left)
        for k in range(len(y)):
            z[k] += left[k]


def weighted(t, y, w):
    """Values less their mean, and weights, 0 where a date is invalid; returns the mean, and how many are valid."""
    total, n = 0.0, 0
    for k in range(len(t)):
        total += t[k] if w[k] > 0.0 else 0.0
        n += 1 if w[k] > 0.0 else 0
    mean = total / max(n, 1)
    for k in range(len(t)):
        y[k] = t[k] - mean if w[k] > 0.0 else 0.0
    return mean, n


@tj.series(nodata="kernel", unit="input", output="dates")
def whittaker(t, *, smoothness=10.0):
    """Smooths by Whittaker's penalty on second differences, and fills gaps and ends; layers count as evenly spaced.

    It minimises the squared distance to the valid dates, and `smoothness` times the squared second differences, by a
    banded factor, twice corrected by what is left over, so that float32 holds with a smoothness of 100,000.

    Args:
        t: Values of each date, in the order of time and at about even steps.
        smoothness: The penalty, lambda: about 1 to 100 for 16-day composites; a greater one is smoother.

    Returns:
        The smooth values on all dates; nodata on all where fewer than two are valid.

    Source:
        Eilers, P. H. C. (2003). A perfect smoother. Analytical Chemistry 75, 3631-3636, equations 2 to 7.

    Example:
        >>> import numpy as np
        >>> whittaker(np.float32([1, np.nan, 3, 4])[:, None, None]).ravel().round(3).tolist()
        [1.0, 2.0, 3.0, 4.0]
    """
    y, w, z = tj.zeros(len(t)), tj.zeros(len(t)), tj.zeros(len(t))
    for k in range(len(t)):
        w[k] = 1.0 if tj.is_valid(t[k]) else 0.0
    mean, n = weighted(t, y, w)
    smoothed(y, w, z, smoothness)
    for k in range(len(t)):
        z[k] = z[k] + mean if n > 1 else math.nan
    return z


@tj.series(nodata="kernel", unit="input", output="dates")
def weighted_whittaker(t, weight, *, smoothness=10.0):
    """Smooths as `whittaker` does, with a weight for each date.

    Args:
        t: Values of each date, in the order of time and at about even steps.
        weight: Weights of each date, 0 or more: 1 for a clear one, less for a doubtful one. A date without is left out.
        smoothness: The penalty, lambda.

    Returns:
        The smooth values on all dates; nodata on all where fewer than two are valid and have a weight.

    Source:
        Eilers (2003), see `whittaker`.

    Example:
        >>> import numpy as np
        >>> t, weight = np.float32([1, 9, 3, 4])[:, None, None], np.float32([1, 0, 1, 1])[:, None, None]
        >>> weighted_whittaker(t, weight).ravel().round(3).tolist()
        [1.0, 2.0, 3.0, 4.0]
    """
    y, w, z = tj.zeros(len(t)), tj.zeros(len(t)), tj.zeros(len(t))
    for k in range(len(t)):
        w[k] = weight[k] if tj.is_valid(t[k]) and tj.is_valid(weight[k]) else 0.0
    mean, n = weighted(t, y, w)
    smoothed(y, w, z, smoothness)
    for k in range(len(t)):
        z[k] = z[k] + mean if n > 1 else math.nan
    return z


def fitted(y, w, at, half, degree):
    """Value on one date of the polynomial through those around it; NaN where they are too few."""
    moments, sides, sums = tj.zeros(MOST * MOST), tj.zeros(MOST), tj.zeros(2 * MOST)
    columns = min(degree + 1, TERMS)
    start = max(min(at - half, len(y) - 2 * half - 1), 0)
    middle, wide, n = start + half, max(half, 1), 0
    for k in range(max(start, 0), min(start + 2 * half + 1, len(y))):
        place, power = (k - middle) / wide, w[k]
        n += 1 if w[k] > 0.0 else 0
        for i in range(min(2 * columns - 1, 2 * TERMS - 1)):
            sums[i] += power
            if i < columns:
                sides[min(i, MOST - 1)] += power * y[k]
            power *= place
    for i in range(columns):
        for j in range(columns):
            moments[MOST * i + j] = sums[i + j]
    is_fit = factored(moments, columns)
    solve(moments, sides, columns)
    value = 0.0
    for back in range(columns):
        value = value * ((at - middle) / wide) + sides[max(columns - 1 - back, 0)]
    return value if is_fit and n >= columns and columns > 0 else math.nan


@tj.series(nodata="kernel", unit="input", output="dates")
def savitzky_golay(t, *, half: int = 3, degree: int = 2):
    """Smooths by a polynomial through the dates around each, Savitzky and Golay; layers count as evenly spaced.

    Invalid dates have no part in the fit, and get its value. At both ends the polynomial of the first and last whole
    window is taken.

    Args:
        t: Values of each date, in the order of time and at about even steps.
        half: How many layers on either side: a window of ``2 * half + 1``.
        degree: Of the polynomial, 0 to 5.

    Returns:
        The smooth values on all dates; nodata where fewer dates of the window are valid than the polynomial has
        coefficients.

    Source:
        Savitzky, A. and Golay, M. J. E. (1964). Smoothing and differentiation of data by simplified least squares
        procedures. Analytical Chemistry 36, 1627-1639. Without gaps the same as `scipy.signal.savgol_filter`.

    Example:
        >>> import numpy as np
        >>> t = np.float32([1, 4, np.nan, 16, 25, 36, 49])[:, None, None]
        >>> savitzky_golay(t, half=2).ravel().round(3).tolist()
        [1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0]
    """
    y, w, z = tj.zeros(len(t)), tj.zeros(len(t)), tj.zeros(len(t))
    for k in range(len(t)):
        w[k] = 1.0 if tj.is_valid(t[k]) else 0.0
    mean, _ = weighted(t, y, w)
    for k in range(len(t)):
        z[k] = mean + fitted(y, w, k, half, degree)
    return z


@tj.series(nodata="kernel", unit="input", output="dates")
def weighted_savitzky_golay(t, weight, *, half: int = 3, degree: int = 2):
    """Smooths as `savitzky_golay` does, with a weight for each date.

    Args:
        t: Values of each date, in the order of time and at about even steps.
        weight: Weights of each date, 0 or more. A date without is left out of fits, and gets their value.
        half: How many layers on either side.
        degree: Of the polynomial, 0 to 5.

    Returns:
        As `savitzky_golay`.

    Source:
        Savitzky and Golay (1964), see `savitzky_golay`; weighted least squares as `numpy.polyfit`, whose weights are
        the roots of these.

    Example:
        >>> import numpy as np
        >>> t, weight = np.float32([1, 4, 99, 16, 25])[:, None, None], np.float32([1, 1, 0, 1, 1])[:, None, None]
        >>> weighted_savitzky_golay(t, weight, half=2).ravel().round(3).tolist()
        [1.0, 4.0, 9.0, 16.0, 25.0]
    """
    y, w, z = tj.zeros(len(t)), tj.zeros(len(t)), tj.zeros(len(t))
    for k in range(len(t)):
        w[k] = weight[k] if tj.is_valid(t[k]) and tj.is_valid(weight[k]) else 0.0
    mean, _ = weighted(t, y, w)
    for k in range(len(t)):
        z[k] = mean + fitted(y, w, k, half, degree)
    return z


@tj.series(nodata="kernel", unit="input", output="dates")
def anomaly(t):
    """Difference of each date to the mean of all valid dates of its calendar month, that date's own value too.

    Args:
        t: Values of each date; dates need not rise.

    Returns:
        The differences, in the unit of the input; nodata where a date is invalid.

    Source:
        World Meteorological Organization (2017). Guidelines on the Calculation of Climate Normals, WMO-No. 1203. The
        same as xarray's ``t.groupby("time.month") - t.groupby("time.month").mean()``.

    Example:
        >>> import numpy as np
        >>> days = ["2020-01-05", "2020-07-05", "2021-01-25", "2021-07-25"]
        >>> t = tj.stack([tj.from_array(np.float32([1, 10, 3, 14])[:, None, None])], times=days)
        >>> anomaly(t).compute().ravel().tolist()
        [-1.0, -2.0, 1.0, 2.0]
    """
    totals, counts, off = tj.zeros(MONTHS), tj.zeros(MONTHS), tj.zeros(len(t))
    for k in range(len(t)):
        month = t.month[k]
        totals[month] += t[k] if tj.is_valid(t[k]) else 0.0
        counts[month] += 1.0 if tj.is_valid(t[k]) else 0.0
    for m in range(len(t)):
        of_year = t.month[m]
        off[m] = t[m] - totals[of_year] / counts[of_year]
    return off
