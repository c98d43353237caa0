"""Windows that are not written out: a row of pixels goes through their cells together."""

import math

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import bits, holes
from tilejit.compiler.emitter.interchange import interchanged
from tilejit.compiler.emitter.nest import Branch, Loop, Once

pytestmark = pytest.mark.slow


@tj.focal(radius=4, edge="nearest")
def disc(z, w, *, r: int = 3, sigma=1.5):
    """A weighted mean within a disc, and the largest cell of another raster around it."""
    total = weights = 0.0
    most = -math.inf
    spread = 2 * sigma * sigma
    for dy in range(-r, r + 1):
        reach = r * r - dy * dy
        for dx in range(-r, r + 1):
            if dx * dx <= reach:
                weight = math.exp(-(dy * dy + dx * dx) / spread)
                total += weight * z[dy, dx]
                weights += weight
            else:
                most = max(most, w[dy, dx])
    return total / weights, most


@tj.focal(radius=2)
def alike(c: np.uint8, z, *, r: int = 2, by_row: bool = True):
    """How many cells are of the pixel's class, and what they have in a raster; the center is left out."""
    n, total = 0, 0.0
    for dy in range(-r, r + 1):
        for dx in range(-r, r + 1):
            skips = dy == 0 and dx == 0
            if not skips and c[dy, dx] == c[0, 0]:
                n += 1
                total += z[dy, dx] * (dy if by_row else dx)
    return n, total


@tj.focal(radius=3, nodata="kernel")
def first_rise(z, *, r: int = 3):
    """Leaves its loop, so that each pixel goes its own way."""
    at = 0
    for k in range(1, r + 1):
        if z[0, k] > z[0, 0]:
            at = k
            break
    return at


RAYS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


@tj.focal(edge="nearest")
def rays(z, *, size=2.0):
    """Long enough, written out, to be kept as a loop over rays: what it reads is a star all the same."""
    total = 0.0
    for dy, dx in RAYS:
        steepest = 0.0
        for step in range(1, 5):
            rise = z[dy * step, dx * step] - z[0, 0]
            steepest = max(steepest, rise / (step * size * math.hypot(dy, dx)))
        total += math.atan(steepest)
    return total


@tj.focal
def ring(z):
    """Cells of a ring, which is told by a test that is the same for all pixels."""
    total, n = 0.0, 0
    for dy in range(-4, 5):
        for dx in range(-4, 5):
            if 4 <= dy * dy + dx * dx <= 17:
                total += z[dy, dx] * (dy + 2 * dx)
                n += 1
    return total / n


def parts(block):
    for part in block:
        yield part
        if isinstance(part, (Loop, Branch)):
            yield from parts((*part.block, *getattr(part, "orelse", ())))


def rasters(dtype):
    rng = np.random.default_rng(5)
    return holes(rng, (13, 21), dtype), holes(rng, (13, 21), dtype), rng.integers(0, 3, (13, 21)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_that_goes_through_a_window_together_has_the_bits_of_pixels_alone(dtype):
    z, w, c = rasters(dtype)
    found = {type(part) for part in parts(interchanged(disc, disc.form).block)}
    assert {Loop, Branch, Once} <= found
    for kernel, given, numbers in (
        (disc, (z, w), {"r": 3}),
        (disc, (z, w), {"r": 0}),
        (alike, (c, z), {"by_row": False}),
    ):
        expected = kernel(*given, **numbers, backend="python")
        for one, other in zip(kernel(*given, **numbers, backend="cpu"), expected, strict=True):
            assert np.array_equal(bits(one), bits(other))


def test_weights_and_tests_that_all_pixels_share_are_computed_once_for_a_row():
    nest = interchanged(disc, disc.form)
    once = [part for part in parts(nest.block) if isinstance(part, Once)]
    assert {"reach", "weight"} <= {part.statement.targets[0].id for part in once}
    assert [part.statement.targets[0].id for part in nest.block if isinstance(part, Once)][-1] == "spread"


def test_rasters_in_tiles_have_the_bits_of_the_whole():
    z, w, _ = rasters(np.float32)
    whole = disc(z, w)
    tiled = disc(*map(tj.from_array, (z, w))).read(tile=(4, 8))
    assert all(np.array_equal(bits(one), bits(other)) for one, other in zip(tiled, whole, strict=True))


def test_a_loop_that_a_pixel_may_leave_stays_inside():
    z, _, _ = rasters(np.float32)
    assert interchanged(first_rise, first_rise.form) is None
    assert np.array_equal(bits(first_rise(z)), bits(first_rise(z, backend="python")))


@pytest.mark.parametrize("kernel", [rays, ring])
def test_a_long_body_keeps_its_outer_loop_and_reads_what_it_reads_written_out(kernel):
    looped = kernel.looped_form
    assert sum(isinstance(part, Loop) for part in parts(interchanged(kernel, looped).block)) == 1
    assert interchanged(kernel, kernel.form) is None
    assert looped.footprint == kernel.form.footprint
    z = np.random.default_rng(6).random((24, 31)).astype(np.float32)
    z[7, 9] = z[16, 20] = np.nan
    result = kernel(z)
    assert 0 < np.isnan(result[4:-4, 4:-4]).sum() < 200
    assert np.array_equal(bits(result), bits(kernel(z, backend="python")))


def rise(z, dy, dx):
    return z[dy + 1, dx] - z[dy - 1, dx]


@tj.focal
def rises(z):
    """A helper is given offsets, and shows its own: with literals, or where loops tell between which they lie."""
    total = 0.0
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            total += math.atan(rise(z, dy, dx))
    return total


@tj.focal
def common(c: np.uint8):
    """A histogram cannot be vector code, so that its loops are kept."""
    counts = tj.zeros(4, dtype=int)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            counts[c[dy, dx] >> 6] += 1
    best = 0
    for k in range(1, 4):
        if counts[k] > counts[best]:
            best = k
    return best, counts[best]


@pytest.mark.parametrize(("kernel", "dtype"), [(rises, np.float32), (common, np.uint8)])
def test_long_bodies_have_the_bits_of_the_python_backend(kernel, dtype):
    z = (256 * np.random.default_rng(3).random((17, 23))).astype(dtype)
    for one, other in zip(np.atleast_3d(kernel(z)), np.atleast_3d(kernel(z, backend="python")), strict=True):
        assert np.array_equal(bits(one), bits(other))


@tj.focal
def mean_5x5(z):
    return sum(z[dy, dx] for dy in range(-2, 3) for dx in range(-2, 3)) / 25


def test_a_short_body_is_written_out():
    assert mean_5x5.looped_form is None
