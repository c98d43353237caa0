"""Runs on executors: the same bits as from threads, nothing lost, and what cannot be is refused."""

import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from test_executors import (
    ENVIRONMENT,
    MPIEXEC,
    dask_warnings,
    give_memory_back,
    needs_dask,
    needs_mounts,
    needs_mpi,
    workers,
)

import tilejit as tj
from executor_kernels import counted, scaled, slopes, smooth
from kernels_for_tests import write_module
from tilejit.engine.distribution.task import JobSpec, check_writers
from tilejit.engine.executors import opened
from tilejit.engine.executors.base import FuturesExecutor, Outcome, SerialExecutor
from tilejit.engine.executors.dask import DaskExecutor
from tilejit.engine.executors.processes import ProcessesExecutor
from tilejit.engine.pipeline.tile_buffers import TileBuffer
from tilejit.engine.planning import parts
from tilejit.engine.planning.parts import parts_of
from tilejit.errors import KernelError, ParameterError, PlanError, ReadError, SinkError, SourceError, TilejitError
from tilejit.formats.in_memory import ArraySink
from tilejit.formats.registry import open_sink
from tilejit.formats.sink import OutputProfile
from tilejit.grid import Grid
from tilejit.kernel.crossing import crossing_of
from tilejit.raster.options import RunOptions
from tilejit.raster.running import plan_job
from tilejit.system.identity import here, is_here
from tilejit.system.limits import available_cores
from tilejit.window import Window, tiles

psutil = pytest.importorskip("psutil")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]


def write(path, array, **profile):
    profile = {"driver": "GTiff", "transform": Affine(30, 0, 5e5, 0, -30, 5e6), "crs": "EPSG:32633"} | profile
    count, height, width = array.shape
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=array.dtype, **profile) as dataset:
        dataset.write(array)
    return path


@pytest.fixture(scope="module")
def dem(tmp_path_factory):
    """Uneven sizes, and nodata in a stripe and at single cells."""
    rng = np.random.default_rng(3)
    cells = (rng.random((1, 701, 389)) * 900).astype(np.int16)
    cells[:, 200:230, 50:300] = cells[0, rng.integers(0, 701, 40), rng.integers(0, 389, 40)] = -99
    folder = tmp_path_factory.mktemp("dem")
    return write(folder / "dem.tif", cells, nodata=-99, tiled=True, blockxsize=64, blockysize=64, compress="deflate")


SMALL = {"tile": (64, 128), "profile": {"blockxsize": 64, "blockysize": 64}, "progress": False}


GROWTH = 1.1


def outputs(dem):
    """A focal chain with nodata, one of two bands, and one of another type."""
    rough = slopes(smooth(tj.open(dem)))
    return {
        "rough.tif": rough,
        "scaled.tif": scaled(smooth(tj.open(dem)), factor=3),
        "steps.tif": counted(tj.open(dem), growth=GROWTH),
    }


def saved(dem, folder, **options):
    folder.mkdir()
    report = tj.save({folder / name: raster for name, raster in outputs(dem).items()}, **SMALL, **options)
    return report, {name: rasterio.open(folder / name).read() for name in outputs(dem)}


def same(given, wanted):
    for name, cells in wanted.items():
        assert given[name].dtype == cells.dtype
        assert given[name].tobytes() == cells.tobytes(), name


@pytest.fixture(scope="module")
def wanted(dem, tmp_path_factory):
    return saved(dem, tmp_path_factory.mktemp("wanted") / "threads")[1]


@pytest.fixture(scope="module")
def pool():
    executor = ProcessesExecutor(2)
    yield executor
    executor.close()


class Elsewhere(SerialExecutor):
    """Workers that do not reach the driver's files and memory."""

    name = "elsewhere"
    local = False
    workers = 3


class Forgetful(SerialExecutor):
    """Every part fails twice, once before it is run and once after."""

    workers = 2

    def map(self, function, tasks, _waiting):
        tried = {}
        for task in tasks:
            tried[task.window] = number = tried.get(task.window, 0) + 1
            result = function(task) if number > 1 else None
            yield Outcome(task, result) if number > 2 else Outcome(task, error=ValueError("lost"))


@pytest.mark.parametrize("executor", [SerialExecutor, Elsewhere, Forgetful])
def test_the_same_bits_in_this_process(dem, wanted, tmp_path, executor):
    report, cells = saved(dem, tmp_path / "out", executor=executor())
    same(cells, wanted)
    assert report.executor == executor.name
    assert report.tiles == 11 * 4


def test_the_same_bits_from_processes(dem, wanted, tmp_path, pool):
    report, cells = saved(dem, tmp_path / "out", executor=pool)
    same(cells, wanted)
    assert report.executor == "processes"
    assert report.workers == 2 * max(1, available_cores() // 2)
    assert report.pixels == 701 * 389
    assert report.tiles == 11 * 4
    assert report.collisions == 0
    assert report.read_ratio > 1
    assert report.output_bytes == sum(p.stat().st_size for p in (tmp_path / "out").iterdir())
    assert all(report.stages[name].wall > 0 for name in report.stages)
    assert str(report).endswith("executor  processes")


def test_the_same_bits_from_pools_that_are_handed_over(dem, wanted, tmp_path):
    with ThreadPoolExecutor(3) as threads:
        same(saved(dem, tmp_path / "threads", executor=threads)[1], wanted)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        same(saved(dem, tmp_path / "processes", executor=processes)[1], wanted)


@needs_dask
@dask_warnings
def test_the_same_bits_from_dask(dem, wanted, tmp_path):
    import distributed

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None, memory_limit=0) as cluster,
        distributed.Client(cluster) as client,
    ):
        report, cells = saved(dem, tmp_path / "client", executor=client)
        same(cells, wanted)
        assert report.workers == 4 * max(1, available_cores() // 4)
        same(saved(dem, tmp_path / "address", executor=cluster.scheduler_address)[1], wanted)


@needs_dask
@needs_mounts
@dask_warnings
def test_a_worker_that_sees_other_files_by_the_same_names(dem, wanted, tmp_path):
    """Of this machine, as it says itself: its blocks are sent home, and a folder of shards is asked of it in vain."""
    import distributed

    folder = tmp_path / "out"
    command = (
        f"mount -t tmpfs none {tmp_path} && mkdir {folder} && exec {sys.executable} -m distributed.cli.dask_worker"
    )
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        options = f"{cluster.scheduler_address} --nthreads 1 --no-dashboard --no-nanny"
        shell = ["unshare", "--mount", "sh", "-c", f"{command} {options}"]
        with subprocess.Popen(shell, env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True) as worker:
            try:
                client.wait_for_workers(1, timeout=60)
                assert DaskExecutor(client=client).local
                same(saved(dem, folder, executor=client)[1], wanted)
                with pytest.raises(
                    SinkError, match=r"the worker that is process \d+ on .* does not see the folder .*out"
                ):
                    scaled(tj.open(dem)).save(folder / "out.vrt", executor=client)
            finally:
                worker.kill()
    assert sorted(file.name for file in folder.iterdir()) == sorted(wanted)


def test_what_another_place_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    places = here()
    assert is_here(places)
    with monkeypatch.context() as other:
        other.setattr("tilejit.system.identity.kernel_name", lambda: "another")
        assert not is_here(places)
    tmp_path.rename(tmp_path.with_name("before"))
    assert not is_here(places)
    tmp_path.mkdir()  # by the same name
    assert not is_here(places)


def test_workers_elsewhere_are_asked_for_folders_before_anything_is_computed(dem, tmp_path):
    asked = []

    class Blind(Elsewhere):
        def map(self, function, tasks, _waiting):
            for task in tasks:
                asked.append(function)
                yield Outcome(task, error=SinkError("no folder"))

    with pytest.raises(SinkError, match="no folder"):
        scaled(tj.open(dem)).save(tmp_path / "out.vrt", executor=Blind())
    assert asked == [check_writers]
    assert list(tmp_path.iterdir()) == []


MPI_RUN = """
import sys
import tilejit as tj
from test_distribution import saved
from pathlib import Path

if __name__ == "__main__":
    report = saved(Path(sys.argv[1]), Path(sys.argv[2]), executor="mpi")[0]
    print(report.executor, report.workers, report.tiles)
"""


@needs_mpi
def test_the_same_bits_from_mpi_ranks(dem, wanted, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(MPI_RUN)
    command = [MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures", script, dem, tmp_path / "out"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["mpi", "2", "44"], done.stdout + done.stderr
    same({name: rasterio.open(tmp_path / "out" / name).read() for name in wanted}, wanted)


@needs_mpi
def test_the_command_line_under_mpiexec(dem, wanted, tmp_path):
    kernel = f"{Path(__file__).parents[1] / 'executor_kernels.py'}:counted"
    command = [sys.executable, "-m", "tilejit", "run", kernel, dem, "-o", tmp_path / "out.tif", "--executor", "mpi"]
    command += ["-p", f"growth={GROWTH}"]
    whole = [MPIEXEC, "-n", "3", *command]
    done = subprocess.run(whole, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("written") == 2  # the bytes, and the file
    assert "executor  mpi" in done.stdout
    assert rasterio.open(tmp_path / "out.tif").read().tobytes() == wanted["steps.tif"].tobytes()
    again = subprocess.run(whole, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    alone = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert "mpiexec -n 4" in alone.stderr


FORGOTTEN = """
import os, sys, numpy, rasterio
import tilejit as tj
from executor_kernels import counted
from tilejit.cli.commands import run_commands
from mpi4py import MPI

dem, folder, kernel, growth = sys.argv[1:]
rank = os.environ["PMI_RANK"]
raster = counted(tj.open(dem), growth=float(growth))
raster.save(f"{folder}/{rank}.tif", progress=False)
assert (rasterio.open(f"{folder}/{rank}.tif").read() == raster.compute()).all()
MPI.COMM_WORLD.Barrier()
code = run_commands(["run", kernel, dem, "-o", f"{folder}/out.tif", "--quiet", "-p", f"growth={growth}"])
print(rank, "ended with", code, flush=True)
"""


@needs_mpi
def test_ranks_that_all_run_the_whole_are_refused(dem, wanted, tmp_path):
    """Where they would write one output; what each writes alone, or has in memory, is its own."""
    script = tmp_path / "run.py"
    script.write_text(FORGOTTEN)
    kernel = f"{Path(__file__).parents[1] / 'executor_kernels.py'}:counted"
    command = [MPIEXEC, "-n", "3", sys.executable, script, dem, tmp_path, kernel, str(GROWTH)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert sorted(line[-1] for line in done.stdout.splitlines()) == ["0", "1", "1"], done.stdout + done.stderr
    assert len(re.findall(r"this is rank \d of the 3 of an MPI program.*give the executor .mpi.", done.stderr)) == 2
    assert rasterio.open(tmp_path / "out.tif").read().tobytes() == wanted["steps.tif"].tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.tif", "1.tif", "2.tif", "out.tif", "run.py"]


def test_arrays(dem, wanted, pool):
    raster = outputs(dem)["rough.tif"]
    for executor in (pool, Elsewhere(), "serial"):
        whole = raster.compute(executor=executor, tile=(64, 64))
        assert whole.tobytes() == wanted["rough.tif"].tobytes()
        assert whole.flags.writeable
        window = Window(70, 33, 301, 255)
        part = raster.read(window, executor=executor, tile=(64, 64))
        assert part.tobytes() == np.ascontiguousarray(whole[:, 70:371, 33:288]).tobytes()


def test_serial_is_the_callers_own_thread(dem, monkeypatch, tmp_path):
    seen = set()
    monkeypatch.setattr(TileBuffer, "complete", lambda *_: seen.add(threading.current_thread()))
    scaled(tj.open(dem)).compute(executor="serial")
    assert seen == {threading.current_thread()}
    plan = scaled(tj.open(dem)).plan(tmp_path / "out.tif", executor="serial")
    assert plan.workers == 1


def test_the_plan_says_who_works(dem, tmp_path):
    plan = scaled(tj.open(dem)).plan(tmp_path / "out.tif", executor="processes", workers=3)
    threads = max(1, available_cores() // 3)
    assert (plan.executor, plan.processes, plan.workers) == ("processes", 3, threads)
    assert f"backend   cpu on 3 workers of processes, {threads} thread" in str(plan)
    assert plan.memory > 3 * plan.fixed_bytes
    with pytest.raises(tj.errors.MemoryLimitError, match="600 MB were given"):
        scaled(tj.open(dem)).plan(tmp_path / "out.tif", executor="processes", workers=3, memory="600MB")


@given(
    st.tuples(st.integers(1, 900), st.integers(1, 900)),
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.integers(1, 9),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_parts_are_whole_tiles_that_cover_each_cell_once(shape, tile, workers, focal):
    (height, width), (rows, cols) = shape, tile
    raster = tj.from_array(np.broadcast_to(np.float32(1), (height, width)))
    plan = (smooth(raster) if focal else scaled(raster)).plan(tile=(rows, cols))
    covered = np.zeros((height, width), np.uint8)
    parts = list(parts_of(plan, workers, plan.output_bytes))
    for part in parts:
        place = part.slices(Window(0, 0, height, width))
        covered[place] += 1
        assert part.row_off % rows == 0
        assert part.col_off % cols == 0
        assert part.row_end % rows == 0 or part.row_end == height
        assert part.col_end % cols == 0 or part.col_end == width
    assert (covered == 1).all()
    assert len(parts) <= plan.tile_count
    assert len(parts) >= min(2 * workers, plan.tile_count) / 2


@pytest.mark.parametrize("local", [True, False])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_writers_in_any_order_make_the_same_file(local, tmp_path_factory, data):
    """Also where a part was written before and lost."""
    folder = tmp_path_factory.mktemp("writers")
    height, width = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    cells = np.random.default_rng(height * width).integers(0, 3, (2, height, width)).astype(np.int16)
    options = {"TILED": "YES", "BLOCKXSIZE": "16", "BLOCKYSIZE": "16", "COMPRESS": "DEFLATE", "SPARSE_OK": "TRUE"}
    # All that is drawn is drawn before the sink is open: hypothesis may end an example at any draw.
    windows = data.draw(st.permutations(list(tiles(height, width, 16, 32))))
    is_lost_first = data.draw(st.lists(st.booleans(), min_size=len(windows), max_size=len(windows)))
    sink = open_sink(
        OutputProfile(
            path=str(folder / "out.tif"), grid=Grid(height, width), count=2, dtype=cells.dtype, options=options
        )
    )
    opener = sink.opener(local=local)
    for window, once_lost in zip(windows, is_lost_first, strict=True):
        if once_lost:
            lost = opener()
            lost.write(window, np.ascontiguousarray(-cells[:, *window.slices(Window(0, 0, height, width))]))
            lost.finish()
        writer = opener()
        writer.write(window, np.ascontiguousarray(cells[:, *window.slices(Window(0, 0, height, width))]))
        sink.merge(pickle.loads(pickle.dumps(writer.finish())))  # noqa: S301 - our own bytes
    sink.prepare()
    sink.publish()
    np.testing.assert_array_equal(rasterio.open(folder / "out.tif").read(), cells)


def test_an_array_that_is_gone_is_not_written_to():
    from tilejit.formats.in_memory import SharedArray

    shared = SharedArray((1, 4, 4), np.dtype(np.float32))
    opener = ArraySink(shared.array, Grid(4, 4), shared=shared.memory).opener(local=True)
    opener().write(Window(0, 0, 4, 4), np.ones((1, 4, 4), np.float32))
    assert shared.array.sum() == 16
    shared.close()
    with pytest.raises(TilejitError, match="no longer there"):
        opener()
    # Another file has the descriptor's number now, perhaps.
    reader, writer = os.pipe()
    try:
        with pytest.raises(TilejitError, match="no longer there"):
            opener()
    finally:
        os.close(reader)
        os.close(writer)
    shared.array[:] = 2  # the memory lives on


def closure(factor):
    @tj.local
    def inner(z):
        return z * factor

    return inner


by_two = closure(2.0)


def test_kernels_by_name(dem, pool, tmp_path):
    assert str(crossing_of(smooth)) == "executor_kernels:smooth"
    assert str(crossing_of(by_two)) == f"{__name__}:by_two"
    module = write_module(tmp_path, "@tj.local\ndef mine(z):\n    return z + 1\n")
    assert str(crossing_of(module.mine)) == f"{module.__file__}:mine"
    for kernel in (module.mine, by_two, closure(3.0)):
        cells = kernel(tj.open(dem)).compute(executor=pool)
        assert cells.tobytes() == kernel(tj.open(dem)).compute().tobytes()
    edged = smooth(tj.open(dem), edge="reflect")
    assert (
        edged.compute(executor=pool).tobytes() == edged.compute().tobytes() != smooth(tj.open(dem)).compute().tobytes()
    )


def test_fingerprints_see_constants_and_helpers():
    assert closure(2.0).fingerprint == by_two.fingerprint
    assert closure(3.0).fingerprint != by_two.fingerprint
    assert smooth.fingerprint != scaled.fingerprint


def test_a_kernel_that_is_another_in_the_worker(dem, pool, tmp_path):
    text = "import os\nFACTOR = float(os.getpid())\n@tj.local\ndef mine(z):\n    return z + FACTOR\n"
    module = write_module(tmp_path, text)
    with pytest.raises(KernelError, match=r"mine of .* is not the same in a worker .*keyword-only param") as caught:
        module.mine(tj.open(dem)).compute(executor=pool)
    assert "failed 1 time," in caught.value.__notes__[-1]


def test_what_is_refused(dem, tmp_path, pool):
    raster = scaled(tj.open(dem))
    with pytest.raises(PlanError, match=r"through GDAL: COMPRESS=LZMA.*leave executor= out, or choose"):
        raster.save(tmp_path / "out.tif", executor=pool, profile={"compress": "lzma"})
    with pytest.raises(PlanError, match=r"array: worker processes open inputs by name.*save it to a file"):
        scaled(tj.from_array(np.ones((4, 4), np.float32))).compute(executor=pool)
    with pytest.raises(PlanError, match="a trace shows the threads of one process"):
        raster.save(tmp_path / "out.tif", executor=pool, trace=tmp_path / "t.json")
    with pytest.raises(ParameterError, match="has its workers already"):
        raster.save(tmp_path / "out.tif", executor=pool, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_another_by_now(dem, pool, tmp_path):
    copy = tmp_path / "copy.tif"
    copy.write_bytes(dem.read_bytes())
    raster = scaled(tj.open(copy))
    copy.write_bytes(dem.read_bytes() + b"more")
    with pytest.raises(ReadError, match=r"copy\.tif: it was written or replaced since it was opened"):
        raster.compute(executor=pool)


def test_a_worker_holds_its_file_against_the_one_that_was_planned_with(dem, tmp_path):
    copy = tmp_path / "copy.tif"
    copy.write_bytes(dem.read_bytes())
    spec = JobSpec.of(plan_job(scaled(tj.open(copy)), None, RunOptions()))
    elsewhere = replace(spec, inputs=tuple(replace(i, states=()) for i in spec.inputs))
    (tmp_path / "same.tif").write_bytes(dem.read_bytes())
    (tmp_path / "same.tif").replace(copy)
    with pytest.raises(ReadError, match=r"copy\.tif: it was written or replaced since it was opened"):
        spec.job()
    assert elsewhere.job().sources[0].name == str(copy)
    copy.write_bytes(dem.read_bytes() + b"more")
    with pytest.raises(SourceError, match=r"copy\.tif: has 701 x 389 cells in \d+ bytes in a worker"):
        elsewhere.job()


def test_a_corrupt_block_fails_three_times_and_leaves_nothing(dem, pool, tmp_path):
    data = bytearray(dem.read_bytes())
    data[len(data) // 2 :][:400] = b"\x55" * 400
    data[len(data) // 2 : len(data) // 2 + 400] = b"\x55" * 400
    broken = tmp_path / "broken.tif"
    broken.write_bytes(data)
    with pytest.raises(ReadError, match=r"broken\.tif: cannot read band 1, rows \d+:\d+, cols") as caught:
        smooth(tj.open(broken)).save(tmp_path / "out.tif", executor=pool)
    assert any("failed 3 times" in note for note in caught.value.__notes__)
    assert list(tmp_path.iterdir()) == [broken]
    # The pool works on.
    assert scaled(tj.open(dem)).compute(executor=pool).shape == (1, 701, 389)


def test_what_ends_every_worker_is_said_with_file_and_window(dem, tmp_path):
    class Deadly(SerialExecutor):
        def map(self, _, tasks, _waiting):
            return (Outcome(task, error=TilejitError("a worker process was ended by SIGKILL")) for task in tasks)

    with pytest.raises(TilejitError, match="SIGKILL") as caught:
        scaled(tj.open(dem)).save(tmp_path / "out.tif", executor=Deadly())
    assert "out.tif: rows 0:" in caught.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def slow_dem(tmp_path_factory):
    cells = np.random.default_rng(1).random((1, 512, 512), np.float32) + 50  # from which a thousand is near
    return write(tmp_path_factory.mktemp("slow") / "dem.tif", cells, tiled=True, blockxsize=64, blockysize=64)


@pytest.fixture(scope="module")
def narrow_dem(slow_dem):
    """A third of its columns, which two workers count in for a second, and the result."""
    path = slow_dem.with_name("narrow.tif")
    write(path, rasterio.open(slow_dem).read()[..., :192], tiled=True, blockxsize=64, blockysize=64)
    return path, counted(tj.open(path)).compute()


@pytest.mark.parametrize("make", ["processes", pytest.param("dask", marks=[needs_dask, dask_warnings])])
def test_a_worker_that_is_killed_does_not_lose_the_run(narrow_dem, tmp_path, make):
    dem, wanted = narrow_dem
    raster = counted(tj.open(dem))
    before = {child.pid for child in workers()}
    killed, seen = [], []

    def kill_one():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not killed:
            for temporary in tmp_path.glob(".out*"):
                if temporary.stat().st_size > 50_000:
                    mine = [c for c in workers() if c.pid not in before and "spawn_main" in " ".join(c.cmdline())]
                    mine[-1].kill()
                    killed.append(mine[-1].pid)
                    return
            time.sleep(0.005)

    thread = threading.Thread(target=kill_one)
    thread.start()
    executor = ProcessesExecutor(2) if make == "processes" else DaskExecutor(2)
    try:
        report = raster.save(
            tmp_path / "out.tif",
            executor=executor,
            tile=(64, 192),
            profile={"blockxsize": 64, "blockysize": 64, "compress": "none"},
        )
        seen.append(report)
    finally:
        thread.join()
        executor.close()
    assert killed
    assert rasterio.open(tmp_path / "out.tif").read().tobytes() == wanted.tobytes()
    assert report.tiles == 8


RUN = textwrap.dedent("""
    import sys
    import tilejit as tj
    {imports}

    @tj.local
    def counted(z):
        steps = 0
        while z < 1e3:
            z = z * 1.0001 + 0.0001
            steps += 1
        return steps

    def main():
        print("starts", flush=True)
        counted(tj.open(sys.argv[1])).save(sys.argv[2], overwrite=True, executor=sys.argv[3], {options})

    if __name__ == "__main__":
        main()
""")
BIG_TILES = 'tile=(64, 64), profile={"blockxsize": 64, "blockysize": 64, "compress": "none"}'


def start(script, *arguments, launcher=()):
    command = [*launcher, script, *arguments]
    return subprocess.Popen(
        [*command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    )


def started(process, folder):
    """Waits until workers are at work."""
    assert process.stdout.readline() == "starts\n"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        sizes = [p.stat().st_size for p in folder.glob(".out*.tmp.tif")]
        if sizes and sizes[0] > 20_000:
            break
        time.sleep(0.02)
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize(
    "executor", ["processes", pytest.param("dask", marks=needs_dask), pytest.param("mpi", marks=needs_mpi)]
)
def test_signals_stop_a_run_soon_and_leave_nothing(slow_dem, tmp_path, executor):
    """As a terminal or a scheduler sends them: to every process of the group."""
    script = tmp_path / "run.py"
    script.write_text(RUN.format(imports="", options=BIG_TILES))
    launcher = [MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures"] if executor == "mpi" else [sys.executable]
    runs = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        folder = tmp_path / number.name
        folder.mkdir()
        (folder / "out.tif").write_bytes(b"old")
        runs[number] = folder, start(script, slow_dem, folder / "out.tif", executor, launcher=launcher)
    children = {number: started(process, folder) for number, (folder, process) in runs.items()}
    for number, (folder, process) in runs.items():
        assert len(children[number]) >= 2
        begun = time.monotonic()
        os.killpg(process.pid, number)
        _, error = process.communicate(timeout=60)
        # Two seconds on a quiet machine; a busy one gets more.
        assert time.monotonic() - begun < 10
        assert not psutil.wait_procs(children[number], timeout=5)[1]
        assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("out.tif", b"old")]
        if executor == "mpi":
            assert process.returncode == (143 if number == signal.SIGTERM else 130)
            continue
        assert process.returncode == -number
        assert error.count("Traceback") == error.count("KeyboardInterrupt") == (number == signal.SIGINT), error


@pytest.mark.parametrize("executor", ["processes", pytest.param("dask", marks=needs_dask)])
def test_no_worker_outlives_a_killed_run(slow_dem, tmp_path, executor):
    script = tmp_path / "run.py"
    script.write_text(RUN.format(imports="", options=BIG_TILES))
    process = start(script, slow_dem, tmp_path / "out.tif", executor, launcher=[sys.executable])
    children = started(process, tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert not (tmp_path / "out.tif").exists()


def test_a_script_without_a_guard_is_refused(slow_dem, tmp_path):
    script = tmp_path / "run.py"
    text = RUN.format(imports="", options="").replace('if __name__ == "__main__":\n    main()', "main()")
    script.write_text(text)
    process = start(script, slow_dem, tmp_path / "out.tif", "processes", launcher=[sys.executable])
    out, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == "starts\n"
    line = text.splitlines().index("main()") + 1
    assert f"run.py:{line}: worker processes run this file too" in error
    assert 'if __name__ == "__main__":' in error


def test_a_run_leaves_no_descriptor_and_no_thread(dem, pool, tmp_path):
    for number in range(4):
        scaled(tj.open(dem)).compute(executor=pool)
        scaled(tj.open(dem)).save(tmp_path / f"{number}.tif", executor=pool)
        if number == 1:
            before = psutil.Process().num_fds(), threading.active_count()
    assert (psutil.Process().num_fds(), threading.active_count()) <= (before[0] + 1, before[1])


class Watched(threading.Thread):
    """Looks at the memory of this process and its children twenty times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sizes, self._ended = [], threading.Event()

    def run(self):
        own = psutil.Process()
        while not self._ended.wait(0.05):
            try:
                self.sizes.append(sum(p.memory_info().rss for p in (own, *own.children(recursive=True))))
            except psutil.NoSuchProcess:
                continue  # a worker has ended between the two looks

    def stop(self):
        self._ended.set()
        self.join()


SIDE = int(os.environ.get("TILEJIT_TEST_SIDE", "72"))
"""Rows and columns of tiny tiles. 448 make 200,704, which take eight minutes; they were run."""

INDEX_BYTES = 200
"""What a block more of both files takes in their directories, at the most. Measured: 95 and the allocator's share."""


def peak_over(side, folder, **options):
    """Bytes of this process and its workers, at the most, while so many rows and columns of tiles are computed."""
    given = folder / f"in{side}.tif"
    write(given, np.random.default_rng(0).integers(0, 250, (1, 16 * side, 16 * side), np.uint8),
          tiled=True, blockxsize=16, blockysize=16)  # fmt: skip
    profile = {"blockxsize": 16, "blockysize": 16, "compress": "none"}
    give_memory_back()
    watched = Watched()
    watched.start()
    report = scaled(tj.open(given)).save(folder / f"out{side}.tif", tile=(16, 16), profile=profile, **options)
    watched.stop()
    assert report.tiles == side * side
    with rasterio.open(given) as one, rasterio.open(folder / f"out{side}.tif") as two:
        np.testing.assert_array_equal(two.read(), 2 * one.read().astype(np.float32))
    return max(watched.sizes)


@dask_warnings
@pytest.mark.parametrize(
    ("executor", "part_bytes"),
    [(None, None), ("processes", None), ("processes", 1), pytest.param("dask", None, marks=needs_dask)],
)
def test_memory_does_not_grow_with_the_number_of_tiles(tmp_path, monkeypatch, executor, part_bytes):
    """Sixteen times as many; also where each is a task of the engine's, which no run has of its own accord.

    It fails where 1,400 bytes of a tile are kept, in whichever process.
    """
    if part_bytes:
        monkeypatch.setattr(parts, "_PART_BYTES", part_bytes)
    with opened(executor, 2) as pool:
        options = {"executor": pool} if executor else {"workers": 2}
        few = peak_over(SIDE // 4, tmp_path, **options)
        many = peak_over(SIDE, tmp_path, **options)
    assert many - few < 6_000_000 + INDEX_BYTES * (SIDE**2 - (SIDE // 4) ** 2)


def test_threads_of_pools_keep_their_files_apart(dem, wanted):
    """Two runs through one pool of threads at a time."""
    found = {}
    with ThreadPoolExecutor(4) as pool:

        def compute(name):
            found[name] = outputs(dem)[name].compute(executor=FuturesExecutor(pool), tile=(64, 64))

        threads = [threading.Thread(target=compute, args=(name,)) for name in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, cells in wanted.items():
        assert found[name].tobytes() == cells.tobytes()
