"""The seams of docs/architecture.md: a source and a sink of the page's own code do what the shipped ones do."""

import itertools
import pickle
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from test_resuming import stopping

import tilejit as tj
from kernels_for_tests import write_module
from tilejit.engine.executors import opened
from tilejit.engine.pipeline import journal
from tilejit.engine.pipeline.run import run_job
from tilejit.engine.planning.graph import SourceBand
from tilejit.errors import PlanError, ReadError, SinkError, SourceError
from tilejit.formats import registry
from tilejit.formats.sink import OutputProfile
from tilejit.grid import Grid
from tilejit.raster.options import RunOptions
from tilejit.raster.raster import Raster
from tilejit.raster.running import plan_job
from tilejit.testing import SinkTests

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
EXPECTED = np.clip(np.arange(50)[:, np.newaxis] + np.array([-1, 0, 1]), 0, 49).sum(1) * 1.0


@tj.focal(edge="nearest")
def column_sum(z):
    return z[-1, 0] + z[0, 0] + z[1, 0]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page's code as a module, which worker processes import too."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    folder = tmp_path_factory.mktemp("page")
    info = folder / "page_of_seams-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: page-of-seams\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(
        "[tilejit.sources]\nramp = page_of_seams:open_ramp\n[tilejit.sinks]\narrays = page_of_seams:arrays\n", "utf-8"
    )
    sys.path.append(str(folder))
    yield write_module(folder, code, head="", name="page_of_seams")
    sys.path.remove(str(folder))


def ramp(page):
    source = page.Ramp(Grid(50, 40, (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)))
    return column_sum(Raster(source.grid, tuple(SourceBand(source, info) for info in source.bands)))


def sink_of(page, path, dtype=np.float64):
    return page.Arrays(OutputProfile(path=str(path), grid=Grid(50, 40), count=1, dtype=np.dtype(dtype)))


def cells_of(folder, shape=(1, 50, 40)):
    cells = np.zeros(shape)
    for file in folder.glob("*.npy"):
        row, col = map(int, file.stem.split())
        part = np.load(file)
        cells[:, row : row + part.shape[1], col : col + part.shape[2]] = part
    return cells


def assert_whole(folder):
    np.testing.assert_array_equal(cells_of(folder)[0], np.tile(EXPECTED, (40, 1)).T)


@pytest.mark.parametrize("backend", ["cpu", "python"])
@pytest.mark.parametrize("executor", ["threads", "serial"])
def test_a_source_of_the_page_into_a_sink_of_the_page(page, tmp_path, executor, backend):
    job = plan_job(ramp(page), None, RunOptions(tile=(16, 16), executor=executor, backend=backend))
    report = run_job(job, [sink_of(page, tmp_path / "out", job.plan.writes[0].dtype)])
    assert report.tiles == len(list((tmp_path / "out").glob("*.npy"))) == 12
    assert_whole(tmp_path / "out")


def test_a_sink_of_the_page_is_aborted(page, tmp_path, monkeypatch):
    written, own = itertools.count(), page.Writer.write

    def write(self, window, array):
        own(self, window, array)
        if next(written) == 3:
            raise OSError("full")

    monkeypatch.setattr(page.Writer, "write", write)
    with pytest.raises(tj.TilejitError, match="full"):
        run_job(plan_job(ramp(page), None, RunOptions(tile=(16, 16))), [sink_of(page, tmp_path / "out")])
    assert not list(tmp_path.iterdir())


def test_a_source_of_the_page_is_saved_computed_and_planned(page, tmp_path):
    raster, path = ramp(page), tmp_path / "sums.tif"
    assert "ramp" in str(raster.plan(path))
    for _ in range(2):  # a source is read again after a run has closed it
        np.testing.assert_array_equal(raster.compute()[0, :, 7], EXPECTED)
    raster.save(path)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1)[:, 39], EXPECTED)
    with pytest.raises(PlanError, match="ramp: worker processes open inputs by name"):
        raster.compute(executor="processes")


@pytest.fixture
def opened_ramp(page, tmp_path, monkeypatch):
    """A file of the page's format, opened by its name."""
    (tmp_path / "x.ramp").write_text("50 40", "utf-8")
    monkeypatch.chdir(tmp_path)
    return column_sum(tj.open("x.ramp"))


def test_a_source_of_another_package_is_opened_by_its_name(page, opened_ramp, tmp_path):
    np.testing.assert_array_equal(opened_ramp.compute()[0, :, 7], EXPECTED)
    source = opened_ramp.bands[0].application.inputs[0].source
    assert source.name == str(tmp_path / "x.ramp")
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
    assert (copy.name, copy.grid, copy.block) == (source.name, source.grid, (16, 16))
    Path("out.tif").symlink_to("x.ramp")
    with pytest.raises(tj.TilejitError, match="another name"):
        opened_ramp.save("out.tif", overwrite=True)
    (tmp_path / "x.ramp").write_text("60 40", "utf-8")
    with pytest.raises(ReadError, match="written or replaced"):
        opened_ramp.compute()


@pytest.mark.parametrize("name", ["x.ramp", "y.ramp"])
def test_a_source_of_another_package_that_cannot_be_opened(page, tmp_path, name):
    (tmp_path / "y.ramp").write_text("no numbers", "utf-8")
    with pytest.raises(SourceError, match=f"{name}: cannot be opened by page_of_seams"):
        tj.open(tmp_path / name)


def test_other_packages_are_asked_for_names_alone_that_are_no_own_formats(page, tmp_path, monkeypatch):
    tj.from_array(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    shutil.copy(tmp_path / "a.tif", tmp_path / "b")
    asked = []
    monkeypatch.setattr(registry, "outside_format", lambda _, name: asked.append(Path(name).name))
    for name in ("a.tif", "b"):
        assert tj.open(tmp_path / name).grid.shape == (4, 4)
    assert asked == ["b"]


@pytest.mark.slow
def test_a_source_of_another_package_in_other_processes_and_gone_on_with(opened_ramp, tmp_path, monkeypatch):
    options = {"tile": (16, 16), "profile": {"blockxsize": 16, "blockysize": 16}}
    opened_ramp.save("out.tif", executor="processes", workers=2, **options)
    monkeypatch.setattr(journal, "SECONDS", 0.01)
    with monkeypatch.context() as patch:
        stopping(patch, 8)
        with pytest.raises(tj.TilejitError, match="stop here"):
            opened_ramp.save("again.tif", resume=True, **options, workers=1)
    assert opened_ramp.save("again.tif", resume=True, **options).resumed > 0
    for name in ("out.tif", "again.tif"):
        np.testing.assert_array_equal(tj.open(name).compute()[0, :, 39], EXPECTED)


@pytest.mark.slow
def test_workers_in_other_processes_write_to_a_sink_of_the_page(page, tmp_path):
    source = tmp_path / "ramp.tif"
    cells = np.repeat(np.arange(50, dtype=np.int32)[:, np.newaxis], 40, axis=1)
    tj.from_array(cells).save(source, dtype="int32")
    folder = tmp_path / "parts"
    options = RunOptions(tile=(16, 16), executor="processes", workers=1)
    job = plan_job(column_sum(tj.open(source)), None, options)
    with opened("processes", 1) as executor:
        run_job(job, [sink_of(page, folder, job.plan.writes[0].dtype)], executor)
    assert_whole(folder)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["arrays", "tif"])
def test_a_sink_of_another_package_is_saved_to_gone_on_with_and_written_by_processes(
    opened_ramp, tmp_path, monkeypatch, suffix
):
    options = {"tile": (16, 16)} | ({"profile": {"blockxsize": 16, "blockysize": 16}} if suffix == "tif" else {})
    for name, more in {"serial": {}, "threads": {}, "processes": {"workers": 2}}.items():
        report = opened_ramp.save(f"{name}.{suffix}", executor=name, **options, **more)
        assert report.output_bytes > 0
    monkeypatch.setattr(journal, "SECONDS", 0.01)
    with monkeypatch.context() as patch:
        stopping(patch, 8)
        with pytest.raises(tj.TilejitError, match="stop here"):
            opened_ramp.save(f"again.{suffix}", resume=True, workers=1, **options)
    assert opened_ramp.save(f"again.{suffix}", resume=True, **options).resumed > 0
    if suffix == "arrays":
        assert "a folder of arrays" in str(opened_ramp.plan("other.arrays"))
        with pytest.raises(SinkError, match=r"again\.arrays: exists already"):
            opened_ramp.save("again.arrays")
        for name in ("serial", "threads", "processes", "again"):
            assert_whole(tmp_path / f"{name}.arrays")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


class TestSinkOfThePage(SinkTests):
    """The suite asks for nothing that the page's sink has not."""

    @pytest.fixture(autouse=True)
    def _page(self, page, tmp_path):
        self.page, self.path = page, tmp_path / "out.arrays"

    def make(self, grid, count, dtype):
        self.shape = count, *grid.shape
        return self.page.Arrays(OutputProfile(path=str(self.path), grid=grid, count=count, dtype=dtype))

    def read_back(self):
        return cells_of(self.path, self.shape)
