"""A radius that scalar parameters decide: the border and the halo are no wider than a call needs."""

import math
import pickle

import numpy as np
import pytest
from scipy import ndimage

import tilejit as tj
from tilejit.errors import KernelError, ParameterError

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(22)
Z = RNG.random((20, 24)).astype(np.float32)
WIDTH = 1.4


def reach_of(sigma):
    return math.ceil(3 * sigma)


@tj.focal(radius=reach_of)
def gaussian(z, *, sigma=1.0):
    """The mean of the cells within three sigmas, weighted by a Gaussian."""
    total, weights, reach = 0.0, 0.0, math.ceil(3 * sigma)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            weight = math.exp(-0.5 * (dy * dy + dx * dx) / (sigma * sigma))
            total += weight * z[dy, dx]
            weights += weight
    return total / weights


@tj.focal(radius=lambda down, right: (abs(down), abs(right)))
def moved(z, *, down: int, right: int = 0):
    return z[down, right]


@tj.focal(radius=np.int64(math.ceil(2 * WIDTH)))
def of_constants(z, *, step: int = 1):
    return z[step, 0]


def oracle(sigma):
    steps = np.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    smoothed = ndimage.correlate1d(Z.astype(float), weights / weights.sum(), axis=0, mode="nearest")
    return ndimage.correlate1d(smoothed, weights / weights.sum(), axis=1, mode="nearest")


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_the_border_is_as_wide_as_the_call_needs(sigma):
    found, reach = gaussian(Z, sigma=sigma), math.ceil(3 * sigma)
    inner = (slice(reach, -reach), slice(reach, -reach))
    np.testing.assert_allclose(found[inner], oracle(sigma)[inner], rtol=2e-6)
    assert np.isnan(found).sum() == Z.size - found[inner].size


def test_backends_edges_and_tiles_agree():
    whole = gaussian(Z, sigma=0.3, edge="nearest")
    np.testing.assert_allclose(whole, oracle(0.3), rtol=2e-6)
    np.testing.assert_array_equal(gaussian(Z, sigma=0.3, edge="nearest", backend="python"), whole)
    raster = gaussian(tj.from_array(Z), sigma=0.3, edge="nearest")
    np.testing.assert_array_equal(raster.read()[0], whole)
    assert "radius 1 x 1" in str(raster.plan("out.tif"))


def test_rows_and_columns_may_differ():
    for backend in ("python", "cpu"):  # nodata comes from any cell within the radius
        found = moved(Z, down=2, backend=backend)
        np.testing.assert_array_equal(found[2:-2], Z[4:])
        assert np.isnan(found[:2]).all()
    assert moved.with_parameters({"down": -2, "right": 1}).radius == (2, 1)


def test_the_radius_of_the_defaults_is_shown():
    assert gaussian.radius == (3, 3)
    assert of_constants.radius == (3, 3)
    with pytest.raises(KernelError, match="its radius is decided by parameters that have no default"):
        _ = moved.radius


def test_a_pixel_is_run_in_plain_python():
    assert moved.debug(Z, 5, 6, down=4) == Z[9, 6]


def test_each_radius_has_a_fingerprint():
    kernels = [gaussian.with_parameters({"sigma": sigma}) for sigma in (0.3, 1.0, 0.25)]
    assert len({k.fingerprint for k in kernels}) == 2
    assert kernels[0] is kernels[2]


def test_a_called_kernel_is_pickled_with_its_radius():
    called = gaussian.with_parameters({"sigma": 2.0})
    for kernel in (called, called.with_edge("wrap"), gaussian):
        found = pickle.loads(pickle.dumps(kernel))  # noqa: S301 - our own
        assert found == kernel
        assert found.radius == kernel.radius


def test_workers_in_other_processes_read_as_far(tmp_path):
    tj.from_array(Z).save(tmp_path / "z.tif")
    raster = gaussian(tj.open(tmp_path / "z.tif"), sigma=0.3)
    raster.save(tmp_path / "out.tif", executor="processes", workers=2)
    np.testing.assert_array_equal(tj.open(tmp_path / "out.tif").read()[0], gaussian(Z, sigma=0.3))


def test_what_is_no_radius_is_refused():
    with pytest.raises(ParameterError, match=r"gaussian: radius= gives -3 for sigma=-1.0; it is a count of cells"):
        gaussian(Z, sigma=-1.0)
    with pytest.raises(ParameterError, match=r"gaussian: there is no radius for sigma=nan \(cannot convert float NaN"):
        gaussian(Z, sigma=math.nan)
    with pytest.raises(ParameterError, match="moved needs down: give it as down=…"):
        moved(Z)
    with pytest.raises(ParameterError, match="gaussian: sigma takes one float, not 'a'"):
        gaussian(Z, sigma="a")
    raster = tj.from_array(Z)
    with pytest.raises(ParameterError, match=r"sigma decides how far it reads.*give sigma=float\(…\)"):
        gaussian(raster, sigma=raster.mean())
    for radius, why in ((lambda width: width, "width, which is no keyword-only parameter"),
                        (lambda dx: dx, "dx, which comes from the raster's grid")):  # fmt: skip
        with pytest.raises(KernelError, match=f"radius= is a function of {why}"):

            @tj.focal(radius=radius)
            def wrong(z, *, dx=tj.GROUND_WIDTH):
                return z[0, 1] / dx
