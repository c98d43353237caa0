"""What one process does with the tiles of a job: read, compute, write, overlapped and bounded."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from tilejit.backends import ROWS, interruptible, new_control
from tilejit.engine.partials import Totals
from tilejit.engine.pipeline.evaluation import Evaluator, launches
from tilejit.engine.pipeline.schedule import Schedule
from tilejit.errors import RunStoppedError, TilejitError
from tilejit.formats.gdal.library import Environment
from tilejit.formats.in_memory import place_in
from tilejit.formats.source import ScaledSource, make_ready
from tilejit.system.signals import AwaitedThread
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tilejit.backends import Launch, LaunchControl
    from tilejit.engine.partials import State
    from tilejit.engine.pipeline.schedule import Assignment
    from tilejit.engine.pipeline.stopwatch import Stopwatch
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.planner import Job
    from tilejit.formats.sink import Sink, Writer

    Writing = Callable[[Window, Sequence[State]], AbstractContextManager[Sequence[Writer]]]
    """Is entered with a tile and what its pixels come to while it is written; gives a writer of each output."""

_readers: Counter[int] = Counter()
"""Identity of a source -> runs that read it."""
_reading = threading.RLock()


def stopped() -> RunStoppedError:
    """What ends a run that was cancelled."""
    return RunStoppedError("the run was cancelled: no output is left half written")


class Cancellation:
    """Is given to a run, and stops it when it is asked to: once, for good, from any thread.

    Example:
        >>> stop, stopped = Cancellation(), []
        >>> with stop.calling(lambda: stopped.append("the workers")):
        ...     stop.cancel()
        >>> stopped
        ['the workers']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self._is_cancelled = False

    def cancel(self) -> None:
        """Stops what the run is doing, and what it would do next; returns at once."""
        with self._lock:
            self._is_cancelled = True
            actions = list(self._actions)
        for action in actions:
            action()

    def check(self) -> None:
        """Ends a run that is cancelled, by `RunStoppedError`."""
        if self._is_cancelled:
            raise stopped()

    @contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Calls ``action`` when the run is cancelled inside the ``with``, and at once where it is already.

        It is called from the thread that cancels, and must not wait for anything.
        """
        with self._lock:
            self._actions.append(action)
            is_late = self._is_cancelled
        try:
            if is_late:
                action()
            yield
        finally:
            with self._lock:
                self._actions.remove(action)


@dataclass(frozen=True, slots=True)
class Run:
    """A job that is being computed."""

    job: Job
    watch: Stopwatch
    """What times it."""
    cancellation: Cancellation
    """What stops it."""
    tell: Callable[[float, str], object] = lambda *_: None
    """Is called with the tiles that are done, and with what takes the time where it is not these."""


class Pipeline:
    """Worker threads over the tiles of a job; where the plan is serial, the caller's own thread."""

    def __init__(self, run: Run, writing: Writing, compiled: Sequence[Launch] = (), sinks: Sequence[Sink] = ()) -> None:
        self._sinks = sinks or (None,) * len(run.job.plan.writes)
        self.job, self.plan, self.watch, self.compiled = run.job, run.job.plan, run.watch, compiled
        self.totals = Totals(run.job.plan.partials)
        """What the pixels come to."""
        self.tiles = self.bytes_read = 0
        """What is finished, and was decoded, whole blocks counted."""
        self._cancellation, self._tell, self._writing = run.cancellation, run.tell, writing
        self._environment = Environment.current()
        self._is_serial = self.plan.executor == "serial"
        self._lock = threading.Lock()

    def compute(self, windows: Sequence[Window]) -> None:
        """Computes windows of whole tiles; when it raises, the workers have stopped."""
        with _sources_ready(self.job):
            for window in windows:
                schedule = Schedule(replace(self.plan, window=window))
                with self._cancellation.calling(partial(schedule.fail, stopped())):
                    self._cancellation.check()
                    self._run(schedule)

    def compute_here(self, window: Window) -> None:
        """Computes a window in the caller's thread, of sources that are ready, by what is compiled."""
        schedule = Schedule(replace(self.plan, window=window))
        schedule.compiled()
        self._work(schedule)
        if schedule.failure is not None:
            raise schedule.failure

    def _run(self, schedule: Schedule) -> None:
        if self._is_serial:
            self._compile(schedule)
            self._work(schedule)
        else:
            self._run_threads(schedule)
        if schedule.failure is not None:
            raise schedule.failure

    def _run_threads(self, schedule: Schedule) -> None:
        if self.plan.compiler == "apart":  # a process that has ended before there are buffers
            self._compile(schedule)
        count = min(self.plan.workers, schedule.plan.tile_count)
        threads = [AwaitedThread(lambda: self._work(schedule), f"tilejit-{k}") for k in range(count)]
        try:
            for thread in threads:
                thread.start()
            self._compile(schedule)  # or loads; workers read the first tiles meanwhile
            self._wait(threads, schedule)
        except BaseException as error:
            schedule.fail(error)
            for thread in threads:
                thread.wait()
            raise

    def _compile(self, schedule: Schedule) -> None:
        with self.watch.stage("compile"):
            if not self.compiled:
                self._tell(0, "compiling")
                # What Ctrl-C raises must not be lost in the imports and callbacks of a compiler.
                self.compiled = interruptible(lambda: launches(self.job), new_control())
        schedule.compiled()

    def _wait(self, threads: Sequence[AwaitedThread], schedule: Schedule) -> None:
        shown = -1.0
        while not all(thread.has_ended() for thread in threads):
            for thread in threads:
                thread.has_ended(0.05)
            done = self.tiles + schedule.under_way()
            if done != shown:
                shown = done
                self._tell(done, "")

    def _work(self, schedule: Schedule) -> None:
        evaluator, control = None, schedule.control()
        try:
            with self._environment.entered():
                while (work := self._take(schedule)) is not None:
                    with _failures_named(self.plan, work):
                        if work.kind == "read":
                            self._read(schedule, work)
                            continue
                        evaluator = evaluator or Evaluator(self.job, self.compiled)
                        self._compute(schedule, evaluator, work, control)
                        if self._is_serial:
                            self._tell(self.tiles, "")
        except BaseException as error:  # noqa: BLE001 - a worker hands its error to the thread that waits
            schedule.fail(error)

    def _take(self, schedule: Schedule) -> Assignment | None:
        with self.watch.stage("wait"):
            return schedule.take()

    def _read(self, schedule: Schedule, work: Assignment) -> None:
        whole = Window(0, 0, *self.plan.grid.shape)
        with self.watch.stage("decode", work.index, work.buffer.window) as span:
            span.size = work.buffer.decode(self.job.sources, whole)
            partners = schedule.decoded(work.index)
            for partner in partners:
                work.buffer.exchange(schedule.buffer(partner), whole)
        with self._lock:
            self.bytes_read += span.size
        schedule.exchanged(work.index, partners)

    def _compute(self, schedule: Schedule, evaluator: Evaluator, work: Assignment, control: LaunchControl) -> None:
        window = work.buffer.window
        place = window.shifted(-self.plan.window.row_off, -self.plan.window.col_off)
        with self.watch.stage("compute", work.index, window) as span:
            span.size = work.buffer.size
            work.buffer.complete(self.plan.grid.shape, self.job.sources)
            outputs, states = evaluator.run(work.buffer, control, [place_in(sink, place) for sink in self._sinks])
        schedule.computed(work.index)
        if schedule.failure is not None:
            return  # nobody wants it written
        with self._writing(window, states) as writers:
            for writer, write, output in zip(writers, self.plan.writes, outputs, strict=True):
                with self.watch.stage("encode", work.index, window) as span:
                    span.size, span.output = output.nbytes, write.path
                    writer.write(place, output)
        self.totals.add(states)
        with self._lock:
            self.tiles += 1
            control[ROWS] = 0
        schedule.finished()


@contextmanager
def _sources_ready(job: Job) -> Iterator[None]:
    """Sources that know how many threads read them, and which blocks come again.

    They are closed with the last of the runs that read them: a descriptor that another run has must stay its own.
    """
    stored = (source.counts if isinstance(source, ScaledSource) else source for source in job.sources)
    files = {id(source): source for source in stored}
    with _reading:
        _readers.update(files.keys())
    try:
        for source in {id(s): s for s in job.sources}.values():
            own = (read for read, s in zip(job.plan.reads, job.sources, strict=True) if s is source)
            held = sum(job.plan.blocks_held(read) for read in own if job.plan.keeps(read))
            make_ready(source, min(job.plan.workers, job.plan.tile_count), held)
        yield
    finally:
        with _reading:
            _readers.subtract(files.keys())
            for number in [number for number in files if _readers[number] <= 0]:
                del _readers[number]
                files[number].close()


@contextmanager
def _failures_named(plan: Plan, work: Assignment) -> Iterator[None]:
    """Says what was going on, and where, when something fails that nobody foresaw: a kernel, a source of one's own."""
    try:
        yield
    except TilejitError:
        raise
    except Exception as error:
        names = [s.kernel for s in plan.steps] if work.kind == "compute" else [r.source for r in plan.reads]
        doing = f"{work.kind} of {', '.join(dict.fromkeys(names))}"
        raise TilejitError(f"{doing} failed at {work.buffer.window}: {type(error).__name__}: {error}") from error
