"""Traces: what Chrome's format asks for, and that they tell the same as the report."""

import json
import os
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

import tilejit as tj
from tilejit.cli import main
from tilejit.engine.pipeline.stopwatch import STAGES, WORKER_STAGES, Stopwatch, checked_trace, trace_of, write_trace
from tilejit.errors import SinkError, TilejitError
from tilejit.raster.raster import SourceBand

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SMALL = {"profile": {"blockxsize": 16, "blockysize": 16}, "tile": (32, 32), "workers": 3}


@tj.focal
def steep(z):
    return z[0, 1] - z[0, -1]


@tj.local
def doubled(z):
    return z * 2


@pytest.fixture
def raster():
    return tj.from_array(np.random.default_rng(0).random((100, 100), np.float32))


def load(path):
    """The events, in nanoseconds, and what each thread is called."""
    trace = json.loads(path.read_text("utf-8"))
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    for event in events:
        event["ts"], event["dur"] = round(event["ts"] * 1000), round(event["dur"] * 1000)
    names = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    return events, names, trace


@pytest.fixture
def traced(tmp_path, raster):
    report = steep(raster).save(tmp_path / "out.tif", trace=tmp_path / "out.json", **SMALL)
    return report, *load(tmp_path / "out.json")


def test_each_tile_is_decoded_computed_and_encoded_once(traced):
    _, events, _, _ = traced
    tiles = [(row, col) for row in range(4) for col in range(4)]
    for stage in ("decode", "compute", "encode"):
        found = [(e["args"]["row"], e["args"]["col"]) for e in events if e["name"] == stage]
        assert sorted(found) == tiles, stage
    corner = [e["args"] for e in events if e["args"].get("row") == e["args"].get("col") == 3 and e["name"] != "wait"]
    assert {a["window"] for a in corner} == {"rows 96:100, cols 96:100"}
    sizes = {
        e["name"]: e["args"]["bytes"]
        for e in events
        if e["args"].get("row") == e["args"].get("col") == 3 and "bytes" in e["args"]
    }
    assert sizes == {"decode": 4 * 4 * 4, "compute": 4 * 4 * 6, "encode": 4 * 4 * 4}


def test_events_of_one_thread_do_not_overlap(traced):
    _, events, names, _ = traced
    assert {e["tid"] for e in events} == set(names)
    for thread in names:
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["tid"] == thread)
        assert own
        assert all(end <= start for (_, end), (start, _) in pairwise(own))


def test_totals_are_those_of_the_report(traced):
    report, events, _, _ = traced
    walls, cpus = Counter(), Counter()
    for event in events:
        walls[event["name"]] += event["dur"]
        cpus[event["name"]] += round(event["args"]["cpu_us"] * 1000)
    assert set(walls) == set(STAGES)
    for stage, time in report.stages.items():
        assert time.wall == walls[stage] / 1e9
        assert time.cpu == cpus[stage] / 1e9
    last = max(e["ts"] + e["dur"] for e in events)
    assert last / 1e9 <= report.seconds


def test_threads_have_their_names_and_stages(traced):
    _, events, names, trace = traced
    assert sorted(names.values()) == ["MainThread", "tilejit-0", "tilejit-1", "tilejit-2"]
    for event in events:
        is_worker = names[event["tid"]].startswith("tilejit-")
        assert (event["name"] in WORKER_STAGES) == is_worker
        assert event["pid"] == os.getpid()
        assert event["ts"] >= 0 <= event["dur"]
    assert trace["displayTimeUnit"] == "ms"
    assert "error" not in trace["otherData"]


def test_each_output_is_told_apart(tmp_path, raster):
    outputs = {tmp_path / "a.tif": steep(raster), tmp_path / "b.tif": doubled(raster)}
    tj.save(outputs, trace=tmp_path / "two.json", **SMALL)
    events, _, _ = load(tmp_path / "two.json")
    encoded = Counter(e["args"]["output"] for e in events if e["name"] == "encode")
    assert encoded == dict.fromkeys(map(str, outputs), 16)


def test_arrays_are_traced_too(tmp_path, raster):
    steep(raster).read(trace=tmp_path / "read.json", tile=(50, 50))
    events, _, _ = load(tmp_path / "read.json")
    assert sum(e["name"] == "encode" for e in events) == 4


class Failing:
    """A source that cannot be read from row 64 on."""

    def __init__(self, source):
        self.source = source

    def __getattr__(self, name):
        return getattr(self.source, name)

    def read(self, bands, window, out, valid=None):
        if window.row_off >= 64:
            raise OSError("gone")
        self.source.read(bands, window, out, valid)


def test_a_run_that_fails_is_traced(tmp_path, raster):
    source = Failing(raster.bands[0].source)
    broken = tj.Raster(raster.grid, (SourceBand(source, source.bands[0]),))
    with pytest.raises(TilejitError, match="gone"):
        steep(broken).save(tmp_path / "out.tif", trace=tmp_path / "out.json", **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
    events, _, trace = load(tmp_path / "out.json")
    assert "gone" in trace["otherData"]["error"]
    failed = [e for e in events if e["name"] == "decode" and e["args"]["row"] == 2]
    assert failed
    assert "finish" not in {e["name"] for e in events}


def test_no_trace_unless_asked_for(tmp_path, raster):
    steep(raster).save(tmp_path / "out.tif", **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]
    assert Stopwatch().spans is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trace.tif", r"trace\.tif: a trace is JSON: give a name that ends in \.json"),
        ("away/trace.json", r"the folder .*away does not exist: create it first"),
        ("folder.json", r"folder\.json: is a folder"),
        ("in.json", r"in\.json is an input and would be written as the trace"),
        ("link.json", r"link\.json: leads to the output .*out\.tif: give the trace another name"),
    ],
)
def test_names_that_are_refused_before_the_run(tmp_path, raster, name, message):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.json").symlink_to("out.tif")
    doubled(raster).save(tmp_path / "in.tif")
    (tmp_path / "in.tif").rename(tmp_path / "in.json")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SinkError, match=message):
        steep(tj.open(tmp_path / "in.json")).save(tmp_path / "out.tif", trace=tmp_path / name, overwrite=True)
    assert sorted(tmp_path.iterdir()) == before


def test_a_trace_replaces_an_older_one_whole_where_that_is_asked_for(tmp_path, raster):
    (tmp_path / "t.json").write_text("old")
    with pytest.raises(SinkError, match=r"t\.json: exists already: give another name, or overwrite=True"):
        doubled(raster).save(tmp_path / "out.tif", trace=tmp_path / "t.json")
    doubled(raster).save(tmp_path / "out.tif", trace=tmp_path / "t.json", overwrite=True)
    assert load(tmp_path / "t.json")[0]
    assert (tmp_path / "t.json").stat().st_mode == (tmp_path / "out.tif").stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.tif", "t.json"]


def test_a_trace_that_cannot_be_written_leaves_the_outputs(tmp_path, raster, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tilejit.formats.publishing.rename_new", full)
    with pytest.raises(SinkError, match=r"t\.json: the trace cannot be written: No space left on device"):
        write_trace(checked_trace(tmp_path / "t.json", overwrite=False), [])
    assert list(tmp_path.iterdir()) == []


def test_what_ended_the_run_goes_before_its_trace(tmp_path, raster, monkeypatch):
    def fails(*_):
        raise SinkError("no room for the trace")

    monkeypatch.setattr("tilejit.engine.pipeline.run.write_trace", fails)
    source = Failing(raster.bands[0].source)
    broken = tj.Raster(raster.grid, (SourceBand(source, source.bands[0]),))
    with pytest.raises(TilejitError, match="gone") as caught:
        steep(broken).save(tmp_path / "out.tif", trace=tmp_path / "out.json", **SMALL)
    assert caught.value.__notes__ == ["no room for the trace"]


def test_an_empty_trace_is_a_trace():
    assert [e["name"] for e in trace_of([])["traceEvents"]] == ["process_name"]


def test_the_command_line(tmp_path, raster, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    doubled(raster).save("in.tif")
    assert main(["run", "tri", "in.tif", "-o", "out.tif", "--trace", "out.json"]) == 0
    assert load(tmp_path / "out.json")[0]
    assert main(["run", "tri", "in.tif", "-o", "new.tif", "--trace", "out.txt"]) == 1
    assert "give a name that ends in .json" in capsys.readouterr().err
    assert not (tmp_path / "new.tif").exists()
