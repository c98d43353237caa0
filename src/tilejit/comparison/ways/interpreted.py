"""Plain Python: one thread, several threads that take turns with the GIL, several processes that have one each."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.comparison.plain_body import PlainBody
from tilejit.comparison.processes import queued_seconds
from tilejit.comparison.ways.base import Run, Sum, Way, stages_of
from tilejit.comparison.ways.pool import started_pool, worker_work
from tilejit.comparison.work import Reader, Work, place
from tilejit.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.comparison.task import Task
    from tilejit.comparison.ways.base import Stages
    from tilejit.comparison.work import Call
    from tilejit.window import Window

TILE = (16, 32)
"""Rows and columns that are interpreted between two looks at the clock: a few milliseconds."""
_MOST_TILES = 4000
"""Decoded before, they take 6 kB each for every input of float32."""


def spread(windows: Sequence[Window]) -> list[Window]:
    """Returns windows in an order whose beginning lies evenly over the raster, at the golden section of what is left.

    Example:
        >>> spread([0, 1, 2, 3, 4])
        [0, 3, 1, 4, 2]
    """
    count = len(windows)
    step = next(s for s in range(max(1, round(count * 0.618)), count + 2) if _coprime(s, count))
    return [windows[k * step % count] for k in range(count)]


def _coprime(a: int, b: int) -> bool:
    while b:
        a, b = b, a % b
    return a == 1


class _Tiles:
    """Tiles to interpret, decoded before: decoding takes a thousandth of the time, but of tiny tiles much more."""

    compile = 0.0

    def __init__(self, task: Task) -> None:
        self.task, self.work = task, Work(task)
        self.job = self.work.job(TILE)
        self.body = PlainBody(self.work.kernel)
        windows, reader = spread(self.work.windows(TILE)), Reader(self.job)
        times = []
        for window in (windows * 3)[:3]:
            call, began = reader.call(window), time.perf_counter()
            self.body(call, self._tile(window))
            times.append(time.perf_counter() - began)
        wanted = task.cores * (2 + 3 * task.seconds / min(times))
        self.calls = [Reader(self.job).call(window) for window in windows[: min(_MOST_TILES, int(wanted))]]
        self.outputs: Sequence[NDArray[Any]] = ()
        self.done: list[Window] | None = []

    def _tile(self, window: Window) -> list[NDArray[Any]]:
        return [np.empty(window.shape, dtype) for dtype in self.job.plan.steps[0].signature.outputs]

    def traffic(self) -> float | None:
        return None


class _Threads(_Tiles):
    """Threads that interpret tile after tile until the time is up."""

    def __call__(self) -> Stages:
        self.outputs, self.done = self.work.outputs(self.job), []
        watch, waiting, queued = Stopwatch(), iter(self.calls), [0.0]
        self._deadline = time.perf_counter() + self.task.seconds
        cores = range(self.task.cores)
        threads = [threading.Thread(target=self._loop, args=(waiting, watch, queued)) for _ in cores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return stages_of(watch, queued)

    def _loop(self, waiting: Iterator[Call], watch: Stopwatch, queued: list[float]) -> None:
        # Taking from an iterator is one step of the interpreter: the GIL is lock enough.
        for call in waiting:
            with watch.stage("compute"):
                results = [output[call.window.slices(self.work.window)] for output in self.outputs]
                self.body(call, results)
            self.done.append(call.window)  # type: ignore[union-attr]
            if time.perf_counter() > self._deadline:
                break
        queued.append(queued_seconds())

    def close(self) -> None:
        """Threads have ended with the run."""


class PlainPython(Way):
    """The body, called for each pixel."""

    name: ClassVar[str] = "python"
    is_like: ClassVar[str] = "one thread, interpreted"
    is_serial: ClassVar[bool] = True
    is_interpreted: ClassVar[bool] = True

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Threads(task)


class PythonThreads(Way):
    """The same in threads."""

    name: ClassVar[str] = "python threads"
    is_like: ClassVar[str] = "pthreads under one lock"
    is_interpreted: ClassVar[bool] = True

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Threads(task)


class _Processes(_Tiles):
    """Processes that interpret, and send their results home."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._pool = started_pool(task)

    def __call__(self) -> Stages:
        self.outputs, self.done = self.work.outputs(self.job), []
        deadline, total = time.time() + self.task.seconds, Sum()
        for window, results, stages in self._pool.imap_unordered(_interpret, ((call, deadline) for call in self.calls)):
            if results is None:
                continue  # it was too late
            place(self.outputs, window, results)
            self.done.append(window)
            total.add(stages)
        return total.stages

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


def _interpret(given: tuple[Call, float]) -> tuple[Window, list[NDArray[Any]] | None, Stages]:
    """One tile, in a worker; nothing where it is too late."""
    call, deadline = given
    if time.time() > deadline:
        return call.window, None, {}
    work, job = worker_work(TILE)
    watch, queued = Stopwatch(), queued_seconds()
    with watch.stage("compute"):
        results = [np.empty(call.window.shape, dtype) for dtype in job.plan.steps[0].signature.outputs]
        PlainBody(work.kernel)(call, results)
    return call.window, results, stages_of(watch, [queued_seconds() - queued])


class PythonProcesses(Way):
    """The same in processes, each with a GIL of its own."""

    name: ClassVar[str] = "python processes"
    is_like: ClassVar[str] = "fork and pipes, interpreted"
    is_interpreted: ClassVar[bool] = True

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Processes(task)
