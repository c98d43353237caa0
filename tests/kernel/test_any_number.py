"""Kernels of any number of rasters: the same as those that name each, whatever calls them."""

import inspect
import pickle

import numpy as np
import pytest

import tilejit as tj
from array_kernels import best_pixel, of_any_number
from kernels_for_tests import assert_same_bits, holes, write_module
from tilejit.cli import main
from tilejit.errors import GridMismatchError, KernelError, ParameterError

MODULE = """
@tj.local
def best(*rasters, weight=1.0):
    \"\"\"The best of some, which one it is, and their mean.\"\"\"
    most, which = rasters[0], 0
    for k, r in enumerate(rasters):
        if r > most:
            most, which = r, k
    return most * weight, which, sum(rasters) / len(rasters)


@tj.local
def best_of_three(a, b, c, *, weight=1.0):
    most, which = a, 0
    for k, r in enumerate((a, b, c)):
        if r > most:
            most, which = r, k
    return most * weight, which, sum((a, b, c)) / 3


@tj.local
def masked(mask, *rasters):
    return mask + rasters[-1]


@tj.chain
def spread(*rasters):
    return masked(best(*rasters).band(1), rasters[0])


def roughness(rasters):
    return max(abs(r[0, 1] - r[0, 0]) for r in rasters)


def of_dates(*t):
    return t[0]


@tj.focal
def roughest(*rasters):
    return roughness(rasters)
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return write_module(tmp_path_factory.mktemp("kernels"), MODULE)


@pytest.fixture(scope="module")
def planes():
    rng = np.random.default_rng(4)
    return [holes(rng, (40, 50), dtype, scale=5.0) for dtype in (np.float32, np.uint8, np.int16)]


@pytest.fixture
def paths(planes, tmp_path):
    for k, plane in enumerate(planes):
        tj.from_array(plane, nodata=None if plane.dtype.kind == "f" else k).save(tmp_path / f"{k}.tif")
    return [str(tmp_path / f"{k}.tif") for k in range(3)]


def test_bits_are_those_of_named_parameters(kernels, planes):
    for found, wanted in zip(kernels.best(*planes), kernels.best_of_three(*planes), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_compiled_bodies_have_the_bits_of_interpreted_ones():
    rng = np.random.default_rng(5)
    assert_same_bits(best_pixel.taking(1), [holes(rng, (9, 11), np.float32)])
    mask, rasters = holes(rng, (9, 11), np.float32), rng.integers(-9, 9, (3, 9, 11)).astype(np.int16)
    inputs = [mask, *(np.ma.masked_equal(r, 2) for r in rasters)]
    for one, two in zip(of_any_number(*inputs), of_any_number(*inputs, backend="python"), strict=True):
        np.testing.assert_array_equal(one, two)


def test_neighbours_in_a_helper(kernels, planes):
    cells = [np.float32(p) for p in planes]
    wanted = np.max([np.abs(c[:, 1:] - c[:, :-1]) for c in cells], 0)
    np.testing.assert_array_equal(
        kernels.roughest(*cells)[:, :-1], np.where(np.isnan(cells[0][:, :-1]), np.nan, wanted)
    )
    assert kernels.roughest.debug(*cells, 3, 4) == kernels.roughest(*cells, backend="python")[3, 4]


def test_rasters_keep_their_own_nodata_values(kernels, paths, tmp_path):
    rasters = [tj.open(path) for path in paths]
    found, wanted = kernels.best(*rasters, weight=2.0).read(), kernels.best_of_three(*rasters, weight=2.0).read()
    np.testing.assert_array_equal(found, wanted)
    assert main(["run", f"{kernels.__file__}:best", *paths, "-o", str(tmp_path / "o.tif"), "-p", "weight=2", "-q"]) == 0
    np.testing.assert_array_equal(tj.open(tmp_path / "o.tif").read(), wanted)


def test_workers_in_other_processes(paths, tmp_path):
    raster = best_pixel(*map(tj.open, paths))
    raster.save(tmp_path / "out.tif", executor="processes", workers=2)
    np.testing.assert_array_equal(tj.open(tmp_path / "out.tif").read(), raster.read())


def test_each_number_is_a_kernel_that_is_pickled(kernels):
    two, three = kernels.best.taking(2), kernels.best.taking(3)
    assert two.fingerprint != three.fingerprint
    assert kernels.best.taking(2) is two
    assert len({best_pixel.taking(k) for k in (1, 2, 3, 2)}) == 3
    found = pickle.loads(pickle.dumps(best_pixel.taking(4)))  # noqa: S301 - our own
    assert found == best_pixel.taking(4)
    assert [r.name for r in found.rasters] == [f"dates[{k}]" for k in range(4)]


def test_it_looks_like_what_was_written(kernels, capsys):
    assert str(inspect.signature(kernels.masked)).startswith("(mask, /, *rasters, backend=")
    assert kernels.best.usage == kernels.best.taking(3).usage == "(*rasters, weight=1.0)"
    assert main(["list", kernels.__file__]) == 0
    assert "(mask, *rasters)" in capsys.readouterr().out
    assert main(["show", f"{kernels.__file__}:best", "--dtype", "uint8,float32,int16"]) == 0
    assert "_rasters_of_2" in capsys.readouterr().out


def test_a_chain(kernels, planes):
    found = kernels.spread(*map(tj.from_array, planes)).read()[0]
    best = kernels.best(*planes)[0]
    np.testing.assert_array_equal(found, best + planes[0])


def test_a_plan_and_a_comparison(kernels, paths, capsys):
    assert main(["plan", f"{kernels.__file__}:masked", "--no-time", *paths]) == 0
    assert "masked(" in capsys.readouterr().out
    table = tj.compare(best_pixel, *paths, strategies=["tilejit threads"], cores=[1], seconds=0.01)
    assert table.rows


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k, _: k.best(), r"best takes 1 raster or more \(\*rasters\), 0 given"),
        (lambda k, planes: k.masked(planes[0]), r"masked takes 2 rasters or more \(mask, \*rasters\), 1 given"),
        (lambda k, planes: k.best(*planes, rasters=3), "best has no parameter rasters; it takes weight"),
    ],
)
def test_what_is_refused(kernels, planes, call, message):
    with pytest.raises((KernelError, ParameterError), match=message):
        call(kernels, planes)


def test_an_error_says_which_raster(kernels, planes):
    with pytest.raises(KernelError, match=r"rasters\[1\] \(39, 50\)"):
        kernels.best(planes[0], planes[1][1:])
    with pytest.raises(GridMismatchError, match=r"rasters\[2\]"):
        kernels.best(*map(tj.from_array, (planes[0], planes[1], planes[2][1:])))
    with pytest.raises(ParameterError, match=r"best takes one band as rasters\[1\], and .* has 2"):
        kernels.best(tj.from_array(planes[0]), tj.from_array(np.stack(planes[:2])))
    with pytest.raises(KernelError, match=r"any number of rasters, \*t, in a series kernel"):
        tj.series(kernels.of_dates)
