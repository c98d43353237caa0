import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, minimum_filter

import tilejit as tj
from tilejit.errors import GridMismatchError, ParameterError
from tilejit.formats.in_memory import ArraySource
from tilejit.formats.warping.lattice import TOLERANCE
from tilejit.formats.warping.mapping import Mapping
from tilejit.formats.warping.resampling import RESAMPLINGS, resampling_of
from tilejit.formats.warping.warped_source import WarpedSource
from tilejit.testing import SourceTests
from tilejit.window import Window, tiles

rasterio = pytest.importorskip("rasterio")

UTM, DEGREES, NODATA = "EPSG:32633", "EPSG:4326", -9999.0
GRID = tj.Grid.from_bounds((480_000, 5_200_000, 489_000, 5_207_200), UTM, resolution=30)
RANDOM = np.random.default_rng(5)


def hills(shape=GRID.shape, nodata=NODATA):
    """Smooth heights with holes."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    cells = 500 + 90 * np.sin(x / 9) * np.cos(y / 7) + 3 * RANDOM.random(shape)
    cells[40:60, 100:130] = nodata
    cells[RANDOM.random(shape) < 0.002] = nodata
    return cells.astype(np.float32)


HILLS = hills()
RASTER = tj.from_array(HILLS, grid=GRID, nodata=NODATA)
CLASSES = tj.from_array(RANDOM.integers(0, 5, GRID.shape).astype(np.uint8), grid=GRID, nodata=0)
TARGETS = {
    name: GRID.to_crs(crs).zoom_out(zoom)
    for name, crs, zoom in (
        ("degrees", DEGREES, 1),
        ("finer", DEGREES, 0.6),
        ("coarser", "EPSG:3035", 2.7),
        ("mercator", "EPSG:3857", 1.3),
        ("own", UTM, 3),
        ("south", "EPSG:32733", 1),
    )
}
"""Grids in several CRSs, larger than a block of the lattice, and smaller."""


@pytest.mark.parametrize("resampling", RESAMPLINGS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_windows_hold_what_the_whole_holds(resampling, data):
    raster = data.draw(st.sampled_from([RASTER, CLASSES]) if resampling in {"nearest", "mode"} else st.just(RASTER))
    grid = TARGETS[data.draw(st.sampled_from(sorted(TARGETS)))]
    whole, parts = (raster.to(grid, resampling=resampling).bands[0].source for _ in range(2))
    dtype = whole.bands[0].dtype
    expected, found = (np.empty((1, *grid.shape), dtype) for _ in range(2))
    known, flags = (np.full((1, *grid.shape), 7, np.uint8) for _ in range(2))
    whole.read((1,), Window(0, 0, *grid.shape), expected, known)
    tile = data.draw(st.tuples(st.integers(20, 400), st.integers(20, 400)))
    for window in data.draw(st.permutations(list(tiles(*grid.shape, *tile)))):
        rows, cols = window.slices(Window(0, 0, *grid.shape))
        parts.read((1,), window, found[:, rows, cols], flags[:, rows, cols])
    assert found.tobytes() == expected.tobytes()
    assert flags.tobytes() == known.tobytes()
    assert known.any()


@pytest.mark.parametrize("options", [{"tile": (64, 50), "workers": 3}, {"executor": "serial"}, {"tile": (300, 17)}])
def test_runs_give_one_raster(options):
    warped = RASTER.to(TARGETS["degrees"])
    expected = warped.read(tile=(1000, 1000), workers=1)
    assert warped.read(**options).tobytes() == expected.tobytes()


@pytest.mark.slow
def test_processes_give_it_too(tmp_path):
    path, coarse = tmp_path / "hills.tif", TARGETS["coarser"]
    RASTER.save(path)
    warped = tj.open(path).to(coarse, resampling="cubic")
    expected = warped.read()
    assert warped.read(executor="processes", workers=2).tobytes() == expected.tobytes()
    warped.save(tmp_path / "coarse.tif", executor="processes", workers=2, resume=True)
    np.testing.assert_array_equal(tj.open(tmp_path / "coarse.tif").read(), expected)


def test_threads_share_a_source():
    source = RASTER.to(TARGETS["degrees"]).bands[0].source
    grid = source.grid
    expected, found = (np.empty((1, *grid.shape), np.float32) for _ in range(2))
    source.read((1,), Window(0, 0, *grid.shape), expected)

    def read(windows):
        for window in windows:
            rows, cols = window.slices(Window(0, 0, *grid.shape))
            source.read((1,), window, found[:, rows, cols])

    parts = list(tiles(*grid.shape, 37, 61))
    threads = [threading.Thread(target=read, args=(parts[k::3],)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.tobytes() == expected.tobytes()


# Places.


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_places_lie_where_they_should(target):
    """Warping the number of each row and column tells which place a cell got."""
    grid = TARGETS[target]
    numbers = np.mgrid[: GRID.height, : GRID.width].astype(np.float64)
    fine = grid.zoom_out(0.25) if target in {"coarser", "mercator", "own"} else grid
    found = tj.from_array(numbers, grid=GRID).to(fine, resampling="bilinear").read()
    relation = tj.from_array(numbers, grid=GRID).to(fine).bands[0].source.relation
    rows, cols = (np.arange(side) + 0.5 for side in fine.shape)
    exact = Mapping(fine, GRID).at(rows, cols)
    inside = (exact[0] > 3) & (exact[0] < GRID.width - 3) & (exact[1] > 3) & (exact[1] < GRID.height - 3)
    assert inside.any()
    if max(relation.rows_per_row, relation.cols_per_col) <= 1.05:  # otherwise a mean of several
        assert np.abs(found[1] - (exact[0] - 0.5))[inside].max() < TOLERANCE / 2
        assert np.abs(found[0] - (exact[1] - 0.5))[inside].max() < TOLERANCE / 2


# GDAL's exact mode over the whole raster.


def by_gdal(tmp_path, cells, grid, resampling):
    """What GDAL's exact transformer gives, with our one scale."""
    from rasterio.vrt import WarpedVRT

    relation = Mapping(grid, GRID).relation("hills")
    path, affine = tmp_path / "hills.tif", rasterio.Affine(*GRID.transform)
    with rasterio.open(path, "w", driver="GTiff", height=GRID.height, width=GRID.width, count=1, dtype=cells.dtype,
                       crs=GRID.crs, transform=affine, nodata=NODATA) as file:  # fmt: skip
        file.write(cells, 1)
    short = {"minimum": "min", "maximum": "max", "median": "med"}.get(resampling, resampling)
    with rasterio.open(path) as file, WarpedVRT(
        file, crs=grid.crs, transform=rasterio.Affine(*grid.transform), height=grid.height, width=grid.width,
        resampling=rasterio.enums.Resampling[short], tolerance=1e-9,
        XSCALE=1 / relation.cols_per_col, YSCALE=1 / relation.rows_per_row,
    ) as warped:  # fmt: skip
        found = warped.read(1)
    return np.where(found == NODATA, np.nan, found)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("target", ["degrees", "finer", "coarser", "mercator"])
@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "lanczos", "average"])
def test_values_are_those_of_gdals_exact_mode(tmp_path, resampling, target):
    grid = TARGETS[target]
    expected = by_gdal(tmp_path, HILLS, grid, resampling)
    found = RASTER.to(grid, resampling=resampling).read()[0]
    assert found.dtype == np.float32
    # A cell around each without data, and around the source's edge.
    near = maximum_filter(HILLS == NODATA, 3, mode="constant", cval=1).astype(np.uint8)
    near = tj.from_array(near, grid=GRID).to(grid, resampling="nearest").read(nodata=2)[0]
    rim = maximum_filter(near > 0, 5, mode="constant", cval=True)
    known = np.nan_to_num(expected, nan=500)
    span = np.maximum(maximum_filter(known, 5) - minimum_filter(known, 5), 1)
    assert (~rim).mean() > 0.5
    assert (np.abs(found - expected) / span)[~rim].max() < 1e-3
    assert np.isnan(found)[~rim].sum() == 0


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("resampling", ["nearest", "minimum", "maximum", "median"])
def test_cells_are_those_of_gdals_exact_mode(tmp_path, resampling):
    grid = TARGETS["coarser"]
    expected = by_gdal(tmp_path, HILLS, grid, resampling)
    found = RASTER.to(grid, resampling=resampling).read()[0]
    rows, cols = (np.arange(side) + (0.5 if resampling == "nearest" else 0.0) for side in grid.shape)
    ends = [Mapping(grid, GRID).at(rows + k, cols + k) for k in ((0,) if resampling == "nearest" else (0, 1))]
    at_edge = np.any([np.abs(place - np.rint(place)) < TOLERANCE for end in ends for place in end], axis=0)
    alike = (found == expected) | (np.isnan(found) & np.isnan(expected))
    assert alike[~at_edge].all()
    assert at_edge.mean() < 0.2


# What NumPy says.


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_the_same_grid_gives_the_same_cells(resampling):
    found = RASTER.to(GRID, resampling=resampling).read()[0]
    np.testing.assert_array_equal(found, np.where(HILLS == NODATA, np.nan, HILLS))
    if resampling_of(resampling).keeps_values:
        np.testing.assert_array_equal(CLASSES.to(GRID, resampling=resampling).read(), CLASSES.read())


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_a_shift_by_whole_cells_is_a_slice(resampling):
    window = Window(11, 23, 100, 170)
    found = RASTER.to(GRID.part(window), resampling=resampling).read()[0]
    part = HILLS[window.slices(Window(0, 0, *GRID.shape))]
    np.testing.assert_array_equal(found, np.where(part == NODATA, np.nan, part))


def blocks_of(cells, n):
    rows, cols = cells.shape[0] // n, cells.shape[1] // n
    return cells[: rows * n, : cols * n].reshape(rows, n, cols, n).swapaxes(1, 2).reshape(rows, cols, n * n)


@pytest.mark.parametrize(
    ("resampling", "reduce"),
    [
        ("average", np.nanmean),
        ("sum", np.nansum),
        ("minimum", np.nanmin),
        ("maximum", np.nanmax),
        ("median", lambda a, axis: np.nanpercentile(a, 50, axis=axis, method="lower")),
    ],
)
@pytest.mark.parametrize("n", [2, 5])
def test_whole_zooms_reduce_blocks(resampling, reduce, n):
    cells = hills((60, 80), nodata=np.nan)
    grid = tj.Grid(60, 80, GRID.transform, UTM)
    found = tj.from_array(cells, grid=grid).to(grid.zoom_out(n), resampling=resampling).read()[0]
    blocks = blocks_of(cells.astype(np.float64), n)
    np.testing.assert_allclose(
        found, np.where(np.isnan(blocks).all(axis=-1), np.nan, reduce(blocks, axis=-1)), rtol=1e-6
    )


def test_modes_are_the_commonest_and_the_least_of_several():
    cells = RANDOM.integers(0, 4, (40, 60)).astype(np.int16)
    found = tj.from_array(cells).to(tj.Grid(40, 60).zoom_out(4), resampling="mode").read()[0]
    expected = np.apply_along_axis(lambda block: np.bincount(block).argmax(), -1, blocks_of(cells, 4))
    np.testing.assert_array_equal(found, expected)


def test_sums_keep_the_mass():
    cells = RANDOM.random((120, 150))
    grid = tj.Grid(120, 150, (30.0, 0.0, 480_000.0, 0.0, -30.0, 5_200_000.0), UTM)
    target = tj.Grid.from_bounds(grid.bounds, UTM, resolution=101).pad(2)
    found = tj.from_array(cells, grid=grid).to(target, resampling="sum").read()
    assert np.nansum(found) == pytest.approx(cells.sum(), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint64, np.float64])
@pytest.mark.parametrize("resampling", ["nearest", "mode"])
def test_types_and_large_values_stay(dtype, resampling):
    top = np.iinfo(dtype).max if np.dtype(dtype).kind != "f" else 1e300
    cells = np.array([[top, 1], [2, top]], dtype)
    found = tj.from_array(cells).to(tj.Grid(2, 2).pad(1), resampling=resampling)
    assert found.bands[0].info.dtype == dtype
    np.testing.assert_array_equal(found.read(nodata=0)[0, 1:-1, 1:-1], cells)


def test_floats_are_made_of_integers_between_which_values_lie():
    cells = np.array([[0, 1], [1, 2]], np.int16)
    for dtype, made in ((np.int16, np.float32), (np.int32, np.float64), (np.float64, np.float64)):
        found = tj.from_array(cells.astype(dtype)).to(tj.Grid(2, 2).zoom_out(0.5), resampling="bilinear").read()
        assert found.dtype == made
        assert found[0, 1, 1] == 0.5


# The world's edges.


def world(side=1.0, left=-180.0):
    """Cells that tell their longitude and latitude."""
    grid = tj.Grid.from_bounds((left, -90, left + 360, 90), DEGREES, resolution=side)
    x, y = np.meshgrid(grid.x(np.arange(grid.width)), grid.y(np.arange(grid.height)))
    return tj.from_array(np.array([x, y]), grid=grid)


@pytest.mark.parametrize(
    ("crs", "left"), [("EPSG:3832", -180), ("EPSG:32601", 0), ("EPSG:3995", -30.5), ("EPSG:3031", -180)]
)
def test_across_the_antimeridian_and_at_poles(crs, left):
    """Sines and cosines of places, which have no seam."""
    import pyproj

    raster = world(0.5, left)
    angles = np.radians(raster.read())
    field = np.array([np.cos(angles[0]) * np.cos(angles[1]), np.sin(angles[0]) * np.cos(angles[1]), np.sin(angles[1])])
    middle = {"EPSG:32601": (200_000, 6_000_000), "EPSG:3832": (3_300_000, 100_000)}.get(crs, (0, 0))
    bounds = (middle[0] - 7e5, middle[1] - 7e5, middle[0] + 7e5, middle[1] + 7e5)
    grid = tj.Grid.from_bounds(bounds, crs, resolution=7000)
    found = tj.from_array(field, grid=raster.grid).to(grid, resampling="bilinear").read()
    x, y = np.meshgrid(grid.x(np.arange(grid.width)), grid.y(np.arange(grid.height)))
    lon, lat = np.radians(pyproj.Transformer.from_crs(crs, DEGREES, always_xy=True).transform(x, y))
    exact = np.array([np.cos(lon) * np.cos(lat), np.sin(lon) * np.cos(lat), np.sin(lat)])
    # Half a cell at a pole there is but one row to interpolate from.
    assert np.abs(found - exact).max() < (6e-3 if crs in {"EPSG:3995", "EPSG:3031"} else 1e-4)
    nearest = tj.from_array(field, grid=raster.grid).to(grid, resampling="nearest").read()
    assert np.abs(nearest - exact).max() < 0.0075
    mean = tj.from_array(field, grid=raster.grid).to(grid.zoom_out(20), resampling="average").read()
    assert np.isfinite(mean).all()


def test_a_raster_over_the_antimeridian_lies_on_both_ends_of_the_world():
    grid = tj.Grid.from_bounds((170, -10, 190, 10), DEGREES, resolution=1)
    cells = np.tile(np.arange(20, dtype=np.float32), (20, 1))
    found = tj.from_array(cells, grid=grid).to(world().grid, resampling="nearest").read()[0]
    assert found[90, :10].tolist() == list(range(10, 20))
    assert found[90, -10:].tolist() == list(range(10))
    assert np.isnan(found[90, 10:-10]).all()
    assert np.isnan(found[:80]).all()


def test_what_a_projection_does_not_show_has_no_data():
    grid = tj.Grid.from_bounds((-7e6, -7e6, 7e6, 7e6), "+proj=ortho +lat_0=40 +lon_0=10", resolution=2e5)
    found = world().to(grid, resampling="nearest").read()[1]
    y, x = np.mgrid[:70, :70] - 34.5
    distance = np.hypot(x, y) * 2e5
    assert np.isfinite(found[distance < 6.2e6]).all()
    assert np.isnan(found[distance > 6.6e6]).all()
    assert found[34, 34] == pytest.approx(40, abs=2)


def test_rows_that_run_north_and_columns_that_run_west():
    a, b, c, d, e, f = GRID.transform
    turned = tj.Grid(GRID.height, GRID.width, (-a, b, c + a * GRID.width, d, -e, f + e * GRID.height), GRID.crs)
    raster = tj.from_array(np.ascontiguousarray(HILLS[::-1, ::-1]), grid=turned, nodata=NODATA)
    for resampling in ("nearest", "bilinear", "average"):
        straight = RASTER.to(TARGETS["coarser"], resampling=resampling).read()
        np.testing.assert_allclose(raster.to(TARGETS["coarser"], resampling=resampling).read(), straight, atol=2e-2)
        back = RASTER.to(turned, resampling=resampling).read()[0]
        np.testing.assert_array_equal(back, np.where(HILLS == NODATA, np.nan, HILLS)[::-1, ::-1])


def test_grids_that_are_turned():
    angle = math.radians(45)
    a, d = 30 * math.cos(angle), 30 * math.sin(angle)
    turned = tj.Grid(60, 60, (a, d, 484_000.0, d, -a, 5_203_500.0), UTM)
    slope = tj.from_array(np.add.outer(np.arange(240.0), np.arange(300.0)), grid=GRID)
    rows, cols = (np.arange(60) + 0.5 for _ in range(2))
    exact = Mapping(turned, GRID).at(rows, cols).sum(axis=0) - 1
    for resampling in ("bilinear", "cubic", "average"):
        found = slope.to(turned, resampling=resampling).read()[0]
        np.testing.assert_allclose(found, exact, atol=0.3 if resampling == "average" else 1e-3)


# What is refused, and what is said.


def test_what_is_refused():
    far = tj.Grid.from_bounds((10, -10, 11, -9), DEGREES, resolution=0.01)
    with pytest.raises(GridMismatchError, match="does not lie on the grid"):
        RASTER.to(far)
    with pytest.raises(GridMismatchError, match="one of two grids has a CRS: WGS 84"):
        RASTER.to(tj.Grid(10, 10))
    with pytest.raises(GridMismatchError, match="one of two grids has a CRS: no CRS"):
        tj.from_array(np.ones((3, 3), np.float32)).to(GRID)
    with pytest.raises(ParameterError, match="resampling='spline': it is one of nearest, bilinear"):
        RASTER.to(GRID, resampling="spline")
    with pytest.raises(ParameterError, match=r"give a tilejit\.Grid"):
        RASTER.to("EPSG:4326")
    with pytest.raises(ParameterError, match="would be made of"):
        tj.from_array(np.ones((9000, 1), np.uint8), grid=tj.Grid(9000, 1, (1e-9, 0, 0, 0, 1e-9, 0))).to(
            tj.Grid(1, 1, (9e-6, 0, 0, 0, 9e-6, 0))
        )


def test_a_trillion_cells_are_planned_and_a_window_of_them_read():
    huge = tj.Grid.from_bounds(GRID.bounds, UTM, shape=(800_000, 1_250_000))
    warped = RASTER.to(huge)
    assert "800000 rows x 1250000 cols" in str(warped.plan("huge.tif"))
    with pytest.raises(tj.errors.MemoryLimitError):
        warped.plan(memory="8GB")
    found = warped.read(Window(5, 5, 40, 30))
    assert found.shape == (1, 40, 30)
    assert np.ptp(found) < 1


def test_the_plan_says_what_is_warped(tmp_path):
    RASTER.save(tmp_path / "hills.tif")
    plan = str(tj.open(tmp_path / "hills.tif").to(TARGETS["coarser"]).plan())
    assert "warped (bilinear) from 240 x 300 cells, WGS 84 / UTM zone 33N (EPSG:32633), " in plan
    assert "2.7 x 2.7 of them to one; 100% of it is read, read directly" in plan
    part = GRID.part(Window(0, 0, 60, 300))
    assert "25% of it is read" in str(RASTER.to(part, resampling="cubic").plan())


def test_classes_are_nearest_and_heights_bilinear():
    assert "warped (nearest)" in str(CLASSES.to(TARGETS["own"]).plan())
    assert "warped (bilinear)" in str(RASTER.to(TARGETS["own"]).plan())
    assert "warped (minimum)" in str(RASTER.to(TARGETS["own"], resampling="min").plan())


def test_classes_without_a_nodata_value_get_a_mask():
    cells = np.full((4, 4), 7, np.uint8)
    warped = tj.from_array(cells).to(tj.Grid(4, 4).pad(1))
    found = warped.read(nodata=255)[0]
    np.testing.assert_array_equal(found, np.pad(cells, 1, constant_values=255))


def test_kernels_take_what_is_warped(tmp_path):
    @tj.focal
    def spread(z):
        return max(z[0, 1], z[1, 0]) - min(z[-1, 0], z[0, -1])

    warped = RASTER.to(TARGETS["degrees"])
    expected = spread(tj.from_array(warped.read()[0], grid=warped.grid)).read()
    for tile in ((64, 64), (300, 90)):
        found = spread(warped).read(tile=tile)
        assert found.tobytes() == expected.tobytes()


def test_scaled_bands(tmp_path):
    path = tmp_path / "counts.tif"
    counts = np.arange(GRID.height * GRID.width, dtype=np.int16).reshape(GRID.shape) % 1000
    with rasterio.open(path, "w", driver="GTiff", height=GRID.height, width=GRID.width, count=1, dtype="int16",
                       crs=GRID.crs, transform=rasterio.Affine(*GRID.transform), nodata=-1) as file:  # fmt: skip
        file.write(counts, 1)
        file.scales, file.offsets = (0.5,), (100.0,)

    @tj.local
    def same(z):
        return z + 0

    raster, coarse = tj.open(path), GRID.zoom_out(3)
    nearest, mean = (raster.to(coarse, resampling=name) for name in ("nearest", "average"))
    np.testing.assert_array_equal(nearest.read()[0], counts[1::3, 1::3])
    np.testing.assert_array_equal(same(nearest).read()[0], counts[1::3, 1::3] * 0.5 + 100)
    expected = blocks_of(counts.astype(np.float64), 3).mean(axis=-1) * 0.5 + 100
    np.testing.assert_allclose(same(mean).read()[0], expected, rtol=1e-6)
    np.testing.assert_allclose(mean.read()[0], expected, rtol=1e-6)


class TestWarpedSource(SourceTests):
    def make(self, cells, nodata):
        source = ArraySource.of(cells, nodata=nodata)
        return WarpedSource.of(source, source.grid, resampling_of("nearest"))
