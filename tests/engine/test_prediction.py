"""Predictions: made by running a few tiles, which leave nothing."""

import re
import tempfile
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import tilejit as tj
from tilejit.cli import main
from tilejit.engine import prediction
from tilejit.engine.pipeline.stopwatch import StageTime
from tilejit.errors import PlanError, ReadError, SinkError
from tilejit.formats.geotiff.block_source import BlockSource
from tilejit.raster.options import RunOptions
from tilejit.raster.running import plan_outputs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]


@tj.focal
def steep(z, *, scale=2.0):
    return (z[0, 1] - z[0, -1]) * scale


@tj.local
def ratio(a, b):
    return a / (b + 1)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where samples are written."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def write(path, array, **profile):
    count, height, width = array.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=count, dtype=array.dtype,
                       **{"compress": "zstd"} | profile) as file:  # fmt: skip
        file.write(array)
    return path


def hills(dtype=np.float32, shape=(200, 300), noise=0.0):
    """Slopes that compress well, and the better the less noise there is."""
    rows, cols = np.indices(shape)
    waves = 60 + 50 * np.sin(rows / 40) * np.cos(cols / 30)
    return (waves + noise * np.random.default_rng(0).random(shape)).astype(dtype)


@pytest.fixture
def dem(tmp_path):
    return write(tmp_path / "dem.tif", hills()[np.newaxis], predictor=3)


def job_of(raster, path="out.tif", **options):
    return plan_outputs({path: raster}, RunOptions(**{"overwrite": True, **options}))[0]


def test_a_prediction_leaves_nothing(tmp_path, dem, temporary):
    found = steep(tj.open(dem)).predict(tmp_path / "out.tif", workers=2)
    assert min(found.seconds, found.decode, found.compute, found.encode) > 0
    assert found.seconds >= (found.decode + found.compute + found.encode) / 2
    assert found.workers == 2
    assert re.fullmatch(
        r"about \d+\.\d s on 2 threads \(decode \d+\.\d, compute \d+\.\d, encode \d+\.\d core seconds\)", str(found)
    )
    assert list(temporary.iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} - {"key"} == {"dem.tif", "temporary"}


def test_a_few_tiles_of_the_middle_are_read(tmp_path, monkeypatch):
    path = write(tmp_path / "in.tif", np.zeros((1, 4096, 6144), np.uint8), compress="zstd", tiled=True,
                 blockxsize=512, blockysize=512)  # fmt: skip
    read, windows = BlockSource.read, set()

    def watched(source, bands, window, *arguments):
        windows.add(window)
        read(source, bands, window, *arguments)

    monkeypatch.setattr(BlockSource, "read", watched)
    monkeypatch.setattr(prediction, "_MOST_BYTES", 2_000_000)
    steep(tj.open(path)).predict(tmp_path / "out.tif", tile=(512, 512))
    assert sum(w.height * w.width for w in windows) < 5_500_000
    assert min(w.row_off for w in windows) >= 1024
    assert max(w.row_end for w in windows) <= 3072
    assert min(w.col_off for w in windows) >= 1024
    assert max(w.col_end for w in windows) <= 5120


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    tile=st.sampled_from([(64, 64), (128, 512), (512, 128), (3008, 3008)]),
    pixels=st.integers(1, 4_000_000),
)
def test_what_is_tried_is_whole_tiles_or_a_part_of_one(height, width, tile, pixels):
    raster = tj.from_array(np.broadcast_to(np.float32(0), (height, width)))
    plan = replace(job_of(raster).plan, tile=tile)
    window = prediction._window(plan, pixels)
    assert not window.is_empty
    assert window.intersection(plan.window) == window
    assert window.row_off % tile[0] == window.col_off % tile[1] == 0
    assert window.height * window.width >= min(pixels, height * width) / 17
    if pixels >= tile[0] * tile[1]:
        assert window.row_end % tile[0] == 0 or window.row_end == height
        assert window.col_end % tile[1] == 0 or window.col_end == width
        assert window.height * window.width <= 2 * pixels + tile[0] * tile[1]


def test_a_plan_runs_nothing(dem, monkeypatch):
    monkeypatch.setattr(prediction, "run_job", lambda *_: pytest.fail("a plan ran"))
    steep(tj.open(dem)).plan("out.tif")


DECODE, COMPUTE, ENCODE = 2e-6, 1e-6, 3e-6


@pytest.fixture
def samples(monkeypatch):
    """Samples of which a pixel takes 6 microseconds, and a file half a second once; their sizes."""
    sizes = []

    def sample(_, pixels):
        sizes.append(pixels)
        costs = np.array([DECODE * pixels, COMPUTE * pixels, ENCODE * pixels + 0.5])
        return prediction._Cost(pixels, costs, 0.125)

    monkeypatch.setattr(prediction, "_sample", sample)
    return sizes


def huge(side=8192):
    return steep(tj.from_array(np.broadcast_to(np.float32(0), (side, side))))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("samples")
def test_times_scale_with_the_pixels_and_not_what_files_take_once(monkeypatch, workers):
    monkeypatch.setattr(prediction, "available_cores", lambda: 2)
    found = prediction.predict_job(job_of(huge(), workers=workers, tile=(512, 512)))
    pixels = 8192**2
    expected = (DECODE * pixels, COMPUTE * pixels, ENCODE * pixels + 0.5)
    assert (found.decode, found.compute, found.encode) == pytest.approx(expected)
    assert found.seconds == pytest.approx(sum(expected) / workers + 0.125)


def test_samples_grow_until_one_takes_long_enough(samples):
    steep(tj.from_array(np.broadcast_to(np.float32(0), (8192, 8192)))).predict()
    assert samples == [16384]


def test_outputs_of_many_blocks_are_not_tried_as_files_of_a_few(samples, monkeypatch):
    """Which are encoded exactly as asked; unless the kernel alone takes long enough."""
    job = job_of(huge(), profile={"compress": "deflate"})
    prediction.predict_job(job)
    assert samples == [16384 * 4**k for k in range(4)]  # one million pixels, where the kernel takes a second
    samples.clear()
    monkeypatch.setitem(globals(), "COMPUTE", 1e-9)
    prediction.predict_job(job)
    rows, cols = job.plan.writes[0].block
    assert 64 <= samples[-1] / (rows * cols) < 256


@given(decode=st.floats(0, 1e-6), encode=st.floats(0, 1e-6), workers=st.integers(1, 64), size=st.integers(1, 20_000))
def test_nothing_is_faster_than_all_cores(decode, encode, workers, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction, "_sample", lambda _, n: prediction._Cost(n, np.array([decode, 0, encode]) * n, 0))
        found = prediction.predict_job(job_of(huge(size), workers=workers, memory="1TB"))
    total = (decode + encode) * size**2
    assert found.decode + found.encode == pytest.approx(total, abs=1e-12)
    assert total / min(workers, prediction.available_cores()) - 1e-9 <= found.seconds <= total + 1e-9


@pytest.mark.parametrize("profile", [
    {"count": 4, "interleave": "pixel", "dtype": "uint8", "nodata": 0},
    {"count": 4, "interleave": "band", "dtype": "uint16", "nodata": 7},
    {"count": 2, "dtype": "float64", "nodata": float("nan"), "blockysize": 3},
    {"count": 2, "dtype": "int8", "nodata": -999, "compress": "none"},
])  # fmt: skip
def test_any_input_is_tried(tmp_path, profile):
    profile = dict(profile)
    dtype, nodata = np.dtype(profile.pop("dtype")), profile.pop("nodata")
    array = np.stack([hills(dtype, (150, 130), k) for k in range(profile.pop("count"))])
    with rasterio.open(write(tmp_path / "in.tif", array, **profile), "r+") as file:
        if nodata != -999:
            file.nodata = nodata
    raster = tj.open(tmp_path / "in.tif")
    found = ratio(raster.band(len(raster)), raster.band(1)).predict(tmp_path / "out.tif", workers=2)
    assert min(found.seconds, found.decode, found.compute, found.encode) > 0


def test_arrays_and_slow_kernels():
    raster = tj.from_array(np.zeros((3000, 3000), np.uint8))
    found = ratio(raster, raster).predict(backend="python", workers=1)
    assert found.compute > found.decode > 0
    assert found.seconds > found.compute


def test_a_vrt_is_tried_and_what_lies_elsewhere_is_not(tmp_path, dem, monkeypatch, capsys):
    from rasterio.shutil import copy

    copy(dem, tmp_path / "dem.vrt", driver="VRT")
    assert steep(tj.open(tmp_path / "dem.vrt")).predict().seconds > 0
    with zipfile.ZipFile(tmp_path / "dem.zip", "w") as archive:
        archive.write(dem, "dem.tif")
    name = f"/vsizip/{tmp_path / 'dem.zip'}/dem.tif"
    with pytest.raises(PlanError, match=r"dem\.tif is no local file"):
        steep(tj.open(name)).predict()
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "slope", name, "-p", "dx=1", "-p", "dy=1"]) == 0
    assert f"\ntime      not predicted: {name} is no local file" in capsys.readouterr().out


@pytest.mark.parametrize(("kernel", "tile", "decode"), [(steep, 512, 1.0), (ratio, 512, 2.0), (steep, 256, 2.0)])
def test_blocks_around_what_is_tried_are_other_tiles_own(tmp_path, monkeypatch, kernel, tile, decode):
    """Unless there is no halo, or tiles cut blocks: then the whole decodes them as often."""
    stages = {name: StageTime(1, 0) for name in ("decode", "compute", "encode", "wait", "compile", "finish")}
    report = SimpleNamespace(stages=stages | {"decode": StageTime(1, 2)}, cpu_seconds=2, source_bytes=10, bytes_read=20)
    monkeypatch.setattr(prediction, "run_job", lambda *_: report)
    raster = tj.open(write(tmp_path / "in.tif", np.zeros((1, 1024, 1024), np.uint8), tiled=True,
                           blockxsize=512, blockysize=512))  # fmt: skip
    made = kernel(*[raster] * (2 if kernel is ratio else 1))
    job = job_of(made, tile=(tile, tile), profile={"blockxsize": 256, "blockysize": 256})
    assert prediction._sample(job, 1024**2).stages[0] == decode


def test_very_large_blocks_are_not_tried(tmp_path, monkeypatch):
    """A tile of 16384 x 16384 would be decoded whole."""
    monkeypatch.setattr(prediction, "_LARGEST_BLOCK", 1_000_000)
    profile = {"tiled": True, "blockxsize": 1024, "blockysize": 1024}
    raster = tj.open(write(tmp_path / "in.tif", np.zeros((1, 200, 200), np.float32), **profile))
    with pytest.raises(PlanError, match=r"in\.tif: decoding a block takes 4\.2 MB, too much to be tried"):
        steep(raster).predict()


def test_a_broken_block_is_named(dem, capsys):
    with tifffile.TiffFile(dem) as file:
        offsets, counts = file.pages[0].dataoffsets, file.pages[0].databytecounts
    content = bytearray(dem.read_bytes())
    for offset, count in zip(offsets, counts, strict=True):
        content[offset : offset + count] = bytes(count)
    dem.write_bytes(content)
    with pytest.raises(ReadError, match=r"dem\.tif"):
        steep(tj.open(dem)).predict()
    assert main(["plan", "slope", str(dem), "-p", "dx=1", "-p", "dy=1"]) == 0
    assert re.search(r"^time      not predicted: .*dem\.tif", capsys.readouterr().out, re.MULTILINE)


def test_the_command_line(tmp_path, dem, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["plan", "tri", "dem.tif", "--workers", "2"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert re.search(
        r"^time      about \d+\.\d s on 2 threads \(decode .*, compute .*, encode .* core seconds\)$", out, re.MULTILINE
    )
    assert not err
    assert main([*words, "--no-time"]) == 0
    assert "\ntime " not in capsys.readouterr().out


def test_a_sample_that_fails_leaves_nothing(tmp_path, dem, temporary, monkeypatch):
    def fails(*_):
        raise SinkError("no room")

    monkeypatch.setattr(prediction, "open_sink", fails)
    with pytest.raises(SinkError, match="no room"):
        steep(tj.open(dem)).predict(tmp_path / "out.tif")
    assert list(temporary.iterdir()) == []


def test_earlier_passes_take_time_too(temporary, tmp_path, monkeypatch):
    raster = tj.open(write(tmp_path / "a.tif", hills()[np.newaxis]))
    made = steep(raster, scale=raster.mean())
    assert made.predict(tmp_path / "out.tif").decode > 0
    assert list(temporary.iterdir()) == []
    monkeypatch.setattr(prediction, "_predicted", lambda _: prediction.Prediction(1, 2, 3, 4, 5))
    assert made.predict(tmp_path / "out.tif") == prediction.Prediction(2, 2, 6, 8, 10)
