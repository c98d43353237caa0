"""A child process: one way on one count of cores, measured. ``python -m tilejit.comparison.trial TASK.json``.

It writes lines of JSON to standard output: ``{"ready": …}`` when the clock is about to start, ``{"done": …}`` when it
has stopped, so that the process that watches memory knows, and ``{"outcome": …}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.comparison import processes
from tilejit.comparison.agreement import compared
from tilejit.comparison.outcome import INSIDE, SAYS, Outcome
from tilejit.comparison.task import Task
from tilejit.comparison.ways import WAYS
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from tilejit.comparison.ways.base import Run, Stages, Way

_MOST_RUNS = 15


def main(file: str) -> None:
    """Runs the task in a file."""
    begun = processes.age(os.getpid())
    task = Task.read(Path(file))
    sys.path[:] = [*sys.path, *(p for p in task.search_path if p not in sys.path)]
    way = WAYS[task.way]
    began = time.perf_counter()
    run = way.start(task)
    try:
        start = begun + time.perf_counter() - began - run.compile - run.prepared
        _tell("ready", start)
        timed = _timed(run, task, way)
        _tell("done", len(timed))
        _tell("outcome", asdict(_outcome(run, task, way, timed, start)))
    finally:
        run.close()


@dataclass(frozen=True, slots=True)
class _Timed:
    """One run."""

    seconds: float
    cpu: float
    stages: Stages


def _timed(run: Run, task: Task, way: Way) -> list[_Timed]:
    """Some runs: fifteen, or as many as there is time for; one of a way that stops when its time is up."""
    # Ranks are children of mpiexec, as this process then is.
    root = processes.child_of(int(os.environ.get(INSIDE, "0")))
    found: list[_Timed] = []
    most = 1 if way.is_interpreted else _MOST_RUNS
    while len(found) < most and sum(one.seconds for one in found) < 2 * task.seconds:
        cpu, began = processes.cpu_seconds(root), time.perf_counter()
        stages = run()
        seconds = time.perf_counter() - began
        found.append(_Timed(seconds, processes.cpu_seconds(root) - cpu, stages))
    return found


def _outcome(run: Run, task: Task, way: Way, timed: list[_Timed], start: float) -> Outcome:
    best = min(timed, key=lambda one: one.seconds)  # what else the machine does only ever adds
    whole = run.outputs[0].size
    pixels = whole if run.done is None else sum(w.height * w.width for w in run.done)
    if not pixels:
        raise BackendError(f"{task.way} has computed nothing")
    different, distance = compared(run, task, way)
    return Outcome(
        start=start,
        compile=run.compile,
        seconds=best.seconds,
        runs=len(timed),
        pixels=pixels,
        share=1.0 if run.done is None else sum(w.height * w.width for w in set(run.done)) / whole,
        cpu=best.cpu,
        stages=best.stages,
        traffic=run.traffic(),
        different=different,
        distance=distance,
    )


def _tell(event: str, value: Any) -> None:
    sys.stdout.write(f"{SAYS}{json.dumps({event: value}, default=_plain)}\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is {type(value).__name__}")


if __name__ == "__main__":
    main(sys.argv[1])
