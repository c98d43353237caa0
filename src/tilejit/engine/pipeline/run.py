"""A run of a job to its end, whoever computes it: all outputs in their place, or none; and its report."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.engine.partials import Totals
from tilejit.engine.pipeline.pipeline import Cancellation, Pipeline, Run
from tilejit.engine.pipeline.report import Figures, Report, reset_peak_memory
from tilejit.engine.pipeline.stopwatch import Stopwatch, write_trace
from tilejit.errors import NameTakenError, SinkError
from tilejit.formats.registry import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tilejit.engine.executors.base import Executor
    from tilejit.engine.partials import State
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.stopwatch import TraceFile
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.planner import Job
    from tilejit.formats.sink import Sink, Writer
    from tilejit.window import Window

    Progress = Callable[[float, int, str], None]
    """Called with tiles done, tiles in all, and what takes the time where it is not these."""


def run_job(
    job: Job,
    sinks: Sequence[Sink],
    executor: Executor | None = None,
    *,
    progress: Progress | None = None,
    trace: TraceFile | None = None,
    cancellation: Cancellation | None = None,
    journal: Journal | None = None,
) -> Report:
    """Runs a job to its end, also where that is an error or Ctrl-C: all outputs in their place, or none.

    Args:
        job: The job.
        sinks: One for each of the plan's writes.
        executor: What hands its parts to workers; None for threads of this process.
        progress: What is told now and then how far it is.
        trace: Where a Chrome trace of the run is written, also when it fails.
        cancellation: What another thread may stop it by: workers then end with the row that they are at.
        journal: Where finished tiles are kept; those that it has are not computed again.
    """

    def run(one: Job, stores: Sequence[Sink]) -> Report:
        shown = progress if one.plan.active is None else None  # how many sweeps there will be nobody knows
        return _run_pass(one, stores, executor, progress=shown, cancellation=cancellation)

    def run_last(last: Job) -> Report:
        return _run_pass(
            last, sinks, executor, progress=progress, trace=trace, cancellation=cancellation, journal=journal
        )

    if not job.earlier:
        return run_last(job)
    from tilejit.engine.passes import run_passes

    return run_passes(job, run, run_last, lambda doing: progress and progress(0, 1, doing), journal)


def _run_pass(
    job: Job,
    sinks: Sequence[Sink],
    executor: Executor | None,
    *,
    progress: Progress | None,
    trace: TraceFile | None = None,
    cancellation: Cancellation | None,
    journal: Journal | None = None,
) -> Report:
    """Runs one pass; see `run_job`."""
    reset_peak_memory()
    plan = job.plan
    windows = [plan.window]
    if executor is not None:
        from tilejit.engine.planning.parts import parts_of

        windows = list(parts_of(plan, executor.workers, plan.output_bytes))
    if plan.active is not None:
        windows = [window for window in windows if replace(plan, window=window).tile_count]
    if journal is not None:
        from tilejit.engine.planning.parts import unfinished

        windows = list(unfinished(plan, windows, journal.windows))
    before = plan.tile_count - sum(replace(plan, window=window).tile_count for window in windows)

    def tell(done: float, doing: str) -> None:
        if progress is not None:
            progress(before + done, plan.tile_count, doing)

    run = Run(job, Stopwatch(keep_spans=trace is not None), cancellation or Cancellation(), tell)
    totals = Totals(plan.partials) if journal is None else journal.totals
    with _traced(run.watch, trace):
        with _all_or_none(run, sinks, journal), journal or nullcontext():
            if executor is None:
                figures = _compute(run, sinks, windows, totals, journal)
            else:
                from tilejit.engine.distribution.leader import Distribution

                figures = Distribution(run, sinks, totals, journal, executor).compute(windows)
        if journal is not None:
            journal.remove()
        return _report(run, sinks, windows, figures, totals, executor=executor)


def _compute(
    run: Run, sinks: Sequence[Sink], windows: Sequence[Window], totals: Totals, journal: Journal | None
) -> Figures:
    """Has windows computed by threads of this process."""
    batches = Batches(sinks, journal)
    pipeline = Pipeline(run, batches.tile, sinks=sinks)
    pipeline.compute(windows)
    with run.watch.stage("finish"):
        batches.close()
    totals.add(pipeline.totals.states)
    return Figures(pipeline.tiles, pipeline.bytes_read)


@dataclass(slots=True)
class _Batch:
    """Tiles that go through the same writers."""

    writers: tuple[Writer, ...]
    totals: Totals
    windows: list[Window] = field(default_factory=list)
    under_way: int = 0
    failed: bool = False


class Batches:
    """Has tiles written, and tells the journal what they are whenever it asks; without a journal all are one batch.

    A tile counts when all outputs have it. A batch in which one fails is not told: what is in it is computed again.
    """

    def __init__(self, sinks: Sequence[Sink], journal: Journal | None) -> None:
        self._sinks, self._journal = sinks, journal
        self._lock = threading.Lock()
        self._current: _Batch | None = None
        if journal is not None:
            journal.before_flush = self.close

    @contextmanager
    def tile(self, window: Window, states: Sequence[State]) -> Iterator[Sequence[Writer]]:
        """Gives a writer of each output; a tile is finished when what runs inside has written it."""
        if self._journal is not None:
            self._journal.check()
        batch = self._joined()
        try:
            yield batch.writers
            if self._journal is not None:
                with self._lock:
                    batch.windows.append(window)
                batch.totals.add(states)
        except BaseException:
            batch.failed = True
            raise
        finally:
            self._leave(batch)

    def close(self) -> None:
        """Begins another batch, and merges this one as soon as nobody writes to it."""
        with self._lock:
            batch, self._current = self._current, None
            is_idle = batch is not None and batch.under_way == 0
        if batch is not None and is_idle:
            self._merge(batch)

    def _joined(self) -> _Batch:
        with self._lock:
            if self._current is None:
                partials = () if self._journal is None else self._journal.partials
                self._current = _Batch(tuple(sink.writer() for sink in self._sinks), Totals(partials))
            self._current.under_way += 1
            return self._current

    def _leave(self, batch: _Batch) -> None:
        with self._lock:
            batch.under_way -= 1
            is_last = batch.under_way == 0 and batch is not self._current
        if is_last:
            self._merge(batch)

    def _merge(self, batch: _Batch) -> None:
        if batch.failed:
            return
        manifests = [sink.merge(writer.finish()) for sink, writer in zip(self._sinks, batch.writers, strict=True)]
        if self._journal is not None:
            self._journal.add(batch.windows, manifests, batch.totals.states)


@contextmanager
def _all_or_none(run: Run, sinks: Sequence[Sink], journal: Journal | None) -> Iterator[None]:
    """Brings all outputs into their place when what runs inside is done, or none."""
    try:
        yield
        with run.watch.stage("finish"):
            for sink in sinks:
                run.cancellation.check()
                sink.prepare()
            run.cancellation.check()
            if journal is not None:
                journal.note_complete()
            _publish(sinks)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise


def _publish(sinks: Sequence[Sink]) -> None:
    """Gives all outputs their names; one whose name somebody has taken takes none from the others."""
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


def _report(
    run: Run,
    sinks: Sequence[Sink],
    windows: Sequence[Window],
    done: Figures,
    totals: Totals,
    *,
    executor: Executor | None,
) -> Report:
    plan, watch = run.job.plan, run.watch
    computed = windows if plan.active is None else [window for _, window in plan.tiles()]
    pixels = sum(window.height * window.width for window in computed)
    return Report(
        seconds=watch.seconds(),
        stages=(done + Figures(stages=watch.stages())).stages,
        # Of workers in other processes, what their own threads did in the stages.
        cpu_seconds=watch.cpu_seconds() + sum(time.cpu for time in done.stages.values()),
        pixels=pixels,
        tiles=done.tiles,
        workers=plan.workers * (1 if executor is None else executor.workers),
        backend=plan.backend,
        reason=plan.reason,
        peak_memory=done.peak_memory(),
        planned_memory=plan.memory,
        bytes_read=done.bytes_read,
        source_bytes=plan.source_bytes,
        output_bytes=sum(stored_bytes(w.path) if w.path else w.raw_bytes(plan.window) for w in plan.writes),
        results=totals.results(),
        coding=tuple(_codings(sinks, plan)),
        executor=plan.executor,
        resumed=0 if plan.active is not None else plan.window.height * plan.window.width - pixels,
    )


def _codings(sinks: Sequence[Sink], plan: Plan) -> Iterator[str]:
    """What sinks that choose among coders say of their choice; others have none."""
    for sink, write in zip(sinks, plan.writes, strict=True):
        coding = getattr(sink, "coding", "")
        if coding:
            yield f"{Path(write.path).name}: {coding}"
