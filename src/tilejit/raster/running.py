"""What Rasters do when they are asked for: planning, reading a window, saving, all in one pass over the inputs."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from tilejit.engine.executors import opened
from tilejit.engine.pipeline.report import Report, progress_bar
from tilejit.engine.pipeline.run import run_job
from tilejit.engine.pipeline.stopwatch import TraceFile, checked_trace
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.graph import Band, needed_bands, sources_of
from tilejit.engine.planning.planner import Job, make_job
from tilejit.errors import (
    GridMismatchError,
    NodataWarning,
    ParameterError,
    PlanError,
    SinkError,
    printable,
    warn_caller,
)
from tilejit.formats.publishing import sweep
from tilejit.formats.registry import check_no_input, checked_target, open_sink, places_of
from tilejit.raster.options import RunOptions, file_request, output_profile
from tilejit.system.identity import rank_name
from tilejit.system.signals import ends_heard
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from tilejit.engine.executors.base import Executor
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.pipeline import Cancellation
    from tilejit.formats.sink import OutputProfile, Sink
    from tilejit.formats.source import Source
    from tilejit.grid import Grid

T = TypeVar("T")


class LazyRaster:
    """What a run takes of a `tilejit.Raster`, which is one.

    A class and no protocol: to ask whether something has a label would compose what it computes.
    """

    __slots__ = ()

    grid: Grid
    """Where its cells lie."""
    bands: tuple[Band, ...]
    """What its bands are made of."""

    @property
    def label(self) -> str:
        """What messages call it."""
        raise NotImplementedError


def plan_job(raster: LazyRaster, path: str | os.PathLike[str] | None, options: RunOptions) -> Job:
    """Plans a run that saves a Raster, or computes it into an array where there is no path."""
    requests = [_request(raster, path, options) if path else options.asked_of(Request(raster.bands))]
    with opened(options.executor, options.workers) as executor:
        return _make_job(requests, raster.grid, options, executor)


def read_window(
    raster: LazyRaster, window: Window | None, options: RunOptions, cancellation: Cancellation | None = None
) -> tuple[NDArray[Any], NodataWarning | None]:
    """Computes a window of a Raster into memory, see `Raster.read`, in whatever thread; the caller warns."""
    from tilejit.formats.in_memory import ArraySink, SharedArray

    grid, whole = raster.grid, Window(0, 0, *raster.grid.shape)
    window = window or whole
    if window.is_empty or window.intersection(whole) != window:
        raise ParameterError(f"{raster.label}: {window} is not inside {grid.height} rows x {grid.width} columns")
    request = options.asked_of(Request(raster.bands))
    with (
        ends_heard(),
        opened(options.executor, options.workers) as executor,
        progress_bar(raster.label, show=bool(options.progress)) as progress,
    ):
        job, trace = _make_job([request], grid, options, executor, window), _trace_of(options, [request], executor)
        write = job.plan.writes[0]
        shape, part = (len(write.planes), *window.shape), grid.part(window)
        is_shared = executor is not None and executor.local
        with closing(SharedArray(shape, write.dtype)) if is_shared else nullcontext() as shared:
            array = np.empty(shape, write.dtype) if shared is None else shared.array
            sink = ArraySink(array, part, shared=None if shared is None else shared.memory)
            report = run_job(job, [sink], executor, progress=progress, trace=trace, cancellation=cancellation)
        return array, warning_of(raster.label, report, job)


def tiles_job(raster: LazyRaster, options: RunOptions) -> tuple[Job, TraceFile | None]:
    """Plans a run whose tiles are handed over one by one, and says where its trace goes."""
    if options.executor not in {None, "threads", "serial"}:
        raise ParameterError("tiles() hands over what threads of this process compute: leave executor= out")
    request = options.asked_of(Request(raster.bands, handed_over=True))
    return make_job(raster.grid, [request], options.settings(raster.bands)), _trace_of(options, [request], None)


def check_inputs(kernel: str, inputs: Sequence[tuple[str, LazyRaster, bool]]) -> None:
    """Refuses Rasters of several bands, but for stacks, and such on different grids; each comes with its name."""
    for name, raster, is_stack in inputs:
        if len(raster.bands) != 1 and not is_stack:
            raise ParameterError(
                f"{kernel} takes one band as {name}, and {raster.label} has {len(raster.bands)}: "
                "choose one with .band(1), or tj.open(path, band=1)"
            )
    check_one_grid([raster for _, raster, _ in inputs], [f"{kernel}: {name}" for name, *_ in inputs])


def check_one_grid(rasters: Sequence[LazyRaster], names: Sequence[str]) -> None:
    """Refuses Rasters on different grids."""
    first = rasters[0]
    for raster, name in zip(rasters[1:], names[1:], strict=True):
        differences = first.grid.differences(raster.grid)
        if differences:
            raise GridMismatchError(
                f"{names[0]} ({first.label}) and {name} ({raster.label}) lie on different grids\n"
                f"  {first.label}: {first.grid}\n  {raster.label}: {raster.grid}\n"
                f"  {'; '.join(differences)}\n  warp one onto the other's grid, as second.to(first), or "
                "all onto one, as tj.align(first, second)"
            )


def save(
    outputs: Mapping[str | os.PathLike[str], LazyRaster], *,
    nodata: float | Literal["none"] | None = None, dtype: DTypeLike | None = None, backend: str = "auto",
    executor: Any = "threads", workers: int | None = None, memory: str | int | None = None,
    tile: tuple[int, int] | None = None, trace: str | os.PathLike[str] | None = None, overwrite: bool = False,
    progress: bool | None = None, profile: Mapping[str, Any] | None = None, resume: bool = False, cog: bool = False,
) -> Report:  # fmt: skip
    """Computes several Rasters in one pass over their inputs, each into a file.

    The outputs are paths with Rasters, all on one grid; the options are those of `Raster.save`, and hold for each.

    Returns:
        What the run did, in figures.

    Raises:
        GridMismatchError: The Rasters lie on different grids.
        MemoryLimitError: It does not fit the memory given; nothing was read.
    """
    options = RunOptions(
        nodata, dtype, backend, executor, workers, memory, tile, trace, overwrite, progress, profile, resume, cog
    )
    return save_outputs(outputs, options)


def save_outputs(outputs: Mapping[str | os.PathLike[str], LazyRaster], options: RunOptions) -> Report:
    """Does what `save` does."""
    return warned(*save_in_thread(outputs, options))


def warned(made: T, warning: NodataWarning | None) -> T:
    """Returns what a run made, and warns its caller."""
    if warning is not None:
        warn_caller(warning)
    return made


def save_in_thread(
    outputs: Mapping[str | os.PathLike[str], LazyRaster], options: RunOptions, cancellation: Cancellation | None = None
) -> tuple[Report, NodataWarning | None]:
    """Does what `save` does, in whatever thread; the caller warns, if there is something to warn of."""
    paths = [os.fspath(path) for path in outputs]
    with ends_heard(), opened(options.executor, options.workers) as executor, _claimed(paths, executor):
        for folder in {Path(os.path.realpath(path)).parent for path in paths}:
            sweep(folder)
        job, profiles, trace = _checked_outputs(outputs, options, executor)
        label = ", ".join(Path(p.path).name for p in profiles)
        with (
            _resumed(job, profiles, options) as (journal, profiles),
            progress_bar(label, show=options.progress) as progress,
            _opened(profiles, job, journal) as sinks,
        ):
            report = run_job(
                job, sinks, executor, progress=progress, trace=trace, cancellation=cancellation, journal=journal
            )
    return report, warning_of(label, report, job)


def warning_of(label: str, report: Report, job: Job) -> NodataWarning | None:
    """What the caller of a run that made ``label`` is to be warned of."""
    counts = sum((one.counts for one in report.earlier if one.sweeps), report.counts)
    values = [value for plan in job.plan.passes if plan.repeat or plan is job.plan for value in plan.nodata_values]
    return counts.warning(printable(label), values, "give another with nodata=")


def _claimed(paths: Sequence[str], executor: Executor | None) -> AbstractContextManager[None]:
    """Holds outputs against other ranks, where this process is one of several and they do not share the run."""
    rank = rank_name()
    if rank is None or (executor is not None and executor.name == "mpi"):
        return nullcontext()
    from tilejit.raster.resuming import claimed

    return claimed(paths, rank)


def _resumed(
    job: Job, profiles: list[OutputProfile], options: RunOptions
) -> AbstractContextManager[tuple[Journal | None, list[OutputProfile]]]:
    """The journal of a run, where there is one, and how outputs are opened."""
    if not options.resume:
        return nullcontext((None, profiles))
    from tilejit.raster.resuming import resumed

    return resumed(job, profiles)


@contextmanager
def _opened(profiles: Sequence[OutputProfile], job: Job, journal: Journal | None) -> Iterator[list[Sink]]:
    """Opens the outputs; where the run fails they are dropped, or left to the next one."""
    sinks: list[Sink] = []
    try:
        for profile in profiles:
            sinks.append(open_sink(profile, job.plan.workers))  # noqa: PERF401 - the open ones must be dropped
        if journal is not None:
            journal.begin(sinks)
        yield sinks
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise


def plan_outputs(
    outputs: Mapping[str | os.PathLike[str], LazyRaster], options: RunOptions
) -> tuple[Job, list[OutputProfile]]:
    """Plans a job of several outputs and refuses what cannot be, before anything is read or created."""
    with opened(options.executor, options.workers) as executor:
        return _checked_outputs(outputs, options, executor)[:2]


def _make_job(
    requests: Sequence[Request],
    grid: Grid,
    options: RunOptions,
    executor: Executor | None,
    window: Window | None = None,
) -> Job:
    """Plans a job, and refuses what its executor cannot do."""
    bands = [band for request in requests for band in request.bands]
    scratch = next((str(Path(os.path.realpath(request.path)).parent) for request in requests if request.path), "")
    job = make_job(grid, requests, replace(options.settings(bands, executor), scratch=scratch), window)
    if executor is not None:
        from tilejit.engine.distribution.leader import check_distributed

        for one in (*job.earlier, job):
            check_distributed(one)
    if options.resume:
        from tilejit.raster.resuming import check_resumable

        for one in (*job.earlier, job):
            check_resumable(one)
    return job


def _checked_outputs(
    outputs: Mapping[str | os.PathLike[str], LazyRaster], options: RunOptions, executor: Executor | None
) -> tuple[Job, list[OutputProfile], TraceFile | None]:
    """The job, what each output will be, and where the trace goes."""
    if not outputs:
        raise PlanError("nothing to save: give {path: raster}")
    rasters = list(outputs.values())
    check_one_grid(rasters, [os.fspath(path) for path in outputs])
    requests = [_request(raster, path, options) for path, raster in outputs.items()]
    _check_paths(requests)
    job = _make_job(requests, rasters[0].grid, options, executor)
    profiles = [
        output_profile(raster.bands, raster.grid, write, options.creation, overwrite=options.overwrite)
        for raster, write in zip(rasters, job.plan.writes, strict=True)
    ]
    if not options.resume:  # what a run that goes on may find there, its journal says
        for profile in profiles:
            checked_target(profile)
    return job, profiles, _trace_of(options, requests, executor)


def _trace_of(options: RunOptions, requests: Sequence[Request], executor: Executor | None) -> TraceFile | None:
    """Where the trace goes, which is no input, no output and in none."""
    given = options.trace
    if given is None:
        return None
    if executor is not None:
        raise PlanError(f"trace={given}: a trace shows the threads of one process: leave executor= out")
    trace = checked_trace(given, overwrite=options.overwrite)
    check_no_input(trace.name, [trace.target], _inputs(requests), "the trace")
    for request in requests:
        outputs = {os.path.realpath(place) for place in (places_of(request.path) if request.path else ())}
        if not outputs.isdisjoint(map(str, (trace.target, *trace.target.parents))):
            raise SinkError(f"{trace.name}: leads to the output {request.path}: give the trace another name")
    return trace


def _inputs(requests: Sequence[Request]) -> list[Source]:
    return [source for request in requests for source in sources_of(needed_bands(request.bands))]


def _request(raster: LazyRaster, path: str | os.PathLike[str], options: RunOptions) -> Request:
    return options.asked_of(file_request(raster.bands, raster.grid, os.fspath(path), options.creation))


def _check_paths(requests: Sequence[Request]) -> None:
    """Refuses an output that is an input, and two outputs that are one file."""
    seen: dict[str, str] = {}
    for request in requests:
        for real in map(os.path.realpath, places_of(request.path)):
            if real in seen:
                raise SinkError(f"{request.path} and {seen[real]} are one file: give each output a name of its own")
            seen[real] = request.path
    for request in requests:
        check_no_input(request.path, places_of(request.path), _inputs(requests))
