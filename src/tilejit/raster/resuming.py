"""Outputs that another run knows of: one that goes on where it ended, and one of another rank of an MPI program.

What is refused, what must not have changed, what is opened again; and what ranks would write over each other.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from tilejit.engine.pipeline.journal import Journal
from tilejit.errors import PlanError, SinkError
from tilejit.formats.files import local_file
from tilejit.formats.registry import checked_target, is_begun, is_opened_by_name, renames_of
from tilejit.formats.sink import WRITTEN_DIRECTLY, OutputProfile
from tilejit.formats.source import Source, storage_of
from tilejit.formats.target import Checkpoint, hidden_beside, local_target
from tilejit.system.files import c_function, is_locked, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.planner import Job
    from tilejit.kernel.kernel import Kernel


def check_resumable(job: Job) -> None:
    """Refuses what no journal can be kept of, while planning."""
    for source in (s for s in job.sources if not storage_of(s).is_value):
        if not is_opened_by_name(source):
            raise PlanError(
                f"{source.name}: resume=True needs inputs that are there in the next run, and this one is in memory: "
                "save it to a file and open that, or leave resume= out"
            )
        for file in _unseen_files(source):
            raise PlanError(
                f"{source.name}: resume=True needs inputs of which a later run sees that they have changed, and "
                f"{'it' if file == source.name else file} is no local file, nor in a local archive: copy it here, or "
                "leave resume= out"
            )
    for write in job.plan.writes:
        if not write.shared:
            raise PlanError(
                f"{write.path}: is written {write.writer}, which cannot be gone on with: leave resume= out, or choose "
                f"compress=zstd, deflate, lzw or none ({WRITTEN_DIRECTLY}), or shards (.vrt)"
            )


@contextmanager
def resumed(job: Job, profiles: Sequence[OutputProfile]) -> Iterator[tuple[Journal, list[OutputProfile]]]:
    """Opens the journal of a run, which stays with all outputs when the run fails, and says how outputs are opened."""
    path, mark = _journal_place(profiles)
    kept = _at_stage("begun", profiles, mark)
    journal = Journal(
        path, job_fingerprint(job, profiles), [rename for p in kept for rename in renames_of(p)], job.plan.partials
    )
    try:
        if journal.is_complete:
            kept = _at_stage("complete", profiles, mark)
        else:
            for profile in profiles:
                checked_target(profile)
            # Where nothing is noted as finished, nothing of the outputs is worth keeping.
            if not (journal.entries and all(map(is_begun, kept))):
                journal.forget()
                kept = _at_stage("new", profiles, mark)
        yield journal, kept
    except BaseException as error:
        if journal.is_begun:
            error.add_note(f"what is finished stays: give resume=True again to go on, or delete {path} to begin anew")
        raise
    finally:
        journal.close()


def _at_stage(
    stage: Literal["new", "begun", "complete"], profiles: Sequence[OutputProfile], mark: str
) -> list[OutputProfile]:
    """How outputs are opened: anew, or as an earlier run left them."""
    return [replace(profile, checkpoint=Checkpoint(mark, stage)) for profile in profiles]


def _journal_place(profiles: Sequence[OutputProfile]) -> tuple[Path, str]:
    """The journal's file, beside the first output, and the mark of this run's files: which outputs it has."""
    targets = [local_target(profile.path) for profile in profiles]
    mark = hashlib.sha256("\0".join(map(str, targets)).encode()).hexdigest()[:8]
    return hidden_beside(targets[0], f"{mark}.resume.jsonl"), mark


def job_fingerprint(job: Job, profiles: Sequence[OutputProfile]) -> dict[str, str]:
    """What a job is, by part, as a person reads it: what must not change for its pixels to stay the same.

    Who works, with how much memory, is no part of it: the pixels are the same whoever does.
    """
    from importlib.metadata import version

    parts = {f"version of {name}": version(name) for name in ("tilejit", "llvmlite", "numpy")}
    for number, earlier in enumerate(job.earlier, 1):
        parts |= {f"pass {number}, {name}": value for name, value in _pass_parts(earlier)}
    parts |= dict(_pass_parts(job))
    parts |= {"tile (rows, columns)": str(job.plan.tile), "backend": job.plan.backend}
    for profile, write in zip(profiles, job.plan.writes, strict=True):
        parts |= _output(profile, write.planes, {**write.options})
    return parts


def _pass_parts(job: Job) -> Iterator[tuple[str, str]]:
    """What one pass reads, computes and reduces."""
    for source in dict.fromkeys(job.sources):
        told = storage_of(source)
        yield from ((f"input {file}", _state(file)) for file in told.files if file != source.name or not told.state)
        yield from [(f"input {source.name}", told.state)] if told.state else ()
        yield f"what is made of {source.name}", storage_of(source).identity
        yield f"grid of {source.name}", f"{source.grid.shape}, {source.grid.transform}, {source.grid.crs}"
    for number, (kernel, parameters) in enumerate(zip(job.kernels, job.parameters, strict=True), 1):
        name = f"step {number}, {kernel.name}"
        yield f"{name}: body, helpers and constants", kernel.fingerprint
        yield from ((f"{name}: {parameter}", repr(value)) for parameter, value in parameters.items())
        yield from ((f"{name}: C library {file}", _state(file)) for file in _libraries(kernel))
    if job.iteration is not None:
        yield "tiles (rows, columns)", str(job.plan.writes[0].block)
        yield "sweeps at most", str(job.iteration.limit)
    yield from _steps(job.plan)


def _unseen_files(source: Source) -> list[str]:
    """The files of a raster of which nothing tells whether they have changed."""
    told, name = storage_of(source), source.name
    files = [file for file in told.files if not (told.state and file in {name, told.remote and told.remote.name})]
    is_part = len(files) > 1 and not name.startswith("/vsi") and "://" not in name  # as NETCDF:a.nc:tas
    return [file for file in files if local_file(file) is None and not (is_part and file == name)]


def _state(name: str) -> str:
    """What tells whether a file has changed, by the archive that it lies in; nothing of one that is not local."""
    place = local_file(name)
    if place is None:
        return "not a local file"
    stat = place.stat()
    when = datetime.fromtimestamp(stat.st_mtime_ns // 10**9, UTC)
    return f"{stat.st_size:,} bytes, of {when:%Y-%m-%d %H:%M:%S} and {stat.st_mtime_ns % 10**9} ns"


def _steps(plan: Plan) -> Iterator[tuple[str, str]]:
    """What is read as what, which steps take what others make, and what is reduced."""
    for number, (reduce, reduction) in enumerate(zip(plan.reduces, plan.reductions, strict=True), 1):
        yield f"reduce {number}", f"planes {reduce.planes} to {reduction.name}"
    for number, read in enumerate(plan.reads):
        kind = f"{read.dtype}{' and validity' * read.valid}, halo {read.halo}, edge {read.edge}"
        yield f"read {number + 1}", f"{read.source}, bands {read.bands} as {kind}, scales {read.scales}"
    for number, step in enumerate(plan.steps, 1):
        taken = ", ".join(f"{' and '.join(map(str, o.planes))} as {o.dtype}" for o in step.operands)
        yield f"step {number}", f"{step.kernel}: planes {taken} to {step.made}, nodata {step.nodata}"


def _output(profile: OutputProfile, planes: tuple[int, ...], options: dict[str, str]) -> dict[str, str]:
    path, options = profile.path, options | dict(profile.options)
    return {
        f"{path}: bands": f"{profile.count} of {profile.dtype}, planes {planes}",
        f"{path}: nodata": str(profile.nodata),
        f"{path}: creation options": ", ".join(f"{name}={options[name].upper()}" for name in sorted(options)),
        f"{path}: tags": f"{profile.descriptions}, {profile.units}, {profile.tags}",
    }


class _Place(ctypes.Structure):
    """What dladdr tells of an address."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _libraries(kernel: Kernel) -> list[str]:
    """The files of the C functions that a kernel calls."""
    if not kernel.facts.calls_c:
        return []
    dladdr = c_function("dladdr")
    if dladdr is None:
        raise PlanError("this system does not tell the files of C functions, which may have changed: leave resume= out")
    places = [_Place() for _ in kernel.form.c_functions]
    for function, place in zip(kernel.form.c_functions, places, strict=True):
        dladdr(ctypes.c_void_p(function.pointer.address), ctypes.byref(place))
    return sorted({place.file.decode() for place in places if place.file})


@contextmanager
def claimed(paths: Iterable[str], rank: str) -> Iterator[None]:
    """Holds the outputs of a run against other ranks of an MPI program, each of which leads a run of its own.

    What is written in memory, and by one rank alone, is nobody else's concern: only names that meet are refused.
    """
    with ExitStack() as claims:
        for path in paths:
            claims.enter_context(_claim(path, rank))
        try:
            yield
        except SinkError as error:
            error.add_note(f"this is {rank}, and each that runs this runs all of it: {_ADVICE}")
            raise


_ADVICE = 'give the executor "mpi" for one run on all of them, or each an output of its own'


@contextmanager
def _claim(path: str, rank: str) -> Iterator[None]:
    """Holds a file beside an output while it is written; it is let go with the process that holds it."""
    place = hidden_beside(local_target(path), "rank")
    try:
        descriptor = _locked(place)
    except BlockingIOError as error:
        raise PlanError(f"{path}: another rank writes it too, and this is {rank}: {_ADVICE}") from error
    if descriptor is None:
        yield
        return
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(place: Path) -> int | None:
    """A new file that this process alone has locked; None where the system or the file system has no locks."""
    while True:
        descriptor = open_regular(place, os.O_RDWR | os.O_CREAT)
        try:
            if is_locked(descriptor, place):
                return descriptor
        except (ImportError, OSError) as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise
            place.unlink(missing_ok=True)
            return None
        os.close(descriptor)
