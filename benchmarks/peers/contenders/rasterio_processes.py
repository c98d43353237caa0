"""Rasterio's windows in a pool of processes, NumPy; results travel back, and the parent writes them.

GDAL cannot compress into one file from several processes.
"""

from __future__ import annotations

import multiprocessing
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from peers.arithmetic import FORMULAS
from peers.task import Task, clocked, cores
from peers.windows import bound_cache, open_all, output_profile, radius_of, read, windows_of, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rasterio.windows import Window

_own: dict[str, Any] = {}
"""What each process keeps from window to window."""


def _start(task: Task) -> None:
    np.seterr(all="ignore")
    _own.update(task=task, readers=open_all(task.inputs))


def _process(window: Window) -> tuple[Window, Sequence[NDArray[Any]]]:
    task, radius = _own["task"], radius_of(_own["task"])
    return window, FORMULAS[task.job](*(read(reader, window, radius) for reader in _own["readers"]))


def run(task: Task) -> None:
    """Computes windows in all processes, and writes them as they come."""
    bound_cache()
    with ExitStack() as stack:
        # Before any dataset is open here: handles do not survive a fork.
        pool = stack.enter_context(multiprocessing.Pool(cores(), _start, (task,)))
        first = stack.enter_context(rasterio.open(task.inputs[0]))
        profile = output_profile(task, first, cores())
        writers = [stack.enter_context(rasterio.open(path, "w", **profile)) for path in task.outputs]
        for window, results in pool.imap_unordered(_process, windows_of(first)):
            for writer, result in zip(writers, results, strict=True):
                write(writer, window, result)
        pool.close()
        pool.join()


if __name__ == "__main__":
    task = Task.from_arguments()
    with clocked(task):
        run(task)
