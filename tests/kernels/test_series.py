"""Shipped series kernels, held to NumPy, SciPy and pymannkendall; and what a series is."""

import math
import pickle
import warnings

import numpy as np
import pytest
from scipy import stats

import tilejit as tj
from kernels_for_tests import bits
from tilejit.errors import KernelError, ParameterError
from tilejit_kernels import series
from tilejit_kernels.series import student_p

pytestmark = pytest.mark.slow

DATES, SHAPE = 24, (9, 13)
rng = np.random.default_rng(7)
DAYS = np.sort(rng.choice(4000, DATES, replace=False))
TIMES = np.datetime64("2010-01-01") + DAYS * np.timedelta64(1, "D")
YEARS = (DAYS - DAYS[0]) / 365.25


@pytest.fixture(scope="module")
def cells():
    """Thirty of a hundred are invalid; pixels without a date, with one, with two, of one value, with ties."""
    found = rng.random((DATES, *SHAPE)) + 0.02 * np.arange(DATES)[:, None, None] * (rng.random(SHAPE) > 0.5)
    found[rng.random(found.shape) < 0.3] = np.nan
    found[:, 0, 0] = found[1:, 0, 1] = found[2:, 0, 2] = np.nan
    found[0, 0, 1], found[:2, 0, 2], found[:, 0, 3] = 1, (1, 2), 0.5
    found[:, 0, 4] = np.round(rng.random(DATES) * 3)
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def stack(cells):
    return tj.stack([tj.from_array(cells)], times=TIMES)


def pixels(cells):
    """The valid years and values of each pixel with some."""
    for row, col in np.ndindex(SHAPE):
        valid = ~np.isnan(cells[:, row, col])
        yield (row, col), YEARS[valid], cells[valid, row, col].astype(float)


def python_has_the_bits(kernel, stack, *others):
    """A part on the interpreted body."""
    window = tj.Window(0, 0, 2, 6)
    found = kernel(stack, *others)
    np.testing.assert_array_equal(bits(found.read(window, backend="python")), bits(found.compute()[:, :2, :6]))


NUMPYS = {"mean": np.nanmean, "minimum": np.nanmin, "maximum": np.nanmax, "standard_deviation": np.nanstd}


@pytest.mark.parametrize("name", NUMPYS)
def test_what_numpy_has_too(cells, stack, name):
    kernel = getattr(series, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = NUMPYS[name](cells.astype(float), axis=0)
    np.testing.assert_allclose(kernel(stack).compute(tile=(4, 8))[0], wanted, rtol=2e-6, atol=1e-7)
    python_has_the_bits(kernel, stack)


def test_valid_dates_and_samples(cells, stack):
    np.testing.assert_array_equal(series.count(stack).compute()[0], (~np.isnan(cells)).sum(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = np.nanstd(cells.astype(float), axis=0, ddof=1)
    np.testing.assert_allclose(series.standard_deviation(stack, ddof=1).compute()[0], wanted, rtol=2e-6, atol=1e-7)


def test_a_trend_is_scipys(cells, stack):
    slope, error, p = series.trend(stack).compute(tile=(4, 8))
    for place, years, values in pixels(cells):
        if len(values) < 3:
            assert np.isnan([error[place], p[place]]).all()
            assert np.isnan(slope[place]) == (len(values) < 2)
            continue
        if np.ptp(values) == 0:
            assert (slope[place], error[place], p[place]) == (0, 0, 1)
            continue
        wanted = stats.linregress(years, values)
        np.testing.assert_allclose(slope[place], wanted.slope, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(error[place], wanted.stderr, rtol=1e-5)
        np.testing.assert_allclose(p[place], wanted.pvalue, rtol=1e-4)
    python_has_the_bits(series.trend, stack)


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 57, 198, 2500])
def test_p_is_students(freedom):
    for t in (0.0, 1e-3, 0.5, 1.0, 2.0, 5.0, 30.0):
        assert student_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-10, abs=1e-280)


def test_mann_kendall_is_that_of_pymannkendall(cells, stack):
    pymannkendall = pytest.importorskip("pymannkendall")
    s, z, p = series.mann_kendall(stack).compute()
    for place, _, values in pixels(cells):
        if len(values) < 2:
            assert np.isnan(s[place])
            continue
        wanted = pymannkendall.original_test(values) if len(values) > 2 else None
        if wanted is not None and np.ptp(values) > 0:
            assert (s[place], z[place]) == (wanted.s, pytest.approx(wanted.z, rel=1e-6))
            np.testing.assert_allclose(p[place], wanted.p, rtol=1e-5)
    assert (s[0, 3], z[0, 3], p[0, 3]) == (0, 0, 1)


def test_a_composite_takes_the_date_of_the_greatest_index(cells, stack):
    index = np.random.default_rng(8).integers(0, 9, cells.shape).astype(np.float32)
    index[3, :4] = np.nan
    value, layer = series.max_index_composite(stack, tj.from_array(index)).compute()
    usable = np.where(np.isnan(cells) | np.isnan(index), -np.inf, index)
    wanted = np.where(np.isinf(usable.max(0)), -1, usable.argmax(0))
    np.testing.assert_array_equal(layer, wanted)
    np.testing.assert_array_equal(value, np.take_along_axis(cells, np.maximum(wanted, 0)[None], 0)[0])


@pytest.mark.parametrize("name", ["median", "percentile", "median_composite"])
def test_medians_and_percentiles_are_numpys(cells, stack, name):
    qa = np.random.default_rng(9).integers(0, 4, cells.shape).astype(np.uint8)
    given = {"median": (), "percentile": (), "median_composite": (tj.from_array(qa),)}[name]
    parameters = {"percentile": {"q": 90.0}, "median_composite": {"mask": 2}}.get(name, {})
    found = getattr(series, name)(stack, *given, **parameters)
    seen = np.where(qa & 2, np.nan, cells) if given else cells
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = np.nanpercentile(seen.astype(float), parameters.get("q", 50), axis=0)
    np.testing.assert_allclose(found.compute(tile=(4, 8))[0], wanted, rtol=1e-6)
    window = tj.Window(0, 0, 2, 6)
    np.testing.assert_array_equal(bits(found.read(window, backend="python")), bits(found.compute()[:, :2, :6]))


def test_arrays_as_long_as_a_stack_are_made_for_its_length(cells):
    assert series.median.form.is_sized
    assert series.median.for_layers([24]) is series.median.for_layers([24])
    assert series.median.for_layers([24]).fingerprint != series.median.for_layers([23]).fingerprint
    assert series.mean.for_layers([24]) is series.mean
    again = pickle.loads(pickle.dumps(series.median.for_layers([24])))  # noqa: S301 - our own
    assert again.layers == 24
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(series.median(cells[:1]), cells[0])
        np.testing.assert_allclose(series.median(cells[:2]), np.where(np.isnan(cells[0]), cells[1], np.where(
            np.isnan(cells[1]), cells[0], (cells[0] + cells[1]) / 2)), rtol=1e-6)  # fmt: skip


@tj.series
def second(t):
    values = tj.zeros(len(t))
    for k in range(len(t)):
        values[k] = t[k] * 2.0
    return values[1]


def test_an_element_that_a_shorter_stack_does_not_have(cells):
    np.testing.assert_array_equal(second(np.ones((3, 4, 5), np.float32)), np.full((4, 5), 2, np.float32))
    with pytest.raises(KernelError, match="element 1 of the array values, which has 1 element"):
        second(np.ones((1, 4, 5), np.float32))


@tj.series(nodata="kernel", edge="nearest")
def steps(t, qa: np.uint8, *, least=0.0):
    total = least
    for k in range(1, len(t)):
        if tj.is_valid(t[k]) and qa[k] < 5:
            total += t[k, 0, 1] - t[k - 1, 0, -1] + t.time[k]
    return total


def test_a_series_takes_stacks_alone_and_sees_neighbours(stack):
    qa = tj.from_array(np.random.default_rng(9).integers(0, 9, (DATES, *SHAPE)).astype(np.uint8))
    found = steps(stack, qa, least=2.0)
    assert (steps.kind, steps.radius, steps.usage) == ("series", (0, 1), "(t: Stack, qa: Stack[uint8], *, least=0.0)")
    np.testing.assert_array_equal(bits(found.compute(tile=(3, 5))), bits(found.compute(backend="python")))
    assert repr(steps).startswith("<series kernel steps(")
    with pytest.raises(ParameterError, match="t has 24, qa has 23"):
        steps(stack, tj.stack(list(qa)[:23]))
    with pytest.raises(KernelError, match=r"t is a stack, and one value is needed[\s\S]*choose a layer: t\[0\]"):
        tj.series(plane).form  # noqa: B018 - it is lowered here


def plane(t):
    return t + 1


def test_one_date(cells):
    one = tj.stack([tj.from_array(cells[:1])], times=TIMES[:1])
    slope, error, p = series.trend(one).compute()
    assert np.isnan([slope, error, p]).all()
    np.testing.assert_array_equal(series.mean(one).compute(), cells[:1])
    assert math.isnan(series.mann_kendall(one).compute()[0, 1, 1])
