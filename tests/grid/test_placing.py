import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tilejit as tj
from tilejit.errors import GridMismatchError, ParameterError

rasterio = pytest.importorskip("rasterio")

UTM = "EPSG:32633"
SIDES = st.integers(1, 60)


def grid_at(row, col, height, width, side=10.0):
    """A grid whose cells fall on those of all that this makes with one side."""
    return tj.Grid(height, width, (side, 0.0, col * side, 0.0, -side, -row * side))


GRIDS = st.builds(grid_at, st.integers(-50, 50), st.integers(-50, 50), SIDES, SIDES)


def cells(grid):
    """The cells of a grid, by row and column of the lines that `grid_at` counts."""
    row, col = round(-grid.transform[5] / 10), round(grid.transform[2] / 10)
    return {(row + y, col + x) for y in range(grid.height) for x in range(grid.width)}


@given(GRIDS, GRIDS)
def test_intersections_hold_what_both_hold(one, other):
    if both := cells(one) & cells(other):
        assert cells(one & other) == both
        assert (one & other) == (other & one)
    else:
        with pytest.raises(GridMismatchError, match="do not meet"):
            _ = one & other


@given(GRIDS, GRIDS)
def test_unions_cover_both_and_no_more(one, other):
    union = one | other
    assert cells(union) >= cells(one) | cells(other)
    bounds = [min(one.bounds[k], other.bounds[k]) if k < 2 else max(one.bounds[k], other.bounds[k]) for k in range(4)]
    assert union.bounds == pytest.approx(bounds)
    assert (union & one) == one


@given(GRIDS, st.integers(0, 9), st.integers(0, 9))
def test_pads_are_cut_off_again(grid, rows, cols):
    padded = grid.pad(rows, cols)
    assert padded.shape == (grid.height + 2 * rows, grid.width + 2 * cols)
    assert (padded & grid) == grid


@given(GRIDS, st.sampled_from([1, 2, 3, 7, 0.5]))
def test_zooming_out_covers_the_grid(grid, factor):
    coarse = grid.zoom_out(factor)
    assert coarse.resolution == pytest.approx((10 * factor, 10 * factor))
    assert (coarse.bounds.left, coarse.bounds.top) == (grid.bounds.left, grid.bounds.top)
    assert 0 <= coarse.bounds.right - grid.bounds.right < 10 * factor
    assert 0 <= grid.bounds.bottom - coarse.bounds.bottom < 10 * factor


@given(
    st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1, 1e5), st.floats(1, 1e5), st.sampled_from([0.25, 10, 30])
)
def test_aligned_grids_lie_on_multiples(left, bottom, width, height, side):
    bounds = (left, bottom, left + width, bottom + height)
    grid = tj.Grid.from_bounds(bounds, resolution=side, aligned=True)
    found = grid.bounds
    for edge in found:
        assert edge / side == pytest.approx(round(edge / side), abs=1e-6)
    assert found.left - 1e-6 * side <= left < found.left + side
    assert found.top - side < bounds[3] <= found.top + 1e-6 * side
    assert found.right >= bounds[2] - 2e-6 * side
    assert found.bottom <= bottom + 2e-6 * side


def test_bounds_that_are_whole_cells_apart_gain_none():
    assert tj.Grid.from_bounds((0.1, 0.1, 0.7, 0.4), resolution=0.1).shape == (3, 6)
    assert tj.Grid.from_bounds((0, 0, 5, 3), resolution=(2, 1)).shape == (3, 3)
    assert tj.Grid.from_bounds((0, 0, 5, 3), shape=(3, 10)).resolution == (0.5, 1)


def test_a_grid_of_a_trillion_cells_is_a_value():
    grid = tj.Grid.from_bounds((0, 0, 1e6, 1e6), UTM, resolution=1)
    assert grid.shape == (10**6, 10**6)
    assert (grid & grid.pad(3)) == grid
    assert grid.zoom_out(1000).shape == (1000, 1000)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bounds": (1, 0, 0, 1), "resolution": 1}, "left below right"),
        ({"bounds": (0, 0, math.nan, 1), "resolution": 1}, "hold nothing"),
        ({"bounds": (0, 0, 1, 1)}, "needs resolution="),
        ({"bounds": (0, 0, 1, 1), "resolution": 1, "shape": (1, 1)}, "not both"),
        ({"bounds": (0, 0, 1, 1), "resolution": -1}, "above 0"),
        ({"bounds": (0, 0, 1, 1), "resolution": "fine"}, "above 0"),
        ({"bounds": (0, 0, 1, 1), "resolution": 1, "crs": "EPSG:1"}, "is no CRS"),
    ],
)
def test_what_no_grid_is_made_of(given, said):
    with pytest.raises(ParameterError, match=said):
        tj.Grid.from_bounds(**given)


def test_other_things_that_are_refused():
    grid = grid_at(0, 0, 2, 2)
    with pytest.raises(ParameterError, match="0 or more"):
        grid.pad(-1)
    with pytest.raises(ParameterError, match="positive"):
        grid.zoom_out(0)
    with pytest.raises(ParameterError, match="has no CRS"):
        grid.to_crs(UTM)


def test_grids_that_do_not_match_say_what_would_make_them():
    grid = tj.Grid.from_bounds((0, 0, 100, 100), UTM, resolution=10)
    for other in (grid.zoom_out(2), tj.Grid.from_bounds((3, 0, 103, 100), UTM, resolution=10)):
        with pytest.raises(GridMismatchError, match=r"raster\.to\(other\.grid\)"):
            _ = grid & other
    with pytest.raises(GridMismatchError, match=r"other\.to_crs\(grid\.crs\)"):
        _ = grid | tj.Grid.from_bounds((0, 0, 100, 100), "EPSG:3857", resolution=10)


def test_grids_are_equal_within_a_millionth_of_a_cell():
    grid = tj.Grid.from_bounds((0, 0, 100, 100), UTM, resolution=10)
    near, far = (tj.Grid(10, 10, (10, 0, shift, 0, -10, 100), grid.crs, grid.metric) for shift in (5e-6, 5e-5))
    assert grid == near
    assert hash(grid) == hash(near)
    assert grid != far
    assert grid.differences(far) == []
    assert grid != "a grid"


@pytest.mark.filterwarnings("ignore:Use `@`:PendingDeprecationWarning")  # rasterio 1.4 with affine 3
@pytest.mark.parametrize(
    ("bounds", "crs", "to"),
    [
        ((500_000, 5_000_000, 600_000, 5_100_000), UTM, "EPSG:4326"),
        ((500_000, 5_000_000, 600_000, 5_100_000), UTM, "EPSG:3857"),
        ((10, 40, 12, 41), "EPSG:4326", "EPSG:3035"),
    ],
)
def test_grids_in_another_crs_are_gdals(bounds, crs, to):
    grid = tj.Grid.from_bounds(bounds, crs, shape=(80, 120))
    found = grid.to_crs(to)
    transform, width, height = rasterio.warp.calculate_default_transform(crs, to, 120, 80, *bounds)
    assert found.shape == (height, width)
    assert found.transform == pytest.approx(tuple(transform)[:6])
    aligned = grid.to_crs(to, resolution=found.resolution[0] * 3, aligned=True)
    steps = np.array(aligned.bounds) / (found.resolution[0] * 3)
    assert steps == pytest.approx(np.round(steps), abs=1e-6)
    assert grid.to_crs(crs) == grid


def test_degrees_go_on_across_the_antimeridian():
    grid = tj.Grid.from_bounds((200_000, 7_000_000, 500_000, 7_300_000), "EPSG:32601", resolution=1000)
    found = grid.to_crs("EPSG:4326").bounds
    assert 170 < found.left < 180 < found.right < 190
