import numpy as np
import pytest

import tilejit as tj
from tilejit.errors import GridMismatchError, ParameterError

pytest.importorskip("rasterio")

UTM = "EPSG:32633"
ONE, OTHER = (
    tj.from_array(np.full((50, 50), k, np.float32), grid=tj.Grid.from_bounds(bounds, UTM, resolution=side))
    for k, (bounds, side) in enumerate([((0, 0, 500, 500), 10), ((206, 106, 1206, 1106), 20)])
)


def test_the_first_grid_is_the_one_unless_told():
    one, other = tj.align(ONE, OTHER)
    assert one is ONE
    assert other.grid == ONE.grid
    assert np.isnan(other.read()[0, 45, 0])
    assert other.read()[0, 0, 45] == 1


@pytest.mark.parametrize(("to", "bounds"), [("intersection", (210, 110, 500, 500)), ("union", (0, 0, 1210, 1110))])
def test_what_they_have_in_common_and_what_they_cover(to, bounds):
    made = tj.align(ONE, OTHER, to=to)
    assert {raster.grid for raster in made} == {made[0].grid}
    assert made[0].grid.bounds == bounds
    assert made[0].grid.resolution == (10, 10)


def test_a_grid_a_raster_and_a_resolution():
    grid = tj.Grid.from_bounds((14.5, 0, 14.6, 0.1), "EPSG:4326", resolution=0.001)
    there = grid.to_crs(UTM).zoom_out(1.2)
    near = tj.from_array(np.ones(there.shape, np.float32), grid=there)
    for to in (grid, tj.from_array(np.zeros(grid.shape, np.uint8), grid=grid)):
        (warped,) = tj.align(near, to=to)
        assert warped.grid == grid
    made = tj.align(ONE, OTHER, to="union", resolution=50)
    assert [raster.grid.resolution for raster in made] == [(50, 50)] * 2


def test_across_crs(tmp_path):
    there = ONE.grid.to_crs("EPSG:4326").zoom_out(0.8)
    far = tj.from_array(np.ones(there.shape, np.float32), grid=there)
    far.save(tmp_path / "far.tif")
    one, other = tj.align(ONE, str(tmp_path / "far.tif"), to="intersection")
    assert one.grid == other.grid
    assert (ONE.grid & one.grid) == one.grid


def test_what_is_refused():
    with pytest.raises(ParameterError, match="no rasters"):
        tj.align()
    with pytest.raises(ParameterError, match="to='last': it is 'first'"):
        tj.align(ONE, to="last")
    away = tj.from_array(np.ones((2, 2), np.float32), grid=tj.Grid.from_bounds((9e5, 0, 9e5 + 9, 9), UTM, resolution=5))
    for to in ("first", "intersection"):
        with pytest.raises(GridMismatchError):
            tj.align(ONE, away, to=to)

    @tj.local
    def total(a, b):
        return a + b

    with pytest.raises(GridMismatchError, match=r"second\.to\(first\), or all onto one, as tj\.align"):
        total(ONE, OTHER)
    assert total(*tj.align(ONE, OTHER, to="intersection")).read().min() == 1
