"""A job in small: made-up inputs stored as the real ones are, through the same sources, kernels and sinks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from math import ceil, isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends import get_backend
from tilejit.errors import PlanError
from tilejit.io.gdal.storage import creation_options
from tilejit.io.open_sink import open_sink
from tilejit.io.open_source import open_source
from tilejit.io.sink import ArraySink, OutputProfile, Sink
from tilejit.io.source import ArraySource
from tilejit.pipeline.outputs import file_request
from tilejit.pipeline.pipeline import run_job
from tilejit.planning.graph import SourceBand
from tilejit.planning.planner import Job, Settings, make_job
from tilejit.prediction.synthetic import LEVELS, cells
from tilejit.system.cores import available_cores
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilejit.grid import Grid
    from tilejit.io.source import Source
    from tilejit.pipeline.report import Report
    from tilejit.planning.plan import Read, Write
    from tilejit.prediction.calibration import Calibration, Numbers

_PROBE = 128 * 128
"""Pixels of a first run, which compiles and tells how slow the kernels are."""
_MOST_BYTES = 48_000_000
"""Bytes of inputs and outputs of the run that is measured: an eighth of a second with ZSTD on two cores."""
_LEAST_BLOCKS = 24
"""Blocks of one output: files of fewer than 16 are encoded exactly as asked (`codecs/effort`), and three outputs with
DEFLATE 6 seemed to take 2.3 times as long as they did."""
_LARGEST_BYTES = 128_000_000
"""Bytes of a run that is measured where so many blocks take more than `_MOST_BYTES`."""
_MOST_BLOCKS = 4096
"""Blocks of one file: those of a single cell take 0.1 ms each."""
_COMPUTE_SECONDS = 0.5
"""Core seconds that a slow kernel may take."""
_MOST_WORKERS = 4
"""More threads than these are not measured: their buffers would outgrow the job's."""
_SURFACES = 8
"""How many surfaces there are for the bands of all inputs."""
_RAW = ("BLOCKXSIZE", "BLOCKYSIZE", "TILED", "BIGTIFF")


@dataclass(frozen=True, slots=True)
class Likeness:
    """What an input is like."""

    options: Mapping[str, str] | None
    """Creation options that store a file so; None of an array."""
    dtype: np.dtype[Any]
    """The type of its cells."""
    nodata: float | None
    """Its nodata value."""
    count: int
    """How many bands a likeness has."""
    bands: tuple[int, ...]
    """Which of them are read."""
    level: int
    """How well its cells compress; see `tilejit.prediction.synthetic.LEVELS`."""


def likeness_of(read: Read, source: Source, calibration: Calibration) -> Likeness:
    """Finds out, without reading a pixel, what an input is like.

    Raises:
        PlanError: It is neither an array nor a local GeoTIFF.
    """
    info = next(b for b in source.bands if b.index == read.bands[0])
    dtype = np.dtype(np.uint8) if info.dtype.kind == "b" else info.dtype.newbyteorder("=")
    own, numbers = len(read.bands), tuple(range(1, len(read.bands) + 1))
    if not source.block_bytes:
        return Likeness(None, dtype, info.nodata, own, numbers, 0)
    options = creation_options(source.name)
    if options is None or source.stored_bytes is None:
        raise PlanError(f"{source.name} is no local GeoTIFF with a codec that keeps every cell")
    rows, cols = source.grid.shape
    ratio = source.stored_bytes / (len(source.bands) * dtype.itemsize * rows * cols)
    level = _level_of(options, dtype, ratio, calibration)
    if options["INTERLEAVE"] == "PIXEL":  # all its bands are decoded together
        return Likeness(options, dtype, info.nodata, len(source.bands), read.bands, level)
    return Likeness(options, dtype, info.nodata, own, numbers, level)


def _level_of(options: Mapping[str, str], dtype: np.dtype[Any], ratio: float, calibration: Calibration) -> int:
    """The level of made-up cells that a codec brings to so many bytes stored for each raw one."""
    if options["COMPRESS"] == "NONE":
        return 0
    codec = {name: value for name, value in options.items() if name not in (*_RAW, "INTERLEAVE")}
    found = calibration.measured(
        f"ratios of {options['COMPRESS']} {dtype}",
        sorted(codec.items()),
        map(str, LEVELS),
        lambda: {str(level): _ratio(codec, dtype, level) for level in LEVELS},
    )
    # The noise of the highest levels no longer fits a small dtype.
    ratios = np.maximum.accumulate([found[str(level)] for level in LEVELS])
    return round(float(np.interp(ratio, ratios, LEVELS)))


def _ratio(options: Mapping[str, str], dtype: np.dtype[Any], level: int) -> float:
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        array = cells(dtype, level, (1024, 1024), 0, None)
        report = _store(ArraySource.of(array), Path(folder) / "cells.tif", options)
        return report.output_bytes / array.nbytes


def _store(source: ArraySource, path: Path, options: Mapping[str, str]) -> Report:
    """Writes an array into a file."""
    bands = tuple(SourceBand(source, info) for info in source.bands)
    request = file_request(bands, source.grid, str(path), options)
    return _report_of(make_job(source.grid, [request], Settings("cpu", "", available_cores())))


def rehearse(job: Job, likenesses: tuple[Likeness, ...]) -> Numbers:
    """Runs a job in small.

    Args:
        job: The job.
        likenesses: What each of its reads is like.

    Returns:
        Core seconds a pixel of the stages decode, compute and encode, and the seconds of finish.

    Raises:
        PlanError: A pixel has too many bands.
    """
    cell = sum(k.count * k.dtype.itemsize for k in likenesses) + job.plan.output_bytes / _pixels(job)
    if _PROBE * cell > _MOST_BYTES:
        raise PlanError(f"a pixel of its inputs and outputs takes {cell:,.0f} bytes, too many to be measured in small")
    blocks = [*(r.block for r in job.plan.reads if r.block_bytes), *(w.block for w in job.plan.writes if w.path)]
    most = min((_MOST_BLOCKS * rows * cols for rows, cols in blocks), default=_MOST_BYTES)
    least = max((_LEAST_BLOCKS * w.block[0] * w.block[1] for w in job.plan.writes if w.path), default=0)
    size = min(max(_MOST_BYTES, least * cell), _LARGEST_BYTES)
    probe = _measure(job, likenesses, min(_PROBE, most), times=1)
    pixels = int(min(size / cell, _COMPUTE_SECONDS / max(probe["compute"], 1e-12)))
    return _measure(job, likenesses, min(max(_PROBE, pixels), most), times=2)


def _pixels(job: Job) -> int:
    return job.plan.window.height * job.plan.window.width


def _measure(job: Job, likenesses: tuple[Likeness, ...], pixels: int, times: int) -> Numbers:
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        small = _shrunk(job, likenesses, pixels, Path(folder))
        runs = [_run(small) for _ in range(times)]
    # What else the machine does only ever adds.
    return {name: min(run[name] for run in runs) for name in runs[0]}


def _report_of(job: Job) -> Report:
    sinks: list[Sink] = []
    try:
        for write in job.plan.writes:
            sinks.append(_sink(write, job))  # noqa: PERF401 - the open ones must be dropped
        return run_job(job, sinks)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise


def _run(job: Job) -> Numbers:
    report = _report_of(job)
    stages, count = report.stages, _pixels(job)
    # A GPU's work is no thread's: the thread waits for it.
    compute = stages["compute"].wall if job.plan.backend == "cuda" else stages["compute"].cpu
    others = sum(stages[name].cpu for name in ("decode", "compute", "wait", "compile"))
    return {
        "decode": stages["decode"].cpu / count,
        "compute": compute / count,
        "encode": max(0.0, report.cpu_seconds - others) / count,
        "finish": stages["finish"].wall,
    }


def _shrunk(job: Job, likenesses: tuple[Likeness, ...], pixels: int, folder: Path) -> Job:
    plan = job.plan
    height, width = _shape(plan.grid, plan.tile, pixels)
    grid = replace(plan.grid, height=height, width=width)
    sources = tuple(_source(k, grid, folder / f"in{n}.tif", n) for n, k in enumerate(likenesses))
    plan = replace(
        plan,
        grid=grid,
        window=Window(0, 0, height, width),
        reads=tuple(replace(r, bands=k.bands) for r, k in zip(plan.reads, likenesses, strict=True)),
        writes=tuple(
            replace(w, path=str(folder / f"out{n}{Path(w.path).suffix}") if w.path else "")
            for n, w in enumerate(plan.writes)
        ),
        workers=min(plan.workers, _MOST_WORKERS),
    )
    return Job(plan, sources, job.kernels, job.parameters)


def _shape(grid: Grid, tile: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Rows and columns of about so many pixels, in whole tiles where there is room for some."""
    width = min(grid.width, tile[1], max(16, isqrt(pixels) if pixels < tile[0] * tile[1] else pixels))
    rows = max(16, pixels // width)
    if rows > tile[0]:
        rows = ceil(rows / tile[0]) * tile[0]
    return min(grid.height, rows), width


def _source(like: Likeness, grid: Grid, path: Path, number: int) -> Source:
    bands = [
        cells(like.dtype, like.level, grid.shape, (3 * number + b) % _SURFACES, like.nodata) for b in range(like.count)
    ]
    made = ArraySource.of(np.stack(bands), grid, like.nodata)
    if like.options is None:
        return made
    _store(made, path, clipped(like.options, grid))
    return open_source(path)


def clipped(options: Mapping[str, str], grid: Grid) -> dict[str, str]:
    """Options whose blocks are no larger than the raster needs: a tile of 16384 x 16384 is encoded whole."""
    sides = {"BLOCKYSIZE": grid.height, "BLOCKXSIZE": grid.width}
    fitting = {name: str(min(int(options[name]), 16 * ceil(sides[name] / 16))) for name in sides if name in options}
    return {**options, **fitting}


def _sink(write: Write, job: Job) -> Sink:
    grid, count = job.plan.grid, len(write.planes)
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
    return open_sink(profile, job.plan.workers)


def rehearsal_key(job: Job, likenesses: tuple[Likeness, ...]) -> list[str]:
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
        command = [sys.executable, "-c", _START, str(Path(folder) / "start.tif")]
        for _ in range(2):  # the first may compile
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
            if done.returncode:
                raise PlanError(f"{sys.executable} cannot run tilejit: {done.stderr.strip().splitlines()[-1:]}")
            found.append(float(done.stdout))
    return {"seconds": min(found)}
