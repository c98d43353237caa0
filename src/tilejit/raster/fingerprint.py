"""What a run is, spelled out by part: what must not change for its pixels to stay the same."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tilejit.errors import PlanError
from tilejit.formats.files import local_file
from tilejit.formats.source import storage_of
from tilejit.system.files import c_function

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.planning.planner import Job
    from tilejit.formats.sink import OutputProfile
    from tilejit.formats.source import Source
    from tilejit.kernel.kernel import Kernel


def job_fingerprint(job: Job, profiles: Sequence[OutputProfile]) -> dict[str, str]:
    """Returns what a job is, by part, as a person reads it.

    Who works, with how much memory, is no part of it: the pixels are the same whoever does.

    Args:
        job: The job, whose inputs have names.
        profiles: What each output will be.
    """
    from importlib.metadata import version

    plan = job.plan
    parts = {f"version of {name}": version(name) for name in ("tilejit", "numba", "numpy")}
    for source in dict.fromkeys(job.sources):
        parts |= {f"input {file}": _state(file) for file in storage_of(source).files}
        parts[f"grid of {source.name}"] = f"{source.grid.shape}, {source.grid.transform}, {source.grid.crs}"
    for number, (kernel, parameters) in enumerate(zip(job.kernels, job.parameters, strict=True), 1):
        name = f"step {number}, {kernel.name}"
        parts[f"{name}: body, helpers and constants"] = kernel.fingerprint
        parts |= {f"{name}: {parameter}": repr(value) for parameter, value in parameters.items()}
        parts |= {f"{name}: C library {file}": _state(file) for file in _libraries(kernel)}
    parts |= dict(_steps(plan))
    parts |= {"tile (rows, columns)": str(plan.tile), "backend": plan.backend}
    for profile, write in zip(profiles, plan.writes, strict=True):
        parts |= _output(profile, write.planes, {**write.options})
    return parts


def unseen_files(source: Source) -> list[str]:
    """Returns the files of a raster of which nothing tells whether they have changed.

    Args:
        source: The raster, which is opened by its name.
    """
    files, name = storage_of(source).files, source.name
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
    """What is read as what, and which steps take what others make."""
    for number, read in enumerate(plan.reads):
        kind = f"{read.dtype}{' and validity' * read.valid}, halo {read.halo}, edge {read.edge}"
        yield f"read {number + 1}", f"{read.source}, bands {read.bands} as {kind}, scales {read.scales}"
    for number, step in enumerate(plan.steps, 1):
        taken = ", ".join(f"{o.plane} as {o.dtype}" for o in step.operands)
        yield f"step {number}", f"{step.kernel}: planes {taken} to {step.results}, nodata {step.nodata}"


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
    """The files of the C functions that a kernel calls.

    Raises:
        PlanError: The system does not tell them.
    """
    if not kernel.form.c_functions:
        return []
    dladdr = c_function("dladdr")
    if dladdr is None:
        raise PlanError("this system does not tell the files of C functions, which may have changed: leave resume= out")
    places = [_Place() for _ in kernel.form.c_functions]
    for function, place in zip(kernel.form.c_functions, places, strict=True):
        dladdr(ctypes.c_void_p(function.pointer.address), ctypes.byref(place))
    return sorted({place.file.decode() for place in places if place.file})
