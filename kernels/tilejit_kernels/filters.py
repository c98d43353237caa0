"""Filters: one number from the window around a cell.

Means, extremes and standard deviations are over the valid cells of the window; cells outside the raster are
not valid. So they reach up to the raster's edge, and into holes too: a cell that is invalid itself gets a
result wherever its window has one valid cell. Where it has none, the result is NaN, hence nodata.
The others need all that they read: where one of these cells is invalid, so is the result.
"""

import math

import tilejit as tj


@tj.focal(nodata="kernel", unit="input")
def mean_3x3(z):
    """Mean of the valid cells of the 3x3 window.

    Args:
        z: Any quantity.

    Returns:
        Mean, in the unit of `z`; NaN where no cell is valid.

    Source:
        The arithmetic mean; NumPy's ``nanmean`` of each window.

    Example:
        >>> import numpy as np
        >>> mean_3x3(np.float32([[1, 2, np.nan]]))
        array([[1.5, 1.5, 2. ]], dtype=float32)
    """
    total = 0.0
    count = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            total += z[dy, dx] if tj.is_valid(z[dy, dx]) else 0.0
            count += 1.0 if tj.is_valid(z[dy, dx]) else 0.0
    return total / count if count > 0.0 else math.nan


@tj.focal(nodata="kernel", unit="input")
def mean_5x5(z):
    """Mean of the valid cells of the 5x5 window.

    Args:
        z: Any quantity.

    Returns:
        Mean, in the unit of `z`; NaN where no cell is valid.

    Source:
        The arithmetic mean; NumPy's ``nanmean`` of each window.

    Example:
        >>> import numpy as np
        >>> mean_5x5(np.float32([[1, 2, np.nan]]))
        array([[1.5, 1.5, 1.5]], dtype=float32)
    """
    total = 0.0
    count = 0.0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            total += z[dy, dx] if tj.is_valid(z[dy, dx]) else 0.0
            count += 1.0 if tj.is_valid(z[dy, dx]) else 0.0
    return total / count if count > 0.0 else math.nan


@tj.focal(nodata="kernel")
def row_sums_11(z):
    """Sum and number of the valid cells among the 11 of a row: half of `mean_11x11`.

    Args:
        z: Any quantity.

    Returns:
        Sum, in the unit of `z`, and number of valid cells.

    Source:
        A window's sum is the sum of its rows' sums: 22 additions a cell instead of 121.

    Example:
        >>> import numpy as np
        >>> totals, counts = row_sums_11(np.float32([[1, 2, np.nan]]))
        >>> totals.tolist(), counts.tolist()
        ([[3.0, 3.0, 3.0]], [[2.0, 2.0, 2.0]])
    """
    total = 0.0
    count = 0.0
    for dx in range(-5, 6):
        total += z[0, dx] if tj.is_valid(z[0, dx]) else 0.0
        count += 1.0 if tj.is_valid(z[0, dx]) else 0.0
    return total, count


@tj.focal(nodata="kernel", edge=0.0, unit="input")
def column_mean_11(totals, counts):
    """Quotient of the sums of 11 cells of a column: the other half of `mean_11x11`.

    Args:
        totals: Sums, of any quantity; 0 outside the raster.
        counts: Numbers of valid cells; 0 outside the raster.

    Returns:
        Mean, in the unit of `totals`; NaN where no cell is valid.

    Source:
        See `row_sums_11`.

    Example:
        >>> import numpy as np
        >>> column_mean_11(np.float32([[3], [1]]), np.float32([[2], [0]]))
        array([[2.],
               [2.]], dtype=float32)
    """
    total = 0.0
    count = 0.0
    for dy in range(-5, 6):
        total += totals[dy, 0]
        count += counts[dy, 0]
    return total / count if count > 0.0 else math.nan


@tj.chain
def mean_11x11(z):
    """Mean of the valid cells of the 11x11 window, as a chain of two kernels: rows, then columns.

    A large window that is separable is two cheap kernels; their results in between are never stored.

    Args:
        z: Any quantity.

    Returns:
        Mean, in the unit of `z`; NaN where no cell is valid.

    Source:
        The arithmetic mean; NumPy's ``nanmean`` of each window.

    Example:
        >>> import numpy as np
        >>> mean_11x11(np.float32([[1, 2, np.nan]]))
        array([[1.5, 1.5, 1.5]], dtype=float32)
    """
    return column_mean_11(*row_sums_11(z))


@tj.focal(nodata="kernel", unit="input")
def minimum_3x3(z):
    """Smallest of the valid cells of the 3x3 window: erosion.

    Args:
        z: Any quantity; an infinite cell counts as none.

    Returns:
        Minimum, in the unit of `z`; NaN where no cell is valid.

    Source:
        The minimum; NumPy's ``nanmin`` of each window.

    Example:
        >>> import numpy as np
        >>> minimum_3x3(np.float32([[1, 2, np.nan]]))
        array([[1., 1., 2.]], dtype=float32)
    """
    lowest = math.inf
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            lowest = min(lowest, z[dy, dx])  # NaN is not less than anything: it never gets in
    return lowest if lowest < math.inf else math.nan


@tj.focal(nodata="kernel", unit="input")
def minimum_5x5(z):
    """Smallest of the valid cells of the 5x5 window: erosion.

    Args:
        z: Any quantity; an infinite cell counts as none.

    Returns:
        Minimum, in the unit of `z`; NaN where no cell is valid.

    Source:
        The minimum; NumPy's ``nanmin`` of each window.

    Example:
        >>> import numpy as np
        >>> minimum_5x5(np.float32([[1, 2, np.nan]]))
        array([[1., 1., 1.]], dtype=float32)
    """
    lowest = math.inf
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            lowest = min(lowest, z[dy, dx])  # NaN is not less than anything: it never gets in
    return lowest if lowest < math.inf else math.nan


@tj.focal(nodata="kernel", unit="input")
def maximum_3x3(z):
    """Largest of the valid cells of the 3x3 window: dilation.

    Args:
        z: Any quantity; an infinite cell counts as none.

    Returns:
        Maximum, in the unit of `z`; NaN where no cell is valid.

    Source:
        The maximum; NumPy's ``nanmax`` of each window.

    Example:
        >>> import numpy as np
        >>> maximum_3x3(np.float32([[1, 2, np.nan]]))
        array([[2., 2., 2.]], dtype=float32)
    """
    highest = -math.inf
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            highest = max(highest, z[dy, dx])  # NaN is not greater than anything: it never gets in
    return highest if highest > -math.inf else math.nan


@tj.focal(nodata="kernel", unit="input")
def maximum_5x5(z):
    """Largest of the valid cells of the 5x5 window: dilation.

    Args:
        z: Any quantity; an infinite cell counts as none.

    Returns:
        Maximum, in the unit of `z`; NaN where no cell is valid.

    Source:
        The maximum; NumPy's ``nanmax`` of each window.

    Example:
        >>> import numpy as np
        >>> maximum_5x5(np.float32([[1, 2, np.nan]]))
        array([[2., 2., 2.]], dtype=float32)
    """
    highest = -math.inf
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            highest = max(highest, z[dy, dx])  # NaN is not greater than anything: it never gets in
    return highest if highest > -math.inf else math.nan


@tj.focal(nodata="kernel", unit="input")
def standard_deviation_3x3(z):
    """Standard deviation of the valid cells of the 3x3 window.

    In two passes, mean first: the mean of squares less the square of the mean loses all its digits in float32
    where cells lie far from 0 and close together.

    Args:
        z: Any quantity.

    Returns:
        Root of the mean squared deviation (of the population: divided by n), in the unit of `z`, from 0; NaN
        where no cell is valid.

    Source:
        The two-pass algorithm, e.g. Chan, T. F., Golub, G. H., LeVeque, R. J. (1983). Algorithms for
        computing the sample variance. The American Statistician 37(3), 242-247; NumPy's ``nanstd`` of each
        window.

    Example:
        >>> import numpy as np
        >>> standard_deviation_3x3(np.float32([[1, 3, np.nan]]))
        array([[1., 1., 0.]], dtype=float32)
    """
    total = 0.0
    count = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            total += z[dy, dx] if tj.is_valid(z[dy, dx]) else 0.0
            count += 1.0 if tj.is_valid(z[dy, dx]) else 0.0
    mean = total / max(count, 1.0)
    squares = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            deviation = z[dy, dx] - mean if tj.is_valid(z[dy, dx]) else 0.0
            squares += deviation * deviation
    return math.sqrt(squares / max(count, 1.0)) if count > 0.0 else math.nan


@tj.focal(nodata="kernel", unit="input")
def standard_deviation_5x5(z):
    """Standard deviation of the valid cells of the 5x5 window; two passes, as in `standard_deviation_3x3`.

    Args:
        z: Any quantity.

    Returns:
        Root of the mean squared deviation (of the population: divided by n), in the unit of `z`, from 0; NaN
        where no cell is valid.

    Source:
        Chan, Golub & LeVeque (1983), as in `standard_deviation_3x3`; NumPy's ``nanstd`` of each window.

    Example:
        >>> import numpy as np
        >>> standard_deviation_5x5(np.float32([[1, 3, np.nan]]))
        array([[1., 1., 1.]], dtype=float32)
    """
    total = 0.0
    count = 0.0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            total += z[dy, dx] if tj.is_valid(z[dy, dx]) else 0.0
            count += 1.0 if tj.is_valid(z[dy, dx]) else 0.0
    mean = total / max(count, 1.0)
    squares = 0.0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            deviation = z[dy, dx] - mean if tj.is_valid(z[dy, dx]) else 0.0
            squares += deviation * deviation
    return math.sqrt(squares / max(count, 1.0)) if count > 0.0 else math.nan


def sort_3(a, b, c):
    """Returns three values in ascending order: 3 exchanges."""
    a, b = min(a, b), max(a, b)
    b, c = min(b, c), max(b, c)
    a, b = min(a, b), max(a, b)
    return a, b, c


def sort_5(a, b, c, d, e):
    """Returns five values in ascending order: 9 exchanges, the fewest (Knuth, TAOCP 3, section 5.3.4)."""
    a, b = min(a, b), max(a, b)
    d, e = min(d, e), max(d, e)
    c, e = min(c, e), max(c, e)
    c, d = min(c, d), max(c, d)
    b, e = min(b, e), max(b, e)
    a, d = min(a, d), max(a, d)
    a, c = min(a, c), max(a, c)
    b, d = min(b, d), max(b, d)
    b, c = min(b, c), max(b, c)
    return a, b, c, d, e


@tj.focal(unit="input")
def median_3x3(z):
    """Median of the 3x3 window.

    A selection network: no branch, no array. With the columns sorted, the median is that of three: the
    largest of the lows, the median of the middles and the smallest of the highs.

    Args:
        z: Any quantity.

    Returns:
        The fifth smallest of the nine cells, in the unit of `z`.

    Source:
        Smith, J. L. (1996). Implementing median filters in XC4000E FPGAs. Xcell 23, 16; after Paeth, A. W.
        (1990). Median finding on a 3-by-3 grid. Graphics Gems, 171-175.

    Example:
        >>> import numpy as np
        >>> median_3x3(np.float32([[9, 2, 8], [4, 5, 6], [1, 7, 3]]))[1, 1]
        np.float32(5.0)
    """
    low_1, middle_1, high_1 = sort_3(z[-1, -1], z[0, -1], z[1, -1])
    low_2, middle_2, high_2 = sort_3(z[-1, 0], z[0, 0], z[1, 0])
    low_3, middle_3, high_3 = sort_3(z[-1, 1], z[0, 1], z[1, 1])
    low = max(low_1, low_2, low_3)
    _, middle, _ = sort_3(middle_1, middle_2, middle_3)
    high = min(high_1, high_2, high_3)
    _, median, _ = sort_3(low, middle, high)
    return median


@tj.focal(unit="input")
def median_5x5(z):
    """Median of the 5x5 window.

    A selection network: no branch, no array. With the columns sorted and then the rows, every cell is at
    least as large as those above and to the left. Only three diagonals can then hold the median, each known
    to rank close to
    it: it is the median of the largest on the diagonal above, the median of the long one, and the smallest on
        the
    one below.

    Args:
        z: Any quantity.

    Returns:
        The thirteenth smallest of the 25 cells, in the unit of `z`.

    Source:
        The idea of `median_3x3` carried to 25 values; a test proves it over all 2**25 inputs of zeros and
        ones, which is enough (the 0-1 principle: Knuth, TAOCP 3, section 5.3.4, theorem Z).

    Example:
        >>> import numpy as np
        >>> median_5x5(np.arange(25, dtype=np.float32).reshape(5, 5))[2, 2]
        np.float32(12.0)
    """
    a1, b1, c1, d1, e1 = sort_5(z[-2, -2], z[-1, -2], z[0, -2], z[1, -2], z[2, -2])
    a2, b2, c2, d2, e2 = sort_5(z[-2, -1], z[-1, -1], z[0, -1], z[1, -1], z[2, -1])
    a3, b3, c3, d3, e3 = sort_5(z[-2, 0], z[-1, 0], z[0, 0], z[1, 0], z[2, 0])
    a4, b4, c4, d4, e4 = sort_5(z[-2, 1], z[-1, 1], z[0, 1], z[1, 1], z[2, 1])
    a5, b5, c5, d5, e5 = sort_5(z[-2, 2], z[-1, 2], z[0, 2], z[1, 2], z[2, 2])

    _, _, _, a4, a5 = sort_5(a1, a2, a3, a4, a5)
    _, _, b3, b4, b5 = sort_5(b1, b2, b3, b4, b5)
    _, c2, c3, c4, _ = sort_5(c1, c2, c3, c4, c5)
    d1, d2, d3, _, _ = sort_5(d1, d2, d3, d4, d5)
    e1, e2, _, _, _ = sort_5(e1, e2, e3, e4, e5)

    low = max(a4, b3, c2, d1)
    _, _, middle, _, _ = sort_5(a5, b4, c3, d2, e1)
    high = min(b5, c4, d3, e2)
    _, median, _ = sort_3(low, middle, high)
    return median


@tj.focal(unit="input")
def gaussian(z, *, sigma=1.0):
    """Gaussian smoothing in a 7x7 window.

    The window ends three cells from the centre: all but 0.05 % of the weights along an axis for `sigma` = 1,
    all but 2 % for 1.5. For much larger ones it is no Gaussian any more, its weights being nearly equal.

    Args:
        z: Any quantity.
        sigma: Standard deviation of the weights in cells, above 0, up to about 1.5.

    Returns:
        Weighted mean, in the unit of `z`.

    Source:
        Weights exp(-d² / (2 sigma²)) along rows and along columns, divided by their sum;
        ``scipy.ndimage.gaussian_filter(z, sigma, radius=3)``.

    Example:
        >>> import numpy as np
        >>> impulse = np.zeros((7, 7), np.float32)
        >>> impulse[3, 3] = 100.0
        >>> gaussian(impulse, sigma=1.0)[3, 3].round(2)
        np.float32(15.92)
    """
    w1 = math.exp(-0.5 / (sigma * sigma))
    w2 = math.exp(-2.0 / (sigma * sigma))
    w3 = math.exp(-4.5 / (sigma * sigma))
    total = 0.0
    for dx in range(-3, 4):
        near = z[0, dx] + w1 * (z[-1, dx] + z[1, dx])
        far = w2 * (z[-2, dx] + z[2, dx]) + w3 * (z[-3, dx] + z[3, dx])
        weight = 1.0 if dx == 0 else w1 if dx * dx == 1 else w2 if dx * dx == 4 else w3
        total += weight * (near + far)
    weights = 1.0 + 2.0 * (w1 + w2 + w3)
    return total / (weights * weights)


@tj.focal
def sobel(z):
    """Sobel's edge strength: the length of the smoothed differences across the 3x3 window.

    Args:
        z: Any quantity.

    Returns:
        Eight times the gradient for each cell, in the unit of `z`, from 0.

    Source:
        Sobel, I., Feldman, G. (1968). A 3x3 isotropic gradient operator for image processing; the root of the
        summed squares of ``scipy.ndimage.sobel`` along both axes.

    Example:
        >>> import numpy as np
        >>> sobel(np.float32([[0, 0, 1], [0, 0, 1], [0, 0, 1]]))[1, 1]
        np.float32(4.0)
    """
    across = (z[-1, 1] - z[-1, -1]) + 2.0 * (z[0, 1] - z[0, -1]) + (z[1, 1] - z[1, -1])
    down = (z[1, -1] - z[-1, -1]) + 2.0 * (z[1, 0] - z[-1, 0]) + (z[1, 1] - z[-1, 1])
    return math.hypot(across, down)


@tj.focal
def laplacian(z):
    """Laplacian: the four direct neighbours' sum less four times the centre.

    Args:
        z: Any quantity.

    Returns:
        Second difference for each cell, in the unit of `z`: positive in hollows, negative on humps.

    Source:
        The five-point stencil, e.g. Abramowitz, M., Stegun, I. A. (1964). Handbook of mathematical functions,
        25.3.30; ``scipy.ndimage.laplace``.

    Example:
        >>> import numpy as np
        >>> laplacian(np.float32([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))[1, 1]
        np.float32(4.0)
    """
    vertical = (z[-1, 0] - z[0, 0]) + (z[1, 0] - z[0, 0])
    horizontal = (z[0, -1] - z[0, 0]) + (z[0, 1] - z[0, 0])
    return vertical + horizontal
