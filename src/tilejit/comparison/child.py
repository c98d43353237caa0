"""A child process that measures: ``python -m tilejit.comparison.child trial FOLDER``, or ``roofline FOLDER 1 2``.

The folder holds what it is told, `SPEC`, and gets what it found out, `RESULT`. A trial writes lines to standard output
when the clock is about to start and when it has stopped, so that the process that watches memory knows.
"""

from __future__ import annotations

import importlib
import itertools
import os
import pickle
import sys
import time
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from tilejit.backends import Launch, get_backend
from tilejit.comparison.measures import INSIDE, Measurement, Roofline, Stages, TrialSpec
from tilejit.comparison.strategies import STRATEGIES
from tilejit.comparison.strategy import Reader, Strategy, Trial, Workload, empty, on_threads
from tilejit.errors import BackendError
from tilejit.kernel.decorators import local
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


SPEC, RESULT = "spec.pickle", "result.pickle"  # files of the folder
READY, DONE = "tilejit-trial ready", "tilejit-trial done"  # lines of a trial; a kernel may print as well
_MOST_RUNS = 15
TOLERANCE = 1e-4  # the relative difference from which a result counts as another: a GPU rounds otherwise


def cpu_seconds(process: psutil.Process) -> float:
    """Returns the core seconds of a process and its descendants, those that have ended among them."""
    total = 0.0
    for member in family(process):
        try:
            total += sum(member.cpu_times()[:4])
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


def family(process: psutil.Process) -> list[psutil.Process]:
    """Returns a process and its descendants; none of one that has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def child_of(ancestor: int) -> psutil.Process:
    """Returns the child of an ancestor through which this process descends from it; this process where it does not."""
    own = psutil.Process()
    line = [own, *own.parents()]
    return next((one for one, parent in itertools.pairwise(line) if parent.pid == ancestor), own)


def _trial(spec: TrialSpec) -> Measurement:
    begun = max(0.0, time.time() - psutil.Process().create_time())
    strategy = STRATEGIES[spec.strategy]
    began = time.perf_counter()
    trial = strategy.start(spec)
    try:
        start = begun + time.perf_counter() - began - trial.compile - trial.prepared
        _say(READY)
        runs = _runs(trial, spec, strategy)
        _say(DONE)
        return _measurement(trial, spec, strategy, runs, start)
    finally:
        trial.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


_Timed = tuple[float, float, "Stages"]  # seconds of one run, by the clock and of cores, and its stages


def _runs(trial: Trial, spec: TrialSpec, strategy: Strategy) -> list[_Timed]:
    """Some runs: fifteen, or as many as there is time for; one of a strategy that stops when its time is up."""
    # Ranks are children of mpiexec, as this process then is.
    root = child_of(int(os.environ.get(INSIDE, "0")))
    found: list[_Timed] = []
    most = 1 if strategy.is_interpreted else _MOST_RUNS
    while len(found) < most and sum(one for one, _, _ in found) < 2 * spec.seconds:
        cpu, began = cpu_seconds(root), time.perf_counter()
        stages = trial()
        found.append((time.perf_counter() - began, cpu_seconds(root) - cpu, stages))
    return found


def _measurement(
    trial: Trial, spec: TrialSpec, strategy: Strategy, runs: Sequence[_Timed], start: float
) -> Measurement:
    seconds, cpu, stages = min(runs, key=lambda one: one[0])  # what else the machine does only ever adds
    whole = prod(trial.outputs[0].shape[-2:])
    pixels = whole if trial.done is None else sum(w.height * w.width for w in trial.done)
    if not pixels:
        raise BackendError(f"{spec.strategy} has computed nothing")
    different, distance = _compared(trial, spec, exact=strategy.is_exact)
    return Measurement(
        start=start, compile=trial.compile, seconds=seconds, runs=len(runs), pixels=pixels,
        share=1.0 if trial.done is None else sum(w.height * w.width for w in set(trial.done)) / whole, cpu=cpu,
        stages=stages, traffic=trial.traffic(), different=different, distance=distance,
    )  # fmt: skip


def _compared(trial: Trial, spec: TrialSpec, *, exact: bool) -> tuple[int, float]:
    """Compares a trial's pixels with the reference, which the first becomes; returns what `differences` does."""
    reference, whole = Path(spec.reference), Window(0, 0, *trial.outputs[0].shape[-2:])
    planes = [plane for output in trial.outputs for plane in output.reshape(-1, *whole.shape)]
    if not reference.exists():
        np.save(reference, np.stack(planes))
        return 0, 0.0
    expected = np.load(reference, mmap_mode="r")
    different, distance = 0, 0.0
    for window in {whole} if trial.done is None else set(trial.done):
        place = window.slices(whole)
        found = [plane[place] for plane in planes]
        more, further = differences(found, expected[(slice(None), *place)], exact=exact)
        different, distance = different + more, max(distance, further)
    return different, distance


def differences(found: Sequence[NDArray[Any]], expected: NDArray[Any], *, exact: bool) -> tuple[int, float]:
    """How many pixels of some arrays differ from the same, stacked, and the largest relative difference of the others.

    Example:
        >>> differences([np.float32([1, np.nan])], np.float32([[1, np.nan]]), exact=True)
        (0, 0.0)
    """
    wrong = np.zeros(expected.shape[1:], bool)
    largest = 0.0
    for one, other in zip(found, expected, strict=True):
        same = (one == other) | ((one != one) & (other != other))  # noqa: PLR0124 - NaN differs from itself
        if same.all():
            continue
        if exact or other.dtype.kind != "f":
            wrong |= ~same
            continue
        finite = np.abs(other[np.isfinite(other)])
        # What small values are measured by, where a relative difference would say nothing.
        typical = max(float(finite.mean()) if finite.size else 0.0, 1e-30)
        with np.errstate(all="ignore"):
            far = np.abs(one.astype(np.float64) - other) / np.maximum(np.abs(other), typical)
        near = same | (far <= TOLERANCE)
        wrong |= ~near
        largest = max(largest, float(far[near & ~same].max(initial=0.0)))
    return int(wrong.sum()), largest


_COPY_BYTES = 64_000_000  # more than any core's share of the last cache
_SECONDS = 0.25
_CACHED = (64, 512)  # rows and columns of a tile that stays in a core's second cache with its result: 128 kB each
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


def _roofline(spec: TrialSpec, counts: Sequence[int]) -> Roofline:
    """What the machine can do at most: copy memory, do arithmetic, run the kernel on cells that are in the cache.

    What compiling takes is measured too, in the cache folder that the trials then share.
    """
    importlib.import_module("numba")  # which is not compiling
    work = Workload(spec)
    job = work.job(_CACHED)
    began = time.perf_counter()
    launch = work.launch(job)
    compile_seconds = time.perf_counter() - began
    rows, cols = (min(n, m) for n, m in zip(_CACHED, work.window.shape, strict=True))
    top, left = (work.window.height - rows) // 2, (work.window.width - cols) // 2
    call, step = Reader(job).call(Window(top, left, rows, cols)), job.plan.steps[0]
    moved = sum(a.dtype.itemsize * (len(a) if a.ndim == 3 else 1) for a in call.arrays) + sum(
        d.itemsize * work.kernel.bands // len(step.signature.outputs) for d in step.signature.outputs
    )
    polynomials, cells = _peak_launch(step.signature.compute)
    clock = _Clock()

    def compute() -> None:
        outputs = empty(call.window.shape, job)
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
    return Roofline(
        cores=tuple(counts),
        bandwidth=tuple(clock.rate(copy, n) * 2 * _COPY_BYTES for n in counts),
        peak=tuple(clock.rate(multiply, n) * done * cells.size for n in counts),
        cached=tuple(clock.rate(compute, n) * rows * cols for n in counts),
        operations=work.kernel.facts.operations,
        bytes_per_pixel=moved,
        compile=compile_seconds,
    )


class _Clock:
    """Counts how often threads do something in a second."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

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
        if self._allowed:
            os.sched_setaffinity(0, self._allowed[:threads])
        self._times = []
        on_threads(function, threads)
        return (len(self._times) - threads) / max(max(self._times) - min(self._times), 1e-9)


def _peak_launch(compute: np.dtype[Any]) -> tuple[Launch, NDArray[Any]]:
    """The polynomials, and cells that stay in the second cache: 100 operations for each that is moved."""
    cells = np.linspace(0, 1, 16384, dtype=compute).reshape(32, 512)
    return get_backend("cpu").compile(_polynomials, _polynomials.signature([compute])), cells


def main(what: str, folder: str, *counts: str) -> None:
    """Measures what the folder says."""
    path, told = pickle.loads(Path(folder, SPEC).read_bytes())  # noqa: S301 - our own file
    sys.path += [place for place in path if place not in sys.path]  # by which the kernel is found
    spec = pickle.loads(told)  # noqa: S301
    found = _trial(spec) if what == "trial" else _roofline(spec, [int(word) for word in counts])
    Path(folder, RESULT).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
