"""What a trial is told, what it measures, and what limits it: plain values, which travel between processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilejit.kernel.kernel import Kernel
    from tilejit.times import Dates

INSIDE = "TILEJIT_COMPARING"
"""Set in every child to the pid of the process that compares. A script that compares when it is imported, as children
import it, would start more without end: this tells it that it is one."""

Stages = dict[str, tuple[float, float]]
"""Stage -> seconds by the clock and of cores, summed over threads. ``queue`` is no stage: seconds in which threads
could have run and waited for a core."""

Layers = tuple[tuple[str, int], ...]  # a file and a band: one, or those of a stack's layers


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """One strategy on one count of cores, over the first rows of some files; a ``.npy`` holds tilejit's pixels.

    The first trial writes the reference, and a strategy that is too slow for all of it stops after so many seconds.
    """

    strategy: str
    cores: int
    kernel: Kernel
    inputs: tuple[Layers, ...]  # for each raster parameter
    parameters: dict[str, Any]
    rows: int
    seconds: float
    reference: str
    dates: tuple[Dates | None, ...] = ()  # when the layers of each were taken, which samples do not say


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a trial found out."""

    start: float = 0.0  # seconds until all its processes had imported what they need
    compile: float = 0.0  # seconds in which the kernel was loaded, compiled already, by one process
    seconds: float = 0.0  # seconds of the quickest run: what else the machine does only ever adds
    runs: int = 0  # how many were made
    pixels: int = 0  # pixels that a run computed
    share: float = 1.0  # which part of the sample that is
    cpu: float = 0.0  # core seconds of that run, of all its processes
    others: float = 0.0  # cores that other programs kept busy meanwhile
    stages: Stages = field(default_factory=dict)  # the time of each stage; empty where it is not known
    traffic: float | None = None
    """Seconds of a run that moves the same arrays and computes nothing; None where nothing is moved."""
    memory: int | None = None  # the most bytes that all its processes held together; None where nobody tells
    different: int = 0  # pixels that differ from tilejit's: in any bit, or by more than arithmetic rounds elsewhere
    distance: float = 0.0  # the largest relative difference of the others

    @property
    def speed(self) -> float:
        """Mpx/s."""
        return self.pixels / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def busy(self) -> float:
        """Cores that were busy, on average."""
        return self.cpu / self.seconds if self.seconds else 0.0

    def wall(self, stage: str) -> float:
        """Returns the seconds of a stage by the clock."""
        return self.stages.get(stage, (0.0, 0.0))[0]

    def core(self, stage: str, known: Mapping[str, float] | None = None) -> float:
        """Returns the core seconds of a stage, as measured, or as so many ``known`` seconds a pixel would make."""
        if not self.stages and known:
            return known.get(stage, 0.0) * self.pixels
        return self.stages.get(stage, (0.0, 0.0))[1]


@dataclass(frozen=True, slots=True)
class Roofline:
    """The machine's limits for one kernel, by count of cores."""

    cores: tuple[int, ...]  # the counts
    bandwidth: tuple[float, ...]  # bytes a second, read and written, of a copy that no cache holds
    peak: tuple[float, ...]  # operations a second of multiplications and additions in the compute dtype, without memory
    cached: tuple[float, ...]  # pixels a second of the kernel on cells that stay in the cache
    operations: int  # operations a pixel, by the kernel's form; one in an unbounded loop counts as a thousand
    bytes_per_pixel: float  # bytes that the kernel reads and writes for a pixel
    compile: float  # seconds that compiling the kernel took, Numba itself imported before

    def at(self, cores: int) -> int:
        """Returns where a count of cores is in the tables: the largest that is no larger."""
        return max(k for k, c in enumerate(self.cores) if c <= cores or k == 0)


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds a strategy up."""

    name: str  # one word: GIL, interpreter, pickling, decode, bandwidth, arithmetic, overhead
    reason: str  # the figures that show it


def limit_of(found: Measurement, cores: int, roofline: Roofline, known: Mapping[str, float]) -> Limit:
    """What limits a strategy, by what was measured of it and not by its name; ``known`` as in `Measurement.core`."""
    shown = _lock(found, cores) or _traffic(found) or _serial_decode(found, cores)
    return shown or _largest_stage(found, cores, roofline, known)


def _lock(found: Measurement, cores: int) -> Limit | None:
    """Threads that can run, and wait neither for a core nor for cells, wait for a lock: in Python it is the GIL."""
    inside = found.wall("compute")
    if cores == 1 or not inside or "queue" not in found.stages:
        return None
    waiting = inside - found.core("compute") - found.wall("queue")
    if waiting < 0.25 * inside or found.busy > 0.75 * cores:
        return None
    share = f"{100 * waiting / inside:.0f} % of the time inside the body they waited for a lock"
    return Limit("GIL", f"{counted(cores, 'thread')} kept {found.busy:.2f} cores busy: {share}")


def _traffic(found: Measurement) -> Limit | None:
    """Moving the arrays alone takes half the time or more."""
    if found.traffic is None or not found.seconds or found.traffic < 0.5 * found.seconds:
        return None
    share = 100 * min(1.0, found.traffic / found.seconds)
    return Limit("pickling", f"moving the arrays and computing nothing takes {share:.0f} % of the time")


def _serial_decode(found: Measurement, cores: int) -> Limit | None:
    """One thread decodes while the others wait: the stages fill the time one after the other, not side by side."""
    decode = found.wall("decode")
    rest = sum(found.wall(stage) for stage in ("compute", "encode", "wait"))
    if cores == 1 or decode < 0.5 * found.seconds:
        return None
    one_by_one, at_once = decode + rest / cores, (decode + rest) / cores
    if not 0.85 * found.seconds < one_by_one < 1.15 * found.seconds or at_once > 0.75 * found.seconds:
        return None
    return Limit("decode", f"one thread decodes for {100 * decode / found.seconds:.0f} % of the time")


def _largest_stage(found: Measurement, cores: int, roofline: Roofline, known: Mapping[str, float]) -> Limit:
    """The stage that takes the most core seconds; for computing, the limit of the machine that is nearer."""
    decode, compute = found.core("decode", known), found.core("compute", known)
    total = max(found.cpu, decode + compute, 1e-9)
    rest = total - decode - compute
    if rest > max(decode, compute):
        return Limit("overhead", f"{100 * rest / total:.0f} % of the core seconds neither decode nor compute")
    if decode > compute:
        return Limit("decode", f"{100 * decode / total:.0f} % of the core seconds decode")
    at, speed = roofline.at(cores), found.pixels * cores / max(compute, 1e-9)
    arithmetic = speed / roofline.cached[at]
    if arithmetic < 0.02:
        slower = 1 / max(arithmetic, 1e-9)
        return Limit("interpreter", f"the same cells, compiled and in the cache, take {slower:.0f} times less")
    bandwidth = speed * roofline.bytes_per_pixel / roofline.bandwidth[at]
    if bandwidth > arithmetic:
        return Limit("bandwidth", f"computing moves {100 * bandwidth:.0f} % of the bytes that a copy does in its time")
    share = 100 * min(1.0, arithmetic)
    return Limit("arithmetic", f"computing goes at {share:.0f} % of its speed on cells that are in the cache")
