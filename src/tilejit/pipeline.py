"""What one process does with the tasks of a plan: read, compute, write, overlapped and bounded."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import TilejitError
from tilejit.evaluation import Evaluator, launches
from tilejit.report import Report, Stopwatch, peak_memory, reset_peak_memory
from tilejit.schedule import Schedule, Work
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tilejit.backends.base import Launch
    from tilejit.io.sink import Sink
    from tilejit.plan import Plan
    from tilejit.planner import Job

    Progress = Callable[[int, int], None]
    """Called with tasks done and tasks in all."""


class Run:
    """One run of a job: worker threads over a schedule."""

    def __init__(self, job: Job, sinks: Sequence[Sink], progress: Progress | None) -> None:
        self.job, self.plan, self.sinks, self.progress = job, job.plan, sinks, progress
        self.watch = Stopwatch()
        self.bytes_read = self.collisions = self.done = 0
        self.compiled: Sequence[Launch] = ()
        self._lock = threading.Lock()
        self._turn = {id(s): threading.Lock() for s in sinks if not s.concurrent}

    def __call__(self) -> None:
        """Computes all tasks; on any error or Ctrl-C the workers have stopped when it raises."""
        schedule = Schedule(self.plan)
        count = min(self.plan.workers, self.plan.task_count)
        threads = [
            threading.Thread(target=self._work, args=(schedule,), name=f"tilejit-{k}", daemon=True)
            for k in range(count)
        ]
        try:
            for thread in threads:
                thread.start()
            # Workers read the first tiles meanwhile: importing Numba alone takes a third of a second.
            with self.watch.stage("compile"):
                self.compiled = launches(self.job)
            schedule.compiled()
            self._wait(threads)
        except BaseException as error:
            schedule.fail(error)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            raise
        if schedule.failure is not None:
            raise schedule.failure

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        shown = -1
        while any(t.is_alive() for t in threads):
            for thread in threads:
                # A join without a timeout would not let Ctrl-C through.
                thread.join(0.05)
            if self.progress is not None and self.done != shown:
                shown = self.done
                self.progress(shown, self.plan.task_count)

    def _work(self, schedule: Schedule) -> None:
        evaluator: Evaluator | None = None
        try:
            while (work := schedule.take()) is not None:
                with _failures_named(self.plan, work):
                    if work.kind == "read":
                        self._read(schedule, work)
                        continue
                    evaluator = evaluator or Evaluator(self.job, self.compiled)
                    self._compute(schedule, evaluator, work)
        except BaseException as error:  # noqa: BLE001 - a worker hands its error to the thread that waits
            schedule.fail(error)

    def _read(self, schedule: Schedule, work: Work) -> None:
        whole = Window(0, 0, *self.plan.grid.shape)
        with self.watch.stage("read"):
            count = work.frame.decode(self.job.sources, whole)
            partners = schedule.decoded(work.index)
            for partner in partners:
                work.frame.exchange(schedule.frame(partner), whole)
        with self._lock:
            self.bytes_read += count
        schedule.exchanged(work.index, partners)

    def _compute(self, schedule: Schedule, evaluator: Evaluator, work: Work) -> None:
        window = work.frame.window
        with self.watch.stage("compute"):
            work.frame.complete(self.plan.grid.shape, self.job.sources)
            outputs, collisions = evaluator.run(work.frame)
        schedule.computed(work.index)
        with self.watch.stage("write"):
            for sink, output in zip(self.sinks, outputs, strict=True):
                self._write(sink, window, output)
        with self._lock:
            self.collisions += collisions
            self.done += 1
        schedule.finished()

    def _write(self, sink: Sink, window: Window, output: object) -> None:
        place = window.shifted(-self.plan.window.row_off, -self.plan.window.col_off)
        turn = self._turn.get(id(sink))
        if turn is None:
            sink.write(place, output)  # type: ignore[arg-type]
            return
        with turn:
            sink.write(place, output)  # type: ignore[arg-type]


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
        raise TilejitError(f"{doing} failed at {work.frame.window}: {type(error).__name__}: {error}") from error


def run_job(job: Job, sinks: Sequence[Sink], progress: Progress | None = None) -> Report:
    """Runs a job to its end: all outputs in their place, or none.

    Args:
        job: The job.
        sinks: One for each of the plan's writes.
        progress: Called now and then with tasks done and tasks in all.

    Raises:
        TilejitError: A block cannot be read or written; no output is left half written.
        KeyboardInterrupt: Ctrl-C; likewise.
    """
    reset_peak_memory()
    start = time.perf_counter()
    run = Run(job, sinks, progress)
    try:
        for source in {id(s): s for s in job.sources}.values():
            source.reserve(min(job.plan.workers, job.plan.task_count))
        run()
        with run.watch.stage("write"):
            for sink in sinks:
                sink.prepare()
            for sink in sinks:
                sink.commit()
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    finally:
        for source in {id(s): s for s in job.sources}.values():
            source.close()
    return _report(job, run, time.perf_counter() - start)


def _report(job: Job, run: Run, seconds: float) -> Report:
    plan = job.plan
    return Report(
        seconds=seconds,
        stages=run.watch.stages,
        pixels=plan.window.height * plan.window.width,
        tasks=plan.task_count,
        workers=plan.workers,
        backend=plan.backend,
        reason=plan.reason,
        peak_memory=peak_memory(),
        planned_memory=plan.memory,
        bytes_read=run.bytes_read,
        source_bytes=plan.source_bytes,
        output_bytes=sum(_stored_bytes(w.path, w.raw_bytes(plan.window)) for w in plan.writes),
        collisions=run.collisions,
    )


def _stored_bytes(path: str, raw: int) -> int:
    return Path(path).stat().st_size if path else raw
