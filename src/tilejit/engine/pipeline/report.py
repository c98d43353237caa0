"""What a run tells: a progress bar while it goes on, and what it did, in figures."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.engine.pipeline.stopwatch import STAGES, WORKER_STAGES, StageTime
from tilejit.errors import printable
from tilejit.sizes import counted, format_size
from tilejit.system.identity import process_space
from tilejit.system.program import is_open, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tilejit.engine.pipeline.stopwatch import Stage, Stopwatch
    from tilejit.kernel.counts import Counts
    from tilejit.system.identity import FileIdentity


@dataclass(frozen=True, slots=True)
class Figures:
    """What processes did of a run; those of several add up."""

    tiles: int = 0
    """Tiles finished."""
    bytes_read: int = 0
    """Bytes decoded, whole blocks counted."""
    stages: Mapping[Stage, StageTime] = field(default_factory=lambda: dict.fromkeys(STAGES, StageTime()))
    """Time by stage."""
    peaks: Mapping[tuple[FileIdentity, int], int] = field(default_factory=dict)
    """The most memory that each process held: by where it is counted, and its number; machines and containers may have
    one name."""

    @classmethod
    def of_worker(cls, watch: Stopwatch, tiles: int, bytes_read: int) -> Figures:
        """The figures of a part, in the process that worked on it."""
        return cls(tiles, bytes_read, watch.stages(), {(process_space(), os.getpid()): peak_memory()})

    def peak_memory(self) -> int:
        """The most that this process and all the others held."""
        if not self.peaks:
            return peak_memory()
        return sum((dict(self.peaks) | {(process_space(), os.getpid()): peak_memory()}).values())

    def __add__(self, other: Figures) -> Figures:
        stages = {name: self.stages[name] + other.stages[name] for name in STAGES}
        peaks = dict(self.peaks)
        for process, peak in other.peaks.items():
            peaks[process] = max(peak, peaks.get(process, 0))
        return Figures(self.tiles + other.tiles, self.bytes_read + other.bytes_read, stages, peaks)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did. Stage seconds are summed over threads; a run on two workers has two of them a second."""

    seconds: float
    """Wall time, from the first read to the last output in its place."""
    stages: Mapping[Stage, StageTime]
    """Time in decode, compute, encode and wait, over the workers; in compile and finish, once."""
    cpu_seconds: float
    """Core seconds of the whole process, threads of GDAL's and of the host program's among them."""
    pixels: int
    """Pixels of the grid that were computed; those that an earlier run had finished are not."""
    tiles: int
    """Tiles."""
    workers: int
    """Threads, of all processes."""
    backend: str
    """What computed."""
    reason: str
    """Why it was this backend."""
    peak_memory: int
    """The most memory that the process held, in bytes; of several processes, the sum of what each held at most; 0
    where the system does not tell."""
    planned_memory: int
    """What the plan allowed."""
    bytes_read: int
    """Bytes decoded, whole blocks counted."""
    source_bytes: int
    """Bytes of the cells needed, each once."""
    output_bytes: int
    """Bytes of the outputs as stored."""
    results: tuple[Any, ...]
    """What the partials of its last pass came to; the counts of pixels first."""
    coding: tuple[str, ...] = ()
    """What encoded the blocks of each output where there was a choice, and about how much that cost."""
    executor: str = "threads"
    """What ran the tiles."""
    resumed: int = 0
    """Pixels that an earlier run had finished."""
    sweeps: int = 0
    """How often a pass of an iteration was run; 0 of what is none."""
    earlier: tuple[Report, ...] = ()
    """What the passes before did, whose results the kernels took."""

    def then(self, other: Report) -> Report:
        """What sweeps of a pass did together: results are those of the last, but pixels are told of in each sweep."""
        stages = {name: self.stages[name] + other.stages[name] for name in STAGES}
        added = ("seconds", "cpu_seconds", "pixels", "tiles", "bytes_read", "source_bytes", "output_bytes", "sweeps")
        sums = {name: getattr(self, name) + getattr(other, name) for name in added}
        peak = max(self.peak_memory, other.peak_memory)
        counts = self.counts + other.counts
        return replace(other, stages=stages, peak_memory=peak, results=(counts, *other.results[1:]), **sums)

    @property
    def counts(self) -> Counts:
        """What is to be told of its pixels; in the halos of inner results, each time one is computed."""
        counts: Counts = self.results[0]
        return counts

    @property
    def collisions(self) -> int:
        """Valid pixels whose result equals the nodata value."""
        return self.counts.collisions

    @property
    def speed(self) -> float:
        """Mpx/s over the wall time."""
        return self.pixels / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def read_ratio(self) -> float:
        """Bytes decoded over bytes needed: 1.0 where each block is decoded once."""
        return self.bytes_read / self.source_bytes if self.source_bytes else 1.0

    @property
    def total(self) -> StageTime:
        """The sum of all stages."""
        return sum(self.stages.values(), StageTime())

    def share(self, stage: Stage) -> float:
        """Returns the percentage of workers times wall time that a stage took."""
        return 100 * self.stages[stage].wall / (self.workers * self.seconds) if self.seconds else 0.0

    def __str__(self) -> str:
        decoded = f"{format_size(self.bytes_read)} decoded ({self.read_ratio:.2f} of the raster)"
        speed = f"{self.speed:.0f}" if self.speed >= 10 else f"{self.speed:.1f}"
        lines = [
            f"{self.pixels / 1e6:.1f} Mpx in {self.seconds:.2f} s: {speed} Mpx/s, {counted(self.tiles, 'tile')}",
            f"stages    {self._wall()}",
            f"once      compile {self.stages['compile'].wall:.2f} s, finish {self.stages['finish'].wall:.2f}",
            f"cpu       {self._cpu()}",
            f"memory    {self._held()} (planned {format_size(self.planned_memory)})",
            f"bytes     {decoded}, {format_size(self.output_bytes)} written",
            f"backend   {self.backend}: {self.reason}",
        ]
        lines += [f"coding    {printable(line)}" for line in self.coding]
        if self.executor != "threads":
            lines.append(f"executor  {self.executor}")
        if self.resumed:
            lines.append(f"resumed   {self.resumed / 1e6:.1f} Mpx had been finished by an earlier run")
        if self.collisions:
            lines.append(
                f"nodata    {counted(self.collisions, 'valid pixel')} got a result that equals the nodata value"
            )
        lines += [f"pass {k}    {p._done()}" for k, p in enumerate(self.earlier, 1)]  # noqa: SLF001 - its own
        lines += [f"told      {line}" for line in self.counts.lines()]
        return "\n".join(lines)

    def _done(self) -> str:
        sweeps = f", {counted(self.sweeps, 'sweep')} of {counted(self.tiles, 'tile')}" if self.sweeps > 1 else ""
        return f"{self.pixels / 1e6:.1f} Mpx in {self.seconds:.2f} s{sweeps}"

    def _wall(self) -> str:
        parts = [f"{s} {self.stages[s].wall:.2f} s ({self.share(s):.0f} %)" for s in WORKER_STAGES]
        return f"{', '.join(parts)} over {counted(self.workers, 'worker')}"

    def _held(self) -> str:
        return f"{format_size(self.peak_memory)} at most" if self.peak_memory else "not told by this system"

    def _cpu(self) -> str:
        stages = ", ".join(f"{s} {t.cpu:.2f}" for s, t in self.stages.items() if s != "wait")
        # Clocks of threads and of the process tick apart: a difference may come out below zero.
        other = max(0.0, self.cpu_seconds - self.total.cpu)
        return f"{self.cpu_seconds:.2f} core seconds: {stages}, elsewhere {other:.2f}"


def reset_peak_memory() -> None:
    """Lets the peak start from what the process holds now, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory() -> int:
    """Returns the most memory that the process held since the last reset, in bytes; 0 where that is not told."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def progress_bar(label: str, *, show: bool | None) -> Iterator[Callable[[float, int, str], None] | None]:
    """Gives a function to call with tiles done, tiles in all and what else is going on; None where nothing is shown.

    Args:
        label: What is being made.
        show: Whether to show it, where there is a standard error; None: only on a terminal.
    """
    if show is False or not (is_open(sys.stderr) if show else is_terminal(sys.stderr)):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(label), total=None)

        def told(done: float, total: int, doing: str = "") -> None:
            described = printable(f"{label}: {doing}" if doing else label)
            bar.update(task, completed=done, total=total, description=described)

        yield told
