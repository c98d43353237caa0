"""What runs tasks on workers: the contract, the simplest executors, and what executors share."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import pickle
import signal
import threading
import traceback
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tilejit.errors import PlanError, TilejitError
from tilejit.system.identity import here, is_here
from tilejit.system.limits import available_cores
from tilejit.system.program import require_guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent import futures

Task = TypeVar("Task")
Result = TypeVar("Result")
E = TypeVar("E", bound=BaseException)

GLANCE = 0.2  # seconds between two calls of ``waiting``


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Task, Result]):
    """What became of one task: a result or an error."""

    task: Task
    """The task."""
    result: Result | None = None
    """What the function returned."""
    error: BaseException | None = None
    """What it raised, or what ended its worker; None where there is a result."""


def nothing() -> None:
    """What is done while nobody minds waiting."""


class Executor(Protocol):
    """What runs a function on tasks, several at once, in any order."""

    @property
    def name(self) -> str:
        """What plans and reports call it."""

    @property
    def workers(self) -> int:
        """How many tasks run at once."""

    @property
    def local(self) -> bool:
        """Whether every worker is on this machine, and shares its temporary files and process numbers."""

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], waiting: Callable[[], None] = nothing
    ) -> Iterator[Outcome[Task, Result]]:
        """Runs a function on each task.

        Closing the iterator gives up the tasks that are under way.

        Args:
            function: A function of a module; it is handed over by name.
            tasks: Small values that can be pickled. They are taken as workers come free: never are more than twice as
                many as there are workers taken and not yet given back.
            waiting: Is called several times a second while no task ends; what it raises ends the map.

        Yields:
            One outcome for each task, in the order in which they end. An error of the function, or the end of a
            worker, is an outcome too.
        """

    def close(self, *, at_once: bool = False) -> None:
        """Lets the workers go; idempotent.

        Args:
            at_once: Whether to end them in the middle of what they are doing.
        """


class SerialExecutor:
    """The definition that the other executors are held to; a debugger works in it.

    Example:
        >>> [outcome.result for outcome in SerialExecutor().map(abs, [-1, 2])]
        [1, 2]
    """

    name = "serial"
    workers = 1
    local = True

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], waiting: Callable[[], None] = nothing
    ) -> Iterator[Outcome[Task, Result]]:
        """Runs one task after the other, in the thread that asks; see `Executor.map`."""
        del waiting  # nothing else goes on meanwhile
        for task in tasks:
            try:
                outcome: Outcome[Task, Result] = Outcome(task, result=function(task))
            except Exception as error:  # noqa: BLE001 - an error is an outcome
                outcome = Outcome(task, error=error)
            yield outcome

    def close(self, *, at_once: bool = False) -> None:
        """Nothing to let go of."""


class PoolExecutor:
    """What runs tasks through the futures of a pool: the caller's, a Dask client's, that of MPI ranks."""

    name: str
    workers: int
    _pool: Any  # what has ``submit``, as executors of ``concurrent.futures`` do

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], waiting: Callable[[], None] = nothing
    ) -> Iterator[Outcome[Task, Result]]:
        """Runs a function on each task; see `Executor.map`."""
        left, flying = iter(tasks), dict[Future[Result], Task]()
        try:
            while True:
                for task in itertools.islice(left, 2 * self.workers - len(flying)):
                    flying[self._submitted(function, task)] = task
                if not flying:
                    return
                while not (done := wait(flying, GLANCE, return_when=FIRST_COMPLETED).done):
                    waiting()
                for future in done:
                    yield _outcome(flying.pop(future), future)
        finally:
            for future in flying:
                future.cancel()

    def _submitted(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        """A future, also where the pool takes none any more."""
        try:
            future: Future[Result] = self._pool.submit(_guarded, function, task)
        except Exception as error:  # noqa: BLE001 - a broken pool is the outcome of whoever needs it
            future = Future()
            future.set_exception(error)
        return future


class FuturesExecutor(PoolExecutor):
    """Any executor of ``concurrent.futures``: a pool of the caller's, who closes it too.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(2) as pool:
        ...     sorted(outcome.result for outcome in FuturesExecutor(pool).map(abs, [-1, 2]))
        [1, 2]
    """

    def __init__(self, pool: futures.Executor) -> None:
        self._pool = pool
        self.name = type(pool).__name__
        # The standard library's pools and those that copy them say it so; the protocol does not.
        self.workers: int = getattr(pool, "_max_workers", None) or available_cores()

    @functools.cached_property
    def local(self) -> bool:
        """Whether a worker is on this machine: one is asked."""
        if threading.current_thread() in (getattr(self._pool, "_threads", None) or ()):
            raise PlanError(
                f"executor={self.name}: this run is led by a thread of that pool itself, and its threads might all "
                "wait for each other: give another pool, or leave executor= out"
            )
        try:
            found: bool = self._pool.submit(is_here, here()).result()
        except Exception as error:
            raise PlanError(f"executor={self.name}: its workers do not answer: {cause(error)}") from error
        return found

    def close(self, *, at_once: bool = False) -> None:
        """The pool is the caller's."""


def _outcome(task: Task, future: Future[Result]) -> Outcome[Task, Result]:
    try:
        return Outcome(task, result=future.result())
    except BaseException as error:  # noqa: BLE001 - whatever it was
        return Outcome(task, error=error)


def _guarded(function: Callable[[Task], Result], task: Task) -> Result:
    """Calls a function in a worker; an error that pools could not carry home is replaced by one that they can."""
    try:
        return function(task)
    except Exception as error:
        carried = portable(error)
        if carried is not None:
            raise carried from None
        raise


def portable(error: BaseException) -> TilejitError | None:
    """An error in place of one that cannot be pickled, with its traceback as a note; None where it can be."""
    if isinstance(error, Exception):
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            return None
    return with_traceback(error, TilejitError(f"{type(error).__name__}: {error}"))


def with_traceback(error: BaseException, carried: E) -> E:
    """An error that is sent home, with the traceback of another as a note."""
    carried.add_note(f"in a worker process:\n{''.join(traceback.format_exception(error)).rstrip()}")
    return carried


def cause(error: BaseException) -> str:
    """What an error is and says, and what it came of."""
    first = error
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    said = [f"{type(e).__name__}: {e}".rstrip(": ") for e in dict.fromkeys((error, first))]
    return ", for ".join(said)


def require_may_start(name: str) -> None:
    """Refuses to start processes from one that may have none, and from a script that they would run again."""
    if multiprocessing.current_process().daemon:
        raise PlanError(
            f"executor={name!r} starts processes, and this one is a daemon, which may not: a worker of a "
            "multiprocessing.Pool, say. Leave executor= out, or take a concurrent.futures.ProcessPoolExecutor for the "
            "outer pool"
        )
    require_guard()


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Starts processes that Ctrl-C does not reach: a terminal sends it to all, and only the one that waits cleans up.

    A process inherits which signals are held back, so that there is no moment at which it could be hit.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
