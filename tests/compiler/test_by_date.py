"""Bodies that give a value for each date: what they compute on each backend, and what is refused."""

import re

import numpy as np
import pytest

import tilejit as tj
from date_kernels import above, changes, filled, ordered, rounded, smoothed
from kernels_for_tests import HEAD, assert_same, write_module
from tilejit.backends import get_backend
from tilejit.compiler.emitter.interchange import interchanged
from tilejit.errors import KernelError, ParameterError

pytestmark = pytest.mark.slow

TIMES = [f"2020-01-{day:02}" for day in (1, 2, 4, 7, 8, 9, 15, 20, 31)]


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(5)
    values = rng.random((len(TIMES), 5, 70), np.float32)
    values[rng.random(values.shape) < 0.4] = np.nan
    values[:, 2, 3] = np.nan
    return values


def lines(cells, days):
    """The holes between valid dates, by NumPy."""
    result = cells.copy()
    for row, col in np.ndindex(cells.shape[1:]):
        series = cells[:, row, col]
        known = np.flatnonzero(~np.isnan(series))
        if len(known):
            inner = slice(known[0], known[-1] + 1)
            result[inner, row, col] = np.interp(days[inner], days[known], series[known].astype(np.float64))
    return result


def test_holes_are_filled_by_lines(cells):
    stack = tj.stack(map(tj.from_array, cells), times=TIMES)
    days = (stack.times - stack.times[0]) / np.timedelta64(1, "D")
    found = filled(stack).compute()
    np.testing.assert_allclose(found, lines(cells, days), rtol=2e-5, atol=1e-6)
    assert_same(found, filled(stack).compute(backend="python"))


@pytest.mark.filterwarnings("ignore::tilejit.NodataWarning")
@pytest.mark.parametrize("kernel", [ordered, smoothed, rounded, changes])
def test_compiled_bodies_have_the_bits_of_their_own_text(cells, kernel):
    for shape in (cells.shape, (1, 4, 3)):
        part = np.ascontiguousarray(cells[tuple(map(slice, shape))])
        found = kernel(part, workers=2)
        assert found.shape == shape
        assert_same(found, kernel(part, backend="python"))


def test_what_is_given_and_what_comes_of_it(cells):
    ordinary = np.sort(cells, axis=0)
    few = np.isfinite(cells).sum(axis=0)
    expected = np.where(few == 0, np.float32(-1), np.where(few < 3, cells, ordinary))
    np.testing.assert_array_equal(ordered(cells), expected)
    masked = ordered(np.ma.masked_array(cells, cells > 0.9))
    assert masked.shape == cells.shape
    assert isinstance(masked, np.ma.MaskedArray)
    out = np.empty_like(cells)
    assert ordered(cells, out=out) is out
    np.testing.assert_array_equal(out, expected)
    with pytest.raises(KernelError, match=re.escape("out= is (5, 70) float32; it must be (9, 5, 70) and float32")):
        ordered(cells, out=np.empty((5, 70), np.float32))


def test_results_with_a_type_of_their_own_are_held_within_it(cells):
    with pytest.warns(tj.NodataWarning, match="255"):
        found = rounded(cells)
    expected = np.where(np.isnan(cells), 255, np.minimum(np.floor(cells * np.float32(400) + 0.5), 255))
    np.testing.assert_array_equal(found, expected.astype(np.uint8))


def test_truth_values_of_two_stacks(cells):
    weight = np.uint8(np.arange(cells.size).reshape(cells.shape) % 3)
    found = above(cells, weight)
    assert found.dtype == np.uint8
    whole = np.isfinite(cells).all(axis=0)
    expected = np.where(whole, cells * weight > 0.5, 255)
    np.testing.assert_array_equal(found, expected)
    assert_same(found, above(cells, weight, backend="python"))


def test_pixels_go_through_dates_together_and_are_written_together(cells):
    kernel = filled.for_layers([len(cells)])
    assert interchanged(kernel, kernel.form) is not None
    assert interchanged(smoothed.for_layers([2]), smoothed.for_layers([2]).form) is None  # it has a while loop
    text = get_backend("cpu").source(kernel, kernel.signature([cells.dtype]))
    assert "_lane_values[u64(_layer) * _U512 + u64(_place)]" in text
    assert (
        "values[u64(k) * _U512 + _place] = t[k, _y, _x]" in text
    )  # an index that is one of the stack's is no question


@tj.series(nodata="kernel", output="dates")
def since_last(t, *, ahead: int = 0):
    values, last = tj.zeros(len(t)), -1
    for k in range(len(t)):
        for j in range(last + 1, k + 1):  # the last date of all where none was valid
            values[j] = t[k] - t[last] if tj.is_valid(t[last]) else t[last + ahead]
        last = k if tj.is_valid(t[k]) else last
    return values


def test_indices_that_lie_within_by_what_is_assigned_to_them_are_not_tested(cells):
    kernel = since_last.for_layers([len(cells)])
    text = get_backend("cpu").source(kernel, kernel.signature([cells.dtype]))
    assert text.count("_missing |") == 1  # of t[last + ahead]
    assert_same(since_last(cells), since_last(cells, backend="python"))
    with pytest.raises(KernelError, match=r"t\[last \+ ahead\]"):
        since_last(cells, ahead=30)


REFUSALS = {
    "one value": ("return «t[0]»", 'returns one value, and output="dates" promises a value for each date'),
    "a tuple": ("return «t[0], t[1]»", 'returns several results, and output="dates" promises a value for each date'),
    "another length": ("return «[t[0], t[1]]»", "returns an array of 2 floats, and the stack has 3 layers"),
}


def test_comprehensions_over_dates_are_the_loops_that_one_would_write(cells):
    doubled = np.float32(2) * cells
    wanted = np.where(np.arange(len(cells))[:, np.newaxis, np.newaxis] > 2, doubled - doubled[0],
                      np.arange(len(cells), dtype=np.float32)[:, np.newaxis, np.newaxis])  # fmt: skip
    found = changes(cells)
    valid = ~np.isnan(cells).any(axis=0)
    np.testing.assert_array_equal(found[:, valid], wanted[:, valid])


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_no_array_of_the_stacks_length_is_refused(case, tmp_path):
    line, what = REFUSALS[case]
    plain = line.replace("«", "").replace("»", "")
    module = write_module(tmp_path, f'@tj.series(output="dates")\ndef f(t):\n    {plain}\n')
    with pytest.raises(KernelError) as caught:
        module.f(np.zeros((3, 2, 2), np.float32))
    first, text, carets, instead = str(caught.value).split("\n")
    assert first == f"{module.__file__}:{len(HEAD.splitlines()) + 3}: f: {what}"
    assert text.strip() == plain
    assert carets.count("^") == line.index("»") - line.index("«") - 1
    assert instead.strip() == "return an array as long as the stack: values = tj.zeros(len(t)), values[k] = …"


def test_a_comprehension_of_some_layers_is_told_the_loop(tmp_path):
    text = "[t[k] for k in range(len(t)) if t[k] > 0]"
    module = write_module(tmp_path, f'@tj.series(output="dates")\ndef f(t):\n    return {text}\n')
    told = re.escape("a = tj.zeros(len(t)); for k in range(len(t)): a[k] = …")
    with pytest.raises(KernelError, match=told):
        module.f(np.zeros((3, 2, 2), np.float32))


def test_an_array_without_the_word_is_refused_with_it(tmp_path):
    module = write_module(tmp_path, "@tj.series\ndef f(t):\n    a = tj.zeros(len(t))\n    return a\n")
    with pytest.raises(KernelError, match=re.escape('@tj.series(output="dates") returns it whole')):
        module.f(np.zeros((3, 2, 2), np.float32))


def test_more_arrays_than_a_function_takes_are_refused(tmp_path):
    results = ", ".join(f"z + {k}" for k in range(260))
    module = write_module(tmp_path, f"@tj.local\ndef f(z):\n    return {results}\n")
    told = (
        "f: 1 raster in and 260 results out are 1045 words of memory, and a compiled function takes 1024: let a stack"
    )
    with pytest.raises(KernelError, match=re.escape(told)):
        module.f(np.zeros((2, 2), np.float32))


def test_there_are_two_outputs():
    with pytest.raises(KernelError, match="output='date'; it is 'value' or 'dates'"):
        tj.series(output="date")(ordered.source.function)


def test_stacks_of_other_lengths_are_refused(cells):
    with pytest.raises(ParameterError, match="the stacks of a kernel have one number of layers: t has 9, weight has 8"):
        above(cells, np.ones((8, *cells.shape[1:]), np.uint8))
