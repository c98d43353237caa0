"""Functions of lists and arrays that are written in the language itself: see `tilejit.compiler.syntax.written`.

Those of ``COUNTED`` go over the first ``n`` elements.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tilejit.compiler.arrays import arrays


def slot(place: Any, n: Any) -> Any:
    return min(max(place + n if place < 0 else place, 0), n)


def moved_up(a: Any, place: Any, n: Any) -> None:
    for k in range(n - 1, place, -1):
        a[k] = a[k - 1]


def moved_back(a: Any, place: Any, n: Any) -> None:
    first = place + n if place < 0 else place
    for k in range(max(first, 0), n - 1):
        a[k] = a[k + 1]


def turned(a: Any, n: Any) -> None:
    for k in range(n // 2):
        a[k], a[n - 1 - k] = a[n - 1 - k], a[k]


def index_of(a: Any, v: Any, n: Any) -> Any:
    place = n
    for k in range(n):
        place = k if a[k] == v and place == n else place
    return place


def count_of(a: Any, v: Any, n: Any) -> Any:
    return sum(1 for k in range(n) if a[k] == v)


def argsort(a: Any, order: Any) -> None:
    for j in range(1, len(a)):
        for k in range(j, 0, -1):
            if a[k] < a[k - 1] or (a[k] == a[k] and a[k - 1] != a[k - 1]):
                a[k], a[k - 1] = a[k - 1], a[k]
                order[k], order[k - 1] = order[k - 1], order[k]


def total(a: Any, n: Any) -> Any:
    return sum(a[k] for k in range(n))


def mean(a: Any, n: Any) -> Any:
    return total(a, n) / n


def var(a: Any, n: Any, ddof: int = 0) -> Any:
    middle = mean(a, n)
    return sum((a[k] - middle) ** 2 for k in range(n)) / (n - ddof)


def std(a: Any, n: Any, ddof: int = 0) -> Any:
    return math.sqrt(var(a, n, ddof))


def prod(a: Any, n: Any) -> Any:
    product = 1
    for k in range(n):
        product = product * a[k]
    return product


def largest(a: Any, n: Any, first: Any) -> Any:
    most = first
    for k in range(1, n):
        most = max(most, a[k])
    return most


def smallest(a: Any, n: Any, first: Any) -> Any:
    least = first
    for k in range(1, n):
        least = min(least, a[k])
    return least


def maximum(a: Any, n: Any, first: Any) -> Any:
    most = first
    for k in range(1, n):
        most = np.maximum(most, a[k])
    return most


def minimum(a: Any, n: Any, first: Any) -> Any:
    least = first
    for k in range(1, n):
        least = np.minimum(least, a[k])
    return least


def argmax(a: Any, n: Any, first: Any) -> Any:
    most, place = first, 0
    for k in range(1, n):
        is_it = (a[k] > most or a[k] != a[k]) and most == most
        most, place = a[k] if is_it else most, k if is_it else place
    return place


def argmin(a: Any, n: Any, first: Any) -> Any:
    least, place = first, 0
    for k in range(1, n):
        is_it = (a[k] < least or a[k] != a[k]) and least == least
        least, place = a[k] if is_it else least, k if is_it else place
    return place


def some(a: Any, n: Any) -> Any:
    return any(a[k] != 0 for k in range(n))


def every(a: Any, n: Any) -> Any:
    return all(a[k] != 0 for k in range(n))


def median(a: Any, n: Any) -> Any:
    return arrays.median(a, n)


def percentile(a: Any, n: Any, q: Any) -> Any:
    return arrays.percentile(a, n, q)


COUNTED: tuple[tuple[Any, Any], ...] = (
    (sum, total), (np.sum, total), (np.mean, mean), (np.var, var), (np.std, std), (np.prod, prod), (math.prod, prod),
    (max, largest), (min, smallest), (np.max, maximum), (np.min, minimum), (np.argmax, argmax), (np.argmin, argmin),
    (any, some), (all, every), (np.any, some), (np.all, every), (np.median, median), (np.percentile, percentile),
)  # fmt: skip
"""Functions, and what they are of the first elements of an array."""
FIRST = {largest, smallest, maximum, minimum, argmax, argmin}
"""Those that need an element, and are given the first: where there is none, that is an error of the run."""
