"""tilejit's own ways: what ``save`` and ``compute`` do."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.backends import get_backend
from tilejit.comparison.ways.base import Run, Way
from tilejit.comparison.work import Work
from tilejit.io.sink import ArraySink
from tilejit.pipeline import run_job
from tilejit.settings import RunOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tilejit.comparison.task import Task
    from tilejit.comparison.ways.base import Stages
    from tilejit.window import Window


class _Threads:
    """A run of a job in this process."""

    def __init__(self, task: Task, backend: str) -> None:
        self._work = Work(task)
        self._job = self._work.job(backend=backend)
        began = time.perf_counter()
        self._work.launch(self._job)
        self.compile = time.perf_counter() - began
        self.outputs: Sequence[NDArray[Any]] = ()
        self.done: list[Window] | None = None

    def __call__(self) -> Stages:
        write, window = self._job.plan.writes[0], self._work.window
        array = np.empty((len(write.planes), *window.shape), write.dtype)
        grid = replace(self._job.plan.grid, height=window.height)
        report = run_job(self._job, [ArraySink(array, grid)])
        self.outputs = list(array)
        return {name: (t.wall, t.cpu) for name, t in report.stages.items()}

    def traffic(self) -> float | None:
        return None

    def close(self) -> None:
        """Nothing is left of a run."""


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

    def why_not(self) -> str | None:
        """Whether there is a GPU, and what it takes to use it."""
        return get_backend("cuda").why_not()

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Threads(task, "cuda")


class _Executor:
    """A run through another executor."""

    def __init__(self, task: Task, executor: str) -> None:
        self._work, self._executor, self._cores = Work(task), executor, task.cores
        began = time.perf_counter()
        self._work.launch(self._work.job())
        self.compile = time.perf_counter() - began
        self._warm()
        self.outputs: Sequence[NDArray[Any]] = ()
        self.done: list[Window] | None = None

    def _warm(self) -> None:
        """Starts what stays up between runs."""
        from tilejit.window import Window as Part

        self._read(Part(0, 0, 1, 1))

    def _read(self, window: Window) -> NDArray[Any]:
        options: Any = {"executor": self._executor, "workers": self._cores}
        return self._work.raster.read(window, **options)

    def __call__(self) -> Stages:
        self.outputs = list(self._read(self._work.window))
        return {}

    def traffic(self) -> float | None:
        return None

    def close(self) -> None:
        """The executor ends its workers with each run, or with this process."""


class TilejitExecutor(Way):
    """One of the engines behind ``executor=``."""

    name: str  # type: ignore[misc] # each executor is a way of its own
    is_like: str  # type: ignore[misc]

    def __init__(self, executor: str, is_like: str, package: str | None = None) -> None:
        self.executor, self.name, self.is_like, self.package = executor, f"tilejit {executor}", is_like, package

    def why_not(self) -> str | None:
        """Whether this version has executors, and the package is there."""
        from importlib.util import find_spec

        if self.package is not None and find_spec(self.package) is None:
            return f"not installed: pip install {self.package}"
        if "executor" not in RunOptions.__annotations__:
            return "not in this version of tilejit"
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
    import shutil
    from pathlib import Path as File

    return shutil.which("mpiexec") or shutil.which("mpiexec", path=str(File(sys.executable).parent))
