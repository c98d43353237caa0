import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from sinks_for_tests import Written, write_all
from tilejit.errors import SinkError
from tilejit.formats.gdal.creation_options import block_of, default_options
from tilejit.formats.gdal.library import CODECS, codecs
from tilejit.formats.gdal.rasterio_source import open_rasterio
from tilejit.formats.geotiff_sink import BlockSink, RasterioSink, open_geotiff
from tilejit.formats.in_memory import ArraySink
from tilejit.formats.output import OutputFile
from tilejit.formats.registry import open_sink
from tilejit.formats.sink import OutputProfile
from tilejit.grid import Grid, Metric
from tilejit.window import Window, tiles

rasterio = pytest.importorskip("rasterio")

UTM = rasterio.crs.CRS.from_epsg(32630).to_wkt()
TRANSFORM = (30.0, 0.0, 500_000.0, 0.0, -30.0, 4_000_000.0)
GRID = Grid(300, 200, TRANSFORM, UTM, Metric("projected"))
TYPES = [
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
]


def profile_of(folder, **changes):
    profile = OutputProfile(path=str(folder / "out.tif"), grid=GRID, count=1, dtype=np.dtype(np.float32))
    return replace(profile, **changes)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def noise(profile):
    numbers = np.random.default_rng(1).integers(0, 100, (profile.count, *profile.grid.shape))
    return numbers.astype(profile.dtype)


@pytest.fixture(params=["direct", "gdal"])
def open_either(request):
    """Each of the sinks, for files that either can write."""
    if request.param == "gdal":
        return lambda profile, threads=1: Written(RasterioSink(OutputFile(profile), threads))
    return lambda profile, _threads=1: Written(BlockSink(OutputFile(profile)))


def save(opener, profile, array, threads=1):
    sink = opener(profile, threads)
    write_all(sink, array)
    sink.publish()


@contextmanager
def small_disk(folder, megabytes):
    """A file system of so many megabytes."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a full disk needs root, to mount a small tmpfs")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a full disk needs a small tmpfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("options", [{}, {"TILED": "NO"}, {"COMPRESS": "DEFLATE", "ZLEVEL": "6"}])
def test_what_is_written_is_read(tmp_path, dtype, options, open_either):
    profile = profile_of(tmp_path, dtype=np.dtype(dtype), count=2, options=options)
    array = noise(profile)
    save(open_either, profile, array, threads=2)
    with rasterio.open(profile.path) as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
    assert names(tmp_path) == ["out.tif"]


def test_the_tags_are_read_back(tmp_path, open_either):
    profile = profile_of(tmp_path, count=2, nodata=-9999.0, descriptions=("slope", None), units=("degree", "m"))
    save(open_either, profile, noise(profile))
    with rasterio.open(profile.path) as dataset:
        assert dataset.crs == rasterio.crs.CRS.from_epsg(32630)
        assert tuple(dataset.transform)[:6] == TRANSFORM
        assert dataset.nodatavals == (-9999.0, -9999.0)
        assert dataset.descriptions == ("slope", None)
        assert dataset.units == ("degree", "m")
    source = open_rasterio(profile.path)
    source.close()
    assert source.grid.differences(GRID) == []
    assert source.block == (304, 208) == block_of(default_options(profile.dtype, 300, 200, {}), 300, 200)


@pytest.mark.parametrize("nodata", [float("nan"), float("-inf"), -3.4028234663852886e38, 0.1])
def test_float_nodata_is_read_back(tmp_path, nodata, open_either):
    profile = profile_of(tmp_path, nodata=nodata)
    array = noise(profile)
    array[0, 0, 0] = nodata
    save(open_either, profile, array)
    source = open_rasterio(profile.path)
    out = np.empty((1, 300, 200), np.float32)
    source.read((1,), Window(0, 0, 300, 200), out)
    source.close()
    assert np.isnan(out[0, 0, 0])
    assert np.isnan(out).sum() == 1


def test_no_georeferencing_and_south_up(tmp_path, open_either):
    for number, grid in enumerate([Grid(20, 30), Grid(20, 30, (1.0, 0.0, 5.0, 0.0, 2.0, 7.0), UTM)]):
        profile = profile_of(tmp_path, grid=grid, path=str(tmp_path / f"{number}.tif"))
        save(open_either, profile, noise(profile))
        source = open_rasterio(profile.path)
        source.close()
        assert source.grid.differences(grid) == []


def test_threads_write_in_any_order(tmp_path, open_either):
    profile = profile_of(tmp_path, grid=replace(GRID, height=700, width=900), options={"BLOCKXSIZE": "64"})
    array = noise(profile)
    whole = Window(0, 0, 700, 900)
    sink = open_either(profile, 2)
    windows = list(tiles(700, 900, *sink.block))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda w: sink.write(w, array[:, *w.slices(whole)]), reversed(windows)))
    sink.publish()
    with rasterio.open(profile.path) as dataset:
        np.testing.assert_array_equal(dataset.read(), array)


def test_gdal_takes_one_window_at_a_time(tmp_path):
    profile = profile_of(tmp_path, grid=replace(GRID, height=700, width=900), options={"BLOCKXSIZE": "64"})
    sink = Written(RasterioSink(OutputFile(profile)))
    own, inside, most = sink._dataset.write, [], []

    class Counting:
        def write(self, *arguments, **options):
            inside.append(1)
            most.append(len(inside))
            own(*arguments, **options)
            inside.pop()

    sink.opened()._dataset = Counting()
    array = noise(profile)
    whole = Window(0, 0, 700, 900)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda w: sink.write(w, array[:, *w.slices(whole)]), tiles(700, 900, *sink.block)))
    sink.abort()
    assert set(most) == {1}


def test_the_target_appears_only_when_it_is_published(tmp_path, open_either):
    profile = profile_of(tmp_path, overwrite=True)
    (tmp_path / "out.tif").write_text("old")
    sink = open_either(profile)
    write_all(sink, noise(profile))
    assert (tmp_path / "out.tif").read_text() == "old"
    sink.publish()
    sink.abort()
    assert names(tmp_path) == ["out.tif"]
    assert open_rasterio(profile.path).grid.shape == (300, 200)


def test_abort_leaves_the_folder_as_it_was(tmp_path, open_either):
    profile = profile_of(tmp_path, overwrite=True)
    (tmp_path / "out.tif").write_text("old")
    sink = open_either(profile)
    sink.write(Window(0, 0, 300, 200), np.zeros((1, 300, 200), np.float32))
    sink.abort()
    sink.abort()
    assert names(tmp_path) == ["out.tif"]
    assert (tmp_path / "out.tif").read_text() == "old"
    with pytest.raises(SinkError, match="published or aborted"):
        sink.publish()


def test_overwriting_drops_the_old_files_overviews(tmp_path, open_either):
    for suffix in (".ovr", ".aux.xml", ".msk"):
        (tmp_path / f"out.tif{suffix}").write_text("of the old pixels")
    profile = profile_of(tmp_path, overwrite=True)
    save(open_either, profile, noise(profile))
    assert names(tmp_path) == ["out.tif"]


def test_a_link_stays_a_link(tmp_path, open_either):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file.tif").write_text("old")
    (tmp_path / "out.tif").symlink_to(tmp_path / "real" / "file.tif")
    profile = profile_of(tmp_path, overwrite=True)
    save(open_either, profile, noise(profile))
    assert (tmp_path / "out.tif").is_symlink()
    assert names(tmp_path / "real") == ["file.tif"]


def test_windows_never_written_are_zeros(tmp_path):
    profile = profile_of(tmp_path, grid=replace(GRID, height=2000))
    sink = Written(RasterioSink(OutputFile(profile)))
    sink.write(Window(0, 0, 10, 10), np.ones((1, 10, 10), np.float32))
    sink.publish()
    with rasterio.open(profile.path) as dataset:
        assert dataset.read().sum() == 100


def test_sparse_files_are_whole(tmp_path, open_either):
    profile = profile_of(tmp_path, grid=replace(GRID, height=2000), options={"SPARSE_OK": "TRUE"})
    sink = open_either(profile)
    sink.write(Window(0, 0, *sink.block).intersection(Window(0, 0, 2000, 200)), np.ones((1, 512, 200), np.float32))
    sink.publish()
    with rasterio.open(profile.path) as dataset:
        assert dataset.read().sum() == 512 * 200


def test_defaults():
    options = default_options(np.dtype(np.float32), 5000, 40, {})
    assert options == {
        "COMPRESS": "ZSTD",
        "ZSTD_LEVEL": "AUTO",
        "PREDICTOR": "3",
        "BIGTIFF": "IF_SAFER",
        "TILED": "YES",
        "BLOCKXSIZE": "48",
        "BLOCKYSIZE": "512",
    }
    assert default_options(np.dtype(np.int16), 50, 50, {})["PREDICTOR"] == "2"
    assert "PREDICTOR" not in default_options(np.dtype(np.uint8), 50, 50, {})
    assert default_options(np.dtype(np.uint8), 50, 50, {}, count=3)["INTERLEAVE"] == "BAND"


def test_the_users_options_stand():
    float32 = np.dtype(np.float32)
    options = default_options(float32, 5000, 5000, {"COMPRESS": "deflate", "ZLEVEL": "6"})
    assert (options["ZLEVEL"], options["COMPRESS"]) == ("6", "DEFLATE")
    assert "ZSTD_LEVEL" not in options
    assert "PREDICTOR" not in default_options(float32, 5000, 5000, {"COMPRESS": "NONE"})
    assert default_options(float32, 5000, 5000, {"ZSTD_LEVEL": "9"})["ZSTD_LEVEL"] == "9"
    strips = default_options(float32, 5000, 5000, {"TILED": "NO"})
    assert block_of(strips, 5000, 5000) == (52, 5000)
    assert block_of(default_options(float32, 9, 9, {"BLOCKXSIZE": "256"}), 9, 9) == (16, 256)


@pytest.mark.parametrize("options", [{}, {"TILED": "NO"}, {"TILED": "NO", "BLOCKYSIZE": "7"}, {"BLOCKXSIZE": "32"}])
def test_block_of_is_gdals(tmp_path, options, open_either):
    profile = profile_of(tmp_path, options=options)
    sink = open_either(profile)
    write_all(sink, noise(profile))
    sink.publish()
    with rasterio.open(profile.path) as dataset:
        assert dataset.block_shapes == [sink.block]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"COMPRES": "ZSTD"}, "does not support creation option COMPRES"),
        ({"COMPRESS": "BLAH"}, "'BLAH' is an unexpected value"),
        ({"ZSTD_LEVEL": "99"}, "ZSTD_LEVEL=99"),
        ({"ZSTD_LEVEL": "fast"}, "'fast' is an unexpected value"),
        ({"BIGTIFF": "MAYBE"}, "'MAYBE' is an unexpected value"),
        ({"TILED": "MAYBE"}, "TILED is YES or NO, not MAYBE"),
        ({"NUM_THREADS": "many"}, "NUM_THREADS is a number or ALL_CPUS, not many"),
        ({"BLOCKXSIZE": "100"}, "multiples of 16"),
        ({"BLOCKYSIZE": "big"}, "not big"),
        ({"COMPRESS": "JPEG"}, "BitsPerSample 32 not allowed"),
        ({"COMPRESS": "DEFLATE", "PREDICTOR": "9"}, "PREDICTOR=9 is not supported"),
        ({"INTERLEAVE": "TILE"}, "INTERLEAVE"),
        ({"TFW": "YES"}, "TFW is not for tilejit"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(SinkError, match=message):
        open_sink(profile_of(tmp_path, options=options))
    assert names(tmp_path) == []


def test_wrong_targets_are_refused(tmp_path):
    (tmp_path / "there.tif").write_text("old")
    (tmp_path / "folder.tif").mkdir()
    for name, message in [
        ("there.tif", "exists already.*overwrite=True"),
        ("folder.tif", "is a folder"),
        ("nowhere/out.tif", "nowhere does not exist"),
        ("out.png", r"ends in \.tif.*gdal_translate"),
        ("out", r"ends in \.tif"),
    ]:
        with pytest.raises(SinkError, match=message):
            open_sink(profile_of(tmp_path, path=str(tmp_path / name)))
    with pytest.raises(SinkError, match="local files"):
        open_sink(profile_of(tmp_path, path="s3://bucket/out.tif"))
    assert names(tmp_path) == ["folder.tif", "there.tif"]
    assert (tmp_path / "there.tif").read_text() == "old"


def test_an_unwritable_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SinkError, match="cannot be written to"):
        open_sink(profile_of(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": np.dtype(np.complex64)}, "not complex64"),
        ({"dtype": np.dtype(np.float16)}, "not float16"),
        ({"dtype": np.dtype(np.uint8), "nodata": -1}, "no uint8 equals the nodata value -1"),
        ({"dtype": np.dtype(np.int16), "nodata": float("nan")}, "no int16 equals"),
        ({"dtype": np.dtype(np.int64), "nodata": -(2**63)}, "exactly below 2"),
        ({"grid": replace(GRID, crs="nonsense")}, "cannot be created"),
    ],
)
def test_what_the_file_cannot_hold_is_refused(tmp_path, changes, message):
    with pytest.raises(SinkError, match=message):
        open_sink(profile_of(tmp_path, **changes))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("window", "array", "message"),
    [
        (Window(0, 0, 2, 2), np.zeros((1, 2, 3), np.float32), r"takes the shape \(1, 2, 2\)"),
        (Window(299, 0, 2, 2), np.zeros((1, 2, 2), np.float32), "reaches outside 300 rows"),
        (Window(0, 0, 2, 2), np.zeros((1, 2, 2)), "stores float32, and float64"),
    ],
)
def test_impossible_writes_are_refused(tmp_path, window, array, message, open_either):
    sinks = [open_either(profile_of(tmp_path)), Written(ArraySink(np.zeros((1, 300, 200), np.float32), GRID))]
    for sink in sinks:
        with pytest.raises(SinkError, match=message):
            sink.write(window, array)
        sink.abort()


def test_array_sink():
    sink = Written(ArraySink(np.zeros((2, 300, 200), np.int16), GRID))
    array = np.arange(120_000, dtype=np.int16).reshape(2, 300, 200)
    write_all(sink, array, (7, 99))
    sink.publish()
    np.testing.assert_array_equal(sink.array, array)
    with pytest.raises(SinkError, match=r"\(band, row, col\)"):
        ArraySink(np.zeros((300, 200)), GRID)


def test_profiles_are_checked():
    with pytest.raises(ValueError, match="one band or more"):
        OutputProfile(path="a.tif", grid=GRID, count=0, dtype=np.dtype("u1"))
    with pytest.raises(ValueError, match="3 bands, and 2 descriptions"):
        OutputProfile(path="a.tif", grid=GRID, count=3, dtype=np.dtype("u1"), descriptions=("a", "b"))


# 16 MB fit into GDAL's block cache and reach the disk in commit; 144 MB do not.
@pytest.mark.parametrize(("side", "megabytes"), [(2048, 1), (2048, 8), (2048, 15), (2048, 16), (6000, 20)])
@pytest.mark.parametrize("compress", ["ZSTD", "NONE"])
def test_a_full_disk_is_noticed(tmp_path, side, megabytes, compress, open_either):
    disk = tmp_path / "disk"
    disk.mkdir()
    grid = Grid(side, side)
    # Random bits, which no codec makes smaller.
    bits = np.random.default_rng(1).integers(0, 2**32, (1, side, side), np.uint32)
    with small_disk(disk, megabytes):
        profile = profile_of(disk, grid=grid, dtype=bits.dtype, options={"COMPRESS": compress})
        sink = open_either(profile, 2)
        with pytest.raises(SinkError, match=r"out\.tif: .*bytes left: free some"):
            _write_and_commit(sink, bits)
        sink.abort()
        assert names(disk) == []


def _write_and_commit(sink, array):
    write_all(sink, array)
    sink.publish()


def test_nothing_follows_a_failed_write(tmp_path):
    sink = Written(RasterioSink(OutputFile(profile_of(tmp_path))))

    class Broken:
        def write(self, *_args, **_kwargs):
            raise rasterio.errors.RasterioIOError("no luck")

        def close(self):
            pass

    sink._dataset.close()
    sink.sink._dataset = Broken()
    cells = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(SinkError, match=r"out\.tif: cannot write rows 0:2, cols 0:2: no luck"):
        sink.write(Window(0, 0, 2, 2), cells)
    for again in (lambda: sink.write(Window(0, 0, 2, 2), cells), sink.publish):
        with pytest.raises(SinkError, match="an earlier write failed"):
            again()
    sink.abort()
    assert names(tmp_path) == []


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_what_gdal_can_write_is_readable_or_refused_before_the_run(tmp_path, codec, count, dtype):
    """WEBP takes colours of bytes that lie together, and JPEG bytes; all else takes all."""
    if codec not in codecs():
        pytest.skip(f"this GDAL has no {codec}")
    profile = profile_of(tmp_path, count=count, dtype=np.dtype(dtype), options={"COMPRESS": codec}, nodata=None)
    possible = {"WEBP": dtype == "uint8" and count > 1, "JPEG": dtype == "uint8"}.get(codec, True)
    if not possible:
        with pytest.raises(SinkError, match=f"COMPRESS={codec}.* do not work for {dtype}"):
            open_geotiff(profile)
        return
    sink, cells = Written(open_geotiff(profile)), noise(profile)
    write_all(sink, cells)
    sink.publish()
    with rasterio.open(profile.path) as dataset:
        assert codec in {"WEBP", "JPEG"} or np.array_equal(dataset.read(), cells)
        assert dataset.read().shape == cells.shape


def test_a_file_that_gdal_does_not_read_gets_no_name(tmp_path, monkeypatch, open_either):
    profile = profile_of(tmp_path)
    sink = open_either(profile)
    write_all(sink, noise(profile))
    monkeypatch.setattr(rasterio.io.DatasetReader, "read", mock.Mock(side_effect=rasterio.errors.RasterioIOError("no")))
    with pytest.raises(SinkError, match="what was written cannot be read again: no"):
        sink.publish()
    assert not list(tmp_path.iterdir())


def test_webp_of_separate_bands_is_refused_before_the_run(tmp_path):
    options = {"COMPRESS": "WEBP", "INTERLEAVE": "BAND"}
    with pytest.raises(SinkError, match=r"COMPRESS=WEBP, INTERLEAVE=BAND.* do not work for uint8"):
        open_geotiff(profile_of(tmp_path, count=3, dtype=np.dtype(np.uint8), options=options, nodata=None))
