"""The benchmarks run, at sizes that say nothing of speed, and what they compare is compared rightly."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    """Imports a module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return lambda name: importlib.import_module(f"peers.{name}")


def table_of(script, *arguments):
    """Rows of all tables that a benchmark prints, as lists of cells."""
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--small", *arguments], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return [[c.strip() for c in line.split("|")[1:-1]] for line in run.stdout.splitlines() if line.startswith("| ")]


def test_the_peers_make_equal_pixels(peers):
    roster, jobs = peers("roster"), peers("jobs")
    rows = table_of("peers/run.py")
    for one in roster.CONTENDERS.values():
        own = [row for row in rows if len(row) == 12 and row[3] == one.title]
        assert {row[1] for row in own} == set(jobs.JOBS), one.title
        for row in own:
            if one.why_not() is not None:
                assert row[4].startswith("not installed: ")
            elif row[1] not in one.jobs:
                assert row[4] == "has no such job"
            elif one.module != roster.CODEC:  # whose seconds are hundredths here
                assert float(row[4]) > 0
                assert row[11].startswith(f"equal ({jobs.JOBS[row[1]].outputs[0].name}")
        assert sum(row[0] == one.title for row in rows) == 1, "one row in the short table"


def test_the_other_tables_are_made():
    rows = table_of("run.py", "--rounds", "1")
    names = [row[0] for row in rows]
    assert "slope in degrees, float32" in names
    assert sum(bool(re.fullmatch(r"\d+ x \d+: tilejit", name)) for name in names) == 2


def test_the_walk_is_counted():
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / "walk.py"), "--size", "512", "--list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    walked = re.search(r"^files with a function .*:\n((?:  .*\n)+)", run.stdout, re.MULTILINE)[1].split()
    assert "tilejit/raster/raster.py" in walked
    assert "tilejit/arrays.py" not in walked


def test_executors_are_measured():
    pytest.importorskip("distributed")
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / "executors.py"), "--small"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert re.findall(r"^  (threads|processes|dask) +\d+\.\d\d ms$", run.stdout, re.MULTILINE) == [
        "threads",
        "processes",
        "dask",
    ]
    assert len(re.findall(r"\d+ Mpx/s$", run.stdout, re.MULTILINE)) == 4


def write(path, cells, nodata=-9999):
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": cells.shape[0], "width": cells.shape[1]}
    place = rasterio.Affine(30, 0, 0, 0, -30, 0)
    with rasterio.open(path, "w", nodata=nodata, transform=place, **profile) as file:
        file.write(cells, 1)
    return str(path)


def test_differences_are_found(peers, tmp_path):
    difference, output = peers("compare").difference, peers("jobs").Output("aspect", 0.5, circle=360.0)
    cells = np.full((700, 40), 359.9, np.float32)
    first = write(tmp_path / "a.tif", cells)
    other = cells.copy()
    other[0] = 100  # in the border
    other[650, 3], other[650, 4] = 0.1, 100.0
    found = difference(first, write(tmp_path / "b.tif", other), output, 1)
    assert (found.beyond, found.nodata, found.cells, found.equal) == (1, 0, 698 * 38, False)
    assert found.worst == pytest.approx(100.1, abs=1e-4)
    other[650, 4] = 0.1
    assert difference(first, write(tmp_path / "c.tif", other), output, 1).equal
    other[600, 7] = -9999
    found = difference(first, write(tmp_path / "d.tif", other), output, 1)
    assert (found.nodata, found.equal) == (1, False)


def test_the_floor_keeps_what_differs(peers, tmp_path):
    """Three periods of rows stand for all of them, the first and the last with their own border."""
    floor = importlib.import_module("peers.contenders.floor")
    height = 5 * floor.PERIOD
    cells = np.tile(np.random.default_rng(1).random((floor.PERIOD, 3), np.float32), (5, 1))
    cells[0] = cells[-1] = -9999
    result = floor.Result.load(write(tmp_path / "result.tif", cells))
    assert len(result.rows) == 3 * floor.PERIOD
    for row in range(0, height, floor.TILE[0]):
        np.testing.assert_array_equal(result.cells(Window(1, row, 2, floor.TILE[0])), cells[row:][: floor.TILE[0], 1:])


def test_windows_cover_a_raster_once_with_their_halo(peers, tmp_path):
    windows = peers("windows")
    cells = np.arange(2100 * 2060, dtype=np.float32).reshape(2100, 2060)
    cells[5, 5] = -9999
    padded = np.pad(np.where(cells == -9999, np.nan, cells), 5, constant_values=np.nan)
    covered = np.zeros(cells.shape, int)
    with rasterio.open(write(tmp_path / "z.tif", cells)) as file:
        for window in windows.windows_of(file):
            rows, cols = window.toslices()
            covered[rows, cols] += 1
            halo = padded[rows.start : rows.stop + 10, cols.start : cols.stop + 10]
            np.testing.assert_array_equal(windows.read(file, window, 5), halo)
    assert (covered == 1).all()


def test_who_would_take_too_long_is_not_run(peers, tmp_path):
    series, roster, jobs = peers("series"), peers("roster"), peers("jobs")
    group = series._Group(jobs.JOBS["slope"], "zstd1", 4096, tmp_path)
    row = series.Row(1024, "slope", "zstd1", "gdaldem", medians={"wall": 20.0})
    note, estimate = series._why_not(roster.CONTENDERS["gdaldem"], None, group, 300.0, [row])
    assert (note, estimate) == ("about 320 s, going by 1024 x 1024", 320.0)
    assert series._why_not(roster.CONTENDERS["gdaldem"], None, group, 330.0, [row]) == ("", None)
    assert series._why_not(roster.CONTENDERS["gdaldem"], "not installed: gdaldem", group, 300.0, []) == (
        "not installed: gdaldem",
        None,
    )
    assert series._why_not(roster.CONTENDERS["gdal_calc"], None, group, 300.0, []) == ("has no such job", None)


def test_what_takes_more_than_the_codec_is_said(peers):
    series, table = peers("series"), peers("table")
    stages = {
        "decode": {"wall": 2.0, "cpu": 1.0},
        "compute": {"wall": 0.5, "cpu": 0.25},
        "wait": {"wall": 1.0, "cpu": 0},
    }
    ours = series.Row(
        *(1024, "slope", "zstd", "tilejit_save"), medians={"cpu": 1.5}, rounds=({"cpu": 1.5, "stages": stages},)
    )
    codec = series.Row(1024, "slope", "zstd", "codec", medians={"cpu": 1.0, "decode": 0.75, "encode": 0.25})
    assert table.core_share(ours, codec) == "1.50"
    assert table.core_share(ours, None) == ""
    (text,) = filter(None, table.beyond_the_codec([ours, codec]))
    assert "1.50 of the codec's 1.00 core seconds (decoding 0.75, encoding 0.25)" in text
    assert text.endswith("tilejit's: decode 1.00, compute 0.25, the rest 0.25.")
    assert not table.beyond_the_codec([series.Row(1024, "slope", "zstd", "tilejit_save", medians={"cpu": 1.1}), codec])


def test_who_makes_other_pixels_is_told_apart(peers, tmp_path, monkeypatch):
    series = peers("series")

    def run(module, task, limit):
        for path in task.outputs:
            write(path, np.full((20, 20), 2 if module == "gdaldem" else 1, np.float32))
        return {"wall": 1.0}

    monkeypatch.setattr(series, "run", run)
    group = series._Group(peers("jobs").JOBS["slope"], "zstd1", 20, tmp_path)
    ours, theirs = group.run(["tilejit_save", "gdaldem"], 2, 300.0)
    assert (ours.note, ours.apart, len(ours.rounds)) == ("", {"slope": 0.0}, 2)
    assert theirs.note.startswith("failed: gdaldem: slope at 20 x 20 has other pixels")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["20-dem.tif"], "results are gone, data stay"


def test_kernels_from_the_literature_agree_with_loops_by_hand():
    rows = table_of("language/run.py", "--no-compile", "d8", "qa_bits")
    assert [row[0] for row in rows[1:]] == ["d8", "qa_bits"]
    assert all(float(row[-1]) == 0 for row in rows[1:])
