"""Rasters cut to bounds, grids, polygons and what holds data, held to rasterio.mask and slices; overviews."""

import numpy as np
import pytest

import tilejit as tj
from tilejit.errors import GridMismatchError, ParameterError, TilejitError
from tilejit.formats.joining.part_source import PartSource
from tilejit.testing import SourceTests
from tilejit.window import Window

rasterio = pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")
from rasterio.mask import mask as masked_by_rasterio  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rasterio's own, of affine

UTM = "EPSG:32633"
GRID = tj.Grid.from_bounds((500_000, 5_000_000, 503_000, 5_002_400), UTM, resolution=30)
CELLS = np.random.default_rng(3).integers(1, 2000, (2, *GRID.shape)).astype(np.int16)
CELLS[:, :7], CELLS[:, :, -5:] = -1, -1
BASIN = shapely.Polygon([(500_300, 5_000_200), (502_200, 5_000_700), (501_900, 5_002_000), (500_900, 5_001_500)])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cutting") / "scene.tif"
    tj.from_array(CELLS, grid=GRID, nodata=-1).save(path, profile={"blockxsize": 32, "blockysize": 16})
    return path


@tj.focal
def rise(z):
    return z[-1, 0] - z[0, 1]


def test_bounds_keep_the_cells_that_they_touch(path):
    scene = tj.open(path)
    part = scene.clip((500_310, 5_000_900, 500_625, 5_001_200))
    assert np.array_equal(part.read(), CELLS[:, 40:50, 10:21])
    beyond = scene.clip((499_000, 5_002_370, 500_030, 5_009_000))
    assert np.array_equal(beyond.read(), CELLS[:, :1, :1])
    assert scene.clip(scene.grid) is scene
    assert np.array_equal(scene.clip(part).read(tile=(16, 16)), part.read())


def test_a_grid_in_another_crs_is_covered(path):
    degrees = GRID.part(Window(20, 30, 9, 11)).to_crs("EPSG:4326")
    part = tj.open(path).clip(degrees)
    assert 9 <= part.grid.height <= 12
    assert 11 <= part.grid.width <= 14
    assert part.to(degrees, resampling="nearest").read().tobytes() == tj.open(path).to(
        degrees, resampling="nearest").read().tobytes()  # fmt: skip


@pytest.mark.parametrize("all_touched", [False, True])
@pytest.mark.parametrize("crop", [False, True])
def test_masks_are_rasterios(path, all_touched, crop):
    with rasterio.open(path) as dataset:
        expected, transform = masked_by_rasterio(dataset, [BASIN], all_touched=all_touched, crop=crop)
    found = tj.open(path).mask(BASIN, all_touched=all_touched, crop=crop)
    assert np.array_equal(found.read(), expected)
    assert found.grid.transform == tuple(transform)[:6]
    assert found.read(tile=(16, 48), workers=3).tobytes() == expected.tobytes()


def test_inverted_masks_are_rasterios(path):
    with rasterio.open(path) as dataset:
        expected, _ = masked_by_rasterio(dataset, [BASIN], invert=True)
    assert np.array_equal(tj.open(path).mask(BASIN, invert=True).read(), expected)


def test_a_clip_by_a_geometry_is_a_mask_and_a_crop(path):
    scene = tj.open(path)
    assert np.array_equal(scene.clip(BASIN).read(), scene.mask(BASIN, crop=True).read())
    assert scene.clip(shapely.geometry.mapping(BASIN)).grid == scene.clip(BASIN).grid


def test_geometries_of_another_crs_are_reprojected_and_the_plan_says_so(path):
    geopandas = pytest.importorskip("geopandas")
    scene, frame = tj.open(path), geopandas.GeoSeries([BASIN], crs=UTM).to_crs("EPSG:4326")
    found = scene.mask(frame)
    assert "reprojected from" in str(found.plan())
    differing = found.read() != scene.mask(BASIN).read()
    assert differing.sum() <= 4  # edges are straight in one CRS


def test_what_kernels_make_is_cut_and_masked_as_what_was_saved(path):
    steep = rise(tj.open(path, band=1))
    whole = steep.read()
    part = steep.clip((500_300, 5_000_600, 501_500, 5_001_500))
    assert part.read().tobytes() == whole[:, 30:60, 10:50].tobytes()
    saved = tj.from_array(whole, grid=GRID)
    assert steep.mask(BASIN).read().tobytes() == saved.mask(BASIN).read().tobytes()
    assert float(rise(tj.open(path, band=1).clip(BASIN)).mean()) != 0


def test_rows_that_run_north_and_integers_without_nodata():
    grid = tj.Grid(20, 30, (10.0, 0.0, 0.0, 0.0, 10.0, 0.0), UTM)
    cells = np.arange(600, dtype=np.uint16).reshape(20, 30)
    raster = tj.from_array(cells, grid=grid)
    found = raster.mask(shapely.box(20, 50, 60, 80), crop=True)
    assert np.array_equal(found.read()[0], cells[5:8, 2:6])
    masked = raster.mask(shapely.box(20, 50, 60, 80)).read()[0]
    assert masked[5, 2] == cells[5, 2]
    assert masked[4, 2] == masked[0, 0] == 65535
    assert np.array_equal(raster.clip((20, 50, 60, 80)).read()[0], cells[5:8, 2:6])


def test_a_polygon_between_centres_has_no_cell_unless_touched_ones_count(path):
    speck = shapely.box(500_601, 5_001_001, 500_605, 5_001_005)
    scene = tj.open(path)
    assert (scene.mask(speck).read() == -1).all()
    assert (scene.mask(speck, all_touched=True).read() != -1).sum() == 2


def test_what_holds_data_is_left(path):
    assert np.array_equal(tj.open(path).crop_to_valid().read(), CELLS[:, 7:, :-5])
    turned = tj.Grid(4, 5, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), UTM)
    cells = np.zeros((4, 5), np.uint8)
    cells[2, 1:3] = 9
    left = tj.from_array(cells, grid=turned, nodata=0).crop_to_valid().grid
    assert (left.shape, left.transform) == ((1, 2), turned.part(Window(2, 1, 1, 2)).transform)
    with pytest.raises(ParameterError, match="no cell holds data"):
        tj.from_array(np.full((3, 3), np.nan, np.float32)).crop_to_valid()


def test_overviews_are_those_of_the_file(path, tmp_path):
    copy = tmp_path / "pyramid.tif"
    copy.write_bytes(path.read_bytes())
    with rasterio.open(copy, "r+") as dataset:
        dataset.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    with rasterio.open(copy, overview_level=1) as dataset:
        expected, transform = dataset.read(), tuple(dataset.transform)[:6]
    coarse = tj.open(copy).level(2)
    assert np.array_equal(coarse.read(), expected)
    assert coarse.grid.transform == transform
    assert "overview 2" in str(coarse.plan())
    assert tj.open(copy).level(0).grid == GRID
    with pytest.raises(ParameterError, match=r"has overviews 1 \(1:2\), 2 \(1:4\), not 3"):
        tj.open(copy).level(3)
    with pytest.raises(ParameterError, match="no overviews"):
        tj.open(path).level(1)
    with pytest.raises(ParameterError, match="what a kernel makes"):
        rise(tj.open(copy, band=1)).level(1)
    with pytest.raises(ParameterError, match="as they were opened"):
        tj.from_array(CELLS).level(1)


@pytest.mark.slow
def test_workers_take_what_is_cut(path, tmp_path):
    copy = tmp_path / "pyramid.tif"
    copy.write_bytes(path.read_bytes())
    with rasterio.open(copy, "r+") as dataset:
        dataset.build_overviews([2], rasterio.enums.Resampling.nearest)
    found = tj.open(copy).level(1).mask(BASIN, crop=True)
    found.save(tmp_path / "out.tif", executor="processes", workers=2)
    assert tj.open(tmp_path / "out.tif").read().tobytes() == found.read().tobytes()


@pytest.mark.parametrize(
    ("cut", "error", "message"),
    [
        (lambda r: r.clip((0, 0, 10, 10)), GridMismatchError, "do not meet"),
        (lambda r: r.clip((5, 0, 5, 10)), ParameterError, "hold nothing"),
        (lambda r: r.clip(tj.Grid(2, 2, (1.0, 0, 0, 0, -1.0, 0), UTM)), GridMismatchError, "do not meet"),
        (lambda r: r.clip(tj.Grid(2, 2)), GridMismatchError, "one of two grids has a CRS"),
        (lambda r: r.mask(shapely.box(0, 0, 5, 5)), GridMismatchError, "do not meet"),
        (lambda r: r.mask(shapely.Polygon()), ParameterError, "is empty"),
        (lambda r: r.mask([]), ParameterError, "no features"),
        (lambda r: r.mask(shapely.Point(1, 2)), ParameterError, "polygon"),
        (lambda r: r.mask(5), ParameterError, "is no geometry"),
        (lambda r: r.mask(BASIN, invert=True, crop=True), ParameterError, "leave one out"),
    ],
)
def test_what_is_refused(path, cut, error, message):
    with pytest.raises(error, match=message) as caught:
        cut(tj.open(path))
    assert isinstance(caught.value, TilejitError)


class TestPartSource(SourceTests):
    def make(self, cells, nodata):
        around = np.pad(cells, ((0, 0), (2, 1), (3, 4)), constant_values=9)
        raster = tj.from_array(around, nodata=nodata)
        return PartSource.of(raster.bands[0].source, Window(2, 3, *cells.shape[1:]))
