"""What lies outside a raster, against numpy.pad."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raster_kernels import PAD_MODES, pad
from tilejit.kernel.inputs import fill_outside, inside_index
from tilejit.window import Window

EDGES = [*PAD_MODES, "nodata", 7.0, -1]


@pytest.mark.parametrize("edge", PAD_MODES)
@given(size=st.integers(1, 9), reach=st.integers(0, 30))
def test_an_index_outside_is_where_numpy_takes_it_from(edge, size, reach):
    wanted = np.pad(np.arange(size), reach, PAD_MODES[edge])
    np.testing.assert_array_equal(inside_index(np.arange(-reach, size + reach), size, edge), wanted)


@settings(max_examples=200)
@given(st.data())
def test_a_tile_is_filled_as_numpy_pads_the_whole(data):
    """A tile sees no more of the raster than its own halo, and that is enough for every edge but wrap."""
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    halo = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    tile = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
    edge = data.draw(st.sampled_from([e for e in EDGES if e != "wrap"]))
    whole = np.arange(height * width, dtype=np.float32).reshape(height, width)
    window = tile.expand(*halo)
    wanted = pad(whole, halo, edge, np.nan)[window.slices(Window(0, 0, height, width).expand(*halo))]
    inside = window.intersection(Window(0, 0, height, width))
    cells = np.full(window.shape, -555, np.float32)
    cells[inside.slices(window)] = whole[inside.slices(Window(0, 0, height, width))]
    fill_outside(cells, window, (height, width), edge, np.nan)
    np.testing.assert_array_equal(cells, wanted)


def test_a_tile_inside_is_left_alone():
    cells = np.ones((3, 3))
    fill_outside(cells, Window(1, 1, 3, 3), (10, 10), "nodata", np.nan)
    assert cells.sum() == 9
