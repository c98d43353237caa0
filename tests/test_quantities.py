"""Keyword-only parameters that the grid fills in, tile by tile."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from tilejit.errors import ParameterError
from tilejit.grid import Grid, Metric
from tilejit.window import Window

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
