"""Passes and partials: what tiles are reduced to has the same bits however they are cut, and later passes take it."""

import math
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tilejit as tj
from tilejit.compiler.jit.native_function import NativeFunction
from tilejit.engine.histogram import ClassCounts
from tilejit.engine.partials import CountsPartial
from tilejit.engine.pipeline.journal import Journal
from tilejit.engine.ranking import Ranking
from tilejit.engine.reductions import Moments, RankCounts
from tilejit.engine.zones import Column, ZonalTable
from tilejit.kernel.counts import Counts
from tilejit.window import Window

GRID = (30.0, 0.0, 500_000.0, 0.0, -30.0, 5_000_000.0)


@tj.local
def stretched(z, *, low, high):
    return min(max((z - low) / (high - low), 0.0), 1.0)


def raster_of(array, **options):
    return tj.from_array(array, grid=tj.Grid(*array.shape, GRID, "EPSG:32633"), **options)


def state_of(reduction, *bands):
    return reduction.of(bands, [None] * len(bands), Window(0, 0, *bands[0].shape))


@pytest.fixture(scope="module")
def heights():
    rng = np.random.default_rng(5)
    z = rng.normal(500, 100, (90, 130)).astype(np.float32)
    z[3:20, 50:100] = np.nan
    return z


@pytest.fixture(scope="module")
def dem(heights, tmp_path_factory):
    path = tmp_path_factory.mktemp("passes") / "dem.tif"
    raster_of(heights).save(path, profile={"blockxsize": 16, "blockysize": 16})
    return tj.open(path)


def cells(dtype):
    return hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(["f4", "f8", "u1", "i2", "u4", "i8"]).flatmap(cells), st.integers(1, 4), st.randoms())
def test_moments_are_exact_and_do_not_depend_on_tiles(array, side, random):
    moments = Moments("moments")
    tiles = [
        array[y : y + side, x : x + side]
        for y in range(0, array.shape[0], side)
        for x in range(0, array.shape[1], side)
    ]
    states = [state_of(moments, tile) for tile in tiles]
    random.shuffle(states)
    state = reduce(moments.combine, states, moments.init())
    assert state == state_of(moments, array)
    found, values = moments.finalize(state), [v for v in array.ravel().tolist() if not math.isnan(v)]
    assert found.count == len(values)
    if values and all(map(math.isfinite, values)):
        exact = sum(map(Fraction, values))
        assert (found.min, found.max) == (float(min(values)), float(max(values)))
        if abs(exact) < 2**1023:
            assert (found.sum, found.mean) == (float(exact), float(exact / len(values)))
            spread = sum((v - exact / len(values)) ** 2 for v in map(Fraction, values)) / len(values)
            if spread < 2**1023:
                assert found.std == math.sqrt(float(spread))


@pytest.mark.parametrize(("bins", "ends"), [(10, None), (7, (450.0, 600.0)), ([400, 450.5, 451, 700], None)])
def test_a_histogram_is_numpys(dem, heights, bins, ends):
    lazy = dem.histogram(bins, ends)
    assert len(lazy.plan().passes) == (2 if bins == 10 else 1)
    counts, edges = lazy.compute()
    expected = np.histogram(heights[~np.isnan(heights)].astype(float), bins, ends)
    np.testing.assert_array_equal(counts, expected[0])
    np.testing.assert_array_equal(edges, expected[1])


@settings(deadline=None, max_examples=30)
@given(hnp.arrays("f8", (3, 8), elements=st.integers(-9, 9) | st.floats(-1e3, 1e3)), st.integers(1, 12))
def test_histograms_of_tiles_are_numpys(array, bins):
    moments, counts = Moments("m"), ClassCounts("c", bins)
    counts = counts.given(moments.finalize(state_of(moments, array)))
    state = counts.combine(state_of(counts, array[:, :3]), state_of(counts, array[:, 3:]))
    np.testing.assert_array_equal(counts.finalize(state)[0], np.histogram(array, bins)[0])


def test_histograms_of_little_and_of_much():
    counts, edges = raster_of(np.int16([[3, 3, -9]]), nodata=-9).histogram(2).compute()
    assert (counts.tolist(), edges.tolist()) == ([0, 2], [2.5, 3.0, 3.5])
    counts, edges = raster_of(np.float32([[np.nan]])).histogram(2).compute()
    assert (counts.tolist(), edges.tolist()) == ([0, 0], [0.0, 0.5, 1.0])
    with pytest.raises(tj.TilejitError, match="has no classes: give it range="):
        raster_of(np.float32([[1, np.inf]])).histogram().compute()
    for bins, ends, said in (
        (0, None, "one class or more"),
        ([3], None, "one class or more"),
        (3, (2, 1), "edges rise"),
    ):
        with pytest.raises(tj.TilejitError, match=said):
            raster_of(np.float32([[1]])).histogram(bins, ends)


def test_infinite_cells_are_counted():
    moments = Moments("moments")
    up, down = np.float32([[1, np.inf]]), np.float32([[-np.inf, 2]])
    assert moments.finalize(state_of(moments, up)).mean == math.inf
    assert math.isnan(moments.finalize(moments.combine(state_of(moments, up), state_of(moments, down))).sum)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("percent", [0.0, 2.0, 50.0, 98.3, 100.0])
def test_percentiles_of_small_integers_are_numpys(dtype, percent):
    info = np.iinfo(dtype)
    array = np.random.default_rng(2).integers(info.min, info.max, (30, 40), dtype, endpoint=True)
    ranks = RankCounts("ranks")
    assert ranks.finalize(state_of(ranks, array)).percentile(percent) == pytest.approx(
        np.percentile(array, percent), rel=1e-12
    )


@pytest.mark.parametrize("percent", [0.0, 2.0, 50.0, 98.0, 100.0])
def test_percentiles_of_floats_are_within_a_class(heights, percent):
    ranks = RankCounts("ranks")
    state = ranks.combine(state_of(ranks, heights[:40]), state_of(ranks, heights[40:]))
    assert ranks.finalize(state).percentile(percent) == pytest.approx(np.nanpercentile(heights, percent), rel=1 / 2048)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from("ab")), max_size=6), st.randoms())
def test_counts_combine_in_any_order(found, random):
    partial = CountsPartial()
    states = [
        {"collisions": n, "beyond": {name: m}, "saturated": {}, "clamped": {}, "unmarked": {}} for n, m, name in found
    ]
    once = partial.finalize(reduce(partial.combine, states, partial.init()))
    random.shuffle(states)
    assert partial.finalize(reduce(partial.combine, states, partial.init())) == once
    assert isinstance(once, Counts)


def test_statistics_of_a_raster(dem, heights):
    values = heights[~np.isnan(heights)].astype(float)
    assert float(dem.count()) == values.size
    assert float(dem.sum()) == math.fsum(values)
    assert float(dem.mean()) == pytest.approx(values.mean(), rel=1e-14)
    assert float(dem.std()) == pytest.approx(values.std(), rel=1e-13)
    assert (float(dem.min()), float(dem.max())) == (values.min(), values.max())


def test_cells_without_data_do_not_count(tmp_path):
    array = np.int16([[-9999, 4], [6, -9999]])
    raster = raster_of(array, nodata=-9999)
    assert (float(raster.mean()), float(raster.percentile(50))) == (5.0, 5.0)
    raster.save(tmp_path / "zeros.tif")
    assert float(tj.open(tmp_path / "zeros.tif").min()) == 4.0
    with rasterio.open(
        tmp_path / "masked.tif", "w", "GTiff", 2, 2, 1, dtype="uint8", transform=rasterio.Affine(*GRID)
    ) as file:
        file.write(np.uint8([[1, 2], [3, 250]]), 1)
        file.write_mask(np.uint8([[255, 255], [255, 0]]))
    assert float(tj.open(tmp_path / "masked.tif").max()) == 3.0


def test_values_and_not_counts_of_scaled_bands(tmp_path):
    with rasterio.open(
        tmp_path / "packed.tif", "w", "GTiff", 2, 1, 1, dtype="int16", transform=rasterio.Affine(*GRID)
    ) as file:
        file.write(np.int16([[1000, 3000]]), 1)
        file.scales, file.offsets = (1e-4,), (-0.1,)
    assert float(tj.open(tmp_path / "packed.tif").mean()) == pytest.approx(0.1)


def test_of_nothing_valid():
    raster = raster_of(np.full((3, 4), np.nan, np.float32))
    assert (float(raster.count()), float(raster.sum())) == (0.0, 0.0)
    assert all(math.isnan(float(value)) for value in (raster.mean(), raster.min(), raster.percentile(50)))


def test_statistics_of_one_raster_ride_on_one_pass(dem):
    low, high = dem.percentile(2, 98)
    plan = stretched(dem, low=low, high=high).plan()
    assert [len(one.reduces) for one in plan.passes] == [1, 0]
    both = stretched(dem, low=dem.mean(), high=high).plan()
    assert [len(one.reduces) for one in both.passes] == [2, 0]
    assert [len(one.reads) for one in both.passes] == [1, 1]
    text = str(both)
    assert "pass 1 of 2" in text
    assert "low=mean of" in text


def test_a_pass_takes_what_one_before_made(dem, heights):
    first = stretched(dem, low=dem.min(), high=dem.max())
    second = stretched(first, low=first.mean(), high=1)
    assert len(second.plan().passes) == 3
    low, high = np.float32(np.nanmin(heights)), np.float32(np.nanmax(heights))
    once = np.clip((heights - low) / (high - low), 0, 1)
    mean = np.float32(np.nanmean(once.astype(float)))
    np.testing.assert_allclose(second.read()[0], np.clip((once - mean) / (1 - mean), 0, 1), atol=1e-5)


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"tile": (48, 16), "workers": 1}, {"executor": "serial"},
                                     {"executor": "processes", "workers": 2}], ids=str)  # fmt: skip
def test_bits_do_not_depend_on_tiling_threads_or_executor(dem, tmp_path, options):
    raster = stretched(dem, low=dem.percentile(2), high=dem.mean())
    raster.save(tmp_path / "whole.tif")
    report = raster.save(tmp_path / "cut.tif", profile={"blockxsize": 16, "blockysize": 16}, **options)
    assert len(report.earlier) == 1
    one, other = (rasterio.open(tmp_path / name).read() for name in ("whole.tif", "cut.tif"))
    np.testing.assert_array_equal(one, other)


def test_arrays_take_statistics_of_rasters(dem, heights):
    found = stretched(heights, low=dem.min(), high=dem.max())
    assert np.nanmax(found) == 1.0


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_run_with_passes_goes_on_without_them(dem, tmp_path, monkeypatch, executor):
    small = {"profile": {"blockxsize": 16, "blockysize": 16}, "tile": (16, 16), "workers": 2}
    raster = stretched(dem, low=dem.min(), high=dem.max())
    raster.save(tmp_path / "at once.tif", **small)

    def failing(*_):
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "note_complete", failing)
        with pytest.raises(OSError, match="no space"):
            raster.save(tmp_path / "kept.tif", resume=True, executor=executor, **small)
    report = raster.save(tmp_path / "kept.tif", resume=True, executor=executor, **small)
    assert (report.earlier, report.tiles) == ((), 0)
    one, other = (rasterio.open(tmp_path / name).read() for name in ("at once.tif", "kept.tif"))
    np.testing.assert_array_equal(one, other)


def test_statistics_are_of_one_band():
    both = tj.from_array(np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(tj.TilejitError, match=r"\.band\(1\)"):
        both.mean()
    with pytest.raises(tj.TilejitError, match="from 0 to 100"):
        both.band(1).percentile(101)


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i2", "u4", "i8"])
def test_the_functions_that_reductions_call_are_known_before(dtype, monkeypatch):
    values, called = np.ones((4, 5), dtype), set()
    call = NativeFunction.__call__

    def noted(self, *arguments):
        arrays = ((a.dtype, a.ndim, "C") if isinstance(a, np.ndarray) else (np.dtype(int), 0, "") for a in arguments)
        called.add((self.name, tuple(arrays)))
        return call(self, *arguments)

    monkeypatch.setattr(NativeFunction, "__call__", noted)
    folds = tuple(map(Column, "abcdefg", ("sum", "min", "max", "mean", "std", "min_row", "variety")))
    for reduction, bands in ((Moments("m"), [values]), (ClassCounts.between(3, 0, 9), [values]), (RankCounts("r"), [values]),
                             (ZonalTable("t", folds), [np.ones((4, 5), "u2"), values]),
                             (Ranking("k", ((0, (50.0,)),)), [np.ones((4, 5), "u2"), values])):  # fmt: skip
        called.clear()
        reduction.combine(*[state_of(reduction, *bands)] * 2)
        known = reduction.functions([band.dtype for band in bands])
        assert {(function.name, types) for function, types in known} == called


def test_what_earlier_passes_read_belongs_to_the_run(dem, heights, tmp_path, monkeypatch):
    small = {"profile": {"blockxsize": 16, "blockysize": 16}, "tile": (16, 16)}
    raster_of(heights).save(tmp_path / "other.tif")
    other = tj.open(tmp_path / "other.tif")
    raster = stretched(dem, low=0, high=other.max())
    with pytest.raises(tj.TilejitError, match=r"other\.tif is an input and would be written"):
        raster.save(tmp_path / "other.tif", overwrite=True)
    in_memory = stretched(dem, low=0, high=raster_of(heights).max())
    for options in ({"executor": "processes"}, {"resume": True}):
        with pytest.raises(tj.TilejitError, match="in memory"):
            in_memory.plan(tmp_path / "out.tif", **options)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "note_complete", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            raster.save(tmp_path / "out.tif", resume=True, **small)
    raster_of(heights + 1).save(tmp_path / "other.tif", overwrite=True)
    again = stretched(dem, low=0, high=tj.open(tmp_path / "other.tif").max())
    with pytest.raises(tj.TilejitError, match=r"pass 1, input .*other\.tif"):
        again.save(tmp_path / "out.tif", resume=True, **small)
