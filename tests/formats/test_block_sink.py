"""Blocks written directly make the file that GDAL makes: tag by tag and pixel by pixel."""

import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks_for_tests import Written, write_all
from tilejit.errors import SinkError
from tilejit.formats import append_file, geotiff_sink
from tilejit.formats.geotiff.block_writer import cut_block
from tilejit.formats.geotiff.blocks import BlockGrid, Place, constant_of
from tilejit.formats.geotiff_sink import BlockSink, RasterioSink, writer_of
from tilejit.formats.output import OutputFile
from tilejit.formats.registry import open_sink
from tilejit.formats.sink import WRITTEN_DIRECTLY, OutputProfile
from tilejit.grid import Grid, Metric
from tilejit.window import Window, tiles

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

UTM = rasterio.crs.CRS.from_epsg(32630).to_wkt()
# No multiple of any block, so that blocks reach outside at both edges.
GRID = Grid(75, 83, (30.0, 0.0, 500_000.0, 0.0, -30.0, 4_000_000.0), UTM, Metric("projected"))
TILED = {"BLOCKXSIZE": "32", "BLOCKYSIZE": "16"}
STRIPS = {"TILED": "NO", "BLOCKYSIZE": "7"}
PLACES = {"TileOffsets", "TileByteCounts", "StripOffsets", "StripByteCounts"}
"""The tags that two encoders and two orders of blocks make different."""


def profile_of(folder, name="direct.tif", **changes):
    profile = OutputProfile(path=str(folder / name), grid=GRID, count=1, dtype=np.dtype(np.float32))
    return replace(profile, **changes)


def terrain(profile):
    """Hills with holes of nodata, so that predictors and constant blocks have something to do."""
    rows, cols = np.indices(profile.grid.shape)
    waves = 100 + 50 * np.sin(rows / 9) + 20 * np.cos(cols / 7)
    cells = np.stack([waves + 3 * band for band in range(profile.count)])
    cells += np.random.default_rng(3).random(cells.shape)
    cells = cells.astype(profile.dtype)
    cells[:, 20:60, 30:70] = 0 if profile.nodata is None else profile.nodata
    return cells


def write(sink, array):
    sink = Written(getattr(sink, "sink", sink))
    write_all(sink, array, (2 * sink.block[0], 2 * sink.block[1]))
    sink.publish()


def tags_of(path):
    """The directory but for where blocks lie; tifffile reports what is against the standard."""
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 1
        tags = {t.name: (t.code, int(t.dtype), t.count, t.value) for t in tiff.pages.first.tags}
        places = {name: tags.pop(name)[:3] for name in PLACES & set(tags)}
        return tiff.byteorder, tiff.is_bigtiff, tags, places


def written_both_ways(folder, array, **changes):
    """The paths of one raster written directly and through GDAL."""
    direct, through = (profile_of(folder, name, **changes) for name in ("direct.tif", "gdal.tif"))
    write(BlockSink(OutputFile(direct)), array)
    write(RasterioSink(OutputFile(through), 1), array)
    return direct.path, through.path


def assert_alike(direct, through, array, *, gdal_is_right=True):
    assert tags_of(direct) == tags_of(through)
    # Warnings are errors here, so GDAL says nothing of either.
    with rasterio.open(direct) as ours, rasterio.open(through) as gdals:
        np.testing.assert_array_equal(ours.read(), array)
        assert np.array_equal(gdals.read(), array, equal_nan=array.dtype.kind == "f") or not gdal_is_right
        # As text, in which NaN equals NaN.
        assert str(ours.profile) == str(gdals.profile)
        assert ours.tags() == gdals.tags()
        assert [ours.tags(k) for k in ours.indexes] == [gdals.tags(k) for k in gdals.indexes]
    # An independent reader, with codecs of its own calls and predictors of its own.
    with tifffile.TiffFile(direct) as tiff:
        cells = tiff.pages.first.asarray()
    if len(array) > 1 and cells.shape != array.shape:
        cells = cells.transpose(2, 0, 1)
    np.testing.assert_array_equal(cells.reshape(array.shape), array.astype(cells.dtype))


def predictors(dtype, compress):
    if compress == "NONE":
        return ["1"]
    return ["1", "2", "3"] if np.dtype(dtype).kind == "f" else ["1", "2"]


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no direct writes")
def test_a_file_too_large_for_the_page_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(append_file, "CACHED_SHARE", 10**18)
    monkeypatch.setattr(append_file, "SEGMENT", 8192)
    profile = profile_of(tmp_path, "direct.tif", options=TILED)
    array = terrain(profile)
    sink = Written(BlockSink(OutputFile(profile)))
    assert isinstance(sink._appended, append_file.DirectAppendFile)
    write(sink, array)
    through = profile_of(tmp_path, "gdal.tif", options=TILED)
    write(RasterioSink(OutputFile(through), 1), array)
    assert_alike(profile.path, through.path, array)


TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
CODINGS = [
    (dtype, compress, predictor)
    for dtype, compress in product(TYPES, ["NONE", "DEFLATE", "ZSTD", "LZW"])
    for predictor in predictors(dtype, compress)
]
LAYOUTS = [
    layout | interleave | order
    for layout, interleave, order in product(
        [TILED, STRIPS], [{"INTERLEAVE": "BAND"}, {"INTERLEAVE": "PIXEL"}], [{}, {"ENDIANNESS": "BIG"}]
    )
]


@pytest.mark.parametrize(("dtype", "compress", "predictor"), CODINGS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda v: "-".join(v.values()))
def test_the_file_is_gdals(tmp_path, dtype, compress, predictor, layout):
    options = layout | {"COMPRESS": compress, "PREDICTOR": predictor}
    if compress == "NONE":
        del options["PREDICTOR"]
    changes = {"dtype": np.dtype(dtype), "count": 3, "options": options, "nodata": 7}
    array = terrain(profile_of(tmp_path, **changes))
    # GDAL 3.10 swaps the bytes of its own block of nodata each time it writes it: every other one comes out wrong.
    gdal_is_right = compress != "NONE" or "ENDIANNESS" not in layout
    assert_alike(*written_both_ways(tmp_path, array, **changes), array, gdal_is_right=gdal_is_right)


@pytest.mark.parametrize("big", ["YES", "NO"])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda v: "-".join(v.values()))
def test_bands_and_bigtiff(tmp_path, big, count, layout):
    changes = {"count": count, "options": layout | {"BIGTIFF": big}}
    array = terrain(profile_of(tmp_path, **changes))
    direct, through = written_both_ways(tmp_path, array, **changes)
    assert tags_of(direct)[1] == (big == "YES")
    assert_alike(direct, through, array)


@pytest.mark.parametrize(
    "changes",
    [
        {"nodata": float("nan")},
        {"nodata": -9999.0, "descriptions": ("slope",), "units": ("degree",)},
        {"grid": Grid(16, 16)},
        {"grid": Grid(1, 1)},
        {"grid": Grid(3, 5, (1.0, 0.0, 5.0, 0.0, 2.0, 7.0), UTM)},
        {"dtype": np.dtype(np.bool_)},
        {"count": 3, "dtype": np.dtype(np.uint8), "options": {"PHOTOMETRIC": "RGB"}},
        {"count": 4, "dtype": np.dtype(np.uint8), "options": {"PHOTOMETRIC": "RGB", "ALPHA": "YES"}},
        {"dtype": np.dtype(np.uint8), "options": {"PHOTOMETRIC": "MINISWHITE"}},
        {"options": {"GEOTIFF_VERSION": "1.1", "GEOTIFF_KEYS_FLAVOR": "ESRI_PE"}},
        {"options": {"COMPRESS": "DEFLATE", "ZLEVEL": "9"}},
        {"options": {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "12", "NUM_THREADS": "2"}},
    ],
    ids=str,
)
def test_what_the_directory_says_is_gdals(tmp_path, changes):
    array = terrain(profile_of(tmp_path, **changes))
    direct, through = written_both_ways(tmp_path, array, **changes)
    assert_alike(direct, through, array.view(np.uint8) if array.dtype == np.bool_ else array)


@pytest.mark.parametrize(
    ("options", "writer"),
    [
        ({"COMPRESS": "ZSTD", "PREDICTOR": "3", "PHOTOMETRIC": "RGB"}, WRITTEN_DIRECTLY),
        ({"COMPRESS": "JPEG"}, "through GDAL: COMPRESS=JPEG"),
        ({"COMPRESS": "LZW", "NBITS": "12"}, "through GDAL: NBITS=12"),
        ({"COMPRESS": "LZW", "DISCARD_LSB": "2"}, "through GDAL: DISCARD_LSB=2"),
        ({"COMPRESS": "LZW", "PHOTOMETRIC": "CIELAB"}, "through GDAL: PHOTOMETRIC=CIELAB"),
    ],
)
def test_the_options_choose_the_sink(options, writer):
    assert writer_of(options) == writer


def test_what_is_not_plain_goes_through_gdal(tmp_path):
    profile = profile_of(tmp_path, dtype=np.dtype(np.uint8), options={"NBITS": "4"})
    sink = open_sink(profile)
    assert isinstance(sink, RasterioSink)
    write(sink, np.full((1, *GRID.shape), 9, np.uint8))
    with rasterio.open(profile.path) as dataset:
        assert (dataset.read() == 9).all()
    plain = open_sink(profile_of(tmp_path, "other.tif"))
    assert isinstance(plain, BlockSink)
    plain.abort()


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_write_at_once(tmp_path, threads):
    profile = profile_of(tmp_path, grid=replace(GRID, height=700, width=900), count=2, options=TILED)
    array = terrain(profile)
    whole = Window(0, 0, 700, 900)
    sink = Written(BlockSink(OutputFile(profile)))
    windows = list(tiles(700, 900, 64, 64))
    np.random.default_rng(5).shuffle(windows)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda w: sink.write(w, array[:, *w.slices(whole)]), windows))
    sink.publish()
    with rasterio.open(profile.path) as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
    assert_no_overlap(profile.path)


def assert_no_overlap(path):
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        spans = sorted(zip(page.dataoffsets, page.databytecounts, strict=True))
        for (offset, size), (following, _) in zip(spans, [*spans[1:], (tiff.filehandle.size, 0)], strict=True):
            assert offset + size == following


def sparse_blocks(path):
    with tifffile.TiffFile(path) as tiff:
        return [size == 0 for size in tiff.pages.first.databytecounts]


@pytest.mark.parametrize("nodata", [None, -9999.0, float("nan")])
@pytest.mark.parametrize("layout", [TILED, STRIPS])
def test_empty_blocks_are_left_out_where_gdal_leaves_them_out(tmp_path, nodata, layout):
    changes = {"nodata": nodata, "count": 2, "options": layout | {"SPARSE_OK": "TRUE"}}
    array = terrain(profile_of(tmp_path, **changes))
    array[:, :40] = 0 if nodata is None else nodata
    direct, through = written_both_ways(tmp_path, array, **changes)
    assert sparse_blocks(direct) == sparse_blocks(through)
    assert any(sparse_blocks(direct))
    assert not all(sparse_blocks(direct))
    assert_alike_pixels(direct, array)


def assert_alike_pixels(path, array):
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), array)


def test_minus_zero_is_kept_and_any_nan_is_nodata(tmp_path):
    sparse = TILED | {"SPARSE_OK": "TRUE"}
    zeros = profile_of(tmp_path, options=sparse)
    write(BlockSink(OutputFile(zeros)), np.full((1, *GRID.shape), -0.0, np.float32))
    with rasterio.open(zeros.path) as dataset:
        assert np.signbit(dataset.read()).all()
    nans = profile_of(tmp_path, "nan.tif", options=sparse, nodata=float("nan"))
    write(BlockSink(OutputFile(nans)), -np.full((1, *GRID.shape), np.nan, np.float32))
    assert all(sparse_blocks(nans.path))


def test_a_constant_block_is_a_copy_of_what_the_caller_may_reuse(tmp_path):
    profile = profile_of(
        tmp_path,
        grid=replace(GRID, height=32, width=16),
        options={"COMPRESS": "NONE", "BLOCKXSIZE": "16", "BLOCKYSIZE": "16"},
    )
    sink = Written(BlockSink(OutputFile(profile)))
    array = np.full((1, 16, 16), 5, np.float32)
    sink.write(Window(0, 0, 16, 16), array)
    array[:] = 6
    array[0, 0, 1] = 7
    sink.write(Window(16, 0, 16, 16), np.full((1, 16, 16), 5, np.float32))
    sink.publish()
    assert_alike_pixels(profile.path, np.full((1, 32, 16), 5, np.float32))


@given(st.data())
def test_a_constant_block_is_one(data):
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 2, st.integers(1, 3)))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "i2", "f4", "f8"])))
    block = np.empty(shape, dtype)
    block[:] = np.arange(shape[2])
    assert constant_of(block) == block[0, 0].tobytes()
    at = data.draw(st.integers(0, shape[0] * shape[1] - 1))
    block.reshape(-1, shape[2])[at, -1] = 99
    assert (constant_of(block) is None) == (shape[:2] != (1, 1))


@given(st.data())
@settings(deadline=None)
def test_blocks_partition_the_raster(data):
    """What is cut out, put together again, is the raster."""
    shape = data.draw(st.tuples(*[st.integers(1, 40)] * 2))
    tiled = data.draw(st.booleans())
    block = (
        data.draw(st.tuples(*[st.integers(1, 12)] * 2)) if tiled else (data.draw(st.integers(1, shape[0])), shape[1])
    )
    planes, samples = data.draw(st.sampled_from([(1, 1), (3, 1), (1, 3)]))
    grid = BlockGrid(shape, block, tiled, planes)
    cells = np.random.default_rng(1).random((planes * samples, *shape))
    out, numbers = np.full_like(cells, -1), []
    for window in tiles(*shape, 2 * block[0], block[1]):
        assert grid.holds_whole(window)
        part = cells[:, *window.slices(Window(0, 0, *shape))]
        for place in grid.places(window):
            numbers.append(grid.number(place))
            assert grid.place(numbers[-1]) == place
            cut = cut_block(grid, samples, place, window, part)
            assert cut.flags.c_contiguous
            assert not tiled or cut.shape[:2] == block
            inside = Window(place.row * block[0], place.col * block[1], *block).intersection(Window(0, 0, *shape))
            bands = slice(place.plane * samples, (place.plane + 1) * samples)
            out[bands, *inside.slices(Window(0, 0, *shape))] = cut[: inside.height, : inside.width].transpose(2, 0, 1)
    np.testing.assert_array_equal(out, cells)
    assert sorted(numbers) == list(range(grid.count))
    assert grid.count == planes * -(-shape[0] // block[0]) * -(-shape[1] // block[1])


def test_padding_repeats_the_edge():
    grid = BlockGrid((3, 3), (4, 4), tiled=True, planes=1)
    cells = np.arange(9.0).reshape(1, 3, 3)
    cut = cut_block(grid, 1, Place(0, 0, 0), Window(0, 0, 3, 3), cells)
    np.testing.assert_array_equal(cut[:, :, 0], np.pad(cells[0], ((0, 1), (0, 1)), mode="edge"))


@pytest.mark.parametrize(
    "window", [Window(0, 0, 8, 32), Window(8, 0, 16, 32), Window(0, 0, 16, 40), Window(64, 64, 10, 19)]
)
def test_parts_of_blocks_are_refused(tmp_path, window):
    sink = Written(BlockSink(OutputFile(profile_of(tmp_path, options=TILED))))
    with pytest.raises(SinkError, match=r"direct\.tif: rows .* cuts blocks of 16 x 32: write whole ones"):
        sink.write(window, np.zeros((1, *window.shape), np.float32))
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_block_is_written_once(tmp_path):
    profile = profile_of(tmp_path, options=TILED)
    sink = Written(BlockSink(OutputFile(profile)))
    sink.write(Window(16, 32, 16, 32), np.ones((1, 16, 32), np.float32))
    array = terrain(profile)
    with pytest.raises(SinkError, match="rows 0:75, cols 0:83: block row 1, block col 1 has been written already"):
        sink.write(Window(0, 0, *GRID.shape), array)
    sink.abort()


@pytest.mark.parametrize("interleave", ["BAND", "PIXEL"])
def test_a_missing_block_is_named(tmp_path, interleave):
    (tmp_path / "direct.tif").write_bytes(b"old")
    profile = profile_of(tmp_path, count=2, overwrite=True, options=TILED | {"INTERLEAVE": interleave})
    sink = Written(BlockSink(OutputFile(profile)))
    for window in tiles(*GRID.shape, 16, 32):
        if window != Window(32, 32, 16, 32):
            sink.write(window, np.ones((2, *window.shape), np.float32))
    band = "band 1, " if interleave == "BAND" else ""
    with pytest.raises(
        SinkError, match=f"cannot be completed: {band}block row 2, block col 1 was never .* SPARSE_OK=TRUE"
    ):
        sink.prepare()
    assert [p.name for p in tmp_path.iterdir()] == ["direct.tif"]
    assert (tmp_path / "direct.tif").read_bytes() == b"old"


def test_a_classic_tiff_ends_at_4_gb(tmp_path):
    profile = profile_of(tmp_path, options=TILED)
    sink = Written(BlockSink(OutputFile(profile)))
    sink._appended._end = 2**32 - 1000
    with pytest.raises(SinkError, match=r"4 GB.*BIGTIFF=YES"):
        write(sink, np.random.default_rng(1).random((1, *GRID.shape), np.float32))
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_bigtiff_does_not(tmp_path):
    profile = profile_of(tmp_path, options=TILED | {"BIGTIFF": "YES"})
    sink = Written(BlockSink(OutputFile(profile)))
    sink._appended._end = 2**32 - 1000
    array = terrain(profile)
    write(sink, array)
    assert_alike_pixels(profile.path, array)
    assert Path(profile.path).stat().st_blocks < 1000


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError(5, "Input/output error"), KeyboardInterrupt()]
)
def test_nothing_follows_a_failed_write(tmp_path, monkeypatch, error):
    (tmp_path / "direct.tif").write_bytes(b"old")
    profile = profile_of(tmp_path, options=TILED, overwrite=True)
    sink = Written(BlockSink(OutputFile(profile)))
    sink.write(Window(0, 0, 16, 32), np.zeros((1, 16, 32), np.float32))

    def fail(*_):
        raise error

    monkeypatch.setattr(os, "pwrite", fail)
    expected = SinkError if isinstance(error, Exception) else KeyboardInterrupt
    with pytest.raises(expected):
        sink.write(Window(16, 0, 16, 32), np.zeros((1, 16, 32), np.float32))
    monkeypatch.undo()
    for again in (lambda: sink.write(Window(32, 0, 16, 32), np.zeros((1, 16, 32), np.float32)), sink.publish):
        with pytest.raises(SinkError, match="an earlier write failed: cannot write rows 16:32, cols 0:32"):
            again()
    sink.abort()
    assert [p.name for p in tmp_path.iterdir()] == ["direct.tif"]
    assert (tmp_path / "direct.tif").read_bytes() == b"old"


@pytest.mark.parametrize("broken", ["close_dataset", "read_skeleton"])
def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch, broken):
    """GDAL writes it when it closes the file, and a full disk shows only then."""

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(geotiff_sink, broken, fail)
    before = threading.active_count()
    with pytest.raises(SinkError, match=r"direct\.tif: cannot be created: .*No space left .*free some"):
        BlockSink(OutputFile(profile_of(tmp_path)))
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_a_system_may_write_a_part_at_a_time(tmp_path, monkeypatch):
    profile = profile_of(tmp_path, options=TILED)
    array = terrain(profile)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:100], offset))
    write(BlockSink(OutputFile(profile)), array)
    assert_alike_pixels(profile.path, array)


def test_abort_waits_for_writers(tmp_path, monkeypatch):
    profile = profile_of(tmp_path, grid=Grid(16, 16))
    sink = Written(BlockSink(OutputFile(profile)))
    inside, go = threading.Event(), threading.Event()
    real, seen = os.pwrite, []

    def slow(descriptor, data, offset):
        inside.set()
        assert go.wait(30)
        seen.append(os.fstat(descriptor).st_size)
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(sink.write, Window(0, 0, 16, 16), np.ones((1, 16, 16), np.float32))
        assert inside.wait(30)
        aborting = pool.submit(sink.abort)
        go.set()
        writing.result()
        aborting.result()
    assert len(seen) == 1
    assert list(tmp_path.iterdir()) == []


def complaints(path):
    from rio_cogeo.cogeo import cog_validate

    _, errors, warnings = cog_validate(path, quiet=True)
    return errors, warnings


@pytest.mark.parametrize("options", [{}, {"BLOCKXSIZE": "256", "BLOCKYSIZE": "256"}, {"COMPRESS": "DEFLATE"}])
def test_rio_cogeo_says_of_it_what_it_says_of_gdals(tmp_path, options):
    pytest.importorskip("rio_cogeo")
    changes = {"grid": replace(GRID, height=1100, width=1300), "options": options}
    array = terrain(profile_of(tmp_path, **changes))
    direct, through = written_both_ways(tmp_path, array, **changes)
    assert complaints(direct) == complaints(through)


@pytest.mark.parametrize("options", [TILED, STRIPS | {"ENDIANNESS": "BIG"}, {"COMPRESS": "LZW", "BIGTIFF": "YES"}])
def test_gdalinfo_sees_the_same(tmp_path, options):
    if not shutil.which("gdalinfo"):
        pytest.skip("gdalinfo is not installed")
    changes = {"count": 2, "options": options, "nodata": -9999.0, "descriptions": ("a", "b")}
    array = terrain(profile_of(tmp_path, **changes))
    reports = []
    for path in written_both_ways(tmp_path, array, **changes):
        run = subprocess.run(["gdalinfo", "-checksum", path], capture_output=True, text=True, check=True)
        assert run.stderr == ""
        reports.append(run.stdout.replace(path, ""))
    assert reports[0] == reports[1]
    assert reports[0].count("Checksum=") == 2
