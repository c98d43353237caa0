"""A job on workers in other processes: parts go out, what they wrote comes back."""

from __future__ import annotations

import pickle
import secrets
from collections import Counter, deque
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from tilejit.engine.distribution.recipe import recipe_of
from tilejit.engine.distribution.worker import Part, check_writers, run_part
from tilejit.engine.partials import Totals
from tilejit.engine.passes import run_passes
from tilejit.engine.pipeline.cancellation import Cancellation, Sentinel
from tilejit.engine.pipeline.pipeline import completing, output_bytes
from tilejit.engine.pipeline.report import Report, peak_memory, reset_peak_memory
from tilejit.engine.pipeline.stopwatch import STAGES, StageTime, Stopwatch
from tilejit.engine.planning.parts import parts_of, unfinished
from tilejit.errors import KernelError, PlanError, SinkError, TilejitError
from tilejit.formats.sink import opener_of
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilejit.engine.distribution.worker import PartResult
    from tilejit.engine.executors.base import Executor, Outcome
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.pipeline import Progress
    from tilejit.engine.planning.planner import Job
    from tilejit.formats.sink import Sink
    from tilejit.system.identity import FileIdentity
    from tilejit.window import Window

ATTEMPTS = 3
"""How often a part is tried."""


def check_distributed(job: Job) -> None:
    """Refuses what other processes cannot do, while planning.

    Raises:
        PlanError: An input is in memory, or an output is written by GDAL.
        KernelError: A kernel cannot be handed to another process.
    """
    for write in job.plan.writes:
        if not write.shared:
            raise PlanError(
                f"{write.path}: is written {write.writer}, which one process does: leave executor= out, or choose "
                "compress=zstd, deflate, lzw or none, whose blocks workers write"
            )
    recipe_of(job, ())


class Distribution:
    """One run of a job on an executor."""

    def __init__(
        self,
        job: Job,
        sinks: Sequence[Sink],
        executor: Executor,
        progress: Progress | None,
        *,
        watch: Stopwatch,
        cancellation: Cancellation,
        journal: Journal | None = None,
    ) -> None:
        self.cancellation, self.journal = cancellation, journal
        self.job, self.sinks, self.executor, self.progress, self.watch = job, sinks, executor, progress, watch
        self._openers = tuple(opener_of(sink, local=executor.local) for sink in sinks)
        recipe = recipe_of(job, self._openers)
        self._run, self._recipe = secrets.token_hex(8), pickle.dumps(recipe)
        self._sentinel = Sentinel.of(self._run, next((w.path for w in job.plan.writes), ""), local=executor.local)
        self._failures: Counter[Window] = Counter()
        self._again: deque[Window] = deque()
        self.tasks = self.bytes_read = 0
        self.totals = Totals(job.plan.partials) if journal is None else journal.totals
        self.resumed = self._finished = 0
        self.stages = dict.fromkeys(STAGES, StageTime())
        self.peaks: dict[tuple[FileIdentity, int], int] = {}

    def __call__(self) -> None:
        """Computes all parts; on an error or Ctrl-C no worker writes any more when it raises, but those of others."""
        with self._sentinel.shown(), self.cancellation.calling(self._sentinel.remove):
            self._check_workers()
            self._compute(self._unfinished())

    def _check_workers(self) -> None:
        """Has workers elsewhere look for the folders that they are to write to, before anything is computed.

        Raises:
            SinkError: One does not see them; with its name.
        """
        if self.executor.local:
            return
        tasks, check = [self._openers] * (2 * self.executor.workers), self.cancellation.check
        with closing(self.executor.map(check_writers, tasks, check)) as outcomes:  # type: ignore[type-var]
            for outcome in outcomes:
                if isinstance(outcome.error, SinkError):  # a part tells of all else, and is tried again
                    raise outcome.error

    def _compute(self, left: Iterator[Window]) -> None:
        while True:
            check = self.cancellation.check
            with closing(self.executor.map(run_part, self._parts(left), check)) as outcomes:  # type: ignore[type-var]
                for outcome in outcomes:
                    self.cancellation.check()
                    self._take(outcome)
            if not self._again:
                return

    def _unfinished(self) -> Iterator[Window]:
        """The parts, without the tiles that a journal has."""
        plan, windows = self.job.plan, parts_of(self.job.plan, self.executor.workers)
        if self.journal is None:
            return windows
        rest = list(unfinished(plan, windows, self.journal.windows))
        self._finished = plan.task_count - sum(replace(plan, window=window).task_count for window in rest)
        self.resumed = plan.window.height * plan.window.width - sum(w.height * w.width for w in rest)
        return iter(rest)

    def _parts(self, left: Iterator[Window]) -> Iterator[Part]:
        """What is to be done: what has failed before all others, so that what cannot be is found out early."""
        while True:
            window = self._again.popleft() if self._again else next(left, None)
            if window is None:
                return
            yield Part(self._run, self._sentinel, self._recipe, window)

    def _take(self, outcome: Outcome[Part, PartResult]) -> None:
        result = outcome.result
        if result is None:
            self._note_failure(outcome.task.window, outcome.error)
            return
        with self.watch.stage("encode"):
            kept = [sink.merge(manifest) for sink, manifest in zip(self.sinks, result.manifests, strict=True)]
        if self.journal is not None:
            self.journal.add([outcome.task.window], kept, result.states)
        self.tasks += result.tasks
        self.bytes_read += result.bytes_read
        self.totals.add(result.states)
        for stage, time in result.stages.items():
            self.stages[stage] += time
        self.peaks[result.worker] = max(result.peak_memory, self.peaks.get(result.worker, 0))
        if self.progress is not None:
            self.progress(self._finished + self.tasks, self.job.plan.task_count, "")

    def _note_failure(self, window: Window, error: BaseException | None) -> None:
        """Puts a part back, or gives the run up."""
        self._failures[window] += 1
        tried = self._failures[window]
        if tried < ATTEMPTS and not isinstance(error, KernelError):  # a kernel that is not there does not come
            self._again.append(window)
            return
        outputs = ", ".join(w.path or "an array" for w in self.job.plan.writes) or "a statistic"
        message = f"{outputs}: {window} failed {counted(tried, 'time')}, at last with: {error}"
        if isinstance(error, TilejitError):
            error.add_note(message)
            raise error
        raise TilejitError(f"{message} ({type(error).__name__})") from error


def run_distributed(
    job: Job,
    sinks: Sequence[Sink],
    executor: Executor,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
    *,
    journal: Journal | None = None,
) -> Report:
    """Runs a job on an executor to its end: all outputs in their place, or none.

    Args:
        job: The job.
        sinks: One for each of the plan's writes.
        executor: What runs the parts.
        progress: Called now and then with tasks done and tasks in all.
        cancellation: What another thread may stop it by.
        journal: Where finished parts are kept; those that it has are not computed again.

    Raises:
        TilejitError: A part cannot be computed, read or written; no output is left half written.
        KeyboardInterrupt: Ctrl-C; likewise.
        RunStoppedError: It was cancelled; likewise.
    """
    job, earlier = run_passes(job, lambda one: run_distributed(one, (), executor, progress, cancellation))
    reset_peak_memory()
    watch, cancellation = Stopwatch(), cancellation or Cancellation()
    with completing(sinks, watch, cancellation, journal), journal or nullcontext():
        distribution = Distribution(
            job, sinks, executor, progress, watch=watch, cancellation=cancellation, journal=journal
        )
        distribution()
    if journal is not None:
        journal.remove()
    return replace(_report(distribution), earlier=earlier)


def _report(done: Distribution) -> Report:
    plan, watch = done.job.plan, done.watch
    own = watch.stages()
    stages = {name: done.stages[name] + own[name] for name in STAGES}
    return Report(
        seconds=watch.seconds(),
        stages=stages,
        # Of the workers, what their own threads did in the stages.
        cpu_seconds=watch.cpu_seconds() + sum(time.cpu for time in done.stages.values()),
        pixels=plan.window.height * plan.window.width - done.resumed,
        tasks=done.tasks,
        workers=plan.workers * done.executor.workers,
        backend=plan.backend,
        reason=plan.reason,
        peak_memory=peak_memory() + sum(done.peaks.values()),
        planned_memory=plan.memory,
        bytes_read=done.bytes_read,
        source_bytes=plan.source_bytes,
        output_bytes=output_bytes(plan),
        results=done.totals.results(),
        executor=plan.executor,
        resumed=done.resumed,
    )
