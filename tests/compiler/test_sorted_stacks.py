"""Arrays of a pixel's dates: those of a row's pixels lie beside each other, and are sorted together."""

import math

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import bits
from tilejit.compiler.emitter.interchange import interchanged
from tilejit.compiler.jit.native_function import NativeFunction
from tilejit.compiler.jit.sorting import TOGETHER

pytestmark = pytest.mark.slow

LAYERS, SHAPE = 37, (1, 530)  # a row of two pieces, of 512 and 18 pixels


@tj.local(nodata="kernel")
def quarters(t: tj.Stack, qa: tj.Stack[np.uint8], *, shift: int = 7, col=tj.COL):
    a, h, n = tj.zeros(40), tj.zeros(40, dtype=int), 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            a[n] = t[k]
            n += 1
        h[k] = qa[k] - shift
    a[39] = -1.0  # stays where it is
    tj.sort(a, n)
    tj.sort(h)
    h[0] += 300
    tj.sort(h, n)
    return a[n // 4], a[n // 2], a[39], h[0] + 2 * h[39] + 1000 * col, math.copysign(1.0, a[0])


@tj.local(nodata="kernel")
def sorted_alone(t: tj.Stack):
    a = tj.zeros(40)
    for k in range(len(t)):
        a[k] = t[k]
    if a[0] > 0:
        tj.sort(a)
    return a[12]


def stacks(dtype=np.float32):
    """Values of which some are equal, zeros of both signs, infinite or missing."""
    rng = np.random.default_rng(3)
    t = rng.integers(-3, 4, (LAYERS, *SHAPE)).astype(dtype) * rng.choice([1, -1], (LAYERS, *SHAPE))
    t[rng.random(t.shape) < 0.3] = np.nan
    t[rng.random(t.shape) < 0.05] = np.inf
    t[:, 0, 0], t[:, 0, 1], t[:, 0, 2] = np.nan, -0.0, -np.inf
    return t, rng.integers(0, 256, t.shape).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_beside_each_other_have_the_bits_of_a_pixel_alone(dtype):
    given = stacks(dtype)
    nest = interchanged(quarters, quarters.form)
    assert [sort.array.name for sort in nest.sorts] == ["a", "h", "h"]
    expected = quarters(*given, backend="python")
    ways = [quarters(*given, backend="cpu")]
    if dtype is np.float32:
        bands = quarters(*map(tj.from_array, given)).read()
        ways.append([band.astype(one.dtype) for band, one in zip(bands, expected, strict=True)])
    for found in ways:
        assert all(map(np.array_equal, map(bits, found), map(bits, expected)))
    t = np.sort(given[0], axis=0)
    n = np.isfinite(given[0]).sum(0) + np.isinf(given[0]).sum(0)
    middle = np.take_along_axis(t, n[np.newaxis] // 2, 0)[0]
    assert np.array_equal(expected[1][n > 0], middle[n > 0])


def test_what_one_pixel_sorts_and_another_does_not_goes_pixel_by_pixel():
    t, _ = stacks()
    assert interchanged(sorted_alone, sorted_alone.form) is None
    assert np.array_equal(bits(sorted_alone(t)), bits(sorted_alone(t, backend="python")))


@pytest.fixture(scope="module")
def sort():
    """What modules sort with."""
    text = """
def sorted_together(array, keys, counts, pixels, lanes):
    _sort_by_lanes(array, keys, counts, pixels, lanes)
"""
    return NativeFunction(text, "sorted_together", "sorted_together")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 33, 64, 200, 257])
def test_elements_beyond_the_number_stay(sort, size, dtype):
    rng = np.random.default_rng(size)
    a = (rng.normal(size=(size, 64)) * 9).astype(dtype)
    if dtype is not np.int64:
        a[rng.random(a.shape) < 0.4] = np.nan
        a[rng.random(a.shape) < 0.1] = np.inf
        a[:: 3 if size > 33 else size + 1] = np.nan  # no pixel has one there
    counts = rng.integers(0, size + 1, 64)
    found = a.copy().reshape(-1)
    keys = np.full(
        (-(-size // TOGETHER) * TOGETHER + 1) * 64 // a.itemsize, np.nan if dtype is not np.int64 else -1, dtype
    )
    sort(found, keys, counts[:60], 60, 64)
    for x, n in enumerate(counts):
        sorted_first = np.concatenate([np.sort(a[:n, x]), a[n:, x]]) if x < 60 else a[:, x]
        assert np.array_equal(found.reshape(size, 64)[:, x], sorted_first, equal_nan=dtype is not np.int64)


def swapped(a, i, j):
    held = [a[i], a[j]]
    tj.sort(held)
    a[i], a[j] = last_of(held), held[0]


def last_of(a):
    return a[len(a) - 1]


@tj.focal(nodata="kernel", edge="nearest")
def handed_on(t: tj.Stack, *, col=tj.COL):
    a = tj.zeros(len(t))
    for k in range(len(t)):
        a[k] = t[k, 0, 1]
    tj.sort(a)
    swapped(a, 3, 4)
    return a[3] + 2 * a[4] + col, last_of(a), tj.percentile(a, 9, 40)


def test_helpers_are_given_arrays_beside_each_other_and_have_their_own():
    t, _ = stacks()
    sized = handed_on.for_layers([LAYERS])
    assert [helper.name for helper in interchanged(sized, sized.form).helpers]
    for found, expected in zip(handed_on(t), handed_on(t, backend="python"), strict=True):
        assert np.array_equal(bits(found), bits(expected))
