"""Plain Python: one thread, several threads that take turns with the GIL, several processes that have one each."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.comparison.plain_body import PlainBody
from tilejit.comparison.processes import queued_seconds
from tilejit.comparison.threads import on_threads
from tilejit.comparison.ways.base import Run, Sum, Way, stages_of
from tilejit.comparison.ways.pool import started_pool, worker_work
from tilejit.comparison.work import Reader, Work, place
from tilejit.engine.pipeline.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.comparison.task import Task
    from tilejit.comparison.ways.base import Stages
    from tilejit.comparison.work import Call
    from tilejit.window import Window

TILE = (16, 64)
"""Rows and columns that are interpreted between two looks at the clock: a few milliseconds."""
_TILES = 64
"""They lie evenly over the sample."""


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


class _Tiles(Run):
    """Tiles to interpret, over and over until the time is up.

    They are decoded before: of whole blocks decoding takes a thousandth of the time, but of tiny tiles much more.
    """

    def __init__(self, task: Task) -> None:
        began = time.perf_counter()
        self.task, self.work = task, Work(task)
        self.job, self.body = self.work.job(TILE), PlainBody(self.work.kernel)
        windows = spread(self.work.windows(TILE))[:_TILES]
        self.calls = [Reader(self.job).call(window) for window in windows]
        self.prepared = time.perf_counter() - began


class _Threads(_Tiles):
    """Threads that interpret tile after tile until the time is up."""

    def __call__(self) -> Stages:
        self.outputs, self.done = self.work.outputs(self.job), []
        watch, waiting, queued = Stopwatch(), itertools.cycle(self.calls), [0.0]
        self._deadline = time.perf_counter() + self.task.seconds
        on_threads(lambda: self._loop(waiting, watch, queued), self.task.cores)
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


class PlainPython(Way):
    """The body, called for each pixel."""

    name: ClassVar[str] = "python"
    is_like: ClassVar[str] = "one thread, interpreted"
    is_serial: ClassVar[bool] = True
    is_interpreted: ClassVar[bool] = True
    is_exact: ClassVar[bool] = False

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Threads(task)


class PythonThreads(Way):
    """The same in threads."""

    name: ClassVar[str] = "python threads"
    is_like: ClassVar[str] = "pthreads under one lock"
    is_interpreted: ClassVar[bool] = True
    is_exact: ClassVar[bool] = False

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
        step = max(1, len(self.calls) // self.task.cores)
        orders = [(self.calls[k * step :] + self.calls[: k * step], deadline) for k in range(self.task.cores)]
        for done, results, stages in self._pool.imap_unordered(_interpret, orders):
            self.done += done
            total.add(stages)
            for window, arrays in results.items():
                place(self.outputs, window, arrays)
        return total.stages

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


def _interpret(given: tuple[list[Call], float]) -> tuple[list[Window], dict[Window, list[NDArray[Any]]], Stages]:
    """A worker's tiles, over and over until the time is up."""
    calls, deadline = given
    work, job = worker_work(TILE)
    body, watch, queued = PlainBody(work.kernel), Stopwatch(), queued_seconds()
    done, results = [], {}
    for call in itertools.cycle(calls):
        with watch.stage("compute"):
            results[call.window] = [np.empty(call.window.shape, d) for d in job.plan.steps[0].signature.outputs]
            body(call, results[call.window])
        done.append(call.window)
        if time.time() > deadline:
            break
    return done, results, stages_of(watch, [queued_seconds() - queued])


class PythonProcesses(Way):
    """The same in processes, each with a GIL of its own."""

    name: ClassVar[str] = "python processes"
    is_like: ClassVar[str] = "fork and pipes, interpreted"
    is_interpreted: ClassVar[bool] = True
    is_exact: ClassVar[bool] = False

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Processes(task)
