"""Runs that are gone on with: after a kill, a full disk, Ctrl-C; to the same pixels, and never of another run."""

import gzip
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from test_distribution import Elsewhere, write
from test_executors import ENVIRONMENT, MPIEXEC, needs_dask, needs_mpi

import tilejit as tj
from executor_kernels import counted, scaled, slopes, smooth
from kernels_for_tests import write_module
from resume_run import OPTIONS, raster
from tilejit.cli import main
from tilejit.engine.executors.base import SerialExecutor
from tilejit.engine.pipeline import journal, run
from tilejit.engine.pipeline.journal import Journal
from tilejit.engine.planning.parts import unfinished
from tilejit.errors import PlanError, ReadError, SinkError
from tilejit.formats.folders import shards
from tilejit.formats.folders.folder_sink import FolderSink
from tilejit.formats.geotiff.block_writer import BlockWriter
from tilejit.formats.geotiff_sink import BlockSink
from tilejit.formats.registry import stored_bytes

psutil = pytest.importorskip("psutil")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(scope="module")
def dem(tmp_path_factory):
    """Uneven sizes, nodata in a stripe and at single cells, and 264 tiles of ``OPTIONS``."""
    rng = np.random.default_rng(5)
    cells = (rng.random((1, 1501, 1389)) * 900).astype(np.float32)
    cells[:, 200:230, 50:300] = cells[0, rng.integers(0, 1501, 40), rng.integers(0, 1389, 40)] = -99
    folder = tmp_path_factory.mktemp("dem")
    return write(folder / "dem.tif", cells, nodata=-99, tiled=True, blockxsize=64, blockysize=64, compress="deflate")


@pytest.fixture(scope="module")
def wanted(dem, tmp_path_factory):
    path = tmp_path_factory.mktemp("wanted") / "out.tif"
    raster(dem).save(path, **OPTIONS)
    return cells_of(path)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """What takes two workers more than a second to count in, and the result."""
    cells = (np.random.default_rng(1).random((1, 600, 300)) * 50 + 50).astype(np.float32)
    path = write(tmp_path_factory.mktemp("slow") / "dem.tif", cells, tiled=True, blockxsize=64, blockysize=64)
    return path, counted(tj.open(path)).compute()


@pytest.fixture
def often(monkeypatch):
    """Notes finished tiles a hundred times a second."""
    monkeypatch.setattr(journal, "SECONDS", 0.01)


def cells_of(path):
    if path.suffix == ".zarr":
        group = pytest.importorskip("zarr").open_group(path, mode="r")
        return np.stack([a[...] for name, a in sorted(group.arrays()) if name not in {"x", "y", "spatial_ref"}])
    with rasterio.open(path) as dataset:
        return dataset.read()


def same(path, wanted):
    cells = cells_of(path)
    assert (cells.dtype, cells.shape) == (wanted.dtype, wanted.shape)
    assert cells.tobytes() == wanted.tobytes()


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def journal_of(folder):
    [found] = folder.glob(".*.jsonl")
    return found


class StopError(Exception):
    """What ends a run in these tests."""


def stopping(monkeypatch, after, error=StopError):
    """Lets a run fail when so many tiles are written."""
    number, tile = count(), run.Batches.tile

    def failing(self, window, states):
        if next(number) == after:
            raise error("stop here")
        return tile(self, window, states)

    monkeypatch.setattr(run.Batches, "tile", failing)


def stopped(monkeypatch, dem, path, after=100, **options):
    """Runs a job that ends in the middle."""
    with monkeypatch.context() as patch:
        stopping(patch, after)
        with pytest.raises(tj.TilejitError, match="stop here") as caught:
            raster(dem).save(path, resume=True, **OPTIONS, **options)
    return caught.value


@needs_fork
@pytest.mark.parametrize(("suffix", "kills"), [(".tif", 50), (".vrt", 12), (".zarr", 12)])
def test_kills_at_random_moments(dem, wanted, tmp_path, suffix, kills):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    script = Path(__file__).parents[1] / "resume_run.py"
    words = [sys.executable, script, "moments", dem, tmp_path, suffix, str(kills), "1"]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["lines"]) >= kills
    assert max(report["lines"]) > 3, "no run had anything to go on with"
    outputs = [tmp_path / f"run{k}{suffix}" for k in range(report["runs"])]
    for path in outputs:
        same(path, wanted)
    # A kill in the instant in which GDAL makes a file under a name that nobody can guess leaves it to the next run.
    assert [name for name in names(tmp_path) if name.startswith(".")] == []


@needs_fork
@pytest.mark.parametrize("overwrite", [False, True])
def test_kills_between_the_names_of_outputs(tmp_path_factory, tmp_path, overwrite):
    """All is written, and some outputs have their names: the next run gives the others theirs, and computes nothing."""
    pytest.importorskip("zarr")
    cells = np.random.default_rng(1).random((1, 200, 150)).astype(np.float32)
    dem = write(tmp_path_factory.mktemp("small") / "dem.tif", cells)
    raster(dem).save(dem.with_name("wanted.tif"), **OPTIONS)
    wanted = cells_of(dem.with_name("wanted.tif"))
    script = Path(__file__).parents[1] / "resume_run.py"
    words = [sys.executable, script, "names", dem, tmp_path, str(int(overwrite))]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)
    # A file, a folder and its VRT, a folder, each of which moves one that is there away before, and removes it after;
    # and the journal's end.
    assert [run["there"] for run in runs] == ([4, 4, 3, 4, 4, 4, 3, 4, 4] if overwrite else [0, 1, 2, 3, 4])
    assert all((run["tasks"], run["resumed"]) == (0, 200 * 150) for run in runs)
    assert names(tmp_path) == sorted(f"run{k}" for k in range(len(runs)))
    for folder in tmp_path.iterdir():
        assert names(folder) == ["a.tif", "b.tiles", "b.vrt", "c.zarr"]
        for name in ("a.tif", "b.vrt", "c.zarr"):
            same(folder / name, wanted)


def test_what_has_its_name_and_what_somebody_put_there(dem, wanted, tmp_path, monkeypatch):
    path = tmp_path / "out.tif"

    def stopped_at_the_end():
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "remove", lambda _: (_ for _ in ()).throw(StopError("stop here")))
            with pytest.raises(StopError):
                raster(dem).save(path, resume=True, **OPTIONS)
        assert path.exists()
        assert journal_of(tmp_path).exists()

    stopped_at_the_end()
    assert raster(dem).save(path, resume=True, **OPTIONS).tiles == 0
    same(path, wanted)
    path.unlink()
    stopped_at_the_end()
    path.unlink()
    assert raster(dem).save(path, resume=True, **OPTIONS).tiles == 264
    same(path, wanted)
    path.unlink()
    stopped_at_the_end()
    path.unlink()
    path.write_text("somebody's own")  # by the number of the file that was deleted, on most file systems
    with pytest.raises(SinkError, match=r"out\.tif: exists already"):
        raster(dem).save(path, resume=True, **OPTIONS)
    assert path.read_text() == "somebody's own"
    assert raster(dem).save(path, resume=True, overwrite=True, **OPTIONS).tiles == 264
    same(path, wanted)
    assert names(tmp_path) == ["out.tif"]


def test_an_old_side_file_does_not_stay_beside_new_pixels(dem, tmp_path, monkeypatch):
    """Killed after the file had its name, and before what lay beside the old one was gone."""
    path, side = tmp_path / "out.tif", tmp_path / "out.tif.aux.xml"
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", lambda _: (_ for _ in ()).throw(StopError("stop here")))
        with pytest.raises(StopError):
            raster(dem).save(path, resume=True, overwrite=True, **OPTIONS)
    side.write_text("<PAMDataset/>")
    raster(dem).save(path, resume=True, overwrite=True, executor="processes", workers=1, **OPTIONS)
    assert names(tmp_path) == ["out.tif"]


RUN = """
import os
import sys
from pathlib import Path
import tilejit as tj
from executor_kernels import counted
from resume_run import OPTIONS
from tilejit.engine.pipeline import journal

if __name__ == "__main__":
    journal.SECONDS = 0.02
    dem, path, executor, pid = sys.argv[1:]
    Path(pid).write_text(str(os.getpid()))
    workers = {} if executor == "mpi" else {"workers": 2}
    report = counted(tj.open(dem)).save(path, resume=True, executor=executor, **workers, **OPTIONS)
    print(report.resumed, report.pixels)
"""


@pytest.mark.parametrize(
    "executor", ["processes", pytest.param("mpi", marks=needs_mpi), pytest.param("dask", marks=needs_dask)]
)
def test_a_kill_of_the_leading_process(slow, tmp_path, executor):
    dem, wanted = slow
    script, path, leader = tmp_path / "run.py", tmp_path / "out.tif", tmp_path / "pid"
    script.write_text(RUN)
    start = [MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures"] if executor == "mpi" else [sys.executable]
    command = [*start, script, dem, path, executor, leader]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(p.read_bytes().count(b"\n") > 1 for p in tmp_path.glob(".*.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(int(leader.read_text()), signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(children, timeout=30)[1]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    resumed, pixels = map(int, done.stdout.split())
    assert 0 < resumed < resumed + pixels == wanted.size
    same(path, wanted)
    assert names(tmp_path) == ["out.tif", "pid", "run.py"]


def test_a_run_that_succeeds_leaves_nothing(dem, wanted, tmp_path):
    report = raster(dem).save(tmp_path / "out.tif", resume=True, **OPTIONS)
    same(tmp_path / "out.tif", wanted)
    assert names(tmp_path) == ["out.tif"]
    assert report.resumed == 0
    assert "resumed" not in str(report)


@pytest.mark.parametrize("suffix", [".tif", ".vrt", ".zarr"])
def test_a_failure_is_gone_on_from(dem, wanted, tmp_path, monkeypatch, suffix):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    path = tmp_path / f"out{suffix}"
    error = stopped(monkeypatch, dem, path)
    assert "resume=True" in error.__notes__[-1]
    assert str(journal_of(tmp_path)) in error.__notes__[-1]
    assert not path.exists()
    report = raster(dem).save(path, resume=True, **OPTIONS)
    assert report.resumed > 0
    assert report.pixels + report.resumed == 1501 * 1389
    assert 0 < report.tiles < 264
    assert f"resumed   {report.resumed / 1e6:.1f} Mpx" in str(report)
    same(path, wanted)
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_a_failure_without_a_journal_leaves_nothing(dem, tmp_path, monkeypatch):
    monkeypatch.setattr(BlockWriter, "_put", lambda *_: 1 / 0)
    with pytest.raises(tj.TilejitError, match="division"):
        raster(dem).save(tmp_path / "out.tif", **OPTIONS)
    assert names(tmp_path) == []


def test_ctrl_c_is_gone_on_from(dem, wanted, tmp_path, monkeypatch, often):
    with monkeypatch.context() as patch:
        stopping(patch, 150, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            raster(dem).save(tmp_path / "out.tif", resume=True, executor="serial", **OPTIONS)
    assert "resume=True" in caught.value.__notes__[-1]
    report = raster(dem).save(tmp_path / "out.tif", resume=True, **OPTIONS)
    assert report.tiles == 264 - 150
    same(tmp_path / "out.tif", wanted)


def test_an_input_that_cannot_be_read_to_its_end(dem, wanted, tmp_path, monkeypatch):
    from tilejit.engine.pipeline.tile_buffers import TileBuffer

    decode, number = TileBuffer.decode, count()

    def failing(self, *arguments):
        if next(number) == 200:
            raise ReadError("the network is gone")
        return decode(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TileBuffer, "decode", failing)
        with pytest.raises(ReadError, match="network"):
            raster(dem).save(tmp_path / "out.tif", resume=True, **OPTIONS)
    assert raster(dem).save(tmp_path / "out.tif", resume=True, **OPTIONS).resumed > 0
    same(tmp_path / "out.tif", wanted)


@pytest.mark.parametrize("suffix", [".tif", ".vrt"])
def test_a_full_disk(dem, wanted, tmp_path, suffix, often):
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nothing be mounted")
    try:
        path = small / f"out{suffix}"
        with pytest.raises(SinkError, match=r"(?i)space|bytes left") as caught:
            raster(dem).save(path, resume=True, **OPTIONS)
        assert "resume=True" in caught.value.__notes__[-1]
        with pytest.raises(SinkError, match=r"(?i)space|bytes left"):
            raster(dem).save(path, resume=True, **OPTIONS)
        subprocess.run(["mount", "-o", "remount,size=40m", small], check=True)
        raster(dem).save(path, resume=True, **OPTIONS)
        same(path, wanted)
        assert not [name for name in names(small) if name.startswith(".")]
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("suffix", [".tif", ".vrt"])
def test_what_was_written_before_anything_was_finished_leaves_no_bytes(dem, tmp_path, monkeypatch, suffix):
    """As after a full disk: the journal has its first line and no tile, and blocks are in the output."""
    path = tmp_path / f"out{suffix}"
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_flush", lambda _: None)
        stopping(patch, 200)
        with pytest.raises(tj.TilejitError, match="stop here"):
            raster(dem).save(path, resume=True, **OPTIONS)
    assert journal_of(tmp_path).read_bytes().count(b"\n") == 1
    assert raster(dem).save(path, resume=True, workers=1, **OPTIONS).resumed == 0
    raster(dem).save(tmp_path / f"plain{suffix}", workers=1, **OPTIONS)
    assert stored_bytes(str(path)) == pytest.approx(stored_bytes(str(tmp_path / f"plain{suffix}")), abs=4096)
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def after_one(add):
    """Fails when the first part of an executor's is noted; threads note none before their end."""

    def failing(self, windows, *arguments):
        add(self, windows, *arguments)
        if len(windows) == 1:
            raise StopError("stop here")

    return failing


@pytest.mark.parametrize("first", [None, SerialExecutor, Elsewhere])
@pytest.mark.parametrize("then", [None, SerialExecutor, Elsewhere])
def test_whoever_works(dem, tmp_path, monkeypatch, first, then):
    """Another executor goes on; also one whose workers send what they wrote home."""
    outputs = {tmp_path / "a.tif": slopes(smooth(tj.open(dem))), tmp_path / "b.vrt": scaled(tj.open(dem), factor=2)}
    with monkeypatch.context() as patch:
        stopping(patch, 150)
        patch.setattr(Journal, "add", after_one(Journal.add))
        with pytest.raises(Exception, match="stop here"):
            tj.save(outputs, resume=True, **({"executor": first()} if first else {}), **OPTIONS)
    report = tj.save(outputs, resume=True, **({"executor": then()} if then else {}), **OPTIONS)
    assert report.resumed > 0
    plain = {tmp_path / f"plain_{path.name}": made for path, made in outputs.items()}
    tj.save(plain, **OPTIONS)
    for path, (there, _) in zip(outputs, plain.items(), strict=True):
        same(path, cells_of(there))
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_a_line_that_was_cut_off(dem, wanted, tmp_path, monkeypatch, often):
    path = tmp_path / "out.tif"
    stopped(monkeypatch, dem, path, 200)
    lines = journal_of(tmp_path).read_bytes().splitlines(keepends=True)
    assert len(lines) > 2
    journal_of(tmp_path).write_bytes(b"".join(lines)[:-7])
    report = raster(dem).save(path, resume=True, **OPTIONS)
    assert report.tiles == 264 - sum(len(json.loads(line)["windows"]) for line in lines[1:-1])
    same(path, wanted)


def test_a_header_that_was_cut_off_begins_anew(dem, wanted, tmp_path, monkeypatch):
    path = tmp_path / "out.tif"
    stopped(monkeypatch, dem, path)
    journal_of(tmp_path).write_bytes(journal_of(tmp_path).read_bytes()[:20])
    assert raster(dem).save(path, resume=True, **OPTIONS).resumed == 0
    same(path, wanted)
    assert names(tmp_path) == ["out.tif"]


def test_a_journal_without_its_output_begins_anew(dem, wanted, tmp_path, monkeypatch):
    path = tmp_path / "out.tif"
    stopped(monkeypatch, dem, path)
    next(tmp_path.glob(".*.resume.tif")).unlink()
    assert raster(dem).save(path, resume=True, **OPTIONS).resumed == 0
    same(path, wanted)


def test_an_output_without_its_journal_begins_anew(dem, wanted, tmp_path, monkeypatch):
    for suffix in (".tif", ".vrt"):
        path = tmp_path / f"out{suffix}"
        stopped(monkeypatch, dem, path)
        journal_of(tmp_path).unlink()
        assert raster(dem).save(path, resume=True, **OPTIONS).resumed == 0
        same(path, wanted)
    assert names(tmp_path) == ["out.tif", "out.tiles", "out.vrt"]


def test_an_output_that_is_shorter_than_its_journal_says(dem, tmp_path, monkeypatch):
    path = tmp_path / "out.tif"
    stopped(monkeypatch, dem, path)
    os.truncate(next(tmp_path.glob(".*.resume.tif")), 9000)
    with pytest.raises(SinkError, match=r"9,000 bytes, and its journal says [\d,]+: delete"):
        raster(dem).save(path, resume=True, **OPTIONS)


def test_a_journal_that_was_changed(dem, tmp_path, monkeypatch):
    path = tmp_path / "out.tif"
    stopped(monkeypatch, dem, path)
    header, *rest = journal_of(tmp_path).read_bytes().splitlines(keepends=True)
    journal_of(tmp_path).write_bytes(b"".join([header, b"what?\n", *rest]))
    with pytest.raises(PlanError, match=r"line 2 is no JSON.*delete this file"):
        raster(dem).save(path, resume=True, **OPTIONS)
    odd = [header, b"[1, 2]\n", b'{"windows": 7}\n', b"null\n", rest[0].replace(b'"states":', b'"staets":')]
    for line in odd[1:]:
        journal_of(tmp_path).write_bytes(header + line)
        with pytest.raises(PlanError, match=r"line 2 is not as a run wrote it.*delete this file"):
            raster(dem).save(path, resume=True, **OPTIONS)
    journal_of(tmp_path).write_bytes(header.replace(b"tilejit journal", b"another journal"))
    with pytest.raises(PlanError, match=r"line 1 is not as a run wrote it.*delete this file"):
        raster(dem).save(path, resume=True, **OPTIONS)


@pytest.mark.parametrize("case", [".vrt gone", ".vrt cut", ".vrt altered", ".zarr gone", ".zarr altered"])
def test_finished_files_are_looked_at(dem, wanted, tmp_path, monkeypatch, case):
    """A shard or a chunk that was purged, cut or altered since is never a hole, nor other pixels."""
    suffix, change = case.split()
    path = tmp_path / f"out{suffix}"
    monkeypatch.setattr(shards, "SHARD_BYTES", 1 << 18)
    stopped(monkeypatch, dem, path)
    [folder] = [p for p in tmp_path.glob(".*.resume.*") if p.is_dir()]
    lines = journal_of(tmp_path).read_bytes().splitlines()[1:]
    [name, size, _] = next(s for line in lines for s in json.loads(line)["manifests"][0]["checksums"] if s[1] > 0)
    content = (folder / name).read_bytes()
    assert len(content) == size
    if change == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[:-1] + (b"" if change == "cut" else bytes([content[-1] ^ 1])))
    says = {"gone": "no file", "cut": f"{size - 1:,} bytes", "altered": "other bytes"}[change]
    with pytest.raises(SinkError, match=rf"cannot go on: .* has {says}.*: delete .* to begin anew"):
        raster(dem).save(path, resume=True, **OPTIONS)
    assert not path.exists()
    (folder / name).write_bytes(content)
    raster(dem).save(path, resume=True, **OPTIONS)
    same(path, wanted)


@pytest.mark.parametrize(
    "name",
    [
        "/vsizip/{zip}/dem.tif",
        "zip://{zip}!dem.tif",
        "/vsigzip/{gz}",
        "/vsisubfile/16_{size},{bin}",
        "/vsitar/{tar}/dem.tif",
    ],
)
def test_an_archive_is_part_of_a_run(dem, tmp_path, monkeypatch, name):
    """What is written anew in an archive is another input, though GDAL's name for it has no time."""
    data, small = dem.read_bytes(), tmp_path / "small"

    def pack(content):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr("dem.tif", content)
        with tarfile.open(tmp_path / "a.tar", "w") as file:
            small.write_bytes(content)
            file.add(small, "dem.tif")
        (tmp_path / "a.gz").write_bytes(gzip.compress(content, 1))
        (tmp_path / "a.bin").write_bytes(b"head of sixteen." + content)

    pack(data)
    places = {n: str(tmp_path / f"a.{n}") for n in ("zip", "gz", "bin", "tar")}
    place, path = name.format(size=len(data), **places), tmp_path / "out.tif"
    stopped(monkeypatch, place, path, after=20)
    pack(data[:-8] + bytes(8))
    with pytest.raises(PlanError, match=r"another:\n  input .*\n    was .* bytes, of .*\n    is  "):
        raster(place).save(path, resume=True, **OPTIONS)


def test_an_input_that_nobody_sees_change_is_refused(dem, tmp_path):
    refused = pytest.raises(PlanError, match="is no local file, nor in a local archive: copy it here")
    with rasterio.MemoryFile(dem.read_bytes()) as memory, refused:
        raster(memory.name).save(tmp_path / "out.tif", resume=True, **OPTIONS)


KERNEL = """
import tilejit as tj

OFFSET = {offset}

@tj.focal{contract}
def made(z, *, factor=2.0):
    return z[0, 1] * factor + OFFSET{more}
"""


def kernel_of(folder, *, offset=1.0, contract="", more=""):
    return write_module(folder, KERNEL.format(offset=offset, contract=contract, more=more), head="").made


def test_another_run_is_refused_with_what_differs(tmp_path, monkeypatch):
    cells = np.random.default_rng(2).random((1, 640, 512)).astype(np.float32)
    dem = write(tmp_path / "dem.tif", cells, tiled=True, blockxsize=64, blockysize=64)
    path, kernel = tmp_path / "out.tif", kernel_of(tmp_path)

    def save(kernel=kernel, parameters=None, **options):
        return kernel(tj.open(dem), **(parameters or {})).save(path, resume=True, **(OPTIONS | options))

    with monkeypatch.context() as patch:
        stopping(patch, 20)
        with pytest.raises(tj.TilejitError, match="stop here"):
            save()
    before = {p: p.read_bytes() for p in tmp_path.glob(".*")}
    body = r"made: body, helpers and constants\n    was \w+\n    is  \w+\n"
    for options, difference in (
        ({"kernel": kernel_of(tmp_path, offset=2.0)}, body),
        ({"kernel": kernel_of(tmp_path, more=" + 1.0")}, body),
        ({"kernel": kernel_of(tmp_path, contract="(edge='nearest')")}, body),
        ({"parameters": {"edge": "nearest"}}, body),
        ({"dtype": "float64"}, r"out\.tif: bands\n    was 1 of float32.*\n    is  1 of float64"),
        ({"nodata": "none"}, r"out\.tif: nodata\n    was nan\n    is  None\n"),
        ({"parameters": {"factor": 3.0}}, r"made: factor\n    was 2\.0\n    is  3\.0\n"),
        ({"tile": (128, 128)}, r"tile \(rows, columns\)\n    was \(64, 128\)\n    is  \(128, 128\)\n"),
        ({"nodata": -5.0}, r"out\.tif: nodata\n    was nan\n    is  -5\.0\n"),
        ({"backend": "python"}, r"backend\n    was cpu\n    is  python\n"),
        (
            {"profile": {"blockxsize": 64, "blockysize": 64, "compress": "deflate"}},
            r"creation options\n    was .*COMPRESS=ZSTD.*\n    is  .*COMPRESS=DEFLATE",
        ),
    ):
        with pytest.raises(PlanError, match=rf"jsonl: (?s:.*){difference}(?s:.*)delete this file to begin anew"):
            save(**options)
        assert {p: p.read_bytes() for p in tmp_path.glob(".*")} == before
    os.utime(dem, ns=(0, 5))
    with pytest.raises(PlanError, match=r"input .*dem\.tif\n    was .* bytes, of 20.*\n    is  .* of 1970.* 5 ns"):
        save()


def test_c_functions_are_part_of_a_run(monkeypatch):
    import ctypes
    from types import SimpleNamespace

    from tilejit.raster import resuming

    address = ctypes.cast(ctypes.CDLL(None).malloc, ctypes.c_void_p).value
    function = SimpleNamespace(pointer=SimpleNamespace(address=address))
    form, facts = SimpleNamespace(c_functions=(function, function)), SimpleNamespace(calls_c=True)
    kernel = SimpleNamespace(form=form, facts=facts)
    [file] = resuming._libraries(kernel)
    assert Path(file).is_file()
    monkeypatch.setattr(resuming, "c_function", lambda _: None)
    with pytest.raises(tj.TilejitError, match="does not tell the files of C functions"):
        resuming._libraries(kernel)


def test_files_of_a_vrt_are_part_of_a_run(dem, tmp_path):
    from tilejit.raster.options import RunOptions
    from tilejit.raster.resuming import job_fingerprint
    from tilejit.raster.running import plan_outputs

    raster(dem).save(tmp_path / "dem.vrt", **OPTIONS)
    job, profiles = plan_outputs({tmp_path / "out.tif": raster(tmp_path / "dem.vrt")}, RunOptions(**OPTIONS))
    shards = sorted(p.name for p in (tmp_path / "dem.tiles").iterdir())
    inputs = [name for name in job_fingerprint(job, profiles) if name.startswith("input")]
    assert sorted(Path(name).name for name in inputs) == ["dem.vrt", *shards]


def test_two_runs_at_once(dem, tmp_path):
    seen = []

    def another(self, *arguments):
        if not seen:
            with pytest.raises(SinkError, match=r"another run is writing this output") as caught:
                raster(dem).save(tmp_path / "out.tif", resume=True, **OPTIONS)
            seen.append(caught.value)
        return begin(self, *arguments)

    begin = Journal.begin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "begin", another)
        raster(dem).save(tmp_path / "out.tif", resume=True, **OPTIONS)
    assert not getattr(seen[0], "__notes__", ())
    assert names(tmp_path) == ["out.tif"]


def test_an_output_that_cannot_be_created_leaves_no_journal(dem, tmp_path):
    with pytest.raises(tj.TilejitError):
        tj.save({tmp_path / "a.tif": raster(dem), tmp_path / "b.vrt": raster(dem)}, resume=True,
                **(OPTIONS | {"profile": {"endianness": "sideways", "blockxsize": 64, "blockysize": 64}}))  # fmt: skip
    assert names(tmp_path) == []


def test_a_journal_that_cannot_be_written_ends_the_run(dem, tmp_path, monkeypatch, often):
    monkeypatch.setattr(BlockSink, "sync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(SinkError, match=r"jsonl: finished tiles cannot be noted: .*Input/output error"):
        raster(dem).save(tmp_path / "out.tif", resume=True, **OPTIONS)
    assert not (tmp_path / "out.tif").exists()


def test_cells_are_on_the_disk_before_their_line(dem, tmp_path, monkeypatch, often):
    events = []
    for sink in (BlockSink, FolderSink):
        monkeypatch.setattr(sink, "sync", lambda _: events.append("sync"))
    write_lines = Journal._write

    def noted(self, lines):
        events.append("lines")
        write_lines(self, lines)

    monkeypatch.setattr(Journal, "_write", noted)
    tj.save({tmp_path / "a.tif": raster(dem), tmp_path / "b.vrt": raster(dem)}, resume=True, **OPTIONS)
    assert events[0] == "lines", "the header"
    assert len(events) > 3
    assert events[1:] == [*["sync", "sync", "lines"] * (len(events) // 3), "lines"], "the last says: complete"


def test_what_cannot_be_gone_on_with_is_refused(dem, tmp_path):
    with pytest.raises(PlanError, match=r"in memory: save it to a file"):
        scaled(tj.from_array(np.ones((8, 8), np.float32))).save(tmp_path / "out.tif", resume=True)
    with pytest.raises(PlanError, match=r"through GDAL: COMPRESS=LZMA, which cannot be gone on with"):
        raster(dem).save(tmp_path / "out.tif", resume=True, profile={"compress": "lzma"})
    with pytest.raises(TypeError, match="resume"):
        raster(dem).compute(resume=True)
    assert names(tmp_path) == []


def test_collisions_of_both_runs_are_told(tmp_path, monkeypatch):
    cells = np.full((1, 640, 512), 3, np.uint8)
    dem = write(tmp_path / "dem.tif", cells, tiled=True, blockxsize=64, blockysize=64)
    run = scaled(tj.open(dem), factor=3)
    with monkeypatch.context() as patch:
        stopping(patch, 20)
        with pytest.raises(tj.TilejitError, match="stop here"):
            run.save(tmp_path / "out.tif", resume=True, nodata=9, **OPTIONS)
    with pytest.warns(tj.NodataWarning, match=f"{640 * 512} valid pixels"):
        run.save(tmp_path / "out.tif", resume=True, nodata=9, **OPTIONS)


def test_the_command_line(dem, wanted, tmp_path, monkeypatch, capsys):
    kernels = Path(__file__).parents[1] / "executor_kernels.py"
    words = [
        "run",
        f"{kernels}:scaled",
        str(dem),
        "-o",
        str(tmp_path / "out.tif"),
        "--resume",
        "--tile",
        "64x128",
        "-q",
    ]
    words += ["--profile", "blockxsize=64,blockysize=64"]
    with monkeypatch.context() as patch:
        stopping(patch, 100)
        assert main(words) == 1
    assert f"give --resume again to go on, or delete {journal_of(tmp_path)}" in capsys.readouterr().err
    assert main([*words, "-p", "factor=7"]) == 1
    assert "factor\n    was 2.0\n    is  7.0" in capsys.readouterr().err
    assert main(words) == 0
    scaled(tj.open(dem)).save(tmp_path / "wanted.tif", **OPTIONS)
    same(tmp_path / "out.tif", cells_of(tmp_path / "wanted.tif"))


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_finished_tiles_are_left_out_and_no_others(tmp_path_factory, data):
    """A journal of any subset of a run's tiles, in any order, resumes to the same pixels."""
    folder = tmp_path_factory.mktemp("any")
    cells = np.random.default_rng(4).random((1, 130, 100)).astype(np.float32)
    dem = write(folder / "dem.tif", cells, tiled=True, blockxsize=16, blockysize=16)
    path, made = folder / "out.tif", smooth(tj.open(dem))
    tile = data.draw(st.sampled_from([(16, 16), (32, 48), (64, 160)]))
    options = {"tile": tile, "profile": {"blockxsize": 16, "blockysize": 16}, "progress": False, "resume": True}
    total = -(-130 // tile[0]) * -(-100 // tile[1])
    with pytest.MonkeyPatch.context() as patch:
        leave = run.Batches._leave
        patch.setattr(run.Batches, "_leave", lambda self, batch: (leave(self, batch), self.close()))
        patch.setattr(BlockSink, "prepare", lambda _: (_ for _ in ()).throw(SinkError("stop here")))
        with pytest.raises(SinkError, match="stop here"):
            made.save(path, executor="serial", **options)
    header, *lines = journal_of(folder).read_bytes().splitlines(keepends=True)
    assert len(lines) == total
    kept = data.draw(st.lists(st.integers(0, total - 1), unique=True))
    journal_of(folder).write_bytes(b"".join([header, *(lines[k] for k in kept)]))
    report = made.save(path, **options)
    assert report.tiles == total - len(kept)
    same(path, made.compute())
    assert names(folder) == ["dem.tif", "out.tif"]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_left_is_covered_once(data):
    rows, cols = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    tile = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    plan = smooth(tj.from_array(np.zeros((rows, cols), np.float32))).plan(tile=tile)
    tasks = [window for _, window in plan.tiles()]
    done = data.draw(st.sets(st.sampled_from(tasks)))
    hits = np.zeros((rows, cols), int)
    for window in unfinished(plan, [plan.window], done):
        hits[window.row_off : window.row_end, window.col_off : window.col_end] += 1
    for window in tasks:
        part = hits[window.row_off : window.row_end, window.col_off : window.col_end]
        assert (part == (window not in done)).all()


def test_sigterm_is_gone_on_from(dem, tmp_path):
    kernels = Path(__file__).parents[1] / "executor_kernels.py"
    cells = (np.random.default_rng(1).random((1, 900, 500)) * 50 + 50).astype(np.float32)
    slow = write(tmp_path / "slow.tif", cells, tiled=True, blockxsize=64, blockysize=64)
    words = ["run", f"{kernels}:counted", slow, "-o", tmp_path / "out.tif", "--resume", "--tile", "64x128"]
    words = [sys.executable, "-m", "tilejit", *words, "--profile", "blockxsize=64,blockysize=64"]
    process = subprocess.Popen(words, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(p.read_bytes().count(b"\n") > 1 for p in tmp_path.glob(".*.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM
    report = counted(tj.open(slow)).save(tmp_path / "out.tif", resume=True, **OPTIONS)
    assert report.resumed > 0
