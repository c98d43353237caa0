"""Series kernels of trends, seasons and breaks, held to SciPy, pymannkendall, statsmodels and NumPy."""

import warnings

import numpy as np
import pytest
from scipy import stats

import tilejit as tj
from kernels_for_tests import bits
from tilejit_kernels import series
from tilejit_kernels.series.trends import bridge_p

pytestmark = pytest.mark.slow

DATES, SHAPE = 30, (3, 11)
rng = np.random.default_rng(11)
DAYS = np.sort(rng.choice(3000, DATES, replace=False))
DAYS[7] = DAYS[6]  # two layers of one day
TIMES = np.datetime64("2010-01-01") + DAYS * np.timedelta64(1, "D")
YEARS = (DAYS - DAYS[0]) / 365.25


@pytest.fixture(scope="module")
def cells():
    """A quarter is invalid; pixels with one valid date, two, a constant, a line, few steps, one outlier."""
    found = rng.random((DATES, *SHAPE)) + 0.3 * YEARS[:, None, None] * (rng.random(SHAPE) > 0.5)
    found[rng.random(found.shape) < 0.25] = np.nan
    found[1:, 0, 0] = found[2:, 0, 1] = np.nan
    found[0, 0, 0], found[:2, 0, 1], found[:, 0, 2] = 1, (1, 3), 0.25
    found[:, 0, 3] = 0.5 + 2.0 * YEARS
    found[:, 0, 4], found[:, 0, 5] = np.round(rng.random(DATES) * 2), np.round(rng.random(DATES) * 6 + YEARS)
    found[3, 0, 6] = 1e6
    found[:, 0, 7] = np.where(np.isin(np.arange(DATES), (6, 7)), 1.0, np.nan)  # dates of one day alone
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def stack(cells):
    return tj.stack([tj.from_array(cells)], times=TIMES)


def pixels(cells):
    """The valid years and values of each pixel."""
    for row, col in np.ndindex(SHAPE):
        valid = ~np.isnan(cells[:, row, col])
        yield (row, col), YEARS[valid], cells[valid, row, col].astype(float)


def python_has_the_bits(kernel, *stacks, **parameters):
    """A row of the interpreted body; and tiles are the whole."""
    found, window = kernel(*stacks, **parameters), tj.Window(0, 0, 1, 8)
    whole = found.compute()
    np.testing.assert_array_equal(bits(found.read(window, backend="python")), bits(whole[:, :1, :8]))
    np.testing.assert_array_equal(bits(found.compute(tile=(2, 8))), bits(whole))
    return whole


def scipys(values, years, **options):
    """SciPy's slopes; of a constant its bounds are NaN."""
    with warnings.catch_warnings(action="ignore"):
        return stats.theilslopes(values, years, **options)


def test_theil_sen_is_scipys(cells, stack):
    slope, start = python_has_the_bits(series.theil_sen, stack)
    for place, years, values in pixels(cells):
        if len(np.unique(years)) < 2:
            assert np.isnan([slope[place], start[place]]).all()
            continue
        wanted = scipys(values, years)
        np.testing.assert_allclose(slope[place], wanted.slope, rtol=3e-6, atol=1e-6)
        np.testing.assert_allclose(start[place], wanted.intercept, rtol=1e-5, atol=1e-5)


def test_its_bounds_are_scipys(cells, stack):
    z = stats.norm.ppf(0.95)
    low, high = python_has_the_bits(series.theil_sen_bounds, stack, z=z)
    for place, years, values in pixels(cells):
        if len(np.unique(years)) < 2:
            assert np.isnan([low[place], high[place]]).all()
            continue
        wanted = scipys(values, years, alpha=0.9)[2:]
        wanted = (0, 0) if np.isnan(wanted[0]) else wanted
        np.testing.assert_allclose([low[place], high[place]], wanted, rtol=3e-6, atol=1e-6)


def test_slopes_of_many_dates_of_few_values_and_of_any_order():
    """More slopes than are sorted, of which most are ties; and dates that fall."""
    few = np.round(np.random.default_rng(3).random((DATES, 2, 4)) * 3).astype(np.float32)
    few[:, 0] += np.arange(DATES)[:, None] * np.float32(0.01)
    few[:, 1, 0] = np.random.default_rng(4).standard_cauchy(DATES)
    days = np.arange(DATES)[::-1] * 16
    times = np.datetime64("2010-01-01") + days * np.timedelta64(1, "D")
    with pytest.warns(tj.DatesWarning):
        slope, _ = series.theil_sen(tj.stack([tj.from_array(few)], times=times)).compute()
    for place in np.ndindex(slope.shape):
        wanted = scipys(few[:, *place].astype(float), days / 365.25).slope
        np.testing.assert_allclose(slope[place], wanted, rtol=3e-5, atol=1e-6)


def test_mann_kendall_agrees_with_kendalls_tau(cells, stack):
    """Kendall's S is tau-b by the root of the pairs that are no ties, on either side."""
    s, _, _ = python_has_the_bits(series.mann_kendall, stack)
    for place, _, values in pixels(cells):
        n = len(values)
        if n < 2 or np.ptp(values) == 0:
            assert s[place] == 0 if n > 1 else np.isnan(s[place])
            continue
        same = np.unique(values, return_counts=True)[1]
        pairs = n * (n - 1) / 2
        wanted = stats.kendalltau(np.arange(n), values).statistic * np.sqrt(
            pairs * (pairs - (same * (same - 1)).sum() / 2)
        )
        assert s[place] == round(wanted)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_harmonic_regression_is_numpys(cells, stack, order):
    found = python_has_the_bits(series.harmonic, stack, order=order)
    columns = 2 + 2 * order
    for place, years, values in pixels(cells):
        waves = [wave(2 * np.pi * h * years) for h in range(1, order + 1) for wave in (np.cos, np.sin)]
        table = np.column_stack([np.ones(len(years)), years, *waves])
        if len(years) < columns or np.linalg.matrix_rank(table) < columns:
            assert np.isnan(found[:, *place]).all()
            continue
        wanted = np.linalg.lstsq(table, values)[0]
        scale = np.abs(values).max()
        np.testing.assert_allclose(found[:columns, *place], wanted, rtol=2e-4, atol=2e-5 * scale)
        assert (found[columns:8, *place] == 0).all()
        left = np.sqrt(np.mean((values - table @ wanted) ** 2))
        np.testing.assert_allclose(found[8, *place], left, rtol=1e-4, atol=1e-5 * scale)


def test_a_break_is_that_of_statsmodels(cells, stack):
    diagnostic = pytest.importorskip("statsmodels.stats.diagnostic")
    day, step, statistic, p = python_has_the_bits(series.cusum, stack)
    for place, years, values in pixels(cells):
        if len(values) < 3:
            assert np.isnan([day[place], step[place], statistic[place], p[place]]).all()
            continue
        if np.ptp(values) == 0:
            assert np.isnan(day[place])
            assert (step[place], statistic[place], p[place]) == (0, 0, 1)
            continue
        wanted = diagnostic.breaks_cusumolsresid(values - values.mean(), ddof=1)
        np.testing.assert_allclose((statistic[place], p[place]), wanted[:2], rtol=2e-4, atol=1e-6)
        at = np.abs(np.cumsum(values - values.mean())[:-1]).argmax() + 1
        assert round(float(day[place])) == round(years[at] * 365.25)
        np.testing.assert_allclose(step[place], values[at:].mean() - values[:at].mean(), rtol=1e-4, atol=1e-5)


def test_p_is_kolmogorovs():
    for x in (0.0, 0.2, 0.5, 0.999, 1.0, 1.36, 2.0, 4.0):
        assert bridge_p(x) == pytest.approx(stats.kstwobign.sf(x), rel=1e-9, abs=1e-12)
