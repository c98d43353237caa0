"""Running a child process and watching what it and its own children take."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.comparison import processes
from tilejit.comparison.outcome import INSIDE, SAYS, Outcome
from tilejit.comparison.roofs import Roofs
from tilejit.comparison.ways import WAYS
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilejit.comparison.task import Task

_LOOK_SECONDS = 0.03
"""Between two looks at the memory of a child and its children."""
_LOOKS = 15
"""After so many looks it is found out anew who the children are: that reads a file for every process of the machine."""


def limit_seconds(task: Task) -> float:
    """Returns how long a trial may take in all: start, compiling, one run at a hundredth of the best speed."""
    return 120 + 100 * task.seconds


@dataclass(slots=True)
class _Watch:
    """What is known of a running child."""

    process: subprocess.Popen[str]
    cpu: float = 0.0
    all_cpu: float = 0.0
    began: float = 0.0
    others: float = 0.0
    memory: int = 0
    is_over: bool = False
    is_stopped: bool = False
    lines: dict[str, Any] = field(default_factory=dict)

    def look(self, until: float) -> None:
        """Notes the memory until the run is over, and ends a child that takes too long."""
        for look in itertools.count():
            if self.is_over:
                return
            if look % _LOOKS == 0:
                members = processes.family(self.process.pid)
            self.memory = max(self.memory, processes.memory(members) or 0)
            if time.monotonic() > until:
                self.is_stopped = True
                end(self.process)
                return
            time.sleep(_LOOK_SECONDS)

    def hear(self) -> None:
        """Reads what the child says."""
        for line in self.process.stdout or ():
            if not line.startswith(SAYS):
                continue  # a kernel's own prints
            said = json.loads(line.removeprefix(SAYS))
            self.lines |= said
            if "ready" in said:
                self.began, self.all_cpu = time.monotonic(), processes.machine_seconds()
                self.cpu = processes.cpu_seconds(self.process.pid)
            if "done" in said:
                self.is_over = True
                self._count()

    def _count(self) -> None:
        """Tells apart what the child and what other programs have spent."""
        own = processes.cpu_seconds(self.process.pid) - self.cpu
        elapsed = max(time.monotonic() - self.began, 1e-3)
        self.others = max(0.0, processes.machine_seconds() - self.all_cpu - own) / elapsed


def run_trial(task: Task, cache: Path) -> Outcome:
    """Measures one way on one count of cores.

    Args:
        task: What to do.
        cache: The folder of compiled kernels.

    Raises:
        BackendError: It failed, or took longer than it may; with what it said.
    """
    way = WAYS[task.way]
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder, tempfile.TemporaryFile("w+") as errors:
        file = Path(folder) / "task.json"
        task.write(file)
        with _held_to(task.cores):
            process = subprocess.Popen(  # noqa: S603 - our own program
                way.command(task, file), stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
                env=_environment(task, cache) | way.environment(task),
            )  # fmt: skip
        watch = _watched(process, limit_seconds(task))
        if watch.is_stopped:
            raise BackendError(f"stopped after {limit_seconds(task):.0f} s")
        if process.returncode or "outcome" not in watch.lines:
            errors.seek(0)
            raise BackendError(_last_line(errors.read(), process.returncode))
    return replace(Outcome.of(watch.lines["outcome"]), others=watch.others, memory=watch.memory or None)


@contextmanager
def _held_to(cores: int) -> Iterator[None]:
    """Holds this thread, and so the processes that it starts, to so many cores; where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _watched(process: subprocess.Popen[str], seconds: float) -> _Watch:
    """Lets a child run to its end, or to that of its time."""
    watch = _Watch(process)
    looking = threading.Thread(target=watch.look, args=(time.monotonic() + seconds,))
    with process:
        looking.start()
        try:
            watch.hear()
            process.wait()
        finally:
            watch.is_over = True
            end(process)
            looking.join()
    return watch


def _last_line(text: str, code: int) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"failed: {lines[-1] if lines else f'exit code {code}'}"


def _environment(task: Task, cache: Path) -> dict[str, str]:
    """The child's variables: it finds the modules that this process finds, and none in the current folder else."""
    path = os.pathsep.join(p for p in task.search_path if p)
    modules = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    return {**os.environ, **modules, "TILEJIT_CACHE_DIR": str(cache), INSIDE: str(os.getpid())}


def end(process: subprocess.Popen[str]) -> None:
    """Ends a child and those that it started."""
    members = processes.family(process.pid) if process.poll() is None else []
    for member in reversed(members):
        try:
            os.kill(member, 9)
        except OSError:  # it has ended meanwhile
            continue
    process.wait()


def run_roofs(task: Task, counts: Sequence[int], cache: Path) -> Roofs:
    """Measures the machine's limits for a task's kernel.

    Raises:
        BackendError: It failed; with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        file = Path(folder) / "task.json"
        task.write(file)
        command = [sys.executable, "-m", "tilejit.comparison.roofs", str(file), *map(str, counts)]
        done = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, check=False, env=_environment(task, cache)
        )
    if done.returncode:
        raise BackendError(_last_line(done.stderr, done.returncode))
    return Roofs.of(json.loads(done.stdout.splitlines()[-1]))
