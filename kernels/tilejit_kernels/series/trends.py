"""How one pixel changes: linear and monotonic trends, slopes that outliers do not move, seasons, and when it broke.

Dates on which a pixel is invalid are left out. Years are of 365.25 days, counted from the first layer.
"""

import math

import numpy as np

import tilejit as tj

YEAR = 365.25
FEW = 40
TINY = 1e-30
MOST = 8


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

    Args:
        t: Values of each date.

    Returns:
        Change in a year of 365.25 days, in the unit of the input; its standard error; p by Student's t, which holds
        to 1e-10 in float64, and to 1e-4 of p in float32. The error and p need three valid dates, the change two of
        different days; of a constant they are 0, 0 and 1.

    Source:
        Draper, N. R. and Smith, H. (1998). Applied Regression Analysis, 3rd ed., 1.2 to 1.4. The same as
        `scipy.stats.linregress`.

    Example:
        >>> import numpy as np
        >>> days = ["2020-01-01", "2021-01-01", "2022-01-01", "2023-01-01"]
        >>> ndvi = tj.stack([tj.from_array(np.float32([[[0.2]], [[0.3]], [[0.3]], [[0.4]]]))], times=days)
        >>> trend(ndvi).compute().round(3).ravel().tolist()
        [0.05999999865889549, 0.014000000432133675, 0.050999999046325684]
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


def ordered(t, x, y):
    """Puts days and values of the valid dates first, in the order of time; returns how many there are."""
    n = 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            x[n] = t.time[k]
            y[n] = t[k]
            at = n
            while at > 0 and x[at - 1] > x[at]:  # dates need not rise
                x[at - 1], x[at] = x[at], x[at - 1]
                y[at - 1], y[at] = y[at], y[at - 1]
                at -= 1
            n += 1
    return n


def together(t, y):
    """Puts the values of the valid dates first; returns how many there are."""
    n = 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            y[n] = t[k]
            n += 1
    return n


@tj.series(nodata="kernel")
def mann_kendall(t):
    """Mann-Kendall test of a monotonic trend: S, its normal deviate z, and the two-sided p; with a correction for ties.

    Each pair of dates is compared once, in vector code: a pixel of 160 valid dates takes 6 microseconds.

    Args:
        t: Values of each date, in the order of time.

    Returns:
        S, the number of pairs that rise less those that fall; z, S in standard deviations, towards 0 by one; p. Of a
        constant they are 0, 0 and 1; fewer than two valid dates are nodata.

    Source:
        Mann, H. B. (1945). Nonparametric tests against trend. Econometrica 13, 245-259. Kendall, M. G. (1970). Rank
        Correlation Methods, 4th ed., chapter 4. Hirsch, R. M., Slack, J. R. and Smith, R. A. (1982). Techniques of
        trend analysis for monthly water quality data. Water Resources Research 18, 107-121, equations 1 to 4. The
        same as `pymannkendall.original_test`.

    Example:
        >>> import numpy as np
        >>> s, z, p = mann_kendall(np.float32([[[1]], [[2]], [[2]], [[4]], [[5]]]))
        >>> float(s[0, 0]), round(float(z[0, 0]), 4), round(float(p[0, 0]), 4)
        (9.0, 2.0212, 0.0433)
    """
    y = tj.zeros(len(t))
    n = together(t, y)
    s, ties = 0, 0
    for i in range(min(n, len(y))):
        rises, same = 0, 0
        for j in range(i):
            rises += 1 if y[i] > y[j] else 0
            same += 1 if y[i] == y[j] else 0
        s += 2 * rises + same - i
        ties += 6 * same * (same + 2)  # what one more of a group adds to g (g - 1) (2 g + 5)
    spread = n * (n - 1) * (2 * n + 5) - ties
    if n < 2:
        return math.nan, math.nan, math.nan
    if spread == 0:
        return 0.0, 0.0, 1.0
    step = 1 if s > 0 else (-1 if s < 0 else 0)
    z = (s - step) / math.sqrt(spread / 18.0)
    return 1.0 * s, z, math.erfc(abs(z) / math.sqrt(2.0))


def at_most(x, y, n, low, high, between):
    """How many of the slopes between n dates are at most low, and at most high; and of each date those between."""
    below, above = 0, 0
    for i in range(min(n, len(x))):
        under, upto = 0, 0
        for j in range(i):
            rise, run = y[i] - y[j], x[i] - x[j]
            under += 1 if rise <= low * run else 0
            upto += 1 if rise <= high * run else 0
        below += under
        above += upto
        between[i] = upto - under
    return below, above


def guess(x, y, n):
    """Slope of least squares through n dates, and its standard error."""
    day, value = 0.0, 0.0
    for i in range(min(n, len(x))):
        day += x[i] / n
        value += y[i] / n
    both, square, left = 0.0, 0.0, 0.0
    for i in range(min(n, len(x))):
        both += (x[i] - day) * (y[i] - value)
        square += (x[i] - day) * (x[i] - day)
        left += (y[i] - value) * (y[i] - value)
    slope = both / square
    return slope, math.sqrt(max(left / square - slope * slope, 0.0) / n)


def bracket(x, y, n, rank, first, last, between):
    """Two numbers with the slope of a rank between them, few others, and how many slopes are at most the lower one.

    They are narrowed by counting: each turn counts at two numbers, at which the slopes so far would have the rank.
    """
    low, high, below, above = -math.inf, math.inf, first, last
    middle, reach = guess(x, y, n)
    reach = max(0.6 * reach, 1e-6 * abs(middle), TINY)
    a, b = 0.0, 0.0
    for turn in range(200):
        a, b = middle - reach, middle + reach
        if turn == 4 and low < -TINY and high > 0.0:  # values of few steps: many slopes are 0
            a, b = -TINY, 0.0
        at_a, at_b = at_most(x, y, n, a, b, between)
        for side in range(2):
            pivot, count = (a, at_a) if side == 0 else (b, at_b)
            if count <= rank and pivot > low:
                low, below = pivot, count
            if count > rank and pivot < high:
                high, above = pivot, count
        if low == -math.inf or high == math.inf:
            reach = 4.0 * reach
            middle = middle + reach if high == math.inf else middle - reach
        else:
            is_even = turn % 3 < 2  # else halves, in case slopes are not spread evenly
            width = high - low
            middle = low + width * ((rank + 0.5 - below) / (above - below) if is_even else 0.5)
            reach = width * max(0.4 * FEW / (above - below), 0.04) if is_even else 0.0
            if above - below <= FEW or width <= TINY or not low < middle < high:
                break
    if low != a or high != b:
        at_most(x, y, n, low, high, between)
    return low, high, below


def sorted_between(x, y, n, low, high, between, found):
    """Sorts the slopes above low that are at most high, FEW of them; returns how many there are."""
    count = 0
    for i in range(min(n, len(x))):
        if between[i] > 0:
            for j in range(i):
                rise, run = y[i] - y[j], x[i] - x[j]  # the place behind the last is written to over and over
                found[min(count, FEW)] = rise / run
                count += 1 if rise > low * run and rise <= high * run else 0
    tj.sort(found, min(count, FEW))
    return count


def least_above(x, y, n, bound):
    """The least slope above a number."""
    least = math.inf
    for i in range(min(n, len(x))):
        for j in range(i):
            rise, run = y[i] - y[j], x[i] - x[j]
            least = min(least, rise / run if rise > bound * run else math.inf)
    return least


def same_day(x, y, n):
    """How many pairs of dates are of one day, and how many of them do not rise: they are in each count."""
    pairs, falling = 0, 0
    for i in range(min(n, len(x))):
        j = i - 1
        while j >= 0 and x[j] == x[i]:  # days are in order
            pairs += 1
            falling += 1 if y[i] <= y[j] else 0
            j -= 1
    return pairs, falling


def slope_of_rank(x, y, n, rank, is_halfway, falling, total, between, found):
    """The slope that so many of all are below; or halfway to the next one."""
    low, high, below = bracket(x, y, n, falling + rank, falling, falling + total, between)
    count = sorted_between(x, y, n, low, high, between, found)
    at, last = falling + rank - below, min(count, FEW) - 1  # where there are more, all are one number
    slope = found[max(min(at, last), 0)]
    if is_halfway:
        following = found[max(min(at + 1, last), 0)] if at + 1 < count else least_above(x, y, n, high)
        slope = 0.5 * (slope + following)
    return slope


def middle_of(values, n):
    """Median of n numbers that are sorted."""
    return 0.5 * (values[(n - 1) // 2] + values[n // 2])


@tj.series(nodata="kernel")
def theil_sen(t):
    """Theil-Sen slope: the median of the slopes between all pairs of dates, and the value that it starts from.

    It is exact, though the n (n - 1) / 2 slopes are never held: two numbers are narrowed around the median by counting
    slopes between them, in vector code, until at most 40 are left, which are computed and sorted. 160 valid dates take
    three counts and 21 microseconds, all slopes in an array and a selection 90. Pairs of one day have no slope and are
    left out.

    Args:
        t: Values of each date; dates need not rise, nor differ.

    Returns:
        Change in a year of 365.25 days, in the unit of the input; and the value on the day of the first layer, which is
        the median of the values less the slope times the median of the days. Nodata where all valid dates are of one
        day.

    Source:
        Theil, H. (1950). A rank-invariant method of linear and polynomial regression analysis. Indagationes
        Mathematicae 12, 85-91. Sen, P. K. (1968). Estimates of the regression coefficient based on Kendall's tau.
        Journal of the American Statistical Association 63, 1379-1389. Intercept: Conover, W. J. (1999). Practical
        Nonparametric Statistics, 3rd ed., 5.5. The same as `scipy.stats.theilslopes`.

    Example:
        >>> import numpy as np
        >>> days = ["2020-01-01", "2021-01-01", "2022-01-01", "2023-01-01"]
        >>> ndvi = tj.stack([tj.from_array(np.float32([[[0.2]], [[0.3]], [[0.4]], [[0.0]]]))], times=days)
        >>> slope, start = theil_sen(ndvi).compute()
        >>> round(float(slope[0, 0]), 3), round(float(start[0, 0]), 3)
        (0.017, 0.225)
    """
    x, y, between, found = tj.zeros(len(t)), tj.zeros(len(t)), tj.zeros(len(t), dtype=int), tj.zeros(FEW + 1)
    n = ordered(t, x, y)
    if n < 2 or x[0] == x[n - 1]:
        return math.nan, math.nan
    pairs, falling = same_day(x, y, n)
    total = n * (n - 1) // 2 - pairs
    slope = slope_of_rank(x, y, n, (total - 1) // 2, total % 2 == 0, falling, total, between, found)
    tj.sort(y, n)
    return slope * YEAR, middle_of(y, n) - slope * middle_of(x, n)


@tj.series(nodata="kernel")
def theil_sen_bounds(t, *, z=1.959963984540054):
    """Confidence bounds of the Theil-Sen slope: two of the slopes between pairs of dates, by their ranks.

    Args:
        t: Values of each date; dates need not rise, nor differ.
        z: The normal deviate of the confidence: 1.96 for 95 %, 1.645 for 90 %, 2.576 for 99 %.

    Returns:
        The lower and the upper bound, in a year of 365.25 days and the unit of the input.

    Source:
        Sen (1968), see `theil_sen`, equation 2.6. The same as `scipy.stats.theilslopes`.

    Example:
        >>> import numpy as np
        >>> days = ["2020-01-01", "2021-01-01", "2022-01-01", "2023-01-01"]
        >>> ndvi = tj.stack([tj.from_array(np.float32([[[0.2]], [[0.3]], [[0.5]], [[0.6]]]))], times=days)
        >>> low, high = theil_sen_bounds(ndvi, z=1.645).compute()
        >>> round(float(low[0, 0]), 3), round(float(high[0, 0]), 3)
        (0.1, 0.2)
    """
    x, y, between, found = tj.zeros(len(t)), tj.zeros(len(t)), tj.zeros(len(t), dtype=int), tj.zeros(FEW + 1)
    n = ordered(t, x, y)
    if n < 2 or x[0] == x[n - 1]:
        return math.nan, math.nan
    ties = 0
    for i in range(min(n, len(x))):
        same, days = 0, 0
        for j in range(i):
            same += 1 if y[i] == y[j] else 0
            days += 1 if x[i] == x[j] else 0
        ties += 6 * same * (same + 2) + 6 * days * (days + 2)
    pairs, falling = same_day(x, y, n)
    total = n * (n - 1) // 2 - pairs
    wide = z * math.sqrt(max(n * (n - 1) * (2 * n + 5) - ties, 0) / 18.0)
    upper = min(int(np.rint(0.5 * (total + wide))), total - 1)
    lower = max(int(np.rint(0.5 * (total - wide))) - 1, 0)
    slopes = [0.0, 0.0]
    for side in range(2):
        rank = min(lower, total - 1) if side == 0 else max(upper, 0)
        slopes[side] = slope_of_rank(x, y, n, rank, False, falling, total, between, found)
    return slopes[0] * YEAR, slopes[1] * YEAR


def factored(moments, columns):
    """Cholesky's factor of a matrix of sums of products, in its place; returns whether it is far from singular."""
    is_fit = True
    for i in range(min(columns, MOST)):
        for j in range(i + 1):
            rest = moments[MOST * i + j]
            whole = rest
            for k in range(j):
                rest -= moments[MOST * i + k] * moments[MOST * j + k]
            if i == j:
                is_fit = is_fit and rest > 1e-5 * whole
                moments[MOST * i + i] = math.sqrt(max(rest, TINY))
            else:
                moments[MOST * i + j] = rest / moments[MOST * j + j]
    return is_fit


def solve(moments, sides, columns):
    """Solves the equations of such a factor for their right sides, in their place."""
    for i in range(min(columns, MOST)):
        for k in range(i):
            sides[i] -= moments[MOST * i + k] * sides[k]
        sides[i] /= moments[MOST * i + i]
    for back in range(min(columns, MOST)):
        i = min(columns, MOST) - 1 - back
        for k in range(i + 1, min(columns, MOST)):
            sides[i] -= moments[MOST * k + i] * sides[k]
        sides[i] /= moments[MOST * i + i]


@tj.series(nodata="kernel")
def harmonic(t, *, order: int = 1, period=YEAR):
    """Harmonic regression by least squares: a constant, a trend, and a cosine and a sine of each order, up to three.

    The value on a day is ``constant + trend * years + sum(c_h * cos(h * w) + s_h * sin(h * w))``, where
    ``w = 2 * pi * days / period`` and days count from the first layer. The amplitude of an order is
    ``hypot(c_h, s_h)``. The normal equations are solved by Cholesky's factor, and once more for what is left over,
    which in float32 brings the coefficients to seven digits.

    Args:
        t: Values of each date.
        order: How many pairs of cosine and sine: 0, 1, 2 or 3; a greater one is 3.
        period: Length of the first order, in days.

    Returns:
        Nine bands: constant, trend (in a year of 365.25 days), cosine and sine of orders one, two and three (0 beyond
        `order`), and the root mean square of what is left over. Nodata where there are fewer valid dates than
        coefficients, or they do not tell them apart.

    Source:
        Zhu, Z. and Woodcock, C. E. (2014). Continuous change detection and classification of land cover. Remote Sensing
        of Environment 144, 152-171, equation 2 with a trend. Correction: Bjorck, A. (1987). Stability analysis of the
        method of seminormal equations. Linear Algebra and its Applications 88/89, 31-48. The same as
        `numpy.linalg.lstsq`.

    Example:
        >>> import numpy as np
        >>> days = np.datetime64("2020-01-01") + np.arange(0, 1461, 30)
        >>> season = 0.5 + 0.2 * np.cos(2 * np.pi * np.arange(0, 1461, 30) / 365.25)
        >>> found = harmonic(tj.stack([tj.from_array(season[:, None, None])], times=days)).compute()
        >>> (found[:4, 0, 0].round(6) + 0.0).tolist()
        [0.5, 0.0, 0.2, 0.0]
    """
    columns = min(2 + 2 * order, MOST)
    middle = 0.5 * t.time[-1]
    moments, fit, more = tj.zeros(MOST * MOST), tj.zeros(MOST), tj.zeros(MOST)
    n = 0
    for k in range(len(t)):
        years = (t.time[k] - middle) / YEAR
        turn = 2.0 * math.pi * (t.time[k] % period) / period
        n += 1 if tj.is_valid(t[k]) else 0
        for i in range(columns):
            row = years if i == 1 else math.cos(turn * (i // 2) - 0.5 * math.pi * (i % 2))
            fit[i] += t[k] * row if tj.is_valid(t[k]) else 0.0
            for j in range(i + 1):
                column = years if j == 1 else math.cos(turn * (j // 2) - 0.5 * math.pi * (j % 2))
                moments[MOST * i + j] += row * column if tj.is_valid(t[k]) else 0.0
    is_fit = factored(moments, columns)
    solve(moments, fit, columns)
    square = 0.0
    for m in range(len(t)):  # names of its own: what all pixels share is computed once
        since = (t.time[m] - middle) / YEAR
        angle = 2.0 * math.pi * (t.time[m] % period) / period
        left = t[m] if tj.is_valid(t[m]) else 0.0
        for a in range(columns):
            term = since if a == 1 else math.cos(angle * (a // 2) - 0.5 * math.pi * (a % 2))
            left -= fit[a] * term if tj.is_valid(t[m]) else 0.0
        square += left * left
        for b in range(columns):
            factor = since if b == 1 else math.cos(angle * (b // 2) - 0.5 * math.pi * (b % 2))
            more[b] += left * factor
    solve(moments, more, columns)
    for c in range(columns):
        fit[c] += more[c]
    if n < columns or columns < 2 or not is_fit:
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
    start = fit[0] - fit[1] * middle / YEAR
    return start, fit[1], fit[2], fit[3], fit[4], fit[5], fit[6], fit[7], math.sqrt(square / n)


def bridge_p(x):
    """Probability that the largest absolute value of a Brownian bridge is above x: Kolmogorov's distribution.

    Source: Feller, W. (1948). On the Kolmogorov-Smirnov limit theorems for empirical distributions. Annals of
    Mathematical Statistics 19, 177-189, equations 1.4 and 1.5, of which each is short where the other is long.
    """
    small, large = 0.0, 0.0
    for j in range(1, 6):
        odd = (2 * j - 1) * math.pi / max(x, 0.05)
        small += math.exp(-odd * odd / 8.0)
        large += (2.0 if j % 2 == 1 else -2.0) * math.exp(-2.0 * j * j * x * x)
    return 1.0 - math.sqrt(2.0 * math.pi) / max(x, 0.05) * small if x < 1.0 else large


@tj.series(nodata="kernel")
def cusum(t):
    """CUSUM of the mean: when the mean of a pixel changed, by how much, and whether that may be chance.

    It is the OLS-CUSUM: the sum of deviations from the mean over the dates so far, by the standard deviation and the
    root of the number of dates. Where it is farthest from 0 the mean changed; a trend or a season makes it go far as
    well: give it anomalies, or what a trend leaves over.

    Args:
        t: Values of each date, in the order of time.

    Returns:
        Days since the first layer of the first valid date after the change; the mean from that date on less the mean
        before it; the statistic, the largest absolute CUSUM; and p that there is no change, for many dates (below 30 it
        is too large). Of a constant the day is nodata, and the others are 0, 0 and 1; fewer than three valid dates are
        nodata.

    Source:
        Ploberger, W. and Kramer, W. (1992). The CUSUM test with OLS residuals. Econometrica 60, 271-285. Date of the
        change: Taylor, W. A. (2000). Change-point analysis: a powerful new tool for detecting changes. The statistic
        and p are the same as `statsmodels.stats.diagnostic.breaks_cusumolsresid` with ``ddof=1``.

    Example:
        >>> import numpy as np
        >>> days = np.datetime64("2020-01-01") + np.arange(8) * 30
        >>> values = np.float32([5, 5, 6, 5, 2, 1, 2, 2])[:, None, None]
        >>> cusum(tj.stack([tj.from_array(values)], times=days)).compute()[:2].ravel().tolist()
        [120.0, -3.5]
    """
    total, n = 0.0, 0
    for k in range(len(t)):
        total += t[k] if tj.is_valid(t[k]) else 0.0
        n += 1 if tj.is_valid(t[k]) else 0
    mean = total / max(n, 1)
    so_far, square, farthest, before, at, day, is_next = 0.0, 0.0, 0.0, 0.0, 0, math.nan, False
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            day = t.time[k] if is_next else day
            is_next = False
            off = t[k] - mean
            so_far += off
            square += off * off
            at += 1
            if abs(so_far) > abs(farthest) and at < n:
                farthest, before, is_next = so_far, 1.0 * at, True
    if n < 3:
        return math.nan, math.nan, math.nan, math.nan
    spread = math.sqrt(square * n / (n - 1))
    if not spread > 1e-7 * abs(mean):
        return math.nan, 0.0, 0.0, 1.0
    statistic = abs(farthest) / spread
    return day, -farthest * n / (before * (n - before)), statistic, bridge_p(statistic)
