"""Stacks that kernels make: tiles, files, other kernels, executors, and runs that go on."""

import numpy as np
import pytest

import tilejit as tj
from date_kernels import filled, ordered, rounded, smoothed, valid_dates
from kernels_for_tests import assert_same
from tilejit.errors import ReadError
from tilejit.formats.geotiff import block_source

pytestmark = pytest.mark.slow

BLOCKS = {"blockxsize": 32, "blockysize": 32}
TIMES = np.array([f"2020-{month:02}-05" for month in range(1, 8)], "M8[s]")


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(7)
    values = rng.random((len(TIMES), 90, 140), np.float32)
    values[rng.random(values.shape) < 0.4] = np.nan
    values[:, :40, 64:] = np.nan  # whole tiles without data
    return values


@pytest.fixture(scope="module")
def files(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dates")
    for time, layer in zip(TIMES, cells, strict=True):
        tj.from_array(layer).save(folder / f"ndvi_{str(time)[:10]}.tif", profile=BLOCKS)
    return sorted(folder.glob("*.tif"))


def test_a_result_is_a_stack_of_the_same_dates(cells, files, tmp_path):
    made = filled(tj.stack(files))
    assert len(made) == len(TIMES)
    np.testing.assert_array_equal(made.times, TIMES)
    whole = made.compute(tile=(90, 140))
    assert_same(whole, made.compute(tile=(32, 32), workers=2))
    assert_same(made.band(3).compute(), whole[2:3])
    for name in ("made.tif", "made.vrt"):
        made.save(tmp_path / name, tile=(32, 64), profile=BLOCKS)
        again = tj.open(tmp_path / name)
        np.testing.assert_array_equal(again.times, TIMES)
        assert_same(again.compute(), whole)
    made.save(tmp_path / "made.zarr", tile=(32, 64), profile=BLOCKS)
    again = tj.open(tmp_path / "made.zarr", variable="filled")
    np.testing.assert_array_equal(again.times, TIMES)
    assert_same(again.compute(), whole)
    made.save(tmp_path / "made.zarr", tile=(32, 64), profile=BLOCKS, overwrite=True)
    tj.stack([made.band(5), made.band(2)]).save(tmp_path / "some.tif", nodata=-1)
    some = tj.open(tmp_path / "some.tif")
    np.testing.assert_array_equal(some.times, TIMES[[4, 1]])
    assert [band.info.nodata for band in some.bands] == [-1, -1]
    assert_same(some.compute(), whole[[4, 1]])


def test_kernels_take_it_as_it_is_made(cells, files):
    stack = tj.stack(files)
    made = filled(stack)
    whole = made.compute()
    then = smoothed(ordered(made, least=2), edge="nearest")
    assert_same(then.compute(tile=(32, 32)), smoothed(ordered(whole, least=2), edge="nearest"))
    assert then.plan().is_chain
    count = valid_dates(rounded(made, factor=100))  # nodata of integers, known in between
    np.testing.assert_array_equal(count.compute(tile=(16, 32)), valid_dates(whole)[np.newaxis])
    with pytest.warns(tj.DatesWarning, match="layer 1 is of 2020-01-05, and layer 0 of 2020-04-05"):
        both = ordered(tj.stack([made.band(k) for k in (4, 1, 2)]))
    assert_same(both.compute(tile=(32, 32)), ordered(whole[[3, 0, 1]]))


def test_all_layers_of_a_tile_are_in_the_plan(files):
    stack = tj.stack(files)
    one, many = valid_dates(stack).plan(tile=(32, 64), workers=1), ordered(filled(stack)).plan(tile=(32, 64), workers=1)
    cells = 32 * 64
    assert one.worker_bytes == 2 * cells + 8 * 64  # how many there are so far, of the pixels of a row
    beside = 512 * len(TIMES) * 4  # the arrays of 512 pixels
    taken = many.worker_bytes - 2 * len(TIMES) * 4 * cells  # in between, and the output
    assert beside < taken < 5 * beside
    assert "a value for each of 7 layers" in str(many)


def test_north_may_be_anywhere(cells, files):
    grid = tj.Grid(90, 140, (10.0, 0.0, 0.0, 0.0, 10.0, 0.0))  # rows run north
    upside = tj.from_array(cells, grid=grid)
    found = smoothed(tj.stack([upside], times=TIMES)).compute(tile=(32, 64))
    assert_same(found, smoothed(cells[:, ::-1])[:, ::-1])


def test_processes_have_the_same_bits(files, tmp_path):
    made = ordered(filled(tj.stack(files)), least=2)
    made.save(tmp_path / "there.tif", executor="processes", workers=2, tile=(32, 64), profile=BLOCKS)
    made.save(tmp_path / "here.tif", tile=(90, 140))
    assert_same(tj.open(tmp_path / "there.tif").compute(), tj.open(tmp_path / "here.tif").compute())


def test_a_run_goes_on(files, tmp_path, monkeypatch):
    made, read, calls = filled(tj.stack(files)), block_source.BlockSource.read, iter(range(1000))

    def failing(self, *arguments):
        if next(calls) > 60:
            raise ReadError("the disk is gone")
        return read(self, *arguments)

    options = {"tile": (32, 32), "workers": 1, "resume": True, "profile": BLOCKS}
    with monkeypatch.context() as patched:
        patched.setattr(block_source.BlockSource, "read", failing)
        with pytest.raises(ReadError):
            made.save(tmp_path / "made.tif", **options)
    report = made.save(tmp_path / "made.tif", **options)
    assert report.resumed
    assert_same(tj.open(tmp_path / "made.tif").compute(), made.compute())


@tj.chain
def regular(t: tj.Stack, *, least: int = 2):
    return ordered(filled(t), least=least), valid_dates(t)


def test_a_chain_over_arrays_gives_stacks(cells):
    array = pytest.importorskip("xarray").DataArray(
        cells, dims=("time", "y", "x"), coords={"time": TIMES.astype("M8[ns]")}
    )
    values, count = regular(array)
    assert values.dims == ("time", "y", "x")
    stack = tj.stack([tj.from_array(cells)], times=TIMES)
    assert_same(values.to_numpy(), ordered(filled(stack), least=2).compute())
    np.testing.assert_array_equal(count, valid_dates(cells))
    out = np.empty(cells.shape, np.float32), np.empty(cells.shape[1:], np.int16)
    regular(array, out=out)
    assert_same(out[0], values.to_numpy())


def test_one_date(files):
    made = filled(tj.stack(files[:1]))
    assert len(made) == 1
    assert_same(made.compute(), tj.open(files[0]).compute())
    np.testing.assert_array_equal(made.times, TIMES[:1])
