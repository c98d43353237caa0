"""What one process does with the tasks of a plan: read, compute, write, overlapped and bounded."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.backends.pulse import ROWS, interruptible, new_pulse
from tilejit.engine.partials import Totals
from tilejit.engine.passes import run_passes
from tilejit.engine.pipeline.batches import Batches
from tilejit.engine.pipeline.cancellation import Cancellation, stopped
from tilejit.engine.pipeline.evaluation import Evaluator, launches
from tilejit.engine.pipeline.report import Report, peak_memory, reset_peak_memory
from tilejit.engine.pipeline.schedule import Schedule, Work
from tilejit.engine.pipeline.stopwatch import Stopwatch, write_trace
from tilejit.engine.planning.parts import unfinished
from tilejit.errors import NameTakenError, SinkError, TilejitError
from tilejit.formats.gdal.library import Environment
from tilejit.formats.open_sink import stored_bytes
from tilejit.formats.scaled_source import ScaledSource
from tilejit.formats.source import make_ready
from tilejit.system.threads import AwaitedThread
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.backends.pulse import Pulse
    from tilejit.engine.partials import State
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.stopwatch import TraceFile
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.planner import Job
    from tilejit.formats.sink import Sink, Writer
    from tilejit.formats.source import Source

    Progress = Callable[[float, int, str], None]
    """Called with tasks done, tasks in all, and what takes the time where it is not these."""


class Run:
    """One run of a job, or of some windows of it: worker threads over a schedule."""

    def __init__(
        self,
        job: Job,
        writers: Sequence[Writer],
        progress: Progress | None,
        watch: Stopwatch,
        cancellation: Cancellation,
        *,
        windows: Sequence[Window] | None = None,
        batches: Batches | None = None,
    ) -> None:
        self.job, self.plan, self.writers, self.progress, self.watch = job, job.plan, writers, progress, watch
        self.cancellation, self.batches = cancellation, batches
        self.windows = (job.plan.window,) if windows is None else windows
        self.tasks = sum(replace(job.plan, window=window).task_count for window in self.windows)
        self.bytes_read = self.done = 0
        self.totals = Totals(job.plan.partials)
        self.compiled: Sequence[Launch] = ()
        self.environment = Environment.current()
        self.alone = job.plan.executor == "serial"
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Computes all tasks; on any error, Ctrl-C or cancellation the workers have stopped when it raises."""
        for window in self.windows:
            self._run_window(Schedule(replace(self.plan, window=window)))

    def _run_window(self, schedule: Schedule) -> None:
        with self.cancellation.calling(lambda: schedule.fail(stopped())):
            self.cancellation.check()
            if self.alone:
                self._run_alone(schedule)
            else:
                self._run_on_threads(schedule)

    def _run_on_threads(self, schedule: Schedule) -> None:
        count = min(self.plan.workers, schedule.plan.task_count)
        threads = [AwaitedThread(lambda: self._work(schedule), f"tilejit-{k}") for k in range(count)]
        try:
            for thread in threads:
                thread.start()
            # Workers read the first tiles meanwhile: importing Numba alone takes a third of a second.
            self._compile(schedule)
            self._wait(threads, schedule)
        except BaseException as error:
            schedule.fail(error)
            for thread in threads:
                thread.wait()
            raise
        if schedule.failure is not None:
            raise schedule.failure

    def _compile(self, schedule: Schedule) -> None:
        with self.watch.stage("compile"):
            if not self.compiled:
                self._show(doing="compiling")
                # What Ctrl-C raises must not be lost in the imports and callbacks of a compiler.
                self.compiled = interruptible(lambda: launches(self.job), new_pulse())
        schedule.compiled()

    def _run_alone(self, schedule: Schedule) -> None:
        """Computes all tasks in the caller's own thread."""
        self._compile(schedule)
        self._work(schedule)
        if schedule.failure is not None:
            raise schedule.failure

    def _wait(self, threads: Sequence[AwaitedThread], schedule: Schedule) -> None:
        shown = -1.0
        while not all(thread.has_ended() for thread in threads):
            for thread in threads:
                thread.has_ended(0.05)
            done = self.done + schedule.under_way()
            if self.progress is not None and done != shown:
                shown = done
                self._show(done)

    def _work(self, schedule: Schedule) -> None:
        evaluator, pulse = None, schedule.pulse()
        try:
            with self.environment.entered():
                while (work := self._take(schedule)) is not None:
                    with _failures_named(self.plan, work):
                        if work.kind == "read":
                            self._read(schedule, work)
                            continue
                        evaluator = evaluator or Evaluator(self.job, self.compiled)
                        self._compute(schedule, evaluator, work, pulse)
                        if self.alone:
                            self._show(self.done)
        except BaseException as error:  # noqa: BLE001 - a worker hands its error to the thread that waits
            schedule.fail(error)

    def _show(self, done: float = 0, doing: str = "") -> None:
        """Shows what is done; what an earlier run has finished is done."""
        if self.progress is not None:
            self.progress(self.plan.task_count - self.tasks + done, self.plan.task_count, doing)

    def _take(self, schedule: Schedule) -> Work | None:
        with self.watch.stage("wait"):
            return schedule.take()

    def _read(self, schedule: Schedule, work: Work) -> None:
        whole = Window(0, 0, *self.plan.grid.shape)
        with self.watch.stage("decode", work.index, work.buffer.window) as timing:
            timing.size = work.buffer.decode(self.job.sources, whole)
            partners = schedule.decoded(work.index)
            for partner in partners:
                work.buffer.exchange(schedule.buffer(partner), whole)
        with self._lock:
            self.bytes_read += timing.size
        schedule.exchanged(work.index, partners)

    def _compute(self, schedule: Schedule, evaluator: Evaluator, work: Work, pulse: Pulse) -> None:
        with self.watch.stage("compute", work.index, work.buffer.window) as timing:
            timing.size = work.buffer.size
            work.buffer.complete(self.plan.grid.shape, self.job.sources)
            outputs, states = evaluator.run(work.buffer, pulse)
        schedule.computed(work.index)
        if schedule.failure is not None:
            return  # nobody wants it written
        with self._writers(work.buffer.window, states) as writers:
            for writer, write, output in zip(writers, self.plan.writes, outputs, strict=True):
                self._write(writer, write.path, work, output)
        self.totals.add(states)
        with self._lock:
            self.done += 1
            pulse[ROWS] = 0
        schedule.finished()

    def _writers(self, window: Window, states: Sequence[State]) -> AbstractContextManager[Sequence[Writer]]:
        """What writes the outputs of a tile."""
        return nullcontext(self.writers) if self.batches is None else self.batches.tile(window, states)

    def _write(self, writer: Writer, path: str, work: Work, output: NDArray[Any]) -> None:
        window = work.buffer.window
        place = window.shifted(-self.plan.window.row_off, -self.plan.window.col_off)
        with self.watch.stage("encode", work.index, window) as timing:
            timing.size, timing.output = output.nbytes, path
            writer.write(place, output)


@contextmanager
def _failures_named(plan: Plan, work: Work) -> Iterator[None]:
    """Says what was going on, and where, when something fails that nobody foresaw: a kernel, a source of one's own."""
    try:
        yield
    except TilejitError:
        raise
    except Exception as error:
        names = [s.kernel for s in plan.steps] if work.kind == "compute" else [r.source for r in plan.reads]
        doing = f"{work.kind} of {', '.join(dict.fromkeys(names))}"
        raise TilejitError(f"{doing} failed at {work.buffer.window}: {type(error).__name__}: {error}") from error


def run_job(job: Job, sinks: Sequence[Sink], progress: Progress | None = None, trace: TraceFile | None = None,
            cancellation: Cancellation | None = None, *, journal: Journal | None = None) -> Report:  # fmt: skip
    """Runs a job to its end: all outputs in their place, or none.

    Args:
        job: The job.
        sinks: One for each of the plan's writes.
        progress: Called now and then with tasks done, tasks in all, and what takes the time where it is not these.
        trace: Where a Chrome trace of the run is written, also when it fails.
        cancellation: What another thread may stop it by: workers then end with the row that they are at.
        journal: Where finished tiles are kept; those that it has are not computed again.

    Raises:
        TilejitError: A block cannot be read or written; no output is left half written.
        SinkError: The trace cannot be written; the outputs are in their place.
        KeyboardInterrupt: Ctrl-C; likewise.
        RunStoppedError: It was cancelled; likewise.
    """
    job, earlier = run_passes(job, lambda one: run_job(one, (), progress, cancellation=cancellation))
    reset_peak_memory()
    watch = Stopwatch(keep_spans=trace is not None)
    cancellation = cancellation or Cancellation()
    with _traced(watch, trace):
        with completing(sinks, watch, cancellation, journal), journal or nullcontext():
            windows, batches = None, None
            writers: list[Writer] = []
            if journal is not None:
                windows = list(unfinished(job.plan, [job.plan.window], journal.windows))
                batches = Batches(sinks, journal)
            else:
                writers = [sink.writer() for sink in sinks]
            run = Run(job, writers, progress, watch, cancellation, windows=windows, batches=batches)
            run_tasks(run)
            for sink, writer in zip(sinks, writers, strict=False):
                sink.merge(writer.finish())
        if journal is not None:
            journal.remove()
            run.totals.add(journal.totals.states)
        return replace(_report(job, run, sinks), earlier=earlier)


def run_tasks(run: Run) -> None:
    """Runs all tasks; the sources are closed after that."""
    job = run.job
    with _in_use([s.counts if isinstance(s, ScaledSource) else s for s in job.sources]):
        for source in {id(s): s for s in job.sources}.values():
            held = sum(job.plan.blocks_held(r) for r, s in zip(job.plan.reads, job.sources, strict=True) if s is source)
            make_ready(source, min(job.plan.workers, job.plan.task_count), held)
        run()


_users: Counter[int] = Counter()
"""Identity of a source -> runs that read it."""
_using = threading.RLock()


@contextmanager
def _in_use(sources: Sequence[Source]) -> Iterator[None]:
    """Closes sources with the last of the runs that read them: a descriptor that another run has must stay its own."""
    files = {id(source): source for source in sources}
    with _using:
        _users.update(files.keys())
    try:
        yield
    finally:
        with _using:
            _users.subtract(files.keys())
            for number in [number for number in files if _users[number] <= 0]:
                del _users[number]
                files[number].close()


@contextmanager
def completing(
    sinks: Sequence[Sink], watch: Stopwatch, cancellation: Cancellation, journal: Journal | None = None
) -> Iterator[None]:
    """Brings all outputs into their place when what runs inside is done, or none."""
    try:
        yield
        with watch.stage("finish"):
            for sink in sinks:
                cancellation.check()
                sink.prepare()
            cancellation.check()
            if journal is not None:
                journal.note_complete()
            _publish(sinks)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise


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
def _traced(watch: Stopwatch, path: TraceFile | None) -> Iterator[None]:
    """Writes the trace of a run, however it ends; what ended the run goes before what is wrong with its trace."""
    try:
        yield
    except BaseException as error:
        if path is not None:
            try:
                write_trace(path, watch.spans or (), error)
            except SinkError as second:
                error.add_note(str(second))
        raise
    if path is not None:
        write_trace(path, watch.spans or ())


def _report(job: Job, run: Run, sinks: Sequence[Sink]) -> Report:
    plan, pixels = job.plan, sum(w.height * w.width for w in run.windows)
    return Report(
        seconds=run.watch.seconds(),
        stages=run.watch.stages(),
        cpu_seconds=run.watch.cpu_seconds(),
        pixels=pixels,
        tasks=run.tasks,
        workers=plan.workers,
        backend=plan.backend,
        reason=plan.reason,
        peak_memory=peak_memory(),
        planned_memory=plan.memory,
        bytes_read=run.bytes_read,
        source_bytes=plan.source_bytes,
        output_bytes=output_bytes(plan),
        results=run.totals.results(),
        coding=tuple(_codings(sinks, plan)),
        executor=plan.executor,
        resumed=plan.window.height * plan.window.width - pixels,
    )


def _codings(sinks: Sequence[Sink], plan: Plan) -> Iterator[str]:
    """What sinks that choose among coders say of their choice; others have none."""
    for sink, write in zip(sinks, plan.writes, strict=True):
        coding = getattr(sink, "coding", "")
        if coding:
            yield f"{Path(write.path).name}: {coding}"


def output_bytes(plan: Plan) -> int:
    """Returns the bytes of all outputs as stored."""
    return sum(stored_bytes(w.path) if w.path else w.raw_bytes(plan.window) for w in plan.writes)
