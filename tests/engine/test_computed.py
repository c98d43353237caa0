"""What kernels make, read by windows: warped as if it had been saved before."""

import pickle

import numpy as np
import pytest

import tilejit as tj
from tilejit.engine.computed import ComputedSource
from tilejit.errors import ParameterError
from tilejit.testing import SourceTests
from tilejit.window import Window

UTM = "EPSG:32633"
GRID = tj.Grid.from_bounds((480_000, 5_200_000, 484_500, 5_203_600), UTM, resolution=30)
RANDOM = np.random.default_rng(11)
CELLS = (500 + 90 * np.sin(np.arange(GRID.width) / 9) + 9 * RANDOM.random(GRID.shape)).astype(np.float32)
CELLS[30:40, 60:90] = np.nan
HEIGHTS = tj.from_array(CELLS, grid=GRID)
TARGET = GRID.to_crs("EPSG:3035")


@tj.focal
def rise(z):
    return z[-1, 0] + z[1, 0] - z[0, -1] - z[0, 1]


@tj.local
def steps(z) -> np.uint8:
    return 7 if z > 540 else 3


@tj.focal(nodata="kernel")
def settle(state):
    return max(state[0, 0], state[0, -1])


def saved(raster):
    """The same, computed and held in memory before."""
    return tj.from_array(raster.read(), grid=raster.grid)


@pytest.mark.parametrize("options", [{}, {"tile": (64, 40), "workers": 3}, {"executor": "serial"}])
def test_what_kernels_make_is_warped_as_what_was_saved(options):
    made = rise(rise(HEIGHTS))
    expected = saved(made).to(TARGET).read()
    assert np.isfinite(expected).any()
    assert made.to(TARGET).read(**options).tobytes() == expected.tobytes()


def test_what_is_warped_may_be_made_of_what_was_warped():
    finer = tj.Grid.from_bounds(GRID.bounds, UTM, resolution=17)
    expected = saved(rise(HEIGHTS.to(TARGET))).to(finer).read()
    assert rise(HEIGHTS.to(TARGET)).to(finer).read().tobytes() == expected.tobytes()
    both = (HEIGHTS.to(TARGET) * 2).to(finer) + rise(HEIGHTS).to(finer)
    assert np.isfinite(both.read()).any()


def test_numbers_that_kernels_wait_for_are_computed_before():
    above = (HEIGHTS - HEIGHTS.mean()) / HEIGHTS.std()
    assert above.to(TARGET).read().tobytes() == saved(above).to(TARGET).read().tobytes()


def test_bands_of_files_and_of_kernels_lie_beside_each_other():
    both = tj.stack([HEIGHTS, rise(HEIGHTS), steps(HEIGHTS)])
    apart = [one.to(TARGET, resampling="nearest").read(dtype="float32")[0] for one in both]
    together = both.to(TARGET, resampling="nearest").read(dtype="float32")
    assert np.array_equal(together, apart, equal_nan=True)


def test_integers_keep_their_nodata_and_are_nearest():
    warped = steps(HEIGHTS).to(TARGET)
    assert warped.bands[0].info.dtype == np.uint8
    assert set(np.unique(warped.read())) == {3, 7, 255}


def test_the_plan_says_what_is_computed():
    assert "computed by" in str(rise(HEIGHTS).to(TARGET).plan())
    assert "rise" in str(rise(HEIGHTS).to(TARGET).plan())


def test_iterations_are_saved_first():
    with pytest.raises(ParameterError, match=r"settle is iterated.*raster\.save\('settle\.tif'\)"):
        tj.iterate(settle, HEIGHTS).to(TARGET)


@pytest.fixture
def file(tmp_path):
    HEIGHTS.save(tmp_path / "heights.tif")
    return tmp_path / "heights.tif"


def test_other_processes_take_it(file):
    source = (tj.open(file) - tj.open(file).mean()).to(TARGET).bands[0].source
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - ours
    window, found = Window(3, 5, 60, 70), [np.empty((1, 60, 70), np.float32) for _ in range(2)]
    for one, out in zip((source, copy), found, strict=True):
        one.read((1,), window, out)
    assert found[0].tobytes() == found[1].tobytes()
    assert np.isfinite(found[0]).any()


@pytest.mark.slow
def test_workers_of_an_executor_compute_it(file, tmp_path):
    warped = (tj.open(file) * 2).to(TARGET)
    warped.save(tmp_path / "out.tif", executor="processes", workers=2)
    assert tj.open(tmp_path / "out.tif").read().tobytes() == warped.read().tobytes()


def test_arrays_stay_in_their_process(tmp_path):
    with pytest.raises(tj.errors.PlanError, match="in memory"):
        rise(HEIGHTS).to(TARGET).plan(tmp_path / "out.tif", executor="processes", workers=2)


class TestComputedSource(SourceTests):
    def make(self, cells, nodata):
        raster = tj.from_array(cells, nodata=nodata)
        return ComputedSource.of(raster.grid, raster.bands)
