"""Processes by hand: a `multiprocessing.Pool` that pickles arrays, and one that shares memory.

Processes are spawned: a fork copies the locks of GDAL's and OpenMP's threads, but not the threads that would let go of
them, and Python 3.14 no longer forks unless it is told to.
"""

from __future__ import annotations

import functools
import multiprocessing
import time
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.comparison.processes import queued_seconds
from tilejit.comparison.ways.base import Run, Sum, Way, stages_of
from tilejit.comparison.work import Call, Reader, Work, place
from tilejit.engine.pipeline.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.pool import Pool

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.comparison.task import Task
    from tilejit.comparison.ways.base import Stages
    from tilejit.engine.planning.planner import Job
    from tilejit.window import Window

    Array = NDArray[Any]

_READY_SECONDS = 300
"""How long workers may take to import and load: one that has died would be waited for forever."""
_TASKS: list[Task] = []
"""In a worker: what it is there for."""


def started_pool(task: Task) -> Pool:
    """Starts a worker for each core, and returns when all have loaded the kernel."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(task.cores + 1)
    pool = context.Pool(task.cores, _begin, (task, barrier))
    barrier.wait(_READY_SECONDS)
    return pool


def _begin(task: Task, barrier: Any) -> None:
    _TASKS.append(task)
    worker_launch()
    barrier.wait(_READY_SECONDS)


@functools.cache
def worker_work(tile: tuple[int, int] | None = None) -> tuple[Work, Job]:
    """Returns, in a worker, its work and the plan of it."""
    work = Work(_TASKS[0])
    return work, work.job(tile)


@functools.cache
def worker_launch() -> tuple[Launch, Reader, Job]:
    """Returns, in a worker, the compiled kernel and a reader."""
    work, job = worker_work()
    return work.launch(job), Reader(job), job


class _Processes(Run):
    """What both have in common: the driver's side."""

    def __init__(self, task: Task) -> None:
        self._work = Work(task)
        self._job = self._work.job()
        began = time.perf_counter()
        self._work.launch(self._job)
        self.compile = time.perf_counter() - began
        self._windows = self._work.windows(self._job.plan.tile)
        self._pool = started_pool(task)

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class _Pickling(_Processes):
    """Arrays go down a pipe and come back by another."""

    def __call__(self) -> Stages:
        self.outputs = self._work.outputs(self._job)
        watch, total = Stopwatch(), Sum()
        for window, results, stages in self._pool.imap_unordered(_compute, self._calls(watch)):
            place(self.outputs, window, results)
            total.add(stages)
        decoded = watch.stages()["decode"]
        total.add({"decode": (decoded.wall, decoded.cpu)})
        return total.stages

    def _calls(self, watch: Stopwatch) -> Iterator[Call]:
        reader = Reader(self._job)
        for window in self._windows:
            with watch.stage("decode"):
                call = reader.call(window)
            yield call  # it is pickled before the next is asked for

    def traffic(self) -> float | None:
        """The same arrays, decoded before and computed never."""
        reader, outputs = Reader(self._job), self._work.outputs(self._job)
        call = reader.call(self._windows[0])
        began = time.perf_counter()
        for window, results in self._pool.imap_unordered(_echo, (call for _ in self._windows)):
            place(outputs, window, results)
        return time.perf_counter() - began


def _compute(call: Call) -> tuple[Window, list[Array], Stages]:
    launch, _, job = worker_launch()
    watch, queued = Stopwatch(), queued_seconds()
    with watch.stage("compute"):
        results = call.compute(launch, job.plan.steps[0])
    return call.window, results, stages_of(watch, [queued_seconds() - queued])


def _echo(call: Call) -> tuple[Window, list[Array]]:
    outputs = worker_launch()[2].plan.steps[0].signature.outputs
    return call.window, [np.zeros(call.window.shape, dtype) for dtype in outputs]


class PicklingPool(Way):
    """The driver decodes, workers compute, arrays are pickled both ways."""

    name: ClassVar[str] = "pool, pickled arrays"
    is_like: ClassVar[str] = "fork and pipes"

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Pickling(task)


class _Shared(_Processes):
    """Workers read the files themselves and put results into memory that all see."""

    _memory: tuple[SharedMemory, ...] = ()

    def __call__(self) -> Stages:
        self._forget()
        shape, dtypes = self._work.window.shape, self._job.plan.steps[0].signature.outputs
        size = shape[0] * shape[1]
        self._memory = tuple(SharedMemory(create=True, size=size * dtype.itemsize) for dtype in dtypes)
        pairs = zip(self._memory, dtypes, strict=True)
        self.outputs = [np.ndarray(shape, dtype, memory.buf) for memory, dtype in pairs]
        names = tuple(memory.name for memory in self._memory)
        total = Sum()
        for stages in self._pool.imap_unordered(_fill, ((window, names, shape) for window in self._windows)):
            total.add(stages)
        return total.stages

    def _forget(self) -> None:
        self.outputs = ()
        for memory in self._memory:
            memory.close()
            memory.unlink()
        self._memory = ()

    def close(self) -> None:
        super().close()
        self._forget()


_ATTACHED: dict[str, SharedMemory] = {}


def _attach(names: tuple[str, ...]) -> list[SharedMemory]:
    """The shared memory of those names; that of the run before is let go of."""
    if not set(names) <= set(_ATTACHED):
        for memory in _ATTACHED.values():
            memory.close()
        _ATTACHED.clear()
        _ATTACHED.update({name: SharedMemory(name) for name in names})
    return [_ATTACHED[name] for name in names]


def _fill(given: tuple[Window, tuple[str, ...], tuple[int, int]]) -> Stages:
    """One tile, in a worker."""
    window, names, shape = given
    launch, reader, job = worker_launch()
    step, watch, queued = job.plan.steps[0], Stopwatch(), queued_seconds()
    with watch.stage("decode"):
        call = reader.call(window)
    with watch.stage("compute"):
        results = call.compute(launch, step)
        pairs = zip(_attach(names), step.signature.outputs, strict=True)
        place([np.ndarray(shape, dtype, memory.buf) for memory, dtype in pairs], window, results)
    return stages_of(watch, [queued_seconds() - queued])


class SharedMemoryPool(Way):
    """Workers decode and compute; results lie in shared memory, and only a window's numbers are sent."""

    name: ClassVar[str] = "pool, shared memory"
    is_like: ClassVar[str] = "fork and shm_open"

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Shared(task)
