"""The options of a run, and the settings that they come to."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from tilejit.engine.executors import opened
from tilejit.engine.planning.dispatch import choose_backend
from tilejit.engine.planning.graph import Band, applications_of
from tilejit.engine.planning.planner import Settings
from tilejit.errors import ParameterError
from tilejit.sizes import parse_size
from tilejit.system.cores import allowed_cores, available_cores

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import DTypeLike

    from tilejit.engine.executors.base import Executor
    from tilejit.engine.planning.demands import Request


class RunOptions(TypedDict, total=False):
    """What ``save``, ``read``, ``compute`` and ``plan`` take."""

    backend: str
    """``"auto"``, ``"cpu"``, ``"cuda"`` or ``"python"``."""
    executor: Any
    """``"threads"``, ``"serial"``, ``"processes"``, ``"mpi"``, ``"dask"``, the address of a Dask scheduler, a
    ``distributed.Client`` or an executor of ``concurrent.futures``; see docs/executors.md."""
    workers: int | None
    """Threads, or processes where those are started; None for all cores."""
    memory: str | int | None
    """What the process may take: ``"2GB"``."""
    tile: tuple[int, int] | None
    """Rows and columns of a task; None to choose."""
    nodata: float | Literal["none"] | None
    """The nodata value of the outputs; None for the dtype's own; ``"none"`` for outputs without one, where there are no
    cells without data: an integer that is one all the same holds the dtype's own, and that is told."""
    dtype: DTypeLike | None
    """The dtype of the outputs; None for that of what they are made of."""
    profile: Mapping[str, Any] | None
    """GDAL's creation options by name."""
    overwrite: bool
    """Whether existing files may be replaced."""
    resume: bool
    """Whether to keep a journal of finished tiles, and to go on from the one of a run that failed."""
    progress: bool | None
    """Whether to show a progress bar; None: on a terminal."""
    trace: str | os.PathLike[str] | None
    """Where to write a Chrome trace of the run, a JSON file; None for none."""


@contextmanager
def executor_of(options: RunOptions) -> Iterator[Executor | None]:
    """Opens the executor that the options name; see `tilejit.engine.executors.opened`."""
    workers = options.get("workers")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ParameterError(f"workers={workers!r}; it is a count of threads or processes, 1 or more")
    with opened(options.get("executor"), workers) as executor:
        yield executor


def settings_of(bands: Iterable[Band], options: RunOptions, executor: Executor | None = None) -> Settings:
    """Checks the options of a run that makes ``bands``.

    Args:
        bands: What is made.
        options: The options.
        executor: What `executor_of` opened.

    Raises:
        ParameterError: One is unknown or makes no sense.
        BackendError: The backend asked for cannot run here.
    """
    unknown = set(options) - set(RunOptions.__annotations__)
    if unknown:
        raise ParameterError(
            f"no option {', '.join(sorted(unknown))}; there are {', '.join(RunOptions.__annotations__)}"
        )
    _check_tile(options.get("tile"))
    kernels = [application.kernel for application in applications_of(bands)]
    backend, reason = choose_backend(options.get("backend") or "auto", kernels)
    memory = options.get("memory")
    return Settings(
        backend,
        reason,
        _threads(options, executor),
        None if memory is None else parse_size(memory),
        options.get("tile"),
        (options.get("executor") or "threads") if executor is None else executor.name,
        executor.workers if executor is not None and executor.local else 1,
    )


def asked_for(request: Request, options: RunOptions) -> Request:
    """Returns a request with what the options say of the cells of outputs.

    Raises:
        ParameterError: The dtype is none that a raster holds, or the output cannot be without a nodata value.
    """
    nodata, dtype = options.get("nodata"), options.get("dtype")
    if isinstance(nodata, str) and nodata == "none":
        if request.path.lower().endswith(".zarr"):
            raise ParameterError(
                f"{request.path}: a Zarr array has a fill value, which GDAL takes for its nodata value: give a nodata= "
                "that no cell has, or write .tif or .vrt"
            )
        request = replace(request, nodata=None, is_tagged=False)
    else:
        request = replace(request, nodata=nodata)
    return request if dtype is None else replace(request, dtype=_output_dtype(dtype))


def _output_dtype(given: DTypeLike) -> np.dtype:
    try:
        dtype = np.dtype(given).newbyteorder("=")
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
        raise ParameterError(f"dtype={given!r} is none that a raster holds: give uint8, int16, float32 or such")
    return dtype


def _threads(options: RunOptions, executor: Executor | None) -> int:
    """The threads of each process: processes times threads are the cores of this machine.

    How many cores workers elsewhere have is not known here: there one is started for each core.
    """
    if executor is not None and executor.local and executor.name == "mpi":
        # What its launcher says in variables, it says of each rank.
        return max(1, min(available_cores(), allowed_cores() // executor.workers))
    if executor is not None:
        return max(1, available_cores() // executor.workers) if executor.local else 1
    return 1 if options.get("executor") == "serial" else options.get("workers") or available_cores()


def _check_tile(tile: Any) -> None:
    if tile is None:
        return
    try:
        rows, cols = (index(side) for side in tile)
    except (TypeError, ValueError):
        rows = cols = 0
    if rows < 1 or cols < 1:
        raise ParameterError(f"tile={tile!r}; it is rows and columns, 1 or more each: (512, 2048)")
