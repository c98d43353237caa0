"""Every strategy that is compared: a row of a table each, tilejit's own among them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends import get_backend
from tilejit.comparison.by_hand import ParallelLoop, PicklingPool, SharedMemoryPool, ThreadsByHand, WholeArray
from tilejit.comparison.interpreted import InterpretedProcesses, InterpretedThreads
from tilejit.comparison.strategy import Strategy, Trial
from tilejit.engine.executors import open_executor
from tilejit.engine.pipeline.run import run_job
from tilejit.formats.in_memory import ArraySink
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.comparison.measures import Stages, TrialSpec

_WARM = 16  # rows and columns of the tiles, 64 of them, in which every worker of an executor loads the kernel


class _Own(Trial):
    """What ``compute`` does, in this process."""

    def __call__(self) -> Stages:
        write, window = self.job.plan.writes[0], self.work.window
        array = np.empty((len(write.planes), *window.shape), write.dtype)
        report = run_job(self.job, [ArraySink(array, replace(self.job.plan.grid, height=window.height))])
        self.outputs = list(array)
        return {name: (t.wall, t.cpu) for name, t in report.stages.items()}


class _Executed(Trial):
    """What ``compute(executor=…)`` does, through an executor that stays open between runs."""

    def __init__(self, spec: TrialSpec, executor: str) -> None:
        super().__init__(spec)
        # Ranks are there already; other workers are started here.
        self._executor = open_executor(executor, None if executor == "mpi" else spec.cores)
        rows, cols = self.work.window.shape
        self._read(Window(0, 0, min(rows, _WARM * 8), min(cols, _WARM * 8)), tile=(_WARM, _WARM))

    def _read(self, window: Window, **options: Any) -> Any:
        return self.work.raster.read(window, executor=self._executor, backend="cpu", **options)

    def __call__(self) -> Stages:
        self.outputs = list(self._read(self.work.window))
        return {}

    def close(self) -> None:
        self._executor.close()


def _needs(package: str) -> Callable[[], str | None]:
    return lambda: None if find_spec(package) is not None else f"not installed: pip install {package}"


def _mpiexec() -> str | None:
    """The program of the path, or the one beside this Python."""
    return shutil.which("mpiexec") or shutil.which("mpiexec", path=str(Path(sys.executable).parent))


def _no_mpi() -> str | None:
    return _needs("mpi4py")() or (None if _mpiexec() else "no mpiexec: pip install mpich")


def _ranks(cores: int) -> list[str]:
    """One rank that drives, and one for each core."""
    return [str(_mpiexec()), "-n", str(cores + 1), sys.executable, "-m", "mpi4py.futures"]


REFERENCE = "tilejit threads"  # the strategy whose pixels the others are held to

_ALL = (
    Strategy("python", "one thread, interpreted", InterpretedThreads,
             is_serial=True, is_interpreted=True, is_exact=False),
    Strategy("python threads", "pthreads under one lock", InterpretedThreads, is_interpreted=True, is_exact=False),
    Strategy("python processes", "fork and pipes, interpreted", InterpretedProcesses,
             is_interpreted=True, is_exact=False),
    Strategy("numba", "a C loop", WholeArray, is_serial=True),
    Strategy("numba parallel", "#pragma omp parallel for", ParallelLoop),
    Strategy("threads, nogil numba", "pthreads", ThreadsByHand),
    Strategy("pool, pickled arrays", "fork and pipes", PicklingPool),
    Strategy("pool, shared memory", "fork and shm_open", SharedMemoryPool),
    Strategy(REFERENCE, "pthreads", _Own),
    Strategy("tilejit processes", "fork and shm_open", partial(_Executed, executor="processes")),
    Strategy("tilejit mpi", "MPI ranks", partial(_Executed, executor="mpi"), why_not=_no_mpi, program=_ranks),
    Strategy("tilejit dask", "a job queue", partial(_Executed, executor="dask"), why_not=_needs("distributed")),
    Strategy("tilejit cuda", "CUDA C", partial(_Own, backend="cuda"), is_exact=False,
             why_not=lambda: get_backend("cuda").why_not()),
)  # fmt: skip
STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in _ALL}
"""Name -> strategy, in the order of tables."""
