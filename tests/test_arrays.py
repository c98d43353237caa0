"""Kernels over arrays in memory, against the same kernel over padded copies of the whole."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilejit as tj
from raster_kernels import (
    CODES,
    EDGES,
    FIVE,
    MEAN,
    Cells,
    bits,
    by_numpy,
    halves,
    kind_of,
    place,
    plus_one,
    same_bits,
)
from tilejit.arrays import _ArrayJob
from tilejit.backends import on_threads
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


@pytest.mark.slow
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
        (
            (np.zeros((2, 2, 3)), np.zeros((2, 3))),
            r"a has the shape \(2, 2, 3\); a raster is one band, .*pass array\[0\]",
        ),
        (("dem.tif", np.zeros((2, 3))), r"halves: a is a path, .* give tj\.open\('dem\.tif'\)"),
        ((Path("a") / "dem.tif", np.zeros((2, 3))), r"give tj\.open\('a/dem\.tif'\)"),
        ((np.zeros((2, 3)), np.zeros((3, 2))), r"a \(2, 3\), b \(3, 2\)"),
        ((np.zeros((2, 3), complex), np.zeros((2, 3))), "a is complex128"),
        ((np.zeros((2, 3), np.longdouble), np.zeros((2, 3))), "of up to 64 bits"),
        ((np.array([["a"]]), np.zeros((1, 1))), "a is <U1"),
        ((np.zeros((2, 3)),), r"takes 2 rasters \(a, b\), 1 given"),
    ],
)
def test_what_is_no_raster_is_refused(arguments, message):
    with pytest.raises(KernelError, match=message):
        halves(*arguments)


@tj.chain
def chained(z):
    return FIVE["nodata"](z)


@tj.local
def white(z) -> np.uint8:
    return z


COUNT = np.arange(30).reshape(5, 6)
MASKS = {
    "float": np.ma.masked_less(np.float32(COUNT % 11), 2),
    "integer": np.ma.masked_array(np.int16(COUNT % 11), COUNT % 13 == 4),
    "hard": np.ma.masked_array(np.float64(COUNT), np.eye(5, 6, dtype=bool), hard_mask=True),
    "Fortran's": np.ma.masked_equal(np.asfortranarray(np.uint8(COUNT)), 14),
    "no mask": np.ma.masked_array(np.float32(COUNT)),
}


@pytest.mark.parametrize("name", MASKS)
def test_masked_cells_are_nodata_and_results_are_masked(name):
    array = MASKS[name]
    mask, compute = np.ma.getmaskarray(array).copy(), np.result_type(array.dtype, np.float32)
    blanked = np.where(mask, np.nan, array.data).astype(compute)
    for kernel, plain in ((FIVE["nodata"],) * 2, (FIVE["reflect"],) * 2, (chained, FIVE["nodata"])):
        got, wanted = kernel(array), plain(blanked)
        assert type(got) is np.ma.MaskedArray
        assert np.isnan(got.fill_value)
        assert same_bits(got.data, wanted)
        np.testing.assert_array_equal(np.ma.getmaskarray(got), np.isnan(wanted))
        if kernel is plain:
            assert same_bits(kernel(tj.from_array(array)).read(tile=(2, 3))[0], wanted)
    np.testing.assert_array_equal(np.ma.getmaskarray(array), mask)


@pytest.mark.parametrize("backend", ["cpu", "python"])
@pytest.mark.parametrize("edge", ["nodata", "wrap", 7.0])
def test_masks_of_annotated_integers(backend, edge):
    codes, other = np.ma.masked_array(np.uint8(COUNT), COUNT % 7 == 3), np.ma.masked_greater(np.float32(COUNT), 25)
    got = bits(codes, other, backend=backend)
    invalid = codes.mask | other.mask
    np.testing.assert_array_equal(got.data, np.where(invalid, -32768, np.where(COUNT % 2 == 1, 1, COUNT)))
    np.testing.assert_array_equal(got.mask, invalid)
    assert got.fill_value == -32768
    kernel = CODES[edge]
    (wanted,) = by_numpy(kernel, [Cells(codes.data, ~codes.mask)], Grid(5, 6))
    assert same_bits(kernel(codes, backend=backend).data, wanted.array)


def test_debug_sees_masks():
    array = np.ma.masked_equal(np.float32(COUNT), 14)
    assert np.isnan(plus_one.debug(array, 2, 2))
    assert plus_one.debug(array, 2, 3) == 16


def test_results_into_masked_arrays():
    shared = np.zeros((5, 6), bool)
    shared[0] = True
    out, alias = np.ma.masked_array(np.zeros((5, 6), np.float32), shared, hard_mask=True), shared.copy()
    given_ = np.ma.masked_equal(np.float32(COUNT), 14)
    assert plus_one(given_, out=out) is out
    assert out.hardmask
    np.testing.assert_array_equal(out.mask, COUNT == 14)
    np.testing.assert_array_equal(shared, alias)
    plain = np.empty((5, 6), np.float32)
    got = plus_one(given_, out=plain)
    assert np.shares_memory(got.data, plain)
    assert got.mask.sum() == 1
    with pytest.raises(KernelError, match="out= shares memory with an input"):
        white(given_, out=given_.mask.view(np.uint8))


def test_one_band_of_a_stack_comes_back_as_one():
    stack = np.float32(COUNT)[np.newaxis]
    for kernel, plain in ((plus_one, plus_one), (chained, FIVE["nodata"])):
        assert same_bits(kernel(stack), plain(stack[0])[np.newaxis])
        out = np.empty((1, 5, 6), np.float32)
        assert kernel(stack, out=out) is out
        assert same_bits(out[0], plain(stack[0]))
        with pytest.raises(KernelError, match=r"out= is \(5, 6\) float32; it must be \(1, 5, 6\) and float32"):
            kernel(stack, out=out[0])
    assert [part.shape for part in halves(stack, stack[0])] == [(1, 5, 6)] * 2
    assert plus_one(np.ma.masked_equal(stack, 3)).mask.sum() == 1


@pytest.mark.parametrize("where", ["attrs", "encoding", "rio", "missing_value", "decoded"])
def test_data_arrays(where):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("rioxarray")
    places = {"y": np.arange(5.0), "x": np.arange(6.0)}
    data = xarray.DataArray(np.int16(COUNT)[np.newaxis], {"band": [1], **places}, ("band", "y", "x"))
    data.attrs = {"units": "metre", "scale_factor": 2.0}
    if where == "rio":
        data = data.rio.write_nodata(14)
    elif where == "encoding":
        data.encoding = {"_FillValue": np.int16(14)}
    elif where == "decoded":
        data = data.where(data != 14)
        data.encoding = {"_FillValue": np.int16(1), "scale_factor": 0.5}
    else:
        data.attrs["_FillValue" if where == "attrs" else where] = 14.0
    wanted = plus_one(np.where(COUNT == 14, np.nan, COUNT))
    got = plus_one(data)
    np.testing.assert_array_equal(got.values[0], wanted)
    assert (got.name, got.dims, dict(got.attrs), got.encoding) == ("plus_one", data.dims, got.attrs, {})
    assert list(got.attrs) == ["_FillValue"]
    assert np.isnan(got.rio.nodata)
    assert got.coords.equals(data.coords)
    np.testing.assert_array_equal(tj.from_array(data).band(1).read(nodata=14)[0] == 14, COUNT == 14)
    codes = white(data[0])
    assert (codes.name, codes.dims, codes.rio.nodata, int(codes[2, 2])) == ("white", ("y", "x"), 255, 255)


def test_results_that_look_like_nodata_are_told_at_the_callers_line():
    array = np.float32([[255, 7]])
    calls = (
        lambda: white(array),
        lambda: white(array, backend="python"),
        lambda: chained_white(array),
        lambda: white(tj.from_array(array)).compute(),
        lambda: white(tj.from_array(array)).read(tile=(1, 1)),
    )
    for call in calls:
        with pytest.warns(
            tj.NodataWarning, match="white: 1 valid pixel got a result that equals the nodata value"
        ) as told:
            call()
        assert [(w.filename, w.lineno) for w in told] == [(__file__, call.__code__.co_firstlineno)]


@tj.chain
def chained_white(z):
    return white(z)


def test_a_masked_dem_as_rasterio_reads_it(test_data):
    rasterio = pytest.importorskip("rasterio")
    path = test_data / "dem" / "lf_elev_220_mt_hood_utm.tif"
    with rasterio.open(path) as dataset:
        array = dataset.read(1, masked=True)
    got, blank = FIVE["nodata"](array), np.pad(array.mask, 1, constant_values=True)
    reached = blank[1:-1, 1:-1] | blank[:-2, 1:-1] | blank[2:, 1:-1] | blank[1:-1, :-2] | blank[1:-1, 2:]
    np.testing.assert_array_equal(got.mask, reached)
    assert same_bits(got.data, FIVE["nodata"](tj.open(path)).compute()[0])


@tj.local
def same(z):
    return z


@tj.local
def looping(z, *, steps: int = 3):
    for _ in range(steps):
        z = z * 0.5
    return z


@pytest.mark.parametrize(("shape", "threads"), [((1500, 1500), 2), ((64, 64), 1)])
def test_threads_are_as_many_as_there_is_work_for(monkeypatch, shape, threads):
    asked = []

    def watched(call, count, control, *, joins):
        asked.append(count)
        return on_threads(call, count, control, joins=joins)

    monkeypatch.setattr("tilejit.arrays.on_threads", watched)
    for kernel in (same, plus_one):
        kernel(np.ones(shape, np.float32), workers=2)
    assert asked == [threads, threads]


def test_pieces_are_few(monkeypatch):
    """A piece takes as long as some thousand pixels."""
    pieces, rows = [], _ArrayJob._rows

    def watched(job, launch, piece, *others):
        pieces.append(piece)
        return rows(job, launch, piece, *others)

    monkeypatch.setattr(_ArrayJob, "_rows", watched)
    for kernel in (same, plus_one, looping):
        pieces.clear()
        kernel(np.ones((600, 500), np.float32), workers=2)
        assert sum(piece.height for piece in pieces) == 600
        assert len(pieces) <= 16


FORKED = """
import multiprocessing, sys
import numpy as np
import tilejit as tj
from raster_kernels import plus_one

cells = np.ones((2000, 2000), np.float32)

def computed(seconds):
    return float(plus_one(cells, workers=2).sum())

if __name__ == "__main__":
    computed(0)
    plus_one(tj.from_array(cells)).save(sys.argv[1], workers=2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(computed, range(2), chunksize=1), computed(0))
    print([pool for pool in ("tbbpool", "omppool", "workqueue") if f"numba.np.ufunc.{pool}" in sys.modules])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_computes_too(tmp_path):
    """No threads are left that a copy of the process would wait for, and Numba's threading layers are not used."""
    script = tmp_path / "forks.py"
    script.write_text(FORKED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    for name in ("first.tif", "second.tif"):  # the second loads what the first compiled
        done = subprocess.run([sys.executable, "-W", "error", script, tmp_path / name], env=environment,
                              capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        assert done.stderr == ""
    assert done.stdout == "[8000000.0, 8000000.0] 8000000.0\n[]\n"
