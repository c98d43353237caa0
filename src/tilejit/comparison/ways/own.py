"""tilejit's own ways: what ``save`` and ``compute`` do."""

from __future__ import annotations

import importlib
import shutil
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.backends import get_backend
from tilejit.comparison.ways.base import Run, Way
from tilejit.comparison.work import Work
from tilejit.engine.pipeline.run import run_job
from tilejit.formats.sink import ArraySink
from tilejit.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.comparison.task import Task
    from tilejit.comparison.ways.base import Stages


_WARM = 16
"""Rows and columns of the tiles, 64 of them, in which every worker of an executor loads the kernel."""


class _Threads(Run):
    """A run of a job in this process."""

    def __init__(self, task: Task, backend: str) -> None:
        self._work = Work(task)
        self._job = self._work.job(backend=backend)
        began = time.perf_counter()
        self._work.launch(self._job)
        self.compile = time.perf_counter() - began

    def __call__(self) -> Stages:
        write, window = self._job.plan.writes[0], self._work.window
        array = np.empty((len(write.planes), *window.shape), write.dtype)
        grid = replace(self._job.plan.grid, height=window.height)
        report = run_job(self._job, [ArraySink(array, grid)])
        self.outputs = list(array)
        return {name: (t.wall, t.cpu) for name, t in report.stages.items()}


class TilejitThreads(Way):
    """What tilejit does unless told otherwise."""

    name: ClassVar[str] = "tilejit threads"
    is_like: ClassVar[str] = "pthreads"

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Threads(task, "cpu")


class Cuda(Way):
    """A GPU, fed by threads that decode."""

    name: ClassVar[str] = "tilejit cuda"
    is_like: ClassVar[str] = "CUDA C"
    is_exact: ClassVar[bool] = False

    def why_not(self) -> str | None:
        """Whether there is a GPU, and what it takes to use it."""
        return get_backend("cuda").why_not()

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Threads(task, "cuda")


class _Executor(Run):
    """Runs through an executor that stays open between them."""

    def __init__(self, task: Task, executor: str) -> None:
        self._work = Work(task)
        began = time.perf_counter()
        self._work.launch(self._work.job())
        self.compile = time.perf_counter() - began
        # Ranks are there already; other workers are started here.
        workers = None if executor == "mpi" else task.cores
        self._engine = importlib.import_module("tilejit.engine.executors").open_executor(executor, workers)
        rows, cols = self._work.window.shape
        self._read(Window(0, 0, min(rows, _WARM * 8), min(cols, _WARM * 8)), tile=(_WARM, _WARM))

    def _read(self, window: Window, **options: Any) -> NDArray[Any]:
        raster: Any = self._work.raster  # whose `read` takes an executor where there are any
        array: NDArray[Any] = raster.read(window, executor=self._engine, backend="cpu", **options)
        return array

    def __call__(self) -> Stages:
        self.outputs = list(self._read(self._work.window))
        return {}

    def close(self) -> None:
        self._engine.close()


class TilejitExecutor(Way):
    """One of the engines behind ``executor=``."""

    name: str  # type: ignore[misc] # each executor is a way of its own
    is_like: str  # type: ignore[misc]

    def __init__(self, executor: str, is_like: str, package: str | None = None) -> None:
        self.executor, self.name, self.is_like, self.package = executor, f"tilejit {executor}", is_like, package

    def why_not(self) -> str | None:
        """Whether its package is there."""
        if self.package is not None and find_spec(self.package) is None:
            return f"not installed: pip install {self.package}"
        return None

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Executor(task, self.executor)


class TilejitMpi(TilejitExecutor):
    """Ranks that ``mpiexec`` starts: one that drives, and one for each core."""

    def __init__(self) -> None:
        super().__init__("mpi", "MPI ranks", "mpi4py")

    def why_not(self) -> str | None:
        """Whether there is also something that starts ranks."""
        return super().why_not() or (None if _mpiexec() else "no mpiexec: pip install mpich")

    def command(self, task: Task, file: Path) -> list[str]:
        """Starts ranks."""
        ranks = [str(_mpiexec()), "-n", str(task.cores + 1)]
        return [*ranks, sys.executable, "-m", "mpi4py.futures", "-m", "tilejit.comparison.trial", str(file)]


def _mpiexec() -> str | None:
    """The program of the path, or the one beside this Python."""
    return shutil.which("mpiexec") or shutil.which("mpiexec", path=str(Path(sys.executable).parent))
