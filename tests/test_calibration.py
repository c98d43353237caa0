"""Predictions: made without reading a pixel, measured once, and measured anew where what is kept makes no sense."""

import json
import re
import tempfile
from itertools import pairwise

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from tilejit.cli import main
from tilejit.errors import PlanError, SinkError
from tilejit.io.gdal.rasterio_source import RasterioSource
from tilejit.io.gdal.storage import creation_options
from tilejit.prediction import prediction, rehearsal
from tilejit.prediction.calibration import Calibration, calibration_file, machine
from tilejit.prediction.rehearsal import likeness_of, rehearsal_key
from tilejit.prediction.synthetic import LEVELS, cells
from tilejit.raster.running import plan_outputs

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


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

    def rehearse(job, likenesses):
        done.append(likenesses)
        return {"decode": 2e-6, "compute": 1e-6, "encode": 3e-6, "finish": 0.125}

    monkeypatch.setattr(prediction, "rehearse", rehearse)
    return done


def write(path, array, **profile):
    count, height, width = array.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=count, dtype=array.dtype,
                       **{"compress": "zstd"} | profile) as file:  # fmt: skip
        file.write(array)
    return path


@pytest.fixture
def dem(tmp_path):
    return write(tmp_path / "dem.tif", cells(np.dtype(np.float32), 0, (200, 300), 0, None)[np.newaxis], predictor=3)


def job_of(raster, path="out.tif", **options):
    return plan_outputs({path: raster}, {"overwrite": True, **options})[0]


def test_a_prediction_is_made_without_reading_a_pixel(tmp_path, dem, kept, monkeypatch):
    read = RasterioSource.read

    def only_others(source, *arguments):
        assert source.name != str(dem)
        read(source, *arguments)

    monkeypatch.setattr(RasterioSource, "read", only_others)
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
    assert sorted(p.name for p in tmp_path.iterdir()) == ["calibration.json", "dem.tif", "temporary"]


def test_a_plan_measures_nothing(dem, kept, rehearsals):
    steep(tj.open(dem)).plan("out.tif")
    assert not rehearsals
    assert not kept.exists()


def test_what_is_kept_is_not_measured_again(dem, kept, rehearsals):
    told = []
    first = prediction.predict_job(job_of(steep(tj.open(dem))), new_process=True, tell=told.append)
    assert len(rehearsals) == 1
    assert told == ["ratios of ZSTD float32", "speed of steep", "start of a process"]
    content = kept.read_text()
    assert (
        prediction.predict_job(job_of(steep(tj.open(dem))), new_process=True, tell=told.append).decode == first.decode
    )
    assert len(rehearsals) == 1
    assert len(told) == 3
    assert kept.read_text() == content


def test_other_jobs_are_measured_for_themselves(tmp_path, dem, kept, rehearsals):
    raster = tj.open(dem)
    rough = write(tmp_path / "rough.tif", cells(np.dtype(np.float32), 8, (200, 300), 0, None)[np.newaxis], predictor=3)
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
    good = json.loads(kept.read_text())
    damaged = damage(good)
    assert damaged != json.dumps(good)
    kept.write_text(damaged)
    assert prediction.predict_job(job, new_process=False) == first
    assert len(rehearsals) == 2
    assert json.loads(kept.read_text())["machine"] == machine()
    prediction.predict_job(job)
    assert len(rehearsals) == 2


def test_bytes_that_are_no_text_are_measured_anew(dem, kept, rehearsals):
    kept.write_bytes(b"\xff\xfe\x00")
    assert prediction.predict_job(job_of(steep(tj.open(dem)))).seconds > 0
    assert json.loads(kept.read_text())["measurements"]


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
    assert (found.decode, found.compute, found.encode) == pytest.approx((0.12, 0.06, 0.18))
    start = 0.25 if new_process else 0.0
    assert start <= found.start < start + 0.2
    # One tile is one thread's, and it is decoded while kernels are loaded.
    before = 0.12 if new_process else 0.0
    assert found.seconds == pytest.approx(found.start + 0.36 - before + 0.125)


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
    array = np.stack([cells(np.dtype(np.int16), 2, (200, 300), k, None) for k in range(3)])
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
    array = np.stack([cells(dtype, 0, (150, 130), k, None) for k in range(profile.pop("count"))])
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
    assert "\ntime      not predicted: dem.vrt is no local GeoTIFF" in capsys.readouterr().out


def test_a_file_of_a_great_many_bands_is_not_measured(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(rehearsal, "_MOST_BYTES", 100_000)
    array = np.zeros((20, 30, 40), np.uint8)
    raster = tj.open(write(tmp_path / "in.tif", array, interleave="pixel"))
    with pytest.raises(PlanError, match=r"takes 24 bytes, too many to be measured in small"):
        steep(raster.band(3)).predict(tmp_path / "out.tif")


def test_large_outputs_are_not_rehearsed_as_files_of_a_few_blocks(tmp_path, kept, monkeypatch):
    """Which are encoded exactly as asked: a rehearsal of 48 MB had 12 blocks for each of three outputs."""
    seen = []

    def measure(job, likenesses, pixels, times):
        seen.append(pixels)
        return {"compute": 1e-9}

    monkeypatch.setattr(rehearsal, "_measure", measure)
    path = write(tmp_path / "in.tif", np.zeros((1, 4096, 4096), np.float32), compress="deflate", tiled=True)
    outputs = {tmp_path / f"{name}.tif": steep(tj.open(path)) for name in "abc"}
    job, _ = plan_outputs(outputs, {"profile": {"compress": "deflate"}})
    rehearsal.rehearse(job, (likeness_of(job.plan.reads[0], job.sources[0], Calibration(kept)),))
    rows, cols = rehearsal._shape(job.plan.grid, job.plan.tile, seen[-1])
    assert (rows // 512) * (cols // 512) >= 16
    assert seen[-1] * 16 <= rehearsal._LARGEST_BYTES


def test_a_block_larger_than_the_rehearsal_is_clipped(tmp_path, kept):
    """Blocks of 4096 x 4096 would take 67 MB each, of a rehearsal of 200 x 200 cells."""
    profile = {"tiled": True, "blockxsize": 4096, "blockysize": 4096}
    raster = tj.open(write(tmp_path / "in.tif", np.zeros((1, 200, 200), np.float32), **profile))
    like = likeness_of(job_of(steep(raster)).plan.reads[0], raster.bands[0].source, Calibration(kept))
    source = rehearsal._source(like, raster.grid, tmp_path / "like.tif", 0)
    assert source.block == (208, 208)


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
    assert not kept.exists() or "speed" not in kept.read_text()


def test_the_start_of_a_process_is_measured():
    assert rehearsal.measure_start()["seconds"] > 0


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(
        ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
    ),
    level=st.integers(LEVELS[0], LEVELS[-1]),
    height=st.integers(1, 1100),
    width=st.integers(1, 1100),
    nodata=st.none() | st.integers(-10, 300),
)
def test_made_up_cells(dtype, level, height, width, nodata):
    made = cells(np.dtype(dtype), level, (height, width), 3, nodata)
    assert made.shape == (height, width)
    assert made.dtype == dtype
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made, cells(np.dtype(dtype), level, (height, width), 3, nodata))
    info = np.iinfo(dtype) if made.dtype.kind in "iu" else None
    if nodata is not None and (info is None or info.min <= nodata <= info.max):
        assert made[0, 0] == nodata


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_higher_levels_compress_less(dtype):
    found = [rehearsal._ratio({"COMPRESS": "DEFLATE"}, np.dtype(dtype), level) for level in LEVELS]
    assert found[0] < 0.6
    assert found[-1] > 0.5
    assert all(a <= b + 0.05 for a, b in pairwise(found))


@pytest.mark.parametrize("level", [-8, -3, 0, 5])
def test_a_file_is_known_by_its_ratio(tmp_path, kept, level):
    array = cells(np.dtype(np.float32), level, (1024, 1024), 5, None)
    source = tj.open(
        write(tmp_path / "in.tif", array[np.newaxis], predictor=3, tiled=True, blockxsize=512, blockysize=512)
    )
    job = job_of(steep(source))
    like = likeness_of(job.plan.reads[0], job.sources[0], Calibration(kept))
    assert abs(like.level - level) <= 2
    assert rehearsal_key(job, (like,)) == rehearsal_key(job_of(steep(source)), (like,))
