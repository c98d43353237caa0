"""Kernels over arrays in memory, against the same kernel over padded copies of the whole."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilejit as tj
from raster_kernels import CODES, EDGES, FIVE, MEAN, Cells, by_numpy, halves, kind_of, place, plus_one, same_bits
from tilejit.errors import KernelError, ParameterError
from tilejit.grid import Grid

SLOW = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))


@st.composite
def arrays(draw, dtypes, most=40):
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(st.integers(1, most)), draw(st.integers(1, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    array = random.integers(0, 99, shape).astype(dtype)
    if dtype.kind == "f":
        array[random.random(shape) < draw(st.sampled_from((0, 0.1)))] = np.nan
    return array


@SLOW
@given(st.data())
def test_focal_kernels_over_any_shape(data):
    array = data.draw(arrays(("uint8", "int32", "float32", "float64")))
    kernel = data.draw(st.sampled_from((FIVE, MEAN)))[data.draw(st.sampled_from(EDGES))]
    (wanted,) = by_numpy(kernel, [Cells.of(array, None)], Grid(*array.shape))
    assert same_bits(kernel(array, workers=data.draw(st.integers(1, 3))), wanted.array)


@SLOW
@given(st.data())
def test_annotated_integers_and_tuples(data):
    array = data.draw(arrays(("uint8", "int16", "int32")))
    kernel = CODES[data.draw(st.sampled_from(EDGES))]
    (wanted,) = by_numpy(kernel, [Cells.of(array, None)], Grid(*array.shape))
    assert same_bits(kernel(array), wanted.array)
    both = halves(array, array[::-1].astype(np.float32))
    cells = [Cells.of(a, None) for a in (array, array[::-1].astype(np.float32))]
    for one, other in zip(both, by_numpy(halves, cells, Grid(*array.shape)), strict=True):
        assert same_bits(one, other.array)


@pytest.mark.parametrize("edge", EDGES)
def test_arrays_and_rasters_agree(edge):
    array = np.random.default_rng(3).random((33, 21), np.float32)
    array[5, 5] = np.nan
    for kernel in (FIVE[edge], MEAN[edge]):
        assert same_bits(kernel(array), kernel(tj.from_array(array)).read(tile=(7, 9))[0])


@pytest.mark.parametrize("view", ["strided", "transposed", "fortran", "big-endian", "read-only", "bool", "list"])
def test_any_layout(view):
    array = np.arange(48, dtype=np.float32).reshape(6, 8)
    read_only = array.copy()
    read_only.flags.writeable = False
    given_, plain = {
        "strided": (array[::2, ::-3], array[::2, ::-3]),
        "transposed": (array.T, array.T),
        "fortran": (np.asfortranarray(array), array),
        "big-endian": (array.astype(">f4"), array),
        "read-only": (read_only, array),
        "bool": (array > 9, (array > 9).astype(np.uint8)),
        "list": (array.tolist(), array.astype(np.float64)),
    }[view]
    wanted = FIVE["nearest"](np.ascontiguousarray(plain))
    np.testing.assert_array_equal(FIVE["nearest"](given_), wanted)


def test_no_cells_give_no_cells():
    for shape in ((0, 5), (5, 0), (0, 0)):
        assert FIVE["nodata"](np.zeros(shape, np.float32)).shape == shape
        assert plus_one(np.zeros(shape, np.float32)).shape == shape


def test_tuples_come_back_as_tuples():
    kinds, values = kind_of(np.float32([[1, 20, np.nan]]))
    assert kinds.tolist() == [[0, 1, 255]]
    np.testing.assert_array_equal(values, np.float32([[1, 20, np.nan]]))


def test_places_count_from_the_arrays_corner():
    array = np.zeros((2, 3), np.float32)
    got = place(array, x=0.0, y=0.0)
    np.testing.assert_array_equal(got, [[0, 1, 2], [100, 101, 102]])
    with pytest.raises(ParameterError, match=r"place takes x from the raster's grid .*: give x="):
        place(array)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((1, 2, 3)), np.zeros((2, 3))), r"a has the shape \(1, 2, 3\); a raster is 2-D"),
        ((np.zeros((2, 3)), np.zeros((3, 2))), r"a \(2, 3\), b \(3, 2\)"),
        ((np.zeros((2, 3), complex), np.zeros((2, 3))), "a is complex128"),
        ((np.array([["a"]]), np.zeros((1, 1))), "a is <U1"),
        ((np.zeros((2, 3)),), r"takes 2 rasters \(a, b\), 1 given"),
    ],
)
def test_what_is_no_raster_is_refused(arguments, message):
    with pytest.raises(KernelError, match=message):
        halves(*arguments)
