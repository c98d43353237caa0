import logging
import math
import os
import pickle
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rasterio.errors import RasterioIOError

from tilejit.errors import ReadError, SourceError
from tilejit.formats.cells import convert, nodata_key
from tilejit.formats.files import absolute_name
from tilejit.formats.gdal.library import CACHE_MEGABYTES, messages, quiet
from tilejit.formats.gdal.rasterio_source import open_rasterio
from tilejit.formats.in_memory import ArraySource
from tilejit.formats.registry import open_source
from tilejit.formats.source import storage_of
from tilejit.grid import Grid
from tilejit.window import Window, tiles

rasterio = pytest.importorskip("rasterio")
rasterio_shutil = pytest.importorskip("rasterio.shutil")

SOURCE = Path(__file__).resolve().parents[2] / "src"
TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


def write(path, array, **profile):
    """A plain GeoTIFF made by rasterio alone."""
    count, height, width = array.shape
    size = {"count": count, "height": height, "width": width}
    with quiet(), rasterio.open(path, "w", driver="GTiff", dtype=array.dtype, **size, **profile) as dataset:
        dataset.write(array)
    return path


def read_floats(source, bands=(1,), window=None, dtype=np.float64):
    window = window or Window(0, 0, *source.grid.shape)
    out = np.full((len(bands), *window.shape), 99, dtype)
    source.read(bands, window, out)
    return out


def read_flags(source, dtype, bands=(1,)):
    shape = (len(bands), *source.grid.shape)
    out, valid = np.full(shape, 99, dtype), np.full(shape, 77, np.uint8)
    source.read(bands, Window(0, 0, *source.grid.shape), out, valid)
    return out, valid


@pytest.fixture(params=["array", "file"])
def source_of(request, tmp_path):
    """Make a source from an array and a nodata value, in either kind."""
    opened = []

    def make(array, nodata=None):
        if request.param == "array":
            source = ArraySource.of(array, nodata=nodata)
        else:
            source = open_rasterio(write(tmp_path / f"{len(opened)}.tif", array, nodata=nodata))
        opened.append(source)
        return source

    yield make
    for source in opened:
        source.close()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("out", ["float32", "float64"])
def test_nodata_becomes_nan(source_of, dtype, out):
    array = np.array([[[1, 5, 0], [100, 5, 7]]], dtype)
    found = read_floats(source_of(array, nodata=5), dtype=out)
    np.testing.assert_array_equal(found, [[[1, np.nan, 0], [100, np.nan, 7]]])


@pytest.mark.parametrize("dtype", TYPES)
def test_nodata_becomes_a_flag(source_of, dtype):
    array = np.array([[[1, 5, 0], [100, 5, 7]]], dtype)
    for out_dtype in {dtype, "int32"} - {"float32", "float64"}:
        out, valid = read_flags(source_of(array, nodata=5), out_dtype)
        np.testing.assert_array_equal(out, array)
        np.testing.assert_array_equal(valid, [[[1, 0, 1], [1, 0, 1]]])


def test_no_nodata_sets_every_flag(source_of):
    _, valid = read_flags(source_of(np.zeros((1, 3, 3), np.int16)), "int16")
    assert (valid == 1).all()


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_value_that_only_rounds_to_nodata_stays(source_of, dtype):
    """2 ** 24 and 2 ** 24 + 1 are one float32."""
    array = np.array([[[2**24, 2**24 + 1]]], dtype)
    found = read_floats(source_of(array, nodata=2**24), dtype=np.float32)
    np.testing.assert_array_equal(found, [[[np.nan, 2.0**24]]])


@pytest.mark.parametrize(("dtype", "limit"), [("int64", 2**63 - 1), ("int64", -(2**63)), ("uint64", 2**64 - 1)])
def test_huge_integers_are_exact(dtype, limit):
    near = limit - 1 if limit > 0 else limit + 1
    source = ArraySource.of(np.array([[[limit, near]]], dtype), nodata=limit)
    out, valid = read_flags(source, dtype)
    assert out.tolist() == [[[limit, near]]]
    assert valid.tolist() == [[[0, 1]]]
    assert np.isnan(read_floats(source)).tolist() == [[[True, False]]]


NODATA = {
    "uint8": ["255", "0.5", "254.5", "256", "-9999", "nan"],
    "int8": ["-128", "-0.5", "127.5", "-129", "200"],
    "uint16": ["65535", "0.4", "-1"],
    "int16": ["-32768", "-9999", "-0.9", "32767.9", "1e5"],
    "uint32": ["4294967295", "7.9"],
    "int32": ["-2147483648", "2147483647", "2147483648"],
    "uint64": ["18446744073709551615", "18446744073709551614", "9007199254740993", "-1", "0"],
    "int64": ["9223372036854775807", "-9223372036854775808", "-9007199254740993", "1e3", "0.5"],
    "float32": [
        "-3.4e+38",
        "-3.40282e+38",
        "-3.4028231e38",
        "3.4028235e38",
        "-3.5e38",
        "1.7e38",
        "1.7014118e38",
        "-9999",
    ],
    "float64": ["-3.4e+38", "1e20", "-9999.9", "-9999", "-1.7976931348623157e308", "9e307", "0", "1e-310", "nan"],
}
"""GDAL's text of a nodata value, by the type of the cells."""


def neighbours(dtype, text):
    """Cells around a nodata value, around the ends of what GDAL takes for it, and the extremes of the type."""
    dtype, value = np.dtype(dtype), float(text)
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        middle = int(text) if text.lstrip("-").isdecimal() else int(value) if math.isfinite(value) else 0
        near = (
            m + k for m in (middle, info.min, info.max, 0, int(np.clip(2**53, info.min, info.max))) for k in (-1, 0, 1)
        )
        return np.array(sorted({n for n in near if info.min <= n <= info.max}), dtype)
    with np.errstate(all="ignore"):
        middle, most = dtype.type(value), np.finfo(dtype).max
        ends = [middle, np.float32(middle), *(middle * dtype.type(1 + k * 2.0**-21) for k in (-1, 1))]
        cells = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, most - abs(middle), abs(middle) - most]
        for end in map(dtype.type, (*ends, *cells[-2:], most, -most, -most / 4)):
            for way in (-np.inf, np.inf):
                step = end
                for _ in range(4):
                    cells.append(step)
                    step = np.nextafter(step, dtype.type(way))
        return np.array(cells, dtype)


@pytest.mark.parametrize(("dtype", "text"), [(dtype, text) for dtype, texts in NODATA.items() for text in texts])
@pytest.mark.parametrize("opened", [open_source, open_rasterio])
def test_nodata_is_what_gdals_mask_says(tmp_path, opened, dtype, text):
    cells = neighbours(dtype, text)[np.newaxis]
    tag = (42113, "s", 0, text, True)
    tifffile.imwrite(tmp_path / "a.tif", cells, extratags=[tag], photometric="minisblack")
    with quiet(), rasterio.open(tmp_path / "a.tif") as dataset:
        invalid = (dataset.read_masks() == 0) | (np.isnan(cells) if cells.dtype.kind == "f" else False)
    source = opened(tmp_path / "a.tif")
    assert ("directly" in storage_of(source).reader) == (opened is open_source)
    for out in ("float32", "float64"):
        with np.errstate(over="ignore"):
            expected = np.where(invalid, np.nan, cells.astype(out))
        np.testing.assert_array_equal(read_floats(source, dtype=out), expected)
    for out in {"int32", dtype} - {"float32", "float64"}:
        np.testing.assert_array_equal(read_flags(source, out)[1] == 0, invalid)
    source.close()


def test_nodata_of_a_vrt_is_exact(tmp_path):
    """rasterio says 9007199254740992 for nodata 9007199254740993, and None for 2 ** 63 - 1."""
    cells = np.array([[[2**53 + 1, 2**53, 2**63 - 1]]], np.int64)
    write(tmp_path / "huge.tif", cells)
    for nodata in (2**53 + 1, 2**63 - 1):
        (tmp_path / "huge.vrt").write_text(
            '<VRTDataset rasterXSize="3" rasterYSize="1"><VRTRasterBand dataType="Int64" band="1">'
            f"<NoDataValue>{nodata}</NoDataValue><SimpleSource>"
            '<SourceFilename relativeToVRT="1">huge.tif</SourceFilename><SourceBand>1</SourceBand>'
            "</SimpleSource></VRTRasterBand></VRTDataset>",
        )
        source = open_rasterio(tmp_path / "huge.vrt")
        assert source.bands[0].nodata == nodata
        out, valid = read_flags(source, "int64")
        source.close()
        np.testing.assert_array_equal(out, cells)
        np.testing.assert_array_equal(valid, cells != nodata)


@pytest.mark.parametrize(
    ("dtype", "nodata", "key"),
    [
        ("uint8", -9999, None),
        ("uint8", 255.0, 255),
        ("uint8", 0.5, None),
        ("int16", float("nan"), None),
        ("float32", 1e300, None),
        ("float32", -9999.9, np.float32(-9999.9)),
        ("uint64", 2**64 - 1, 2**64 - 1),
    ],
)
def test_nodata_as_a_cell_can_hold_it(dtype, nodata, key):
    assert nodata_key(np.dtype(dtype), nodata) == key


def test_nodata_nan(source_of):
    array = np.array([[[1.0, np.nan]]], np.float32)
    source = source_of(array, nodata=float("nan"))
    np.testing.assert_array_equal(read_floats(source), array)
    _, valid = read_flags(source, "int16")
    assert valid.tolist() == [[[1, 0]]]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_window_into_any_strides(data):
    array = data.draw(arrays.arrays(np.int16, (2, 11, 13), elements=st.integers(-3, 3)))
    height, width = data.draw(st.integers(1, 11)), data.draw(st.integers(1, 13))
    window = Window(data.draw(st.integers(0, 11 - height)), data.draw(st.integers(0, 13 - width)), height, width)
    bands = data.draw(st.sampled_from([(1,), (2, 1), (1, 2), (2, 2)]))
    buffer = np.full((len(bands), height + 2, 2 * width + 3), 99, np.float32)
    source = ArraySource.of(array, nodata=2)
    view = buffer[:, 1:-1, 1 : 2 * width + 1 : 2]
    source.read(bands, window, view)
    wanted = array[np.array(bands) - 1][:, *window.slices(Window(0, 0, 11, 13))].astype(np.float32)
    wanted[wanted == 2] = np.nan
    np.testing.assert_array_equal(view, wanted)
    view[...] = 99
    assert (buffer == 99).all()


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_file_fills_a_strided_view(tmp_path, dtype):
    array = np.arange(2 * 40 * 50).reshape(2, 40, 50).astype(dtype)
    source = open_rasterio(write(tmp_path / "a.tif", array, nodata=7))
    buffer = np.full((2, 44, 60), 99, np.float32)
    flags = np.full((2, 44, 60), 77, np.uint8)
    numbers = np.full((2, 44, 60), 99, np.int32)
    source.read((2, 1), Window(0, 0, 40, 50), buffer[:, 2:42, 5:55])
    source.read((2, 1), Window(0, 0, 40, 50), numbers[:, 2:42, 5:55], flags[:, 2:42, 5:55])
    source.close()
    wanted = array[::-1].astype(np.float32)
    wanted[wanted == 7] = np.nan
    np.testing.assert_array_equal(buffer[:, 2:42, 5:55], wanted)
    np.testing.assert_array_equal(flags[:, 2:42, 5:55] == 0, np.isnan(wanted))
    assert (buffer[:, :2] == 99).all()
    assert (flags[:, :, 55:] == 77).all()


def test_clamping_is_gdals(tmp_path):
    array = np.array([[[-5.6, 2.5, 3.4999, 300.0, np.nan, np.inf, -np.inf]]])
    file = open_rasterio(write(tmp_path / "a.tif", array))
    for dtype in ("uint8", "int16"):
        one, valid = read_flags(file, dtype)
        other, other_valid = read_flags(ArraySource.of(array), dtype)
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(valid, other_valid)
    file.close()


@pytest.mark.parametrize("floats", [np.float32, np.float64])
def test_no_cell_depends_on_what_a_processor_makes_of_a_float_that_no_integer_holds(floats):
    """x86 makes its own number of it, and aarch64 another: exact arithmetic says what it is here."""
    cells = np.array([0, 0.5, -0.5, 1.5, 254.5, 2**31, -(2**31) - 512, 2**32, 2**63, -(2**63), 2**64, 1e30, -1e30,
                      np.inf, -np.inf, np.nan], floats)  # fmt: skip
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        out, info = np.empty(cells.shape, dtype), np.iinfo(dtype)
        convert(cells, out)
        for value, found in zip(cells.tolist(), out.tolist(), strict=True):
            if not math.isfinite(value):
                wanted = 0 if math.isnan(value) else info.max if value > 0 else info.min
            else:
                whole = math.floor(abs(Fraction(value)) + Fraction(1, 2)) * (1 if value > 0 else -1)
                wanted = min(max(whole, info.min), info.max)
            assert found == wanted, (value, dtype)


def test_a_dataset_mask(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    path = write(tmp_path / "a.tif", array)
    mask = np.where(array[0] % 3 == 0, 0, 255).astype(np.uint8)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), quiet(), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    source = open_rasterio(path)
    assert source.bands[0].has_mask
    assert source.bands[0].nodata is None
    np.testing.assert_array_equal(np.isnan(read_floats(source))[0], mask == 0)
    out, valid = read_flags(source, "uint8")
    source.close()
    np.testing.assert_array_equal(valid[0], mask // 255)
    np.testing.assert_array_equal(out, array)


def test_an_alpha_band(tmp_path):
    array = np.array([[[1, 2]], [[3, 4]], [[5, 6]], [[0, 200]]], np.uint8)
    source = open_rasterio(write(tmp_path / "a.tif", array, photometric="RGB", alpha="YES"))
    assert [band.has_mask for band in source.bands] == [True, True, True, False]
    found = read_floats(source, (1, 2, 3, 4))
    source.close()
    np.testing.assert_array_equal(found, [[[np.nan, 2]], [[np.nan, 4]], [[np.nan, 6]], [[0, 200]]])


@pytest.mark.parametrize("name", ["dem/lf_elev_220_mt_hood_utm.tif", "multispectral/RGB.byte.tif"])
def test_real_rasters_are_rasterios(test_data, name):
    path = test_data / name
    source = open_rasterio(path)
    with rasterio.open(path) as dataset:
        wanted = dataset.read(masked=True)
        assert source.grid.shape == dataset.shape
        assert source.grid.crs == dataset.crs.to_wkt()
        assert rasterio.Affine(*source.grid.transform) == dataset.transform
    bands = tuple(band.index for band in source.bands)
    for window in tiles(*source.grid.shape, 300, 500):
        found = read_floats(source, bands, window, np.float32)
        part = wanted[:, *window.slices(Window(0, 0, *source.grid.shape))]
        np.testing.assert_array_equal(found, part.astype(np.float32).filled(np.nan))
    assert storage_of(source).stored_bytes == path.stat().st_size
    source.close()


def test_threads_read_through_their_own_handles(test_data):
    source = open_rasterio(test_data / "dem" / "srtm3_north_england_3601x2401.tif")
    whole = read_floats(source, dtype=np.float32)

    def check(window):
        part = whole[:, *window.slices(Window(0, 0, *source.grid.shape))]
        return np.array_equal(read_floats(source, window=window, dtype=np.float32), part, equal_nan=True)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, tiles(*source.grid.shape, 256, 512)))
    assert 2 <= len(source._handles) <= 5
    source.close()
    assert source._handles == []
    assert check(next(tiles(*source.grid.shape, 256, 512)))
    source.close()


@pytest.mark.parametrize("opened", [open_source, open_rasterio])
def test_a_file_that_was_replaced_is_not_read_as_the_old_one(tmp_path, opened):
    """Be it alike in all but its cells."""
    source = opened(write(tmp_path / "a.tif", np.ones((1, 2, 2), np.uint8)))
    source.close()
    write(tmp_path / "b.tif", np.zeros((1, 2, 2), np.uint8)).replace(tmp_path / "a.tif")
    for ask in (lambda: source.ready(1, 0), lambda: read_floats(source)):
        with pytest.raises(ReadError, match="it was written or replaced since it was opened: open it again"):
            ask()


def test_what_a_vrt_shows_must_be_the_same(tmp_path):
    write(tmp_path / "a.tif", np.ones((1, 2, 2), np.uint8))
    with quiet(), rasterio.open(tmp_path / "a.tif") as dataset:
        rasterio_shutil.copy(dataset, tmp_path / "a.vrt", driver="VRT")
    source = open_source(tmp_path / "a.vrt")
    (tmp_path / "a.tif").unlink()
    with pytest.raises(ReadError, match=r"a\.vrt: .*a\.tif, of which it is made: is gone since it was opened"):
        source.ready(1, 0)
    write(tmp_path / "a.tif", np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(ReadError, match="of which it is made: it was written or replaced"):
        source.ready(1, 0)
    source.close()


def test_names_hold_in_another_folder(tmp_path, monkeypatch):
    for number, folder in enumerate((tmp_path / "one", tmp_path / "two")):
        folder.mkdir()
        write(folder / "a.tif", np.full((1, 2, 2), number, np.uint8))
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            archive.write(folder / "a.tif", "a.tif")
    monkeypatch.chdir(tmp_path / "one")
    names = ["a.tif", "../one/a.tif", "/vsizip/a.zip/a.tif", "/vsizip/{a.zip}/a.tif", "zip://a.zip!a.tif"]
    sources = [open_source(name) for name in (*names, "GTIFF_DIR:1:a.tif")]
    monkeypatch.chdir(tmp_path / "two")
    for source in sources:
        source.close()
        assert not read_floats(source).any(), source.name
        source.close()
    monkeypatch.chdir(tmp_path / "one")
    (tmp_path / "two" / "a.zip").replace("a.zip")
    for source in sources[2:5]:
        with pytest.raises(ReadError, match="it was written or replaced"):
            source.ready(1, 0)


def test_absolute_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.nc").touch()
    (tmp_path / "b:c.tif").touch()
    (tmp_path / "T").touch()
    for name, expected in {
        'NETCDF:"a.nc":height': f'NETCDF:"{tmp_path}/a.nc":height',
        "HDF5:a.nc://group/height": f"HDF5:{tmp_path}/a.nc://group/height",
        "GTIFF_DIR:1:T": f"GTIFF_DIR:1:{tmp_path}/T",
        "b:c.tif": f"{tmp_path}/b:c.tif",
        "/vsisubfile/5_9,a.nc": f"/vsisubfile/5_9,{tmp_path}/a.nc",
        "/vsizip//vsicurl/https://a.org/b.zip/c.tif": "/vsizip//vsicurl/https://a.org/b.zip/c.tif",
        "https://a.org/b.tif": "https://a.org/b.tif",
        "<VRTDataset/>": "<VRTDataset/>",
    }.items():
        assert absolute_name(name) == expected


def test_a_source_travels_by_its_path(tmp_path):
    source = open_rasterio(write(tmp_path / "a.tif", np.ones((1, 2, 2), np.uint8)))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    source.close()
    assert read_floats(copy).tolist() == [[[1, 1], [1, 1]]]
    copy.close()


def test_what_a_band_is_called(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((2, 2, 2), np.float32))
    with quiet(), rasterio.open(path, "r+") as dataset:
        dataset.set_band_description(1, "elevation")
        dataset.set_band_unit(2, "m")
    source = open_rasterio(str(path))
    source.close()
    assert [(band.description, band.unit) for band in source.bands] == [("elevation", None), (None, "m")]


def test_gdals_own_names():
    with rasterio.MemoryFile() as memory:
        with quiet(), memory.open(driver="GTiff", count=1, height=2, width=2, dtype="uint8") as dataset:
            dataset.write(np.full((1, 2, 2), 3, np.uint8))
        source = open_rasterio(memory.name)
        assert read_floats(source).tolist() == [[[3, 3], [3, 3]]]
        assert storage_of(source).stored_bytes is None
        source.close()


def test_a_missing_file():
    with pytest.raises(SourceError, match=r"/nowhere/a\.tif: cannot be opened.*check the path"):
        open_rasterio("/nowhere/a.tif")


def test_not_a_raster(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("hello")
    with pytest.raises(SourceError, match="not recognized as being in a supported file format"):
        open_rasterio(path)


def test_rotated_cells_are_refused(tmp_path):
    transform = rasterio.Affine.rotation(30)
    with pytest.raises(SourceError, match=r"rotated.*gdalwarp"):
        open_rasterio(write(tmp_path / "a.tif", np.zeros((1, 2, 2), np.uint8), transform=transform))


def test_complex_numbers_are_refused(tmp_path):
    with pytest.raises(SourceError, match="band 1 holds complex numbers"):
        open_rasterio(write(tmp_path / "a.tif", np.zeros((1, 2, 2), np.complex64)))


def test_a_giant_block_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    options = {
        "tiled": True,
        "blockxsize": 40_000,
        "blockysize": 40_000,
        "compress": "zstd",
        "SPARSE_OK": "YES",
    }
    size = {"count": 1, "height": 40_000, "width": 40_000, "dtype": "uint8"}
    with quiet(), rasterio.open(path, "w", driver="GTiff", **size, **options):
        pass
    with pytest.raises(SourceError, match=r"40000 rows x 40000 cols.*1,600,000,000.*1,073,741,824"):
        open_rasterio(path)


def test_a_corrupt_block_names_file_band_window_and_cause(test_data):
    source = open_rasterio(test_data / "odd_tiff" / "rasterio_corrupt.tif")
    with pytest.raises(ReadError, match=r"rasterio_corrupt.*band 1, rows 512:1024, cols 0:1024.*expected 47086"):
        read_floats(source, window=Window(512, 0, 512, 1024))
    source.close()


@pytest.mark.parametrize(
    ("bands", "window", "shape", "message"),
    [
        ((1,), Window(-1, 0, 2, 2), (1, 2, 2), "reaches outside 3 rows x 3 cols"),
        ((2,), Window(0, 0, 2, 2), (1, 2, 2), "bands run from 1 to 1"),
        ((1,), Window(0, 0, 2, 2), (2, 2), "should have"),
    ],
)
def test_impossible_reads_are_refused(source_of, bands, window, shape, message):
    source = source_of(np.zeros((1, 3, 3), np.uint8))
    with pytest.raises(ReadError, match=message):
        source.read(bands, window, np.zeros(shape))


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((0, 3)), np.zeros((2, 2), complex), np.zeros((2, 2), np.longdouble)]
)
def test_impossible_arrays_are_refused(array):
    with pytest.raises(SourceError):
        ArraySource.of(array)


def test_an_array_on_another_grid_is_refused():
    with pytest.raises(SourceError, match=r"\(2, 2\).*\(3, 3\)"):
        ArraySource.of(np.zeros((2, 2)), Grid(3, 3))


CACHE_PROBE = """
import ctypes, threading, os, sys
from tilejit.formats.gdal.library import load_rasterio
thread = threading.Thread(target=load_rasterio)
thread.start()
thread.join()
library = next(line.split()[-1] for line in open("/proc/self/maps") if "libgdal" in line)
gdal = ctypes.CDLL(library)
gdal.GDALGetCacheMax64.restype = ctypes.c_int64
sys.stdout.write(f"{gdal.GDALGetCacheMax64() >> 20} {os.environ.get('GDAL_CACHEMAX')}")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds GDAL's library in /proc")
@pytest.mark.parametrize(("chosen", "wanted"), [(None, f"{CACHE_MEGABYTES} None"), ("200", "200 200")])
def test_the_block_cache_is_small_unless_the_host_chose(chosen, wanted):
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    environment.pop("GDAL_CACHEMAX", None)
    if chosen:
        environment["GDAL_CACHEMAX"] = chosen
    code = CACHE_PROBE
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == wanted


def test_rasterio_is_imported_on_first_use_only():
    code = "import sys, tilejit.formats.gdal.rasterio_source, tilejit.formats.registry; sys.exit('rasterio' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_gdal_is_kept_quiet_as_deep_as_it_takes():
    """A use of GDAL within another, as the first of a process is, does not wait for itself."""

    def nested():
        with quiet(), messages() as outer, quiet(), messages() as inner:
            logging.getLogger("rasterio._env").warning("CPLE_AppDefined in heard")
        return outer, inner

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(nested).result(timeout=10) == ([], ["heard"])


def test_a_raster_that_is_refused_is_closed(tmp_path, monkeypatch):
    opened = []

    class Odd:
        count = 1

        def overviews(self, _):
            raise RasterioIOError("odd")

        def __init__(self, *_, **__):
            opened.append(self)

        def close(self):
            opened.remove(self)

    monkeypatch.setattr(rasterio, "open", Odd)
    (tmp_path / "a.tif").touch()
    with pytest.raises(SourceError, match="cannot be opened: odd"):
        open_rasterio(tmp_path / "a.tif")
    assert opened == []
