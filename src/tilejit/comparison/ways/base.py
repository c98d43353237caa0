"""What a way is: how a sample is spread over cores, in a process of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tilejit.comparison.task import Task
    from tilejit.engine.pipeline.stopwatch import Stopwatch
    from tilejit.window import Window

Stages = dict[str, tuple[float, float]]
"""Stage -> seconds by the clock and of cores, summed over threads."""


class Run:
    """A way that is ready: its processes are up, its kernel is compiled."""

    compile: float = 0.0
    """Seconds that loading the kernel took, in one process."""
    prepared: float = 0.0
    """Seconds that went into what is done before the clock starts only for the sake of measuring."""
    outputs: Sequence[NDArray[Any]] = ()
    """The results of the last run."""
    done: list[Window] | None = None
    """The windows that the last run computed, each as often as it did; None for all."""

    def __call__(self) -> Stages:
        """Computes the sample, or what there is time for."""
        raise NotImplementedError

    def traffic(self) -> float | None:
        """Returns the seconds that it takes to move the same arrays and compute nothing; None where none are moved."""
        return None

    def close(self) -> None:
        """Ends its processes; threads have ended with the run."""


class Way:
    """One way of being parallel. It says what it is; `start` is called in a process of its own."""

    name: ClassVar[str]
    """What tables call it."""
    is_like: ClassVar[str]
    """Its counterpart in C."""
    is_serial: ClassVar[bool] = False
    """Whether more cores are of no use to it."""
    is_interpreted: ClassVar[bool] = False
    """Whether the body runs in Python's interpreter."""
    is_exact: ClassVar[bool] = True
    """Whether its pixels must have tilejit's bits; others are compared within what their arithmetic rounds."""

    def why_not(self) -> str | None:
        """Returns why it cannot run on this machine, or None when it can."""
        return None

    def command(self, task: Task, file: Path) -> list[str]:
        """Returns the command of a process that runs the task in a file."""
        del task
        return [sys.executable, "-m", "tilejit.comparison.trial", str(file)]

    def environment(self, task: Task) -> dict[str, str]:
        """Returns the variables that its process needs."""
        del task
        return {}

    def start(self, task: Task) -> Run:
        """Makes ready."""
        raise NotImplementedError


def stages_of(watch: Stopwatch, queued: Sequence[float] = ()) -> Stages:
    """Returns what a stopwatch shows, with the seconds in which threads waited for a core as ``queue``."""
    shown = {str(name): (t.wall, t.cpu) for name, t in watch.stages().items()}
    return {**shown, "queue": (sum(queued), 0.0)}


class Sum:
    """What many tiles took in each stage."""

    def __init__(self) -> None:
        self.stages: Stages = {}
        """The sums."""

    def add(self, stages: Stages) -> None:
        """Adds a tile."""
        for name, (wall, cpu) in stages.items():
            before = self.stages.get(name, (0.0, 0.0))
            self.stages[name] = (before[0] + wall, before[1] + cpu)
