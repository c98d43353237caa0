"""What executors gain and cost: two worker processes against one, and the overhead of a tile.

The gain is that of a compute-bound kernel, 64 steps of a quadratic map for each pixel, file to file; rounds are
interleaved, workers are started before, and the table has medians. The overhead is measured with tasks that do next to
nothing: a task of its own for each tile through the executor, and tiles of 16 x 16 cells through the threads.

    python benchmarks/executors.py
    mpiexec -n 3 python -m mpi4py.futures benchmarks/executors.py     (MPI alone)
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import tilejit as tj
from tilejit.executors import open_executor
from tilejit.executors.processes import ProcessesExecutor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilejit.executors.base import Executor


@tj.local
def iterate(x):
    """64 steps of a quadratic map on each pixel, as in benchmarks/peers: all arithmetic, no memory."""
    for _ in range(64):
        x = x * x * 0.5 - 0.4
    return x


@tj.local
def doubled(x):
    return x * 2


def is_leading_ranks() -> bool:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return False
    return MPI.COMM_WORLD.Get_size() > 1


def seconds(raster: tj.Raster, target: Path, **options) -> float:
    start = time.perf_counter()
    raster.save(target, overwrite=True, progress=False, **options)
    return time.perf_counter() - start


def gain(folder: Path, size: int, rounds: int) -> None:
    source = folder / "in.tif"
    tj.from_array(np.random.default_rng(0).random((size, size), np.float32)).save(source, profile={"compress": "none"})
    raster = iterate(tj.open(source))
    with closing(ProcessesExecutor(1)) as one, closing(ProcessesExecutor(2)) as two:
        # One thread each, also of the single one, which would have all cores.
        single = _Limited(one)
        runs = {
            "1 process": {"executor": single},
            "2 processes": {"executor": two},
            "serial": {"executor": "serial"},
            "2 threads": {"workers": 2},
        }
        for options in runs.values():
            seconds(raster, folder / "out.tif", **options)
        found = {name: [] for name in runs}
        for _, (name, options) in itertools.product(range(rounds), runs.items()):
            found[name].append(seconds(raster, folder / "out.tif", **options))
    medians = {name: statistics.median(times) for name, times in found.items()}
    print(f"64 steps a pixel, {size} x {size}, medians of {rounds}:")
    for name, median in medians.items():
        print(f"  {name:12} {median:6.2f} s  {size * size / 1e6 / median:6.0f} Mpx/s")
    print(f"  two processes are {medians['1 process'] / medians['2 processes']:.2f} times one")
    print(f"  two threads are {medians['serial'] / medians['2 threads']:.2f} times one")


class _Limited:
    """An executor that counts for two: its process then has one thread."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.name, self.local, self.workers = executor.name, executor.local, 2

    def map(self, function, tasks):
        return self._executor.map(function, tasks)

    def close(self, *, at_once: bool = False) -> None:
        """The inner one is closed by who opened it."""


def overhead_of_threads(tasks: int) -> float:
    side = max(1, int(tasks**0.5))
    raster = doubled(tj.from_array(np.ones((16 * side, 16 * side), np.float32)))
    raster.compute(tile=(16, 16), workers=2)
    start = time.perf_counter()
    raster.compute(tile=(16, 16), workers=2)
    return (time.perf_counter() - start) / side**2


def overhead(executor: Executor, tasks: int) -> float:
    def run(count: int) -> float:
        start = time.perf_counter()
        done = sum(outcome.error is None for outcome in executor.map(abs, range(count)))
        if done != count:
            raise RuntimeError(f"{count - done} of {count} tasks failed")
        return time.perf_counter() - start

    run(50)
    return run(tasks) / tasks


def overheads(names: Iterable[str], tasks: int, rounds: int) -> None:
    print(f"overhead of a tile, {tasks} tasks, median of {rounds}:")
    for name in names:
        if name == "threads":
            found = [overhead_of_threads(tasks) for _ in range(rounds)]
        else:
            with closing(open_executor(name)) as executor:
                found = [overhead(executor, tasks) for _ in range(rounds)]
        print(f"  {name:12} {1e3 * statistics.median(found):6.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--small", action="store_true", help="sizes that say nothing of speed: does it run?")
    given = parser.parse_args()
    if given.small:
        given.size, given.rounds, given.tasks = 256, 1, 20
    if is_leading_ranks():
        overheads(["mpi"], given.tasks, given.rounds)
        return
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        gain(Path(folder), given.size, given.rounds)
    overheads(["threads", "processes", "dask"], given.tasks, given.rounds)


if __name__ == "__main__":
    main()
