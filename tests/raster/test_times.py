"""Times of layers: where they come from, what bodies see of them, and dates that do not go together."""

import datetime as dt

import numpy as np
import pytest
import rasterio

import tilejit as tj
from kernels_for_tests import bits
from tilejit.errors import KernelError, ParameterError
from tilejit.times import date_in, since

pytestmark = pytest.mark.slow

SHAPE, DATES = (9, 12), ("2020-01-05", "2020-02-10", "2020-03-05", "2020-07-05", "2021-02-05T12:00:00")
GRID = tj.Grid(*SHAPE, (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_300_000.0), "EPSG:32633")
TIMES = np.array(DATES, "datetime64[s]")
DAYS = (TIMES - TIMES[0]) / np.timedelta64(1, "D")


@tj.local
def trend(t: tj.Stack):
    n = len(t)
    days = total = 0.0
    for k in range(n):
        days += t.time[k]
        total += t[k]
    days, total = days / n, total / n
    both = square = 0.0
    for k in range(n):
        since = t.time[k] - days
        both += since * (t[k] - total)
        square += since * since
    return both / square


def when(t, k):
    return t.time[k]


@tj.focal(nodata="kernel")
def last_valid(t: tj.Stack, qa: tj.Stack[np.uint8], *, scale=2.0):
    for k in range(len(t) - 1, -1, -1):
        if tj.is_valid(t[k, 0, 1]) and qa[k] < 9:
            return when(t, k) * scale
    return -1.0


@tj.local
def chosen(t: tj.Stack, which):
    return t.time[int(which)] + t.time[-1]


@tj.local(nodata="kernel")
def calendar(t: tj.Stack, which):
    months = tj.zeros(13, dtype=int)
    for k in range(len(t)):
        months[t.month[k]] += k + 1
    return t.year[-1], t.day_of_year[int(which)], months[1], months[12], t.month[0] // 2


@tj.zonal(total="sum")
def days_of_first(t: tj.Stack):
    return t.time[1] * t[0]


@pytest.fixture(scope="module")
def cells():
    found = np.random.default_rng(5).random((5, *SHAPE)).astype(np.float32)
    found[2, 3, 4] = found[4, :2, 1] = np.nan
    return found


@pytest.fixture(scope="module")
def stack(cells):
    return tj.stack([tj.from_array(cells, grid=GRID)], times=DATES)


def test_a_trend_is_numpys_and_that_of_the_interpreted_body(cells, stack):
    found = [trend(stack).compute(backend=backend, tile=tile) for backend, tile in (("python", None), ("cpu", (4, 4)))]
    np.testing.assert_array_equal(*map(bits, found))
    wanted = np.polyfit(DAYS, cells.reshape(5, -1).astype(float), 1)[0].reshape(SHAPE)
    np.testing.assert_allclose(found[0][0], np.where(np.isnan(cells).any(0), np.nan, wanted), rtol=2e-4, atol=1e-8)
    assert trend.form.reads_times


def test_helpers_and_second_stacks_see_the_same_times(stack):
    qa = tj.from_array(np.random.default_rng(6).integers(0, 12, (5, *SHAPE)).astype(np.uint8), grid=GRID)
    found = [last_valid(stack, qa).compute(backend=backend) for backend in ("python", "cpu")]
    np.testing.assert_array_equal(*map(bits, found))
    assert set(np.unique(found[0])) <= {-1.0, *(2 * DAYS)}


@pytest.mark.parametrize("backend", ["python", "cpu"])
def test_the_time_of_a_layer_that_is_not_there_is_an_error(stack, backend):
    def of(which):
        return chosen(stack, tj.from_array(np.full(SHAPE, which, np.float32), grid=GRID)).compute(backend=backend)

    assert of(-2)[0, 0, 0] == DAYS[-2] + DAYS[-1]
    for which in (5, -6):
        with pytest.raises(KernelError, match=r"t\.time\[int\(which\)\] is of no layer of the stack, which has 5"):
            of(which)


def test_float64_bodies_and_tables_by_zone(cells):
    wide = tj.stack([tj.from_array(cells.astype(np.float64), grid=GRID)], times=DATES)
    assert trend(wide).compute().dtype == np.float64
    table = days_of_first(wide, zones=tj.from_array(np.ones(SHAPE, np.uint8), grid=GRID)).compute()
    assert table["total"][0] == pytest.approx(
        36 * np.nansum(np.where(np.isnan(cells[1]), np.nan, cells[0].astype(float)))
    )


def test_repr_and_plan_show_the_dates(stack):
    assert "5 bands, 2020-01-05 to 2021-02-05T12:00:00, 9 rows" in repr(stack)
    assert "; layers of 2020-01-05 to 2021-02-05T12:00:00" in str(trend(stack).plan())
    assert str(stack.band(2).times) == "['2020-02-10T00:00:00']"
    assert [str(band.times[0])[:7] for band in stack] == ["2020-01", "2020-02", "2020-03", "2020-07", "2021-02"]
    assert tj.stack(reversed(list(stack))).times.tolist() == TIMES[::-1].tolist()


GIVEN = {
    "texts": list(DATES),
    "numpy": TIMES,
    "datetime": [dt.datetime.fromisoformat(date) for date in DATES],
    "a zone": [dt.datetime.fromisoformat(date).replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))
               + dt.timedelta(hours=2) for date in DATES],
}  # fmt: skip


@pytest.mark.parametrize("kind", GIVEN)
def test_times_are_given_as_anything_that_is_a_date(cells, kind):
    assert tj.stack([tj.from_array(cells)], times=GIVEN[kind]).times.tolist() == TIMES.tolist()


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("ndvi_20200105.tif", "2020-01-05"),
        ("S2A_MSIL2A_20200105T103421_N0213", "2020-01-05T10:34:21"),
        ("LC08_L2SP_193026_20200105_20200823_02_T1_B4.TIF", "2020-01-05"),
        ("MOD13Q1.A2020017.h18v04.061.2020345123456.hdf", "2020-01-17"),
        ("2020:01:05 10:11:12", "2020-01-05T10:11:12"),
        ("ndvi 2020-06", "2020-06-01"),
        ("ndvi_2020.tif", "2020-01-01"),
        ("tile_2048_1024.tif", None),
        ("a_2020-13-01.tif", None),
        ("a_2021366.tif", None),
        ("B04", None),
    ],
)
def test_dates_in_names(text, date):
    assert date_in(text) == (None if date is None else np.datetime64(date, "s"))


def test_units_of_coordinates():
    assert since("days since 1970-1-1", [18000.5]) == [np.datetime64("2019-04-14T12:00:00")]
    assert since("minutes since 2020-01-01T00:30Z", [30]) == [np.datetime64("2020-01-01T01:00:00")]
    assert since("months since 2020-01-01", [1]) == since("hours", [1]) == [None]


def write(path, dates=(None,), **tags):
    profile = {"driver": "GTiff", "height": 4, "width": 5, "count": len(dates), "dtype": "float32"}
    with rasterio.open(path, "w", **profile, transform=rasterio.Affine(30, 0, 5e5, 0, -30, 5e6)) as file:
        file.write(np.zeros((len(dates), 4, 5), np.float32))
        file.update_tags(**tags)
        for number, date in enumerate(dates, 1):
            if date is not None:
                file.set_band_description(number, date)
    return path


def test_what_files_say_in_order(tmp_path):
    by_name = write(tmp_path / "a_2021-05-06.tif")
    by_tag = write(tmp_path / "b_2021-05-06.tif", TIFFTAG_DATETIME="2020:01:05 00:00:00")
    described = write(
        tmp_path / "c_2021.tif", ["ndvi 2019-01-01", "ndvi 2019-02-01"], TIFFTAG_DATETIME="2020:01:05 00:00:00"
    )
    scene = write(tmp_path / "d_2018-03-04.tif", ["red", "nir"])
    plain = write(tmp_path / "plain.tif")
    wanted = ["2021-05-06", "2020-01-05", "2019-01-01", "2019-02-01", "2018-03-04"]
    found = tj.stack([by_name, by_tag, described, tj.open(scene).band(2)])
    assert found.times.tolist() == np.array(wanted, "datetime64[s]").tolist()
    assert tj.open(scene).times is None  # two bands of one date are no dates
    assert tj.open(plain).times is None
    assert tj.stack([by_name, plain]).times is None
    assert tj.stack([by_name, plain], times=["2020-01-01", "2020-02-01"]).times is not None


def test_a_dataarray_has_times(cells):
    xarray = pytest.importorskip("xarray")
    labelled = xarray.DataArray(cells, dims=("time", "y", "x"), coords={"time": TIMES.astype("datetime64[ns]")})
    np.testing.assert_array_equal(trend(labelled).values, trend(tj.stack([tj.from_array(labelled)])).compute()[0])


def test_what_does_not_go_together(cells, stack, tmp_path):
    plain = tj.from_array(cells, grid=GRID)
    for given in (plain, cells):
        with pytest.raises(
            ParameterError, match="trend asks when layers were taken, and nothing says so of all of them: give tj"
        ):
            trend(given)
    other = tj.stack(
        [tj.from_array(np.zeros((5, *SHAPE), np.uint8), grid=GRID)], times=[*DATES[:3], "2020-07-06", DATES[4]]
    )
    with pytest.raises(ParameterError, match="layer 3 of t is of 2020-07-05, that of qa of 2020-07-06: give stacks"):
        last_valid(stack, other)
    for times, said in [
        (DATES[:4], "times= has 4, and the stack 5 layers"),
        ([*DATES[:4], "soon"], "times= holds no dates"),
        ([1, 2, 3, 4, 5], "1 is a number"),
        ([*DATES[:4], None], "times= has no date for layer 4"),
    ]:
        with pytest.raises(ParameterError, match=said):
            tj.stack([plain], times=times)
    with pytest.raises(ParameterError, match=r"nothing says when .*plain\.tif was taken, and others have dates"):
        tj.stack([tj.stack([write(tmp_path / "x.tif")], times=["2020-01-01"]), write(tmp_path / "plain.tif")])


def test_what_a_body_cannot_ask():
    with pytest.raises(KernelError, match=r"t\.time without a layer[\s\S]*write t\.time\[k\]"):
        tj.local(bare).form  # noqa: B018 - it is lowered here
    with pytest.raises(KernelError, match=r"z\.time of something that is no stack[\s\S]*tj\.Stack"):
        tj.local(of_a_plane).form  # noqa: B018
    with pytest.raises(KernelError, match="the time of a layer has one index"):
        tj.local(three).form  # noqa: B018


def test_a_body_sees_the_calendar(cells):
    """Integers: a leap day is the 60th, and the last day of 2020 the 366th."""
    dates = ["2019-12-31T23:59", "2020-01-01", "2020-02-29", "2020-12-31", "2021-03-01"]
    found = calendar(tj.stack([tj.from_array(cells)], times=dates), tj.from_array(np.full(SHAPE, 3, np.float32)))
    assert found.compute()[:, 0, 0].tolist() == [2021, 366, 2, 5, 6]
    np.testing.assert_array_equal(found.compute(backend="python"), found.compute())


def bare(t: tj.Stack):
    return t.time


def of_a_plane(z):
    return z.time[0]


def three(t: tj.Stack):
    return t.time[0, 0, 1]
