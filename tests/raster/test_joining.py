"""Mosaics, held to NumPy on stacked cells and to rasterio.merge."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from tilejit.errors import GridMismatchError, MemoryLimitError, ParameterError
from tilejit.formats.files import OpenFile
from tilejit.formats.joining import live_pieces
from tilejit.formats.joining.mosaic_source import METHODS, MosaicSource, Piece
from tilejit.testing import SourceTests
from tilejit.window import Window, tiles

rasterio = pytest.importorskip("rasterio")
from rasterio.merge import merge as merged_by_rasterio  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rasterio's own, of affine

UTM, DEGREES = "EPSG:32633", "EPSG:4326"
GRID = tj.Grid.from_bounds((500_000, 5_000_000, 501_200, 5_000_900), UTM, resolution=10)
RANDOM = np.random.default_rng(8)
REDUCED = {
    "first": lambda stack: _chosen(stack, 0),
    "last": lambda stack: _chosen(stack[::-1], 0),
    "min": lambda stack: np.nanmin(stack, axis=0),
    "max": lambda stack: np.nanmax(stack, axis=0),
    "mean": lambda stack: np.nanmean(stack, axis=0),
    "median": lambda stack: np.nanmedian(stack, axis=0),
}


def _chosen(stack, axis):
    at = np.argmin(np.isnan(stack), axis=axis)
    return np.take_along_axis(stack, at[np.newaxis], axis=axis)[0]


def pieces(windows, dtype="int16", holes=0.2, nodata=-1):
    """Rasters of some windows of GRID, and their cells stacked on it as float64 with NaN."""
    rasters, stack = [], np.full((len(windows), *GRID.shape), np.nan)
    for k, window in enumerate(windows):
        cells = RANDOM.integers(1, 2000, window.shape).astype(np.float64)
        cells[RANDOM.random(window.shape) < holes] = np.nan
        stack[(k, *window.slices(Window(0, 0, *GRID.shape)))] = cells
        stored = np.where(np.isnan(cells), nodata, cells).astype(dtype)
        rasters.append(tj.from_array(stored, grid=GRID.part(window), nodata=nodata))
    return rasters, stack


THREE, STACK = pieces([Window(0, 0, 60, 70), Window(30, 40, 60, 80), Window(20, 20, 40, 60)])


@pytest.mark.filterwarnings("ignore:All-NaN|Mean of empty:RuntimeWarning")
@pytest.mark.parametrize("method", METHODS)
def test_cells_are_those_of_numpy(method):
    found = tj.mosaic(THREE, method)
    expected = REDUCED[method](STACK)
    assert found.grid == THREE[0].grid | THREE[1].grid
    cells = found.read(dtype="float32")[0]
    assert found.bands[0].info.dtype == (np.float32 if method in {"mean", "median"} else np.int16)
    np.testing.assert_allclose(np.where(cells == -1, np.nan, cells), expected, rtol=1e-6)
    assert np.array_equal(found.read(tile=(16, 33), workers=3), found.read(executor="serial"), equal_nan=True)


@pytest.mark.filterwarnings("ignore:All-NaN|Mean of empty:RuntimeWarning")
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_windows_hold_what_the_whole_holds(data):
    side = st.tuples(st.integers(0, 60), st.integers(0, 80), st.integers(1, 30), st.integers(1, 40))
    windows = [Window(*w) for w in data.draw(st.lists(side, min_size=1, max_size=6))]
    rasters, stack = pieces(
        windows, data.draw(st.sampled_from(["int16", "float32"])), data.draw(st.sampled_from([0, 0.4]))
    )
    method = data.draw(st.sampled_from(METHODS))
    source = tj.mosaic(rasters, method, grid=rasters[0].grid.part(Window(0, 0, 1, 1)) | GRID_HERE).bands[0].source
    out = np.empty((1, *GRID.shape), np.float64)
    source.read((1,), Window(0, 0, *GRID.shape), out)
    np.testing.assert_allclose(out[0], REDUCED[method](stack), rtol=1e-6)
    parts = np.empty_like(out)
    for window in tiles(*GRID.shape, *data.draw(st.tuples(st.integers(7, 99), st.integers(7, 99)))):
        rows, cols = window.slices(Window(0, 0, *GRID.shape))
        source.read((1,), window, parts[:, rows, cols])
    assert parts.tobytes() == out.tobytes()


GRID_HERE = tj.Grid.locate(GRID)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joining")
    for k, raster in enumerate(THREE):
        raster.save(folder / f"{k}.tif", profile={"blockxsize": 16, "blockysize": 32})
    return [str(folder / f"{k}.tif") for k in range(3)]


@pytest.mark.parametrize("method", ["first", "last", "min", "max"])
def test_mosaics_are_rasterios(paths, method):
    expected, transform = merged_by_rasterio(paths, method=method)
    found = tj.mosaic(paths, method)
    assert np.array_equal(found.read(), expected)
    assert found.grid.transform == tuple(transform)[:6]


def test_what_lies_on_the_grid_is_not_warped(paths, tmp_path):
    found = tj.mosaic(paths)
    told = str(found.plan(tmp_path / "out.tif"))
    assert "3 rasters, 3 as they lie" in told
    assert "warped" not in told
    report = found.save(tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.nodata, file.dtypes) == (-1, ("int16",))
    assert report.pixels == GRID.height * GRID.width


def test_other_grids_and_crss_are_warped_onto_the_first_ones_cells():
    moved = THREE[1].to(THREE[1].grid.to_crs(DEGREES), resampling="nearest")
    coarse = THREE[2].to(THREE[2].grid.zoom_out(2.5), resampling="nearest")
    stored = [THREE[0], *(tj.from_array(one.read(), grid=one.grid, nodata=-1) for one in (moved, coarse))]
    found = tj.mosaic(stored, resampling="nearest")
    layers = [one.to(found.grid, resampling="nearest").read(dtype="float64")[0] for one in stored]
    expected = _chosen(np.where(np.array(layers) == -1, np.nan, layers), 0)
    cells = found.read(dtype="float64")[0]
    assert np.array_equal(np.where(cells == -1, np.nan, cells), expected, equal_nan=True)
    assert "1 as they lie, 2 warped" in str(found.plan())
    between = tj.mosaic(stored)
    assert between.bands[0].info.dtype == np.float32
    assert between.read(tile=(32, 48), workers=2).tobytes() == between.read().tobytes()
    left, bottom, right, top = found.grid.bounds
    covered = stored[1].grid.to_crs(found.grid.crs).bounds
    assert left <= covered[0] + 10
    assert right >= covered[2] - 10
    assert bottom <= covered[1] + 10
    assert top >= covered[3] - 10


def test_a_piece_is_warped_as_the_whole_grid_would_have_it():
    far = tj.from_array(THREE[1].read(), grid=THREE[1].grid.to_crs(DEGREES).part(Window(0, 0, 60, 80)), nodata=-1)
    wide = GRID_HERE.pad(300, 600)
    for resampling in ("nearest", "bilinear", "average"):
        found = tj.mosaic([far], grid=wide, resampling=resampling).read(dtype="float32")
        expected = far.to(wide, resampling=resampling).read(dtype="float32")
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_both_ends_of_the_world_meet():
    world = tj.Grid.from_bounds((-180, -90, 180, 90), DEGREES, resolution=10)
    cells = RANDOM.integers(1, 99, world.shape).astype(np.int16)
    over = tj.Grid.from_bounds((160, -90, 210, 90), DEGREES, resolution=10)
    expected = np.concatenate([cells[:, 34:], cells[:, :3]], axis=1)
    halves = [tj.from_array(cells[:, at], grid=world.part(Window(0, at.start, 18, at.stop - at.start)), nodata=-1)
              for at in (slice(0, 18), slice(18, 36))]  # fmt: skip
    for rasters in (halves, [tj.from_array(cells, grid=world, nodata=-1)]):
        assert np.array_equal(tj.mosaic(rasters, grid=over).read(dtype="int16")[0], expected)
        assert np.array_equal(tj.mosaic(rasters).read()[0], cells)


def test_kernels_take_mosaics_and_mosaics_take_what_kernels_make(paths):
    halved = tj.mosaic([tj.open(path) * 0.5 for path in paths])
    assert np.array_equal(halved.read(), (tj.mosaic(paths) * 0.5).read(), equal_nan=True)
    both = tj.mosaic([tj.stack([tj.open(path), tj.open(path) + 1]) for path in paths])
    cells = both.read()
    assert len(both) == 2
    assert np.array_equal(cells[1][cells[0] != -1], cells[0][cells[0] != -1] + 1)


def test_types_that_differ_become_one_that_holds_both():
    small = tj.from_array(np.uint16([[60000, 7]]))
    other = tj.from_array(np.int16([[-3, 9]]), grid=tj.Grid(1, 2, (1, 0, 2, 0, 1, 0)))
    found = tj.mosaic([small, other])
    assert found.read().tolist() == [[[60000, 7, -3, 9]]]
    assert found.bands[0].info.dtype == np.int32


def test_nodata_values_that_differ_stay_apart():
    one = tj.from_array(np.int16([[0, 5]]), nodata=0)
    other = tj.from_array(np.int16([[-1, 0]]), grid=tj.Grid(1, 2, (1, 0, 2, 0, 1, 0)), nodata=-1)
    values = tj.mosaic([one, other]).read(dtype="float64", nodata=np.nan)
    assert np.array_equal(values, [[[np.nan, 5, np.nan, 0]]], equal_nan=True)


def test_gaps_of_integers_without_nodata_are_masked_and_nothing_is_where_there_are_none():
    one, beside = (tj.from_array(np.uint8([[0, 5]]), grid=tj.Grid(1, 2, (1, 0, x, 0, 1, 0))) for x in (0, 2))
    apart = tj.from_array(np.uint8([[9]]), grid=tj.Grid(1, 1, (1, 0, 6, 0, 1, 0)))
    assert not tj.mosaic([one, beside]).bands[0].info.may_be_invalid
    assert tj.mosaic([one, beside]).read().tolist() == [[[0, 5, 0, 5]]]
    assert tj.mosaic([one, beside, apart]).read().tolist() == [[[0, 5, 0, 5, 255, 255, 9]]]


def test_scales_stay_where_all_have_one(tmp_path):
    for k, scale in enumerate((0.5, 0.5, 0.25)):
        THREE[k].save(tmp_path / f"{k}.tif")
        with rasterio.open(tmp_path / f"{k}.tif", "r+") as file:
            file.scales, file.offsets = (scale,), (10.0,)
    alike, different = (tj.mosaic([tmp_path / f"{k}.tif" for k in ks]) for ks in ((0, 1), (0, 2)))
    assert alike.bands[0].info.dtype == np.int16
    assert np.array_equal((alike + 0).read(), (tj.mosaic(THREE[:2]) * 0.5 + 10).read(), equal_nan=True)
    only = tj.open(tmp_path / "2.tif").grid
    values = (tj.mosaic([tmp_path / "0.tif", tmp_path / "2.tif"], "last", grid=only) + 0).read()
    expected = (tj.open(tmp_path / "2.tif") + 0).read()
    assert different.bands[0].info.dtype == np.float32
    assert np.array_equal(values[~np.isnan(expected)], expected[~np.isnan(expected)])


def test_only_what_is_needed_is_opened_and_files_are_let_go(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(live_pieces, "_MOST_LIVE", 2)
    tile, opened = THREE[0], []
    for k in range(12):
        there = tj.Grid(20, 20, (10.0, 0.0, 500_000 + 200 * k, 0.0, -10.0, 5_000_000), UTM)
        tj.from_array(tile.read()[:, :20, :20], grid=there, nodata=-1).save(tmp_path / f"{k}.tif")
    found = tj.mosaic([tmp_path / f"{k}.tif" for k in range(12)])
    held = OpenFile.held

    def counting(self, function):
        opened.append(sum(piece.source._file.is_open for piece in found.bands[0].source.pieces))
        return held(self, function)

    monkeypatch.setattr(OpenFile, "held", counting)
    for piece in found.bands[0].source.pieces:
        piece.source.close()
    (tmp_path / "11.tif").unlink()
    assert found.read(Window(0, 0, 20, 200), executor="serial").shape == (1, 20, 200)
    assert 1 <= max(opened) <= 2
    with pytest.raises(tj.TilejitError, match=r"11\.tif"):
        found.read()


def test_other_processes_take_it(paths):
    source = tj.mosaic([paths[0], tj.open(paths[1]).to(tj.open(paths[1]).grid.zoom_out(1.5))]).bands[0].source
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - ours
    found = [np.empty((1, *source.grid.shape), np.float32) for _ in range(2)]
    for one, out in zip((source, copy), found, strict=True):
        one.read((1,), Window(0, 0, *source.grid.shape), out)
    assert found[0].tobytes() == found[1].tobytes()


def test_other_processes_refuse_files_that_have_changed(tmp_path):
    THREE[0].save(tmp_path / "a.tif")
    pickled = pickle.dumps(tj.mosaic([tmp_path / "a.tif"]).bands[0].source)
    THREE[0].save(tmp_path / "a.tif", overwrite=True)
    with pytest.raises(tj.errors.ReadError, match="written or replaced"):
        pickle.loads(pickled)  # noqa: S301 - ours


@pytest.mark.slow
def test_workers_read_mosaics(paths, tmp_path):
    found = tj.mosaic(paths, "mean")
    found.save(tmp_path / "out.tif", executor="processes", workers=2)
    assert tj.open(tmp_path / "out.tif").read().tobytes() == found.read().tobytes()
    found.save(tmp_path / "resumed.tif", resume=True)
    assert (tmp_path / "resumed.tif").read_bytes()


def test_an_output_is_none_of_the_inputs(paths):
    with pytest.raises(tj.errors.SinkError):
        tj.mosaic(paths).save(paths[2], overwrite=True)


def test_a_trillion_cells_are_planned_and_a_window_of_them_read():
    corner = tj.from_array(
        np.uint8([[7]]), grid=tj.Grid(1, 1, (10.0, 0, 10_500_000, 0, -10.0, -4_999_990), UTM), nodata=0
    )
    found = tj.mosaic([THREE[0].where(THREE[0] > 0), corner], resampling="nearest")
    assert found.grid.height * found.grid.width > 1e12
    assert found.read(Window(found.grid.height - 3, found.grid.width - 3, 3, 3)).max() == 7
    with pytest.raises(MemoryLimitError):
        found.compute()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tj.mosaic([]), ParameterError, "no rasters"),
        (lambda: tj.mosaic(THREE, "average"), ParameterError, "first, last, min"),
        (lambda: tj.mosaic([THREE[0], tj.stack([THREE[0]] * 3)]), ParameterError, "has 1 band, and .* has 3: choose"),
        (lambda: tj.mosaic([THREE[0], tj.from_array(np.ones((2, 2)))]), GridMismatchError, "has a CRS"),
        (lambda: tj.mosaic(THREE, grid=GRID_HERE.part(Window(9000, 0, 5, 5))), GridMismatchError, "none of 3 rasters"),
        (lambda: tj.mosaic(THREE, grid="EPSG:4326"), ParameterError, "Grid"),
        (lambda: tj.mosaic(THREE, resampling="best"), ParameterError, "resampling"),
        (lambda: tj.mosaic([os.devnull]), tj.TilejitError, "null"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


class TestMosaicSource(SourceTests):
    def make(self, cells, nodata):
        source = tj.from_array(cells, nodata=nodata).bands[0].source
        whole = Window(0, 0, *cells.shape[1:])
        piece = Piece(source, whole, tuple(range(1, len(cells) + 1)))
        return MosaicSource.of([piece, piece], source.grid, "first")
