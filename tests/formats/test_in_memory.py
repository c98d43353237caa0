"""Arrays as sources and sinks: computed where they lie, or copied, to the same cells."""

import numpy as np
import pytest

import tilejit as tj
from raster_kernels import same_bits
from tilejit.formats.in_memory import ArraySink, ArraySource, place_in, views_of
from tilejit.grid import Grid
from tilejit.window import Window

CELLS = np.random.default_rng(2).integers(1, 9, (2, 20, 30)).astype(np.float32)
FLOAT32, WHOLE = np.dtype(np.float32), Window(0, 0, 20, 30)


@tj.local
def index(a, b):
    return (a - b) / (a + b)


ARRAYS = {
    "contiguous": (CELLS[0], True),
    "every other column": (np.repeat(CELLS[0], 2, axis=1)[:, ::2], False),
    "turned": (np.ascontiguousarray(CELLS[0].T).T, False),
    "swapped bytes": (CELLS[0].astype(">f4"), False),
    "one value": (np.broadcast_to(np.float32(3), (20, 30)), False),
    "another dtype": (CELLS[0].astype(np.float64), False),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("tile", [None, (8, 30), (8, 16)])
def test_where_an_array_lies_does_not_matter(name, tile):
    array, is_seen = ARRAYS[name]
    assert (views_of(ArraySource.of(array), (1,), FLOAT32, WHOLE) is not None) == is_seen
    before = array.copy()
    found = index(tj.from_array(array), tj.from_array(CELLS[1])).compute(backend="python", tile=tile)
    wanted = index(np.ascontiguousarray(array, array.dtype.newbyteorder("=")), CELLS[1], backend="python")
    assert same_bits(found[0], wanted)
    np.testing.assert_array_equal(array, before)


def test_nodata_is_seen_as_such():
    for options in ({"nodata": 3}, {"nodata": np.nan}, {}):
        found = index(tj.from_array(CELLS[0], **options), tj.from_array(CELLS[1])).compute(backend="python")[0]
        assert np.isnan(found[CELLS[0] == 3]).all() == (options.get("nodata") == 3)
    masked = np.ma.array(CELLS[0], mask=CELLS[0] == 5)
    assert np.isnan(
        index(tj.from_array(masked), tj.from_array(CELLS[1])).compute(backend="python")[0][masked.mask]
    ).all()


def test_a_subclass_reads_for_itself():
    class Own(ArraySource):
        pass

    assert views_of(Own.of(CELLS), (1,), FLOAT32, WHOLE) is None


def test_a_place_is_a_whole_part_of_the_output():
    sink = ArraySink(np.zeros((1, 20, 30)), Grid(20, 30))
    place = place_in(sink, Window(4, 0, 3, 30))
    place[...] = 7
    sink.write(Window(4, 0, 3, 30), place)
    assert sink.array.sum() == 7 * 90
    assert place_in(sink, Window(4, 0, 3, 20)) is None
    assert place_in(ArraySink(np.zeros((2, 20, 30)), Grid(20, 30)), Window(0, 0, 3, 30)) is None
