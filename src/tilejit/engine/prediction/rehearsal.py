"""A job in small: tiles of its own inputs through its sources, kernels and sinks, into files that are thrown away."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from math import ceil, isqrt, log2, prod
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from tilejit.backends import get_backend
from tilejit.engine.pipeline.pipeline import run_job
from tilejit.engine.planning.planner import Job
from tilejit.errors import PlanError
from tilejit.formats.gdal.storage import creation_options
from tilejit.formats.open_sink import open_sink
from tilejit.formats.sink import ArraySink, OutputProfile, Sink
from tilejit.formats.source import storage_of
from tilejit.sizes import format_size

if TYPE_CHECKING:
    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.steps import Read, Write
    from tilejit.engine.prediction.calibration import Numbers
    from tilejit.formats.source import Source
    from tilejit.grid import Grid
    from tilejit.window import Window

_PROBE = 128 * 128
"""Pixels of a first run, which compiles and tells how slow the kernels are."""
_MOST_BYTES = 32_000_000
"""Bytes of inputs and outputs of the smaller of the two runs that are measured: a tenth of a second with ZSTD on two
cores."""
_LEAST_BLOCKS = 16
"""Blocks of one output there: files of fewer are encoded exactly as asked (`codecs/effort`), and three outputs with
DEFLATE 6 seemed to take 2.3 times as long as they did."""
_LARGEST_BYTES = 96_000_000
"""Bytes of that run where so many blocks take more than `_MOST_BYTES`."""
_TIMES_LARGER = 3
"""The larger run. What it takes more tells what encoding a pixel takes: of sixteen blocks four are encoded several
times to learn how, of ten thousand one in sixty. A slope with DEFLATE 6, most of whose blocks take a ninth of the time
of those, seemed to take 1.5 times as long as it did."""
_LARGEST_BLOCK = 128_000_000
"""Bytes of an input's block beyond which nothing is measured: a tile of 16384 x 16384 would be decoded whole."""
_MOST_BLOCKS = 4096
"""Blocks of one file: those of a single cell take 0.1 ms each."""
_COMPUTE_SECONDS = 0.5
"""Core seconds that a slow kernel may take."""
_MOST_WORKERS = 4
"""More threads than these are not measured: their buffers would outgrow the job's."""
_RATIOS = 8
"""How many steps of compression are told apart between a file and one that takes half as much: 9 % each."""


def likeness_of(read: Read, source: Source) -> str:
    """Returns what the time of reading an input depends on: how it is stored, and how well it compresses.

    Raises:
        PlanError: It is neither an array nor a local GeoTIFF, or its blocks are very large.
    """
    info = next(b for b in source.bands if b.index == read.bands[0])
    cells = f"{info.dtype} {info.nodata} {len(read.bands)}"
    storage = storage_of(source)
    if not storage.block_bytes:
        return cells
    options = creation_options(source.name)
    if options is None or storage.stored_bytes is None:
        raise PlanError(f"{source.name} is no local GeoTIFF with a codec that keeps every cell")
    if storage.block_bytes > _LARGEST_BLOCK:
        raise PlanError(
            f"{source.name}: decoding a block takes {format_size(storage.block_bytes)}, too much to be tried"
        )
    raw = len(source.bands) * info.dtype.itemsize * prod(source.grid.shape)
    ratio = round(_RATIOS * log2(max(1, storage.stored_bytes) / raw))
    return f"{cells} of {len(source.bands)} {sorted(options.items())} {ratio}"


def rehearse(job: Job) -> Numbers:
    """Runs some tiles from the middle of a job.

    Returns:
        Core seconds that each pixel adds to the stages decode, compute and encode, those that encoders take once, and
        the seconds of finish.

    Raises:
        PlanError: A pixel has too many bands.
        TilejitError: The tiles cannot be read, or not written into a temporary folder.
    """
    plan = job.plan
    cell = sum(map(_cell_bytes, plan.reads, job.sources)) + plan.output_bytes / _pixels(plan)
    if _PROBE * cell > _MOST_BYTES:
        raise PlanError(f"a pixel of its inputs and outputs takes {cell:,.0f} bytes, too many to be measured in small")
    blocks = [*(r.block for r in plan.reads if r.block_bytes), *(w.block for w in plan.writes if w.path)]
    most = min((_MOST_BLOCKS * rows * cols for rows, cols in blocks), default=_MOST_BYTES)
    least = max((_LEAST_BLOCKS * w.block[0] * w.block[1] for w in plan.writes if w.path), default=0)
    size = min(max(_MOST_BYTES, least * cell), _LARGEST_BYTES)
    probe = _measure(job, min(_PROBE, most), times=1)
    slowest = _COMPUTE_SECONDS / max(probe.compute / probe.pixels, 1e-12)
    pixels = max(_PROBE, int(min(size / cell, slowest)))
    small, large = (_measure(job, min(p, most), times=2) for p in (pixels, _TIMES_LARGER * pixels))
    return _per_pixel(small, large)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a run took."""

    pixels: int
    decode: float
    compute: float
    encode: float
    finish: float


def _per_pixel(small: _Cost, large: _Cost) -> Numbers:
    """What each pixel takes, and what encoders take once; of a raster no larger than a rehearsal, all is pixels'."""
    encode = large.encode / large.pixels
    if large.pixels > small.pixels:
        encode = max(0.0, large.encode - small.encode) / (large.pixels - small.pixels)
    return {
        "decode": large.decode / large.pixels,
        "compute": large.compute / large.pixels,
        "encode": encode,
        "once": max(0.0, large.encode - encode * large.pixels),
        "finish": large.finish,
    }


def _cell_bytes(read: Read, source: Source) -> int:
    """Bytes of a pixel of an input, with the bands that lie between those that are read and are decoded with them."""
    options = (creation_options(source.name) if storage_of(source).block_bytes else None) or {}
    together = source.bands if options.get("INTERLEAVE") == "PIXEL" else [source.bands[b - 1] for b in read.bands]
    return sum(band.dtype.itemsize for band in together)


def _pixels(plan: Plan) -> int:
    return plan.window.height * plan.window.width


def _measure(job: Job, pixels: int, times: int) -> _Cost:
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        part = _part(job, _window(job.plan, pixels), Path(folder))
        runs = [_run(part) for _ in range(times)]
    # Not the best of them: a machine is not always at its best, and predictions then were 9 % short.
    usual = {n: fmean(getattr(run, n) for run in runs) for n in ("decode", "compute", "encode", "finish")}
    return _Cost(_pixels(part.plan), **usual)


def _window(plan: Plan, pixels: int) -> Window:
    """Returns whole tiles in the middle of what is computed, of about so many pixels, or a part of one tile."""
    rows, cols = plan.task_shape
    tiles = ceil(pixels / prod(plan.tile))
    across = min(cols, tiles)
    down = min(rows, ceil(tiles / across))
    row, col = (rows - down) // 2, (cols - across) // 2
    window = plan.tiles_window(row, row + down, col, col + across)
    if tiles > 1 or pixels >= window.height * window.width:
        return window
    width = min(window.width, max(16, isqrt(pixels)))
    return replace(window, height=min(window.height, max(16, pixels // width)), width=width)


def _part(job: Job, window: Window, folder: Path) -> Job:
    """Returns a job that computes a window of another's into a folder."""
    writes = tuple(
        replace(w, path=str(folder / f"out{n}{Path(w.path).suffix}") if w.path else "")
        for n, w in enumerate(job.plan.writes)
    )
    plan = replace(job.plan, window=window, writes=writes, workers=min(job.plan.workers, _MOST_WORKERS))
    return Job(plan, job.sources, job.kernels, job.parameters)


def _run(job: Job) -> _Cost:
    report = _report_of(job)
    stages = report.stages
    # A GPU's work is no thread's: the thread waits for it.
    compute = stages["compute"].wall if job.plan.backend == "cuda" else stages["compute"].cpu
    others = sum(stages[name].cpu for name in ("decode", "compute", "wait", "compile"))
    encode = max(0.0, report.cpu_seconds - others)
    # A few tiles decode the blocks around them for their halo, which in the whole are other tiles' own; but where tiles
    # cut blocks, the whole decodes them as often.
    is_once = job.plan.exchanges and not any(map(job.plan.cuts, job.plan.reads))
    own = report.source_bytes / max(1, report.bytes_read) if is_once else 1.0
    return _Cost(_pixels(job.plan), own * stages["decode"].cpu, compute, encode, stages["finish"].wall)


def _report_of(job: Job) -> Report:
    grid = job.plan.grid.part(job.plan.window)
    sinks: list[Sink] = []
    try:
        for write in job.plan.writes:
            sinks.append(_sink(write, grid, job.plan.workers))  # noqa: PERF401 - the open ones must be dropped
        return run_job(job, sinks)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise


def _sink(write: Write, grid: Grid, workers: int) -> Sink:
    count = len(write.planes)
    if not write.path:
        return ArraySink(np.empty((count, *grid.shape), write.dtype), grid)
    profile = OutputProfile(
        path=write.path,
        grid=grid,
        count=count,
        dtype=write.dtype,
        nodata=write.nodata,
        options=write.options,
        overwrite=True,
    )
    return open_sink(profile, workers)


def rehearsal_key(job: Job, likenesses: tuple[str, ...]) -> list[str]:
    """Returns what a rehearsal depends on: how inputs and outputs are stored, and the kernels' generated source."""
    plan = job.plan
    backend = get_backend(plan.backend)
    reads = [f"{like} {r.dtype} {r.halo} {r.edge} {r.valid}" for r, like in zip(plan.reads, likenesses, strict=True)]
    steps = [
        f"{backend.source(kernel, step.signature)} {sorted(parameters.items(), key=str)} {step.halo} {step.operands}"
        for kernel, step, parameters in zip(job.kernels, plan.steps, job.parameters, strict=True)
    ]
    writes = [f"{Path(w.path).suffix} {w.dtype} {w.planes} {w.nodata} {sorted(w.options.items())}" for w in plan.writes]
    return [plan.backend, str(min(plan.workers, _MOST_WORKERS)), *reads, *steps, *writes]


_START = """
import sys, numpy, tilejit
from tilejit.cli.terrain_demo import elevation
raster = elevation(tilejit.from_array(numpy.zeros((16, 16), numpy.float32)))
print(raster.save(sys.argv[1], overwrite=True, progress=False, backend="cpu").stages["compile"].cpu)
"""


def measure_start() -> Numbers:
    """Returns the seconds in which a new process imports Numba and loads a kernel that is compiled already.

    They are one thread's work, and taken from its core seconds: by the clock, a busy machine doubled them.

    Raises:
        PlanError: The interpreter cannot be run.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        command = [sys.executable, "-P", "-c", _START, str(Path(folder) / "start.tif")]
        for _ in range(2):  # the first may compile
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
            if done.returncode:
                raise PlanError(f"{sys.executable} cannot run tilejit: {done.stderr.strip().splitlines()[-1:]}")
            found.append(float(done.stdout))
    return {"seconds": min(found)}
