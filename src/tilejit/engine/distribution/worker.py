"""What a worker does with a part of a job: the ordinary pipeline over its window."""

from __future__ import annotations

import os
import pickle
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tilejit.engine.pipeline.cancellation import Cancellation
from tilejit.engine.pipeline.evaluation import launches
from tilejit.engine.pipeline.pipeline import Run, run_tasks
from tilejit.engine.pipeline.report import peak_memory, reset_peak_memory
from tilejit.engine.pipeline.stopwatch import Stopwatch
from tilejit.system.identity import process_space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.backends.base import Launch
    from tilejit.engine.distribution.recipe import Recipe
    from tilejit.engine.partials import State
    from tilejit.engine.pipeline.cancellation import Sentinel
    from tilejit.engine.pipeline.stopwatch import Stage, StageTime
    from tilejit.engine.planning.planner import Job
    from tilejit.formats.gdal.library import Environment
    from tilejit.formats.sink import Manifest, Writer, WriterOpener
    from tilejit.system.identity import FileIdentity
    from tilejit.window import Window

_last = threading.local()
"""The job that this thread has opened: a pool of threads has one each, and closes no file under another."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a job, as it is sent to a worker."""

    run: str
    """What tells this run from all others."""
    sentinel: Sentinel
    """What is there as long as the run goes on."""
    recipe: bytes = field(repr=False)
    """The job, pickled once for all parts: a worker looks into it once."""
    window: Window
    """The cells to compute: whole tiles."""


@dataclass(frozen=True, slots=True)
class PartResult:
    """What comes back."""

    manifests: tuple[Manifest, ...]
    """What each output must know of what was written."""
    tasks: int
    """Tiles."""
    bytes_read: int
    """Bytes decoded, whole blocks counted."""
    states: tuple[State, ...]
    """What its pixels come to, for each partial."""
    stages: Mapping[Stage, StageTime]
    """Time by stage."""
    worker: tuple[FileIdentity, int]
    """The process: where it is counted, and its number; machines and containers may have one name."""
    peak_memory: int
    """The most memory that it held in this run, in bytes."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A job that is ready to run."""

    run: str
    job: Job
    writers: tuple[WriterOpener, ...]
    environment: Environment
    compiled: tuple[Launch, ...]


def run_part(part: Part) -> PartResult:
    """Computes a part and has writers of the outputs write it.

    Raises:
        TilejitError: A file or a kernel is not here, or a block cannot be read or written.
    """
    watch = Stopwatch()
    opened = _opened(part, watch)
    cancellation = Cancellation()
    with opened.environment.entered():
        writers = open_writers(opened.writers)
        with part.sentinel.watched(cancellation):
            run = Run(opened.job, writers, None, watch, cancellation, windows=[part.window])
            run.compiled = opened.compiled
            run_tasks(run)
        with watch.stage("encode"):
            manifests = tuple(writer.finish() for writer in writers)
    return _result(run, manifests)


def open_writers(openers: Sequence[WriterOpener]) -> list[Writer]:
    """Opens a writer of each output.

    Raises:
        SinkError: A folder that workers write to is not seen from here; with this worker's name.
    """
    return [opener() for opener in openers]


def check_writers(openers: Sequence[WriterOpener]) -> None:
    """Opens a writer of each output, and writes nothing; see `open_writers`."""
    open_writers(openers)


def _opened(part: Part, watch: Stopwatch) -> _Opened:
    """The job of a part: the last one again, where it belongs to the same run."""
    last: _Opened | None = getattr(_last, "opened", None)
    if last is not None and last.run == part.run:
        return last
    reset_peak_memory()
    recipe: Recipe = pickle.loads(part.recipe)  # noqa: S301 - from who runs the job
    with recipe.environment.entered():
        job = recipe.job()
    # One thread works in the worker's own.
    job = replace(job, plan=replace(job.plan, executor="serial" if job.plan.workers == 1 else "threads", processes=1))
    with watch.stage("compile"):
        compiled = launches(job)
    _last.opened = opened = _Opened(part.run, job, recipe.writers, recipe.environment, compiled)
    return opened


def _result(run: Run, manifests: Sequence[Manifest]) -> PartResult:
    return PartResult(
        tuple(manifests),
        run.done,
        run.bytes_read,
        run.totals.states,
        run.watch.stages(),
        (process_space(), os.getpid()),
        peak_memory(),
    )
