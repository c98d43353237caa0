"""Executors under the suite that outsiders' are held to, and what each does when a worker ends."""

import asyncio
import ctypes
import gc
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import current_process, get_context, parent_process
from pathlib import Path

import numpy as np
import pytest
from test_sink import small_disk

import tilejit as tj
from executor_kernels import scaled
from tilejit.engine.executors import open_executor, opened
from tilejit.engine.executors.base import FuturesExecutor, SerialExecutor
from tilejit.engine.executors.dask import DaskExecutor
from tilejit.engine.executors.processes import ProcessesExecutor
from tilejit.errors import ParameterError, PlanError, SinkError, TilejitError
from tilejit.testing import ExecutorTests

pytestmark = pytest.mark.slow

psutil = pytest.importorskip("psutil")
needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="distributed is not installed")
needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec", path=Path(sys.executable).parent) is None,
    reason="mpi4py and the mpich wheel are not installed",
)
needs_mounts = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,
    reason="mounting needs unshare, and root",
)
# Dask warns of what it does itself: deprecated calls, ports in use, loops that are still being closed.
dask_warnings = pytest.mark.filterwarnings("ignore:::distributed", "ignore:::tornado", "ignore::ResourceWarning")
MPIEXEC = str(Path(sys.executable).parent / "mpiexec")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])}


def give_memory_back():
    """Leaves the system what is free, where what a test keeps would lie unseen."""
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


class TestSerial(ExecutorTests):
    def make(self):
        return SerialExecutor()


class TestProcesses(ExecutorTests):
    def make(self):
        return ProcessesExecutor(2)


class TestThreadPool(ExecutorTests):
    @pytest.fixture(autouse=True)
    def _pool(self):
        with ThreadPoolExecutor(3) as self.pool:
            yield

    def make(self):
        return FuturesExecutor(self.pool)


class TestProcessPool(ExecutorTests):
    @pytest.fixture(autouse=True)
    def _pool(self):
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as self.pool:
            yield

    def make(self):
        return FuturesExecutor(self.pool)


@needs_dask
@dask_warnings
class TestDask(ExecutorTests):
    @pytest.fixture(scope="class")
    @classmethod
    def client(cls):
        import distributed

        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client

    @pytest.fixture(autouse=True)
    def _client(self, client):
        self.client = client

    def make(self):
        return DaskExecutor(client=self.client)

    def test_runs_that_tasks_of_the_cluster_lead(self):
        """As many as there are workers: their places are given up while they wait."""
        led = [self.client.submit(squares_on, self.client.scheduler.address, k, pure=False) for k in range(2)]
        assert [future.result(timeout=60) for future in led] == [[0, 1, 4], [1, 2, 5]]

    def test_clients_that_nobody_can_wait_for(self):
        import distributed

        async def open_asynchronous():
            async with distributed.Client(self.client.scheduler.address, asynchronous=True) as client:
                with pytest.raises(PlanError, match=r"belongs to the event loop .*await asave\(…\) or acompute"):
                    DaskExecutor(client=client)

        asyncio.run(open_asynchronous())
        client = distributed.Client(self.client.scheduler.address, set_as_default=False)
        client.close()
        with pytest.raises(PlanError, match="the Dask client is closed: open another"):
            DaskExecutor(client=client)


@needs_mpi
def test_mpi(tmp_path):
    """The same suite, on three ranks: pytest itself is the program that rank 0 runs."""
    suite = tmp_path / "test_ranks.py"
    suite.write_text(
        "from tilejit.engine.executors.mpi import MpiExecutor\n"
        "from tilejit.testing import ExecutorTests\n"
        "class TestMpi(ExecutorTests):\n"
        "    def make(self):\n"
        "        return MpiExecutor()\n"
    )
    command = [MPIEXEC, "-n", "3", sys.executable, "-m", "mpi4py.futures", "-m", "pytest", "-q", "-W", "error", suite]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def workers():
    """The processes that this one has started, but for the standard library's own."""
    found = psutil.Process().children(recursive=True)
    return [child for child in found if "resource_tracker" not in " ".join(child.cmdline())]


def squares_on(address, more):
    executor = DaskExecutor(client=address)
    try:
        return sorted(outcome.result for outcome in executor.map(Shifted(more), range(3)))
    finally:
        executor.close()


class Shifted:
    def __init__(self, more):
        self.more = more

    def __call__(self, number):
        return number**2 + self.more


def pid_of(_):
    return os.getpid()


def end_once(path):
    """Is killed the first time, and works the second."""
    if Path(path).exists():
        return os.getpid()
    Path(path).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def nap(seconds):
    time.sleep(seconds)
    return seconds


def leave(code):
    sys.exit(code)


class UnpicklableError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


class Elusive:
    """Can be made in a worker alone."""

    def __reduce__(self):
        return stay, ()


def stay():
    if parent_process() is None:
        raise ValueError("not here")
    return Elusive()


def elude(_):
    return Elusive()


def fail_unpicklably(_):
    raise UnpicklableError(1, 2)


def test_a_killed_worker_loses_its_own_task_alone(tmp_path):
    executor = ProcessesExecutor(2)
    outcomes = {o.task: o for o in executor.map(end_once, [str(tmp_path / "a"), str(tmp_path)])}
    assert outcomes[str(tmp_path)].error is None
    with pytest.raises(TilejitError, match=r"a worker process was ended by SIGKILL .*memory"):
        raise outcomes[str(tmp_path / "a")].error
    assert [o.error for o in executor.map(end_once, [str(tmp_path / "a")])] == [None]
    executor.close()


def test_a_worker_that_is_killed_while_idle_is_replaced():
    executor = ProcessesExecutor(1)
    first = next(executor.map(pid_of, [0])).result
    os.kill(first, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first)] if psutil.pid_exists(first) else [], timeout=5)
    (outcome,) = executor.map(pid_of, [0])
    # The end of the pipe may be noticed before that of the process.
    assert outcome.error is not None or outcome.result != first
    assert next(executor.map(pid_of, [0])).result != first
    executor.close()


def test_errors_of_any_kind_come_back():
    executor = ProcessesExecutor(1)
    with pytest.raises(TilejitError, match="UnpicklableError: 1 2") as caught:
        raise next(executor.map(fail_unpicklably, [0])).error
    assert "fail_unpicklably" in caught.value.__notes__[0]
    with pytest.raises(TilejitError, match="SystemExit: 3"):
        raise next(executor.map(leave, [3])).error
    with pytest.raises(TilejitError, match="what a worker process sent cannot be read here: ValueError: not here"):
        raise next(executor.map(elude, [0])).error
    with pytest.raises(Exception, match="pickle"):
        raise next(executor.map(pid_of, [lambda: 0])).error
    executor.close()


def test_workers_are_kept_and_let_go():
    executor = ProcessesExecutor(2)
    pids = {o.result for o in executor.map(pid_of, range(20))}
    assert {o.result for o in executor.map(pid_of, range(20))} <= pids | {o.result for o in executor.map(pid_of, [0])}
    executor.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_giving_up_ends_what_is_under_way():
    executor = ProcessesExecutor(2)
    outcomes = executor.map(nap, [0.0, 60.0, 60.0])
    next(outcomes)
    children = workers()
    start = time.monotonic()
    outcomes.close()
    executor.close()
    assert time.monotonic() - start < 10
    assert not psutil.wait_procs(children, timeout=5)[1]


def test_memory_stays_flat_over_many_tasks():
    """20,000 tasks: nothing of a task stays, here or in the workers."""
    executor = ProcessesExecutor(2)
    sizes = []
    for number, _ in enumerate(executor.map(abs, range(20_000))):
        if number in {2_000, 19_990}:
            give_memory_back()  # what earlier tests have freed, and the system would take at any moment
            processes = [psutil.Process(), *psutil.Process().children()]
            sizes.append(sum(process.memory_info().rss for process in processes))
    executor.close()
    assert sizes[1] - sizes[0] < 8_000_000


@needs_dask
@dask_warnings
def test_memory_of_dask_stays_flat_over_many_tasks():
    import dask

    sizes = []
    # The scheduler's logs are short here, and full when one first looks. It fails where 6,000 bytes of a task are kept.
    with dask.config.set({"distributed.admin.low-level-log-length": 100, "distributed.admin.log-length": 100}):
        executor = DaskExecutor(2)
        # 20,000 take two minutes, and stay as flat.
        for number, _ in enumerate(executor.map(abs, range(1_200))):
            if number in {200, 1_190}:
                give_memory_back()
                processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
                sizes.append(sum(process.memory_info().rss for process in processes))
        executor.close()
    assert sizes[1] - sizes[0] < 6_000_000


@needs_dask
@dask_warnings
def test_dask_survives_a_killed_worker_and_lets_go_at_once(tmp_path):
    executor = DaskExecutor(2)
    outcomes = list(executor.map(end_once, [str(tmp_path / "a")]))
    assert outcomes[0].error is None
    running = executor.map(nap, [0.0, 60.0, 60.0])
    next(running)
    children = workers()
    running.close()
    start = time.monotonic()
    executor.close(at_once=True)
    assert time.monotonic() - start < 10
    assert not psutil.wait_procs(children, timeout=5)[1]


@pytest.mark.parametrize(
    ("given", "workers", "error", "message"),
    [
        ("quick", None, ParameterError, "no executor 'quick'; there are threads, serial, processes, mpi, dask"),
        (7, None, ParameterError, "executor=7; it is a name"),
        ("serial", 3, ParameterError, "'serial' is one thread"),
        ("mpi", 3, ParameterError, "has its workers already"),
    ],
)
def test_what_is_no_executor(given, workers, error, message):
    with pytest.raises(error, match=message), opened(given, workers):
        pass


@needs_dask
@dask_warnings
def test_a_scheduler_that_is_not_there(monkeypatch):
    import distributed

    def refuse(address, timeout):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(PlanError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1: timed out"):
        open_executor("tcp://127.0.0.1:1")


@pytest.mark.parametrize("name", ["processes", pytest.param("dask", marks=needs_dask)])
def test_a_daemon_starts_no_processes(name, monkeypatch):
    """As the workers of a multiprocessing.Pool and of Dask's nannies are."""
    monkeypatch.setitem(current_process()._config, "daemon", True)
    with pytest.raises(
        PlanError, match=rf"executor='{name}' starts processes, and this one is a daemon, which may not"
    ):
        open_executor(name)


def test_pools_that_cannot_work():
    with ThreadPoolExecutor(1) as pool:
        executor = open_executor(pool)
        assert pool.submit(abs, -1).result() == 1  # a pool knows its threads once they have started
        with pytest.raises(PlanError, match="is led by a thread of that pool itself"):
            pool.submit(getattr, executor, "local").result(timeout=20)
    with pytest.raises(PlanError, match=r"its workers do not answer: .*after shutdown"):
        _ = executor.local


@needs_dask
@dask_warnings
def test_a_cluster_that_cannot_be_started(monkeypatch):
    import distributed

    def fail(**_):
        error = AssertionError("Status.init")
        error.__context__ = OSError(30, "Read-only file system")
        raise error

    monkeypatch.setattr(distributed, "LocalCluster", fail)
    with pytest.raises(PlanError, match=r"cannot be started here: .*Read-only file system.*/dev/shm"):
        next(DaskExecutor(1).map(abs, [1]))
    monkeypatch.setattr("tilejit.system.limits.most_open_files", lambda: 64)
    with pytest.raises(PlanError, match="takes 88 open files, and this process may have 64: give fewer workers="):
        next(DaskExecutor(4).map(abs, [1]))


def test_too_many_open_files(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    executor = ProcessesExecutor(2)
    raster = tj.from_array(np.ones((4, 4), np.float32))
    raster.save(tmp_path / "a.tif", progress=False)
    few = os.dup(0)
    os.close(few)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        with pytest.raises(
            TilejitError, match=rf"a worker process cannot be started: .*may have {few} open: ulimit -n"
        ):
            next(executor.map(abs, [1]))
        with pytest.raises(TilejitError, match=rf"b\.tif: cannot be created: .*may have {few} open: ulimit -n"):
            raster.save(tmp_path / "b.tif", progress=False)
        with pytest.raises(TilejitError, match=rf"a\.tif: cannot be opened: .*may have {few} open: ulimit -n"):
            tj.open(tmp_path / "a.tif")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [outcome.result for outcome in executor.map(abs, [-1])] == [1]
    executor.close()


@needs_mpi
def test_mpi_without_ranks():
    code = "from tilejit.engine.executors import open_executor\nopen_executor('mpi')"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "mpiexec -n 4 python -m mpi4py.futures script.py" in done.stderr


@pytest.mark.parametrize(("package", "name"), [("distributed", "dask"), ("mpi4py", "mpi")])
def test_what_is_not_installed_is_refused_with_what_to_do(monkeypatch, package, name):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PlanError, match=rf"pip install 'tilejit\[{name}\]'"):
        open_executor(name)


def test_an_executor_of_ones_own_is_left_open():
    closed = []

    class Mine(SerialExecutor):
        name = "mine"

        def close(self, *, at_once=False):
            closed.append(at_once)

    with opened(Mine(), None) as executor:
        assert executor.name == "mine"
    assert closed == []


def test_one_that_was_opened_here_is_closed_at_once_on_ctrl_c(monkeypatch):
    closed = []
    monkeypatch.setattr(ProcessesExecutor, "close", lambda _, at_once=False: closed.append(at_once))
    with opened("processes", None):
        pass
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), opened("processes", None):
            raise error
    assert closed == [False, False, True]


ENDED_EARLY = """
import sys, time
from tilejit.engine.executors.mpi import ranks
from tilejit.system.signals import ends_heard

with ends_heard(), ranks() as leads:
    if leads:
        print("leads", flush=True)
        time.sleep(60)
"""


@needs_mpi
def test_ranks_that_are_told_to_end_before_there_is_work_end(tmp_path):
    script = tmp_path / "early.py"
    script.write_text(ENDED_EARLY)
    command = [MPIEXEC, "-n", "3", sys.executable, script]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"leads\n"
        ended = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGTERM)
        try:
            run.communicate(timeout=20)
        finally:
            run.kill()
    # mpiexec tells how a rank ended: 15 of one that the signal itself ended, before it had left that to the first.
    assert run.returncode in {signal.SIGTERM, 128 + signal.SIGTERM}
    assert not psutil.wait_procs(ended, timeout=5)[1]


@needs_dask
@dask_warnings
def test_dask_leaves_nothing_on_a_full_disk(tmp_path):
    pytest.importorskip("zarr")
    cells = np.random.default_rng(1).random((2048, 2048), np.float32)
    tj.from_array(cells).save(tmp_path / "dem.tif", progress=False)
    disk = tmp_path / "disk"
    disk.mkdir()
    options = {"executor": "dask", "workers": 3, "progress": False, "tile": (256, 256)}
    with small_disk(disk, 5):
        with pytest.raises(SinkError, match=r"out\.zarr: cannot write .*bytes left"):
            scaled(tj.open(tmp_path / "dem.tif")).save(
                disk / "out.zarr", profile={"blockxsize": 64, "blockysize": 64}, **options
            )
        assert list(disk.iterdir()) == []
