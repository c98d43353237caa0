"""Functions of ``math`` and NumPy that are written in the language itself, and compiled as a helper of yours is.

They give what Python and NumPy give, in the compute dtype. Those over arrays take local arrays, tuples and tables.
"""

from __future__ import annotations

import math
import operator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.arrays import arrays
from tilejit.compiler.syntax.written_rows import det, norm, solve

if TYPE_CHECKING:
    from collections.abc import Callable

_BIG, _SMALL = 2.0**60, 2.0**-60
_LARGEST = 3.4028234663852886e38  # that float32 holds


def cbrt(x: Any) -> Any:
    if x == 0 or not math.isfinite(x):
        return x + 0.0
    size = abs(x)
    root = math.pow(size, 1 / 3)
    root = root - (root * root * root - size) / (3.0 * root * root)
    return math.copysign(root, x)


def frexp(x: Any) -> Any:
    part, power = x + 0.0, 0
    if part == 0 or not math.isfinite(part):
        return part, 0
    while abs(part) >= _BIG:
        part *= _SMALL
        power += 60
    while abs(part) < _SMALL:
        part *= _BIG
        power -= 60
    while abs(part) >= 1.0:
        part *= 0.5
        power += 1
    while abs(part) < 0.5:
        part *= 2.0
        power -= 1
    return part, power


def ldexp(x: Any, i: Any) -> Any:
    scaled, left = x + 0.0, min(max(i | 0, -2400), 2400)
    while left >= 60:
        scaled *= _BIG
        left -= 60
    while left <= -60:
        scaled *= _SMALL
        left += 60
    for _ in range(abs(left)):
        scaled *= 2.0 if left > 0 else 0.5
    return scaled


def divided(a: Any, b: Any) -> Any:
    return a // b, a % b


def gcd(a: Any, b: Any) -> Any:
    x, y = abs(a | 0), abs(b | 0)
    while y != 0:
        x, y = y, x % y
    return x


def lcm(a: Any, b: Any) -> Any:
    common = gcd(a, b)
    return abs(a // common * b) if common != 0 else 0


def isqrt(n: Any) -> Any:
    root, lower = n | 0, (n + 1) // 2
    while lower < root:
        root, lower = lower, (lower + n // lower) // 2
    return root if n >= 0 else int(math.nan)


def factorial(n: Any) -> Any:
    product = 1
    for k in range(2, (n | 0) + 1):
        product *= k
    return product if n >= 0 else int(math.nan)


def comb(n: Any, k: Any) -> Any:
    chosen, fewer = 1, min(k | 0, n - k | 0)
    for j in range(fewer):
        chosen = chosen * (n - j) // (j + 1)
    return chosen if fewer >= 0 else 0


def perm(n: Any, k: Any) -> Any:
    orders = 1
    for j in range(k | 0):
        orders *= n - j | 0
    return orders if 0 <= k <= n else 0


def remainder(x: Any, y: Any) -> Any:
    if math.isinf(y) and math.isfinite(x):
        return x + 0.0
    size, by = abs(x + 0.0), abs(y + 0.0)
    part = math.fmod(size, by)
    rest = by - part
    if part > rest:
        part = -rest
    elif part == rest:
        part = part - 2.0 * math.fmod(0.5 * (size - part), by)
    return math.copysign(1.0, x) * part


def isclose(a: Any, b: Any, *, rel_tol: float = 1e-09, abs_tol: float = 0.0) -> Any:
    between = abs(a - b)
    return a == b or (between <= max(rel_tol * max(abs(a), abs(b)), abs_tol) and math.isfinite(between))


def _isclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    is_near = math.isfinite(b) and abs(a - b) <= atol + rtol * abs(b)
    return is_near or a == b or (equal_nan and a != a and b != b)


def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: float = math.nan, neginf: float = math.nan) -> Any:
    most = 1.7976931348623157e308
    if not math.isfinite(most):
        most = _LARGEST
    if x != x:
        return nan
    if x == math.inf:
        return posinf if posinf == posinf else most
    if x == -math.inf:
        return neginf if neginf == neginf else -most
    return x


def sinc(x: Any) -> Any:
    angle = math.pi * (x if x != 0 else 1e-20)
    return math.sin(angle) / angle


def logaddexp(x1: Any, x2: Any) -> Any:
    if x1 == x2:
        return x1 + math.log(2.0)
    return np.maximum(x1, x2) + math.log1p(math.exp(-abs(x1 - x2)))


def logaddexp2(x1: Any, x2: Any) -> Any:
    if x1 == x2:
        return x1 + 1.0
    return np.maximum(x1, x2) + math.log1p(2.0 ** -abs(x1 - x2)) / math.log(2.0)


def signbit(x: Any) -> Any:
    return math.copysign(1.0, x) < 0


def bitwise_count(x: Any) -> Any:
    left, count = abs(x | 0), 0
    while left != 0:
        left, count = left & (left - 1), count + 1
    return count


def interp(x: Any, xp: Any, fp: Any) -> Any:
    if x != x:
        return x + 0.0
    if x >= xp[len(xp) - 1]:
        return fp[len(xp) - 1] + 0.0
    last = 0
    for k in range(1, len(xp)):
        last = k - 1 if xp[k - 1] <= x else last
    if x < xp[0]:
        return fp[0] + 0.0
    return (fp[last + 1] - fp[last]) / (xp[last + 1] - xp[last]) * (x - xp[last]) + fp[last]


def digitize(x: Any, bins: Any) -> Any:
    if bins[0] > bins[len(bins) - 1]:
        return sum(1 for v in bins if not x >= v)
    return sum(1 for v in bins if not x < v)


def searchsorted(a: Any, v: Any) -> Any:
    return sum(1 for w in a if not v <= w)


def polyval(p: Any, x: Any) -> Any:
    value = p[0] + 0 * x
    for k in range(1, len(p)):
        value = value * x + p[k]
    return value


def mean(a: Any) -> Any:
    return sum(a) / len(a)


def var(a: Any, ddof: int = 0) -> Any:
    middle = sum(a) / len(a)
    return sum((v - middle) ** 2 for v in a) / (len(a) - ddof)


def std(a: Any, ddof: int = 0) -> Any:
    return math.sqrt(var(a, ddof))


def total(a: Any) -> Any:
    return sum(a)


def some(a: Any) -> Any:
    return any(v != 0 for v in a)


def every(a: Any) -> Any:
    return all(v != 0 for v in a)


def prod(a: Any) -> Any:
    product = 1
    for v in a:
        product = product * v
    return product


def largest(a: Any) -> Any:
    most = a[0]
    for v in a:
        most = np.maximum(most, v)
    return most


def smallest(a: Any) -> Any:
    least = a[0]
    for v in a:
        least = np.minimum(least, v)
    return least


def nanmax(a: Any) -> Any:
    most = a[0]
    for v in a:
        most = np.fmax(most, v)
    return most


def nanmin(a: Any) -> Any:
    least = a[0]
    for v in a:
        least = np.fmin(least, v)
    return least


def nansum(a: Any) -> Any:
    return sum((v if v == v else 0.0) for v in a)


def nanmean(a: Any) -> Any:
    return nansum(a) / sum((1 if v == v else 0) for v in a)


def ptp(a: Any) -> Any:
    return largest(a) - smallest(a)


def argmax(a: Any) -> Any:
    most, place = a[0], 0
    for k, v in enumerate(a):
        if (v > most or v != v) and most == most:
            most, place = v, k
    return place


def argmin(a: Any) -> Any:
    least, place = a[0], 0
    for k, v in enumerate(a):
        if (v < least or v != v) and least == least:
            least, place = v, k
    return place


def dot(a: Any, b: Any) -> Any:
    return sum(v * w for v, w in zip(a, b, strict=True))


def median(a: Any) -> Any:
    return arrays.median(a, len(a)) if len(a) > 0 else math.nan


def percentile(a: Any, q: Any) -> Any:
    return arrays.percentile(a, len(a), q)


def quantile(a: Any, q: Any) -> Any:
    return arrays.percentile(a, len(a), q * 100)


def count_nonzero(a: Any) -> Any:
    return sum(1 for v in a if v != 0)


def trapezoid(a: Any) -> Any:
    return sum((a[k] + a[k - 1]) / 2 for k in range(1, len(a)))


_NUMBERS: dict[Callable[..., Any], tuple[str, ...]] = {
    cbrt: ("math.cbrt", "np.cbrt"), frexp: ("math.frexp", "np.frexp"), ldexp: ("math.ldexp", "np.ldexp"),
    divided: ("np.divmod",), gcd: ("math.gcd", "np.gcd"), lcm: ("math.lcm", "np.lcm"), isqrt: ("math.isqrt",),
    factorial: ("math.factorial",),
    comb: ("math.comb",), perm: ("math.perm",), remainder: ("math.remainder",), isclose: ("math.isclose",),
    _isclose: ("np.isclose",), sinc: ("np.sinc",), logaddexp: ("np.logaddexp",), logaddexp2: ("np.logaddexp2",),
    digitize: ("np.digitize",), searchsorted: ("np.searchsorted",), polyval: ("np.polyval",),
    nan_to_num: ("np.nan_to_num",), signbit: ("np.signbit",), bitwise_count: ("np.bitwise_count",),
}  # fmt: skip
_OVER_ARRAYS: dict[Callable[..., Any], tuple[str, ...]] = {
    total: ("np.sum",), some: ("np.any",), every: ("np.all",), mean: ("np.mean", "np.average"),
    var: ("np.var",), std: ("np.std",), prod: ("np.prod", "math.prod"),
    largest: ("np.max", "np.amax"), smallest: ("np.min", "np.amin"), nanmax: ("np.nanmax",), nanmin: ("np.nanmin",),
    nansum: ("np.nansum",), nanmean: ("np.nanmean",), ptp: ("np.ptp",), argmax: ("np.argmax",), argmin: ("np.argmin",),
    dot: ("np.dot", "np.vdot", "np.inner"), median: ("np.median",), percentile: ("np.percentile",),
    quantile: ("np.quantile",), count_nonzero: ("np.count_nonzero",), norm: ("np.linalg.norm",),
    trapezoid: ("np.trapezoid",),
}  # fmt: skip


def _by_identity(table: dict[Callable[..., Any], tuple[str, ...]]) -> dict[int, Callable[..., Any]]:
    pairs = ((operator.attrgetter(name), own) for own, names in table.items() for name in names)
    modules = SimpleNamespace(math=math, np=np)
    return {id(find(modules)): own for find, own in pairs}


OVER_ARRAYS = _by_identity(_OVER_ARRAYS)
"""Those that go over all elements of their first argument, by the identity of the function that they stand for."""
OF_ROWS = _by_identity({det: ("np.linalg.det",), solve: ("np.linalg.solve",)})
"""Those of arrays of two dimensions."""
WRITTEN = {**_by_identity(_NUMBERS), id(np.interp): interp, **OVER_ARRAYS, **OF_ROWS}
"""All of them."""
