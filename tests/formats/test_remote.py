"""Rasters over the network: which bytes are fetched, how many times a server is asked, and what is said when it fails."""

import ctypes
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from range_server import served
from rasterio.shutil import copy

import tilejit as tj
from tilejit.cli import main
from tilejit.engine.pipeline import journal
from tilejit.errors import ReadError, SinkError, SourceError
from tilejit.formats.gdal import remote
from tilejit.formats.geotiff.block_source import BlockSource
from tilejit.formats.registry import open_source
from tilejit.formats.source import storage_of
from tilejit.window import Window
from tilejit_kernels.terrain import slope

SIDE = 1024
FAST = {"GDAL_HTTP_RETRY_DELAY": "0.001", "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}


@pytest.fixture(scope="module")
def cells():
    return np.cumsum(np.random.default_rng(3).normal(size=(SIDE, SIDE)), 1).astype(np.float32)


@pytest.fixture(scope="module")
def server(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(30, 0, 5e5, 0, -30, 5e6)}
    with rasterio.open(
        folder / "plain.tif", "w", driver="GTiff", dtype="float32", height=SIDE, width=SIDE, count=1, **place
    ) as file:
        file.write(cells, 1)
    copy(folder / "plain.tif", folder / "cog.tif", driver="COG", compress="DEFLATE", blocksize=128)
    copy(folder / "plain.tif", folder / "lerc.tif", driver="COG", compress="LERC", blocksize=512, overviews="NONE")
    with served({file.name: file.read_bytes() for file in folder.iterdir()}) as state:
        state.slopes = slope(tj.open(folder / "plain.tif")).compute(progress=False)
        yield state


@pytest.fixture(autouse=True)
def fast(server, monkeypatch):
    """What the test before has done to the server is forgotten, and tries follow at once."""
    server.forget()
    server.etags.clear()
    for name, value in FAST.items():
        monkeypatch.setenv(name, value)


def needed(server, name, window):
    """The bytes of the blocks of a window, by tifffile."""
    with tifffile.TiffFile(io.BytesIO(server.files[name])) as tiff:
        page = tiff.pages.first
        counts = np.reshape(page.databytecounts, (-1, -(-page.imagewidth // page.tilewidth)))
        rows, cols = window.slices(Window(0, 0, *page.shape))
        height, width = page.tilelength, page.tilewidth
    return counts[rows.start // height : -(-rows.stop // height), cols.start // width : -(-cols.stop // width)].sum()


def test_a_whole_cog_is_fetched_once_by_requests_of_several_blocks(server):
    server.delay = 0.01
    raster = tj.open(server.url("cog.tif"))
    assert isinstance(raster.bands[0].source, BlockSource)
    result = slope(raster).compute(workers=4, progress=False)
    np.testing.assert_array_equal(result, server.slopes)
    assert len(server.asked) < 20  # of 64 blocks
    assert server.together > 1
    assert server.forget() <= 1.1 * needed(server, "cog.tif", Window(0, 0, SIDE, SIDE))


@pytest.mark.parametrize("window", [Window(130, 200, 100, 700), Window(5, 300, 1000, 8), Window(1000, 1000, 24, 24)])
def test_of_a_window_the_blocks_alone(server, cells, window):
    source = open_source(server.url("cog.tif"))
    server.forget()
    out = np.empty((1, *window.shape), np.float32)
    source.read((1,), window, out)
    np.testing.assert_array_equal(out[0], cells[window.slices(Window(0, 0, SIDE, SIDE))])
    assert server.forget() <= 1.1 * needed(server, "cog.tif", window)
    source.close()


@pytest.mark.parametrize("name", ["plain.tif", "lerc.tif"])
def test_other_files_give_the_same_cells(server, cells, name):
    """What is not compressed is fetched by rows; LERC is for GDAL."""
    raster = tj.open(f"/vsicurl/{server.url(name)}")
    np.testing.assert_array_equal(raster.read()[0], cells)
    assert ("through GDAL from 127.0.0.1" in storage_of(raster.bands[0].source).reader) == (name == "lerc.tif")


@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "cut"])
def test_what_passes_is_tried_again(server, cells, fault):
    raster = tj.open(server.url("cog.tif"))
    server.faults = [fault] * 3
    np.testing.assert_array_equal(raster.read()[0], cells)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("503", "in 4 tries: the server answers 503: try later, or with more GDAL_HTTP_MAX_RETRY"),
        ("reset", "in 4 tries: the connection broke: try later"),
        ("cut", "in 4 tries: fewer bytes came than were asked for"),
        ("403", "in 1 try: the server answers 403: check the name and the credentials"),
        ("whole", "in 1 try: the server sends the whole file"),
    ],
)
def test_what_stays_is_an_error_that_says_what_came(server, fault, said):
    raster = tj.open(server.url("cog.tif"))
    server.broken = fault
    with pytest.raises(ReadError) as caught:
        slope(raster).compute(workers=1, progress=False)
    text = str(caught.value)
    assert text.startswith(f"{server.url('cog.tif')}: cannot read band 1, rows 0:")
    assert "block 0 (row 0, col 0): bytes " in text
    assert f"did not come from {server.address.removeprefix('http://')} {said}" in text
    assert len(server.asked) <= 5  # the directory, and four tries


def test_the_number_of_tries_is_what_gdal_is_told(server):
    with rasterio.Env(GDAL_HTTP_MAX_RETRY=0):
        raster = tj.open(server.url("cog.tif"))
    server.broken = "503"
    with pytest.raises(ReadError, match="in 1 try: the server answers 503"):
        raster.read()


@pytest.mark.parametrize(("fault", "said"), [("404", "404"), ("503", "503"), ("whole", "Range downloading not supp")])
def test_what_cannot_be_opened_is_asked_for_anew_the_next_time(server, fault, said):
    server.broken = fault
    with pytest.raises(SourceError, match=rf"cog\.tif: cannot be opened: .*{said}.*check the name, the network and"):
        tj.open(server.url("cog.tif"))
    server.broken = ""
    tj.open(server.url("cog.tif"))


def test_a_file_that_was_replaced(server):
    raster = tj.open(server.url("cog.tif"))
    raster.read()
    raster.read()
    server.etags["cog.tif"] = '"2"'
    with pytest.raises(ReadError, match="it was written or replaced since it was opened: open it again"):
        raster.read()
    tj.open(server.url("cog.tif")).read()


def test_a_damaged_block_is_found_as_in_a_local_file(server):
    content = bytearray(server.files["cog.tif"])
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        content[tiff.pages.first.dataoffsets[9] + 2000] ^= 255
    server.files["bad.tif"] = bytes(content)
    with pytest.raises(ReadError, match=r"block 9 \(row 1, col 1\)"):
        tj.open(server.url("bad.tif")).read()


def test_a_file_that_ends_before_its_blocks(server):
    server.files["short.tif"] = server.files["cog.tif"][:-100_000]
    with pytest.raises(ReadError, match=r"block \d+ \(row 7, .*: the file ends at byte [\d,]+, and the block at "):
        tj.open(server.url("short.tif")).read()


@pytest.mark.parametrize("resampling", ["bilinear", "average"])
def test_what_is_warped_is_fetched_once(server, resampling):
    raster = tj.open(server.url("cog.tif"))
    raster.to(raster.grid.to_crs("EPSG:3035"), resampling=resampling).compute(progress=False)
    assert server.forget() <= 1.1 * needed(server, "cog.tif", Window(0, 0, SIDE, SIDE))


def test_a_bucket(server, cells):
    """As MinIO and others serve it beside a network: by the path, unsigned."""
    server.files["bucket/cog.tif"] = server.files["cog.tif"]
    place = {"AWS_S3_ENDPOINT": server.address.removeprefix("http://"), "AWS_HTTPS": "NO"}
    with rasterio.Env(**place, AWS_VIRTUAL_HOSTING="FALSE", AWS_NO_SIGN_REQUEST="YES"):
        raster = tj.open("s3://bucket/cog.tif")
    assert "fetched from s3://bucket" in storage_of(raster.bands[0].source).reader
    np.testing.assert_array_equal(raster.read()[0], cells)


def test_the_plan_says_who_is_asked_and_for_how_much(server):
    text = str(slope(tj.open(server.url("cog.tif"))).plan())
    host = server.address.removeprefix("http://")
    assert f"fetched from {host}, 8 blocks by a request, one by each worker at once; all blocks are " in text
    assert "MB stored" in text


def test_the_command_line(server, tmp_path, capsys):
    out = tmp_path / "out.tif"
    for words in (["plan", "slope"], ["run", "slope", "-o", str(out)]):
        assert main([*words[:2], server.url("cog.tif"), *words[2:]]) == 0
    assert "fetched from 127.0.0.1" in capsys.readouterr().out
    assert out.exists()


@pytest.mark.parametrize("name", ["http://127.0.0.1:1/out.tif", "/vsis3/bucket/out.tif", "s3://bucket/out.tif"])
def test_outputs_are_local(server, name):
    with pytest.raises(SinkError, match="tilejit writes local files: write one, and copy it there after that"):
        slope(tj.open(server.url("cog.tif"))).save(name, progress=False)


def test_a_run_is_gone_on_with_while_the_server_has_the_same_file(server, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SECONDS", 0)
    options = {"resume": True, "workers": 1, "tile": (128, 1024), "progress": False}
    options["profile"] = {"blockxsize": 128, "blockysize": 128}
    raster = slope(tj.open(server.url("cog.tif")))
    server.faults, server.delay = ["", "", "", *["403"] * 9], 0.02
    with pytest.raises(ReadError, match="403"):
        raster.save(tmp_path / "out.tif", **options)
    server.forget()
    server.etags["cog.tif"] = '"2"'
    with pytest.raises(tj.TilejitError, match=r"etag"):
        slope(tj.open(server.url("cog.tif"))).save(tmp_path / "out.tif", **options)
    del server.etags["cog.tif"]
    assert slope(tj.open(server.url("cog.tif"))).save(tmp_path / "out.tif", **options).resumed > 0


def test_a_server_that_says_neither_tag_nor_date_has_no_state(server, tmp_path):
    server.etags["cog.tif"] = ""
    raster = slope(tj.open(server.url("cog.tif")))
    with pytest.raises(tj.TilejitError, match="resume"):
        raster.save(tmp_path / "out.tif", resume=True, progress=False)


@pytest.mark.slow
def test_other_processes_fetch_for_themselves(server):
    raster = tj.open(server.url("cog.tif"))
    result = slope(raster).compute(executor="processes", workers=2, progress=False)
    np.testing.assert_array_equal(result, server.slopes)


def test_without_gdals_library_gdal_reads(server, cells, monkeypatch):
    monkeypatch.setattr(remote, "_gdal", lambda: None)
    raster = tj.open(server.url("cog.tif"))
    np.testing.assert_array_equal(raster.read()[0], cells)
    assert "through GDAL" in storage_of(raster.bands[0].source).reader


def test_a_password_is_not_shown():
    assert remote.host_of("https://me:secret@a.org/b.tif") == "a.org"
    assert remote.host_of("/vsicurl?url=https%3A%2F%2Fa.org%2Fb.tif") == "a.org"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_is_rasterios_gdal_that_asks():
    """Others have no credentials and options of ``rasterio.Env``."""
    pytest.importorskip("pyogrio")
    remote._gdal.cache_clear()
    address = ctypes.cast(remote._gdal().VSIFOpenL, ctypes.c_void_p).value
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(number, 16) for number in line.split()[0].split("-"))
        if first <= address < last:
            assert "rasterio" in line
            return
    pytest.fail("no library holds it")
