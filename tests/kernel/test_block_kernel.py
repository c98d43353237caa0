"""Kernels whose body takes arrays."""

import pickle

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_local

import tilejit as tj
from tilejit.errors import BackendError, KernelError, PlanError
from tilejit.testing import check_tiling


@tj.block(radius=4, edge="reflect")
def smoothed(z, *, sigma=1.0):
    return ndimage.gaussian_filter(z, sigma, radius=4, mode="nearest")


@tj.block(radius=(1, 2), nodata="kernel")
def windowed(z):
    """Without the cells around."""
    view = np.lib.stride_tricks.sliding_window_view(z, (3, 5))
    return np.nanmax(view, axis=(2, 3))


@tj.block
def split(z, qa: np.uint8) -> tuple[np.uint8, np.float32]:
    return z * 2.0, z + qa


@tj.block(radius=lambda reach: reach)
def widest(z, *, reach=1):
    return ndimage.maximum_filter(z, 2 * reach + 1)


@tj.block
def placed(z, *, y=tj.Y, col=tj.COL):
    return z * 0 + y + col


@tj.block(radius=1)
def told_wrongly(z):
    return ndimage.uniform_filter(z, 5)


@tj.local
def halved(z):
    return z / 2.0


def _cells(shape=(43, 57)):
    return np.random.default_rng(3).normal(50, 9, shape).astype(np.float32)


def test_a_scipy_filter_is_the_same_in_tiles():
    cells = _cells()
    padded = np.pad(cells, 4, "symmetric")
    wanted = ndimage.gaussian_filter(padded, 1.5, radius=4)[4:-4, 4:-4]
    np.testing.assert_array_equal(smoothed(cells, sigma=1.5), wanted)
    raster = smoothed(tj.from_array(cells), sigma=1.5)
    for tile in ((43, 57), (8, 8), (5, 57)):
        np.testing.assert_array_equal(raster.read(tile=tile)[0], wanted)
    check_tiling(smoothed, cells, sigma=0.7)


def test_a_result_may_lack_the_cells_around():
    cells = _cells()
    cells[3, 4] = np.nan
    wanted = ndimage.generic_filter(cells, np.nanmax, (3, 5), mode="constant", cval=np.nan)
    np.testing.assert_array_equal(windowed(cells), wanted)
    assert not np.isnan(windowed(cells)[3, 4])


def test_invalid_cells_are_nodata_where_it_propagates():
    cells = _cells()
    cells[3, 4] = np.nan
    assert np.argwhere(np.isnan(halved(smoothed.function(cells)))).tolist() != [[3, 4]]
    filled = tj.block(radius=1)(_filled)(cells)
    assert np.argwhere(np.isnan(filled)).tolist() == [[3, 4]]


def _filled(z):
    return np.nan_to_num(z)


def test_results_have_their_declared_types():
    z, qa = np.float32([[1.25, 200, -1, np.nan]]), np.ma.MaskedArray(np.uint8([[1, 2, 3, 4]]), [[0, 0, 1, 0]])
    with pytest.warns(tj.NodataWarning, match="1 result beyond the type of the output") as told:
        doubled, sums = split(z, qa)
    assert doubled.dtype == np.uint8
    assert doubled.filled(77).tolist() == [[3, 77, 77, 77]]  # 255 is its nodata value
    assert sums.dtype == np.float32
    assert sums.filled(-1).tolist() == [[2.25, 202, -1, -1]]
    assert "1 valid pixel got a result that equals the nodata value" in str(told[0].message)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_results_are_held_within_integers(dtype):
    info = np.iinfo(dtype)
    values = np.array([[-1e30, float(info.min), -0.5, 0.5, 1.49, float(info.max), 2.0**64, 1e30]])

    def body(z):
        return z

    body.__annotations__["return"] = dtype
    with pytest.warns(tj.NodataWarning):
        held = np.ma.getdata(tj.block(body)(values))[0].tolist()
    low = -1 if info.min < 0 else 0
    assert held == [info.min, info.min, low, 1, 1, info.max, info.max, info.max]


def test_parameters_decide_the_radius():
    cells = _cells()
    for reach in (1, 3):
        got = widest(tj.from_array(cells), reach=reach)
        assert f"radius {reach} x {reach}" in str(got.plan())
        inner = (slice(reach, -reach),) * 2
        np.testing.assert_array_equal(
            got.read(tile=(16, 16))[0][inner], ndimage.maximum_filter(cells, 2 * reach + 1)[inner]
        )


def test_grid_quantities_are_arrays():
    raster = tj.from_array(np.zeros((9, 7), np.float64), grid=tj.Grid(9, 7, (10.0, 0.0, 0.0, 0.0, -10.0, 100.0)))
    rows, cols = np.mgrid[:9, :7]
    np.testing.assert_array_equal(placed(raster).read(tile=(4, 3))[0], 95 - 10 * rows + cols)


def test_it_chains_with_other_kernels(tmp_path):
    cells = _cells()
    raster = halved(smoothed(halved(tj.from_array(cells))))
    whole = raster.read(tile=cells.shape)
    raster.save(tmp_path / "a.tif", tile=(16, 16), profile={"blockysize": 16, "blockxsize": 16})
    np.testing.assert_array_equal(tj.open(tmp_path / "a.tif").read(), whole)
    assert "a body of arrays" in str(raster.plan())


@pytest.mark.slow
def test_processes_compute_it(tmp_path):
    cells = _cells()
    tj.from_array(cells).save(tmp_path / "z.tif")
    smoothed(tj.open(tmp_path / "z.tif")).save(tmp_path / "a.tif", executor="processes", workers=2, tile=(16, 16),
                                        profile={"blockysize": 16, "blockxsize": 16})  # fmt: skip
    np.testing.assert_array_equal(tj.open(tmp_path / "a.tif").read()[0], smoothed(cells))


def test_it_can_be_pickled():
    assert pickle.loads(pickle.dumps(smoothed)) is smoothed  # noqa: S301

    @tj.block
    def inner(z):
        return np.cumsum(z, axis=1) + threshold_local(z, 3)

    copy = pickle.loads(pickle.dumps(inner))  # noqa: S301
    np.testing.assert_array_equal(copy(_cells((5, 5))), inner(_cells((5, 5))))


def test_what_a_body_does_wrong_is_said():
    cells = _cells((5, 6))

    def failing(z):
        return z.no_such_thing

    with pytest.raises(KernelError, match=r"failing \(test_block_kernel.py:\d+\) failed with arrays of \(7, 8\): Attr"):
        tj.block(radius=1)(failing)(cells)

    def flat(z):
        return z.ravel()

    with pytest.raises(KernelError, match=r"returned float32 of the shape \(56,\) for a tile of \(5, 6\) in arrays of"):
        tj.block(radius=1)(flat)(cells)

    def two(z):
        return z, z

    with pytest.raises(KernelError, match="returned 2 arrays, and 1 are declared"):
        tj.block(two)(cells)
    with pytest.raises(KernelError, match="nodata='no'"):
        tj.block(nodata="no")(two)
    with pytest.raises(KernelError, match="is a body of arrays, of which nothing is compiled"):
        _ = smoothed.form


def test_a_radius_that_is_too_small_is_found():
    with pytest.raises(PlanError, match=r"told_wrongly, row \d+, col \d+: .* whole, and .* in tiles of 1 x 7: its rad"):
        check_tiling(told_wrongly, _cells())
    check_tiling(halved)


def test_without_a_body_for_it_a_gpu_is_refused():
    raster = smoothed(tj.from_array(_cells()))
    with pytest.raises(BackendError, match=r"smoothed has no body for a GPU: give it one with @smoothed.cuda"):
        raster.plan(backend="cuda")
    assert raster.plan().backend == "cpu"


def test_inputs_are_the_bodys_own():
    cells = _cells()
    before = cells.copy()

    @tj.block(radius=1)
    def spoiling(z):
        z *= 0
        return z

    assert (spoiling(tj.from_array(cells)).read(tile=(8, 8)) == 0).all()
    np.testing.assert_array_equal(cells, before)
