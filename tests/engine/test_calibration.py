"""Predictions: made by trying a few tiles, once, and again where what is kept makes no sense."""

import json
import re
import tempfile
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
from tilejit.compiler.jit.kept import read_kept, write_kept
from tilejit.engine.pipeline.stopwatch import StageTime
from tilejit.engine.prediction import prediction, rehearsal
from tilejit.engine.prediction.calibration import Calibration, calibration_file, machine
from tilejit.engine.prediction.rehearsal import likeness_of, rehearsal_key
from tilejit.errors import PlanError, ReadError, SinkError
from tilejit.formats.gdal.storage import creation_options
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
def kept(tmp_path, monkeypatch):
    """A calibration of the test's own, where a new process starts in no time."""
    path = tmp_path / "calibration.json"
    monkeypatch.setattr(prediction, "calibration_file", lambda: path)
    monkeypatch.setattr(prediction, "measure_start", lambda: {"seconds": 0.25})
    return path


@pytest.fixture
def rehearsals(monkeypatch):
    """What was rehearsed, in place of rehearsing."""
    done = []

    def rehearse(job):
        done.append(job)
        return {"decode": 2e-6, "compute": 1e-6, "encode": 3e-6, "once": 0.5, "finish": 0.125}

    monkeypatch.setattr(prediction, "rehearse", rehearse)
    return done


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


def test_a_prediction_leaves_nothing_but_what_is_kept(tmp_path, dem, kept, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    found = steep(tj.open(dem)).predict(tmp_path / "out.tif", workers=2)
    assert min(found.seconds, found.decode, found.compute, found.encode) > 0
    assert found.seconds >= (found.decode + found.compute + found.encode) / 2
    assert found.workers == 2
    assert re.fullmatch(
        r"about \d+\.\d s on 2 threads \(decode \d+\.\d, compute \d+\.\d, encode \d+\.\d core seconds\)", str(found)
    )
    assert list(temporary.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["calibration.json", "dem.tif", "key", "temporary"]


def test_a_few_tiles_of_the_middle_are_read(tmp_path, kept, monkeypatch):
    path = write(tmp_path / "in.tif", np.zeros((1, 4096, 6144), np.uint8), compress="zstd", tiled=True,
                 blockxsize=512, blockysize=512)  # fmt: skip
    read, windows = BlockSource.read, set()

    def watched(source, bands, window, *arguments):
        windows.add(window)
        read(source, bands, window, *arguments)

    monkeypatch.setattr(BlockSource, "read", watched)
    monkeypatch.setattr(rehearsal, "_MOST_BYTES", 2_000_000)
    monkeypatch.setattr(rehearsal, "_LEAST_BLOCKS", 1)
    steep(tj.open(path)).predict(tmp_path / "out.tif", tile=(512, 512))
    assert sum(w.height * w.width for w in windows) < 2_500_000
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
    window = rehearsal._window(plan, pixels)
    assert not window.is_empty
    assert window.intersection(plan.window) == window
    assert window.row_off % tile[0] == window.col_off % tile[1] == 0
    assert window.height * window.width >= min(pixels, height * width) / 17
    if pixels >= tile[0] * tile[1]:
        assert window.row_end % tile[0] == 0 or window.row_end == height
        assert window.col_end % tile[1] == 0 or window.col_end == width
        assert window.height * window.width <= 2 * pixels + tile[0] * tile[1]


def test_a_plan_measures_nothing(dem, kept, rehearsals):
    steep(tj.open(dem)).plan("out.tif")
    assert not rehearsals
    assert not kept.exists()


def test_what_is_kept_is_not_measured_again(dem, kept, rehearsals):
    told = []
    first = prediction.predict_job(job_of(steep(tj.open(dem))), new_process=True, tell=told.append)
    assert len(rehearsals) == 1
    assert told == ["speed of steep", "start of a process"]
    content = read_kept(kept)
    assert (
        prediction.predict_job(job_of(steep(tj.open(dem))), new_process=True, tell=told.append).decode == first.decode
    )
    assert len(rehearsals) == 1
    assert len(told) == 2
    assert read_kept(kept) == content


def test_other_jobs_are_measured_for_themselves(tmp_path, dem, kept, rehearsals):
    raster = tj.open(dem)
    rough = write(tmp_path / "rough.tif", hills(noise=1)[np.newaxis], predictor=3)
    jobs = [
        job_of(steep(raster)),
        job_of(steep(raster, scale=3.0)),
        job_of(ratio(raster, raster)),
        job_of(steep(raster), profile={"compress": "deflate"}),
        job_of(steep(tj.open(rough))),
        job_of(raster),
    ]
    for count, job in enumerate(jobs, 1):
        for _ in range(2):
            prediction.predict_job(job)
            assert len(rehearsals) == count


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "{",
        lambda _: "[1, 2]",
        lambda _: "null",
        lambda content: json.dumps(content | {"machine": {**content["machine"], "cores": 99}}),
        lambda content: json.dumps(content | {"measurements": []}),
        lambda content: json.dumps(content | {"measurements": {key: {} for key in content["measurements"]}}),
        lambda content: json.dumps(content).replace("2e-06", "NaN"),
        lambda content: json.dumps(content).replace("2e-06", "-1"),
        lambda content: json.dumps(content).replace("2e-06", '"fast"'),
    ],
    ids=["cut", "a list", "null", "another machine", "no table", "no numbers", "NaN", "negative", "text"],
)
def test_a_broken_file_is_measured_anew(dem, kept, rehearsals, damage):
    job = job_of(steep(tj.open(dem)))
    # A new process's start has a part that is taken by the clock; this one may have imported Numba, or not.
    first = prediction.predict_job(job, new_process=False)
    good = json.loads(read_kept(kept))
    damaged = damage(good)
    assert damaged != json.dumps(good)
    write_kept(kept, damaged.encode())
    assert prediction.predict_job(job, new_process=False) == first
    assert len(rehearsals) == 2
    assert json.loads(read_kept(kept))["machine"] == machine()
    prediction.predict_job(job)
    assert len(rehearsals) == 2


def test_bytes_that_are_no_text_are_measured_anew(dem, kept, rehearsals):
    write_kept(kept, b"\xff\xfe\x00")
    assert prediction.predict_job(job_of(steep(tj.open(dem)))).seconds > 0
    assert json.loads(read_kept(kept))["measurements"]


def test_two_processes_keep_what_each_measured(tmp_path):
    path = tmp_path / "c.json"
    one, two = Calibration(path), Calibration(path)
    assert one.measured("first", (1,), ("x",), lambda: {"x": 1.0}) == {"x": 1.0}
    assert two.measured("second", (1,), ("x",), lambda: {"x": 2.0}) == {"x": 2.0}
    third = Calibration(path)
    assert third.measured("first", (1,), ("x",), dict) == {"x": 1.0}
    assert third.measured("second", (1,), ("x",), dict) == {"x": 2.0}


def test_a_folder_that_is_gone_keeps_nothing(tmp_path):
    away = Calibration(tmp_path / "away" / "c.json")
    assert away.measured("first", (1,), ("x",), lambda: {"x": 1.0}) == {"x": 1.0}
    assert away.measured("first", (1,), ("x",), dict) == {"x": 1.0}
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_this_machines():
    assert calibration_file().name.startswith("calibration-")
    assert {"processor", "cores", "tilejit", "numba", "imagecodecs", "rasterio"} <= set(machine())


@pytest.mark.parametrize(("workers", "new_process"), [(1, True), (2, True), (2, False)])
@pytest.mark.usefixtures("kept", "rehearsals")
def test_times_scale_with_the_pixels(dem, monkeypatch, workers, new_process):
    monkeypatch.setattr(prediction, "available_cores", lambda: 2)
    found = prediction.predict_job(
        job_of(steep(tj.open(dem)), workers=workers, tile=(512, 512)), new_process=new_process
    )
    assert (found.decode, found.compute, found.encode) == pytest.approx((0.12, 0.06, 0.18 + 0.5))
    start = 0.25 if new_process else 0.0
    assert start <= found.start < start + 0.2
    # One tile is one thread's, and it is decoded while kernels are loaded.
    before = 0.12 if new_process else 0.0
    assert found.seconds == pytest.approx(found.start + 0.86 - before + 0.125)


@given(
    decode=st.floats(0, 100),
    rest=st.floats(0, 100),
    start=st.floats(0, 2),
    workers=st.integers(1, 64),
    size=st.integers(1, 20_000),
)
def test_nothing_is_faster_than_all_cores(decode, rest, start, workers, size):
    plan = steep(tj.from_array(np.broadcast_to(np.float32(0), (size, size)))).plan(
        "o.tif", workers=workers, memory="1TB"
    )
    after = prediction._after_start(plan, decode, rest, start)
    cores = prediction.available_cores()
    assert 0 <= after <= decode + rest
    assert start + after >= (decode + rest) / min(workers, cores) - 1e-9 - decode
    assert start + after >= (decode + rest) / cores - 1e-9


@pytest.mark.parametrize("options", [
    {"compress": "deflate", "predictor": 2, "tiled": True, "blockxsize": 64, "blockysize": 32},
    {"compress": "zstd", "predictor": 1, "blockysize": 7},
    {"compress": "lzw", "predictor": 2, "interleave": "pixel"},
    {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "pixel", "compress": "none"},
    {"compress": "packbits", "blockysize": 200},
])  # fmt: skip
def test_a_likeness_is_stored_as_its_model_is(tmp_path, options):
    array = np.stack([hills(np.int16, noise=k) for k in range(3)])
    model = write(tmp_path / "model.tif", array, **options)
    found = creation_options(str(model))
    copy = tmp_path / "copy.tif"
    tj.from_array(array).save(copy, profile=found)
    assert creation_options(str(copy)) == found
    with rasterio.open(model) as one, rasterio.open(copy) as two:
        assert one.block_shapes == two.block_shapes
        assert one.tags(ns="IMAGE_STRUCTURE") == two.tags(ns="IMAGE_STRUCTURE")


@pytest.mark.parametrize("profile", [
    {"count": 4, "interleave": "pixel", "dtype": "uint8", "nodata": 0},
    {"count": 4, "interleave": "band", "dtype": "uint16", "nodata": 7},
    {"count": 2, "dtype": "float64", "nodata": float("nan"), "blockysize": 3},
    {"count": 2, "dtype": "int8", "nodata": -999, "compress": "none"},
])  # fmt: skip
def test_any_input_is_rehearsed(tmp_path, kept, profile):
    profile = dict(profile)
    dtype, nodata = np.dtype(profile.pop("dtype")), profile.pop("nodata")
    array = np.stack([hills(dtype, (150, 130), k) for k in range(profile.pop("count"))])
    with rasterio.open(write(tmp_path / "in.tif", array, **profile), "r+") as file:
        if nodata != -999:
            file.nodata = nodata
    raster = tj.open(tmp_path / "in.tif")
    found = ratio(raster.band(raster.count), raster.band(1)).predict(tmp_path / "out.tif", workers=2)
    assert min(found.seconds, found.decode, found.compute, found.encode) > 0


def test_arrays_and_slow_kernels(kept):
    raster = tj.from_array(np.zeros((3000, 3000), np.uint8))
    found = ratio(raster, raster).predict(backend="python", workers=1)
    assert found.compute > found.decode > 0
    assert found.seconds > found.compute


def test_other_files_are_not_predicted(tmp_path, dem, kept, monkeypatch, capsys):
    from rasterio.shutil import copy

    copy(dem, tmp_path / "dem.vrt", driver="VRT")
    with pytest.raises(PlanError, match=r"dem\.vrt is no local GeoTIFF"):
        steep(tj.open(tmp_path / "dem.vrt")).predict()
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "slope", "dem.vrt", "-p", "dx=1", "-p", "dy=1"]) == 0
    assert f"\ntime      not predicted: {tmp_path / 'dem.vrt'} is no local GeoTIFF" in capsys.readouterr().out


def test_a_file_of_a_great_many_bands_is_not_measured(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(rehearsal, "_MOST_BYTES", 100_000)
    array = np.zeros((20, 30, 40), np.uint8)
    raster = tj.open(write(tmp_path / "in.tif", array, interleave="pixel"))
    with pytest.raises(PlanError, match=r"takes 24 bytes, too many to be measured in small"):
        steep(raster.band(3)).predict(tmp_path / "out.tif")


def test_large_outputs_are_not_rehearsed_as_files_of_a_few_blocks(tmp_path, kept, monkeypatch):
    """Which are encoded exactly as asked: a rehearsal of 48 MB had 12 blocks for each of three outputs."""
    seen = []

    def measure(job, pixels, times):
        seen.append(pixels)
        return rehearsal._Cost(pixels, 0, 1e-9 * pixels, 0, 0)

    monkeypatch.setattr(rehearsal, "_measure", measure)
    path = write(tmp_path / "in.tif", np.zeros((1, 4096, 4096), np.float32), compress="deflate", tiled=True)
    outputs = {tmp_path / f"{name}.tif": steep(tj.open(path)) for name in "abc"}
    job, _ = plan_outputs(outputs, RunOptions(profile={"compress": "deflate"}))
    rehearsal.rehearse(job)
    _, small, large = seen
    window = rehearsal._window(job.plan, small)
    assert (window.height // 512) * (window.width // 512) >= 16
    assert small * 16 <= rehearsal._LARGEST_BYTES
    assert large == 3 * small


@pytest.mark.parametrize("side", [400, 4096])
def test_what_an_encoder_takes_once_is_no_pixels(tmp_path, kept, monkeypatch, side):
    """The first blocks of a file are encoded several times, which a raster no larger than a rehearsal is all of."""

    def measure(job, pixels, times):
        cells = min(pixels, side**2)
        return rehearsal._Cost(cells, 2e-6 * cells, 1e-6 * cells, 0.25 + 3e-6 * cells, 0.125)

    monkeypatch.setattr(rehearsal, "_measure", measure)
    raster = tj.open(write(tmp_path / "in.tif", np.zeros((1, side, side), np.float32), compress="deflate"))
    found = prediction.predict_job(job_of(steep(raster), workers=1), new_process=False)
    assert found.decode == pytest.approx(2e-6 * side**2)
    assert found.compute == pytest.approx(1e-6 * side**2)
    assert found.encode == pytest.approx(3e-6 * side**2 + 0.25)
    assert found.seconds == pytest.approx(6e-6 * side**2 + 0.25 + 0.125)


@pytest.mark.parametrize(("kernel", "tile", "decode"), [(steep, 512, 1.0), (ratio, 512, 2.0), (steep, 256, 2.0)])
def test_blocks_around_what_is_tried_are_other_tiles_own(tmp_path, monkeypatch, kernel, tile, decode):
    """Unless there is no halo, or tiles cut blocks: then the whole decodes them as often."""
    stages = {name: StageTime(1, 0) for name in ("decode", "compute", "encode", "wait", "compile", "finish")}
    report = SimpleNamespace(stages=stages | {"decode": StageTime(1, 2)}, cpu_seconds=2, source_bytes=10, bytes_read=20)
    monkeypatch.setattr(rehearsal, "_report_of", lambda _: report)
    raster = tj.open(write(tmp_path / "in.tif", np.zeros((1, 1024, 1024), np.uint8), tiled=True,
                           blockxsize=512, blockysize=512))  # fmt: skip
    made = kernel(*[raster] * (2 if kernel is ratio else 1))
    job = job_of(made, tile=(tile, tile), profile={"blockxsize": 256, "blockysize": 256})
    assert rehearsal._run(job).decode == decode


def test_very_large_blocks_are_not_tried(tmp_path, kept, monkeypatch):
    """A tile of 16384 x 16384 would be decoded whole."""
    monkeypatch.setattr(rehearsal, "_LARGEST_BLOCK", 1_000_000)
    profile = {"tiled": True, "blockxsize": 1024, "blockysize": 1024}
    raster = tj.open(write(tmp_path / "in.tif", np.zeros((1, 200, 200), np.float32), **profile))
    with pytest.raises(PlanError, match=r"in\.tif: decoding a block takes 4\.2 MB, too much to be tried"):
        steep(raster).predict()


def test_a_broken_block_is_named(dem, kept, capsys):
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


def test_the_command_line(tmp_path, dem, kept, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["plan", "tri", "dem.tif", "--workers", "2"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert re.search(
        r"^time      about \d+\.\d s on 2 threads \(decode .*, compute .*, encode .* core seconds\)$", out, re.MULTILINE
    )
    assert "measuring speed of tri, once on this machine\n" in err
    assert main(words) == 0
    assert capsys.readouterr() == (out, "")
    assert main([*words, "--no-time"]) == 0
    assert "\ntime " not in capsys.readouterr().out


def test_a_rehearsal_that_fails_leaves_nothing(tmp_path, dem, kept, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def fails(*_):
        raise SinkError("no room")

    monkeypatch.setattr(rehearsal, "open_sink", fails)
    with pytest.raises(SinkError, match="no room"):
        steep(tj.open(dem)).predict(tmp_path / "out.tif")
    assert list(temporary.iterdir()) == []
    assert not kept.exists() or b"speed" not in read_kept(kept)


def test_the_start_of_a_process_is_measured():
    assert rehearsal.measure_start()["seconds"] > 0


def test_a_file_is_known_by_how_well_it_compresses(tmp_path):
    keys = []
    for name, noise in (("a", 0), ("b", 0), ("c", 5)):
        path = write(tmp_path / f"{name}.tif", hills(noise=noise)[np.newaxis], predictor=3)
        job = job_of(steep(tj.open(path)))
        keys.append(rehearsal_key(job, (likeness_of(job.plan.reads[0], job.sources[0]),)))
    assert keys[0] == keys[1] != keys[2]
