"""rasterio's windows, a pool of threads, and a loop for Numba, written by hand, that releases the GIL."""

from __future__ import annotations

from peers.contenders.threads import run
from peers.loops import LOOPS
from peers.task import Task, clocked

if __name__ == "__main__":
    task = Task.from_arguments()
    with clocked(task):
        run(task, LOOPS[task.job])
