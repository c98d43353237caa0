"""Worker processes of this machine.

Each has a pipe of its own, so that one that is killed takes no other with it: with
``concurrent.futures.ProcessPoolExecutor`` every task under way is lost with it, and a worker outlives a parent that was
killed, because all of them hold both ends of one pipe.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from dataclasses import dataclass
from multiprocessing import connection as pipes
from typing import TYPE_CHECKING, Any

from tilejit.engine.executors.base import (
    GLANCE,
    Outcome,
    Result,
    Task,
    cause,
    interrupts_held_back,
    nothing,
    portable,
    require_may_start,
    with_traceback,
)
from tilejit.errors import TilejitError
from tilejit.system.limits import available_cores, open_files_hint
from tilejit.system.program import main_without_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess


_END = object()
_GRACE = 1.0  # seconds for an idle worker to end by itself


@dataclass(frozen=True, eq=False, slots=True)
class Worker:
    """A process, and the pipe to it: tasks go out, outcomes come back."""

    process: SpawnProcess
    pipe: Connection

    @classmethod
    def start(cls) -> Worker:
        """Starts a process; it begins with the task that is sent meanwhile."""
        context = multiprocessing.get_context("spawn")
        try:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), name="tilejit worker", daemon=True)
            with interrupts_held_back(), _safe_path(), main_without_file(), theirs:
                process.start()
        except OSError as error:
            raise TilejitError(
                f"a worker process cannot be started: {error.strerror}{open_files_hint(error)}: give fewer workers="
            ) from error
        return cls(process, ours)

    def end(self, *, grace: float = 0) -> None:
        """Ends it: in the middle of whatever it is doing, or where it may end by itself within so many seconds."""
        if grace:
            self.pipe.close()
            self.process.join(grace)
        if self.process.is_alive():
            self.process.kill()
        self.pipe.close()
        self.process.join()

    def send(self, function: Callable[[Task], Result], task: Task) -> Exception | None:
        """Hands a task over; where that goes wrong the process is ended, and what went wrong returned."""
        try:
            self.pipe.send_bytes(pickle.dumps((function, task)))
        except OSError:
            return self._ended()
        except Exception as error:  # noqa: BLE001 - pickling runs any code
            self.end()
            return error
        return None

    def receive(self) -> tuple[Any, BaseException | None]:
        """Returns the result or the error of its task; its end is an error."""
        try:
            data = self.pipe.recv_bytes()
        except (EOFError, OSError):
            return None, self._ended()
        try:
            answer: tuple[Any, BaseException | None] = pickle.loads(data)  # noqa: S301 - our own
        except Exception as error:  # noqa: BLE001 - unpickling runs any code
            return None, TilejitError(f"what a worker process sent cannot be read here: {cause(error)}")
        return answer

    def _ended(self) -> TilejitError:
        """How it ended, of a process that does not answer."""
        self.end()
        code = self.process.exitcode
        if code is None or code >= 0:
            return TilejitError(
                f"a worker process ended with exit code {code}; what it said of that is on standard error"
            )
        name = signal.Signals(-code).name
        hint = " (the system kills with it when memory runs out: give fewer workers=)" if name == "SIGKILL" else ""
        return TilejitError(f"a worker process was ended by {name}{hint}")


class ProcessesExecutor:
    """Processes, by default one a core, that are started when there is work for them, and kept until `close`."""

    name = "processes"
    local = True

    def __init__(self, workers: int | None = None) -> None:
        require_may_start(self.name)
        self.workers = workers or available_cores()
        self._idle: list[Worker] = []

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], waiting: Callable[[], None] = nothing
    ) -> Iterator[Outcome[Task, Result]]:
        """Runs a function on each task; see `Executor.map`."""
        left, busy = iter(tasks), dict[Any, tuple[Worker, Any]]()
        try:
            while True:
                while len(busy) < self.workers and (task := next(left, _END)) is not _END:
                    worker = self._idle_worker()
                    busy[worker.pipe] = worker, task
                    failure = worker.send(function, task)  # type: ignore[arg-type]
                    if failure is not None:
                        del busy[worker.pipe]
                        yield Outcome(task, error=failure)  # type: ignore[arg-type]
                if not busy:
                    return
                while not (answered := pipes.wait(list(busy), GLANCE)):
                    waiting()
                for pipe in answered:
                    worker, done = busy[pipe]
                    result, error = worker.receive()
                    del busy[pipe]
                    if not worker.pipe.closed:
                        self._idle.append(worker)
                    yield Outcome(done, result, error)
        finally:
            for worker, _ in busy.values():
                worker.end()

    def _idle_worker(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
            worker.end()
        return Worker.start()

    def close(self, *, at_once: bool = False) -> None:
        """Ends the processes; those that were busy have been ended when their `map` was closed."""
        workers, self._idle = self._idle, []
        for worker in workers:
            worker.end(grace=0 if at_once else _GRACE)


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Lets a new interpreter begin without the current folder on its path, where a `pickle.py` may lie."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def _serve(pipe: Connection) -> None:
    """A worker: task after task, until the other end is closed."""
    threading.Thread(target=_end_with_parent, name="tilejit-parent", daemon=True).start()
    while True:
        try:
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        pipe.send_bytes(_answer(data))


def _end_with_parent() -> None:
    """Ends this process with the one that started it, in the middle of a task too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(data: bytes) -> bytes:
    try:
        function, task = pickle.loads(data)  # noqa: S301 - our own parent's
        return pickle.dumps((function(task), None))
    except BaseException as error:  # noqa: BLE001 - an error is an outcome
        return pickle.dumps((None, portable(error) or with_traceback(error, error)))
