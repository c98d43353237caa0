"""Where the time of a run goes: what stages add up to, for the report, and each stretch of them, as a Chrome trace.

A trace is for chrome://tracing and ui.perfetto.dev.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tilejit.errors import SinkError
from tilejit.formats.publishing import write_text
from tilejit.formats.target import checked_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilejit.engine.planning.steps import Index
    from tilejit.window import Window

Stage = Literal["decode", "compute", "encode", "wait", "compile", "finish"]
"""What a thread does: workers the first four, tile by tile; the thread that waits for them the last two, once.

``wait`` is for a tile to work on, or for a sink's turn; ``finish`` completes, syncs and names the outputs."""
STAGES: tuple[Stage, ...] = get_args(Stage)
WORKER_STAGES: tuple[Stage, ...] = STAGES[:4]
"""The stages of the workers: together no more than workers times the wall time."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """The time that threads spent in a stage, summed over them."""

    wall: float = 0.0
    """Seconds by the clock."""
    cpu: float = 0.0
    """Seconds of a core, of these threads alone: threads that GDAL compresses on are not among them."""

    def __add__(self, other: StageTime) -> StageTime:
        return StageTime(self.wall + other.wall, self.cpu + other.cpu)


@dataclass(slots=True)
class Span:
    """One stretch of one thread's time; what runs inside may say more about it."""

    stage: Stage
    """What it does."""
    tile: Index | None
    """The tile's row and column among tiles; None of what belongs to none."""
    window: Window | None
    """The tile."""
    size: int = 0
    """Bytes decoded, computed from, or encoded."""
    output: str = ""
    """The file, of an encoded tile."""
    thread: str = ""
    """The thread's name."""
    start: int = 0
    """Nanoseconds since the run began."""
    wall: int = 0
    """Nanoseconds that it took."""
    cpu: int = 0
    """Nanoseconds of a core."""


class Stopwatch:
    """Adds up what threads spend in stages, and keeps each stretch where a trace is wanted.

    A stretch costs about 4 microseconds (measured); a tile of one output has six.
    """

    def __init__(self, *, keep_spans: bool = False) -> None:
        self.spans: list[Span] | None = [] if keep_spans else None
        """Every stretch, in the order in which they ended; None where none is kept."""
        self.started = time.perf_counter_ns()
        """When the run began."""
        self._cpu_started = time.process_time()
        self._lock = threading.Lock()
        self._wall: dict[Stage, int] = dict.fromkeys(STAGES, 0)
        self._cpu: dict[Stage, int] = dict.fromkeys(STAGES, 0)

    @contextmanager
    def stage(self, stage: Stage, tile: Index | None = None, window: Window | None = None) -> Iterator[Span]:
        """Times what runs inside the ``with``."""
        span = Span(stage, tile, window)
        start = time.perf_counter_ns()
        cpu_start = time.thread_time_ns()
        try:
            yield span
        finally:
            span.cpu = time.thread_time_ns() - cpu_start
            span.wall = time.perf_counter_ns() - start
            with self._lock:
                self._wall[stage] += span.wall
                self._cpu[stage] += span.cpu
            if self.spans is not None:
                span.start, span.thread = start - self.started, threading.current_thread().name
                self.spans.append(span)

    def stages(self) -> dict[Stage, StageTime]:
        """Returns the time spent so far in each stage."""
        return {name: StageTime(self._wall[name] / 1e9, self._cpu[name] / 1e9) for name in STAGES}

    def seconds(self) -> float:
        """Returns the seconds since the run began."""
        return (time.perf_counter_ns() - self.started) / 1e9

    def cpu_seconds(self) -> float:
        """Returns the core seconds that the whole process has spent since, in all its threads."""
        return time.process_time() - self._cpu_started


@dataclass(frozen=True, slots=True)
class TraceFile:
    """Where a trace goes."""

    name: str
    """What messages call it."""
    target: Path
    """The file."""
    overwrite: bool
    """Whether one that is there may be replaced."""


def checked_trace(path: str | os.PathLike[str], *, overwrite: bool) -> TraceFile:
    """Returns where a trace goes, and refuses before the run what could not be written after it."""
    name = os.fspath(path)
    if Path(name).suffix.lower() != ".json":  # it might be a raster's
        raise SinkError(f"{name}: a trace is JSON: give a name that ends in .json")
    return TraceFile(name, checked_file(name, overwrite=overwrite), overwrite)


def write_trace(trace: TraceFile, spans: Sequence[Span], error: BaseException | None = None) -> None:
    """Writes what the threads did, and what ended the run if something did, whole or not at all."""
    text = json.dumps(trace_of(spans, error))
    write_text(trace.name, trace.target, text, overwrite=trace.overwrite, doing="the trace cannot be written")


def trace_of(spans: Sequence[Span], error: BaseException | None = None) -> dict[str, Any]:
    """Returns the trace as the value that is written: Chrome's object format, times in microseconds."""
    threads = {name: number for number, name in enumerate(sorted({s.thread for s in spans}), 1)}
    names = [_named("process_name", 0, "tilejit"), *(_named("thread_name", n, name) for name, n in threads.items())]
    events = [_event(span, threads[span.thread]) for span in sorted(spans, key=lambda s: s.start)]
    other = {} if error is None else {"error": f"{type(error).__name__}: {error}"}
    return {"traceEvents": [*names, *events], "displayTimeUnit": "ms", "otherData": other}


def _named(kind: str, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": os.getpid(), "tid": thread, "args": {"name": name}}


def _event(span: Span, thread: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {"cpu_us": span.cpu / 1e3}
    if span.tile is not None:
        arguments |= {"row": span.tile[0], "col": span.tile[1], "window": str(span.window)}
    if span.size:
        arguments["bytes"] = span.size
    if span.output:
        arguments["output"] = span.output
    return {
        "name": span.stage,
        "cat": "tilejit",
        "ph": "X",
        "ts": span.start / 1e3,
        "dur": span.wall / 1e3,
        "pid": os.getpid(),
        "tid": thread,
        "args": arguments,
    }
