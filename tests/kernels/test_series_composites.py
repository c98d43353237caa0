"""Composites of several bands, held to SciPy: distances, and what minimises their sum."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

import tilejit as tj
from kernels_for_tests import bits
from tilejit_kernels import series

pytestmark = pytest.mark.slow

DATES, SHAPE = 14, (2, 6)
rng = np.random.default_rng(5)


@pytest.fixture(scope="module")
def bands():
    """Six bands of reflectance; a fifth of the dates lacks one; pixels with no date, one, two, one spectrum, and one
    on which the iteration meets a date."""
    found = (rng.random((6, DATES, *SHAPE)) * 0.3 + 0.1 + 0.05 * np.arange(6)[:, None, None, None]).astype(np.float32)
    found[2][rng.random((DATES, *SHAPE)) < 0.2] = np.nan
    found[5, :, 0, 0] = found[5, 1:, 0, 1] = found[5, 2:, 0, 2] = np.nan
    found[:, 0, 0, 1], found[:, :2, 0, 2] = 0.3, rng.random((6, 2))
    found[:, :, 0, 3] = 0.25
    found[:, :, 0, 4] = 0.5
    found[:, 0, 0, 4], found[:, 1, 0, 4] = 0.25, 0.75  # their mean is the spectrum of the others
    return found


@pytest.fixture(scope="module")
def stacks(bands):
    return [tj.from_array(band) for band in bands]


def spectra(bands):
    """Of each pixel the dates that are valid in all bands, and their layers."""
    for place in np.ndindex(SHAPE):
        every = bands[:, :, *place].T.astype(float)
        whole = ~np.isnan(every).any(1)
        yield place, every[whole], np.flatnonzero(whole)


def python_has_the_bits(kernel, stacks):
    found, window = kernel(*stacks), tj.Window(0, 0, 1, 6)
    whole = found.compute()
    np.testing.assert_array_equal(bits(found.read(window, backend="python")), bits(whole[:, :1]))
    return whole


def test_a_medoid_is_nearest_to_all_others(bands, stacks):
    *values, layer = python_has_the_bits(series.medoid, stacks)
    for place, every, layers in spectra(bands):
        if not len(every):
            assert layer[place] == -1
            assert np.isnan([v[place] for v in values]).all()
            continue
        far = cdist(every, every).sum(1)
        chosen = list(layers).index(layer[place])
        assert far[chosen] == pytest.approx(far.min(), rel=1e-6)
        np.testing.assert_array_equal([v[place] for v in values], every[chosen].astype(np.float32))


def test_a_geometric_median_has_the_least_distance(bands, stacks):
    *values, emad, smad, bcmad = python_has_the_bits(series.geometric_median, stacks)
    for place, every, _ in spectra(bands):
        middle = np.array([v[place] for v in values], float)
        if not len(every):
            assert np.isnan([*middle, emad[place], smad[place], bcmad[place]]).all()
            continue

        def distance(point, every=every):
            return np.linalg.norm(every - point, axis=1).sum()

        least = minimize(distance, every.mean(0) + 1e-3, method="Powell", options={"xtol": 1e-9, "ftol": 1e-14})
        assert distance(middle) <= min(least.fun, distance(every.mean(0))) * (1 + 1e-6) + 1e-6
        if len(every) > 2 and place != (0, 4):
            np.testing.assert_allclose(middle, least.x, atol=2e-3 * distance(middle) / len(every) + 1e-6)
        for found, metric in ((emad, "euclidean"), (smad, "cosine"), (bcmad, "braycurtis")):
            wanted = np.median(cdist(every, middle[None], metric))
            np.testing.assert_allclose(found[place], wanted, rtol=1e-4, atol=1e-6)


def test_on_a_date_the_iteration_goes_on_or_stays(bands, stacks):
    """Twelve dates of one spectrum are the median, whatever the other two are."""
    values = series.geometric_median(*stacks, tolerance=1e-6).compute()[:6, 0, 4]
    np.testing.assert_allclose(values, 0.5, atol=1e-6)
