"""How long a job will take: a rehearsal in small, kept for the machine, scaled to the job's pixels."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.engine.prediction.calibration import Calibration, calibration_file
from tilejit.engine.prediction.rehearsal import likeness_of, measure_start, rehearsal_key, rehearse
from tilejit.sizes import counted
from tilejit.system.cores import available_cores

if TYPE_CHECKING:
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.planner import Job
    from tilejit.engine.prediction.calibration import Tell


@dataclass(frozen=True, slots=True)
class Prediction:
    """How long a run will take, its inputs in the system's cache and the disk no slower than the codecs."""

    seconds: float
    """Wall time."""
    workers: int
    """Threads, of all processes."""
    decode: float
    """Core seconds that decode the inputs."""
    compute: float
    """Core seconds in kernels."""
    encode: float
    """Core seconds that encode the outputs."""
    start: float
    """Seconds in which Numba is imported and kernels are loaded; 0 where the process has done that already."""

    def __str__(self) -> str:
        parts = f"decode {self.decode:.1f}, compute {self.compute:.1f}, encode {self.encode:.1f} core seconds"
        return f"about {self.seconds:.1f} s on {counted(self.workers, 'thread')} ({parts})"


def predict_job(job: Job, *, new_process: bool | None = None, tell: Tell | None = None) -> Prediction:
    """Predicts the run time of a job.

    What of it was never measured on this machine is measured now, which takes a second or two, and kept.

    Args:
        job: The job.
        new_process: Whether it will run in a process that has not imported Numba; None for: this one, as it is.
        tell: Called with what is measured, when something is.

    Raises:
        PlanError: An input is neither an array nor a local GeoTIFF.
        TilejitError: A part of the inputs that is tried cannot be read.
    """
    calibration = Calibration(calibration_file(), tell)
    likenesses = tuple(likeness_of(r, s) for r, s in zip(job.plan.reads, job.sources, strict=True))
    names = " + ".join(k.name for k in job.kernels) or "a copy"
    busy = time.thread_time()
    key = rehearsal_key(job, likenesses)
    # A run generates the kernels' source as well: 0.2 s for the 121 cells of an 11x11 mean.
    generating = time.thread_time() - busy
    found = calibration.measured(
        f"speed of {names}",
        key,
        ("decode", "compute", "encode", "once", "finish"),
        lambda: rehearse(job),
    )
    start = 0.0
    if job.plan.steps and (("numba" not in sys.modules) if new_process is None else new_process):
        start = calibration.measured("start of a process", (), ("seconds",), measure_start)["seconds"]
        start += generating
    pixels = job.plan.window.height * job.plan.window.width
    decode, compute = found["decode"] * pixels, found["compute"] * pixels
    encode = found["encode"] * pixels + found["once"]
    seconds = start + _after_start(job.plan, decode, compute + encode, start) + found["finish"]
    return Prediction(seconds, job.plan.processes * job.plan.workers, decode, compute, encode, start)


def _after_start(plan: Plan, decode: float, rest: float, start: float) -> float:
    """Seconds from when the kernels are there: frames are decoded before, by the cores that are free meanwhile."""
    threads = min(plan.processes * plan.workers, plan.task_count, available_cores())
    decoded = min(decode * plan.tile_buffers / plan.task_count, start * min(threads, max(1, available_cores() - 1)))
    return (decode + rest - decoded) / threads
