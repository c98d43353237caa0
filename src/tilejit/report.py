"""What a run did, in figures."""

from __future__ import annotations

import resource
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did. Stage seconds are summed over workers; a run on two workers has two of them a second."""

    seconds: float
    """Wall time, from the first read to the last output in its place."""
    stages: dict[str, float]
    """Seconds in compile, read, compute and write."""
    pixels: int
    """Pixels of the grid that were computed."""
    tasks: int
    """Tiles."""
    workers: int
    """Threads."""
    backend: str
    """What computed."""
    reason: str
    """Why it was this backend."""
    peak_memory: int
    """The most memory that the process held, in bytes."""
    planned_memory: int
    """What the plan allowed."""
    bytes_read: int
    """Bytes decoded, whole blocks counted."""
    source_bytes: int
    """Bytes of the cells needed, each once."""
    output_bytes: int
    """Bytes of the outputs as stored."""
    collisions: int
    """Valid pixels whose result equals the nodata value; in the halos of inner results, each time one is computed."""

    @property
    def speed(self) -> float:
        """Mpx/s over the wall time."""
        return self.pixels / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def read_ratio(self) -> float:
        """Bytes decoded over bytes needed: 1.0 where each block is decoded once."""
        return self.bytes_read / self.source_bytes if self.source_bytes else 1.0

    def __str__(self) -> str:
        stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.stages.items())
        decoded = f"{format_size(self.bytes_read)} decoded ({self.read_ratio:.2f} of the raster)"
        lines = [
            f"{self.pixels / 1e6:.1f} Mpx in {self.seconds:.2f} s: {self.speed:.0f} Mpx/s, {self.tasks} tiles",
            f"stages    {stages} s over {self.workers} workers",
            f"memory    {format_size(self.peak_memory)} at most (planned {format_size(self.planned_memory)})",
            f"bytes     {decoded}, {format_size(self.output_bytes)} written",
            f"backend   {self.backend}: {self.reason}",
        ]
        if self.collisions:
            lines.append(f"nodata    {self.collisions} valid pixels got a result that equals the nodata value")
        return "\n".join(lines)


@dataclass
class Stopwatch:
    """Adds up the seconds that threads spend in stages."""

    stages: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("compile", "read", "compute", "write"), 0.0)
    )
    """Stage -> seconds."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what runs inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            with self._lock:
                self.stages[name] += seconds


def reset_peak_memory() -> None:
    """Lets the peak start from what the process holds now, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory() -> int:
    """Returns the most memory that the process held since the last reset, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
