"""A job on workers in other processes: tasks go out, what they wrote comes back."""

from __future__ import annotations

import pickle
import secrets
from collections import Counter, deque
from contextlib import closing
from typing import TYPE_CHECKING

from tilejit.engine.distribution.task import JobSpec, Task, check_writers, run_task
from tilejit.engine.passes import run_passes
from tilejit.engine.pipeline.cancellation import Sentinel
from tilejit.engine.pipeline.run import Run
from tilejit.engine.planning.parts import parts_of
from tilejit.errors import KernelError, PlanError, SinkError, TilejitError
from tilejit.formats.sink import opener_of
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tilejit.engine.distribution.task import TaskResult
    from tilejit.engine.executors.base import Executor, Outcome
    from tilejit.engine.pipeline.cancellation import Cancellation
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.pipeline.run import Progress
    from tilejit.engine.planning.planner import Job
    from tilejit.formats.sink import Sink
    from tilejit.window import Window

ATTEMPTS = 3
"""How often a task is tried."""


def check_distributed(job: Job) -> None:
    """Refuses, while planning, what other processes cannot do."""
    for write in job.plan.writes:
        if not write.shared:
            raise PlanError(
                f"{write.path}: is written {write.writer}, which one process does: leave executor= out, or choose "
                "compress=zstd, deflate, lzw or none, whose blocks workers write"
            )
    JobSpec.of(job)


def run_distributed(
    job: Job,
    sinks: Sequence[Sink],
    executor: Executor,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
    *,
    journal: Journal | None = None,
) -> Report:
    """Runs a job on an executor to its end: all outputs in their place, or none; see `Run`."""
    job, earlier = run_passes(job, lambda one: run_distributed(one, (), executor, progress, cancellation), journal)
    parts = parts_of(job.plan, executor.workers)
    run = Run(job, sinks, parts, progress=progress, cancellation=cancellation, journal=journal, earlier=earlier)
    return run.complete(lambda: _Distribution(run, executor).run(run.windows), job.plan.workers * executor.workers)


class _Distribution:
    """One run of a job on an executor."""

    def __init__(self, run: Run, executor: Executor) -> None:
        self._run, self._executor = run, executor
        self._openers = tuple(opener_of(sink, local=executor.local) for sink in run.sinks)
        self._spec, self._name = pickle.dumps(JobSpec.of(run.job, self._openers)), secrets.token_hex(8)
        self._sentinel = Sentinel.of(self._name, next((w.path for w in run.plan.writes), ""), local=executor.local)
        self._failures: Counter[Window] = Counter()
        self._again: deque[Window] = deque()

    def run(self, windows: Iterable[Window]) -> None:
        """Computes windows; on an error or Ctrl-C no worker writes any more when it raises, but those of others."""
        left, check = iter(windows), self._run.cancellation.check
        with self._sentinel.shown(), self._run.cancellation.calling(self._sentinel.remove):
            self._check_workers()
            is_done = False
            while not is_done:
                with closing(self._executor.map(run_task, self._tasks(left), check)) as outcomes:  # type: ignore[type-var]
                    for outcome in outcomes:
                        check()
                        self._take(outcome)
                is_done = not self._again

    def _check_workers(self) -> None:
        """Has workers elsewhere look for the folders that they are to write to, before anything is computed."""
        if self._executor.local:
            return
        tasks, check = [self._openers] * (2 * self._executor.workers), self._run.cancellation.check
        with closing(self._executor.map(check_writers, tasks, check)) as outcomes:  # type: ignore[type-var]
            for outcome in outcomes:
                if isinstance(outcome.error, SinkError):  # a task tells of all else, and is tried again
                    raise outcome.error

    def _tasks(self, left: Iterator[Window]) -> Iterator[Task]:
        """What is to be done: what has failed before all others, so that what cannot be is found out early."""
        while True:
            window = self._again.popleft() if self._again else next(left, None)
            if window is None:
                return
            yield Task(self._name, self._sentinel, self._spec, window)

    def _take(self, outcome: Outcome[Task, TaskResult]) -> None:
        run, window, result = self._run, outcome.task.window, outcome.result
        if result is None:
            self._note_failure(window, outcome.error)
            return
        with run.watch.stage("encode"):
            kept = [sink.merge(manifest) for sink, manifest in zip(run.sinks, result.manifests, strict=True)]
        if run.journal is not None:
            run.journal.add([window], kept, result.states)
        run.totals.add(result.states)
        run.figures += result.figures
        run.tell(run.figures.tiles)

    def _note_failure(self, window: Window, error: BaseException | None) -> None:
        """Puts a window back, or gives the run up."""
        self._failures[window] += 1
        tried = self._failures[window]
        if tried < ATTEMPTS and not isinstance(error, KernelError):  # a kernel that is not there does not come
            self._again.append(window)
            return
        outputs = ", ".join(w.path or "an array" for w in self._run.plan.writes) or "a statistic"
        message = f"{outputs}: {window} failed {counted(tried, 'time')}, at last with: {error}"
        if isinstance(error, TilejitError):
            error.add_note(message)
            raise error
        raise TilejitError(f"{message} ({type(error).__name__})") from error
