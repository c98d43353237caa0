"""What executors gain and cost: two worker processes against one, and the overhead of a tile.

The gain is that of a compute-bound kernel, 64 steps of a quadratic map for each pixel, file to file; rounds are
interleaved, workers are started before, and the table has medians. The overhead is the whole wall time of a cheap
kernel over a file with tiles of 16 x 16 cells, by tile: through an executor each tile is a part of its own, with its
reading, computing, writing into the result and reporting.

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
from tilejit.engine.executors import open_executor
from tilejit.engine.executors.processes import ProcessesExecutor
from tilejit.engine.planning import parts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilejit.engine.executors.base import Executor


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

    def map(self, function, tasks, waiting):
        return self._executor.map(function, tasks, waiting)

    def close(self, *, at_once: bool = False) -> None:
        """The inner one is closed by who opened it."""


def tiny_tiles(folder: Path, tasks: int) -> tj.Raster:
    """A raster of so many tiles of 16 x 16 cells, or a few less."""
    side = max(1, int(tasks**0.5))
    path = folder / "tiles.tif"
    profile = {"blockxsize": 16, "blockysize": 16, "compress": "none"}
    tj.from_array(np.ones((16 * side, 16 * side), np.float32)).save(path, profile=profile, overwrite=True)
    return doubled(tj.open(path))


def overhead(raster: tj.Raster, **options) -> float:
    """Seconds by tile."""
    start = time.perf_counter()
    raster.compute(tile=(16, 16), **options)
    return (time.perf_counter() - start) / (raster.grid.height / 16) ** 2


def overheads(folder: Path, names: Iterable[str], tasks: int, rounds: int) -> None:
    raster = tiny_tiles(folder, tasks)
    parts._PART_BYTES = 1  # a part for each tile, which no run of its own accord has
    print(f"overhead of a tile, about {tasks} tiles, median of {rounds}:")
    for name in names:
        if name == "threads":
            found = [overhead(raster, workers=2) for _ in range(rounds + 1)]
        else:
            with closing(open_executor(name)) as executor:
                found = [overhead(raster, executor=executor) for _ in range(rounds + 1)]
        # In the first round workers start.
        print(f"  {name:12} {1e3 * statistics.median(found[1:]):6.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--small", action="store_true", help="sizes that say nothing of speed: does it run?")
    given = parser.parse_args()
    if given.small:
        given.size, given.rounds, given.tasks = 256, 1, 20
    with tempfile.TemporaryDirectory(prefix="tilejit-") as folder:
        if is_leading_ranks():
            overheads(Path(folder), ["mpi"], given.tasks, given.rounds)
            return
        gain(Path(folder), given.size, given.rounds)
        overheads(Path(folder), ["threads", "processes", "dask"], given.tasks, given.rounds)


if __name__ == "__main__":
    main()
