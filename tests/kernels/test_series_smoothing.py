"""Series kernels that give a value for each date, held to NumPy and SciPy."""

import itertools

import numpy as np
import pytest
from scipy import signal

import tilejit as tj
from kernels_for_tests import bits
from tilejit_kernels import series

pytestmark = pytest.mark.slow

DATES, SHAPE = 26, (2, 7)
rng = np.random.default_rng(21)
DAYS = np.sort(rng.choice(900, DATES, replace=False))
TIMES = np.datetime64("2019-11-20") + DAYS * np.timedelta64(1, "D")


@pytest.fixture(scope="module")
def cells():
    """A third is invalid; pixels with no date, one, two, all, and gaps at both ends."""
    found = 1000 + np.cumsum(rng.normal(size=(DATES, *SHAPE)), 0)
    found[rng.random(found.shape) < 0.3] = np.nan
    found[:, 0, 0] = found[1:, 0, 1] = found[2:, 0, 2] = np.nan
    found[0, 0, 1], found[:2, 0, 2], found[:, 0, 3] = 1, (1, 2), 0.01 * np.arange(DATES) ** 2
    found[:4, 0, 4] = found[-5:, 0, 4] = np.nan
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def stack(cells):
    return tj.stack([tj.from_array(cells)], times=TIMES)


@pytest.fixture(scope="module")
def weights():
    found = rng.random((DATES, *SHAPE)).astype(np.float32)
    found[found < 0.1] = 0
    return found


def series_of(cells):
    for place in np.ndindex(SHAPE):
        values = cells[:, *place].astype(float)
        yield place, values, ~np.isnan(values)


def python_has_the_bits(kernel, *stacks, **parameters):
    found, window = kernel(*stacks, **parameters), tj.Window(0, 0, 1, 6)
    whole = found.compute()
    np.testing.assert_array_equal(bits(found.read(window, backend="python")), bits(whole[:, :1, :6]))
    return whole


@pytest.mark.parametrize("limit", [np.inf, 60.0])
def test_gaps_are_filled_as_numpy_does(cells, stack, limit):
    found = python_has_the_bits(series.fill_gaps, stack, limit=limit)
    for place, values, valid in series_of(cells):
        wanted = np.full(DATES, np.nan)
        if valid.any():
            wanted = np.interp(DAYS, DAYS[valid], values[valid], left=np.nan, right=np.nan)
            known = np.flatnonzero(valid)
            for first, last in itertools.pairwise(known):
                if DAYS[last] - DAYS[first] > limit:
                    wanted[first + 1 : last] = np.nan
        np.testing.assert_allclose(found[:, *place], wanted, rtol=1e-6)
        np.testing.assert_array_equal(found[valid, *place], cells[valid, *place])


@pytest.mark.parametrize("smoothness", [3.0, 1e5])
def test_whittaker_solves_its_equations(cells, stack, weights, smoothness):
    bends = np.diff(np.eye(DATES), 2, axis=0)
    plain = python_has_the_bits(series.whittaker, stack, smoothness=smoothness)
    heavy = python_has_the_bits(series.weighted_whittaker, stack, tj.stack([tj.from_array(weights)], times=TIMES),
                                smoothness=smoothness)  # fmt: skip
    for place, values, valid in series_of(cells):
        for found, weight in ((plain, valid * 1.0), (heavy, valid * weights[:, *place].astype(float))):
            if (weight > 0).sum() < 2:
                assert np.isnan(found[:, *place]).all()
                continue
            wanted = np.linalg.solve(np.diag(weight) + smoothness * bends.T @ bends, weight * np.nan_to_num(values))
            np.testing.assert_allclose(found[:, *place], wanted, rtol=1e-5, atol=2e-5 * np.ptp(wanted))


def test_savitzky_golay_is_scipys_without_gaps(cells, stack):
    found = python_has_the_bits(series.savitzky_golay, stack, half=4, degree=3)
    wanted = signal.savgol_filter(cells[:, 0, 3].astype(float), 9, 3)
    np.testing.assert_allclose(found[:, 0, 3], wanted, rtol=1e-5, atol=1e-5)


def test_savitzky_golay_with_gaps_is_a_fit(cells, stack, weights):
    half, degree = 4, 2
    plain = series.savitzky_golay(stack, half=half, degree=degree).compute()
    heavy = python_has_the_bits(series.weighted_savitzky_golay, stack, tj.stack([tj.from_array(weights)], times=TIMES),
                                half=half, degree=degree)  # fmt: skip
    for place, values, valid in series_of(cells):
        for found, weight in ((plain, valid * 1.0), (heavy, valid * weights[:, *place].astype(float))):
            for k in range(DATES):
                start = min(max(k - half, 0), DATES - 2 * half - 1)
                used = start + np.flatnonzero(weight[start : start + 2 * half + 1])
                if len(used) <= degree:
                    assert np.isnan(found[k, *place])
                    continue
                fit = np.polyfit(used - k, values[used], degree, w=np.sqrt(weight[used]))
                np.testing.assert_allclose(found[k, *place], fit[-1], rtol=2e-5, atol=1e-4)


def test_anomalies_are_those_of_months(cells, stack):
    found = python_has_the_bits(series.anomaly, stack)
    months = TIMES.astype("datetime64[M]").astype(int) % 12
    for place, values, valid in series_of(cells):
        means = np.array([values[valid & (months == m)].mean() if (valid & (months == m)).any() else 0 for m in months])
        np.testing.assert_allclose(found[:, *place], np.where(valid, values - means, np.nan), atol=2e-4)


def test_one_date_and_two(cells):
    """Shorter series than a window, or than a second difference; interpreted, for code is made for each length."""
    for count in (1, 2):
        part = tj.stack([tj.from_array(cells[:count])], times=TIMES[:count])
        for kernel in (series.fill_gaps, series.savitzky_golay, series.whittaker, series.anomaly):
            found = kernel(part).read(tj.Window(0, 1, 1, 2), backend="python")[:, 0]
            np.testing.assert_allclose(found[:, 1], (1, 2)[:count] if kernel is series.fill_gaps else found[:, 1])
            assert np.isfinite(found[:, 1]).all() == (
                kernel is not series.savitzky_golay and (count == 2 or kernel is not series.whittaker)
            )


def test_a_chain_of_series(stack):
    """What is filled, smoothed and freed of its season is given to the test of a break: one pass."""
    day, *_ = series.cusum(series.anomaly(series.fill_gaps(stack))).compute()
    assert day.shape == SHAPE
