"""Shards put together into one file."""

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from test_folder_sinks import BLOCKS, left, output_of, save
from test_sink import GRID, TRANSFORM, UTM, names, noise, small_disk

import tilejit as tj
from sinks_for_tests import Written
from tilejit.cli import main
from tilejit.errors import SinkError, SourceError
from tilejit.formats.folders import shards
from tilejit.formats.registry import open_sink
from tilejit.formats.sink import OutputProfile
from tilejit.grid import Grid, Metric
from tilejit.window import Window, tiles

pytestmark = pytest.mark.slow

COPIED = "blocks copied as they are"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """So that a test's raster is several of them."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)


def shards_in(tmp_path, **changes):
    """An output of shards, and its cells."""
    profile = output_of(tmp_path, "vrt", **changes)
    array = noise(profile)
    save(profile, array)
    return profile, array


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


def first_shard(profile):
    folder = Path(profile.path).with_suffix(".tiles")
    return folder / names(folder)[0]


def rewrite(file, **changes):
    """Writes a file again with another profile."""
    with rasterio.open(file) as dataset:
        array, profile = dataset.read(), dataset.profile | changes
        described = dataset.descriptions
    with rasterio.open(file, "w", **profile) as dataset:
        dataset.write(array.astype(profile["dtype"]))
        dataset.descriptions = described


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"COMPRESS": "NONE"},
        {"COMPRESS": "DEFLATE", "ZLEVEL": "9"},
        {"COMPRESS": "LZW", "INTERLEAVE": "PIXEL"},
        {"BIGTIFF": "YES", "PHOTOMETRIC": "RGB"},
        {"SPARSE_OK": "TRUE"},
    ],
)
def test_blocks_are_copied(tmp_path, options, monkeypatch):
    metadata = {"nodata": 7, "descriptions": ("a", None, "c"), "units": ("m", "", "K")}
    profile = output_of(tmp_path, "vrt", count=3, dtype=np.dtype(np.uint16), options=BLOCKS | options, **metadata)
    array = noise(profile)
    array[:, :100, :100] = 7
    save(profile, array)
    plain = replace(profile, path=str(tmp_path / "plain.tif"))
    save(plain, array)
    monkeypatch.setattr("tilejit.raster.merging.open_raster", None)
    merged = tj.merge(profile.path, tmp_path / "out.tif")
    assert merged.how == COPIED
    assert merged.shards == len(names(tmp_path / "out.tiles")) > 5
    assert merged.output_bytes == (tmp_path / "out.tif").stat().st_size
    assert left(tmp_path) == {"out.vrt", "out.tiles", "out.tif", "plain.tif"}
    with rasterio.open(tmp_path / "out.tif") as ours, rasterio.open(plain.path) as theirs:
        assert ours.profile == theirs.profile
        assert ours.tags() == theirs.tags()
        assert ours.tags(ns="IMAGE_STRUCTURE") == theirs.tags(ns="IMAGE_STRUCTURE")
        assert (ours.descriptions, ours.units) == (theirs.descriptions, theirs.units)
        assert ours.colorinterp == theirs.colorinterp
        np.testing.assert_array_equal(ours.read(), array)
    np.testing.assert_array_equal(tj.open(tmp_path / "out.tif").compute(), tj.open(plain.path).compute())


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 130), st.integers(1, 130)),
    blocks=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    tiled=st.booleans(),
    seed=st.randoms(use_true_random=False),
)
def test_any_shards_merge_into_what_they_hold(shape, blocks, tiled, seed):
    count, height, width = shape
    array = np.random.default_rng(1).integers(0, 99, shape).astype(np.int16)
    options = {"BLOCKYSIZE": str(16 * blocks[0])}
    options |= {"BLOCKXSIZE": str(16 * blocks[1])} if tiled else {"TILED": "NO"}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", 3_000)
        vrt, merged = (str(Path(folder, f"out.{end}")) for end in ("vrt", "tif"))
        grid = Grid(height, width, TRANSFORM, UTM)
        sink = Written(open_sink(OutputProfile(path=vrt, grid=grid, count=count, dtype=array.dtype, options=options)))
        windows = list(tiles(height, width, *sink.block))
        seed.shuffle(windows)
        for window in windows:
            sink.write(window, array[:, *window.slices(Window(0, 0, height, width))])
        sink.publish()
        assert tj.merge(vrt, merged).how == COPIED
        np.testing.assert_array_equal(read(merged), array)
        np.testing.assert_array_equal(tj.open(merged).compute(), array)


@pytest.mark.parametrize(
    ("options", "asked", "reason"),
    [
        (BLOCKS, {"compress": "deflate"}, "COMPRESS=deflate is asked for"),
        (BLOCKS, {"blockxsize": 128}, "BLOCKXSIZE=128 is asked for"),
        (BLOCKS, {"zstd_level": 9}, "ZSTD_LEVEL=9 is asked for"),
        ({**BLOCKS, "COMPRESS": "LERC"}, {}, "its blocks are LERC"),
        ({**BLOCKS, "ENDIANNESS": "BIG"}, {}, "the other byte order"),
    ],
)
def test_blocks_are_decoded_where_they_must_be(tmp_path, options, asked, reason):
    profile, array = shards_in(tmp_path, options=options, count=2, nodata=-1.0, descriptions=("a", "b"))
    merged = tj.merge(profile.path, tmp_path / "out.tif", profile=asked)
    assert reason in merged.how
    with rasterio.open(tmp_path / "out.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert dataset.nodata == -1
        assert dataset.descriptions == ("a", "b")
        assert dataset.compression.name.lower() == asked.get("compress", options.get("COMPRESS", "zstd")).lower()


def test_shards_keep_a_crs_that_lies_beside_them(tmp_path):
    crs = CRS.from_user_input("ESRI:54035").to_wkt()
    profile, array = shards_in(tmp_path, grid=replace(GRID, crs=crs, metric=Metric()))
    tj.merge(profile.path, tmp_path / "merged.tif")
    np.testing.assert_array_equal(read(tmp_path / "merged.tif"), array)
    with rasterio.open(tmp_path / "merged.tif") as dataset:
        assert dataset.crs == CRS.from_wkt(crs)
    assert {path.name for path in tmp_path.iterdir()} == {
        "out.vrt", "out.tiles", "merged.tif", "merged.tif.aux.xml"
    }  # fmt: skip
    save(replace(profile, overwrite=True), array)  # they are its own, and are replaced


def test_shards_that_begin_within_a_block_are_decoded(tmp_path):
    vrt = gdals_own(tmp_path, [(0, 40), (40, 50)])
    merged = tj.merge(vrt, tmp_path / "out.tif")
    assert "within a block" in merged.how
    np.testing.assert_array_equal(read(tmp_path / "out.tif")[0], np.repeat(np.arange(90), 64).reshape(90, 64))


def gdals_own(tmp_path, parts, **changes):
    """A VRT by gdalbuildvrt of parts of a raster, given as first rows and heights."""
    whole = Grid(max(row + height for row, height in parts), 64, TRANSFORM, UTM)
    files = []
    for row, height in parts:
        grid = whole.part(Window(row, 0, height, 64))
        files.append(tmp_path / f"part{len(files)}.tif")
        options = {"driver": "GTiff", "height": height, "width": 64, "count": 1, "dtype": "int16", "crs": UTM}
        options |= {"tiled": True, "blockxsize": 16, "blockysize": 16, "transform": rasterio.Affine(*grid.transform)}
        with rasterio.open(files[-1], "w", **options | changes) as dataset:
            dataset.write(np.repeat(np.arange(row, row + height), 64).reshape(1, height, 64))
    try:
        subprocess.run(["gdalbuildvrt", "-q", tmp_path / "parts.vrt", *files], check=True)
    except FileNotFoundError:
        pytest.skip("gdalbuildvrt is not installed")
    return tmp_path / "parts.vrt"


def test_gdals_own_vrt_of_plain_files_is_merged(tmp_path):
    vrt = gdals_own(tmp_path, [(0, 32), (32, 16)])
    assert tj.merge(vrt, tmp_path / "out.tif").how == COPIED
    np.testing.assert_array_equal(read(tmp_path / "out.tif")[0], np.repeat(np.arange(48), 64).reshape(48, 64))


def test_overlaps_and_holes_are_refused(tmp_path):
    with pytest.raises(SourceError, match=r"part0\.tif and \S+part1\.tif overlap at rows 16:32, cols 0:64"):
        tj.merge(gdals_own(tmp_path, [(0, 32), (16, 32)]), tmp_path / "out.tif")
    with pytest.raises(SourceError, match="no shard holds rows 16:32, cols 0:64, and there is no nodata value"):
        tj.merge(gdals_own(tmp_path, [(0, 16), (32, 16)]), tmp_path / "out.tif")
    with pytest.raises(SourceError, match="not made of plain copies"):
        tj.merge(gdals_own(tmp_path, [(0, 16), (16, 16)], nodata=3), tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_holes_become_nodata(tmp_path):
    profile = output_of(tmp_path, "vrt", options={**BLOCKS, "SPARSE_OK": "TRUE"}, nodata=7.0)
    sink = Written(open_sink(profile))
    sink.write(Window(32, 64, 32, 64), np.ones((1, 32, 64), np.float32))
    sink.publish()
    assert tj.merge(profile.path, tmp_path / "out.tif").how == COPIED
    np.testing.assert_array_equal(read(tmp_path / "out.tif"), read(profile.path))
    np.testing.assert_array_equal(tj.open(tmp_path / "out.tif").compute(), tj.open(profile.path).compute())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float64"}, r"their dtypes: \S+ has \['float64'\], and \S+ has \['float32'\]"),
        ({"nodata": 5}, r"nodata values: \S+ has \['5\.0'\], and \S+ has \['-1\.0'\]"),
        ({"compress": "lzw"}, "way of storing blocks: .*LZW.*ZSTD"),
        (
            {"transform": rasterio.Affine(30, 0, 0, 0, -30, 0)},
            "does not lie where it is shown, at rows 0:.*transform: ",
        ),
        ({"crs": "EPSG:32631"}, "CRS: .*32630.*32631"),
    ],
)
def test_shards_that_differ_are_refused_with_both_values(tmp_path, changes, message):
    profile, _ = shards_in(tmp_path, nodata=-1.0)
    rewrite(first_shard(profile), **changes)
    with pytest.raises(SourceError, match=message):
        tj.merge(profile.path, tmp_path / "out.tif")


def test_a_missing_shard_and_a_broken_one_are_named(tmp_path):
    profile, _ = shards_in(tmp_path)
    file = first_shard(profile)
    os.truncate(file, file.stat().st_size - 10)
    with pytest.raises(
        SinkError, match=rf"out\.tif: cannot be completed: \S+{file.name}: block \d+ should have \d+ bytes"
    ):
        tj.merge(profile.path, tmp_path / "out.tif")
    file.unlink()
    with pytest.raises(SourceError, match=file.name):
        tj.merge(profile.path, tmp_path / "out.tif")
    assert left(tmp_path) == {"out.vrt", "out.tiles"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<VRTDataset", "cannot be read as a VRT"),
        ("<GDAL/>", "is no VRT of shards, but GDAL"),
        ('<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>', "holds no shard"),
    ],
)  # fmt: skip
def test_what_is_no_vrt_of_shards_is_refused(tmp_path, text, message):
    (tmp_path / "a.vrt").write_text(text)
    with pytest.raises(SourceError, match=message):
        tj.merge(tmp_path / "a.vrt", tmp_path / "out.tif")
    with pytest.raises(SourceError, match="cannot be read as a VRT"):
        tj.merge(tmp_path / "nowhere.vrt", tmp_path / "out.tif")


def test_the_output_is_no_shard_and_no_other_format(tmp_path):
    profile, array = shards_in(tmp_path)
    with pytest.raises(SinkError, match="is an input and would be written"):
        tj.merge(profile.path, first_shard(profile), overwrite=True)
    with pytest.raises(SinkError, match=r"ends in \.tif"):
        tj.merge(profile.path, tmp_path / "out.zarr")
    (tmp_path / "out.tif").write_text("old")
    with pytest.raises(SinkError, match="exists already"):
        tj.merge(profile.path, tmp_path / "out.tif")
    tj.merge(profile.path, tmp_path / "out.tif", overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "out.tif"), array)


@pytest.mark.parametrize("stage", ["copy", "finish"])
def test_ctrl_c_leaves_nothing(tmp_path, monkeypatch, stage):
    profile, _ = shards_in(tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    if stage == "copy":
        monkeypatch.setattr("tilejit.raster.merging.CachedAppendFile.append", interrupt)
    else:
        monkeypatch.setattr("tilejit.formats.output.sync_path", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tj.merge(profile.path, tmp_path / "out.tif")
    assert left(tmp_path) == {"out.vrt", "out.tiles"}


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("megabytes", [1, 8])
def test_a_full_disk_is_noticed(tmp_path, megabytes, cog):
    bits = np.random.default_rng(1).integers(0, 2**32, (1, 2048, 2048), np.uint32)
    profile = output_of(tmp_path, "vrt", grid=replace(GRID, height=2048, width=2048), dtype=bits.dtype, options={})
    save(profile, bits)
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, megabytes):
        with pytest.raises(SinkError, match=r"out\.tif: cannot be .*bytes left: free some"):
            tj.merge(profile.path, disk / "out.tif", cog=cog)
        assert left(disk) == set()


def test_a_cog(tmp_path):
    cogeo = pytest.importorskip("rio_cogeo.cogeo")
    profile, array = shards_in(
        tmp_path, grid=replace(GRID, height=1100, width=900), nodata=-1.0, descriptions=("slope",), units=("degree",)
    )
    merged = tj.merge(profile.path, tmp_path / "out.tif", cog=True)
    assert "COG" in merged.how
    valid, errors, _ = cogeo.cog_validate(tmp_path / "out.tif", quiet=True, strict=True)
    assert valid, errors
    with rasterio.open(tmp_path / "out.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), array)
        assert (dataset.descriptions, dataset.units, dataset.nodata) == (("slope",), ("degree",), -1)
        assert dataset.compression.name == "zstd"
        assert dataset.overviews(1) == [2, 4]
        assert dataset.crs == rasterio.crs.CRS.from_epsg(32630)
    assert left(tmp_path) == {"out.vrt", "out.tiles", "out.tif"}
    with pytest.raises(SinkError, match="NONSENSE"):
        tj.merge(profile.path, tmp_path / "other.tif", cog=True, profile={"nonsense": 1})
    assert left(tmp_path) == {"out.vrt", "out.tiles", "out.tif"}


def test_a_cogs_level_has_each_of_its_names(tmp_path):
    profile, _ = shards_in(tmp_path)

    def cog(**options):
        tj.merge(profile.path, tmp_path / "cog.tif", cog=True, profile=options, overwrite=True)
        return (tmp_path / "cog.tif").read_bytes()

    assert cog(zstd_level="auto") == cog(level=1) != cog(zstd_level=19) == cog(level=19)
    assert cog(compress="deflate", zlevel=9) == cog(compress="deflate", level=9) != cog(compress="deflate", zlevel=1)


def test_the_command(tmp_path, capsys):
    profile, array = shards_in(tmp_path)
    assert main(["merge", profile.path, "-o", str(tmp_path / "out.tif")]) == 0
    assert "shards, blocks copied as they are" in capsys.readouterr().out
    assert main(["merge", profile.path, "-o", str(tmp_path / "out.tif")]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (
        main(["merge", profile.path, "-o", str(tmp_path / "out.tif"), "--overwrite", "-q", "--profile", "compress=lzw"])
        == 0
    )
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(read(tmp_path / "out.tif"), array)


def test_a_real_raster(tmp_path):
    data = Path(os.environ.get("TILEJIT_TEST_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
    found = sorted((data / "dem").glob("*.tif"))
    if not found:
        pytest.skip("real rasters are not here: set TILEJIT_TEST_DATA")
    dem = tj.open(found[0], band=1)
    dem.save(tmp_path / "plain.tif", progress=False)
    dem.save(tmp_path / "out.vrt", progress=False)
    assert tj.merge(tmp_path / "out.vrt", tmp_path / "out.tif", progress=False).how == COPIED
    with rasterio.open(tmp_path / "plain.tif") as plain, rasterio.open(tmp_path / "out.tif") as ours:
        assert ours.profile == plain.profile
        np.testing.assert_array_equal(ours.read(), plain.read())
