import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilejit.window import Window, tiles

offsets = st.integers(-20, 20)
lengths = st.integers(0, 20)
windows = st.builds(Window, offsets, offsets, lengths, lengths)
sides = st.integers(1, 40)


def cells(window):
    return {
        (row, col) for row in range(window.row_off, window.row_end) for col in range(window.col_off, window.col_end)
    }


def test_text():
    assert str(Window(0, 512, 512, 512)) == "rows 0:512, cols 512:1024"


def test_a_window_is_a_value():
    assert Window(np.int64(1), 2, 3, 4) == Window(1, 2, 3, 4)
    assert hash(Window(np.int64(1), 2, 3, 4)) == hash(Window(1, 2, 3, 4))
    assert repr(Window(np.int64(1), 2, 3, 4)) == repr(Window(1, 2, 3, 4))


@pytest.mark.parametrize("shape", [(-1, 2), (2, -1)])
def test_negative_sizes_are_refused(shape):
    with pytest.raises(ValueError, match="zero or more"):
        Window(0, 0, *shape)


def test_fractions_are_refused():
    with pytest.raises(TypeError):
        Window(0.5, 0, 1, 1)


@given(windows, windows)
def test_intersection_is_the_common_cells(one, other):
    both = one.intersection(other)
    assert cells(both) == cells(one) & cells(other)
    assert both.is_empty == (not cells(both))


@given(windows, st.integers(0, 5), st.integers(0, 5))
def test_expand_then_slices_finds_the_window_again(window, rows, cols):
    bigger = window.expand(rows, cols)
    assert window.slices(bigger) == (slice(rows, rows + window.height), slice(cols, cols + window.width))


@given(windows, offsets, offsets)
def test_shift_there_and_back(window, row, col):
    assert window.shifted(row, col).shifted(-row, -col) == window
    assert window.shifted(row, col).shape == window.shape


def test_slices_outside_are_refused():
    with pytest.raises(ValueError, match="rows 0:4, cols 0:4 reaches outside rows 1:5"):
        Window(0, 0, 4, 4).slices(Window(1, 0, 4, 4))


@given(sides, sides, sides, sides)
def test_tiles_partition_the_raster(height, width, tile_height, tile_width):
    counts = np.zeros((height, width), int)
    places = []
    for window in tiles(height, width, tile_height, tile_width):
        counts[window.slices(Window(0, 0, height, width))] += 1
        places.append((window.row_off, window.col_off))
        assert window.height <= tile_height
        assert window.width <= tile_width
    assert (counts == 1).all()
    assert places == sorted(places)


def test_empty_tiles_are_refused():
    with pytest.raises(ValueError, match="not 0 x 4"):
        next(tiles(4, 4, 0, 4))
