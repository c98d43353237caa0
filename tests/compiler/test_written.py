"""Functions of math and NumPy that are written in the language, and what has one kind in all cases."""

import math

import numpy as np
import pytest

import tilejit as tj

pytestmark = pytest.mark.slow

XP, FP = (0.0, 1.0, 2.5, 4.0), (10.0, 20.0, 15.0, 0.0)
SHAPE = (9, 12)


@tj.local
def of_floats(a, b):
    m, e = math.frexp(a)
    q, r = np.divmod(a, b)
    part, whole = np.modf(a)
    near = math.isclose(a, b, rel_tol=0.5), np.isclose(a, b, 0.1), np.signbit(a), np.isposinf(a)
    x, y = np.nan_to_num(a), np.nan_to_num(a, nan=-1.0, posinf=7.0)
    close, bright, signed, infinite = near
    return (m, e, q, r, part, whole, math.ldexp(m, e), np.ldexp(b, 3), np.cbrt(a), math.remainder(a, b), x, y,
            np.sinc(a), np.logaddexp(a, b), np.logaddexp2(a, b), np.interp(a, XP, FP), math.exp2(a), np.reciprocal(a),
            close, bright, signed, infinite)  # fmt: skip


@tj.local
def of_integers(u: np.int16, v: np.int16):
    return (math.gcd(u, v), np.lcm(u, v), math.isqrt(u), math.factorial(u % 12), math.comb(u % 20, v % 20),
            math.perm(u % 10, v % 10), np.bitwise_count(u))  # fmt: skip


@tj.local
def over_arrays(a, b, c):
    h, t = [a, b, c, 1], (a, b, c)
    return (np.mean(t), np.var(h), np.std(h), np.prod(t), np.max(h), np.min(h), np.nanmax(t), np.nanmin(t), np.nansum(t),
            np.nanmean(t), np.ptp(t), np.argmax(h), np.argmin(h), np.dot(h, FP),
            np.median(h), np.percentile(h, 30), np.sum(h), np.any(t), np.all(h), np.mean(FP))  # fmt: skip


GAINS = {"red": 0.5, "nir": 2.0}
BINS, DOWN = (0.0, 0.5, 1.0), np.array([1.0, 0.5, 0.0])


@tj.focal
def neighbours(z):
    """Comprehensions of which the text tells what they take, and generators over offsets."""
    most = max(z[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0))
    ring = [z[dy, dx] for dy in range(-1, 2) for dx in range(-1, 2) if dy or dx]
    higher = sum(1 for dy in (-1, 0, 1) for dx in (-1, 0, 1) if z[dy, dx] > z[0, 0])
    weighted = sum(w * z[p, 0] for p, w in ((-1, 0.5), (1, 2.0)) if z[p, 0] > 0)
    for a in (1.0, z[0, 0], 3.0):
        weighted += sum(q * a for q in BINS if q < a)
    return most, sum(ring) / len(ring), higher, weighted


@tj.local
def named(z):
    k, total = int(z * 4), 0.0
    h = np.array([z, z + 1, 2])
    for i, v in enumerate([z, z * 2], start=1):
        total += i * v
    for i, v in enumerate(BINS, 2):
        total += i * v
    rounded = round(z, ndigits=2) + np.round(z, decimals=1) + np.clip(z, a_min=0.2, a_max=0.5)
    return (GAINS["nir"] * z, np.digitize(z, BINS), np.digitize(z, DOWN), np.searchsorted(BINS, z), math.hypot(z, 1, 2),
            np.polyval([1.0, 2.0, 3.0], z), rounded, k in [1, 2], k in {3, 5}, h[1], total, (z, 1.0)[z > 0.5])  # fmt: skip


KEYED = {1: 2.5, 2: 1.0}


def chosen_of(t, k):
    return 7 // (t[k] % 2)


def halved(v):
    if v > 0.5:
        return v
    return 0


@tj.local
def of_one_kind(z):
    """An integer in one case that is a float in another is one in all: 3 % 0.0 is NaN, and 3 % 0 is 0."""
    n = int(z * 4)
    total, chosen, large = 0, 0, 16777217
    for _ in range(n):
        total += 0.5
    if n > 1:
        chosen = z
        large = z
    last = 0.0
    for w in (0, z):
        last += 5 % w
    mixed = (1, 0, z)[n % 3] + chosen_of((z, 2), n % 2)
    last += 3 % KEYED.get(n, 0)
    return (3 % sum(z for _ in range(n)), 3 % total, 3 % (z if z > 0.5 else 0), 1.0 / -total, 3 % halved(z), 3 % chosen,
            7 // (total or 0), 3 % mixed, last, large - 16777216.0, 1.0 / -(n and z))  # fmt: skip


def floats(seed):
    rng = np.random.default_rng(seed)
    found = rng.normal(size=SHAPE) * 10.0 ** rng.integers(-3, 4, SHAPE)
    found[0, :6] = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0]
    return found


A, B, C = floats(1), np.roll(floats(2), 3, 1), np.roll(floats(3), 6, 1)
U, V = np.random.default_rng(4).integers(0, 300, (2, *SHAPE)).astype(np.int16)


def same(kernel, *inputs):
    """The results, which have the bits of interpreted ones."""
    found = kernel(*inputs)
    for k, (one, two) in enumerate(zip(found, kernel(*inputs, backend="python"), strict=True)):
        np.testing.assert_array_equal(one, two, str(k))
        if one.dtype.kind == "f":
            held = ~np.isnan(one)
            np.testing.assert_array_equal(np.signbit(one)[held], np.signbit(two)[held], str(k))
    return found


def near(found, wanted, rtol=1e-13):
    with np.errstate(all="ignore"):
        for k, (one, two) in enumerate(zip(found, wanted, strict=True)):
            valid = ~(np.isnan(A) | np.isnan(B) | np.isnan(C))
            np.testing.assert_allclose(np.float64(one)[valid], np.float64(two)[valid], rtol=rtol, err_msg=str(k))


def test_functions_of_floats():
    found = same(of_floats, A, B)
    same(of_floats, A.astype(np.float32), B.astype(np.float32))
    with np.errstate(all="ignore"):
        m, e = np.frexp(A)
        apart = np.vectorize(lambda p, q: math.remainder(p, q) if math.isfinite(p) and q else math.nan)(A, B)
        close = np.vectorize(lambda p, q: math.isclose(p, q, rel_tol=0.5))(A, B)
        near(found, (
            m, e, *np.divmod(A, B), *np.modf(A), A, np.ldexp(B, 3), np.cbrt(A), apart, np.nan_to_num(A),
            np.nan_to_num(A, nan=-1, posinf=7), np.sinc(A), np.logaddexp(A, B), np.logaddexp2(A, B), np.interp(A, XP, FP),
            np.exp2(A), 1 / A, close, np.isclose(A, B, 0.1), np.signbit(A), np.isposinf(A),
        ))  # fmt: skip


def test_functions_of_integers():
    def each(function, *arrays):
        return np.vectorize(lambda *values: function(*map(int, values)))(*arrays)

    wide = U.astype(int), V.astype(int)
    for k, (one, two) in enumerate(zip(same(of_integers, U, V), (
        np.gcd(*wide), np.lcm(*wide), each(math.isqrt, U), each(math.factorial, U % 12), each(math.comb, U % 20, V % 20),
        each(math.perm, U % 10, V % 10), np.bitwise_count(U),
    ), strict=True)):  # fmt: skip
        np.testing.assert_array_equal(one, two, str(k))


def test_functions_over_arrays():
    found = same(over_arrays, A, B, C)
    with np.errstate(all="ignore"):
        t, h = np.array([A, B, C]), np.array([A, B, C, np.ones(SHAPE)])
        near(found, (
            t.mean(0), h.var(0), h.std(0), t.prod(0), h.max(0), h.min(0), np.nanmax(t, 0), np.nanmin(t, 0), t.sum(0),
            t.mean(0), np.ptp(t, 0), h.argmax(0), h.argmin(0), 10 * A + 20 * B + 15 * C, np.median(h, 0),
            np.percentile(h, 30, axis=0), h.sum(0), t.any(0), h.all(0), np.full(SHAPE, 11.25),
        ), 1e-11)  # fmt: skip


def test_what_scientists_write():
    z = np.random.default_rng(6).random(SHAPE)
    z[1, 1], z[2, 2] = 0.5, 1.0
    around = np.array([z[i : i - 2 or None, j : j - 2 or None] for i in range(3) for j in range(3) if (i, j) != (1, 1)])
    most, mean, higher, _ = (r[1:-1, 1:-1] for r in same(neighbours, z))
    np.testing.assert_array_equal(most, around.max(0))
    np.testing.assert_allclose(mean, around.mean(0), rtol=1e-14)
    np.testing.assert_array_equal(higher, (around > z[1:-1, 1:-1]).sum(0))
    found = same(named, z)
    wanted = 2 * z, np.digitize(z, BINS), np.digitize(z, DOWN), np.searchsorted(BINS, z), np.sqrt(z**2 + 5)
    for one, two in zip(found, (*wanted, np.polyval([1, 2, 3], z)), strict=False):
        np.testing.assert_allclose(one, two, rtol=1e-14)
    np.testing.assert_allclose(found[6], np.round(z, 2) + np.round(z, 1) + np.clip(z, 0.2, 0.5), rtol=1e-14)
    np.testing.assert_allclose(found[10], 1 * z + 2 * 2 * z + 3 * 0.5 + 4 * 1.0, rtol=1e-14)


def test_what_is_a_float_in_one_case_is_one_in_all():
    found = same(of_one_kind, np.random.default_rng(5).random(SHAPE).astype(np.float32))
    assert np.isnan(found[1]).any()
    assert np.isneginf(found[3]).any()


@tj.local
def of_c(z):
    return (math.gamma(z), math.lgamma(z), math.log10(z), math.log1p(z), math.expm1(z), math.log2(z), math.asin(z),
            math.acos(z), math.sinh(z), math.cosh(z), math.tanh(z), math.asinh(z), math.atanh(z), math.tan(z), math.erf(z),
            math.erfc(z), math.acosh(z))  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_the_c_library(dtype):
    z = np.random.default_rng(8).uniform(-0.2, 1.2, (20, 30)).astype(dtype)
    z[0, :4] = [0, -0.0, np.inf, np.nan]
    same(of_c, z)
