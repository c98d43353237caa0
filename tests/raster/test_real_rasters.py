"""Real rasters from file to file, against NumPy over the same pixels."""

import numpy as np
import pytest
import rasterio

import tilejit as tj
from tilejit_kernels.filters import median_3x3
from tilejit_kernels.indices import ndvi
from tilejit_kernels.terrain import hillshade, slope

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]


@tj.local
def at_least(z, *, limit=1.0) -> np.uint8:
    return z >= limit


def test_ndvi_of_a_landsat_scene(test_data, tmp_path):
    red, nir = (test_data / "multispectral" / f"LC80030172015001LGN00_{band}.tiff" for band in ("B4", "B5"))
    report = ndvi(tj.open(red), tj.open(nir)).save(tmp_path / "ndvi.tif")
    with rasterio.open(red) as a, rasterio.open(nir) as b, rasterio.open(tmp_path / "ndvi.tif") as out:
        r, n = (d.read(1, masked=True).astype(np.float64) for d in (a, b))
        wanted = np.ma.filled((n - r) / np.ma.masked_equal(n + r, 0), np.nan)
        np.testing.assert_allclose(out.read(1), wanted, atol=2e-7)
        assert (out.transform, out.crs, out.shape) == (a.transform, a.crs, a.shape)
        assert out.descriptions == ("ndvi",)
        assert out.profile["compress"] == "zstd"
        assert out.block_shapes == [(512, 512)]
        assert np.isnan(out.nodata)
    assert report.pixels == 1310 * 1093
    assert report.read_ratio == 1.0


@pytest.mark.parametrize("name", ["srtm3_north_england_3601x2401.tif", "lf_elev_220_mt_hood_utm.tif"])
def test_tiles_windows_and_chains_of_a_dem(test_data, tmp_path, name):
    dem = tj.open(test_data / "dem" / name)
    steep = slope(dem)
    outputs = {
        tmp_path / "slope.tif": steep,
        tmp_path / "shade.tif": hillshade(dem),
        tmp_path / "calm.tif": median_3x3(steep),
    }
    report = tj.save(outputs, workers=2)
    assert report.read_ratio == 1.0
    for path, raster in outputs.items():
        with rasterio.open(path) as out:
            whole = out.read()
            assert out.units == ("degree",) if path.stem == "slope" else (None,)
        np.testing.assert_array_equal(raster.read(tile=(700, 300), workers=3), whole)
        window = tj.Window(311, 200, 257, 401)
        np.testing.assert_array_equal(raster.read(window), whole[:, 311:568, 200:601])
        assert np.isfinite(whole).any()


def test_a_geographic_dem_is_measured_in_metres(test_data):
    """Cells of 3 arc seconds at 54 degrees north: 92.8 m high and 54.6 m wide, not 0.0008."""
    steep = slope(tj.open(test_data / "dem" / "srtm3_north_england_3601x2401.tif")).read()
    assert 2 < np.nanmean(steep) < 8
    assert np.nanmax(steep) < 80


def test_bands_of_an_rgb_image(test_data, tmp_path):
    image = tj.open(test_data / "multispectral" / "RGB.byte.tif")
    assert len(image) == 3
    ndvi(image.band(1), image.band(2)).save(tmp_path / "x.tif")
    with rasterio.open(test_data / "multispectral" / "RGB.byte.tif") as a, rasterio.open(tmp_path / "x.tif") as out:
        red, green = a.read([1, 2]).astype(np.float32)
        hidden = (red == 0) | (green == 0)
        with np.errstate(all="ignore"):
            wanted = np.where(hidden, np.nan, (green - red) / (green + red))
        np.testing.assert_array_equal(out.read(1), wanted)


def test_a_copy_keeps_what_the_file_says(test_data, tmp_path):
    path = test_data / "dem" / "lf_elev_220_mt_hood_utm.tif"
    tj.open(path).save(tmp_path / "copy.tif", profile={"compress": "deflate", "zlevel": 6})
    with rasterio.open(path) as a, rasterio.open(tmp_path / "copy.tif") as b:
        assert (a.nodata, a.dtypes, a.crs, a.transform) == (b.nodata, b.dtypes, b.crs, b.transform)
        assert b.profile["compress"] == "deflate"
        np.testing.assert_array_equal(a.read(), b.read())


def test_a_whole_world_in_bounded_memory(test_data, tmp_path):
    """648 Mpx of bytes that are stored in 2.9 MB."""
    world = tj.open(test_data / "large" / "cog_world.tif", band=1)
    marked = at_least(world, limit=128.0)
    report = marked.save(tmp_path / "marked.tif", memory="700MB")
    assert report.pixels == 36000 * 18000
    assert report.read_ratio == 1.0
    window = tj.Window(4000, 20000, 700, 900)
    with rasterio.open(test_data / "large" / "cog_world.tif") as a, rasterio.open(tmp_path / "marked.tif") as b:
        place = (4000, 4700), (20000, 20900)
        wanted = a.read(1, window=place, masked=True)
        given = b.read(1, window=place)
    np.testing.assert_array_equal(given, np.where(np.ma.getmaskarray(wanted), 255, wanted.data >= 128))
    np.testing.assert_array_equal(marked.read(window)[0], given)
