"""Where the time of a run goes: one place that times a stage, for the report and for the trace."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, get_args

if TYPE_CHECKING:
    from types import TracebackType

    from tilejit.engine.planning.plan import Index
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


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of one thread's time."""

    stage: Stage
    """What it did."""
    thread: str
    """The thread's name."""
    start: int
    """Nanoseconds since the run began."""
    wall: int
    """Nanoseconds that it took."""
    cpu: int
    """Nanoseconds of a core."""
    tile: Index | None
    """The tile's row and column among tiles; None of what belongs to none."""
    window: Window | None
    """The tile."""
    size: int
    """Bytes decoded, computed from, or encoded."""
    output: str
    """The file, of an encoded tile."""


class Stopwatch:
    """Adds up what threads spend in stages, and keeps each stretch where a trace is wanted.

    A stretch costs 1.9 microseconds, with a trace 2.9 (measured); a tile of one output has six.
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

    def stage(self, name: Stage, tile: Index | None = None, window: Window | None = None) -> Timing:
        """Times what runs inside a ``with``."""
        return Timing(self, name, tile, window)

    def stages(self) -> dict[Stage, StageTime]:
        """Returns the time spent so far in each stage."""
        return {name: StageTime(self._wall[name] / 1e9, self._cpu[name] / 1e9) for name in STAGES}

    def seconds(self) -> float:
        """Returns the seconds since the run began."""
        return (time.perf_counter_ns() - self.started) / 1e9

    def cpu_seconds(self) -> float:
        """Returns the core seconds that the whole process has spent since, in all its threads."""
        return time.process_time() - self._cpu_started

    def add(self, timing: Timing, wall: int, cpu: int) -> None:
        """Notes a stretch that has ended."""
        with self._lock:
            self._wall[timing.stage] += wall
            self._cpu[timing.stage] += cpu
        if self.spans is not None:
            name, start = threading.current_thread().name, timing.start - self.started
            self.spans.append(
                Span(timing.stage, name, start, wall, cpu, timing.tile, timing.window, timing.size, timing.output)
            )


class Timing:
    """A stretch that is being timed; what runs inside may say more about it."""

    __slots__ = ("_cpu_start", "_watch", "output", "size", "stage", "start", "tile", "window")

    def __init__(self, watch: Stopwatch, stage: Stage, tile: Index | None, window: Window | None) -> None:
        self._watch, self.stage, self.tile, self.window = watch, stage, tile, window
        self.size, self.output = 0, ""

    def __enter__(self) -> Self:
        self.start = time.perf_counter_ns()
        self._cpu_start = time.thread_time_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cpu = time.thread_time_ns() - self._cpu_start
        self._watch.add(self, time.perf_counter_ns() - self.start, cpu)
