"""Short arrays whose elements data choose: as variables on the CPU, with the bits of the body."""

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import bits
from tilejit.backends import get_backend
from tilejit.compiler.emitter.spread import spread
from tilejit.errors import KernelError

RNG = np.random.default_rng(8)
SHAPE = (9, 21)


@tj.focal
def majority(c: np.uint8) -> np.uint8:
    counts = tj.zeros(5, dtype=int)
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            counts[c[dy, dx]] += 1
    best = 0
    for k in range(1, 5):
        if counts[k] > counts[best]:
            best = k
    return best


@tj.local
def sums(c: np.uint8, z, w):
    """Floats, which are added to and overwritten; the last is read by data."""
    total = tj.zeros(4)
    total[c & 3] += z
    total[(c >> 2) & 3] -= w
    total[1] = total[1] * 2
    total[(c >> 1) & 3] = w
    return total[c & 3] + total[0]


@tj.local
def held(c: np.uint8, z):
    """What is read is used once more after the element was changed."""
    a = [z, z + 1, z + 2]
    k = c % 3
    before = a[k]
    a[k] = before * 2
    return a[0] + 10 * a[1] + 100 * a[2] + before


@tj.local
def from_end(c: np.uint8, z):
    a = [z, z + 1, z + 2]
    return a[(c & 1) - 2]


@tj.local
def ordered(c: np.uint8, z, w):
    """Arrays that are sorted are memory."""
    a = [z, w, z * w]
    tj.sort(a)
    return a[c & 1]


@tj.local
def stepped(c: np.uint8, z):
    """A loop that data end is no vector."""
    a, k = [0.0, 0.0, 0.0, 0.0], int(c)
    while k > 0:
        a[k & 3] += z
        k -= 40
    return a[0] + 2 * a[1] + 3 * a[2] + 4 * a[3]


SPREAD = majority, sums, held, from_end
KEPT = ordered, stepped


@pytest.mark.parametrize("kernel", [*SPREAD, *KEPT], ids=lambda kernel: kernel.name)
def test_bits_are_those_of_the_body(kernel):
    c = RNG.integers(0, 5 if kernel is majority else 256, SHAPE).astype(np.uint8)
    z = RNG.normal(size=(2, *SHAPE)).astype(np.float32)
    z[0, 2, 3], z[1, 4, 5], z[0, 0, 0] = np.nan, np.inf, -0.0
    arrays = [c, *z][: len(kernel.rasters)]
    wanted, found = (kernel(*arrays, backend=backend) for backend in ("python", "cpu"))
    np.testing.assert_array_equal(bits(wanted), bits(found))


@pytest.mark.parametrize("kernel", [*SPREAD, *KEPT], ids=lambda kernel: kernel.name)
def test_arrays_become_variables_where_that_gains(kernel):
    dtypes = [np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float32)][: len(kernel.rasters)]
    source = get_backend("cpu").source(kernel, kernel.signature(dtypes))
    assert ("_array_" in source) is (kernel in KEPT)
    assert (spread(kernel.form) is None) is (kernel in KEPT)


def test_an_element_that_is_not_there_is_told_as_ever():
    with pytest.raises(KernelError, match="has 5 elements"):
        majority(np.full((5, 5), 7, np.uint8), backend="cpu")
