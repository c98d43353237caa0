"""Bands with a scale and an offset: kernels take values, copies and what is read untouched stay what is stored."""

import numpy as np
import pytest
import rasterio
import rasterio.shutil

import tilejit as tj
from executor_kernels import scaled, smooth
from tilejit.cli import main
from tilejit.errors import PlanError
from tilejit.formats.gdal.library import quiet
from tilejit_kernels.indices import ndvi

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SCALES, OFFSETS = (1e-4, 0.01, 1.0), (-0.1, 273.15, 0.0)
"""Of three bands; the last has none."""
NODATA = 7


@tj.local
def low_bit(counts: np.int64):
    """A bit of the stored count."""
    return counts & 1


def packed(path, dtype="int16", nodata=NODATA, **profile):
    """Three bands of odd sizes, with nodata in cells and in whole blocks."""
    info = np.iinfo(dtype) if np.dtype(dtype).kind != "f" else np.iinfo(np.int16)
    cells = np.random.default_rng(5).integers(info.min, info.max, (3, 70, 50), endpoint=True).astype(dtype)
    cells[:, :, 40:], cells[:, ::9, ::7], cells[:, :33, :20] = NODATA, NODATA, NODATA
    place = {"transform": rasterio.Affine(30, 0, 5e5, 0, -30, 5e6), "crs": "EPSG:32633"}
    size = {"count": 3, "height": 70, "width": 50, "dtype": dtype, "nodata": nodata}
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "zstd"}
    with rasterio.open(path, "w", driver="GTiff", **size, **place, **(tiled | profile)) as dataset:
        dataset.write(cells)
        dataset.scales, dataset.offsets = SCALES, OFFSETS
    return path


def values_of(path, band):
    """rasterio's masked cells times the scale plus the offset, in float64, rounded once."""
    with quiet(), rasterio.open(path) as dataset:
        cells = dataset.read(band, masked=True)
        values = cells.astype(np.float64) * dataset.scales[band - 1] + dataset.offsets[band - 1]
        return values.filled(np.nan).astype(np.promote_types(cells.dtype, np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("form", ["tif", "vrt", "lzma"])
def test_kernels_take_values(tmp_path, dtype, form):
    path = packed(tmp_path / "a.tif", dtype, **({"compress": "lzma"} if form == "lzma" else {}))
    if form == "vrt":
        with rasterio.open(path) as dataset:
            rasterio.shutil.copy(dataset, path.with_suffix(".vrt"), driver="VRT")
        path = path.with_suffix(".vrt")
    raster = tj.open(path)
    for band in (1, 2, 3):
        expected = values_of(path, band)
        found = scaled(raster.band(band), factor=1.0)
        assert found.plan().reads[0].reader.startswith("read directly") == (form == "tif")
        result = found.read(backend="python")[0]
        np.testing.assert_array_equal(found.read()[0], result)
        np.testing.assert_array_equal(result, expected.astype(result.dtype))
        np.testing.assert_array_equal(
            tj.open(path, scaled=True).band(band).read()[0], expected if band < 3 else raster.band(3).read()[0]
        )


def test_a_netcdf_file(tmp_path):
    packed(tmp_path / "a.tif", nodata=None)
    try:
        rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / "a.nc", driver="netCDF")
    except rasterio.errors.RasterioError:
        pytest.skip("GDAL has no netCDF")
    name = f'NETCDF:"{tmp_path / "a.nc"}":Band2'
    found = scaled(tj.open(name), factor=1.0).read()[0]
    np.testing.assert_array_equal(found, values_of(name, 1))
    assert np.nanmin(found) < 0


def test_ndvi_of_packed_bands(tmp_path):
    """2000 and 5000 with 1e-4 and -0.1 are 0.1 and 0.4."""
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", width=1, height=1, count=2, dtype="uint16") as dataset:
        dataset.write(np.array([[[2000]], [[5000]]], np.uint16))
        dataset.scales, dataset.offsets = (1e-4, 1e-4), (-0.1, -0.1)
    for way, expected in ((None, 0.6), (True, 0.6), (False, 3 / 7)):
        red, nir = tj.open(path, scaled=way)
        assert ndvi(red, nir).read().item() == pytest.approx(expected, abs=1e-7)


def test_integer_parameters_take_counts(tmp_path):
    path = packed(tmp_path / "a.tif")
    with rasterio.open(path) as dataset:
        cells = dataset.read(1)
    for way in (None, True, False):
        bits = low_bit(tj.open(path, band=1, scaled=way)).read(nodata=9)[0]
        np.testing.assert_array_equal(bits, np.where(cells == NODATA, 9, cells & 1))


@pytest.mark.parametrize("suffix", ["tif", "vrt"])
def test_outputs_carry_the_scale_of_what_they_store(tmp_path, suffix):
    """A copy does, values and results do not."""
    path, out = packed(tmp_path / "a.tif"), tmp_path / f"b.{suffix}"

    def scales():
        with rasterio.open(out) as dataset:
            return list(zip(dataset.scales, dataset.offsets, strict=True))

    raster = tj.open(path)
    raster.save(out)
    np.testing.assert_array_equal(tj.open(out).read(), raster.read())
    assert scales() == list(zip(SCALES, OFFSETS, strict=True))
    if suffix == "vrt":
        tj.merge(out, tmp_path / "merged.tif")
        with rasterio.open(tmp_path / "merged.tif") as dataset:
            assert (dataset.scales, dataset.offsets) == (SCALES, OFFSETS)
    tj.open(path, scaled=True).save(out, overwrite=True)
    assert scales() == [(1.0, 0.0)] * 3
    smooth(raster.band(1)).save(out, overwrite=True)
    assert scales() == [(1.0, 0.0)]


def test_zarr_says_a_scale_as_cf_does(tmp_path):
    xarray = pytest.importorskip("xarray")
    path = packed(tmp_path / "a.tif")
    tj.open(path).save(tmp_path / "b.zarr")
    with xarray.open_dataset(tmp_path / "b.zarr", engine="zarr") as dataset:
        np.testing.assert_allclose(dataset["band_2"], values_of(path, 2), rtol=1e-6)


@pytest.mark.slow
def test_every_executor_opens_alike(tmp_path):
    """With halos, and the counts of the same band beside its values."""
    path = packed(tmp_path / "a.tif")
    band = tj.open(path, band=2)
    outputs = {"smooth.tif": smooth(band), "counts.tif": band, "bits.tif": low_bit(band)}
    for executor in ("threads", "processes"):
        folder = tmp_path / executor
        folder.mkdir()
        tj.save(
            {folder / name: raster for name, raster in outputs.items()},
            executor=executor,
            workers=2,
            tile=(16, 16),
            profile={"blockxsize": 16, "blockysize": 16},
        )
    for name in outputs:
        with rasterio.open(tmp_path / "threads" / name) as one, rasterio.open(tmp_path / "processes" / name) as other:
            np.testing.assert_array_equal(one.read(), other.read())
            assert one.scales == other.scales


def test_what_the_plan_says(tmp_path, capsys):
    path = packed(tmp_path / "a.tif")
    raster = tj.open(path)
    assert "cells times 0.0001 plus -0.1" in str(smooth(raster.band(1)).plan())
    both = str(ndvi(raster.band(1), raster.band(2)).plan())
    assert "cells of 1 times 0.0001 plus -0.1, cells of 2 times 0.01 plus 273.15" in both
    assert "times" not in str(smooth(raster.band(3)).plan())
    for words, is_said in (([], True), (["--counts"], False)):
        assert main(["plan", "slope", f"{path}[1]", "--no-time", *words]) == 0
        assert ("cells times 0.0001 plus -0.1" in capsys.readouterr().out) == is_said


def test_resuming_holds_the_choice(tmp_path, monkeypatch):
    path, out = packed(tmp_path / "a.tif"), tmp_path / "b.tif"
    monkeypatch.setattr("tilejit.engine.pipeline.evaluation.Evaluator.run", None)
    with pytest.raises(Exception, match="NoneType"):
        smooth(tj.open(path, band=1)).save(out, resume=True)
    monkeypatch.undo()
    with pytest.raises(PlanError, match="scales"):
        smooth(tj.open(path, band=1, scaled=False)).save(out, resume=True)
