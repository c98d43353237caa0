"""MPI ranks: the first leads, the others work; ``mpi4py.futures`` makes them a pool.

``mpiexec -n 4 python -m mpi4py.futures script.py`` starts a script so, and ``mpiexec -n 4 tilejit run …`` the command
line.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

from tilejit.engine.executors.base import PoolExecutor
from tilejit.errors import PlanError
from tilejit.system.identity import FileIdentity, here, is_here
from tilejit.system.signals import told_to_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_leading: list[Any] = []  # the pool of the ranks, while `ranks` is open
_ENDS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a program."""


class MpiExecutor(PoolExecutor):
    """The other ranks of the program."""

    name = "mpi"

    def __init__(self) -> None:
        self._mpi = _mpi4py()
        self._owned = not _leading
        self._pool = _leading[-1] if _leading else _shared_pool()
        self.workers: int = self._pool.num_workers
        # A collective call: every rank takes exactly one of these tasks, for it waits in it for the others.
        asked = [self._pool.submit(_are_here, here()) for _ in range(self.workers)]
        self.local = all(future.result() for future in asked)

    def close(self, *, at_once: bool = False) -> None:
        """Lets the ranks go; at once is to end the whole program: a rank cannot be stopped in the middle of a task."""
        if not self._owned:  # `ranks` does all that, when all is cleaned up
            return
        if at_once:
            self._mpi.COMM_WORLD.Abort(128 + (told_to_end() or signal.SIGINT))
        self._pool.shutdown()


@contextlib.contextmanager
def ranks() -> Iterator[bool]:
    """Splits the ranks of a program that all run: the first gets True; the others work for it, and get False then."""
    # While ranks find each other one that ended in its own way would wait for the others, in MPI_Finalize, and they for
    # it. One that a signal ends takes all with it, and there is nothing to clean up yet.
    with _ended_by_signals() as restore:
        world = _mpi4py().COMM_WORLD
        from mpi4py.futures import MPICommExecutor

        if world.Get_size() == 1 or _is_shared():
            restore()
            yield True
            return
        if world.Get_rank():
            _ignore_ends()
        with MPICommExecutor(world, root=0, main=False) as pool:
            if pool is None:
                yield False
                return
            _leading.append(pool)
            try:
                restore()
                yield True
            except BaseException as error:
                if not isinstance(error, Exception):
                    code = getattr(error, "code", None)
                    world.Abort(code if isinstance(code, int) else 130)
                raise
            finally:
                _leading.pop()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[Callable[[], None]]:
    """Lets signals end the program at once inside; yields what puts their handlers back earlier."""
    before = {number: signal.getsignal(number) for number in _ENDS} if _is_main_thread() else {}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None:  # one that is not Python's
                signal.signal(number, handler)

    try:
        for number, handler in before.items():
            if handler not in {None, signal.SIG_IGN}:  # as nohup has it
                signal.signal(number, signal.SIG_DFL)
        yield restore
    finally:
        restore()


def _shared_pool() -> Any:
    """The pool of a script that ``mpi4py.futures`` runs."""
    from mpi4py.futures import MPIPoolExecutor

    if not _is_shared() or _mpi4py().COMM_WORLD.Get_size() == 1:
        raise PlanError(
            "executor='mpi' works on the ranks of an MPI program, and there are none: start it as\n"
            "  mpiexec -n 4 python -m mpi4py.futures script.py\n"
            "or mpiexec -n 4 tilejit run … --executor mpi; one rank leads, the others work"
        )
    # Kernels are found by name: the script need not be run by every rank.
    return MPIPoolExecutor(main=False, initializer=_ignore_ends)


def _is_shared() -> bool:
    """Whether ``python -m mpi4py.futures`` runs this program, which alone makes the ranks a pool."""
    from mpi4py.futures import _core

    return getattr(_core, "SharedPool", None) is not None


def _are_here(places: tuple[FileIdentity, ...]) -> bool:
    """Whether all working ranks see them."""
    from mpi4py.futures import get_comm_workers

    return all(get_comm_workers().allgather(is_here(places)))


def _ignore_ends() -> None:
    """Leaves what ends a program, which reaches every rank, to the one that cleans up."""
    if _is_main_thread():
        for number in _ENDS:
            signal.signal(number, signal.SIG_IGN)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _mpi4py() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise PlanError(f"MPI is not there ({error}): pip install 'tilejit[mpi]'") from error
    return MPI
