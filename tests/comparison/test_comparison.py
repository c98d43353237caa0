"""tilejit compare: every strategy gets the same pixels, and what is said of it follows from what was measured."""

import base64
import importlib
import linecache
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from kernels_for_tests import write_module
from tilejit.cli import main
from tilejit.cli.comparing import show
from tilejit.cli.terrain_demo import terrain
from tilejit.comparison import child, page, runner, strategies
from tilejit.comparison.by_hand import parallel_source
from tilejit.comparison.child import differences
from tilejit.comparison.comparison import HEADINGS, Comparison, Row, with_limits
from tilejit.comparison.interpreted import PlainBody, spread
from tilejit.comparison.measures import INSIDE, Measurement, Roofline, TrialSpec, limit_of
from tilejit.comparison.page import look_of
from tilejit.comparison.runner import _held_to, run_trial
from tilejit.comparison.sample import SampleFiles, make_sample
from tilejit.comparison.strategies import REFERENCE, STRATEGIES
from tilejit.comparison.strategy import Reader, Workload, empty
from tilejit.compiler.emitter.cpu import launch_lanes
from tilejit.errors import BackendError, KernelError, ParameterError, SinkError
from tilejit.kernel.discovery import find_kernel
from tilejit.system.limits import available_cores

pytestmark = pytest.mark.slow

BODIES = """
@tj.focal
def slope(z, *, scale=1.0, dx=tj.GROUND_WIDTH, dy=tj.GROUND_HEIGHT):
    east = (z[0, 1] - z[0, -1]) / (2 * dx)
    south = (z[1, 0] - z[-1, 0]) / (2 * dy)
    return scale * math.degrees(math.atan(math.hypot(east, south)))

@tj.local
def branches(z, *, limit=100.0):
    return 1.0 if z > limit else 0.0

@tj.local
def ratio(z):
    return (z - 120.0) / (z - 120.0)

@tj.local
def root(z):
    return math.sqrt(z - 120.0)

@tj.focal(edge="reflect")
def both(z):
    return z[0, 1] - z[0, -1], z[1, 0] + z[0, 0]

@tj.focal(nodata="kernel")
def count(z) -> np.uint8:
    n = 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if tj.is_valid(z[dy, dx]):
                n += 1
    return n

@tj.local
def places(z, *, row=tj.ROW, col=tj.COL, x=tj.X, y=tj.Y):
    return z + row * 1000 + col + (x - 500000.0) * 0.001 + (y - 5300000.0) * 0.001

@tj.local
def rounded(z) -> np.int16:
    return z * 0.5

@tj.focal
def changes(t: tj.Stack):
    total = 0.0
    for k in range(1, len(t)):
        total += abs(t[k, 0, 1] - t[k - 1, 0, -1]) + t[k] / (t[k] - 120.0)
    return total

@tj.focal(nodata="kernel")
def clear(t: tj.Stack) -> np.uint8:
    n = 0
    for k in range(len(t)):
        if tj.is_valid(t[k]):
            n += 1
    return n
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return write_module(tmp_path_factory.mktemp("kernels"), BODIES)


def write_dem(path, height=150, width=200, dtype=np.float32, holes=True, **profile):
    """A surface with a hole that is larger than a tile of any strategy, in UTM."""
    rows, cols = np.mgrid[:height, :width]
    cells = (120 + 40 * np.sin(rows / 9) + 30 * np.cos(cols / 7) + cols / 10).astype(dtype)
    if holes:
        cells[10:100, 0:140] = -99
    grid = replace(terrain(64).grid, height=height, width=width)
    tj.from_array(cells, grid=grid, nodata=-99 if holes else None).save(
        path, profile={"blockxsize": 64, "blockysize": 64, **profile}, progress=False, overwrite=True
    )
    return path


@pytest.fixture(scope="module")
def dem(tmp_path_factory):
    return write_dem(tmp_path_factory.mktemp("dem") / "dem.tif")


@pytest.fixture(scope="module")
def found(kernels, dem):
    """All strategies on all cores there are, two at most."""
    return tj.compare(kernels.slope, dem, cores=[min(2, available_cores())], seconds=0.05, scale=1.5)


class TestEveryStrategy:
    def test_there_is_a_row_for_each(self, found):
        assert [row.strategy for row in found.rows] == list(STRATEGIES)

    @pytest.mark.parametrize("name", STRATEGIES)
    def test_it_gets_the_same_pixels_or_says_why_it_cannot_run(self, found, name):
        row, obstacle = found.row(name), STRATEGIES[name].why_not()
        if obstacle is not None:
            assert row.measured is None
            assert row.why_not == obstacle
            return
        assert row.why_not is None
        assert row.is_right, row.measured
        if STRATEGIES[name].is_exact:
            assert row.measured.different == 0
        if not STRATEGIES[name].is_interpreted:
            assert row.measured.pixels == 150 * 200

    def test_the_table_says_what_is_not_installed(self, found, monkeypatch):
        lines = str(found).splitlines()
        for row in found.rows:
            line = next(x for x in lines if x.startswith(f"{row.strategy}  "))
            assert row.measured is not None or line.endswith(row.why_not)
        monkeypatch.setattr(strategies, "find_spec", lambda _: None)
        assert STRATEGIES["tilejit dask"].why_not() == "not installed: pip install distributed"

    def test_what_limits_each_is_told_with_figures(self, found):
        limits = [row.limit for row in found.rows if row.measured is not None]
        assert all(any(c.isdigit() for c in limit.reason) for limit in limits)

    def test_figures_hang_together(self, found):
        row = found.row(REFERENCE)
        assert found.whole_seconds(row) == pytest.approx(
            row.measured.start + row.measured.compile + 0.03 / row.measured.speed
        )
        assert found.over_python(row) > 1
        assert found.best.is_right
        assert found.best.strategy in found.verdict

    def test_memory_and_cores_are_told_on_linux(self, found):
        if not sys.platform.startswith("linux"):
            pytest.skip("only Linux tells")
        assert all(row.measured.memory > 20e6 for row in found.rows if row.measured is not None)


class TestTheDoor:
    def test_a_kernel_of_a_console(self, dem, tmp_path):
        text, scope = "@tj.local\ndef same(z):\n    return z\n", {"__name__": "__main__", "tj": tj}
        linecache.cache["<console>"] = len(text), None, text.splitlines(keepends=True), "<console>"
        exec(compile(text, "<console>", "exec"), scope)  # noqa: S102 - as IPython does
        task = TrialSpec("numba", 1, scope["same"], (((str(dem), 1),),), {}, 150, 0.1, str(tmp_path / "reference.npy"))
        assert run_trial(task, tmp_path / "cache").pixels == 150 * 200

    def test_a_script_that_compares_when_it_is_imported_is_refused(self, kernels, dem, monkeypatch):
        monkeypatch.setenv(INSIDE, "1")
        with pytest.raises(ParameterError, match="__main__"):
            tj.compare(kernels.slope, dem)

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"cores": [0]}, "cores"), ({"cores": [10_000]}, "10000"), ({"seconds": 0}, "seconds"),
         ({"strategies": ["hope"]}, "no strategy hope"), ({"nothing": 1}, "no parameter nothing")],
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused_before_anything_runs(self, kernels, dem, options, message):
        with pytest.raises(ParameterError, match=message):
            tj.compare(kernels.slope, dem, **options)

    def test_too_few_inputs_and_computed_ones_are_refused(self, kernels, dem):
        with pytest.raises(KernelError, match="takes 1 raster "):
            tj.compare(kernels.slope)
        with pytest.raises(ParameterError, match="nothing computed"):
            tj.compare(kernels.slope, kernels.ratio(tj.open(dem)), cores=[1])

    def test_the_command_prints_the_table_and_writes_the_report(self, kernels, dem, tmp_path, capsys):
        report = tmp_path / "report.html"
        words = ["compare", f"{kernels.__file__}:branches", str(dem), "-p", "limit=110", "--cores", "1", "--seconds",
                 "0.02", "--strategy", "numba", "--html", str(report)]  # fmt: skip
        assert main(words) == 0
        said = capsys.readouterr()
        assert "numba" in said.out
        assert "Use " in said.out
        assert str(report) in said.out
        assert "measuring numba, 1 core" in said.err
        assert report.read_text("utf-8").startswith("<!DOCTYPE html>")

    @pytest.mark.parametrize("words", [["--cores", "0"], ["--cores", "two"], ["--seconds", "0"], ["--edge", "x"]])
    def test_the_command_refuses_words_that_it_cannot_read(self, dem, words, capsys):
        assert main(["compare", "slope", str(dem), *words]) == 2
        assert words[0] in capsys.readouterr().err

    def test_an_array_in_memory_and_an_edge(self, kernels, monkeypatch):
        tasks = []
        monkeypatch.setattr(
            "tilejit.comparison.compare.run_trial", lambda task, cache: tasks.append(task) or run_trial(task, cache)
        )
        cells = np.add.outer(np.arange(40.0), np.arange(50.0)).astype(np.float32)
        result = tj.compare(kernels.both, cells, cores=[1], seconds=0.02, strategies="numba", edge=7.0)
        assert [r.is_right for r in result.rows] == [True, True]
        assert {task.kernel.edge for task in tasks} == {7.0}
        with pytest.raises(KernelError, match="has no edge"):
            tj.compare(kernels.root, cells, edge="wrap")


def spec_of(kernels, name, path, tmp_path, **options):
    kernel = getattr(kernels, name)
    kernel = kernel.with_edge(options.pop("edge")) if "edge" in options else kernel
    layers = ((str(path), 1),) * 3 if kernel.rasters[0].is_stack else None
    return TrialSpec(strategy=options.pop("strategy", REFERENCE), cores=1, kernel=kernel,
                inputs=(layers or ((str(path), 1),),), parameters={}, rows=options.pop("rows", 150), seconds=0.1,
                reference=str(tmp_path / "reference.npy"), **options)  # fmt: skip


class TestHandWrittenTiles:
    @pytest.mark.parametrize(
        "name", ["slope", "branches", "ratio", "root", "both", "count", "places", "rounded", "changes", "clear"]
    )
    def test_the_body_in_plain_python_gets_tilejits_pixels(self, kernels, dem, tmp_path, name):
        work = Workload(spec_of(kernels, name, dem, tmp_path))
        job = work.job((64, 64))
        body, reader, outputs = PlainBody(work.kernel), Reader(job), empty(work.window.shape, job)
        for window in work.windows((64, 64)):
            body(reader.call(window), [o[window.slices(work.window)] for o in outputs])
        expected = work.raster.compute(backend="cpu")
        different, distance = differences(outputs, expected, exact=False)
        assert different <= (0 if name != "rounded" else 5)  # halves that float32 rounds to, float64 does not
        assert distance < 1e-4

    @settings(deadline=None, max_examples=20)
    @given(rows=st.integers(1, 150), cols=st.integers(1, 200), name=st.sampled_from(["slope", "both", "places"]))
    def test_tiles_of_any_size_give_the_same_bits(  # noqa: PLR0917 - hypothesis names them
        self, kernels, dem, tmp_path_factory, rows, cols, name
    ):
        work = Workload(spec_of(kernels, name, dem, tmp_path_factory.getbasetemp()))
        rows, cols = max(rows, 20), max(cols, 20)
        job = work.job((rows, cols))
        launch, reader, outputs = work.launch(job), Reader(job), empty(work.window.shape, job)
        for window in work.windows((rows, cols)):
            results = reader.call(window).compute(launch, job)
            for output, result in zip(outputs, results, strict=True):
                output[window.slices(work.window)] = result
        np.testing.assert_array_equal(np.stack(outputs), work.raster.compute(backend="cpu"))

    def test_a_row_of_pixels_does_not_share_its_layers_with_another(self, kernels):
        signature = kernels.changes.signature([np.dtype(np.float32)])
        assert launch_lanes(kernels.changes, signature)
        text = parallel_source(kernels.changes, signature)
        assert re.search(r"def tile\(_control, t, _out0, _nodata0\)", text)

    def test_a_part_of_the_rows_is_compared_with_the_reference_of_all(self, kernels, dem, tmp_path):
        whole = run_trial(spec_of(kernels, "slope", dem, tmp_path), tmp_path / "cache")
        part = run_trial(spec_of(kernels, "slope", dem, tmp_path, rows=70, strategy="numba"), tmp_path / "cache")
        assert (whole.pixels, part.pixels) == (150 * 200, 70 * 200)
        assert part.different == 0

    def test_other_pixels_are_counted(self, kernels, dem, tmp_path):
        task = spec_of(kernels, "slope", dem, tmp_path)
        expected = Workload(task).raster.compute()
        expected[0, 120, 60:70] += 1
        np.save(task.reference, expected)
        assert run_trial(task, tmp_path / "cache").different == 10

    def test_a_failing_strategy_says_why(self, kernels, tmp_path):
        with pytest.raises(BackendError, match=r"gone\.tif"):
            run_trial(spec_of(kernels, "slope", tmp_path / "gone.tif", tmp_path), tmp_path / "cache")

    def test_a_task_says_the_edge(self, kernels, dem, tmp_path):
        assert Workload(spec_of(kernels, "both", dem, tmp_path, edge=7.0)).kernel.edge == 7.0
        assert Workload(spec_of(kernels, "both", dem, tmp_path)).kernel.edge == "reflect"

    @given(count=st.integers(1, 500))
    def test_windows_are_all_there_and_the_first_lie_far_apart(self, count):
        order = spread(range(count))
        assert sorted(order) == list(range(count))
        if count > 50:
            assert max(order[:20]) - min(order[:20]) > count // 2


class TestSample:
    def test_a_small_raster_is_its_own_sample(self, dem, tmp_path):
        sample = make_sample([tj.open(dem)], 1 << 20, tmp_path)
        assert sample.inputs == (((str(dem), 1),),)
        assert (sample.height, sample.width, sample.pieces) == (150, 200, 0)

    @settings(deadline=None, max_examples=6)
    @given(pixels=st.integers(1, 5_000_000), dtype=st.sampled_from(["float32", "int16", "uint8"]))
    def test_pieces_are_cells_of_the_raster_that_lie_apart(self, tmp_path_factory, pixels, dtype):
        folder = tmp_path_factory.mktemp("sample")
        height, width = 2100, 3300
        cells = np.random.default_rng(1).integers(0, 200, (height, width)).astype(dtype)
        path = folder / "whole.tif"
        tj.from_array(cells, nodata=7).save(path, profile={"compress": "deflate"}, progress=False)
        sample = make_sample([tj.open(path)], pixels, folder)
        if not sample.pieces:
            assert height * width <= 1.5 * pixels
            return
        ((file, band),) = sample.inputs[0]
        raster = tj.open(file, band=band)
        assert raster.grid.shape == (sample.height, sample.width)
        assert min(pixels, 2048 * 3072) <= sample.pixels <= pixels + 3 * 1024 * 1024
        found = raster.compute()[0]
        whole = tj.open(path).compute()[0]
        corners = set()
        for row in range(0, sample.height, 1024):
            for col in range(0, sample.width, 1024):
                piece = found[row : row + 1024, col : col + 1024]
                where = [(r, c) for r in range(0, 2048, 1024) for c in range(0, 3072, 1024)
                         if np.array_equal(whole[r : r + 1024, c : c + 1024], piece, equal_nan=dtype == "float32")]  # fmt: skip
                assert len(where) == 1
                corners.add(where[0])
        assert len(corners) == sample.pieces

    def test_bands_that_are_decoded_together_stay_together(self, tmp_path):
        cells = np.random.default_rng(2).integers(0, 99, (3, 1500, 1500)).astype(np.uint16)
        tj.from_array(cells).save(tmp_path / "scene.tif", profile={"interleave": "pixel"}, progress=False)
        sample = make_sample([tj.open(tmp_path / "scene.tif", band=2)], 1, tmp_path)
        raster = tj.open(sample.inputs[0][0][0])
        assert (len(raster), sample.inputs[0][0][1]) == (3, 2)
        np.testing.assert_array_equal(raster.band(2).compute()[0], cells[1, :1024, :1024])


ROOFLINE = Roofline((1, 2), (10e9, 20e9), (50e9, 100e9), (1e9, 2e9), 60, 8.0, 2.0)


def measured(**given):
    values = {"seconds": 1.0, "runs": 3, "pixels": 100_000_000, "cpu": 2.0, "start": 0.5, "compile": 0.5}
    return Measurement(**values | given)


class TestLimits:
    """Each limit shows in the figures, and goes when they change."""

    def test_layers_of_a_stack_share_what_lies_together(self, tmp_path):
        cells = np.random.default_rng(2).random((3, 300, 300)).astype(np.float32)
        tj.from_array(cells).save(
            tmp_path / "bands.tif", profile={"interleave": "pixel", "blockxsize": 64, "blockysize": 64}
        )
        stack = tj.open(tmp_path / "bands.tif")
        (tmp_path / "sample").mkdir()
        sample = make_sample([stack, stack.band(2)], 64 * 64 * 3, tmp_path / "sample")
        file = sample.inputs[0][0][0]
        assert sample.inputs == (((file, 1), (file, 2), (file, 3)), ((file, 2),))
        assert len(tj.open(file)) == 3

    def limit(self, cores=2, known=(), **given):
        return limit_of(measured(**given), cores, ROOFLINE, dict(known)).name

    def test_threads_that_wait_for_a_lock(self):
        stages = {"compute": (2.0, 1.0), "queue": (0.0, 0.0)}
        slow = {"pixels": 300_000, "cpu": 1.0}
        assert self.limit(**slow, stages=stages) == "GIL"
        assert self.limit(**slow, stages={"compute": (2.0, 1.0), "queue": (0.9, 0.0)}) == "interpreter"
        assert self.limit(cores=1, **slow, stages={"compute": (1.0, 1.0), "queue": (0.0, 0.0)}) == "interpreter"

    def test_arrays_that_travel(self):
        stages = {"decode": (0.2, 0.2), "compute": (0.2, 0.2)}
        assert self.limit(stages=stages, traffic=0.8) == "pickling"
        assert self.limit(stages=stages, traffic=0.1, cpu=2.0) == "overhead"

    def test_one_thread_that_decodes_for_all(self):
        stages = {"decode": (0.6, 0.6), "compute": (0.8, 0.8)}  # side by side they would take 0.7 s
        assert self.limit(stages=stages, cpu=1.4) == "decode"
        assert self.limit(stages=stages | {"wait": (0.6, 0.0)}, cpu=1.4, pixels=900_000_000) == "arithmetic"

    def test_decoding_on_all_cores(self):
        assert self.limit(stages={"decode": (1.5, 1.5), "compute": (0.5, 0.5)}) == "decode"

    def test_memory_and_arithmetic(self):
        stages = {"decode": (0.1, 0.1), "compute": (1.9, 1.9)}
        # 1.9 core seconds on 2 cores for 2 Gpx is 2.1 Gpx/s: 17 of 20 GB/s. Arithmetic alone would do 2 or 20 Gpx/s.
        fast = replace(ROOFLINE, cached=(10e9, 20e9))
        assert limit_of(measured(stages=stages, pixels=2_000_000_000), 2, fast, {}).name == "bandwidth"
        assert limit_of(measured(stages=stages, pixels=1_500_000_000), 2, ROOFLINE, {}).name == "arithmetic"

    def test_a_strategy_that_keeps_no_clock_is_judged_by_anothers(self):
        assert self.limit(known={"decode": 1e-8, "compute": 1e-9}.items()) == "decode"
        assert self.limit(known={"decode": 1e-9, "compute": 1e-9}.items()) == "overhead"


class TestRows:
    def rows(self):
        slow = measured(pixels=300_000, cpu=1.0, stages={"compute": (1.0, 1.0)}, share=0.003, distance=2e-7)
        one, two = measured(seconds=1.0, cpu=1.0), measured(seconds=0.55, cpu=1.1)
        wrong = measured(seconds=0.1, different=5)
        return [Row("python", 1, slow), Row("numba", 1, measured(seconds=1.1)), Row("pool, pickled arrays", 2, wrong),
                Row(REFERENCE, 1, one), Row(REFERENCE, 2, two), Row("tilejit cuda", 1, None, "no GPU")]  # fmt: skip

    def comparison(self):
        sample = SampleFiles(((("a.tif", 1),),), 10_000, 10_000, 100, "stored as they are")
        return Comparison(
            "slope", ("a <b> & c.tif",), 1_000_000_000, sample, ROOFLINE, with_limits(self.rows(), ROOFLINE), "m"
        )

    def test_speed_up_and_efficiency(self):
        found = self.comparison()
        two = found.row(REFERENCE, 2)
        assert found.speed_up(two) == pytest.approx(1 / 0.55)
        assert found.efficiency(two) == pytest.approx(0.5 / 0.55)
        assert found.over_python(two) == pytest.approx(100 / 0.55 / 0.3)
        assert found.whole_seconds(two) == pytest.approx(1.0 + 10 * 0.55)

    def test_a_strategy_with_other_pixels_is_never_the_one_to_use(self):
        found = self.comparison()
        assert found.best == found.row(REFERENCE, 2)
        assert "5 differ" in str(found)

    @pytest.mark.parametrize(
        ("columns", "left_out"), [(80, "start, compile, efficiency, speed-up, over Python"), (200, "")]
    )
    def test_a_terminal_shows_whole_cells(self, columns, left_out, monkeypatch, capsys):
        monkeypatch.setattr("tilejit.cli.comparing.on_terminal", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))
        show(self.comparison())
        lines = capsys.readouterr().out.split("\n")
        table = [line for line in lines if line.startswith((*STRATEGIES, "pool, pickled arrays"))]
        assert "…" not in "".join(lines)
        assert max(map(len, table)) <= columns
        assert [len(line) for line in table[:-1]] == [len(table[0])] * 5
        assert table[-1] == "tilejit cuda: no GPU"
        assert "5 differ" in table[2]
        said = " ".join(" ".join(lines).split())
        assert (f"also shows {left_out}." in said) if left_out else ("also shows" not in said)

    def test_the_page_says_in_sentences_what_the_tables_show(self, monkeypatch):
        monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        choosing = importlib.import_module("choosing")
        rows = [
            Row(name, n, measured(seconds=1 / n))
            for name, one in STRATEGIES.items()
            for n in (1, 2)[: 2 - one.is_serial]
        ]
        found = replace(self.comparison(), rows=with_limits(rows, ROOFLINE))
        said = choosing.claims(found, found)
        assert "2 of them run the slope 2.00 times as fast as one" in said
        assert "{" not in said
        page_ = choosing.between("a\n<!-- x:start -->\nold\n<!-- x:end -->\nb\n", "x", "new")
        assert page_ == "a\n<!-- x:start -->\nnew\n<!-- x:end -->\nb\n"

    def test_the_page_has_a_place_for_each_table(self):
        text = (Path(__file__).resolve().parents[2] / "docs" / "choosing.md").read_text("utf-8")
        for mark in ("slope", "orbit", "claims"):
            assert text.index(f"<!-- {mark}:start -->") < text.index(f"<!-- {mark}:end -->")

    def report(self, tmp_path):
        path = tmp_path / "report.html"
        self.comparison().save_html(path, overwrite=True)
        return path.read_text("utf-8")

    def test_the_report_is_well_formed_and_needs_nothing_else(self, tmp_path):
        found, text = self.comparison(), self.report(tmp_path)
        tree = ET.fromstring(text)  # noqa: S314 - our own page
        rows = tree.findall(".//tbody/tr")
        assert [r.find("td").text for r in rows] == [r.strategy for r in found.rows]
        assert [h.text for h in tree.findall(".//thead/tr/th")] == list(HEADINGS)
        assert not any(word in text for word in ("http:", "https:", "url(", "@import", "<script", "<link"))
        sources = re.findall(r' src="(.*?)"', text)
        assert len(sources) == 3
        for source in sources:
            kind, _, picture = source.partition(",")
            assert kind == "data:image/svg+xml;base64"
            assert ET.fromstring(base64.b64decode(picture)).tag.endswith("svg")  # noqa: S314 - our own picture

    def test_without_matplotlib_the_report_says_how_to_get_charts(self, tmp_path, monkeypatch):
        monkeypatch.setattr(page, "find_spec", lambda _: None)
        text = self.report(tmp_path)
        assert "pip install matplotlib" in text
        assert "<img" not in text
        assert len(ET.fromstring(text).findall(".//tbody/tr")) == 6  # noqa: S314 - our own page

    def test_every_strategy_has_a_look_of_its_own(self):
        looks = [(tuple(look_of(name)["color"]), look_of(name)["marker"]) for name in STRATEGIES]
        assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == len(STRATEGIES)

    def test_every_bar_fills_its_line(self):
        found = self.comparison()
        for row in found.rows:
            if row.measured is not None:
                shares = found.stage_shares(row)
                assert sum(shares.values()) == pytest.approx(1)
                assert min(shares.values()) >= 0

    def test_a_report_that_cannot_be_written(self, tmp_path):
        with pytest.raises(SinkError, match="none does not exist"):
            self.comparison().save_html(tmp_path / "none" / "report.html")

    @pytest.mark.parametrize("width", [390, 1280])
    def test_a_browser_shows_it_without_scrolling_sideways(self, tmp_path, width):
        browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if browser is None:
            pytest.skip("no chromium or google-chrome in the path")
        probe = ("<script>document.title = [document.documentElement.scrollWidth <= innerWidth, "
                 "[...document.querySelectorAll('img')].every(s => s.getBoundingClientRect().height > 100)]"
                 "</script>")  # fmt: skip
        (tmp_path / "report.html").write_text(self.report(tmp_path).replace("</body>", f"{probe}</body>"), "utf-8")
        run = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
             f"--window-size={width},1000", "--dump-dom", (tmp_path / "report.html").as_uri()],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if run.returncode:
            pytest.skip(f"the browser does not run here: {run.stderr[-200:]}")
        assert re.search(r"<title>(.*?)</title>", run.stdout)[1] == "true,true"


class TestSmallThings:
    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(1.001, 2))
    def test_a_difference_counts_where_it_is_one(self, values, factor):
        array = np.array([values])
        assert differences([array[0]], array, exact=True) == (0, 0.0)
        changed = array[0].copy()
        changed[0] = changed[0] * factor + 1e9
        assert differences([changed], array, exact=False)[0] == 1

    def test_a_family_is_a_process_and_those_that_it_started(self):
        program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, text=True) as process:
            ours = psutil.Process(process.pid)
            while len(child.family(ours)) < 2:
                assert process.poll() is None
            assert runner.memory(child.family(ours)) > 5e6
            process.communicate("\n")
        assert child.family(ours) == []
        assert child.child_of(os.getppid()) == psutil.Process()
        assert child.child_of(-1) == psutil.Process()
        assert child.cpu_seconds(psutil.Process()) > 0
        assert runner._machine_seconds() > 0

    def test_children_are_held_to_their_cores(self):
        if not hasattr(os, "sched_setaffinity"):
            pytest.skip("this system does not hold processes to cores")
        before = os.sched_getaffinity(0)
        with _held_to(1):
            run = subprocess.run(
                [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"],
                capture_output=True,
                check=True,
            )
        assert int(run.stdout) == 1
        assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("name", ["slope", "mean_5x5"], ids=["one loop", "strips"])
def test_numbas_parallel_loop_is_one(name):
    """Its row would otherwise show a serial loop under another name."""
    kernel = find_kernel(name)
    text = parallel_source(kernel, kernel.signature([np.dtype(np.float32)]))
    assert "_lane" not in text
    _, _, entry = text.partition("def tile(")
    assert re.search(r"^    for _(?:y|strip) in prange\(", entry, re.MULTILINE)
    assert not re.search(r"^    for _(?:y|strip) in range\(", entry, re.MULTILINE)
    options = re.search(r"^_NATIVE = .*", text, re.MULTILINE)[0]
    assert '"parallel": True' in options
    assert "no_cpython_wrapper" not in options
    assert "_control[" not in text
