"""Local arrays and tuples: the interpreted body is the definition, and float64 oracles say what kernels compute."""

import math
import warnings

import numpy as np
import pytest

import tilejit as tj
from array_kernels import (
    CLASSES,
    best_pixel,
    drawn,
    entropy,
    grown,
    helped,
    histogram_of,
    lee,
    made,
    majority,
    median_5x5,
    percentile_of_valid,
    read_of_tuple,
    reduced,
    sorted_too_far,
    sorted_values,
    tupled,
    whole,
)
from kernels_for_tests import assert_same_bits, holes
from tilejit.errors import KernelError

pytestmark = pytest.mark.slow

PLANES = {
    "made": (made, 2), "helped": (helped, 2), "tupled": (tupled, 2), "reduced": (reduced, 2),
    "sorted": (sorted_values, 2), "drawn": (drawn, 2), "majority": (majority, 1), "entropy": (entropy, 1),
    "median": (median_5x5, 1), "percentile": (percentile_of_valid, 1), "best pixel": (best_pixel.taking(6), 6), "lee": (lee, 1),
    "whole": (whole, 2), "grown": (grown, 2),
}  # fmt: skip


def arrays_for(kernel, count, dtype=np.float32):
    rng = np.random.default_rng(8)
    dtype = np.uint8 if kernel is majority else dtype
    return [holes(rng, (14, 17), dtype, scale=2.0) for _ in range(count)]


@pytest.mark.parametrize("name", PLANES)
def test_compiled_bodies_have_the_bits_of_interpreted_ones(name):
    assert_same_bits(PLANES[name][0], arrays_for(*PLANES[name]))


def test_bodies_in_float64_have_the_bits_of_interpreted_ones():
    assert_same_bits(sorted_values, arrays_for(sorted_values, 2, np.float64))
    assert_same_bits(percentile_of_valid, arrays_for(percentile_of_valid, 1, np.float64))


# Oracles.


def windows(z, side):
    return np.lib.stride_tricks.sliding_window_view(z, (side, side)).reshape(z.shape[0] - side + 1, -1, side * side)


def inner(z, side):
    reach = side // 2
    return z[reach:-reach, reach:-reach]


def numbers(seed=3, shape=(30, 31)):
    return np.random.default_rng(seed).random(shape)


def test_majority_is_that_of_a_histogram():
    classes = (numbers() * CLASSES).astype(np.uint8)
    expected = [[np.bincount(w, minlength=CLASSES).argmax() for w in row] for row in windows(classes, 3)]
    np.testing.assert_array_equal(inner(majority(classes), 3), expected)


def test_entropy_is_that_of_a_histogram():
    z = numbers()
    shares = np.array([[np.histogram(w, 8, (0, 1))[0] / 25 for w in row] for row in windows(z, 5)])
    expected = -np.sum(shares * np.log2(shares, where=shares > 0, out=np.zeros_like(shares)), -1)
    np.testing.assert_allclose(inner(entropy(z), 5), expected, rtol=1e-12)


def test_medians_and_percentiles_are_numpys():
    z = numbers()
    np.testing.assert_array_equal(inner(median_5x5(z), 5), np.median(windows(z, 5), -1))
    z[numbers(5) < 0.3] = np.nan
    for q in (0, 12.5, 50, 90, 100):
        found, n = percentile_of_valid(z, q=float(q))
        expected = np.array(
            [[np.nanpercentile(w, q) if not np.isnan(w).all() else np.nan for w in row] for row in windows(z, 3)]
        )
        np.testing.assert_array_equal(inner(found, 3), expected)
        np.testing.assert_array_equal(inner(n, 3), (~np.isnan(windows(z, 3))).sum(-1))


def test_a_composite_is_the_median_of_valid_dates():
    dates = [np.where(numbers(k) < 0.3, np.nan, numbers(k + 9)) for k in range(6)]
    found, n = best_pixel(*dates)
    with warnings.catch_warnings(action="ignore"):  # of pixels without a date
        np.testing.assert_array_equal(found, np.nanmedian(dates, 0))
    np.testing.assert_array_equal(n, np.sum(~np.isnan(dates), 0))


def test_lee_is_that_of_local_statistics():
    z = numbers()
    mean, variance = windows(z, 5).mean(-1), windows(z, 5).var(-1)
    expected = mean + variance / (variance + 0.05 * mean**2) * (inner(z, 5) - mean)
    np.testing.assert_allclose(inner(lee(z), 5), expected, rtol=1e-12)


def test_plain_python_does_what_a_body_does():
    z = numbers()
    assert median_5x5.debug(z, 5, 6) == median_5x5(z)[5, 6]
    a = np.array([3.0, np.nan, 1.0, 2.0])
    tj.sort(a, 3)
    np.testing.assert_array_equal(a, [1, 3, np.nan, 2])
    assert math.isnan(tj.median(a, 3))
    assert tj.percentile(a, 2, 25) == 1.5
    assert tj.zeros(2, dtype=int).dtype == np.int64


# An index that lies outside.


@pytest.mark.parametrize("backend", ["python", "cpu"])
@pytest.mark.parametrize(("kernel", "of", "bad"), [
    (histogram_of, "h[int(z)] lies outside the array h, which has 4 elements", 4),
    (histogram_of, "h[int(z)] lies outside the array h, which has 4 elements", -5),
    (read_of_tuple, "t[int(z)] lies outside the tuple t, which has 2 elements", 7),
    (sorted_too_far, "int(z) lies outside the array h, which has 3 elements", 5),
])  # fmt: skip
def test_an_index_outside_ends_the_run(backend, kernel, of, bad):
    z = np.ones((3, 4), np.float32)
    kernel(z, backend=backend)
    z[1, 2] = bad
    with pytest.raises(KernelError) as caught:
        kernel(z, backend=backend)
    message = str(caught.value)
    assert f"{kernel.name}: {of}, at 1 pixel" in message
    assert "^^^" in message


def test_an_index_that_the_text_holds_within_is_not_tested():
    tested = {k for k in (majority, entropy, best_pixel, drawn, histogram_of) if "missing" in k.form.body.notes}
    assert tested == {drawn, histogram_of}


@tj.local(nodata="kernel")
def after_a_sort(x):
    a = [x, x, 1.5]
    tj.sort(a)
    total, whole = a[2] * 2.0 + x, x
    whole = 13
    return total, a[0] - 0.5, round(whole, -1)


def test_what_a_sort_puts_last_and_what_a_variable_of_floats_holds_are_floats():
    x = np.float32([[np.nan, np.inf, -np.inf, 0.1]])
    assert_same_bits(after_a_sort, [x])
    assert np.array_equal(after_a_sort(x, backend="python")[2], [[10, 10, 10, 10]])
