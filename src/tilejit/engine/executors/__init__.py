"""Executors: one file and one line of this table each.

An executor hands parts of a job to workers: processes of this machine, MPI ranks, a Dask cluster. ``"threads"``, the
default, is none of them: it is what one process does by itself, and ``"serial"`` the same in the caller's thread.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tilejit.errors import ParameterError, RunStoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilejit.engine.executors.base import Executor

THIS_PROCESS = ("threads", "serial")  # what needs no executor

EXECUTORS = {
    "serial": "tilejit.engine.executors.base:SerialExecutor",
    "processes": "tilejit.engine.executors.processes:ProcessesExecutor",
    "mpi": "tilejit.engine.executors.mpi:MpiExecutor",
    "dask": "tilejit.engine.executors.dask:DaskExecutor",
}
"""Name -> where the class is; a heavy import happens when it is first asked for."""

_STARTS_WORKERS = ("processes", "dask")  # those whose workers are started here, and counted by ``workers=``


@contextmanager
def opened(given: Any, workers: int | None) -> Iterator[Executor | None]:
    """Opens what ``executor=`` names, see `open_executor`, and closes it if it was opened here; None for threads."""
    if given is None or given in THIS_PROCESS:
        if given == "serial" and workers not in {None, 1}:
            raise ParameterError(f"executor='serial' is one thread, and workers={workers} was given: use 'threads'")
        yield None
        return
    executor = open_executor(given, workers)
    try:
        yield executor
    except BaseException as error:
        if executor is not given:
            is_stopped = isinstance(error, RunStoppedError) and given in _STARTS_WORKERS
            executor.close(at_once=is_stopped or not isinstance(error, Exception))
        raise
    if executor is not given:
        executor.close()


def open_executor(given: Any, workers: int | None = None) -> Executor:
    """Opens an executor; its workers start when there is work for them.

    To keep them for several runs, open one and hand it over: ``raster.save(path, executor=pool)``.

    Args:
        given: A name, the address of a Dask scheduler, a `distributed.Client`, an executor of ``concurrent.futures``
            or one with the methods of `Executor`.
        workers: How many processes to start; None for the cores.

    Raises:
        ParameterError: There is no such executor, or it has its workers already.
        PlanError: It is not installed, or not there.

    Example:
        >>> open_executor("serial").workers
        1
    """
    if workers is not None and given not in _STARTS_WORKERS:
        raise ParameterError(f"workers={workers}: executor={given!r} has its workers already; leave workers= out")
    if isinstance(given, str) and "://" not in given:
        if given not in EXECUTORS:
            raise ParameterError(
                f"no executor {given!r}; there are {', '.join(dict.fromkeys((*THIS_PROCESS, *EXECUTORS)))}, "
                "and the address of a Dask scheduler, as tcp://host:8786"
            )
        return _made(given, workers=workers) if given in _STARTS_WORKERS else _made(given)
    if isinstance(given, str) or (type(given).__module__.startswith("distributed.") and hasattr(given, "get_executor")):
        return _made("dask", client=given)
    from concurrent.futures import Executor as Pool

    if isinstance(given, Pool):
        from tilejit.engine.executors.base import FuturesExecutor

        return FuturesExecutor(given)
    if all(hasattr(given, member) for member in ("name", "workers", "local", "map", "close")):
        executor: Executor = given
        return executor
    raise ParameterError(
        f"executor={given!r}; it is a name, a Dask client or scheduler address, an executor of concurrent.futures, "
        "or an object with name, workers, local, map and close"
    )


def _made(name: str, **options: Any) -> Executor:
    module, _, attribute = EXECUTORS[name].partition(":")
    executor: Executor = getattr(importlib.import_module(module), attribute)(**options)
    return executor
