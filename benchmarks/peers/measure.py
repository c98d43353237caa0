"""One run of one contender in a process of its own: seconds, CPU and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from peers.warm import DONE

if TYPE_CHECKING:
    from typing import Self

    from peers.task import Task

BENCHMARKS = Path(__file__).resolve().parents[1]
INTERVAL = 0.05
"""Seconds between looks at the memory; one look at a lone process takes 0.2 ms."""


class ContenderError(Exception):
    """A contender failed, ran past its time, or made something else than tilejit."""


def run(module: str, task: Task, limit: float) -> dict[str, Any]:
    """Runs a contender.

    Returns:
        Its own figures (``wall`` and ``cpu`` from the first read to the last fsync), ``process`` (wall seconds of the
        whole process, with its imports), ``peak`` (bytes of memory of the process and its children) and ``bytes`` (of
        its outputs).

    Raises:
        ContenderError: It failed, with what it said; or it took longer than ``limit`` seconds and has been ended.
    """
    command = [sys.executable, "-m", f"peers.contenders.{module}", task.to_json()]
    start = time.perf_counter()
    with subprocess.Popen(
        command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        memory = _Memory(process.pid)
        memory.start()
        try:
            output, complaint = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise ContenderError(f"ended after {limit:.0f} s") from error
        finally:
            memory.stop()
    seconds = time.perf_counter() - start
    if process.returncode:
        raise ContenderError(f"failed: {complaint}")
    return _figures(output.splitlines(), task, seconds, memory.peak)


def _environment() -> dict[str, str]:
    """Where contenders are found."""
    paths = [str(BENCHMARKS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    # Compiling modules anew in each process is what nobody has who does not ask for it.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def _figures(lines: list[str], task: Task, seconds: float, peak: int) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(lines[-1])
    size = sum(Path(path).stat().st_size for path in task.outputs)
    return {"process": seconds, "peak": peak, "bytes": size} | figures


class Warm:
    """A process for each contender that does all its tasks, where figures say nothing: most of the time is imports."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.communicate()

    def run(self, module: str, task: Task, limit: float) -> dict[str, Any]:
        """Does what `run` does, but measures no memory; what a contender complains of is printed."""
        start = time.perf_counter()
        process = self._processes.get(module) or self._start(module)
        process.stdin.write(task.to_json() + "\n")
        process.stdin.flush()
        late = threading.Timer(limit, _end, [process])
        late.start()
        lines: list[str] = []
        while lines[-1:] != [f"{DONE}\n"] and (line := process.stdout.readline()):
            lines.append(line)
        late.cancel()
        if lines[-1:] != [f"{DONE}\n"]:
            self._processes.pop(module).wait()
            raise ContenderError("failed, as it says above")
        return _figures(lines[:-1], task, time.perf_counter() - start, 1)

    def _start(self, module: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = [sys.executable, "-m", "peers.warm", module]
        self._processes[module] = subprocess.Popen(command, env=_environment(), text=True, **pipes)
        return self._processes[module]


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process and its children."""
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()


class _Memory(threading.Thread):
    """Watches the memory of a process and its children.

    A lone process is asked for the highest that it ever had. Of several the shares are added up (PSS), so that pages
    which they have in common count once.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        """Bytes."""
        self._process = psutil.Process(pid)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(INTERVAL):
            try:
                self.peak = max(self.peak, self._now())
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError, StopIteration):
                # It has ended between two looks; `stop` comes.
                continue

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _now(self) -> int:
        children = self._process.children(recursive=True)
        if children:
            return sum(one.memory_full_info().pss for one in (self._process, *children))
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
