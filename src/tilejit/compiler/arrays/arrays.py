"""Local arrays, in plain Python: what bodies call to make, sort and ask them.

In a body an array is memory of the pixel's own, of a length that its text tells. `median` and `percentile` are bodies'
functions themselves, and compiled as a helper of yours is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tilejit.compiler.form.captured import is_valid


def zeros(size: int, dtype: Any = float) -> Any:
    """Makes an array of zeros, of one dimension; inside a body it is the pixel's own, and takes no memory elsewhere.

    Args:
        size: How many elements it has: in a body a literal, or a constant that it captures.
        dtype: float (in a body: what it computes in), int or bool.

    Example:
        >>> zeros(3)
        array([0., 0., 0.])
    """
    return np.zeros(size, dtype)


def sort(a: Any, n: int | None = None) -> None:
    """Sorts the first elements of an array in place; NaN comes last.

    Args:
        a: The array.
        n: How many elements, 0 to all of them; None sorts all.

    Example:
        >>> a = np.array([3.0, 1.0, 2.0, 0.0])
        >>> sort(a, 3)
        >>> a
        array([1., 2., 3., 0.])
    """
    a[:n] = sorted(a[:n], key=lambda v: (v != v, v))  # noqa: PLR0124 - NaN alone differs from itself


def median(a: Any, n: int) -> float:
    """Returns the median of the first elements of an array, as `numpy.median` has it: NaN where one of them is NaN.

    Args:
        a: The array, which stays as it is.
        n: How many elements; of none the median is NaN.

    Example:
        >>> float(median(np.array([3.0, 1.0, 2.0, 0.0]), 3))
        2.0
    """
    held = [a[k] if k < n else math.inf for k in range(len(a))]
    sort(held)
    last, high = held[len(held) - 1], min(max(n // 2, 0), len(held) - 1)
    middle = held[high]
    if n % 2 == 0:
        low = min(max(n // 2 - 1, 0), len(held) - 1)
        middle = (held[low] + middle) / 2
    return middle if n > 0 and last == last else math.nan  # noqa: PLR0124 - NaN alone differs from itself


def percentile(a: Any, n: int, q: float) -> float:
    """Returns a percentile of the first elements of an array, by `numpy.percentile`'s linear definition.

    Args:
        a: The array, which stays as it is.
        n: How many elements; of none there is no percentile, and of NaN neither: it is NaN.
        q: Per cent, 0 to 100; beyond it is NaN.

    Example:
        >>> float(percentile(np.array([3.0, 1.0, 2.0, 0.0]), 3, 25))
        1.5
    """
    held = [a[k] if k < n else math.inf for k in range(len(a))]
    sort(held)
    last, place = held[len(a) - 1], float(q) / 100 * max(n - 1, 0)
    low, high, share = held[0], last, place
    for k in range(len(a) - 1):  # an index that only the run shows would keep the array out of registers
        is_reached = k <= place
        low = held[k] if is_reached else low
        high = held[k + 1] if is_reached else high
        share = place - k if is_reached else share
    low = last if len(a) - 1 <= place else low
    share = 0.0 if len(a) - 1 <= place else share
    step = high - low
    between = low + step * share if share < 0.5 else high - step * (1 - share)
    between = low if share == 0 else between
    return between if n > 0 and last == last and 0 <= q <= 100 else math.nan  # noqa: PLR0124


def window(z: Any, size: int) -> tuple[Any, int]:
    """Returns the valid cells of a window around the pixel as an array, row by row, and how many they are.

    Args:
        z: A raster of a focal body.
        size: Rows and columns of the window: an odd literal, or a constant that the body captures.

    Returns:
        An array of as many elements as the window has cells, of which the first are the valid ones and the others 0.

    Example:
        >>> import tilejit as tj
        >>> @tj.focal
        ... def middle(z):
        ...     values, n = tj.window(z, 3)
        ...     return tj.median(values, n)
        >>> middle(np.float32([[1, 2, 3], [4, 9, 5], [6, 7, 8]]))[1, 1]
        np.float32(5.0)
    """
    reach = range(-(size // 2), size // 2 + 1)
    cells = [z[dy, dx] for dy in reach for dx in reach]
    kept = [cell for cell in cells if is_valid(cell)]
    return np.array([*kept, *[0] * (len(cells) - len(kept))]), len(kept)
