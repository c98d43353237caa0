"""A job on workers in other processes: tasks go out, what they wrote comes back."""

from __future__ import annotations

import pickle
import secrets
from collections import Counter, deque
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tilejit.engine.distribution.task import JobSpec, Sentinel, Task, TaskResult, check_writers, run_task
from tilejit.engine.pipeline.report import Figures
from tilejit.errors import KernelError, PlanError, SinkError, TilejitError
from tilejit.formats.sink import Sink, opener_of
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tilejit.engine.executors.base import Executor, Outcome
    from tilejit.engine.partials import Totals
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.pipeline import Run
    from tilejit.engine.planning.planner import Job
    from tilejit.window import Window

ATTEMPTS = 3  # how often a task is tried


def check_distributed(job: Job) -> None:
    """Refuses, while planning, what other processes cannot do."""
    for write in job.plan.writes:
        if not write.shared:
            raise PlanError(
                f"{write.path}: is written {write.writer}, which one process does: leave executor= out, or choose "
                "compress=zstd, deflate, lzw or none, whose blocks workers write"
            )
    JobSpec.of(job)


class Distribution:
    """Has windows computed on an executor; when that raises, none of its own workers writes any more."""

    def __init__(
        self, run: Run, sinks: Sequence[Sink], totals: Totals, journal: Journal | None, executor: Executor
    ) -> None:
        self._run, self._sinks, self._totals, self._journal, self._executor = run, sinks, totals, journal, executor
        self._openers = tuple(opener_of(sink, local=executor.local) for sink in sinks)
        self._spec, self._name = pickle.dumps(JobSpec.of(run.job, self._openers)), secrets.token_hex(8)
        path = next((w.path for w in run.job.plan.writes), "")
        self._sentinel = Sentinel.of(self._name, path, local=executor.local)
        self._failures: Counter[Window] = Counter()
        self._again: deque[Window] = deque()
        self._figures = Figures()

    def compute(self, windows: Iterable[Window]) -> Figures:
        """Returns what workers did, when all is computed."""
        left, cancellation = iter(windows), self._run.cancellation
        with self._sentinel.shown(), cancellation.calling(self._sentinel.remove):
            self._check_workers()
            is_done = False
            while not is_done:
                outcomes: Any = self._executor.map(run_task, self._tasks(left), cancellation.check)
                with closing(outcomes):
                    for outcome in outcomes:
                        cancellation.check()
                        self._take(outcome)
                is_done = not self._again
        return self._figures

    def _check_workers(self) -> None:
        """Has workers elsewhere look for the folders that they are to write to, before anything is computed."""
        if self._executor.local:
            return
        tasks = [self._openers] * (2 * self._executor.workers)
        outcomes: Any = self._executor.map(check_writers, tasks, self._run.cancellation.check)
        with closing(outcomes):
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
        window, result = outcome.task.window, outcome.result
        if result is None:
            self._note_failure(window, outcome.error)
            return
        with self._run.watch.stage("encode"):
            kept = [sink.merge(manifest) for sink, manifest in zip(self._sinks, result.manifests, strict=True)]
        if self._journal is not None:
            self._journal.add([window], kept, result.states)
        self._totals.add(result.states)
        self._figures += result.figures
        self._run.tell(self._figures.tiles, "")

    def _note_failure(self, window: Window, error: BaseException | None) -> None:
        """Puts a window back, or gives the run up."""
        self._failures[window] += 1
        tried = self._failures[window]
        if tried < ATTEMPTS and not isinstance(error, KernelError):  # a kernel that is not there does not come
            self._again.append(window)
            return
        outputs = ", ".join(w.path or "an array" for w in self._run.job.plan.writes) or "a statistic"
        message = f"{outputs}: {window} failed {counted(tried, 'time')}, at last with: {error}"
        if isinstance(error, TilejitError):
            error.add_note(message)
            raise error
        raise TilejitError(f"{message} ({type(error).__name__})") from error
