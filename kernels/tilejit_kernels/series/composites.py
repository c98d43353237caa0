"""One pixel out of many dates: median under a quality band, date of the greatest index, medoid, geometric median.

Dates on which a pixel is invalid in any band are left out.
"""

import math

import numpy as np

import tilejit as tj
from tilejit_kernels.series.statistics import at_percent


@tj.series(nodata="kernel", unit="input")
def median_composite(t: tj.Stack, qa: tj.Stack[np.uint16], *, mask: int = 1):
    """Median of the dates on which the pixel is valid and no bit of the mask is set in its quality.

    Args:
        t: Values of each date.
        qa: Quality of each date, in bits.
        mask: The bits of dates that are left out: ``0b11000`` for bits 3 and 4.

    Returns:
        The median, in the unit of the input; nodata where no date is left.

    Example:
        >>> values, quality = np.float32([[[1]], [[2]], [[9]]]), np.uint16([[[0]], [[0]], [[8]]])
        >>> median_composite(values, quality, mask=8)
        array([[1.5]], dtype=float32)
    """
    values, n = tj.zeros(len(t)), 0
    for k in range(len(t)):
        is_clear = tj.is_valid(t[k]) and tj.is_valid(qa[k]) and qa[k] & mask == 0  # type: ignore[arg-type]
        values[k] = t[k] if is_clear else math.nan
        n += 1 if is_clear else 0
    tj.sort(values)
    return at_percent(values, n, 50.0) if n > 0 else math.nan


@tj.series(nodata="kernel", unit="input")
def max_index_composite(value, index):
    """Value on the date of the greatest index, the first of several, and the number of its layer.

    Args:
        value: Values of each date.
        index: What is greatest on the best date, as an NDVI.

    Returns:
        The value; and the number of its layer, from 0, or -1 where no date has both.

    Source:
        Holben, B. N. (1986). Characteristics of maximum-value composite images from temporal AVHRR data. International
        Journal of Remote Sensing 7, 1417-1434.

    Example:
        >>> value, layer = max_index_composite(np.float32([[[5]], [[6]], [[7]]]), np.float32([[[0]], [[9]], [[3]]]))
        >>> float(value[0, 0]), int(layer[0, 0])
        (6.0, 1)
    """
    best, chosen, at = -math.inf, math.nan, -1
    for k in range(len(index)):
        if tj.is_valid(index[k]) and tj.is_valid(value[k]) and (at < 0 or index[k] > best):
            best, chosen, at = index[k], value[k], k
    return chosen, at


def whole_spectra(blue, green, red, nir, swir1, swir2, a, b, c, d, e, f, layers):
    """Puts the dates that are valid in all bands first, and the numbers of their layers; returns how many there are."""
    n = 0
    for k in range(len(blue)):
        total = blue[k] + green[k] + red[k] + nir[k] + swir1[k] + swir2[k]
        if tj.is_valid(total):
            a[n], b[n], c[n], d[n], e[n], f[n] = blue[k], green[k], red[k], nir[k], swir1[k], swir2[k]
            layers[n] = k
            n += 1
    return n


@tj.series(nodata="kernel", unit="input")
def medoid(blue, green, red, nir, swir1, swir2):
    """Medoid of six bands: the spectrum of the date that is nearest to all others, a spectrum that was really seen.

    Nearest is the least sum of Euclidean distances in the six bands; of several the first.

    Args:
        blue: Values of each date; the bands need not be these, but in one unit.
        green: The second band.
        red: The third.
        nir: The fourth.
        swir1: The fifth.
        swir2: The sixth.

    Returns:
        The six bands on that date; and the number of its layer, from 0, or -1 where no date is valid in all bands.

    Source:
        Flood, N. (2013). Seasonal composite Landsat TM/ETM+ images using the medoid (a multi-dimensional median).
        Remote Sensing 5, 6481-6500, equation 1.

    Example:
        >>> dates = np.float32([[[1]], [[2]], [[9]]])
        >>> *bands, layer = medoid(dates, dates, dates, dates, dates, dates)
        >>> float(bands[0][0, 0]), int(layer[0, 0])
        (2.0, 1)
    """
    a, b, c, d, e, f = (tj.zeros(len(blue)), tj.zeros(len(blue)), tj.zeros(len(blue)), tj.zeros(len(blue)),
                        tj.zeros(len(blue)), tj.zeros(len(blue)))  # fmt: skip
    far, layers = tj.zeros(len(blue)), tj.zeros(len(blue), dtype=int)
    n = whole_spectra(blue, green, red, nir, swir1, swir2, a, b, c, d, e, f, layers)
    if n == 0:
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, -1
    for i in range(min(n, len(a))):
        for j in range(min(n, len(a))):
            square = (a[i] - a[j]) ** 2 + (b[i] - b[j]) ** 2 + (c[i] - c[j]) ** 2
            square += (d[i] - d[j]) ** 2 + (e[i] - e[j]) ** 2 + (f[i] - f[j]) ** 2
            far[j] += math.sqrt(square)
    best = 0
    for j in range(min(n, len(a))):
        best = j if far[j] < far[best] else best
    return a[best], b[best], c[best], d[best], e[best], f[best], layers[best]


@tj.series(nodata="kernel", unit="input")
def geometric_median(blue, green, red, nir, swir1, swir2, *, tolerance=1e-4):
    """Geometric median of six bands, and how far the dates lie from it: EMAD, SMAD, BCMAD.

    The geometric median is the spectrum with the least sum of Euclidean distances to all dates. It is found by
    Weiszfeld's iteration from the mean, with the rule of Vardi and Zhang where it meets a date, until a step is shorter
    than `tolerance` of the dates' harmonic mean distance; of 1000 steps at most.

    Args:
        blue: Values of each date; the bands need not be these, but in one unit.
        green: The second band.
        red: The third.
        nir: The fourth.
        swir1: The fifth.
        swir2: The sixth.
        tolerance: When to stop, as a share of the dates' distance; 1e-6 is as near as float32 comes.

    Returns:
        The six bands of the geometric median; EMAD, the median of the Euclidean distances to it, in the unit of the
        input; SMAD, of the cosine distances, 0 to 2; BCMAD, of the Bray-Curtis distances, from 0 to 1 where no value is
        negative. Nodata where no date is valid in all bands.

    Source:
        Roberts, D., Mueller, N. and McIntyre, A. (2017). High-dimensional pixel composites from Earth observation time
        series. IEEE Transactions on Geoscience and Remote Sensing 55, 6254-6264. Roberts, D., Dunn, B. and Mueller, N.
        (2018). Open Data Cube products using high-dimensional statistics of time series. IGARSS 2018, 8647-8650.
        Vardi, Y. and Zhang, C.-H. (2000). The multivariate L1-median and associated data depth. PNAS 97, 1423-1426,
        equation 2.6.

    Example:
        >>> dates = np.float32([[[1]], [[2]], [[9]]])
        >>> *bands, emad, smad, bcmad = geometric_median(dates, dates, dates, dates, dates, dates)
        >>> round(float(bands[0][0, 0]), 3), round(float(emad[0, 0] / 6**0.5), 3), round(float(bcmad[0, 0]), 3)
        (2.0, 1.0, 0.333)
    """
    a, b, c, d, e, f = (tj.zeros(len(blue)), tj.zeros(len(blue)), tj.zeros(len(blue)), tj.zeros(len(blue)),
                        tj.zeros(len(blue)), tj.zeros(len(blue)))  # fmt: skip
    near, layers = tj.zeros(len(blue)), tj.zeros(len(blue), dtype=int)
    n = whole_spectra(blue, green, red, nir, swir1, swir2, a, b, c, d, e, f, layers)
    u, v, w, x, y, z = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(min(n, len(a))):
        u, v, w = u + a[k] / n, v + b[k] / n, w + c[k] / n
        x, y, z = x + d[k] / n, y + e[k] / n, z + f[k] / n
    for _turn in range(1000):
        for k in range(min(n, len(a))):
            square = (a[k] - u) ** 2 + (b[k] - v) ** 2 + (c[k] - w) ** 2
            square += (d[k] - x) ** 2 + (e[k] - y) ** 2 + (f[k] - z) ** 2
            near[k] = 1.0 / math.sqrt(square) if square > 0.0 else 0.0
        weight, met = 0.0, 0
        p, q, r, s, t, o = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(min(n, len(a))):
            weight += near[k]
            met += 1 if near[k] == 0.0 else 0
            p, q, r = p + near[k] * (a[k] - u), q + near[k] * (b[k] - v), r + near[k] * (c[k] - w)
            s, t, o = s + near[k] * (d[k] - x), t + near[k] * (e[k] - y), o + near[k] * (f[k] - z)
        pull = math.sqrt(p * p + q * q + r * r + s * s + t * t + o * o)
        if weight == 0.0 or pull <= met:
            break
        step = (1.0 - met / pull) / weight
        u, v, w, x, y, z = u + step * p, v + step * q, w + step * r, x + step * s, y + step * t, z + step * o
        if pull * step <= tolerance * (n - met) / weight:
            break
    if n == 0:
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
    cosine, curtis = tj.zeros(len(blue)), tj.zeros(len(blue))
    long = math.sqrt(u * u + v * v + w * w + x * x + y * y + z * z)
    for k in range(min(n, len(a))):
        square = (a[k] - u) ** 2 + (b[k] - v) ** 2 + (c[k] - w) ** 2
        near[k] = math.sqrt(square + (d[k] - x) ** 2 + (e[k] - y) ** 2 + (f[k] - z) ** 2)
        size = math.sqrt(a[k] ** 2 + b[k] ** 2 + c[k] ** 2 + d[k] ** 2 + e[k] ** 2 + f[k] ** 2)
        square = (a[k] / size - u / long) ** 2 + (b[k] / size - v / long) ** 2 + (c[k] / size - w / long) ** 2
        square += (d[k] / size - x / long) ** 2 + (e[k] / size - y / long) ** 2 + (f[k] / size - z / long) ** 2
        cosine[k] = 0.5 * square  # one less the cosine, without its loss of digits
        off = abs(a[k] - u) + abs(b[k] - v) + abs(c[k] - w) + abs(d[k] - x) + abs(e[k] - y) + abs(f[k] - z)
        both = abs(a[k] + u) + abs(b[k] + v) + abs(c[k] + w) + abs(d[k] + x) + abs(e[k] + y) + abs(f[k] + z)
        curtis[k] = off / both
    tj.sort(near, n)
    tj.sort(cosine, n)
    tj.sort(curtis, n)
    return (u, v, w, x, y, z, at_percent(near, n, 50.0), at_percent(cosine, n, 50.0),
            at_percent(curtis, n, 50.0))  # fmt: skip
