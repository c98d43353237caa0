"""Keyword-only parameters that the grid fills in, tile by tile."""

import math

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from tilejit.errors import ParameterError
from tilejit.grid import Grid, Metric
from tilejit.window import Window
from tilejit_kernels import filters, terrain

GEOGRAPHIC = Grid(60, 45, (0.5, 0.0, -10.0, 0.0, -0.25, 52.0), None, Metric("geographic", unit=math.pi / 180))
SOUTH_UP = Grid(60, 45, (30.0, 0.0, 500.0, 0.0, 20.0, -900.0), None, Metric("projected", unit=0.3048))
ROWS, COLS = np.arange(60), np.arange(45)


def shown(quantity):
    """A kernel that shows one quantity."""

    @tj.local
    def show(z, *, value=quantity):
        return z + value

    return show


def wanted(quantity, grid):
    ones = np.ones(grid.shape)
    by_row = {tj.GROUND_WIDTH: grid.ground_width, tj.GROUND_HEIGHT: grid.ground_height, tj.Y: grid.y}
    if quantity in by_row:
        return by_row[quantity](ROWS)[:, None] * ones
    return {
        tj.ROW: ROWS[:, None] * ones,
        tj.COL: COLS * ones,
        tj.X: grid.x(COLS) * ones,
        tj.CELL_WIDTH: grid.cell_width * ones,
        tj.CELL_HEIGHT: grid.cell_height * ones,
        tj.Z_FACTOR: (grid.metric.unit if grid.metric.kind == "projected" else 1.0) * ones,
    }[quantity]


@pytest.mark.parametrize("grid", [GEOGRAPHIC, SOUTH_UP], ids=["geographic", "south up"])
@pytest.mark.parametrize("quantity", list(tj.Quantity))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_every_pixel_gets_its_own(grid, quantity, data):
    raster = shown(quantity)(tj.from_array(np.zeros(grid.shape), grid=grid))
    tile = data.draw(st.integers(7, 70)), data.draw(st.integers(7, 70))
    whole = wanted(quantity, grid)
    np.testing.assert_array_equal(raster.read(tile=tile, workers=2)[0], whole)
    window = Window(data.draw(st.integers(0, 59)), data.draw(st.integers(0, 44)), 1, 1)
    assert raster.read(window)[0, 0, 0] == whole[window.row_off, window.col_off]


def test_quantities_reach_into_the_halo():
    """A kernel's result one row outside the tile is computed with that row's own values."""

    @tj.focal(edge="nearest")
    def below(z):
        return z[1, 0]

    grid = GEOGRAPHIC
    raster = below(shown(tj.Y)(tj.from_array(np.zeros(grid.shape), grid=grid)))
    rows = grid.y(np.minimum(ROWS + 1, 59))
    np.testing.assert_array_equal(raster.read(tile=(7, 45))[0], rows[:, None] * np.ones(45))


@pytest.mark.parametrize("backend", ["cpu", "python"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_coordinates_keep_what_float64_holds(dtype, backend):
    """In the body, whatever its inputs are, and in a result that nothing narrows; float32 is rounded to at the end."""
    grid = Grid(40, 3, (0.1, 0.0, 500000.0, 0.0, -0.1, 5e6), None, Metric("projected", unit=1.0))
    z = tj.from_array(np.ones(grid.shape, dtype), grid=grid)
    y = 5e6 - 0.1 * (np.arange(40) + 0.5)
    northing, above = (kernel(z).read(tile=(16, 3), backend=backend)[0, :, 0] for kernel in (shown(tj.Y), risen))
    assert northing.dtype == np.float64
    np.testing.assert_array_equal(northing - 1.0, y)
    assert len(np.unique(above)) == 40
    np.testing.assert_array_equal(above, (y - 4999990.0).astype(np.float32))


@tj.local
def risen(z, *, y=tj.Y) -> np.float32:
    return z * (y - 4999990.0)


def test_a_number_stands_in_for_the_grid():
    raster = tj.from_array(np.zeros((2, 2)))
    assert shown(tj.GROUND_WIDTH)(raster, value=30).read().tolist() == [[[30, 30], [30, 30]]]


def test_what_the_grid_does_not_know_is_refused_while_planning():
    raster = tj.from_array(np.zeros((2, 2)))
    for quantity in (tj.GROUND_WIDTH, tj.GROUND_HEIGHT):
        with pytest.raises(ParameterError, match=r"no CRS, so the ground .* is unknown: give"):
            shown(quantity)(raster).plan()


FOOT, SURVEY_FOOT = 0.3048, 1200 / 3937


def rising(tmp_path, crs, unit, rise=3.0, cell=3.0):
    """A file whose heights rise by so much a cell to the north."""
    z = np.tile(rise * np.arange(5, 0, -1.0)[:, None], (1, 5)).astype(np.float32)
    options = {"driver": "GTiff", "height": 5, "width": 5, "count": 1, "dtype": z.dtype, "crs": crs}
    where = rasterio.Affine(cell, 0, 10, 0, -cell, 45)
    with rasterio.open(tmp_path / "dem.tif", "w", transform=where, **options) as file:
        file.write(z, 1)
        if unit is not None:
            file.set_band_unit(1, unit)
    return tj.open(tmp_path / "dem.tif")


@pytest.mark.parametrize(
    ("crs", "unit", "metres", "said"),
    [
        ("EPSG:6529", None, SURVEY_FOOT, "US survey feet: their unit is not said, and the CRS is in those"),
        ("EPSG:6529", "US survey foot", SURVEY_FOOT, "US survey feet: the band's unit"),
        ("EPSG:6529", "m", 1, "metres: the band's unit"),
        ("EPSG:6529+6360", None, SURVEY_FOOT, "US survey feet: the band's unit"),  # GDAL gives it that of the CRS
        ("EPSG:6529+5703", None, 1, "metres: the band's unit"),
        ("EPSG:32613", None, 1, "metres: their unit is not said, and the CRS is in those"),
        ("EPSG:32613", "ft", FOOT, "feet: the band's unit"),
        ("EPSG:32613", "furlong", 1, "metres: their unit 'furlong' is not a known length, and the CRS is in those"),
        ("EPSG:32613", "cm", 0.01, "centimetres: the band's unit"),
        ("EPSG:4326", None, 1, "metres: their unit is not said"),
        ("EPSG:4326", "Foot_US", SURVEY_FOOT, "US survey feet: the band's unit"),
        ("EPSG:4979", None, 1, "metres: their unit is not said, and the CRS has heights in those"),
    ],
)
def test_heights_have_the_unit_that_is_known(crs, unit, metres, said, tmp_path):
    """The slope that NumPy has of rise over run, both in metres."""
    dem = rising(tmp_path, crs, unit)
    steep = terrain.slope(dem)
    run = dem.grid.ground_height(np.arange(5))
    rise = 3.0 * metres
    # What a file's own tags leave of a factor is as good as its digits.
    wanted = np.degrees(np.arctan(rise / run))[1:-1, None] * np.ones(3)
    np.testing.assert_allclose(steep.read(backend="python")[0, 1:-1, 1:-1], wanted, rtol=3e-6)
    assert f"; heights in {said}\n" in str(steep.plan())


def test_feet_on_feet_rise_by_half_a_right_angle(tmp_path):
    dem = rising(tmp_path, "EPSG:6529", None)
    np.testing.assert_allclose(terrain.slope(dem).read(backend="python")[0, 1:-1, 1:-1], 45, rtol=1e-6)
    # What is given wins, and sizes that are given are in the unit of heights.
    for parameters, degrees in (
        ({"z_factor": 2}, math.degrees(math.atan(2 / SURVEY_FOOT))),
        ({"dx": 3, "dy": 3}, 45),
        ({"dx": 3, "dy": 3, "z_factor": 2}, math.degrees(math.atan(2))),
    ):
        found = terrain.slope(dem, **parameters).read(backend="python")
        np.testing.assert_allclose(found[0, 1:-1, 1:-1], degrees, rtol=1e-6)
    assert "heights in the unit of the cells' sizes, which are given" in str(terrain.slope(dem, dx=3, dy=3).plan())
    assert "heights" not in str(terrain.slope(dem, z_factor=2).plan())


def test_a_result_is_in_the_unit_that_it_declares_or_that_of_its_first_input(tmp_path):
    @tj.local(unit="m")
    def in_metres(z, *, feet=0.3048):
        return z * feet

    dem = rising(tmp_path, "EPSG:32613", "ft")
    smooth = tj.from_array(np.zeros((5, 5), np.float32), grid=dem.grid)
    assert "heights in feet" in str(terrain.slope(filters.mean_3x3(dem)).plan())
    assert "heights in metres: the band's unit" in str(terrain.slope(in_metres(dem)).plan())
    assert "heights in metres: their unit is not said" in str(terrain.slope(smooth).plan())
    # A slope's slope has no length for heights: its unit says so.
    assert "their unit 'degree' is not a known length" in str(terrain.slope(terrain.slope(dem)).plan())


@pytest.mark.parametrize("kernel", [filters.median_3x3, filters.mean_11x11, terrain.tpi])
def test_files_of_smoothed_heights_say_their_unit(kernel, tmp_path):
    kernel(rising(tmp_path, "EPSG:32613", "ft")).save(tmp_path / "smooth.tif", backend="python")
    assert "heights in feet: the band's unit" in str(terrain.slope(tj.open(tmp_path / "smooth.tif")).plan())


@pytest.mark.parametrize(
    "name", ["slope", "hillshade", "multidirectional_hillshade", "profile_curvature", "plan_curvature"]
)
def test_a_factor_is_what_heights_are_multiplied_with(name):
    kernel, z = getattr(terrain, name), np.random.default_rng(1).normal(100, 9, (6, 7))
    factored = kernel(z, dx=10, dy=7, z_factor=0.3048, backend="python")
    np.testing.assert_allclose(factored, kernel(z * 0.3048, dx=10, dy=7, backend="python"), rtol=1e-9)


def test_plain_arrays_are_in_the_unit_of_their_cells():
    z = np.float32([[0, 1, 2]] * 3)
    assert terrain.slope.debug(z, 1, 1, dx=1, dy=1) == 45
    assert shown(tj.Z_FACTOR)(z, backend="python").tolist() == (z + 1).tolist()


@pytest.mark.parametrize(("top", "cell"), [(4_998_200.0, 30.0), (-4_998_200.0, 30.0), (93.0, 1.0)])
def test_degrees_that_are_metres_are_refused(top, cell):
    crs = 'GEOGCS["WGS 84",AUTHORITY["EPSG","4326"]]'
    grid = Grid(3, 3, (cell, 0.0, 0.0, 0.0, -cell, top), crs, Metric("geographic", unit=math.pi / 180))
    raster = tj.from_array(np.zeros((3, 3)), grid=grid)
    row = 0 if top > 0 else 2
    said = rf"row {row} lies at y = {grid.y(row):.9g}, and WGS 84 \(EPSG:4326\) has latitudes up to 90: .* metres"
    with pytest.raises(ParameterError, match=said):
        terrain.slope(raster).plan()
    terrain.tpi(raster).plan()


@pytest.mark.parametrize("top", [90.0, 90.125, 90.25])
def test_an_edge_just_beyond_a_pole_is_none(top):
    grid = Grid(3, 3, (0.25, 0.0, 0.0, 0.0, -0.25, top), None, Metric("geographic", unit=math.pi / 180))
    assert terrain.slope(tj.from_array(np.zeros((3, 3)), grid=grid)).read()[0, 1, 1] == 0
