"""What Rasters do when they are asked for: planning, reading a window, saving, all in one pass over the inputs."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from tilejit.callers import warn_caller
from tilejit.engine.pipeline.outputs import file_request, output_profile
from tilejit.engine.pipeline.pipeline import run_job
from tilejit.engine.pipeline.report import progress_bar
from tilejit.engine.pipeline.stopwatch import checked_trace
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.graph import sources_of
from tilejit.engine.planning.planner import make_job
from tilejit.errors import GridMismatchError, ParameterError, PlanError, SinkError
from tilejit.formats.leftovers import sweep
from tilejit.formats.open_sink import checked_target, open_sink, places_of
from tilejit.formats.open_source import check_no_input
from tilejit.formats.shared_memory import SharedArray
from tilejit.formats.sink import ArraySink
from tilejit.raster.claims import claimed
from tilejit.raster.settings import RunOptions, asked_for, executor_of, settings_of
from tilejit.system.ending import ends_heard
from tilejit.text import printable
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from tilejit.engine.executors.base import Executor
    from tilejit.engine.pipeline.cancellation import Cancellation
    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.pipeline import Progress
    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.pipeline.stopwatch import TraceFile
    from tilejit.engine.planning.planner import Job
    from tilejit.errors import NodataWarning
    from tilejit.formats.sink import OutputProfile, Sink
    from tilejit.formats.source import Source
    from tilejit.grid import Grid
    from tilejit.raster.raster import Raster


def plan_job(raster: Raster, path: str | os.PathLike[str] | None, options: RunOptions) -> Job:
    """Plans a run that saves a Raster, or computes it into an array where there is no path."""
    requests = [_request(raster, os.fspath(path) if path else "", options)]
    with executor_of(options) as executor:
        return _make_job(requests, raster.grid, options, executor)


def read_window(
    raster: Raster, window: Window | None, options: RunOptions, cancellation: Cancellation | None = None
) -> tuple[NDArray[Any], NodataWarning | None]:
    """Computes a window of a Raster into memory, see `Raster.read`, in whatever thread; the caller warns."""
    grid, whole = raster.grid, Window(0, 0, *raster.grid.shape)
    window = window or whole
    if window.is_empty or window.intersection(whole) != window:
        raise ParameterError(f"{raster.label}: {window} is not inside {grid.height} rows x {grid.width} columns")
    if options.get("resume"):
        raise ParameterError("resume=True: an array is gone with the process: save a file, or leave resume= out")
    request = asked_for(Request(raster.bands), options)
    with ends_heard(), executor_of(options) as executor:
        job, trace = _make_job([request], grid, options, executor, window), _trace_of(options, [request], executor)
        write = job.plan.writes[0]
        shape, part = (len(write.planes), *window.shape), grid.part(window)
        if executor is None or not executor.local:
            array = np.empty(shape, write.dtype)
            report = _run(job, [ArraySink(array, part)], executor, cancellation, trace=trace)
            return array, warning_of(raster.label, report, job)
        with closing(SharedArray(shape, write.dtype)) as shared:
            sink = ArraySink(shared.array, part, shared=shared.memory)
            report = _run(job, [sink], executor, cancellation, trace=trace)
        return shared.array, warning_of(raster.label, report, job)


def tiles_job(raster: Raster, options: RunOptions) -> tuple[Job, TraceFile | None]:
    """Plans a run whose tiles are handed over one by one, and says where its trace goes.

    Raises:
        ParameterError: An executor is asked for, whose workers would send tiles home one by one.
    """
    if options.get("executor") not in {None, "threads", "serial"}:
        raise ParameterError("tiles() hands over what threads of this process compute: leave executor= out")
    request = asked_for(Request(raster.bands, handed_over=True), options)
    return make_job(raster.grid, [request], settings_of(raster.bands, options)), _trace_of(options, [request], None)


def check_one_grid(rasters: Sequence[Raster], names: Sequence[str]) -> None:
    """Refuses Rasters on different grids.

    Raises:
        GridMismatchError: With both grids and what differs.
    """
    first = rasters[0]
    for raster, name in zip(rasters[1:], names[1:], strict=True):
        differences = first.grid.differences(raster.grid)
        if differences:
            raise GridMismatchError(
                f"{names[0]} ({first.label}) and {name} ({raster.label}) lie on different grids\n"
                f"  {first.label}: {first.grid}\n  {raster.label}: {raster.grid}\n"
                f"  {'; '.join(differences)}\n  warp one onto the other's grid first (gdalwarp, rioxarray)"
            )


def save(outputs: Mapping[str | os.PathLike[str], Raster], **options: Unpack[RunOptions]) -> Report:
    """Computes several Rasters in one pass over their inputs, each into a file.

    Args:
        outputs: File -> Raster, all on one grid.
        **options: As for `Raster.save`; they hold for every output.

    Returns:
        What the run did, in figures.

    Raises:
        GridMismatchError: The Rasters lie on different grids.
        MemoryLimitError: It does not fit the memory given; nothing was read.
    """
    report, warning = save_outputs(outputs, options)
    if warning is not None:
        warn_caller(warning)
    return report


def save_outputs(
    outputs: Mapping[str | os.PathLike[str], Raster], options: RunOptions, cancellation: Cancellation | None = None
) -> tuple[Report, NodataWarning | None]:
    """Does what `save` does, in whatever thread; the caller warns, if there is something to warn of."""
    with ends_heard(), executor_of(options) as executor, claimed([os.fspath(path) for path in outputs], executor):
        for folder in {Path(os.path.realpath(path)).parent for path in outputs}:
            sweep(folder)
        job, profiles, trace = _checked_outputs(outputs, options, executor)
        label = ", ".join(Path(p.path).name for p in profiles)
        with (
            _resumed(job, profiles, options) as (journal, profiles),
            progress_bar(label, show=options.get("progress")) as progress,
            _opened(profiles, job, journal) as sinks,
        ):
            report = _run(job, sinks, executor, cancellation, progress=progress, trace=trace, journal=journal)
    return report, warning_of(label, report, job)


def warning_of(label: str, report: Report, job: Job) -> NodataWarning | None:
    """What a run's caller is to be warned of.

    Args:
        label: What was made.
        report: What the run did.
        job: What it was to do.
    """
    return report.counts.warning(printable(label), job.plan.nodata_values, "give another with nodata=")


def _resumed(
    job: Job, profiles: list[OutputProfile], options: RunOptions
) -> AbstractContextManager[tuple[Journal | None, list[OutputProfile]]]:
    """The journal of a run, where there is one, and how outputs are opened."""
    if not options.get("resume"):
        return nullcontext((None, profiles))
    from tilejit.raster.resuming import resumed

    return resumed(job, profiles)


@contextmanager
def _opened(profiles: Sequence[OutputProfile], job: Job, journal: Journal | None) -> Iterator[list[Sink]]:
    """Opens the outputs; where the run fails they are dropped, or left to the next one."""
    sinks: list[Any] = []
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
    outputs: Mapping[str | os.PathLike[str], Raster], options: RunOptions
) -> tuple[Job, list[OutputProfile]]:
    """Plans a job of several outputs and refuses what cannot be, before anything is read or created."""
    with executor_of(options) as executor:
        return _checked_outputs(outputs, options, executor)[:2]


def _run(
    job: Job,
    sinks: Sequence[Sink],
    executor: Executor | None,
    cancellation: Cancellation | None,
    *,
    progress: Progress | None = None,
    trace: TraceFile | None = None,
    journal: Journal | None = None,
) -> Report:
    """Runs a job in this process, or on an executor."""
    if executor is None:
        return run_job(job, sinks, progress, trace, cancellation, journal=journal)
    from tilejit.engine.distribution.leader import run_distributed

    shared: Any = sinks
    return run_distributed(job, shared, executor, progress, cancellation, journal=journal)


def _make_job(
    requests: Sequence[Request],
    grid: Grid,
    options: RunOptions,
    executor: Executor | None,
    window: Window | None = None,
) -> Job:
    """Plans a job, and refuses what its executor cannot do."""
    bands = [band for request in requests for band in request.bands]
    job = make_job(grid, requests, settings_of(bands, options, executor), window)
    if executor is not None:
        from tilejit.engine.distribution.leader import check_distributed

        check_distributed(job)
    if options.get("resume"):
        from tilejit.raster.resuming import check_resumable

        check_resumable(job)
    return job


def _checked_outputs(
    outputs: Mapping[str | os.PathLike[str], Raster], options: RunOptions, executor: Executor | None
) -> tuple[Job, list[OutputProfile], TraceFile | None]:
    """The job, what each output will be, and where the trace goes."""
    if not outputs:
        raise PlanError("nothing to save: give {path: raster}")
    rasters = list(outputs.values())
    check_one_grid(rasters, [os.fspath(path) for path in outputs])
    requests = [_request(raster, os.fspath(path), options) for path, raster in outputs.items()]
    _check_paths(requests)
    job = _make_job(requests, rasters[0].grid, options, executor)
    given, overwrite = upper_options(options.get("profile") or {}), options.get("overwrite", False)
    profiles = [
        output_profile(raster.bands, raster.grid, write, given, overwrite=overwrite)
        for raster, write in zip(rasters, job.plan.writes, strict=True)
    ]
    if not options.get("resume"):  # what a run that goes on may find there, its journal says
        for profile in profiles:
            checked_target(profile)
    return job, profiles, _trace_of(options, requests, executor)


def _trace_of(options: RunOptions, requests: Sequence[Request], executor: Executor | None) -> TraceFile | None:
    """Where the trace goes, which is no input, no output and in none."""
    given = options.get("trace")
    if given is None:
        return None
    if executor is not None:
        raise PlanError(f"trace={given}: a trace shows the threads of one process: leave executor= out")
    trace = checked_trace(given, overwrite=options.get("overwrite", False))
    check_no_input(trace.name, [trace.target], _inputs(requests), "the trace")
    for request in requests:
        outputs = {os.path.realpath(place) for place in (places_of(request.path) if request.path else ())}
        if not outputs.isdisjoint(map(str, (trace.target, *trace.target.parents))):
            raise SinkError(f"{trace.name}: leads to the output {request.path}: give the trace another name")
    return trace


def _inputs(requests: Sequence[Request]) -> list[Source]:
    return [source for request in requests for source in sources_of(request.bands)]


def _request(raster: Raster, path: str, options: RunOptions) -> Request:
    if not path:
        return asked_for(Request(raster.bands), options)
    profile = upper_options(options.get("profile") or {})
    return asked_for(file_request(raster.bands, raster.grid, path, profile), options)


def upper_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Creation options with their names in upper case.

    Raises:
        ParameterError: They are not by name.
    """
    try:
        return {name.upper(): str(value) for name, value in options.items()}
    except AttributeError as error:
        raise ParameterError(
            f"profile={options!r}; it is GDAL's creation options by name: {{'compress': 'deflate'}}"
        ) from error


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
