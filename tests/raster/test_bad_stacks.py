"""Stacks that a new user gets wrong: an error that says what, or the answer that the docs give."""

import re
import shutil
import warnings

import numpy as np
import pytest

import tilejit as tj
from tilejit.errors import GridMismatchError, ParameterError, ReadError, SourceError
from tilejit_kernels.series import (
    count,
    fill_gaps,
    mann_kendall,
    median,
    median_composite,
    theil_sen,
    trend,
    weighted_whittaker,
)

SHAPE = (6, 8)
CELLS = np.random.default_rng(2).random((5, *SHAPE)).astype(np.float32)
NAMES = [f"a_2021-0{k}-05.tif" for k in range(1, 6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("stack")
    for name, cells in zip(NAMES, CELLS, strict=True):
        tj.from_array(cells).save(made / name)
    return made


@pytest.fixture
def files(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return list(NAMES)


def test_what_makes_no_stack(files):
    with pytest.raises(ParameterError, match="stack of no rasters: give at least one"):
        tj.stack([])
    with pytest.raises(ParameterError, match="times= has 1, and the stack 5 layers: give one for each"):
        tj.stack(files, times=["2020-01-01"])
    with pytest.raises(ParameterError, match=r"times= holds no dates .*2020-13-01.* give datetime objects"):
        tj.stack(files, times=["2020-01-01", "2020-13-01", "2020-02-01", "2020-03-01", "2020-04-01"])
    tj.from_array(CELLS[0, :3]).save("low_2021-09-05.tif")
    with pytest.raises(GridMismatchError, match="6 rows x 8 cols and 3 rows x 8 cols"):
        tj.stack([*files, "low_2021-09-05.tif"])
    with pytest.raises(SourceError, match=re.escape("a_2021-06-05.tif: cannot be opened: there is no such file")):
        tj.stack([*files[:2], "a_2021-06-05.tif", *files[2:]])


def test_stacks_that_do_not_go_together(files):
    stack = tj.stack(files)
    with pytest.raises(ParameterError, match="have one number of layers: t has 5, qa has 3"):
        median_composite(stack, tj.stack(files[:3]))
    others = tj.stack(files, times=[f"2020-01-0{k}" for k in range(1, 6)])
    with pytest.raises(ParameterError, match="layer 0 of t is of 2021-01-05, that of weight of 2020-01-01"):
        weighted_whittaker(stack, others)


def test_times_that_nobody_knows(files):
    tj.from_array(CELLS[0]).save("plain.tif")
    for asked in (CELLS, tj.stack([*files, "plain.tif"])):  # of one layer nothing says it
        with pytest.raises(ParameterError, match="nothing says so of all of them: give tj"):
            trend(asked)
    assert np.isfinite(np.asarray(mann_kendall(CELLS))).all()


def test_one_date_has_a_median_and_no_trend(files):
    one = tj.stack(files[:1])
    np.testing.assert_array_equal(median(one).compute()[0], CELLS[0])
    assert np.isnan(np.asarray(trend(one).compute())).all()
    assert np.isnan(np.asarray(theil_sen(one).compute())).all()


def test_all_dates_invalid():
    days = [f"2020-01-0{k}" for k in range(1, 5)]
    empty = tj.stack([tj.from_array(np.full(SHAPE, np.nan, np.float32)) for _ in days], times=days)
    assert (count(empty).compute() == 0).all()
    for kernel in (median, trend, mann_kendall, theil_sen, fill_gaps):
        assert np.isnan(np.asarray(kernel(empty).compute())).all()


def test_two_files_of_a_date_are_two_values_of_it(files):
    shutil.copy(files[0], "b_2021-01-05.tif")
    with warnings.catch_warnings(action="error"):
        slope = trend(tj.stack([files[0], "b_2021-01-05.tif", *files[1:]])).compute()[0]
    days = np.array(["2021-01-05", *(name[2:12] for name in files)], "datetime64[D]").astype(float) / 365.25
    expected = np.polyfit(days - days[0], np.concatenate([CELLS[:1], CELLS]).reshape(6, -1), 1)[0].reshape(SHAPE)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5)


def test_dates_that_fall_are_told(files):
    stack = tj.stack([files[1], files[0], *files[2:]])
    said = "mann_kendall: layer 1 is of 2021-01-05, and layer 0 of 2021-02-05: what goes by the order"
    with pytest.warns(tj.DatesWarning, match=said):
        mann_kendall(stack)
    with pytest.warns(tj.DatesWarning):
        slope = trend(stack).compute()[0]  # which goes by times
    np.testing.assert_allclose(slope, trend(tj.stack(files)).compute()[0], rtol=1e-4, atol=1e-5)


def test_files_that_go_or_break_meanwhile(files, tmp_path):
    lent = [shutil.copy(name, tmp_path) for name in files]
    result = median(tj.stack(lent))
    (tmp_path / files[2]).unlink()
    with pytest.raises(ReadError, match=r"a_2021-03-05\.tif: is gone since it was opened: put it back"):
        result.save(tmp_path / "median.tif")
    assert not (tmp_path / "median.tif").exists()
    (tmp_path / "c_2021-03-05.tif").write_bytes((tmp_path / files[1]).read_bytes()[:-20])
    with pytest.raises(ReadError, match=r"c_2021-03-05\.tif: cannot read band 1"):
        median(tj.stack([*lent[:2], tmp_path / "c_2021-03-05.tif"])).save(tmp_path / "median.tif")
