"""Workers of a Dask cluster: one that is there, or one of processes of this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from tilejit.engine.executors.base import (
    Outcome,
    PoolExecutor,
    Result,
    Task,
    cause,
    interrupts_held_back,
    nothing,
    require_may_start,
)
from tilejit.errors import PlanError
from tilejit.system.identity import here, is_here
from tilejit.system.limits import available_cores, require_open_files
from tilejit.system.program import main_without_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_FILES, _FILES_EACH = 24, 16
"""Open files that a cluster takes of the process that starts it, and each worker more: measured, 16 and 12."""


class DaskExecutor(PoolExecutor):
    """A `distributed.Client`, given or by its scheduler's address; or of a cluster that starts with the first task."""

    name = "dask"

    def __init__(self, workers: int | None = None, client: Any = None) -> None:
        self._cluster: Any = None
        self._client, self._owned = client, isinstance(client, str)
        if client is None:
            _distributed()
            require_may_start(self.name)
            self.workers, self.local = workers or available_cores(), True
            return
        if self._owned:
            self._client = _connected(client)
        try:
            threads, are_here = _asked(self._client)
        except BaseException:
            self.close()
            raise
        self.workers, self.local = sum(threads.values()), all(are_here.values())

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], waiting: Callable[[], None] = nothing
    ) -> Iterator[Outcome[Task, Result]]:
        """Runs a function on each task; see `Executor.map`."""
        if self._client is None:
            self._start()
        # Results are not a function of the task's text alone: a task that is tried again must not be taken from memory.
        self._pool = self._client.get_executor(pure=False)
        try:
            with _slot_given_up():
                yield from super().map(function, tasks, waiting)
        except BaseException:
            # Also where this is closed: workers go on with their tasks, and would write where all is being removed.
            if self._cluster is not None:
                self.close(at_once=True)
            raise

    def _start(self) -> None:
        distributed = _distributed()
        require_open_files(_FILES + _FILES_EACH * self.workers, "executor='dask'")
        try:
            # Workers are started by threads of the cluster's, which inherit what is held back here.
            with interrupts_held_back(), main_without_file():
                self._cluster = distributed.LocalCluster(
                    n_workers=self.workers,
                    threads_per_worker=1,
                    memory_limit=0,
                    dashboard_address=":0",  # any port that is free: the usual one, taken, is complained of
                    scheduler_kwargs={"dashboard": False},
                    silence_logs=logging.CRITICAL,
                )
                self._client, self._owned = distributed.Client(self._cluster), True
        except Exception as error:
            raise PlanError(
                f"a Dask cluster cannot be started here: {cause(error)} (its processes need a /dev/shm that can be "
                "written, and ports of this machine): executor='processes' needs neither"
            ) from error

    def close(self, *, at_once: bool = False) -> None:
        """Ends what was started or connected here."""
        client, self._client = self._client, None
        cluster, self._cluster = self._cluster, None
        if cluster is not None and at_once:
            for nanny in cluster.workers.values():
                with contextlib.suppress(ProcessLookupError, TypeError):
                    os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # the same, on Windows
        if self._owned and client is not None:
            client.close()
        if cluster is not None:
            cluster.close()


@contextlib.contextmanager
def _slot_given_up() -> Iterator[None]:
    """Where a run is led by a task of a cluster, lets that cluster's workers compute in its place while it waits."""
    distributed = _distributed()
    with contextlib.ExitStack() as after:
        with contextlib.suppress(AttributeError, KeyError, ValueError):  # no task, or given up already
            distributed.secede()
            after.callback(distributed.rejoin)
        yield


def _asked(client: Any) -> tuple[dict[str, int], dict[str, bool]]:
    """The threads of each worker, and whether it is here."""
    if client.asynchronous:
        raise PlanError(
            "this Dask client belongs to the event loop that is running here, and a run would wait for it for ever: "
            "await asave(…) or acompute(…) with it, or give the scheduler's address"
        )
    if client.status != "running":
        raise PlanError(f"the Dask client is {client.status}: open another, or give the scheduler's address")
    try:
        threads, are_here = client.nthreads(), client.run(is_here, here())
    except Exception as error:
        raise PlanError(f"the workers of the Dask cluster do not answer: {cause(error)}") from error
    if not threads:
        raise PlanError("the Dask scheduler has no worker yet: start some, or wait with client.wait_for_workers(1)")
    return threads, are_here


def _connected(address: str) -> Any:
    try:
        return _distributed().Client(address, timeout="10s")
    except OSError as error:
        raise PlanError(f"no Dask scheduler answers at {address}: {error}") from error


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise PlanError("Dask is not installed: pip install 'tilejit[dask]'") from error
    return distributed
