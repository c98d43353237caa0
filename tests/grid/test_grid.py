import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilejit.errors import ParameterError
from tilejit.formats.gdal.crs import metric_of
from tilejit.formats.gdal.rasterio_source import open_rasterio
from tilejit.grid import Grid, Metric, crs_name

rasterio = pytest.importorskip("rasterio")

DEGREE = Metric("geographic", unit=math.pi / 180)


def one_degree(latitude):
    """A cell of one degree with its centre at a latitude."""
    return Grid(1, 1, (1.0, 0.0, 0.0, 0.0, -1.0, latitude + 0.5), None, DEGREE)


def metric(epsg):
    return metric_of(rasterio.crs.CRS.from_epsg(epsg))


# Lengths of one degree on WGS84: NGA's table, to the metre.
@pytest.mark.parametrize(
    ("latitude", "east", "north"),
    [(0, 111319.49, 110574.28), (30, 96486, 110852), (45, 78847, 111132), (60, 55800, 111412)],
)
def test_a_degree_on_the_ground(latitude, east, north):
    grid = one_degree(latitude)
    assert grid.ground_width(0) == pytest.approx(east, abs=1)
    assert grid.ground_height(0) == pytest.approx(north, abs=1)


def test_the_meridian_adds_up_to_its_quarter():
    grid = Grid(9000, 1, (0.01, 0.0, 0.0, 0.0, -0.01, 90.0), None, DEGREE)
    assert grid.ground_height(np.arange(9000)).sum() == pytest.approx(10_001_965.729, abs=0.5)


def test_rows_beyond_a_pole_have_no_width():
    grid = Grid(10, 10, (1.0, 0.0, 0.0, 0.0, -1.0, 90.0), None, DEGREE)
    assert 0 <= grid.ground_width([-3])[0] < 1e-6


def test_north_england(test_data):
    source = open_rasterio(test_data / "dem" / "srtm3_north_england_3601x2401.tif")
    grid = source.grid
    source.close()
    assert grid.is_north_up
    assert grid.metric.kind == "geographic"
    # Three arc seconds at 55 N: 92.8 m by 53.3 m.
    assert grid.ground_width(0) == pytest.approx(53.33, abs=0.01)
    assert grid.ground_height([0]).tolist() == pytest.approx([92.77], abs=0.01)
    assert "WGS 84 (EPSG:4326)" in str(grid)
    assert "2401 rows x 3601 cols" in str(grid)


def test_metric_of_a_sites_own_crs():
    for unit, metres in (("metre", 1), ("US survey foot", 0.304800609601219)):
        metric = metric_of(rasterio.crs.CRS.from_wkt(f'LOCAL_CS["site",UNIT["{unit}",{metres}]]'))
        assert (metric.kind, metric.unit) == ("projected", metres)
    assert metric_of(rasterio.crs.CRS.from_wkt('LOCAL_CS["site",UNIT["degree",0.0174532925199433]]')).kind == "none"


@pytest.mark.parametrize(
    ("epsg", "kind", "unit"),
    [
        (32630, "projected", 1.0),
        (2263, "projected", 1200 / 3937),
        (4326, "geographic", math.pi / 180),
        (4807, "geographic", math.pi / 200),
        (3857, "mercator", 1.0),
        (3395, "projected", 1.0),
    ],
)
def test_metric_of_a_crs(epsg, kind, unit):
    assert metric(epsg).kind == kind
    assert metric(epsg).unit == pytest.approx(unit, rel=1e-12)


def test_ellipsoid_of_a_crs():
    assert (metric(4277).semi_major, metric(4277).inverse_flattening) == (6377563.396, 299.3249646)
    sphere = metric_of(rasterio.crs.CRS.from_proj4("+proj=longlat +R=6371000 +no_defs"))
    assert (sphere.semi_major, sphere.inverse_flattening) == (6371000.0, 0.0)
    # Clarke 1866 is defined by its two axes.
    assert metric(4267).inverse_flattening == pytest.approx(294.9786982, rel=1e-9)


def test_feet():
    grid = Grid(2, 2, (10.0, 0.0, 0.0, 0.0, -20.0, 0.0), None, metric(2263))
    assert grid.ground_width([0, 1]).tolist() == pytest.approx([3.048006096] * 2)
    assert grid.ground_height(1) == pytest.approx(6.096012192)


@pytest.mark.parametrize("latitude", [0.0, 35.0, -60.0])
def test_web_mercator_is_true_on_the_ground(latitude):
    """A map cell's ground size, against the geographic cell that its corners span."""
    radius = 6378137.0
    y = radius * math.asinh(math.tan(math.radians(latitude)))
    grid = Grid(1, 1, (100.0, 0.0, 0.0, 0.0, -100.0, y + 50), None, metric(3857))
    edges = [math.degrees(math.atan(math.sinh(edge / radius))) for edge in (y - 50, y + 50)]
    height = edges[1] - edges[0]
    width = math.degrees(100 / radius)
    same = Grid(1, 1, (width, 0.0, 0.0, 0.0, -height, edges[1]), None, DEGREE)
    assert grid.ground_width(0) == pytest.approx(float(same.ground_width(0)), rel=1e-7)
    assert grid.ground_height(0) == pytest.approx(float(same.ground_height(0)), rel=1e-7)


@given(st.integers(-5, 100), st.integers(-5, 100))
def test_centres_are_rasterios(row, col):
    transform = (0.25, 0.0, -3.5, 0.0, -0.125, 54.0)
    grid = Grid(100, 100, transform)
    x, y = rasterio.Affine(*transform) @ (col + 0.5, row + 0.5)
    assert (grid.x(col), grid.y(row)) == (pytest.approx(x), pytest.approx(y))
    assert grid.x([col, col]).dtype == np.float64


def test_no_crs_has_no_ground_size():
    with pytest.raises(ParameterError, match=r"no CRS.*dx=.*dy="):
        Grid(2, 2).ground_width(0)


def test_rotated_cells():
    grid = Grid(2, 2, (3.0, 1.0, 0.0, 4.0, -1.0, 0.0), None, Metric("projected"))
    assert grid.is_rotated
    assert not grid.is_north_up
    assert grid.cell_width == 5.0
    assert grid.ground_width(0) == 5.0
    with pytest.raises(ParameterError, match="rotated"):
        grid.x(0)


def test_south_up_is_not_north_up():
    assert not Grid(2, 2, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)).is_north_up


@pytest.mark.parametrize("wrong", [{"height": 0}, {"transform": (1.0, 0.0)}, {"transform": (math.nan,) * 6}])
def test_impossible_grids_are_refused(wrong):
    with pytest.raises(ValueError, match="not"):
        Grid(**{"height": 2, "width": 2} | wrong)


@pytest.mark.parametrize("wrong", [{"semi_major": -1}, {"inverse_flattening": 0.5}, {"unit": 0}])
def test_impossible_metrics_are_refused(wrong):
    with pytest.raises(ValueError, match="not"):
        Metric("geographic", **wrong)


def test_one_grid_has_no_differences():
    grid = Grid(1000, 1000, (30.0, 0.0, 5e5, 0.0, -30.0, 4e6))
    near = Grid(1000, 1000, (30.0, 0.0, 5e5 + 0.02, 0.0, -30.0, 4e6))
    assert grid.differences(near) == []


def test_differences_name_both_values():
    utm = rasterio.crs.CRS.from_epsg(32630).to_wkt()
    one = Grid(10, 10, (30.0, 0.0, 500.0, 0.0, -30.0, 40.0), utm)
    other = Grid(10, 11, (30.0, 0.0, 500.1, 0.0, -30.0, 40.0), None)
    size, transform, crs = one.differences(other)
    assert size == "size: 10 rows x 10 cols and 10 rows x 11 cols"
    assert "500" in transform
    assert "500.1" in transform
    assert crs == "CRS: WGS 84 / UTM zone 30N (EPSG:32630) and no CRS"


def test_a_cell_size_that_drifts_is_a_difference():
    one = Grid(10_000, 10, (30.0, 0.0, 0.0, 0.0, -30.0, 0.0))
    other = Grid(10_000, 10, (30.0, 0.0, 0.0, 0.0, -30.00001, 0.0))
    assert len(one.differences(other)) == 1


def test_one_code_is_one_crs():
    crs = rasterio.crs.CRS.from_epsg(32630)
    wkt1, wkt2 = crs.to_wkt(), crs.to_wkt(version="WKT2_2019")
    assert wkt1 != wkt2
    assert crs_name(wkt1) == crs_name(wkt2)
    assert Grid(2, 2, crs=wkt1).differences(Grid(2, 2, crs=wkt2)) == []


def test_crs_names_without_a_code():
    assert crs_name('LOCAL_CS["my field"]') == "my field"
    assert crs_name("nonsense") == "an unnamed CRS"
    one, other = (Grid(2, 2, crs=f'LOCAL_CS["my field",UNIT["{unit}",1]]') for unit in ("metre", "foot"))
    assert "different definitions" in one.differences(other)[0]
