"""What the machine can do at most: how fast memory is copied, arithmetic done, the kernel run on cached cells.

``python -m tilejit.comparison.roofs TASK.json 1 2`` measures them on one core and on two, and prints JSON. What
compiling takes is measured too, in the cache folder that the trials then share.
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

from tilejit.backends import get_backend
from tilejit.backends.numba_info import numba_versions
from tilejit.comparison.task import Task
from tilejit.comparison.threads import on_threads
from tilejit.comparison.work import Reader, Work
from tilejit.kernel.decorators import local
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tilejit.backends.base import Launch
    from tilejit.comparison.work import Call
    from tilejit.engine.planning.planner import Job

_COPY_BYTES = 64_000_000
"""More than any core's share of the last cache."""
_SECONDS = 0.25
_CACHED = (64, 512)
"""Rows and columns of a tile that stays in a core's second cache with its result: 128 kB each of float32."""
_CHAINS, _STEPS = 4, 12


@local
def _polynomials(x, *, a=0.999, b=0.001):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Multiplications and additions that do not wait for each other: four chains."""
    p = x
    q = x + 1.0
    r = x + 2.0
    s = x + 3.0
    for _ in range(_STEPS):
        p = p * a + b
        q = q * a + b
        r = r * a + b
        s = s * a + b
    return (p + q) + (r + s)


@dataclass(frozen=True, slots=True)
class Roofs:
    """The machine's limits for one kernel, by count of cores."""

    cores: tuple[int, ...]
    """The counts."""
    bandwidth: tuple[float, ...]
    """Bytes a second, read and written, of a copy that no cache holds."""
    peak: tuple[float, ...]
    """Operations a second of multiplications and additions in the kernel's compute dtype, without memory."""
    cached: tuple[float, ...]
    """Pixels a second of the kernel on cells that stay in the cache."""
    operations: int
    """Operations a pixel, counted in the kernel's form; one inside an unbounded loop counts as a thousand."""
    bytes_per_pixel: float
    """Bytes that the kernel reads and writes for a pixel."""
    compile: float
    """Seconds that compiling the kernel took, Numba itself imported before."""

    def at(self, cores: int) -> int:
        """Returns where a count of cores is in the tables: the largest that is no larger."""
        return max(k for k, c in enumerate(self.cores) if c <= cores or k == 0)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Roofs:
        """Makes one of what a child process wrote."""
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})  # type: ignore[arg-type]


def measure_roofs(task: Task, counts: Sequence[int]) -> Roofs:
    """Measures the limits for a task's kernel."""
    numba_versions()  # imports Numba, which is not compiling
    work = Work(task)
    job = work.job(_CACHED)
    began = time.perf_counter()
    launch = work.launch(job)
    compile_seconds = time.perf_counter() - began
    call, step = _cached_call(work, job), job.plan.steps[0]
    moved = sum(a.dtype.itemsize for a in call.arrays) + sum(d.itemsize for d in step.signature.outputs)
    pixels = call.window.height * call.window.width
    polynomials, cells = _peak_launch(step.signature.compute)

    clock = _Clock()

    def compute() -> None:
        outputs = [np.empty(call.window.shape, d) for d in step.signature.outputs]
        for _ in clock.ticks():
            launch(call.arrays, outputs, call.nodata, call.scalars)

    def multiply() -> None:
        out = np.empty(cells.shape, cells.dtype)
        scalars = [cells.dtype.type(v) for v in (0.999, 0.001)]
        for _ in clock.ticks():
            polynomials([cells], [out], [cells.dtype.type(np.nan)], scalars)

    def copy() -> None:
        source = np.ones(_COPY_BYTES // 8)
        target = np.zeros_like(source)
        for _ in clock.ticks():
            np.copyto(target, source)

    done = 2 * _CHAINS * _STEPS + 6
    return Roofs(
        cores=tuple(counts),
        bandwidth=tuple(clock.rate(copy, n) * 2 * _COPY_BYTES for n in counts),
        peak=tuple(clock.rate(multiply, n) * done * cells.size for n in counts),
        cached=tuple(clock.rate(compute, n) * pixels for n in counts),
        operations=work.kernel.operations,
        bytes_per_pixel=moved,
        compile=compile_seconds,
    )


class _Clock:
    """Counts how often threads do something in a second."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def ticks(self) -> Iterator[None]:
        """Lets a thread do it for a while, three times at least; the first makes memory and wakes the core."""
        end, count = 0.0, 0
        while count < 3 or time.perf_counter() < end:
            yield
            end = end or time.perf_counter() + _SECONDS
            self._times.append(time.perf_counter())
            count += 1

    def rate(self, function: Callable[[], None], threads: int) -> float:
        """Returns how often a function's ticks come in a second, on as many cores as threads."""
        _pin(threads)
        self._times = []
        on_threads(function, threads)
        return (len(self._times) - threads) / max(max(self._times) - min(self._times), 1e-9)


_ALLOWED = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _pin(threads: int) -> None:
    if _ALLOWED:
        os.sched_setaffinity(0, _ALLOWED[:threads])


def _cached_call(work: Work, job: Job) -> Call:
    """A small tile from the middle of the sample."""
    rows, cols = (min(n, m) for n, m in zip(_CACHED, work.window.shape, strict=True))
    top, left = (work.window.height - rows) // 2, (work.window.width - cols) // 2
    return Reader(job).call(Window(top, left, rows, cols))


def _peak_launch(compute: np.dtype[Any]) -> tuple[Launch, np.ndarray]:
    """The polynomials, and cells that stay in the second cache: 100 operations for each that is moved."""
    cells = np.linspace(0, 1, 16384, dtype=compute).reshape(32, 512)
    return get_backend("cpu").compile(_polynomials, _polynomials.signature([compute])), cells


def main(file: str, counts: Sequence[int]) -> None:
    """Measures the limits for the task in a file and prints them."""
    roofs = measure_roofs(Task.read(Path(file)), counts)
    sys.stdout.write(json.dumps(asdict(roofs), default=float) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], [int(word) for word in sys.argv[2:]])
