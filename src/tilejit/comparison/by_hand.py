"""Compiled code that is spread by hand: one call, Numba's parallel loop, threads without the GIL, pools of processes.

Processes are spawned: a fork copies the locks of GDAL's and OpenMP's threads, but not the threads that would let go of
them, and Python 3.14 no longer forks unless it is told to.
"""

from __future__ import annotations

import functools
import multiprocessing
import time
from math import prod
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.cpu import CpuLaunch, launch_facts
from tilejit.comparison.strategy import (
    Call,
    Reader,
    Trial,
    Workload,
    empty,
    on_threads,
    place,
    queued_seconds,
    stages_of,
    summed,
)
from tilejit.comparison.with_numba import numba_module
from tilejit.compiler.emitter.cpu import cpu_source
from tilejit.compiler.jit.machine_code import OPTIONS
from tilejit.engine.pipeline.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.pool import Pool

    from numpy.typing import NDArray

    from tilejit.backends import Launch
    from tilejit.comparison.measures import Stages, TrialSpec
    from tilejit.compiler.form.kinds import Signature
    from tilejit.engine.planning.planner import Job
    from tilejit.kernel.kernel import Kernel
    from tilejit.window import Window

    Array = NDArray[Any]


class WholeArray(Trial):
    """The whole sample is decoded, then computed: how one calls a compiled function on an array."""

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__(spec, (spec.rows, 1 << 40))

    def __call__(self) -> Stages:
        """Decodes, then computes."""
        self.outputs, watch = empty(self.work.window.shape, self.job), Stopwatch()
        with watch.stage("decode"):
            call = Reader(self.job).call(self.work.window)
        with watch.stage("compute"):
            self.launch(call.arrays, self.outputs, call.nodata, call.scalars)
        return stages_of(watch)


_PARALLEL = {
    f"_NATIVE = {{{OPTIONS}": f'_NATIVE = {{{OPTIONS}, "nogil": True, "parallel": True',
    "from numba import njit": "from numba import njit, prange",
    "for _y in range(_height):": "for _y in prange(_height):",
    "for _strip in range(": "for _strip in prange(",
    "if _control[0] == 0:": "if True:",
    "_control[1] += 1": "pass",
}
"""What makes a parallel loop of tilejit's loop over rows, which nothing can stop then."""


def parallel_source(kernel: Kernel, signature: Signature) -> str:
    """Returns the module of a kernel with Numba's parallel loop in it.

    Each pixel goes through its layers by itself: rows that are computed at once cannot share the arrays for a row.
    """
    text = cpu_source(kernel, signature, together=False)
    for ours, numbas in _PARALLEL.items():
        text = text.replace(ours, numbas)
    return text


class ParallelLoop(WholeArray):
    """The same with ``parallel=True``."""

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__(spec)
        began = time.perf_counter()
        kernel, text = self.work.kernel, parallel_source(self.work.kernel, self.step.signature)
        loop = numba_module(text, f"_tilejit_{kernel.name}", kernel.form.c_functions).tile
        facts = launch_facts(kernel, self.step.signature, "tile")._replace(lanes=())
        self._parallel = CpuLaunch(loop, kernel, self.step.signature, facts)
        call = Reader(self.job).call(self.work.window)
        shape = tuple(min(2, n) for n in self.work.window.shape)
        rows, cols = (n + 2 * r for n, r in zip(shape, kernel.radius, strict=True))
        arrays = [np.ascontiguousarray(array[..., :rows, :cols]) for array in call.arrays]
        self._parallel(arrays, empty(shape, self.job), call.nodata, call.scalars)
        self.compile += time.perf_counter() - began

    def __call__(self) -> Stages:
        """Decodes, then computes in parallel."""
        self.outputs, watch = empty(self.work.window.shape, self.job), Stopwatch()
        with watch.stage("decode"):
            call = Reader(self.job).call(self.work.window)
        cpu, began = time.process_time(), time.perf_counter()
        self._parallel(call.arrays, self.outputs, call.nodata, call.scalars)
        spent = self.spec.cores * (time.perf_counter() - began), time.process_time() - cpu
        return {"decode": stages_of(watch)["decode"], "compute": spent}


class ThreadsByHand(Trial):
    """Threads that each decode and compute tile after tile."""

    def __call__(self) -> Stages:
        """Decodes and computes tile by tile."""
        self.outputs, watch = empty(self.work.window.shape, self.job), Stopwatch()
        waiting, queued = iter(self.work.windows(self.job.plan.tile)), [0.0]
        on_threads(lambda: self._loop(waiting, watch, queued), self.spec.cores)
        return stages_of(watch, queued)

    def _loop(self, waiting: Iterator[Window], watch: Stopwatch, queued: list[float]) -> None:
        reader = Reader(self.job)
        for window in waiting:
            with watch.stage("decode"):
                call = reader.call(window)
            with watch.stage("compute"):
                place(self.outputs, window, call.compute(self.launch, self.job))
        queued.append(queued_seconds())


_READY_SECONDS = 300  # how long workers may take to import and load: one that has died would be waited for forever
_SPECS: list[TrialSpec] = []  # in a worker: what it is there for


def started_pool(spec: TrialSpec) -> Pool:
    """Starts a worker for each core, and returns when all have loaded the kernel."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(spec.cores + 1)
    pool = context.Pool(spec.cores, _begin, (spec, barrier))
    barrier.wait(_READY_SECONDS)
    return pool


def _begin(spec: TrialSpec, barrier: Any) -> None:
    _SPECS.append(spec)
    _worker()
    barrier.wait(_READY_SECONDS)


@functools.cache
def worker_workload(tile: tuple[int, int] | None = None) -> tuple[Workload, Job]:
    """Returns, in a worker, its workload and the plan of it."""
    work = Workload(_SPECS[0])
    return work, work.job(tile)


@functools.cache
def _worker() -> tuple[Launch, Reader, Job]:
    """In a worker, the compiled kernel and a reader."""
    work, job = worker_workload()
    return work.launch(job), Reader(job), job


class _Pool(Trial):
    """What both pools have in common: the driver's side."""

    def __init__(self, spec: TrialSpec) -> None:
        super().__init__(spec)
        self.windows = self.work.windows(self.job.plan.tile)
        self.pool: Pool = started_pool(spec)


class PicklingPool(_Pool):
    """The driver decodes, workers compute, arrays go down a pipe and come back by another."""

    def __call__(self) -> Stages:
        """Sends tiles and gets results."""
        self.outputs = empty(self.work.window.shape, self.job)
        watch, took = Stopwatch(), []
        for window, results, stages in self.pool.imap_unordered(_compute, self._calls(watch)):
            place(self.outputs, window, results)
            took.append(stages)
        return summed([*took, {"decode": stages_of(watch)["decode"]}])

    def _calls(self, watch: Stopwatch) -> Iterator[Call]:
        reader = Reader(self.job)
        for window in self.windows:
            with watch.stage("decode"):
                call = reader.call(window)
            yield call  # it is pickled before the next is asked for

    def traffic(self) -> float | None:
        """The same arrays, decoded before and computed never."""
        call, outputs = Reader(self.job).call(self.windows[0]), empty(self.work.window.shape, self.job)
        began = time.perf_counter()
        for window, results in self.pool.imap_unordered(_echo, (call for _ in self.windows)):
            place(outputs, window, results)
        return time.perf_counter() - began


def _compute(call: Call) -> tuple[Window, list[Array], Stages]:
    launch, _, job = _worker()
    watch, queued = Stopwatch(), queued_seconds()
    with watch.stage("compute"):
        results = call.compute(launch, job)
    return call.window, results, stages_of(watch, [queued_seconds() - queued])


def _echo(call: Call) -> tuple[Window, list[Array]]:
    return call.window, [np.zeros_like(output) for output in empty(call.window.shape, _worker()[2])]


class SharedMemoryPool(_Pool):
    """Workers decode and compute; results lie in memory that all see, and only a window's numbers are sent."""

    _memory: tuple[SharedMemory, ...] = ()

    def __call__(self) -> Stages:
        """Sends windows."""
        self._forget()
        shape, dtypes = self.work.kernel.result_shape(*self.work.window.shape), self.step.signature.outputs
        self._memory = tuple(SharedMemory(create=True, size=prod(shape) * dtype.itemsize) for dtype in dtypes)
        self.outputs = _arrays(self._memory, shape, dtypes)
        names = tuple(memory.name for memory in self._memory)
        orders = ((window, names, shape) for window in self.windows)
        return summed(list(self.pool.imap_unordered(_fill, orders)))

    def _forget(self) -> None:
        self.outputs = ()
        for memory in self._memory:
            memory.close()
            memory.unlink()
        self._memory = ()

    def close(self) -> None:
        """Ends its processes."""
        super().close()
        self._forget()


_ATTACHED: dict[str, SharedMemory] = {}


def _arrays(memory: Any, shape: tuple[int, ...], dtypes: Any) -> list[Array]:
    return [np.ndarray(shape, dtype, one.buf) for one, dtype in zip(memory, dtypes, strict=True)]


def _attach(names: tuple[str, ...]) -> list[SharedMemory]:
    """The shared memory of those names; that of the run before is let go of."""
    if not set(names) <= set(_ATTACHED):
        for memory in _ATTACHED.values():
            memory.close()
        _ATTACHED.clear()
        _ATTACHED.update({name: SharedMemory(name) for name in names})
    return [_ATTACHED[name] for name in names]


def _fill(given: tuple[Window, tuple[str, ...], tuple[int, ...]]) -> Stages:
    """One tile, in a worker."""
    window, names, shape = given
    launch, reader, job = _worker()
    step, watch, queued = job.plan.steps[0], Stopwatch(), queued_seconds()
    with watch.stage("decode"):
        call = reader.call(window)
    with watch.stage("compute"):
        results = call.compute(launch, job)
        place(_arrays(_attach(names), shape, step.signature.outputs), window, results)
    return stages_of(watch, [queued_seconds() - queued])
