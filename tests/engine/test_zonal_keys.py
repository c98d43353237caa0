"""Majorities, varieties, histograms, percentiles and places by zone: equal to NumPy's, however rasters are cut."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import tilejit as tj
from tilejit.engine import keys
from tilejit.engine.ranking import Ranking
from tilejit.engine.runs import Runs
from tilejit.engine.zones import Column, ZonalTable
from tilejit.window import Window
from tilejit_kernels import zonal

GRID = (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_000_000.0)
EDGES = (-20.0, 0.0, 5.0, 40.0)


@tj.zonal(most="majority", least="minority", variety="variety", median="median", high=tj.percentile(90),
          classes=tj.histogram(EDGES), low_row="min_row", low_col="min_col", high_row="max_row", high_col="max_col",
          low="min", total="sum")  # fmt: skip
def everything(value):
    return value, value, value, value, value, value, value, value, value, value, value, value


@tj.local
def halved(z):
    return z / 2


def raster_of(array, **options):
    return tj.from_array(array, grid=tj.Grid(*array.shape, GRID, "EPSG:32633"), **options)


def brute(values, zones, valid):
    """Each column by NumPy."""
    found = {}
    for zone in np.unique(zones):
        inside = (zones == zone) & valid
        cells = values[inside].astype(np.float64)
        distinct, counts = np.unique(cells, return_counts=True)
        rows, cols = np.nonzero(inside)
        first = [int(np.flatnonzero(cells == end)[0]) for end in (cells.min(), cells.max())]
        found[zone] = {
            "most": distinct[counts.argmax()], "least": distinct[counts.argmin()], "variety": distinct.size,
            "median": np.percentile(cells, 50), "high": np.percentile(cells, 90),
            "classes": np.histogram(cells, EDGES)[0].tolist(), "low": cells.min(), "total": cells.sum(),
            "low_row": rows[first[0]], "low_col": cols[first[0]], "high_row": rows[first[1]], "high_col": cols[first[1]],
        }  # fmt: skip
    return found


def case(dtype, spread=8):
    """Values around zero, many of them equal, of which some are no data; and zones of several shapes."""
    rng = np.random.default_rng(3)
    values = rng.normal(3, spread, (60, 70))
    values = (np.round(values) if np.dtype(dtype).kind != "f" or spread < 10 else values).clip(-90, 90).astype(dtype)
    zones = np.kron(rng.integers(0, 5, (6, 7)), np.ones((10, 10), int)).astype(np.uint8)
    valid = rng.random(values.shape) > 0.1
    values[~valid] = np.nan if values.dtype.kind == "f" else 99
    return values, zones, valid


@pytest.mark.parametrize(("dtype", "spread"), [("f4", 8), ("f4", 30), ("f8", 30), ("i1", 8), ("i4", 8), ("i8", 8)])
def test_columns_are_what_numpy_finds(dtype, spread):
    values, zones, valid = case(dtype, spread)
    nodata = {} if values.dtype.kind == "f" else {"nodata": 99}
    lazy = everything(raster_of(values, **nodata), zones=raster_of(zones))
    assert len(lazy.plan().passes) == (1 if dtype == "i1" else 2)
    table = lazy.compute(tile=(16, 32))
    for row, (zone, expected) in enumerate(brute(values, zones, valid).items()):
        assert table["zone"][row] == zone
        found = {name: column[row].tolist() for name, column in table.items() if name != "zone"}
        assert found.pop("classes") == expected.pop("classes")
        assert found.pop("total") == pytest.approx(expected.pop("total"))
        assert found == expected


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"tile": (60, 16), "workers": 1},
                                     {"executor": "processes", "workers": 2}, {"backend": "python"}], ids=str)  # fmt: skip
def test_bits_do_not_depend_on_tiling_threads_executor_or_backend(tmp_path, options):
    values, zones, _ = case("f4", 30)
    raster_of(values).save(tmp_path / "values.tif", profile={"blockxsize": 16, "blockysize": 16})
    raster_of(zones).save(tmp_path / "zones.tif", profile={"blockxsize": 16, "blockysize": 16})
    table = everything(halved(tj.open(tmp_path / "values.tif")), zones=tj.open(tmp_path / "zones.tif"))
    whole, cut = table.compute(), table.compute(**options)
    for name, column in whole.items():
        np.testing.assert_array_equal(cut[name], column, name)


def test_shipped_kernels_are_what_scipy_finds():
    _, zones, _ = case("f4")
    values, index = np.random.default_rng(8).normal(3, 30, zones.shape).astype(np.float32), np.unique(zones)
    assert list(zonal.median(values, zones=zones).compute()["median"]) == list(
        ndimage.median(values.astype(float), zones, index)
    )
    places = zonal.value_range(values, zones=zones).compute()
    for name, position in (("low", ndimage.minimum_position), ("high", ndimage.maximum_position)):
        found = zip(places[f"{name}_row"].tolist(), places[f"{name}_col"].tolist(), strict=True)
        assert list(found) == position(values, zones, index)
    whole = np.round(values / 9)
    for kernel, counted in ((zonal.majority, np.argmax), (zonal.minority, np.argmin), (zonal.variety, None)):

        def chosen(cells, counted=counted):
            distinct, counts = np.unique(cells, return_counts=True)
            return distinct.size if counted is None else distinct[counted(counts)]

        expected = ndimage.labeled_comprehension(whole, zones, index, chosen, float, np.nan)
        assert list(kernel(whole, zones=zones).compute()[kernel.name]) == list(expected)
    found = zonal.percentiles(values, zones=zones).compute()
    assert found["p95"][1] == np.percentile(values[zones == index[1]].astype(float), 95)
    weighted = zonal.weighted_sum(whole, np.abs(whole), zones=zones).compute()["sum"]
    assert list(weighted) == list(ndimage.sum_labels(whole * np.abs(whole), zones, index))


def test_rows_count_as_the_raster_does_where_it_is_turned():
    values, zones, valid = case("f4")
    grid = tj.Grid(*values.shape, (-30.0, 0.0, 500_000.0, 0.0, 30.0, 5_000_000.0), "EPSG:32633")
    table = everything(tj.from_array(values, grid=grid), zones=tj.from_array(zones, grid=grid)).compute(tile=(16, 16))
    expected = brute(values, zones, valid)
    for name in ("low_row", "low_col", "high_row", "high_col"):
        assert table[name].tolist() == [row[name] for row in expected.values()]


def test_zones_without_a_value():
    values, zones = np.float32([[np.nan, 4, 4]]), np.uint8([[1, 2, 2]])
    table = everything(values, zones=zones).compute()
    assert (table["low_row"].tolist(), table["variety"].tolist()) == ([-1, 0], [0, 1])
    np.testing.assert_array_equal(table["median"], [np.nan, 4])
    np.testing.assert_array_equal(table["most"], [np.nan, 4])
    assert table["classes"].tolist() == [[0, 0, 0], [0, 2, 0]]
    nothing = everything(np.float32([[np.nan]]), zones=np.uint8([[1]])).compute()
    assert np.isnan(nothing["high"]).all()


def test_infinite_values_and_both_zeros():
    values = np.float32([[0.0, -0.0, -0.0, np.inf, -np.inf, 7]])
    table = everything(values, zones=np.ones(values.shape, np.uint8)).compute()
    assert (table["variety"].tolist(), table["most"].tolist(), table["median"].tolist()) == ([4], [0.0], [0.0])
    assert (table["low_col"].tolist(), table["high_col"].tolist()) == ([4], [3])


@dataclass(frozen=True)
class Shares:
    """Two zones over all cells, by shares."""

    is_weighted = True

    def strips(self, window):
        yield slice(None), window

    def runs(self, window):
        rows, cols = (axis.ravel().astype(np.int32) for axis in np.indices(window.shape))
        rows, cols, slots = np.tile(rows, 2), np.tile(cols, 2), np.repeat(np.int32([0, 1]), rows.size)
        return Runs(np.array([3, 8]), slots, rows, cols, cols + 1, (1 + slots + (window.col_off + cols) % 3) / 4)


def test_cells_that_count_by_a_share():
    values = np.round(np.random.default_rng(5).normal(3, 8, (12, 9)))
    folds = ("majority", "minority", "variety", "median", tj.percentile(90), tj.histogram(EDGES))
    table = ZonalTable("t", tuple(map(Column, "abcdef", folds)), Shares())

    def total(reduction):
        states = [reduction.of([values[:, x : x + 4]], [None], Window(0, x, 12, min(4, 9 - x))) for x in (0, 4, 8)]
        return reduction.finalize(reduction.combine(states[2], reduction.combine(states[0], states[1])))

    found = total(table.given(total(Ranking("r", ((0, (50.0, 90.0)),), Shares()))))
    for row in range(2):
        shares = np.tile((1 + row + np.arange(9) % 3) / 4, (12, 1)).ravel()
        distinct, places = np.unique(values, return_inverse=True)
        weights = np.bincount(places.ravel(), shares)
        assert [found[name][row] for name in "abc"] == [
            distinct[weights.argmax()],
            distinct[weights.argmin()],
            distinct.size,
        ]
        expected = np.percentile(values.ravel(), [50, 90], weights=shares, method="inverted_cdf")
        assert [found["d"][row], found["e"][row]] == expected.tolist()
        np.testing.assert_allclose(found["f"][row], np.histogram(values, EDGES, weights=shares.reshape(12, 9))[0], 1e-9)


values_of_cells = st.sampled_from(["f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, (6, 7), elements=hnp.from_dtype(np.dtype(dtype), allow_infinity=False))
)


@settings(deadline=None, max_examples=40)
@given(values_of_cells | hnp.arrays("i8", (6, 7)) | hnp.arrays("i4", (6, 7), elements=st.integers(-2, 2)),
       hnp.arrays("i4", (6, 7), elements=st.integers(0, 2)), st.integers(1, 6), st.floats(0, 100), st.randoms())  # fmt: skip
def test_any_tiles_in_any_order_give_what_numpy_finds(values, zones, side, percent, random):
    folds = ("majority", "variety", tj.percentile(percent), "min_row", "min_col")
    table, ranking = ZonalTable("t", tuple(map(Column, "abcde", folds))), Ranking("r", ((0, (percent,)),))

    def total(reduction):
        windows = [
            Window(y, x, min(side, 6 - y), min(side, 7 - x)) for y in range(0, 6, side) for x in range(0, 7, side)
        ]
        random.shuffle(windows)
        state = reduction.init()
        for window in windows:
            rows, cols = window.slices(Window(0, 0, 6, 7))
            state = reduction.combine(state, reduction.of([zones[rows, cols], values[rows, cols]], [None] * 2, window))
        return reduction.finalize(state)

    found = total(table.given(total(ranking)))
    for row, zone in enumerate(found["zone"]):
        inside = (zones == zone) & ~np.isnan(values.astype(float))
        cells = values[inside] + 0
        if not cells.size:
            continue
        distinct, counts = np.unique(cells, return_counts=True)
        assert (found["a"][row], found["b"][row]) == (distinct[counts.argmax()], distinct.size)
        with np.errstate(all="ignore"):
            assert found["c"][row] == np.percentile(cells.astype(float), percent) or np.ptp(cells.astype(float)) > 1e300
        first = np.argwhere(inside & (values == cells.min()))[0]
        assert (found["d"][row], found["e"][row]) == tuple(first)


def test_more_values_than_can_be_held(monkeypatch):
    monkeypatch.setattr(keys, "MOST_ENTRIES", 10)
    with pytest.raises(tj.TilejitError, match=r"more than 10: round the values"):
        everything(np.arange(20.0, dtype=np.float32)[np.newaxis], zones=np.ones((1, 20), int)).compute()


def test_mistakes_are_told():
    with pytest.raises(tj.TilejitError, match=r"percentile\(101\): percents are from 0 to 100"):
        tj.percentile(101)
    with pytest.raises(tj.TilejitError, match="at least two edges, each greater"):
        tj.histogram([1, 1])
