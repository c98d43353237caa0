"""How long a run will take: a few tiles from the middle of its inputs, run into files that are thrown away."""

from __future__ import annotations

import functools
import operator
import tempfile
from dataclasses import dataclass, replace
from math import ceil, isqrt, prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tilejit.engine.pipeline.run import run_job
from tilejit.engine.planning.planner import Job, awaited, bound
from tilejit.errors import PlanError
from tilejit.formats.in_memory import ArraySink
from tilejit.formats.registry import open_sink
from tilejit.formats.sink import OutputProfile, Sink
from tilejit.formats.source import storage_of
from tilejit.sizes import counted, format_size
from tilejit.system.limits import available_cores

if TYPE_CHECKING:
    from tilejit.engine.planning.plan import Plan
    from tilejit.window import Window

_FIRST_PIXELS = 128 * 128
"""Pixels of the first sample, in which kernels are loaded or compiled; each of the next has four times as many."""
_ENOUGH_SECONDS = 0.5  # core seconds of a sample that is large enough
_ENOUGH_BLOCKS = 64
"""Blocks of an output there, a quarter of them in the sample before: files of fewer than 16 are encoded exactly as
asked (`codecs/compression_level`), and three outputs with DEFLATE 6 seemed to take 2.3 times as long as they did."""
_MOST_BYTES = 80_000_000  # bytes of inputs and outputs of the largest sample that is followed by another
_LARGEST_BLOCK = 128_000_000
"""Bytes of an input's block beyond which nothing is tried: a tile of 16384 x 16384 would be decoded whole."""
_MOST_WORKERS = 4  # more threads than these are not tried: their buffers would outgrow the job's


@dataclass(frozen=True, slots=True)
class Prediction:
    """How long a run will take, its inputs in the system's cache and the disk no slower than the codecs."""

    seconds: float
    """Wall time, kernels compiled before."""
    workers: int
    """Threads, of all processes."""
    decode: float
    """Core seconds that decode the inputs."""
    compute: float
    """Core seconds in kernels."""
    encode: float
    """Core seconds that encode the outputs."""

    def __add__(self, other: Prediction) -> Prediction:
        """One pass after another."""
        return Prediction(
            self.seconds + other.seconds,
            self.workers,
            self.decode + other.decode,
            self.compute + other.compute,
            self.encode + other.encode,
        )

    def __str__(self) -> str:
        parts = f"decode {self.decode:.1f}, compute {self.compute:.1f}, encode {self.encode:.1f} core seconds"
        return f"about {self.seconds:.1f} s on {counted(self.workers, 'thread')} ({parts})"


@dataclass(frozen=True, slots=True)
class _Cost:
    """Pixels, and the core seconds that they took in each stage."""

    pixels: int
    stages: np.ndarray
    finish: float


def predict_job(job: Job) -> Prediction:
    """Predicts the run time of a job, by running samples of it that grow until one takes long enough.

    What the last takes more than the one before is the price of its pixels: what files take once, as their encoders
    try some blocks to learn which is the best, and what kernels take to compile is in both.
    """
    repeated = next((one.iteration for one in job.earlier if one.iteration is not None), None)
    if repeated is not None:
        raise PlanError(f"{repeated.name} goes on until no cell changes, and when that is nobody knows before")
    # What numbers earlier passes make is no matter of time.
    passes = [bound(one, map(float, range(len(awaited(one)))), {}) for one in (*job.earlier, job)]
    return functools.reduce(operator.add, map(_predicted, passes))


def _predicted(job: Job) -> Prediction:
    plan, pixels = job.plan, prod(job.plan.window.shape)
    _check_inputs(job)
    most = _MOST_BYTES * pixels / max(1, plan.source_bytes + plan.output_bytes)
    blocks = max((_ENOUGH_BLOCKS * prod(w.block) for w in plan.writes if w.path), default=0)
    size, before = _FIRST_PIXELS, _Cost(0, np.zeros(3), 0.0)
    last = _sample(job, size)
    while last.pixels < pixels and size < most:
        if (last.stages[1] if size < blocks else last.stages.sum()) > _ENOUGH_SECONDS:
            break
        size *= 4
        before, last = last, _sample(job, size)
    added = last.pixels - before.pixels
    each = np.maximum(0, last.stages - before.stages) / added if added > 0 else last.stages / last.pixels
    decode, compute, encode = (last.stages + each * (pixels - last.pixels)).tolist()
    threads = min(plan.processes * plan.workers, plan.tile_count, available_cores())
    seconds = (decode + compute + encode) / threads + last.finish
    return Prediction(seconds, plan.processes * plan.workers, decode, compute, encode)


def _check_inputs(job: Job) -> None:
    for source in job.sources:
        size = storage_of(source).block_bytes
        if size > _LARGEST_BLOCK:
            raise PlanError(f"{source.name}: decoding a block takes {format_size(size)}, too much to be tried")
        if size and not Path(source.name).exists():
            raise PlanError(f"{source.name} is no local file: how long its cells are on their way is not known")


def _window(plan: Plan, pixels: int) -> Window:
    """Whole tiles in the middle of what is computed, of about so many pixels, or a part of one tile."""
    rows, cols = plan.tile_counts
    tiles = ceil(pixels / prod(map(min, plan.tile, plan.window.shape)))
    down = min(rows, ceil(tiles / max(1, isqrt(tiles * plan.tile[0] // plan.tile[1]))))
    across = min(cols, ceil(tiles / down))
    row, col = (rows - down) // 2, (cols - across) // 2
    window = plan.tiles_window(row, row + down, col, col + across)
    if tiles > 1 or pixels >= window.height * window.width:
        return window
    width = min(window.width, max(16, isqrt(pixels)))
    return replace(window, height=min(window.height, max(16, pixels // width)), width=width)


def _sample(job: Job, pixels: int) -> _Cost:
    """Runs a part of a job through its own sources, kernels and sinks."""
    window = _window(job.plan, pixels)
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        writes = tuple(
            replace(w, path=str(Path(folder, f"out{n}{Path(w.path).suffix}")) if w.path else "")
            for n, w in enumerate(job.plan.writes)
        )
        plan = replace(job.plan, window=window, writes=writes, workers=min(job.plan.workers, _MOST_WORKERS))
        part = Job(plan, job.sources, job.kernels, job.parameters)
        sinks: list[Sink] = []
        try:
            for n in range(len(writes)):
                sinks.append(_sink(plan, n))  # noqa: PERF401 - the open ones must be dropped
            report = run_job(part, sinks)
        finally:
            for sink in sinks:  # nothing is left to drop of what is published
                sink.abort()
    stages = report.stages
    encode = report.cpu_seconds - sum(stages[name].cpu for name in ("decode", "compute", "wait", "compile"))
    # Blocks around a sample are decoded for its halo; in the whole they are other tiles' own, unless tiles cut blocks.
    is_once = plan.exchanges and not any(map(plan.cuts, plan.reads))
    own = report.source_bytes / max(1, report.bytes_read) if is_once else 1.0
    # A GPU's work is no thread's: the thread waits for it.
    compute = stages["compute"].wall if plan.backend == "cuda" else stages["compute"].cpu
    costs = np.array([own * stages["decode"].cpu, compute, max(0.0, encode)])
    return _Cost(prod(window.shape), costs, stages["finish"].wall)


def _sink(plan: Plan, number: int) -> Sink:
    write, grid = plan.writes[number], plan.grid.part(plan.window)
    if not write.path:
        return ArraySink(np.empty((len(write.planes), *grid.shape), write.dtype), grid)
    profile = OutputProfile(path=write.path, grid=grid, count=len(write.planes), dtype=write.dtype,
                            nodata=write.nodata, options=write.options, overwrite=True)  # fmt: skip
    return open_sink(profile, plan.workers)
