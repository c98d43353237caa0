"""Running a child process that measures, and watching what it and its own children take."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from tilejit.comparison.child import DONE, READY, RESULT, SPEC, cpu_seconds, family
from tilejit.comparison.measures import INSIDE, Measurement, Roofline, TrialSpec
from tilejit.comparison.strategies import STRATEGIES
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_LOOK_SECONDS = 0.03  # between two looks at the memory of a child and its children
_LOOKS = 15  # after so many looks it is found out anew who the children are, which reads a file for every process


def run_trial(spec: TrialSpec, cache: Path) -> Measurement:
    """Measures one strategy on one count of cores; where it failed or took too long, the error has what it said."""
    seconds = 120 + 100 * spec.seconds  # start, compiling, one run at a hundredth of the best speed
    with _told(spec) as folder, tempfile.TemporaryFile("w+") as errors:
        command = [*STRATEGIES[spec.strategy].program(spec.cores), "-m", "tilejit.comparison.child", "trial"]
        with _held_to(spec.cores):
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, str(folder)], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
                env=_environment(spec, cache),
            )  # fmt: skip
        watch = _watched(process, seconds)
        if watch.is_stopped:
            raise BackendError(f"stopped after {seconds:.0f} s")
        found: Measurement = _result(folder, process.returncode, errors)
    return replace(found, others=watch.others, memory=watch.memory or None)


def run_roofline(spec: TrialSpec, counts: Sequence[int], cache: Path) -> Roofline:
    """Measures the machine's limits for a spec's kernel."""
    with _told(spec) as folder, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", "tilejit.comparison.child", "roofline", str(folder), *map(str, counts)]
        done = subprocess.run(command, stderr=errors, check=False, env=_environment(spec, cache))  # noqa: S603
        found: Roofline = _result(folder, done.returncode, errors)
    return found


@contextmanager
def _told(spec: TrialSpec) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        Path(folder, SPEC).write_bytes(pickle.dumps((sys.path, pickle.dumps(spec))))
        yield Path(folder)


def _result(folder: Path, code: int, errors: IO[str]) -> Any:
    """What a child found out; where it failed, the last line that it said."""
    file = folder / RESULT
    if not code and file.exists():
        return pickle.loads(file.read_bytes())  # noqa: S301 - our own child's
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    raise BackendError(f"failed: {lines[-1] if lines else f'exit code {code}'}")


def _environment(spec: TrialSpec, cache: Path) -> dict[str, str]:
    """The child's variables: it finds the modules that this process finds, and none in the current folder else."""
    path = os.pathsep.join(p for p in sys.path if p)
    own = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "TILEJIT_CACHE_DIR": str(cache), INSIDE: str(os.getpid())}
    return {**os.environ, **own, "NUMBA_NUM_THREADS": str(spec.cores)}


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


@dataclass(slots=True)
class _Watch:
    """What is known of a running child."""

    child: psutil.Process
    cpu: float = 0.0
    all_cpu: float = 0.0
    began: float = 0.0
    others: float = 0.0
    memory: int = 0
    is_over: bool = False
    is_stopped: bool = False

    def look(self, until: float) -> None:
        """Notes the memory until the run is over, and ends a child that takes too long."""
        for look in itertools.count():
            if self.is_over:
                return
            if look % _LOOKS == 0:
                members = family(self.child)
            self.memory = max(self.memory, memory(members))
            if time.monotonic() > until:
                self.is_stopped = True
                _end(self.child)
                return
            time.sleep(_LOOK_SECONDS)

    def hear(self, lines: Iterator[str]) -> None:
        """Waits for what the child says, a kernel's own prints left aside."""
        for line in lines:
            if line.startswith(READY):
                self.began, self.all_cpu, self.cpu = time.monotonic(), _machine_seconds(), cpu_seconds(self.child)
            elif line.startswith(DONE):
                self.is_over = True
                own = cpu_seconds(self.child) - self.cpu
                elapsed = max(time.monotonic() - self.began, 1e-3)
                self.others = max(0.0, _machine_seconds() - self.all_cpu - own) / elapsed


def _machine_seconds() -> float:
    """The core seconds that all programs have spent since the machine started."""
    times = psutil.cpu_times()
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # they are in user and nice already
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - guests)


def memory(members: Sequence[psutil.Process]) -> int:
    """Returns the bytes that processes hold together, memory that they share counted once."""
    own, shared = 0, 0
    for member in members:
        with suppress(psutil.Error):
            held = member.memory_info()
            common = getattr(held, "shared", 0)
            own, shared = own + held.rss - common, max(shared, common)
    return own + shared


def _watched(process: subprocess.Popen[str], seconds: float) -> _Watch:
    """Lets a child run to its end, or to that of its time."""
    watch = _Watch(psutil.Process(process.pid))
    looking = threading.Thread(target=watch.look, args=(time.monotonic() + seconds,))
    with process:
        looking.start()
        try:
            watch.hear(iter(process.stdout or ()))
            process.wait()
        finally:
            watch.is_over = True
            _end(watch.child)
            process.wait()
            looking.join()
    return watch


def _end(process: psutil.Process) -> None:
    """Ends a child and those that it started; psutil makes sure that a pid is still its own."""
    for member in reversed(family(process)):
        with suppress(psutil.Error):
            member.kill()
