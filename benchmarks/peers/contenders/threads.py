"""Windows on a pool of threads: what `rasterio_threads` and `rasterio_numba` share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import rasterio

from peers.task import cores
from peers.windows import bound_cache, open_all, output_profile, radius_of, read, windows_of, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from rasterio.windows import Window

    from peers.task import Task


def run(task: Task, formula: Callable[..., Sequence[NDArray[Any]]]) -> None:
    """Reads, computes and writes windows on all cores; a handle for each thread to read, a lock around each writer."""
    bound_cache()
    radius, own = radius_of(task), threading.local()

    with ExitStack() as stack:
        first = stack.enter_context(rasterio.open(task.inputs[0]))
        writers = [
            (threading.Lock(), stack.enter_context(rasterio.open(path, "w", **output_profile(task, first, cores()))))
            for path in task.outputs
        ]

        def process(window: Window) -> None:
            if not hasattr(own, "readers"):
                own.readers = open_all(task.inputs, sharing=False)
            results = formula(*(read(reader, window, radius) for reader in own.readers))
            for (lock, writer), result in zip(writers, results, strict=True):
                with lock:
                    write(writer, window, result)

        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(process, windows_of(first)):
                pass
