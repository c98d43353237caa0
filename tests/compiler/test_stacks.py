"""Stacks: kernels of any number of layers. The interpreted body is the definition, and layers may be taken in turn."""

import math

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import bits
from tilejit.backends import get_backend
from tilejit.compiler.emitter.interchange import interchanged
from tilejit.errors import KernelError, ParameterError

pytestmark = pytest.mark.slow

SHAPE = (5, 7, 9)


@tj.local
def mean(t: tj.Stack):
    total = 0.0
    for k in range(len(t)):
        total += t[k]
    return total / len(t)


@tj.local
def after_a_loop(t: tj.Stack):
    """What all pixels share stays behind the loop of which it has the variable."""
    total = 0.0
    for k in range(700):
        total += t[k % 2]
    last = k + 1
    for j in range(len(t)):
        total += t[j] * last
    return total


@tj.local(nodata="kernel")
def valid_mean(t: tj.Stack, *, least: int = 1):
    total, n, last = 0.0, 0, len(t) - 1
    for k in range(last, -1, -1):
        if not tj.is_valid(t[k]):
            continue
        total += t[k]
        n += 1
    if n < least:
        return math.nan, 0
    return total / n, n


def step(t, k):
    return abs(t[k + 1] - t[k])


@tj.local
def largest_step(t: tj.Stack, z):
    most, at = z, -1
    for k in range(len(t) - 1):
        if step(t, k) > most:
            most, at = step(t, k), k
    return most, at


@tj.focal
def roughness(t: tj.Stack, *, scale=2.0):
    total = 0.0
    for k in range(len(t)):
        here = t[k, 0, 1] - t[k, 0, -1]
        total += here * here * scale
    return math.sqrt(total) + t[-1, 1, 0]


@tj.local
def trend(t: tj.Stack):
    rising = 0
    for i in range(1, len(t)):
        for j in range(i):
            rising += 1 if t[i] > t[j] else 0
    return rising


@tj.local
def first_above(t: tj.Stack, *, limit=0.5):
    for k in range(len(t)):
        if t[k] > limit:
            return k
    return -1


@tj.local
def chosen(t: tj.Stack, which):
    return t[int(which)]


@tj.local(nodata="kernel")
def clear(qa: tj.Stack[np.uint16], t: tj.Stack) -> np.uint8:
    n = 0
    for k in range(len(qa)):
        if tj.is_valid(qa[k]) and qa[k] & 3 == 0 and tj.is_valid(t[k]):
            n += 1
    return n


def layers(dtype=np.float32, *, holes=True):
    rng = np.random.default_rng(4)
    cells = (rng.random(SHAPE) * (1 if np.dtype(dtype).kind == "f" else 9)).astype(dtype)
    if holes and cells.dtype.kind == "f":
        cells[1, 2, 3] = cells[:, 4, 4] = cells[-1, 0, 0] = np.nan
    return cells


def plane(low, high):
    return np.random.default_rng(5).integers(low, high, SHAPE[1:]).astype(np.float32)


def assert_same(wanted, given):
    assert wanted.dtype == given.dtype
    np.testing.assert_array_equal(bits(wanted), bits(given))


MASKED = np.ma.MaskedArray(layers(np.uint16), layers(np.uint16) == 4)
CASES = {
    "mean": (mean, layers()),
    "mean of float64": (mean, layers(np.float64)),
    "mean of integers": (mean, layers(np.int16)),
    "one layer": (mean, layers()[:1]),
    "after a loop": (after_a_loop, layers()),
    "validity": (valid_mean, layers()),
    "helpers and planes": (largest_step, layers(), plane(0, 1)),
    "neighbours": (roughness, layers()),
    "loops in loops": (trend, layers()),
    "a return within": (first_above, layers()),
    "any index": (chosen, layers(), plane(-5, 5)),
    "two stacks": (clear, MASKED, layers()),
}
TOGETHER = {mean, after_a_loop, valid_mean, largest_step, roughness, trend, clear}
"""Whose loops over layers stand outside the loop over a row's pixels."""


@pytest.mark.parametrize("name", CASES)
def test_compiled_bodies_have_the_bits_of_interpreted_ones(name):
    kernel, *arrays = CASES[name]
    results = [kernel(*arrays, backend=backend, workers=2) for backend in ("python", "cpu")]
    for wanted, given in zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True):
        assert wanted.shape == SHAPE[1:]
        assert_same(np.ma.getdata(wanted), np.ma.getdata(given))


def test_results_are_those_of_numpy():
    cells = layers()
    assert_same(mean(cells), np.add.reduce(cells, 0, np.float32) / np.float32(5))  # NaN as it propagates
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(valid_mean(cells)[0], np.nansum(cells, 0) / (~np.isnan(cells)).sum(0), rtol=1e-6)


def test_loops_over_layers_stand_outside_the_loop_over_pixels_where_all_go_through_them():
    kernels = {case[0] for case in CASES.values()}
    assert {k for k in kernels if interchanged(k, k.form) is not None} == TOGETHER


def test_nan_of_a_sum_over_layers_finds_its_own_way():
    assert mean.checked_cells == {"t": frozenset()}
    assert len(largest_step.checked_cells["t"]) == 1


@pytest.mark.parametrize("backend", ["python", "cpu"])
def test_a_layer_that_is_not_there_is_an_error_and_no_other_memory(backend):
    for which in (5, -6, 2**40, -(2**40)):
        with pytest.raises(
            KernelError, match=r"chosen: t\[int\(which\)\] is of no layer of the stack, which has 5, at"
        ):
            chosen(layers(holes=False), np.full(SHAPE[1:], which, np.float32), backend=backend)


def test_a_layer_that_a_literal_names_is_looked_for_before_anything_is_read():
    @tj.local
    def third(t: tj.Stack):
        return t[2] - t[-1]

    assert_same(third(layers()[:3]), np.where(np.isnan(layers()[2]), np.nan, 0).astype(np.float32))
    for stack in (layers()[:2], tj.from_array(layers()[:2])):
        with pytest.raises(KernelError, match=r"layer 2 of a stack of 2 layers\n.*\n.*\^\^\^\^"):
            third(stack)


def test_stacks_of_a_kernel_have_one_number_of_layers():
    with pytest.raises(ParameterError, match="qa has 5, t has 4"):
        clear(MASKED, layers()[:4])


def test_a_stack_of_no_layers_is_refused():
    with pytest.raises(KernelError, match=r"t has the shape \(0, .*of one layer or more"):
        mean(layers()[:0])


def test_a_pixel_is_run_in_plain_python():
    cells = layers(holes=False)
    assert mean.debug(cells, 3, 2) == pytest.approx(cells[:, 3, 2].mean())


def test_one_compiled_function_serves_any_number_of_layers():
    one, other = (get_backend("cpu").compile(mean, mean.signature([np.dtype("f4")])) for _ in range(2))
    assert one is other


def test_an_annotation_shows_in_the_signature():
    assert clear.usage == "(qa: Stack[uint16], t: Stack)"
