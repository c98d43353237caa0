"""A run of a job to its end, whoever computes it: all outputs in their place, or none; and its report."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.engine.partials import Totals
from tilejit.engine.passes import run_passes
from tilejit.engine.pipeline.batches import Batches
from tilejit.engine.pipeline.cancellation import Cancellation
from tilejit.engine.pipeline.pipeline import Pipeline
from tilejit.engine.pipeline.report import Figures, Report, reset_peak_memory
from tilejit.engine.pipeline.stopwatch import Stopwatch, write_trace
from tilejit.engine.planning.parts import unfinished
from tilejit.errors import NameTakenError, SinkError
from tilejit.formats.registry import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.stopwatch import TraceFile
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.planner import Job
    from tilejit.formats.sink import Sink
    from tilejit.window import Window

    Progress = Callable[[float, int, str], None]
    """Called with tiles done, tiles in all, and what takes the time where it is not these."""


class Run:
    """One run of a job, and what it has come to so far.

    Args:
        job: The job.
        sinks: One for each of the plan's writes.
        parts: The windows that cover the plan's: whole tiles.
        progress: What is told now and then how far it is.
        trace: Where a Chrome trace of the run is written, also when it fails.
        cancellation: What another thread may stop it by.
        journal: Where finished tiles are kept; those that it has are not computed again.
        earlier: What the passes before did.
    """

    def __init__(
        self,
        job: Job,
        sinks: Sequence[Sink],
        parts: Iterable[Window],
        *,
        progress: Progress | None = None,
        trace: TraceFile | None = None,
        cancellation: Cancellation | None = None,
        journal: Journal | None = None,
        earlier: tuple[Report, ...] = (),
    ) -> None:
        reset_peak_memory()
        self.watch = Stopwatch(keep_spans=trace is not None)
        self.job, self.plan, self.sinks, self.journal = job, job.plan, sinks, journal
        self.cancellation = cancellation or Cancellation()
        self.windows, self.pixels = parts, job.plan.window.height * job.plan.window.width
        """What is to be computed, and its pixels."""
        self.totals = Totals(job.plan.partials)
        """What the pixels come to."""
        self.figures = Figures()
        """What was done."""
        self._progress, self._trace, self._earlier, self._before = progress, trace, earlier, 0
        if journal is not None:
            self.windows = left = list(unfinished(job.plan, parts, journal.windows))
            self.pixels, self.totals = sum(w.height * w.width for w in left), journal.totals
            self._before = job.plan.task_count - sum(replace(job.plan, window=w).task_count for w in left)

    def tell(self, done: float, doing: str = "") -> None:
        """Tells how many tiles are done, and what takes the time; what an earlier run has finished is done."""
        if self._progress is not None:
            self._progress(self._before + done, self.plan.task_count, doing)

    def complete(self, compute: Callable[[], object], workers: int) -> Report:
        """Has it computed, and brings all outputs into their place, or none.

        Args:
            compute: Computes the windows, writes them, and adds up totals and figures.
            workers: The threads that do, of all processes.
        """
        with _traced(self.watch, self._trace):
            with self._all_or_none(), self.journal or nullcontext():
                compute()
            if self.journal is not None:
                self.journal.remove()
            return self._report(workers)

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        try:
            yield
            with self.watch.stage("finish"):
                for sink in self.sinks:
                    self.cancellation.check()
                    sink.prepare()
                self.cancellation.check()
                if self.journal is not None:
                    self.journal.note_complete()
                _publish(self.sinks)
        except BaseException:
            for sink in self.sinks:
                sink.abort()
            raise

    def _report(self, workers: int) -> Report:
        plan, whole = self.plan, self.plan.window.height * self.plan.window.width
        done, figures = self.figures, self.figures + Figures(stages=self.watch.stages())
        return Report(
            seconds=self.watch.seconds(),
            stages=figures.stages,
            # Of workers in other processes, what their own threads did in the stages.
            cpu_seconds=self.watch.cpu_seconds() + sum(time.cpu for time in done.stages.values()),
            pixels=self.pixels,
            tasks=figures.tiles,
            workers=workers,
            backend=plan.backend,
            reason=plan.reason,
            peak_memory=figures.peak_memory(),
            planned_memory=plan.memory,
            bytes_read=figures.bytes_read,
            source_bytes=plan.source_bytes,
            output_bytes=sum(stored_bytes(w.path) if w.path else w.raw_bytes(plan.window) for w in plan.writes),
            results=self.totals.results(),
            coding=tuple(_codings(self.sinks, plan)),
            executor=plan.executor,
            resumed=whole - self.pixels,
            earlier=self._earlier,
        )


def run_job(job: Job, sinks: Sequence[Sink], progress: Progress | None = None, trace: TraceFile | None = None,
            cancellation: Cancellation | None = None, *, journal: Journal | None = None) -> Report:  # fmt: skip
    """Runs a job in this process to its end: all outputs in their place, or none; see `Run`.

    Raises:
        TilejitError: A block cannot be read or written; no output is left half written.
        SinkError: The trace cannot be written; the outputs are in their place.
        KeyboardInterrupt: Ctrl-C; likewise.
        RunStoppedError: It was cancelled; likewise.
    """
    job, earlier = run_passes(job, lambda one: run_job(one, (), progress, cancellation=cancellation), journal)
    parts = [job.plan.window]
    run = Run(
        job, sinks, parts, progress=progress, trace=trace, cancellation=cancellation, journal=journal, earlier=earlier
    )

    def compute() -> None:
        batches = Batches(sinks, journal)
        pipeline = Pipeline(job, batches.tile, run.watch, run.cancellation, tell=run.tell)
        pipeline.run(list(run.windows))
        with run.watch.stage("finish"):
            batches.close()
        run.totals.add(pipeline.totals.states)
        run.figures = Figures(pipeline.tiles, pipeline.bytes_read)

    return run.complete(compute, job.plan.workers)


def _publish(sinks: Sequence[Sink]) -> None:
    """Gives all outputs their names; one whose name somebody has taken takes none from the others.

    Raises:
        NameTakenError: With where such an output is.
    """
    taken: list[NameTakenError] = []
    for sink in sinks:
        try:
            sink.publish()
        except NameTakenError as error:  # the others are finished, too
            taken.append(error)
    for other in taken[1:]:
        taken[0].add_note(str(other))
    if taken:
        raise taken[0]


@contextmanager
def _traced(watch: Stopwatch, trace: TraceFile | None) -> Iterator[None]:
    """Writes the trace of a run, however it ends; what ended the run goes before what is wrong with its trace."""
    try:
        yield
    except BaseException as error:
        if trace is not None:
            try:
                write_trace(trace, watch.spans or (), error)
            except SinkError as second:
                error.add_note(str(second))
        raise
    if trace is not None:
        write_trace(trace, watch.spans or ())


def _codings(sinks: Sequence[Sink], plan: Plan) -> Iterator[str]:
    """What sinks that choose among coders say of their choice; others have none."""
    for sink, write in zip(sinks, plan.writes, strict=True):
        coding = getattr(sink, "coding", "")
        if coding:
            yield f"{Path(write.path).name}: {coding}"
