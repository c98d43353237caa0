"""Loops over tables and tuples: Python's own loops are the definition, and NumPy in double precision the oracle."""

import math

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import bits
from tilejit.errors import KernelError

pytestmark = pytest.mark.slow

SHAPE = (12, 14)
RNG = np.random.default_rng(21)
Z = RNG.random(SHAPE).astype(np.float32) * 5
OFFSETS = ((-1, 0), (0, 1), (1, 0), (0, -2))
WEIGHTS = (0.25, 0.5, 1, 2)
AZIMUTHS = np.array([[0, 1], [1, 1], [1, 0], [1, -1], [0, -1], [-1, -1], [-1, 0], [-1, 1]])
PRICES = {1: 5, 3: 7}
RISING, FALLING = (0.0, 0.5, 2.0, 2.5, 7.0, 7.5, 9.0), np.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.25])
CLASSES = [(0.0, 1), (1.0, 2), (2.5, 3), (4.0, 4)]


@tj.focal
def weighted(z):
    total = 0.0
    for dy, dx in OFFSETS:
        total += z[dy, dx]
    for (dy, dx), w in zip(OFFSETS, WEIGHTS, strict=True):
        total += w * z[dy, dx]
    for k in range(len(WEIGHTS)):
        total -= WEIGHTS[k] * z[OFFSETS[k][0], 0]
    return total / len(OFFSETS)


@tj.focal
def sky_view(z, *, dx=1.0):
    """The mean of the squared cosines of the horizons in eight directions, within four cells."""
    total = 0.0
    for sy, sx in AZIMUTHS:
        steepest = 0.0
        for step in range(1, 5):
            rise = (z[sy * step, sx * step] - z[0, 0]) / (step * dx * math.hypot(sy, sx))
            steepest = max(steepest, rise)
        total += 1.0 / (1.0 + steepest * steepest)
    return total / len(AZIMUTHS)


@tj.focal
def first_higher(z, *, limit=4.0):
    """A loop that is left, and so stays a loop: the radius is that of the table all the same."""
    for k, (dy, dx) in enumerate(AZIMUTHS, start=1):
        if z[2 * dy, dx] > limit:
            return k
    return 0


@tj.local
def graded(z):
    """The class of the last threshold that lies below."""
    found = 0
    for at_least, grade in CLASSES:
        if z < at_least:
            break
        found = grade
    return found


@tj.local
def several(z):
    s = 0.0
    for w in reversed(WEIGHTS):
        s = s * z + w
    for code, price in PRICES.items():
        s += code * price * z
    for code in PRICES:
        s -= code
    for v in (z, 2 * z, 3):
        s += v
    for pair in OFFSETS:
        dy, dx = pair
        s += dy * pair[1] + dx
    a, b, c, d = WEIGHTS
    for k, v in enumerate((a, b, c + d)):
        s += k * v
    return s + v


@tj.focal(radius=2)
def moved(z, k: np.uint8):
    dy, dx = OFFSETS[k[0, 0] & 3]
    return z[dy, dx]


def interpolated(curve, x):
    k = min(max(int(x), 0), len(curve) - 2)
    return curve[k] + (x - k) * (curve[k + 1] - curve[k])


@tj.local
def calibrated(z):
    """Two curves through one helper, which goes between their points."""
    return interpolated(RISING, z) - interpolated(FALLING, z)


@tj.focal
def compass(z):
    total = 0.0
    for k in range(AZIMUTHS.shape[0]):
        total += z[AZIMUTHS[k, 0], AZIMUTHS[k, 1]]
    return total


K = RNG.integers(0, 256, SHAPE).astype(np.uint8)
CASES = {
    "offsets and weights": (weighted, Z),
    "rays": (sky_view, Z),
    "a loop that is left": (first_higher, Z),
    "thresholds": (graded, Z),
    "all that is looped over": (several, Z),
    "a row that the data choose": (moved, Z, K),
    "a helper's tables": (calibrated, Z),
    "the shape of an array": (compass, Z),
}


@pytest.mark.parametrize("name", CASES)
def test_compiled_bodies_have_the_bits_of_interpreted_ones(name):
    kernel, *arrays = CASES[name]
    wanted, found = (kernel(*arrays, backend=backend) for backend in ("python", "cpu"))
    assert wanted.dtype == found.dtype
    np.testing.assert_array_equal(bits(wanted), bits(found))


def inner(array, rows, cols):
    return array[rows : SHAPE[0] - rows, cols : SHAPE[1] - cols]


def shifted(rows, cols, dy, dx, array=Z):
    return array.astype(float)[rows + dy : SHAPE[0] - rows + dy, cols + dx : SHAPE[1] - cols + dx]


def test_weighted_sums_are_those_of_numpy():
    wanted = (
        sum((1 + w) * shifted(1, 2, *o) - w * shifted(1, 2, o[0], 0) for o, w in zip(OFFSETS, WEIGHTS, strict=True)) / 4
    )
    np.testing.assert_allclose(inner(weighted(Z), 1, 2), wanted, rtol=1e-5, atol=1e-5)


def test_a_sky_view_factor_is_that_of_numpy():
    rises = [[(shifted(4, 4, y * s, x * s) - shifted(4, 4, 0, 0)) / (s * math.hypot(y, x)) for s in range(1, 5)]
             for y, x in AZIMUTHS]  # fmt: skip
    steepest = np.maximum(np.max(rises, axis=1), 0)
    np.testing.assert_allclose(inner(sky_view(Z), 4, 4), np.mean(1 / (1 + steepest**2), axis=0), rtol=1e-5)


def test_loops_that_are_left_are_those_of_numpy():
    higher = np.array([shifted(2, 1, 2 * y, x) > 4 for y, x in AZIMUTHS])
    wanted = np.where(higher.any(0), higher.argmax(0) + 1, 0)
    np.testing.assert_array_equal(inner(first_higher(Z), 2, 1), wanted)
    np.testing.assert_array_equal(graded(Z), np.digitize(Z, [t for t, _ in CLASSES]))


def test_a_row_that_the_data_choose_is_that_of_numpy():
    wanted = np.choose(inner(K, 2, 2) & 3, [shifted(2, 2, *o) for o in OFFSETS])
    np.testing.assert_array_equal(inner(moved(Z, K), 2, 2), wanted.astype(np.float32))
    assert "outside" not in moved.form.body.notes


def test_tables_of_a_helper_are_those_of_its_calls():
    wanted = np.interp(Z, range(7), RISING) - np.interp(Z, range(6), FALLING)
    np.testing.assert_allclose(calibrated(Z), wanted, rtol=1e-5, atol=1e-6)
    assert "outside" not in calibrated.form.body.notes


def test_the_radius_is_read_from_the_table():
    assert (weighted.radius, sky_view.radius, first_higher.radius) == ((1, 2), (4, 4), (2, 1))


def test_short_loops_are_written_out_and_long_ones_are_not():
    assert not weighted.form.tables
    assert [t.name for t in graded.form.tables] == ["CLASSES", "CLASSES_2"]


def refused(body):
    with pytest.raises(KernelError) as error:
        _ = body.form
    return str(error.value)


def test_variables_that_do_not_fit_are_refused():
    @tj.local
    def three(z):
        for a, b, c in OFFSETS:
            z += a + b + c
        return z

    @tj.local
    def two(z):
        for a, b in WEIGHTS:
            z += a + b
        return z

    @tj.local
    def unlike(z):
        for (a, _b), w in zip(OFFSETS, (1, 2), strict=True):
            z += a * w
        return z

    assert "2 values for 3 variables" in refused(three)
    assert "an item of this loop for (a, b), which is one number" in refused(two)
    assert "zip over 4 and 2 elements" in refused(unlike)
