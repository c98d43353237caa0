"""Outputs of many files, shards under a VRT and Zarr, against the plain GeoTIFF of the same cells."""

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from test_failures import SLOW_RUN
from test_sink import GRID, TRANSFORM, TYPES, UTM, names, noise, profile_of, small_disk

import tilejit as tj
from sinks_for_tests import Written, write_all
from tilejit.errors import SinkError
from tilejit.formats import publishing
from tilejit.formats.folders import shards
from tilejit.formats.folders.shards import rectangles
from tilejit.formats.registry import checked_target, open_sink, places_of, storage_at, stored_bytes
from tilejit.formats.sink import OutputProfile
from tilejit.grid import Grid
from tilejit.window import Window, tiles

pytestmark = pytest.mark.slow

try:
    import zarr
except ImportError:
    zarr = None

needs_zarr = pytest.mark.skipif(zarr is None, reason="needs the package zarr")
rioxarrays_own = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
KINDS = ["vrt", pytest.param("zarr", marks=needs_zarr)]
BLOCKS = {"BLOCKXSIZE": "64", "BLOCKYSIZE": "32"}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """So that a test's raster is several of them."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)


def output_of(folder, kind, **changes):
    return profile_of(folder, **({"path": str(folder / f"out.{kind}"), "options": BLOCKS} | changes))


def save(profile, array):
    sink = Written(open_sink(profile))
    write_all(sink, array)
    sink.publish()


def read(path):
    """The cells as (band, row, col), and nothing masked."""
    if not path.endswith(".zarr"):
        with rasterio.open(path) as dataset:
            return dataset.read()
    group = zarr.open_group(path, mode="r")
    bands = [group[name] for name in group.array_keys() if name not in {"x", "y", "spatial_ref"}]
    return np.stack([band[...] for band in sorted(bands, key=lambda band: int(band.name.rpartition("_")[2]))])


def left(folder):
    return {path.name for path in folder.iterdir()}


def all_of(kind):
    return {"out.vrt", "out.tiles"} if kind == "vrt" else {"out.zarr"}


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_written_is_read(tmp_path, kind, dtype):
    profile = output_of(tmp_path, kind, dtype=np.dtype(dtype), count=2)
    array = noise(profile)
    save(profile, array)
    np.testing.assert_array_equal(read(profile.path), array)
    assert left(tmp_path) == all_of(kind)


@pytest.mark.parametrize("options", [{"TILED": "NO", "BLOCKYSIZE": "7"}, {"COMPRESS": "LERC"}, {"INTERLEAVE": "PIXEL"}])
def test_shards_take_every_option(tmp_path, options):
    profile = output_of(tmp_path, "vrt", count=2, options=options)
    array = noise(profile)
    save(profile, array)
    np.testing.assert_array_equal(read(profile.path), array)


@needs_zarr
@pytest.mark.parametrize(
    "options", [{"COMPRESS": "NONE"}, {"COMPRESS": "gzip"}, {"COMPRESS": "BLOSC"}, {"ZSTD_LEVEL": "9"}, {}]
)
def test_zarrs_options(tmp_path, options):
    profile = output_of(tmp_path, "zarr", options=options)
    array = noise(profile)
    save(profile, array)
    np.testing.assert_array_equal(read(profile.path), array)
    stored = zarr.open_group(profile.path, mode="r")["band_1"]
    assert stored.chunks == ((300, 200) if options != BLOCKS else (32, 64))
    assert [type(c).__name__ for c in stored.compressors] == {
        "NONE": [],
        "gzip": ["GzipCodec"],
        "BLOSC": ["BloscCodec"],
    }.get(options.get("COMPRESS"), ["ZstdCodec"])


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 150), st.integers(1, 150)),
    blocks=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    gathered=st.sampled_from([1, 3_000, 1 << 24]),
    seed=st.randoms(use_true_random=False),
    kind=st.sampled_from(["vrt"] if zarr is None else ["vrt", "zarr"]),
)
def test_any_windows_in_any_order(shape, blocks, gathered, seed, kind):
    count, height, width = shape
    array = np.random.default_rng(1).integers(0, 99, (count, height, width)).astype(np.int16)
    options = {"BLOCKYSIZE": str(16 * blocks[0]), "BLOCKXSIZE": str(16 * blocks[1])}
    windows = list(tiles(height, width, 16 * blocks[0] * blocks[2], 16 * blocks[1] * blocks[3]))
    seed.shuffle(windows)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", gathered)
        path = str(Path(folder, f"out.{kind}"))
        grid = Grid(height, width, TRANSFORM, UTM)
        sink = Written(open_sink(OutputProfile(path=path, grid=grid, count=count, dtype=array.dtype, options=options)))
        for window in windows:
            sink.write(window, array[:, *window.slices(Window(0, 0, height, width))])
        sink.publish()
        np.testing.assert_array_equal(read(path), array)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_rectangles_hold_each_window_once_and_nothing_else(rows, cols, data):
    every = list(tiles(2 * rows, 3 * cols, 2, 3))
    chosen = data.draw(st.lists(st.sampled_from(every), unique_by=str))
    seen = np.zeros((2 * rows, 3 * cols), int)
    for group in rectangles([(w, np.zeros(0)) for w in chosen]):
        hull = [min(w.row_off for w, _ in group), min(w.col_off for w, _ in group)]
        hull += [max(w.row_end for w, _ in group), max(w.col_end for w, _ in group)]
        assert sum(w.height * w.width for w, _ in group) == (hull[2] - hull[0]) * (hull[3] - hull[1])
        seen[hull[0] : hull[2], hull[1] : hull[3]] += 1
    assert seen.max(initial=0) <= 1
    assert seen.sum() == 6 * len(chosen)
    if len(chosen) == len(every):
        assert len(rectangles([(w, np.zeros(0)) for w in chosen])) == 1


@pytest.mark.parametrize(
    ("grid", "dtype", "nodata"),
    [
        (GRID, "float32", -9999.0),
        (GRID, "float32", float("nan")),
        (GRID, "uint8", 255),
        (GRID, "int64", -(2**53) + 1),
        (replace(GRID, transform=(0.1, 0, -1.5, 0, -0.1, 60.0), crs=rasterio.crs.CRS.from_epsg(4326).to_wkt()), "int16", None),
        (replace(GRID, transform=(1.0, 0.5, 9.0, 0.5, -1.0, 7.0)), "float64", None),
        (Grid(300, 200), "uint16", None),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_vrt_says_what_the_geotiff_says(tmp_path, grid, dtype, nodata):
    metadata = {"descriptions": ('slope <&> "quoted"', None, "ä"), "units": ("degree", "m/s²", None)}  # fmt: skip
    profile = output_of(tmp_path, "vrt", grid=grid, dtype=np.dtype(dtype), nodata=nodata, count=3, **metadata)
    plain = replace(profile, path=str(tmp_path / "plain.tif"))
    array = noise(profile)
    array[:, :40, :40] = 0 if nodata is None else nodata
    save(profile, array)
    save(plain, array)
    with rasterio.open(profile.path) as ours, rasterio.open(plain.path) as theirs:
        for name in (
            "crs",
            "transform",
            "descriptions",
            "units",
            "dtypes",
            "shape",
            "block_shapes",
            "colorinterp",
            "count",
        ):
            assert getattr(ours, name) == getattr(theirs, name), name
        np.testing.assert_equal(ours.nodatavals, theirs.nodatavals)
        assert ours.tags() == theirs.tags()
        np.testing.assert_array_equal(ours.read(), theirs.read())
        np.testing.assert_array_equal(ours.read_masks(), theirs.read_masks())


def test_gdals_own_program_reads_the_vrt_without_a_warning(tmp_path):
    profile = output_of(tmp_path, "vrt", nodata=-9999.0)
    array = noise(profile)
    save(profile, array)
    try:
        shown = subprocess.run(
            ["gdalinfo", "-json", "-checksum", profile.path], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("gdalinfo is not installed")
    assert shown.stderr == ""
    info = json.loads(shown.stdout)
    assert info["size"] == [200, 300]
    assert info["bands"][0]["checksum"] > 0
    assert all(Path(file).exists() for file in info["files"])


@pytest.mark.parametrize("name", ["esc\x1b[31m.vrt", "no_utf8\udcff.vrt"])
def test_a_name_that_no_xml_has_is_refused_for_a_vrt(tmp_path, name):
    with pytest.raises(SinkError, match="a VRT, which is XML, cannot name the folder"):
        open_sink(output_of(tmp_path, "vrt", path=str(tmp_path / name)))
    assert left(tmp_path) == set()


def test_a_vrt_leaves_out_what_no_xml_has_as_gdal_does(tmp_path):
    profile = output_of(tmp_path, "vrt", descriptions=("red\x01 <&>",), units=("m\x1b",))
    save(profile, noise(profile))
    with rasterio.open(profile.path) as dataset:
        assert (dataset.descriptions, dataset.units) == (("red <&>",), ("m",))


def test_names_in_a_vrt_are_relative(tmp_path):
    (tmp_path / "a").mkdir()
    profile = output_of(tmp_path / "a", "vrt", path=str(tmp_path / "a" / "out & <more>.vrt"))
    array = noise(profile)
    save(profile, array)
    (tmp_path / "a").rename(tmp_path / "b")
    np.testing.assert_array_equal(read(str(tmp_path / "b" / "out & <more>.vrt")), array)


def test_tiny_tiles_share_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 1 << 24)
    profile = output_of(tmp_path, "vrt", options={"BLOCKXSIZE": "16", "BLOCKYSIZE": "16"})
    save(profile, noise(profile))
    assert names(tmp_path / "out.tiles") == ["r00000000_c00000000_300x200.tif"]


@needs_zarr
@rioxarrays_own
@pytest.mark.parametrize("nodata", [None, -9999.0, float("nan")])
def test_xarray_reads_the_zarr(tmp_path, nodata):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("rioxarray")
    profile = output_of(
        tmp_path, "zarr", count=2, nodata=nodata, descriptions=("slope", "aspect (°)"), units=("degree", None)
    )
    array = noise(profile)
    array[:, 10:50, 70:] = 0 if nodata is None else nodata
    save(profile, array)
    with xarray.open_zarr(profile.path) as dataset:
        assert set(dataset.data_vars) == {"slope", "aspect"}
        assert dataset.slope.rio.crs == rasterio.crs.CRS.from_epsg(32630)
        assert tuple(dataset.slope.rio.transform())[:6] == TRANSFORM
        assert dataset.aspect.rio.crs == dataset.slope.rio.crs
        assert dataset.rio.shape == (300, 200)
        expected = np.where(array == nodata, np.nan, array) if nodata is not None else array
        np.testing.assert_array_equal(dataset.slope.values, expected[0])
        np.testing.assert_array_equal(dataset.aspect.values, expected[1])
        np.testing.assert_equal(dataset.slope.rio.encoded_nodata, nodata)
        assert dataset.slope.attrs["units"] == "degree"
        assert dataset.aspect.attrs["long_name"] == "aspect (°)"
        assert float(dataset.x[0]) == 500_015
        assert float(dataset.y[-1]) == 4_000_000 - 30 * 299.5


@needs_zarr
@rioxarrays_own
def test_xarray_reads_what_is_rotated_geographic_or_nowhere(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("rioxarray")
    rotated = (1.0, 0.5, 9.0, 0.5, -1.0, 7.0)
    wgs84 = rasterio.crs.CRS.from_epsg(4326)
    for number, grid in enumerate(
        [
            replace(GRID, transform=rotated),
            Grid(30, 20, (0.1, 0.0, -1.5, 0.0, -0.1, 60.0), wgs84.to_wkt()),
            Grid(30, 20),
        ]
    ):
        profile = output_of(tmp_path, "zarr", grid=grid, path=str(tmp_path / f"{number}.zarr"))
        save(profile, noise(profile))
        with xarray.open_zarr(profile.path) as dataset:
            np.testing.assert_allclose(tuple(dataset.band_1.rio.transform())[:6], grid.transform, rtol=1e-9, atol=1e-9)
            assert dataset.band_1.rio.crs == (None if grid.crs is None else rasterio.crs.CRS.from_wkt(grid.crs))


@needs_zarr
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gdal_reads_the_zarr(tmp_path):
    profile = output_of(tmp_path, "zarr", nodata=-9999.0, descriptions=("slope",), units=("degree",))
    array = noise(profile)
    save(profile, array)
    if tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 12):
        pytest.skip(f"GDAL {rasterio.__gdal_version__} reads a draft of Zarr v3 only (Unsupported codec: bytes)")
    with rasterio.open(f'ZARR:"{profile.path}":/slope') as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert dataset.crs == rasterio.crs.CRS.from_epsg(32630)
        assert tuple(dataset.transform)[:6] == TRANSFORM
        assert dataset.nodata == -9999


@needs_zarr
def test_minus_zero_stays(tmp_path):
    profile = output_of(tmp_path, "zarr", nodata=0.0)
    array = np.full((1, 300, 200), -0.0, np.float32)
    save(profile, array)
    assert np.signbit(read(profile.path)).all()


@needs_zarr
def test_nodata_chunks_are_left_out(tmp_path):
    profile = output_of(tmp_path, "zarr", nodata=-9999.0)
    array = np.full((1, 300, 200), -9999, np.float32)
    array[0, 0, 0] = 1
    save(profile, array)
    chunks = [f for f in (tmp_path / "out.zarr" / "band_1" / "c").rglob("*") if f.is_file()]
    assert [f.relative_to(tmp_path / "out.zarr" / "band_1").as_posix() for f in chunks] == ["c/0/0"]
    np.testing.assert_array_equal(read(profile.path), array)


def test_threads_write_in_any_order(tmp_path, kind):
    profile = output_of(tmp_path, kind, grid=replace(GRID, height=700, width=900))
    array = noise(profile)
    sink = Written(open_sink(profile))
    whole = Window(0, 0, 700, 900)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda w: sink.write(w, array[:, *w.slices(whole)]), reversed(list(tiles(700, 900, 32, 64)))))
    sink.publish()
    np.testing.assert_array_equal(read(profile.path), array)


def test_an_array_may_be_reused_after_the_call(tmp_path, kind):
    profile = output_of(tmp_path, kind)
    array, buffer = noise(profile), np.empty((1, 300, 200), np.float32)
    sink = Written(open_sink(profile))
    for window in tiles(300, 200, 32, 64):
        part = buffer[:, : window.height, : window.width]
        part[...] = array[:, *window.slices(Window(0, 0, 300, 200))]
        sink.write(window, part)
        buffer[...] = -1
    sink.publish()
    np.testing.assert_array_equal(read(profile.path), array)


def test_the_target_appears_only_when_it_is_published(tmp_path, kind):
    profile = output_of(tmp_path, kind)
    first = noise(profile)
    save(profile, first)
    with pytest.raises(SinkError, match=r"exists already.*overwrite=True"):
        open_sink(profile)
    again = replace(profile, overwrite=True)
    sink = Written(open_sink(again))
    write_all(sink, first + 1)
    sink.prepare()
    np.testing.assert_array_equal(read(profile.path), first)
    sink.publish()
    sink.abort()
    np.testing.assert_array_equal(read(profile.path), first + 1)
    assert left(tmp_path) == all_of(kind)


def test_abort_leaves_the_folder_as_it_was(tmp_path, kind):
    profile = output_of(tmp_path, kind, overwrite=True)
    array = noise(profile)
    save(profile, array)
    for prepared in (False, True):
        sink = Written(open_sink(profile))
        write_all(sink, array + 1)
        if prepared:
            sink.prepare()
        sink.abort()
        sink.abort()
        assert left(tmp_path) == all_of(kind)
        np.testing.assert_array_equal(read(profile.path), array)
    with pytest.raises(SinkError, match="published or aborted"):
        sink.publish()


def test_a_commit_that_fails_leaves_the_old_output(tmp_path, kind, monkeypatch):
    profile = output_of(tmp_path, kind, overwrite=True)
    array = noise(profile)
    save(profile, array)
    sink = Written(open_sink(profile))
    write_all(sink, array + 1)
    sink.prepare()
    owner, rename = {"vrt": (Path, "replace"), "zarr": (publishing, "rename_new")}[kind]
    own = getattr(owner, rename)

    def fails(old, new):
        if ".finished" in old.name and old.suffix in {".vrt", ".zarr"}:
            raise OSError("no luck")
        return own(old, new)

    monkeypatch.setattr(owner, rename, fails)
    with pytest.raises(SinkError, match="cannot be completed: no luck"):
        sink.publish()
    monkeypatch.undo()
    sink.abort()
    assert left(tmp_path) == all_of(kind)
    np.testing.assert_array_equal(read(profile.path), array)


def test_blocks_are_written_once_and_all(tmp_path, kind):
    profile = output_of(tmp_path, kind)
    sink = Written(open_sink(profile))
    cells = np.zeros((1, 32, 64), np.float32)
    sink.write(Window(0, 0, 32, 64), cells)
    with pytest.raises(SinkError, match="block row 0, block col 0 has been written already"):
        sink.write(Window(0, 0, 32, 64), cells)
    with pytest.raises(SinkError, match="cuts blocks of 32 x 64"):
        sink.write(Window(32, 64, 16, 64), cells[:, :16])
    with pytest.raises(SinkError, match="block row 0, block col 1 was never written"):
        sink.publish()
    sink.abort()
    assert left(tmp_path) == set()


def test_sparse_outputs_are_whole(tmp_path, kind):
    profile = output_of(tmp_path, kind, options={**BLOCKS, "SPARSE_OK": "TRUE"}, nodata=7.0)
    sink = Written(open_sink(profile))
    sink.write(Window(32, 64, 32, 64), np.ones((1, 32, 64), np.float32))
    sink.publish()
    array = read(profile.path)
    assert (array[0, 32:64, 64:128] == 1).all()
    assert (array == 7).sum() == array.size - 32 * 64


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    profile = output_of(tmp_path / "real", "vrt", path=str(tmp_path / "real" / "file.vrt"))
    array = noise(profile)
    save(profile, array)
    (tmp_path / "out.vrt").symlink_to(tmp_path / "real" / "file.vrt")
    save(replace(profile, path=str(tmp_path / "out.vrt"), overwrite=True), array + 1)
    assert (tmp_path / "out.vrt").is_symlink()
    assert names(tmp_path / "real") == ["file.tiles", "file.vrt"]
    np.testing.assert_array_equal(read(str(tmp_path / "out.vrt")), array + 1)


def test_what_is_not_tilejits_is_not_replaced(tmp_path, kind):
    folder = tmp_path / ("out.tiles" if kind == "vrt" else "out.zarr")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(SinkError, match=r"holds thesis\.txt, which is no part"):
        open_sink(output_of(tmp_path, kind, overwrite=True))
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_wrong_targets_are_refused(tmp_path, kind):
    (tmp_path / "out.tiles").write_text("a file")
    (tmp_path / "folder.vrt").mkdir()
    (tmp_path / "file.zarr").write_text("a file")
    cases = [(f"nowhere/out.{kind}", "nowhere does not exist")]
    cases += [("out.vrt", "which is a file"), ("folder.vrt", "is a folder")] if kind == "vrt" else []
    cases += [("file.zarr", "is a file, and a Zarr output is a folder")] if kind == "zarr" else []
    for name, message in cases:
        with pytest.raises(SinkError, match=message):
            checked_target(output_of(tmp_path, kind, path=str(tmp_path / name), overwrite=True))
    with pytest.raises(SinkError, match="local files"):
        checked_target(output_of(tmp_path, kind, path=f"s3://bucket/out.{kind}"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": np.dtype(np.complex64)}, "not complex64"),
        ({"dtype": np.dtype(np.uint8), "nodata": -1}, "no uint8 equals the nodata value -1"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path, kind, changes, message):
    with pytest.raises(SinkError, match=message):
        open_sink(output_of(tmp_path, kind, **changes))
    assert left(tmp_path) == set()


def test_a_crs_that_gdal_does_not_take_is_refused_at_once(tmp_path):
    with pytest.raises(SinkError, match=r"^\S+/out\.vrt: cannot be created: ") as error:
        open_sink(output_of(tmp_path, "vrt", grid=replace(GRID, crs="nonsense")))
    assert ".tmp" not in str(error.value)
    assert left(tmp_path) == set()


@needs_zarr
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"COMPRESS": "LZW"}, "COMPRESS=LZW; Zarr outputs take NONE, ZSTD, GZIP, BLOSC"),
        ({"PREDICTOR": "2"}, "PREDICTOR is no creation option of this Zarr output: there are BLOCKXSIZE"),
        ({"ZSTD_LEVEL": "99"}, "ZSTD_LEVEL is -7 to 22, not 99"),
        ({"ZSTD_LEVEL": "fast"}, "ZSTD_LEVEL is a number, not FAST"),
        ({"BLOCKXSIZE": "0"}, "BLOCKXSIZE is a number of cells"),
        ({"INTERLEAVE": "PIXEL"}, "each band is an array of its own"),
    ],
)
def test_wrong_options_of_zarr_are_refused(tmp_path, options, message):
    with pytest.raises(SinkError, match=message):
        open_sink(output_of(tmp_path, "zarr", options=options))
    assert left(tmp_path) == set()


def test_zarr_that_is_not_installed_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(SinkError, match=r"pip install 'tilejit\[zarr\]'"):
        checked_target(output_of(tmp_path, "zarr"))


def test_an_unwritable_folder_is_refused(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SinkError, match="cannot be written to"):
        open_sink(output_of(tmp_path, kind))


@pytest.mark.parametrize("megabytes", [1, 8, 15])
def test_a_full_disk_is_noticed(tmp_path, kind, megabytes):
    disk = tmp_path / "disk"
    disk.mkdir()
    bits = np.random.default_rng(1).integers(0, 2**32, (1, 2048, 2048), np.uint32)
    with small_disk(disk, megabytes):
        profile = output_of(disk, kind, grid=Grid(2048, 2048), dtype=bits.dtype, options={})
        sink = Written(open_sink(profile))
        with pytest.raises(SinkError, match=rf"out\.{kind}: .*bytes left: free some") as error:
            _write_and_commit(sink, bits)
        assert ".tmp" not in str(error.value).partition("bytes left")[0]
        sink.abort()
        assert left(disk) == set()


def test_a_disk_that_has_gone_read_only_is_told(tmp_path, kind):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 8):
        sink = Written(open_sink(output_of(disk, kind)))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(SinkError, match=r"(?i)read-only file system"):
            _write_and_abort(sink)


def _write_and_abort(sink):
    try:
        _write_and_commit(sink, noise(sink._profile))
    except BaseException:
        sink.abort()
        raise


@needs_zarr
def test_a_worker_that_writes_when_its_run_is_over_leaves_nothing(tmp_path):
    profile = output_of(tmp_path, "zarr")
    sink = Written(open_sink(profile))
    worker = sink.opener(local=True)()
    sink.abort()
    with pytest.raises(SinkError, match="its run has ended"):
        worker.write(Window(0, 0, 32, 64), np.ones((1, 32, 64), np.float32))
    assert left(tmp_path) == set()


@needs_zarr
def test_a_chunk_that_cannot_be_written_leaves_none_of_its_neighbours(tmp_path, monkeypatch):
    """zarr writes many at once, and does not wait for those that go on where one fails."""
    own_set, after = zarr.storage.LocalStore.set, threading.Event()

    async def one_fails(self, key, value, **options):
        if key.endswith("c/0/0"):
            raise OSError(28, "No space left on device")
        await asyncio.sleep(0.2)
        await own_set(self, key, value, **options)
        after.set()

    sink = Written(open_sink(output_of(tmp_path, "zarr")))
    monkeypatch.setattr(zarr.storage.LocalStore, "set", one_fails)
    with pytest.raises(SinkError, match="No space left"):
        sink.write(Window(0, 0, 32, 128), np.ones((1, 32, 128), np.float32))
    assert after.is_set()
    sink.abort()
    assert left(tmp_path) == set()


def _write_and_commit(sink, array):
    write_all(sink, array)
    sink.publish()


def test_nothing_follows_a_failed_write(tmp_path, kind, monkeypatch):
    sink = Written(open_sink(output_of(tmp_path, kind)))

    def fails(*_):
        raise OSError("no luck")

    monkeypatch.setattr(sink.opened(), "_put", fails)
    cells = np.zeros((1, 32, 64), np.float32)
    with pytest.raises(SinkError, match=rf"out\.{kind}: cannot write rows 0:32, cols 0:64: no luck"):
        sink.write(Window(0, 0, 32, 64), cells)
    for again in (lambda: sink.write(Window(32, 64, 32, 64), cells), sink.publish):
        with pytest.raises(SinkError, match="an earlier write failed"):
            again()
    sink.abort()
    assert left(tmp_path) == set()


def test_ctrl_c_leaves_nothing(tmp_path, kind):
    dem = tj.from_array(np.random.default_rng(1).random((300, 200), np.float32), grid=GRID)

    def interrupt(*_):
        raise KeyboardInterrupt

    sink = Written(open_sink(output_of(tmp_path, kind)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilejit.raster.running.open_sink", lambda *_: sink.sink)
        patch.setattr(type(sink.opened()), "_put", interrupt)
        with pytest.raises(KeyboardInterrupt):
            dem.save(tmp_path / f"other.{kind}", progress=False)
    assert left(tmp_path) == set()


@pytest.mark.parametrize("local", [True, False])
def test_writeres_write_what_the_driver_takes(tmp_path, kind, local):
    profile = output_of(tmp_path, kind, nodata=-1.0, count=2)
    array = noise(profile)
    sink = Written(open_sink(profile))
    opener = pickle.dumps(sink.opener(local=local))
    assert len(opener) < 4000
    parts = list(tiles(300, 200, 64, 128))
    for part in parts:
        writer = pickle.loads(opener)()  # noqa: S301 - our own bytes
        for window in tiles(part.height, part.width, 32, 64):
            place = window.shifted(part.row_off, part.col_off)
            writer.write(place, array[:, *place.slices(Window(0, 0, 300, 200))])
        sink.merge(json.loads(json.dumps(writer.finish())))
    sink.publish()
    np.testing.assert_array_equal(read(profile.path), array)


def test_a_part_that_failed_half_way_is_written_again(tmp_path, kind):
    profile = output_of(tmp_path, kind)
    array = noise(profile)
    sink = Written(open_sink(profile))
    half = sink.opener(local=True)()
    half.write(Window(0, 0, 64, 64), array[:, :64, :64] + 5)
    half.finish()
    whole = sink.opener(local=True)()
    write_all(whole, array, (32, 64))
    manifest = whole.finish()
    sink.merge(manifest)
    with pytest.raises(SinkError, match="has been written already"):
        sink.merge(manifest)
    sink.publish()
    np.testing.assert_array_equal(read(profile.path), array)
    if kind == "vrt":
        assert set(names(tmp_path / "out.tiles")) == set(manifest["names"])


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path, kind):
    sink = Written(open_sink(output_of(tmp_path, kind)))
    opener = sink.opener(local=False)
    sink.abort()
    with pytest.raises(SinkError, match=r"is process \d+ on .* does not see the folder"):
        opener()


_WORKER = """
import json, pickle, sys
import numpy as np
from tilejit.window import Window, tiles
opener, cells, row = sys.argv[1:]
writer = pickle.load(open(opener, "rb"))()
array = np.load(cells)
for w in tiles(128, array.shape[2], 32, 64):
    writer.write(w.shifted(int(row), 0), array[:, int(row):int(row) + 128][:, *w.slices(Window(0, 0, 128, 999))])
print(json.dumps(writer.finish()))
"""


def test_processes_write_one_output(tmp_path, kind):
    array = np.random.default_rng(1).random((1, 256, 200), np.float32)
    np.save(tmp_path / "cells.npy", array)
    (tmp_path / "out").mkdir()
    profile = output_of(tmp_path / "out", kind, grid=replace(GRID, height=256))
    sink = Written(open_sink(profile))
    (tmp_path / "opener").write_bytes(pickle.dumps(sink.opener(local=True)))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, tmp_path / "opener", tmp_path / "cells.npy", row],
            stdout=subprocess.PIPE, text=True,
        )
        for row in ("0", "128")
    ]  # fmt: skip
    for worker in workers:
        sink.merge(json.loads(worker.communicate()[0]))
    sink.publish()
    np.testing.assert_array_equal(read(profile.path), array)


def test_a_raster_is_saved_and_its_plan_says_how(tmp_path, kind):
    dem = tj.from_array(np.random.default_rng(1).random((300, 200), np.float32), grid=GRID)
    path = tmp_path / f"out.{kind}"
    plan = str(dem.plan(path))
    expected = "GeoTIFF shards for .vrt, blocks written directly" if kind == "vrt" else "Zarr v3 chunks for .zarr"
    assert expected in plan
    report = dem.save(path, progress=False)
    assert report.output_bytes == stored_bytes(str(path)) > 10_000
    np.testing.assert_array_equal(read(str(path)), dem.compute())


def test_an_input_is_no_output(tmp_path):
    profile = output_of(tmp_path, "vrt")
    save(profile, noise(profile))
    shard = tj.open(tmp_path / "out.tiles" / names(tmp_path / "out.tiles")[0])
    with pytest.raises(SinkError, match="is an input and would be written"):
        shard.save(profile.path, overwrite=True, progress=False)
    with pytest.raises(SinkError, match="is an input and would be written"):
        tj.open(profile.path).save(profile.path, overwrite=True, progress=False)


def test_places():
    assert [str(p) for p in places_of("a/b.vrt")] == ["a/b.vrt", "a/b.tiles"]
    with pytest.raises(SinkError, match=r"a VRT of GeoTIFF shards \(\.vrt\), Zarr \(\.zarr\)"):
        storage_at("out.nc", np.dtype("f4"), (1, 1), 1, {})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_process_leaves_the_old_output(tmp_path, kind, number):
    profile = output_of(tmp_path, kind)
    array = noise(profile)
    save(profile, array)
    script = tmp_path / "run.py"
    script.write_text(SLOW_RUN)
    process = subprocess.Popen(
        [sys.executable, script, profile.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "starts\n"
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0, error
    np.testing.assert_array_equal(read(profile.path), array)
    if number is signal.SIGINT:
        assert error.rstrip().endswith("KeyboardInterrupt")
        assert left(tmp_path) == {*all_of(kind), "run.py"}


def test_its_run_time_can_be_predicted(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "cache"))
    dem = tj.from_array(np.random.default_rng(1).random((300, 200), np.float32), grid=GRID)
    assert dem.predict(tmp_path / f"out.{kind}").seconds > 0
    assert left(tmp_path) <= {"cache"}
