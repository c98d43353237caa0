"""What a contender is asked to do, as it travels to its process; and the clock of its answer."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Task:
    """One run of one contender."""

    job: str
    """The job's name."""
    inputs: tuple[str, ...]
    """Files, in the order of the job's inputs."""
    outputs: tuple[str, ...]
    """Files, in the order of the job's outputs; none is there yet."""
    finished: tuple[str, ...]
    """The same outputs as tilejit wrote them; for the floor alone, which computes nothing."""
    creation: dict[str, str]
    """GDAL's creation options of every output."""

    def to_json(self) -> str:
        """Returns it as a program takes it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_arguments() -> Task:
        """Returns the task that this program was started with."""
        fields = json.loads(sys.argv[1])
        return Task(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def clocked(task: Task) -> Iterator[dict[str, object]]:
    """Times a task from its first read to the fsync of its outputs, and prints the figures as the last line.

    Yields:
        Figures of the contender's own, printed along.
    """
    figures: dict[str, object] = {}
    start, busy = time.perf_counter(), _cpu()
    yield figures
    for path in task.outputs:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    seconds = time.perf_counter() - start
    print(json.dumps({"wall": seconds, "cpu": _cpu() - busy, **figures}))


def _cpu() -> float:
    """User and system seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)
