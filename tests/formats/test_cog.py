"""COGs: laid out as GDAL's COG driver does, with the overviews that GDAL makes, whole or not there at all."""

import errno
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.enums import Resampling

import tilejit as tj
from tilejit.cli import main
from tilejit.errors import ParameterError, SinkError
from tilejit.formats.geotiff import cog
from tilejit.formats.geotiff.overviews import Halving
from tilejit.formats.registry import open_sink
from tilejit.formats.sink import OutputProfile, opener_of
from tilejit.grid import Grid
from tilejit.window import Window

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SMALL = {"blockxsize": 32, "blockysize": 16}
WAYS = {"AVERAGE": Resampling.average, "MODE": Resampling.mode, "NEAREST": Resampling.nearest}
UTM = rasterio.crs.CRS.from_epsg(32630).to_wkt()
PLACE = (30.0, 0.0, 500_000.0, 0.0, -30.0, 4_000_000.0)


def cells_of(shape, dtype, nodata=None):
    rng = np.random.default_rng(5)
    cells = (rng.normal(size=shape) * 30).astype(dtype) if np.dtype(dtype).kind == "f" else rng.integers(0, 99, shape)
    cells = cells.astype(dtype)
    if nodata is not None:
        cells[rng.random(shape) < 0.3] = nodata
        cells[..., 10:30, 20:50] = nodata
    return cells


def gdal_overviews(path, cells, nodata, way, levels):
    """What GDAL makes of the same cells."""
    count, rows, cols = cells.shape
    shape = {"count": count, "height": rows, "width": cols, "transform": rasterio.Affine(*PLACE)}
    with rasterio.open(path, "w", driver="GTiff", dtype=cells.dtype, nodata=nodata, tiled=True, **shape) as file:
        file.write(cells)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2 ** (k + 1) for k in range(levels)], WAYS[way])
    return [read(path, overview_level=k) for k in range(levels)]


def read(path, **how):
    with rasterio.open(path, **how) as file:
        return file.read()


@pytest.mark.parametrize(
    ("dtype", "nodata", "way"),
    [
        ("float32", np.nan, "AVERAGE"), ("float64", -7.0, "AVERAGE"), ("uint8", 7, "AVERAGE"), ("uint8", None, "AVERAGE"),
        ("int16", 7, "AVERAGE"), ("int32", None, "AVERAGE"), ("uint8", 7, "MODE"), ("int16", None, "MODE"),
        ("float32", np.nan, "NEAREST"), ("uint16", 7, "NEAREST"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(128, 96), (101, 77), (129, 130), (130, 129)])
def test_levels_are_gdals(tmp_path, dtype, nodata, way, shape):
    cells = cells_of((1, *shape), dtype, nodata)
    for theirs in gdal_overviews(tmp_path / "theirs.tif", cells, nodata, way, 2):
        halving = Halving(way, cells.shape[1:], cells.dtype, nodata)
        end = theirs.shape[1:]
        rows, cols = halving.covered((0, 0), end)
        cells = halving.make(np.ascontiguousarray(cells[:, rows, cols]), (0, 0), end)
        np.testing.assert_array_equal(cells, theirs)


def test_floats_without_nodata_are_gdals_but_for_the_last_bit(tmp_path):
    cells = cells_of((1, 128, 96), "float32") + 200
    halving = Halving("AVERAGE", (128, 96), cells.dtype, None)
    theirs = gdal_overviews(tmp_path / "theirs.tif", cells, None, "AVERAGE", 1)[0]
    np.testing.assert_array_max_ulp(halving.make(cells, (0, 0), (64, 48)), theirs, 1)


def check_layout(path):
    """Read the file as a client does: directories first, then blocks, the smallest level's first."""
    data = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        pages = [(page.offset, page.dataoffsets, page.databytecounts, page.tags) for page in tiff.pages]
        start = 16 if tiff.is_bigtiff else 8
    assert data[start:].startswith(b"GDAL_STRUCTURAL_METADATA_SIZE=000")
    said = data[start + 43 : start + 43 + int(data[start + 30 : start + 36])].decode()
    assert said.endswith("KNOWN_INCOMPATIBLE_EDITION=NO\n ")
    assert [offset for offset, *_ in pages] == sorted(offset for offset, *_ in pages)
    blocks = [
        block for _, offsets, counts, _ in reversed(pages) for block in zip(offsets, counts, strict=True) if block[1]
    ]
    assert blocks[0][0] > pages[-1][0]
    end = blocks[0][0] - 4
    for offset, size in blocks:
        assert offset == end + 4
        assert int.from_bytes(data[end:offset], "little") == size
        assert data[offset + size : offset + size + 4] == data[offset + size - 4 : offset + size]
        end = offset + size + 4
    assert end == len(data)
    assert [tags.valueof(254, 0) for *_, tags in pages] == [0] + [1] * (len(pages) - 1)
    return said


@pytest.mark.parametrize(
    ("dtype", "nodata", "count", "profile"),
    [
        ("float32", np.nan, 1, {}),
        ("float32", np.nan, 2, {"compress": "deflate", "bigtiff": "yes"}),
        ("uint8", 0, 3, {"photometric": "rgb", "compress": "lzw"}),
        ("int16", 7, 1, {"compress": "none", "overview_resampling": "mode", "sparse_ok": "true"}),
        ("int16", 7, 2, {"interleave": "band", "overview_resampling": "average"}),
    ],
)
@pytest.mark.parametrize("shape", [(101, 77), (128, 64)])
def test_a_cog_is_as_gdal_lays_it_out(tmp_path, dtype, nodata, count, profile, shape):  # noqa: PLR0917 - cases
    path, cells = tmp_path / "cog.tif", cells_of((count, *shape), dtype, nodata)
    raster = tj.from_array(cells, grid=Grid(*shape, PLACE, UTM), nodata=nodata)
    raster.save(path, cog=True, profile=SMALL | profile, nodata=nodata, workers=2)
    is_pixels = profile.get("interleave") != "band"
    assert ("BLOCK_ORDER=ROW_MAJOR" in check_layout(path)) == is_pixels
    np.testing.assert_array_equal(read(path), cells)
    way = profile.get("overview_resampling", "average" if dtype == "float32" else "nearest").upper()
    with rasterio.open(path) as file:
        levels = file.overviews(1)
        assert (file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG") == is_pixels
        assert (file.crs.to_epsg(), file.transform[:6], file.nodata) == (
            32630,
            PLACE,
            pytest.approx(nodata, nan_ok=True),
        )
    assert levels == [2, 4, 8]
    for k, theirs in enumerate(gdal_overviews(tmp_path / "theirs.tif", cells, nodata, way, len(levels))):
        np.testing.assert_array_equal(read(path, overview_level=k), theirs)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cog.tif", "theirs.tif"]


def test_the_directory_of_the_raster_is_that_of_the_plain_file(tmp_path):
    raster = tj.from_array(cells_of((1, 60, 50), "float32", np.nan), grid=Grid(60, 50, PLACE, UTM))
    raster.save(tmp_path / "cog.tif", cog=True, profile=SMALL)
    raster.save(tmp_path / "plain.tif", profile=SMALL)
    found = []
    for name in ("cog.tif", "plain.tif"):
        with tifffile.TiffFile(tmp_path / name) as tiff:
            found.append({tag.code: tag.value for tag in tiff.pages.first.tags if tag.code not in {324, 325}})
    assert found[0] == found[1]


def test_rio_cogeo_finds_nothing_to_say(tmp_path):
    validate = pytest.importorskip("rio_cogeo.cogeo").cog_validate
    tj.from_array(cells_of((1, 600, 700), "float32", np.nan)).save(tmp_path / "cog.tif", cog=True, profile=SMALL)
    assert validate(str(tmp_path / "cog.tif"), strict=True) == (True, [], [])


def test_a_raster_of_one_block_has_no_overviews(tmp_path):
    tj.from_array(cells_of((1, 30, 20), "uint8")).save(tmp_path / "cog.tif", cog=True)
    check_layout(tmp_path / "cog.tif")
    with rasterio.open(tmp_path / "cog.tif") as file:
        assert file.overviews(1) == []


@pytest.mark.parametrize("local", [True, False])
def test_workers_elsewhere_write_the_same_file(tmp_path, local):
    cells, grid = cells_of((1, 101, 77), "float32", np.nan), Grid(101, 77, PLACE)
    profile = OutputProfile(
        path=str(tmp_path / "there.tif"), grid=grid, count=1, dtype=np.dtype(np.float32), nodata=np.nan,
        options={"COG": "YES", "BLOCKXSIZE": "32", "BLOCKYSIZE": "16"},
    )  # fmt: skip
    sink = open_sink(profile, threads=2)
    for window in (Window(0, 0, 48, 77), Window(48, 0, 53, 77)):
        writer = opener_of(sink, local=local)()
        writer.write(window, cells[:, *window.slices(Window(0, 0, 101, 77))])
        sink.merge(writer.finish())
    sink.prepare()
    sink.publish()
    here = open_sink(replace(profile, path=str(tmp_path / "here.tif")))
    writer = here.writer()
    writer.write(Window(0, 0, 101, 77), cells)
    here.merge(writer.finish())
    here.prepare()
    here.publish()
    assert (tmp_path / "there.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()


@pytest.fixture
def dem(tmp_path):
    path = tmp_path / "dem.tif"
    tj.from_array(cells_of((1, 101, 77), "float32", np.nan), grid=Grid(101, 77, PLACE)).save(path)
    return path


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["_cells", "_copy"])
def test_a_full_disk_and_ctrl_c_leave_nothing(tmp_path, dem, monkeypatch, stop, place):
    def fail(*_):
        raise stop

    monkeypatch.setattr(cog, place, fail)
    with pytest.raises(SinkError if isinstance(stop, OSError) else KeyboardInterrupt):
        tj.open(dem).save(tmp_path / "cog.tif", cog=True, profile=SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["dem.tif"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_ended_while_the_cog_was_made_is_gone_on_with(tmp_path, dem, monkeypatch, when):
    make_cog = cog.make_cog

    def fail(*arguments):
        if when == "after":
            make_cog(*arguments)
        raise OSError("pulled the plug")

    how = {"cog": True, "profile": SMALL, "resume": True}
    with monkeypatch.context() as patch:
        patch.setattr(cog, "make_cog", fail)
        with pytest.raises(SinkError, match="pulled the plug"):
            tj.open(dem).save(tmp_path / "cog.tif", **how)
    assert len(list(tmp_path.iterdir())) == 3
    report = tj.open(dem).save(tmp_path / "cog.tif", **how)
    assert report.resumed == 101 * 77
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cog.tif", "dem.tif"]
    check_layout(tmp_path / "cog.tif")
    np.testing.assert_array_equal(read(tmp_path / "cog.tif"), read(dem))


@pytest.mark.parametrize(
    ("name", "profile", "said"),
    [
        ("out.zarr", {}, "cog=True makes a GeoTIFF"),
        ("out.vrt", {}, "cog=True makes a GeoTIFF"),
        ("out.tif", {"tiled": "no"}, "a COG is tiled"),
        ("out.tif", {"compress": "lerc"}, "through GDAL: COMPRESS=LERC"),
        ("out.tif", {"blockxsize": 100}, "multiple"),
        ("out.tif", {"overview_resampling": "cubic"}, "AVERAGE, MODE, NEAREST, not CUBIC"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, name, profile, said):
    raster = tj.from_array(np.zeros((40, 40), np.float32))
    with pytest.raises((SinkError, ParameterError), match=said):
        raster.save(tmp_path / name, cog=True, profile=profile)
    assert not list(tmp_path.iterdir())


def test_a_way_to_make_overviews_wants_overviews(tmp_path):
    with pytest.raises(SinkError, match="give cog=True"):
        tj.from_array(np.zeros((4, 4))).save(tmp_path / "out.tif", profile={"overview_resampling": "mode"})


def test_the_command_line_writes_one(tmp_path, dem):
    assert main(["calc", "a * 2", f"a={dem}", "-o", str(tmp_path / "twice.tif"), "--cog", "-q"]) == 0
    check_layout(tmp_path / "twice.tif")
