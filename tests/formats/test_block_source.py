"""Blocks read directly are the pixels that GDAL reads, or its errors."""

import itertools
import os
import pickle
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.windows import Window as RasterioWindow

import tilejit as tj
from tilejit.errors import ReadError, TilejitError
from tilejit.formats.codecs.block_codec import BlockCodec
from tilejit.formats.gdal.rasterio_source import RasterioSource, open_rasterio
from tilejit.formats.geotiff.block_source import BlockSource
from tilejit.formats.geotiff.tiff_directory import read_layout
from tilejit.formats.registry import open_source
from tilejit.formats.source import storage_of
from tilejit.testing import SourceTests
from tilejit.window import Window

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
HEIGHT, WIDTH = 75, 83
WINDOWS = [Window(0, 0, HEIGHT, WIDTH), Window(7, 30, 41, 5), Window(60, 64, 15, 19), Window(32, 16, 16, 16)]
TILED = {"TILED": "YES", "BLOCKXSIZE": 32, "BLOCKYSIZE": 16}


def cells_of(dtype, count=2, shape=(HEIGHT, WIDTH), seed=0):
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.normal(0, 1e4, (count, *shape)).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, (count, *shape), dtype, endpoint=True)


def write(path, cells, nodata=None, **options):
    count, height, width = cells.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": cells.dtype.name}
    with rasterio.open(path, "w", nodata=nodata, **profile, **options) as dataset:
        dataset.write(cells)
    return path


def results(source, bands, window):
    """What a source gives in every form: as stored and with flags, and as floats of both sizes."""
    shape, dtype = (len(bands), *window.shape), source.bands[0].dtype
    found = []
    for kind in (dtype, np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int16)):
        out, valid = np.full(shape, 3, kind), np.full(shape, 9, np.uint8)
        try:
            source.read(bands, window, out, None if kind.kind == "f" else valid)
        except ReadError as error:
            found += [type(error)] * 2
        else:
            if dtype.kind == "f":
                # GDAL's NaN is 0 in an int16, or -32768 where eight cells are converted at once.
                out[valid == 0] = 0
            found += [out, valid]
    return found


def assert_same(path, windows=WINDOWS, direct=True):
    """Both paths give the same, by all bands at once and by each."""
    ours, gdals = open_source(path), open_rasterio(path)
    assert isinstance(ours, BlockSource) == direct, storage_of(ours).reader
    assert (ours.grid, str(ours.bands), ours.block) == (gdals.grid, str(gdals.bands), gdals.block)
    numbers = tuple(b.index for b in ours.bands)
    for window, bands in itertools.product(windows, {numbers, numbers[-1:]}):
        for got, wanted in zip(results(ours, bands, window), results(gdals, bands, window), strict=True):
            if isinstance(wanted, type):
                assert got is wanted
            else:
                np.testing.assert_array_equal(got, wanted, err_msg=f"{path} {window} {bands}")
    ours.close()
    gdals.close()


class TestBlockSource(SourceTests):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.path = tmp_path / "cells.tif"

    def make(self, cells, nodata):
        source = open_source(write(self.path, cells, nodata, COMPRESS="DEFLATE", PREDICTOR=2))
        assert isinstance(source, BlockSource)
        return source


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [TILED, {"BLOCKYSIZE": 13}, {"BLOCKYSIZE": HEIGHT}], ids=["tiles", "strips", "one"])
def test_every_way_to_store_gives_gdals_pixels(tmp_path, dtype, layout):
    cells = cells_of(dtype)
    codes = [("NONE", 1), *itertools.product(("DEFLATE", "ZSTD", "LZW"), (1, 2, 3))]
    orders = itertools.cycle(itertools.product(("LITTLE", "BIG"), ("YES", "NO")))
    for (compression, predictor), interleave in itertools.product(codes, ("PIXEL", "BAND")):
        if predictor == 3 and cells.dtype.kind != "f":
            continue
        if compression == "NONE" and layout == {"BLOCKYSIZE": HEIGHT}:
            continue  # libtiff cuts it up
        order, big = next(orders)
        options = {"COMPRESS": compression, "INTERLEAVE": interleave, "ENDIANNESS": order, "BIGTIFF": big, **layout}
        if predictor > 1:
            options["PREDICTOR"] = predictor
        write(tmp_path / "a.tif", cells, cells[0, 3, 3].item() if abs(float(cells[0, 3, 3])) < 2**53 else 1, **options)
        assert_same(tmp_path / "a.tif", WINDOWS[:2])


@pytest.mark.parametrize("nodata", [None, 0, 7, -9999, 255.5])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("interleave", ["PIXEL", "BAND"])
def test_blocks_that_are_not_there(tmp_path, dtype, nodata, interleave):
    profile = {"driver": "GTiff", "count": 2, "height": HEIGHT, "width": WIDTH, "dtype": dtype, "SPARSE_OK": "TRUE"}
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", nodata=0, INTERLEAVE=interleave, COMPRESS="ZSTD", **TILED, **profile) as dataset:
        dataset.write(np.full((1, 16, 32), 7, dtype), [2], window=RasterioWindow(32, 16, 32, 16))
    if nodata != 0:
        with rasterio.open(path, "r+") as dataset:
            dataset.nodata = nodata if nodata is None or dtype != "uint8" or 0 <= nodata == int(nodata) else None
    source = open_source(path)
    assert (source._layout.counts == 0).sum() > 10
    source.close()
    assert_same(path)


@pytest.mark.parametrize("nodata", ["-9999", "255.5", "1e30", "nan"])
def test_a_nodata_value_that_cells_cannot_hold_fills_as_gdals(tmp_path, nodata):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 64, "width": 64, "dtype": "uint8", "SPARSE_OK": "TRUE"}
    with rasterio.open(path, "w", nodata=200, COMPRESS="ZSTD", **TILED, **profile):
        pass
    data = path.read_bytes()
    assert data.count(b"200\0") == 1
    # The value's text moves behind the end, where there is room.
    with path.open("wb") as file:
        text = nodata.encode() + b"\0"
        entry = data.index(struct.pack("<HHI", 42113, 2, 4))
        at = len(data)
        file.write(data[:entry] + struct.pack("<HHII", 42113, 2, len(text), at) + data[entry + 12 :] + text)
    assert_same(path, [Window(0, 0, 64, 64)])


@pytest.mark.slow
def test_real_rasters(test_data):
    for name in (
        "dem/srtm3_north_england_3601x2401.tif",
        "dem/lf_elev_220_mt_hood_utm.tif",
        "multispectral/RGB.byte.tif",
    ):
        gdals = open_rasterio(test_data / name)
        height, width = gdals.grid.shape
        gdals.close()
        assert_same(test_data / name, [Window(0, 0, height, width), Window(height // 3, width // 3, 300, 200)])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"COMPRESS": "PACKBITS"}, "its blocks are PACKBITS"),
        ({"COMPRESS": "LZMA"}, "its blocks are LZMA"),
        ({"NBITS": 4}, "its cells are of 4 bits"),
        ({"NBITS": 4, "COMPRESS": "LZW"}, "its cells are of 4 bits"),
    ],
)
def test_what_is_not_plain_goes_through_gdal(tmp_path, options, reason):
    cells = cells_of("uint8", 1) % 16
    path = write(tmp_path / "a.tif", cells, **options)
    source = open_source(path)
    assert isinstance(source, RasterioSource)
    assert reason in storage_of(source).reader
    source.close()
    assert_same(path, direct=False)


def test_strips_that_libtiff_cuts_up_go_through_gdal(tmp_path):
    path = write(tmp_path / "a.tif", cells_of("float32", 1), BLOCKYSIZE=HEIGHT)
    assert "its blocks are 75 x 83, and GDAL takes them as 24 x 83" in storage_of(open_source(path)).reader
    assert_same(path, direct=False)


def test_other_formats_go_through_gdal(tmp_path):
    path = tmp_path / "a.png"
    rasterio.shutil.copy(write(tmp_path / "b.tif", cells_of("uint8", 1)), path, driver="PNG")
    assert storage_of(open_source(path)).reader == "through GDAL: its format is PNG"
    assert_same(path, direct=False)


def test_masks_and_memory_go_through_gdal(tmp_path):
    path = write(tmp_path / "a.tif", cells_of("uint8", 4), photometric="RGB", alpha="YES")
    assert "mask" in storage_of(open_source(path)).reader
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", count=1, height=2, width=2, dtype="uint8"):
            pass
        assert "no local file" in storage_of(open_source(memory.name)).reader


def test_the_plan_says_what_reads(tmp_path):
    path = write(tmp_path / "a.tif", cells_of("float32", 1), COMPRESS="ZSTD")
    other = write(tmp_path / "b.tif", cells_of("float32", 1), COMPRESS="LZMA")
    texts = [str(tj.open(p).plan()) for p in (path, other)]
    assert "stored, read directly" in texts[0]
    assert "stored, through GDAL: its blocks are LZMA" in texts[1]
    assert "halo 0, in memory" in str(tj.from_array(np.zeros((2, 2), np.float32)).plan())


@pytest.mark.parametrize("compression", ["NONE", "DEFLATE", "LZW", "ZSTD"])
def test_a_last_strip_that_is_stored_whole(tmp_path, compression):
    """Some writers store rows beyond the raster; GDAL's own DEFLATE decoder gives garbage for them."""
    cells = cells_of("uint8", 1, (20, 16))
    path = write(tmp_path / "a.tif", cells, BLOCKYSIZE=20, COMPRESS=compression)
    data = path.read_bytes()
    # One strip of 20 rows becomes a raster of 13: ImageLength and RowsPerStrip.
    for tag in (257, 278):
        entry = data.index(struct.pack("<HHI", tag, 3, 1))
        data = data[: entry + 8] + struct.pack("<HH", 13, 0) + data[entry + 12 :]
    path.write_bytes(data)
    source, out = open_source(path), np.empty((1, 13, 16), np.uint8)
    source.read((1,), Window(0, 0, 13, 16), out)
    source.close()
    np.testing.assert_array_equal(out, cells[:, :13])


def damage(path, block, length=40):
    source = open_source(path)
    offset = int(source._layout.offsets[block])
    source.close()
    data = bytearray(path.read_bytes())
    data[offset : offset + length] = b"\x55" * length
    path.write_bytes(data)


@pytest.mark.parametrize("compression", ["DEFLATE", "ZSTD", "LZW"])
def test_a_corrupt_block_says_where(tmp_path, compression):
    path = write(tmp_path / "a.tif", cells_of("int16"), COMPRESS=compression, INTERLEAVE="BAND", **TILED)
    damage(path, 4)
    source = open_source(path)
    with pytest.raises(
        ReadError, match=r"a\.tif: cannot read band 1, rows 16:32, cols 0:83: block 4 \(row 1, col 1\): corrupt"
    ):
        source.read((1,), Window(16, 0, 16, WIDTH), np.empty((1, 16, WIDTH), np.int16))
    source.read((2,), Window(16, 0, 16, WIDTH), np.empty((1, 16, WIDTH), np.int16))
    source.close()


@pytest.mark.parametrize("compression", ["NONE", "ZSTD"])
def test_a_truncated_file_is_an_error(tmp_path, compression):
    path = write(tmp_path / "a.tif", cells_of("float64"), COMPRESS=compression, **TILED)
    source = open_source(path)
    os.truncate(path, path.stat().st_size - 5000)
    with pytest.raises(ReadError, match=r"a\.tif: cannot read .*the file ends"):
        source.read((1,), WINDOWS[0], np.empty((1, HEIGHT, WIDTH)))
    source.close()
    assert_same(path)


def test_threads_share_a_source(tmp_path):
    cells = cells_of("float32", 1, (500, 700))
    source = open_source(write(tmp_path / "a.tif", cells, COMPRESS="ZSTD", PREDICTOR=3, **TILED))

    def check(seed):
        row, col = np.random.default_rng(seed).integers(0, 400, 2)
        out = np.empty((1, 90, 70), np.float32)
        source.read((1,), Window(int(row), int(col), 90, 70), out)
        return np.array_equal(out, cells[:, row : row + 90, col : col + 70])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, range(100)))
    source.close()


def test_a_file_that_was_replaced(tmp_path):
    path = write(tmp_path / "a.tif", cells_of("uint8"), COMPRESS="ZSTD")
    source, window = open_source(path), Window(0, 0, 2, 2)
    write(tmp_path / "b.tif", cells_of("uint8", seed=1), COMPRESS="DEFLATE")
    (tmp_path / "b.tif").replace(path)
    with pytest.raises(ReadError, match=r"a\.tif: it was written or replaced since it was opened: open it again"):
        source.ready(1, 0)
    source.close()
    with pytest.raises(ReadError, match="it was written or replaced"):
        source.read((1,), window, np.empty((1, *window.shape)))
    path.unlink()
    with pytest.raises(ReadError, match=r"a\.tif: cannot be opened again: No such file"):
        source.read((1,), window, np.empty((1, *window.shape)))


def test_a_source_travels_by_its_path(tmp_path):
    cells = cells_of("uint8")
    source = open_source(write(tmp_path / "a.tif", cells))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    source.close()
    out = np.empty((2, HEIGHT, WIDTH), np.uint8)
    copy.read((1, 2), WINDOWS[0], out)
    copy.close()
    np.testing.assert_array_equal(out, cells)


def test_a_closed_source_has_no_open_file(tmp_path):
    source = open_source(write(tmp_path / "a.tif", cells_of("uint8")))
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("needs /proc")

    def names():
        return [str(p.readlink()) for p in folder.iterdir() if p.is_symlink()]

    assert sum(source.name == name for name in names()) == 1
    source.close()
    assert source.name not in names()


def test_a_raster_that_lives_as_long_as_python_ends_without_a_word(tmp_path):
    path = write(tmp_path / "a.tif", cells_of("uint8"))
    code = f"import tilejit as tj; kept = [tj.open({str(path)!r})]; kept.append(kept)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


@pytest.fixture
def decoded(monkeypatch):
    """The bytes that are decoded."""
    sizes = []

    def counted(original):
        def decode(self, *arguments):
            sizes.append(arguments[-1].nbytes)
            original(self, *arguments)

        return decode

    for name in ("decode", "decode_run"):
        monkeypatch.setattr(BlockCodec, name, counted(getattr(BlockCodec, name)))
    return sizes


@tj.focal
def steep(z):
    return z[1, 0] - z[0, -1]


LAYOUTS = {
    "tall tiles of 4 interleaved bands": (4, {"blockysize": 256, "blockxsize": 64, "interleave": "pixel"}),
    "wide tiles": (1, {"blockysize": 32, "blockxsize": 256}),
    "tiles as tall as the raster": (1, {"blockysize": 272, "blockxsize": 64}),
    "one strip": (1, {"tiled": False, "blockysize": 261}),
    "strips of a row": (1, {"tiled": False, "blockysize": 1}),
    "strips of 100 rows": (2, {"tiled": False, "blockysize": 100, "interleave": "pixel"}),
    "tiles of 16": (1, {"blockysize": 16, "blockxsize": 16}),
    "200 interleaved bands": (200, {"blockysize": 64, "blockxsize": 64, "interleave": "pixel"}),
    "200 bands apart": (200, {"blockysize": 64, "blockxsize": 64, "interleave": "band"}),
}


@pytest.mark.parametrize("workers", [1, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_that_tiles_share_are_decoded_once(tmp_path, decoded, layout, workers):
    """Whatever their shape, with halos; all that is stored is decoded, and that once."""
    count, profile = LAYOUTS[layout]
    cells = cells_of("int16", count, (261, 283) if count < 200 else (98, 77)) // 4
    raster = tj.open(write(tmp_path / "a.tif", cells, compress="zstd", **{"tiled": True, **profile}))
    made = steep(raster.band(1))
    options = {"tile": (32, 64), "workers": workers, "profile": {"blockysize": 16, "blockxsize": 16}}
    assert "each block decoded once" in str(made.plan(tmp_path / "b.tif", **options))
    report = made.save(tmp_path / "b.tif", **options)
    layout = raster.bands[0].source._layout
    blocks = layout.grid.count // layout.grid.planes
    stored = blocks * layout.block_bytes
    assert sum(decoded) <= stored
    assert sum(decoded) >= stored // blocks * (blocks - 1)  # a last strip has fewer rows
    assert report.read_ratio == 1
    wanted = steep(tj.from_array(cells[:1])).read()
    np.testing.assert_array_equal(tj.open(tmp_path / "b.tif").read(), wanted)


@pytest.mark.parametrize("workers", [1, 3])
def test_tiles_across_blocks_decode_them_four_times_at_most(tmp_path, decoded, workers):
    cells = cells_of("int16", 1, (256, 256)) // 4
    path = write(tmp_path / "a.tif", cells, compress="zstd", tiled=True, blockysize=64, blockxsize=64)
    made, options = steep(tj.open(path)), {"tile": (48, 48), "workers": workers}
    assert "decoded more than once" in str(made.plan(**options))
    np.testing.assert_array_equal(made.read(**options), steep(tj.from_array(cells)).read())
    assert cells.nbytes <= sum(decoded) <= 4 * cells.nbytes


@pytest.mark.parametrize("compression", ["NONE", "DEFLATE", "ZSTD", "LZW"])
@pytest.mark.parametrize("layout", [{"TILED": "YES", "BLOCKXSIZE": 16, "BLOCKYSIZE": 16}, {"BLOCKYSIZE": 1}])
def test_small_blocks_are_read_in_runs(tmp_path, monkeypatch, decoded, compression, layout):
    """By few calls, in files with gaps and with blocks that are not there, and a damaged one is named."""
    options = {"COMPRESS": compression, "SPARSE_OK": "TRUE", **layout}
    cells = cells_of("int16", 2, (40, 200))
    cells[:, 16:32, 64:112] = 0
    cells[:, 7] = 0
    for interleave in ("BAND", "PIXEL"):
        path = write(tmp_path / "a.tif", cells, INTERLEAVE=interleave, **options)
        assert_same(path, [Window(0, 0, 40, 200), Window(3, 21, 30, 90)])
    del decoded[:]
    reads, original = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda *a: reads.append(a) or original(*a))
    source, out = open_source(path), np.empty((1, 40, 200), np.int16)
    source.read((1,), Window(0, 0, 40, 200), out)
    blocks = len(source._layout.counts) // source._layout.grid.planes
    assert len(decoded) + len(reads) <= blocks // 2
    numbers = np.flatnonzero(source._layout.counts)
    source.close()
    if compression not in {"NONE", "LZW"}:
        damage(path, numbers[3], 8)
        with pytest.raises(ReadError, match=rf"block {numbers[3]} \(row \d+, col \d+\): .*{compression} data"):
            open_source(path).read((1,), Window(0, 0, 40, 200), out)


VALID = {
    "tiles": {"COMPRESS": "ZSTD", "PREDICTOR": 3, **TILED},
    "strips": {"COMPRESS": "DEFLATE", "PREDICTOR": 2, "BLOCKYSIZE": 16},
    "lzw": {"COMPRESS": "LZW", "ENDIANNESS": "BIG", "BIGTIFF": "YES", "INTERLEAVE": "BAND", **TILED},
    "plain": {"COMPRESS": "NONE", **TILED},
}


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    cells = cells_of("float32", 2, (40, 40))
    for name, options in VALID.items():
        write(folder / name, cells, 1.0, **options)
    return folder


@pytest.mark.slow
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(list(VALID)),
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4),
    ends=st.tuples(st.booleans(), st.one_of(st.none(), st.integers(8, 2**14))),
)
def test_a_damaged_file_gives_pixels_or_an_error(tmp_path, valid_files, name, changes, ends):
    early, cut = ends
    data = bytearray((valid_files / name).read_bytes())
    for place, value in changes:
        data[place % (400 if early else len(data))] = value
    path = tmp_path / "a.tif"
    path.write_bytes(data[: cut or None])
    try:
        source = open_source(path)
    except TilejitError as error:
        assert path.name in str(error)  # noqa: PT017 - it may also open
        return
    try:
        height, width = source.grid.shape
        if height * width < 2**22 and len(source.bands) < 10:
            assert_gdals_pixels_or_an_error(source)
    finally:
        source.close()


def assert_gdals_pixels_or_an_error(source):
    """What is read of a damaged file is GDAL's pixels; what GDAL does not read, or what we know to be damaged, is none."""
    gdals = open_rasterio(source.name)
    height, width = source.grid.shape
    window, bands = Window(0, 0, min(height, 64), min(width, 64)), (1, len(source.bands))
    for got, wanted in zip(results(source, bands, window), results(gdals, bands, window), strict=True):
        if not isinstance(got, type):
            np.testing.assert_array_equal(got, wanted)
    gdals.close()


def hills(side, dtype):
    y, x = np.indices((side, side))
    return (100 + 30 * np.sin(y / 9) + 20 * np.cos(x / 7) + (x * y) % 3).astype(dtype)[np.newaxis]


def flipped(path, raw, bit):
    raw = bytearray(raw)
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    "options", [{"COMPRESS": "DEFLATE", "PREDICTOR": 2}, {"COMPRESS": "ZSTD"}, {"COMPRESS": "LZW"}]
)
@pytest.mark.parametrize("kind", ["hills", "one value"])
def test_a_flipped_bit_is_gdals_pixels_or_an_error(tmp_path, options, kind):
    """DEFLATE has a checksum, so that no flipped bit gives other pixels; in ZSTD and LZW nobody can know."""
    cells = hills(32, "int16") if kind == "hills" else np.full((1, 32, 32), 7, np.int16)
    path = write(tmp_path / "a.tif", cells, **options, TILED="YES", BLOCKXSIZE=32, BLOCKYSIZE=32)
    layout, raw = open_source(path)._layout, path.read_bytes()
    begin, count = 8 * int(layout.offsets[0]), 8 * int(layout.counts[0])
    errors, places = 0, np.random.default_rng(3).permutation(count)[:75]
    for bit in begin + places:
        source, gdals = open_source(flipped(tmp_path / "b.tif", raw, int(bit))), open_rasterio(tmp_path / "b.tif")
        got, wanted = (results(s, (1,), Window(0, 0, 32, 32))[0] for s in (source, gdals))
        source.close()
        gdals.close()
        errors += isinstance(got, type)
        if options["COMPRESS"] == "DEFLATE":
            assert isinstance(got, type) or np.array_equal(got, cells)
        elif not isinstance(got, type):
            np.testing.assert_array_equal(got, wanted)
    assert errors >= (len(places) - 7 if options["COMPRESS"] == "DEFLATE" else 1)  # up to seven bits fill the last byte


@pytest.mark.parametrize("compression", ["DEFLATE", "ZSTD", "LZW"])
@pytest.mark.parametrize("change", ["cut", "goes on", "empty"])
def test_a_stream_that_ends_early_or_late(tmp_path, compression, change):
    """What follows a block's end is nobody's; a block that ends before its end is damaged, though all cells are there."""
    cells = cells_of("float32", 1, (32, 32))
    path = write(tmp_path / "a.tif", cells, COMPRESS=compression, TILED="YES", BLOCKXSIZE=32, BLOCKYSIZE=32)
    source = open_source(path)
    offset, count = int(source._layout.offsets[0]), int(source._layout.counts[0])
    raw = path.read_bytes()
    block = raw[offset : offset + count]
    block = {"cut": block[: -count // 2], "goes on": block + b"\x55\x00\xff", "empty": b"\0\0\0"}[change]
    source.close()
    with path.open("r+b") as file:
        file.seek(0, 2)
        end = file.tell()
        file.write(block)
        # One tile: its offset and its byte count are the values of the tags themselves.
        for tag, value in ((324, end), (325, len(block))):
            file.seek(raw.index(struct.pack("<HHI", tag, 4, 1)) + 8)
            file.write(struct.pack("<I", value))
    source = open_source(path)
    assert isinstance(source, BlockSource)
    got = results(source, (1,), Window(0, 0, 32, 32))[0]
    source.close()
    if change == "goes on":
        np.testing.assert_array_equal(got, cells)
    else:
        assert isinstance(got, type)


@pytest.mark.parametrize("options", [{"COMPRESS": "JPEG", "JPEG_QUALITY": 90}, {"COMPRESS": "LZMA"}])
def test_what_gdal_says_of_a_damaged_block_is_an_error(tmp_path, options, caplog):
    """rasterio raises neither libjpeg's warnings nor LZMA's errors, and gives pixels."""
    path = write(tmp_path / "a.tif", hills(64, "uint8"), **options)
    with rasterio.open(path) as dataset:
        begin, count = (int(dataset.get_tag_item(f"BLOCK_{n}_0_0", "TIFF", bidx=1)) for n in ("OFFSET", "SIZE"))
    raw, told = path.read_bytes(), 0
    for bit in 8 * begin + np.random.default_rng(4).permutation(8 * count)[:60]:
        source = open_source(flipped(path, raw, int(bit)))
        for _ in range(2):  # GDAL has the block by then
            with suppress(ReadError):
                source.read((1,), Window(0, 0, 64, 64), np.empty((1, 64, 64), np.uint8))
                continue
            told += 1
        source.close()
    assert told > 10
    assert told % 2 == 0
    assert not [r for r in caplog.records if "Corrupt JPEG data" in r.getMessage()]


def test_damaged_counts_take_no_memory(tmp_path, valid_files):
    path = tmp_path / "a.tif"
    path.write_bytes((valid_files / "plain").read_bytes())
    source = open_rasterio(path)
    layout = read_layout(source, "GTiff")
    source.close()
    # The byte counts lie in the file as longs, one after the other.
    old = struct.pack(f"<{len(layout.counts)}I", *layout.counts)
    data = (valid_files / "plain").read_bytes()
    assert data.count(old) <= 1
    if old in data:
        path.write_bytes(data.replace(old, struct.pack(f"<{len(layout.counts)}I", *[2**31] * len(layout.counts))))
        assert "more bytes than it holds" in storage_of(open_source(path)).reader
