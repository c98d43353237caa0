"""The shipped kernels on real rasters, against gdaldem, NumPy and SciPy."""

import shutil
import subprocess

import numpy as np
import pytest
from scipy import ndimage

from tilejit_kernels import filters, indices, terrain

pytestmark = pytest.mark.slow

rasterio = pytest.importorskip("rasterio")


def read(path):
    """The first band in float32, invalid cells being NaN, and the profile."""
    with rasterio.open(path) as dataset:
        band = dataset.read(1, masked=True)
        return band.astype(np.float32).filled(np.nan), dataset.profile


@pytest.fixture(scope="module")
def mount_hood(test_data):
    elevation, profile = read(test_data / "dem" / "lf_elev_220_mt_hood_utm.tif")
    return elevation, abs(profile["transform"].a), abs(profile["transform"].e)


@pytest.fixture(scope="module")
def gdaldem(test_data, tmp_path_factory):
    """Runs gdaldem on Mount Hood; returns its result with NaN for nodata."""
    program = shutil.which("gdaldem")
    if program is None:
        pytest.skip("gdaldem is not installed: apt-get install gdal-bin")
    folder = tmp_path_factory.mktemp("gdaldem")
    source = test_data / "dem" / "lf_elev_220_mt_hood_utm.tif"

    def run(mode, *options):
        target = folder / f"{'_'.join([mode, *options])}.tif"
        subprocess.run([program, mode, source, target, *options, "-q"], check=True)
        return read(target)[0]

    return run


SUN = {"azimuth": 300.0, "altitude": 40.0, "z_factor": 1.5}
GDALDEM = {
    "slope": (terrain.slope, {}, ["slope"], 2e-4),
    "aspect": (terrain.aspect, {}, ["aspect"], 2e-4),
    # gdaldem's shading is rounded to bytes.
    "hillshade": (terrain.hillshade, SUN, ["hillshade", "-az", "300", "-alt", "40", "-z", "1.5"], 0.51),
    "multidirectional": (
        terrain.multidirectional_hillshade,
        {"altitude": 45.0},
        ["hillshade", "-multidirectional"],
        0.51,
    ),
    "tri": (terrain.tri, {}, ["TRI", "-alg", "Riley"], 1e-3),
    "tpi": (terrain.tpi, {}, ["TPI"], 1e-3),
    "roughness": (terrain.roughness, {}, ["roughness"], 0.0),
}


@pytest.mark.parametrize("name", GDALDEM)
def test_gdaldem_agrees(name, mount_hood, gdaldem):
    """Where gdaldem has a result: not where the centre is invalid, which Horn's gradient does not read."""
    kernel, parameters, arguments, tolerance = GDALDEM[name]
    elevation, dx, dy = mount_hood
    cells = {"dx": dx, "dy": dy} if any(s.name == "dx" for s in kernel.scalars) else {}
    result = kernel(elevation, **parameters, **cells)
    expected = gdaldem(*arguments)
    result[np.isnan(elevation)] = np.nan
    assert np.array_equal(np.isnan(result), np.isnan(expected))
    error = np.abs(result - expected)
    if name == "aspect":
        error = np.minimum(error, 360 - error)
    assert np.nanmax(error) <= tolerance


def test_ndvi_of_landsat(test_data):
    folder = test_data / "multispectral"
    with (
        rasterio.open(folder / "LC80030172015001LGN00_B4.tiff") as four,
        rasterio.open(folder / "LC80030172015001LGN00_B5.tiff") as five,
    ):
        red, nir = four.read(1), five.read(1)
    wide_red, wide_nir = red.astype(np.float64), nir.astype(np.float64)
    with np.errstate(invalid="ignore"):
        expected = (wide_nir - wide_red) / (wide_nir + wide_red)
    np.testing.assert_allclose(indices.ndvi(red, nir), expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize(("kernel", "size"), [(filters.median_3x3, 3), (filters.median_5x5, 5)])
def test_median_of_a_photograph(kernel, size, test_data):
    with rasterio.open(test_data / "multispectral" / "RGB.byte.tif") as dataset:
        band = dataset.read(2)
    inner = (slice(size // 2, -(size // 2)),) * 2
    assert np.array_equal(kernel(band)[inner], ndimage.median_filter(band, size)[inner])


@pytest.mark.parametrize(("kernel", "size"), [(filters.mean_3x3, 3), (filters.mean_5x5, 5)])
def test_mean_of_the_valid_cells(kernel, size, mount_hood):
    """The mean over valid cells is that of the filled raster over that of the mask."""
    elevation = mount_hood[0].astype(np.float64)
    valid = np.isfinite(elevation)
    total = ndimage.uniform_filter(np.where(valid, elevation, 0.0), size, mode="constant") * size**2
    count = np.rint(ndimage.uniform_filter(valid.astype(np.float64), size, mode="constant") * size**2)
    with np.errstate(all="ignore"):
        expected = np.where(count > 0, total / count, np.nan)
    np.testing.assert_allclose(kernel(mount_hood[0]), expected, rtol=4e-7)
