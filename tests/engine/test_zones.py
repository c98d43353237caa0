"""Tables by zone: equal to brute force, with the same bits however rasters are cut and whoever computes."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tilejit as tj
from tilejit.engine.runs import Runs
from tilejit.engine.zones import Column, ZonalTable
from tilejit.window import Window
from tilejit_kernels import zonal

GRID = (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_000_000.0)
COLUMNS = tuple(map(Column, ("total", "low", "high", "mean", "std"), ("sum", "min", "max", "mean", "std")))
TOTAL = (Column("total", "sum"),)


@tj.zonal(count="sum", total="sum", low="min", high="max", mean="mean", std="std")
def everything(value):
    return 1, value, value, value, value, value


@tj.local
def doubled(z):
    return z * 2


def raster_of(array, **options):
    return tj.from_array(array, grid=tj.Grid(*array.shape, GRID, "EPSG:32633"), **options)


def state_of(table, *bands):
    return table.of(bands, [None] * len(bands), Window(0, 0, *bands[0].shape))


def expected(values):
    """A row by exact arithmetic."""
    numbers = [Fraction(v) for v in values.tolist()]
    if not numbers:
        return [0, 0.0, math.nan, math.nan, math.nan, math.nan]
    total = sum(numbers)
    mean = total / len(numbers)
    variance = sum((n - mean) ** 2 for n in numbers) / len(numbers)
    return [len(numbers), float(total), min(values), max(values), float(mean), math.sqrt(float(variance))]


@pytest.fixture(scope="module")
def rasters(tmp_path_factory):
    rng = np.random.default_rng(7)
    zones = np.kron(rng.integers(0, 9, (9, 13)), np.ones((10, 10), int)).astype(np.int16)
    values = rng.normal(500, 100, zones.shape).astype(np.float32)
    values[10:30, 40:70] = np.nan
    zones[50:55] = -1
    folder = tmp_path_factory.mktemp("zones")
    small = {"blockxsize": 16, "blockysize": 16}
    raster_of(zones, nodata=-1).save(folder / "zones.tif", nodata=-1, profile=small)
    raster_of(values).save(folder / "values.tif", profile=small)
    return tj.open(folder / "values.tif"), tj.open(folder / "zones.tif"), values, zones


def test_a_table_is_what_brute_force_finds(rasters):
    dem, parcels, values, zones = rasters
    table = everything(dem, zones=parcels).compute()
    assert list(table) == ["zone", "count", "total", "low", "high", "mean", "std"]
    assert table["zone"].tolist() == sorted(set(zones[zones >= 0].tolist()))
    for row, zone in enumerate(table["zone"]):
        cells = values[(zones == zone) & ~np.isnan(values)]
        np.testing.assert_array_equal([column[row] for column in list(table.values())[1:]], expected(cells))


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"tile": (48, 16), "workers": 1}, {"executor": "serial"},
                                     {"executor": "processes", "workers": 2}, {"backend": "python", "tile": (90, 32)}],
                         ids=str)  # fmt: skip
def test_bits_do_not_depend_on_tiling_threads_executor_or_backend(rasters, options):
    dem, parcels, *_ = rasters
    whole, cut = (everything(dem, zones=parcels).compute(**given) for given in ({}, options))
    for name, column in whole.items():
        np.testing.assert_array_equal(cut[name], column, name)


floats = st.sampled_from(["f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, (6, 7), elements=hnp.from_dtype(np.dtype(dtype), allow_infinity=False))
)
integers = st.sampled_from(["u1", "i2", "i4", "i8"]).flatmap(lambda dtype: hnp.arrays(dtype, (6, 7)))


@settings(deadline=None, max_examples=40)
@given(floats | integers, hnp.arrays("i4", (6, 7), elements=st.integers(-2, 2)), st.integers(1, 6), st.randoms())
def test_tables_of_tiles_combine_in_any_order(values, zones, side, random):
    table = ZonalTable("by zone", COLUMNS)

    def of(rows, cols):
        return state_of(table, zones[rows, cols], values[rows, cols])

    whole = table.finalize(of(slice(None), slice(None)))
    states = [of(slice(y, y + side), slice(x, x + side)) for y in range(0, 6, side) for x in range(0, 7, side)]
    random.shuffle(states)
    state = table.init()
    for other in states:
        state = table.combine(state, other)
    for name, column in table.finalize(state).items():
        np.testing.assert_array_equal(column, whole[name], name)
    if values.dtype.kind == "f":
        for row, zone in enumerate(whole["zone"]):
            cells = values[(zones == zone) & ~np.isnan(values)]
            total = sum(map(Fraction, cells.tolist()))
            if abs(total) < 2**1023:
                assert whole["total"][row] == float(total)


def test_a_zone_of_infinite_cells():
    table = everything(np.float32([[np.inf, 1, -np.inf]]), zones=np.uint8([[1, 1, 2]])).compute()
    assert (table["total"].tolist(), table["mean"].tolist()) == ([np.inf, -np.inf], [np.inf, -np.inf])
    assert (table["low"].tolist(), table["high"].tolist()) == ([1.0, -np.inf], [np.inf, -np.inf])


def test_a_zone_without_values_has_no_extremes():
    values = raster_of(np.int16([[-9, 4], [6, -9]]), nodata=-9)
    table = everything(values, zones=raster_of(np.uint8([[1, 2], [2, 3]]))).compute()
    np.testing.assert_array_equal(table["low"], [np.nan, 4, np.nan])
    np.testing.assert_array_equal(table["mean"], [np.nan, 5, np.nan])
    np.testing.assert_array_equal(table["count"], [0, 2, 0])


@pytest.mark.parametrize("tile", [(16, 16), (1, 2)])
def test_sums_of_integers_beyond_64_bits_do_not_wrap(tile):
    values, table = np.full((2, 4), (1 << 62) + 1, np.int64), ZonalTable("t", TOTAL)
    state = table.init()
    for y in range(0, 2, tile[0]):
        for x in range(0, 4, tile[1]):
            part = values[y : y + tile[0], x : x + tile[1]]
            state = table.combine(state, state_of(table, np.ones(part.shape, np.uint8), part))
    assert table.finalize(state)["total"].tolist() == [float(8 * ((1 << 62) + 1))]
    small = table.finalize(state_of(table, np.ones((2, 4), np.uint8), values // 8))["total"]
    assert (small.dtype, small.tolist()) == (np.int64, [8 * (((1 << 62) + 1) // 8)])


@pytest.mark.parametrize("dtype", ["u1", "i1", "u4", "i8", "u8", "f4"])
def test_zones_of_any_type(dtype):
    zones = np.array([[3, 3, 100]], dtype)
    table = zonal.total(np.float32([[1, 2, 4]]), zones=zones).compute()
    assert (table["zone"].tolist(), table["sum"].tolist()) == ([3, 100], [3.0, 4.0])


def test_more_zones_than_a_table_begins_with():
    zones = np.random.default_rng(0).permutation(1 << 15).astype(np.int64).reshape(128, 256) << 40
    table = zonal.total(np.ones(zones.shape, np.float32), zones=zones).compute(tile=(32, 64))
    np.testing.assert_array_equal(table["zone"], np.sort(zones, axis=None))
    assert set(table["sum"].tolist()) == {1.0}


def test_what_does_not_count_is_counted_apart(tmp_path):
    with rasterio.open(tmp_path / "zones.tif", "w", "GTiff", 3, 1, 1, dtype="uint8",
                       transform=rasterio.Affine(*GRID), crs="EPSG:32633") as file:  # fmt: skip
        file.write(np.uint8([[1, 1, 2]]), 1)
        file.write_mask(np.uint8([[255, 255, 0]]))
    table = zonal.count(raster_of(np.float32([[1, np.nan, 5]])), zones=tj.open(tmp_path / "zones.tif")).compute()
    assert {name: column.tolist() for name, column in table.items()} == {"zone": [1], "count": [1], "nodata": [1]}


@dataclass(frozen=True)
class Rows:
    """Zones that overlap: each row of the raster, and all of them."""

    is_weighted = False

    def strips(self, window):
        yield slice(None), window

    def runs(self, window):
        rows = np.tile(np.arange(window.height, dtype=np.int32), 2)
        zones = np.append(np.arange(window.row_off, window.row_end), -1)
        slots = np.append(rows[: window.height], np.full(window.height, window.height)).astype(np.int32)
        return Runs(zones, slots, rows, np.zeros_like(rows), np.full_like(rows, window.width))


@pytest.mark.parametrize("side", [2, 5])
def test_zones_may_come_from_elsewhere_and_overlap(side):
    values, table = np.arange(30, dtype=np.float32).reshape(5, 6), ZonalTable("t", TOTAL, Rows())
    state = table.init()
    for y in range(0, 5, side):
        part = values[y : y + side]
        state = table.combine(state, table.of([part], [None], Window(y, 0, *part.shape)))
    assert table.finalize(state)["zone"].tolist() == [-1, 0, 1, 2, 3, 4]
    assert table.finalize(state)["total"].tolist() == [values.sum(), *values.sum(axis=1)]


def share_of(cols):
    return np.rint(2.0**40 / (1.0 + cols)) / 2.0**40


@dataclass(frozen=True)
class Parts:
    """One zone, which cells belong to by a share that their column tells."""

    is_weighted = True

    def strips(self, window):
        yield slice(None), window

    def runs(self, window):
        rows, cols = (axis.ravel().astype(np.int32) for axis in np.indices(window.shape))
        return Runs(np.array([5]), np.zeros_like(rows), rows, cols, cols + 1, share_of(window.col_off + cols))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
def test_cells_that_count_by_a_share(dtype):
    values = np.random.default_rng(2).normal(50, 20, (8, 9)).astype(dtype)
    values[2, 3] = 0
    table, state = ZonalTable("t", (*COLUMNS, Column("count", "sum", constant=2)), Parts()), None
    for x in (0, 4, 5):
        part = values[:, x : {0: 4, 4: 5, 5: 9}[x]]
        found = table.of([part], [part != 0], Window(0, x, *part.shape))
        state = found if state is None else table.combine(found, state)
    shares = np.tile(share_of(np.arange(9)), (8, 1))
    known, amounts = shares[values != 0], (values * shares)[values != 0]
    found = {name: column[0] for name, column in table.finalize(state).items()}
    exact = [float(sum(map(Fraction, part.tolist()))) for part in (known, amounts)]
    mean = float(sum(map(Fraction, amounts.tolist())) / sum(map(Fraction, known.tolist())))
    assert (found["cells"], found["total"], found["mean"], found["nodata"]) == (*exact, mean, shares[values == 0].sum())
    assert found["count"] == 2 * found["cells"]
    assert (found["low"], found["high"]) == (values[values != 0].min(), values.max())
    variance = np.average((values[values != 0].astype(float) - mean) ** 2, weights=known)
    assert found["std"] == pytest.approx(math.sqrt(variance), rel=1e-12)


@tj.zonal(twice="sum", again="max", value="min")
def of_one_expression(value):
    high = value * 2
    return high, high, value


def test_what_is_one_expression_is_folded_from_one_plane(rasters):
    dem, parcels, values, zones = rasters
    table = of_one_expression(dem, zones=parcels)
    assert [column.input for column in table.reduced.reduction.columns] == [0, 0, 1]
    assert [column.input for column in everything(dem, zones=parcels).reduced.reduction.columns] == [0] * 6
    assert not everything(dem, zones=parcels).plan().steps
    found, cells = table.compute(), values[(zones == 0) & ~np.isnan(values)]
    assert (found["again"][0], found["value"][0]) == (2 * cells.max(), cells.min())


def test_values_and_zones_may_be_computed(rasters):
    dem, parcels, values, zones = rasters
    table = zonal.maximum(doubled(dem), zones=parcels).compute()
    assert table["max"][0] == 2 * np.nanmax(values[zones == 0])


def test_several_rasters_and_a_finish():
    values, weights = np.float32([[1, 3], [5, 9]]), np.float32([[1, 3], [1, 0]])
    table = zonal.weighted_mean(values, weights, zones=np.uint8([[1, 1], [2, 2]])).compute()
    assert {name: column.tolist() for name, column in table.items()} == {"zone": [1, 2], "mean": [2.5, 5.0]}
    assert zonal.value_range(values, zones=np.ones((2, 2), int)).compute()["range"].tolist() == [8.0]


def test_a_statistic_is_a_parameter_of_a_zonal_kernel(rasters):
    dem, parcels, *_ = rasters
    table = above(dem, zones=parcels, limit=dem.mean())
    assert len(table.plan().passes) == 2
    assert 0 < table.compute()["share"].min() < 1


@tj.zonal(share="mean")
def above(value, *, limit):
    return 1.0 if value > limit else 0.0


def test_nothing_valid_is_no_row():
    table = zonal.mean(np.float32([[1.0]]), zones=np.float32([[np.nan]])).compute()
    assert {name: column.size for name, column in table.items()} == {"zone": 0, "mean": 0}


@pytest.mark.parametrize(("zones", "said"), [(np.float32([[1.5]]), r"array, rows 0:1, cols 0:1: zones are whole numbers, and there is 1\.5"),
                                             (np.uint64([[1 << 63]]), "64 bits with a sign, and there is 922337")])  # fmt: skip
def test_zones_that_are_none(zones, said):
    with pytest.raises(tj.TilejitError, match=said):
        zonal.mean(np.float32([[1.0]]), zones=zones).compute()


def test_mistakes_are_told():
    values = raster_of(np.ones((2, 2), np.float32))
    with pytest.raises(tj.TilejitError, match="needs zones="):
        zonal.mean(values)
    with pytest.raises(tj.TilejitError, match="different grids"):
        zonal.mean(values, zones=raster_of(np.ones((3, 2), np.uint8)))
    with pytest.raises(tj.TilejitError, match="returns 1 value, and there are 2 columns"):

        @tj.zonal(low="min", high="max")
        def one(value):
            return value

    with pytest.raises(tj.TilejitError, match="a fold is one of sum"):
        tj.zonal(low="least")
    with pytest.raises(tj.TilejitError, match="every table has a column of that name"):
        tj.zonal(zone="max")
