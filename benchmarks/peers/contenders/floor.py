"""GDAL's floor: the inputs read, the finished results written, through the same codecs, overlapped, no arithmetic.

The results are in memory before the clock starts, so that writing is all that they cost. Every core decodes through a
handle of its own; a thread for each output hands windows over to GDAL, whose threads compress on all cores.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.windows import Window

from peers.task import Task, clocked, cores
from peers.windows import bound_cache, output_profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE = (512, 2048)
"""Rows and columns that are read or written at once: four blocks, 4 MB.

Over 8192 x 8192 no other choice took less CPU: one block at a time took a tenth more; windows four times as wide,
square ones, caches of 2 and 64 MB, one reader, and a thread more or less to compress the same within 5 %."""

PERIOD = 2048
"""The benchmark's terrain repeats after so many rows, and so do results but for the border's."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished raster: its first, second and last 2048 rows, which is all that differs in it."""

    rows: NDArray[Any]
    """The rows kept; all of them where there are no more than three times 2048."""
    height: int
    """Rows of the raster."""

    @staticmethod
    def load(path: str) -> Result:
        """Reads a file of the benchmark into memory."""
        with rasterio.open(path) as dataset:
            height, width = dataset.shape
            if height <= 3 * PERIOD or height % PERIOD:
                return Result(dataset.read(1), height)
            starts = (0, PERIOD, height - PERIOD)
            parts = [dataset.read(1, window=Window(0, start, width, PERIOD)) for start in starts]
            return Result(np.concatenate(parts), height)

    def cells(self, window: Window) -> NDArray[Any]:
        """Returns a window that lies within one period."""
        top = window.row_off
        if len(self.rows) < self.height:
            first, last = top < PERIOD, top >= self.height - PERIOD
            top = top % PERIOD + (0 if first else 2 * PERIOD if last else PERIOD)
        return self.rows[top : top + window.height, window.col_off : window.col_off + window.width]


def read_all(todo: queue.SimpleQueue[tuple[str, Window] | None]) -> None:
    """Decodes what is in the queue, into one buffer."""
    handles: dict[str, Any] = {}
    buffers: dict[str, NDArray[Any]] = {}
    while (item := todo.get()) is not None:
        path, window = item
        if path not in handles:
            handles[path] = rasterio.open(path, sharing=False)
            buffers[path] = np.empty(TILE, handles[path].dtypes[0])
        handles[path].read(1, window=window, out=buffers[path][: window.height, : window.width])
    for handle in handles.values():
        handle.close()


def write_all(path: str, profile: dict[str, Any], result: Result, windows: list[Window]) -> None:
    """Encodes a result into a file."""
    with rasterio.open(path, "w", **profile) as dataset:
        for window in windows:
            dataset.write(result.cells(window), 1, window=window)


def main() -> None:
    """Runs both at once."""
    # Blocks that leave a small cache at once are still in the processor's own; GDAL reads this when it first needs it.
    bound_cache(8)
    task = Task.from_arguments()
    results = [Result.load(path) for path in task.finished]
    with clocked(task):
        with rasterio.open(task.inputs[0]) as first:
            (height, width), profile = first.shape, output_profile(task, first, cores())
        windows = [
            Window(col, row, min(TILE[1], width - col), min(TILE[0], height - row))
            for row in range(0, height, TILE[0])
            for col in range(0, width, TILE[1])
        ]
        todo: queue.SimpleQueue[tuple[str, Window] | None] = queue.SimpleQueue()
        for window in windows:
            for path in task.inputs:
                todo.put((path, window))
        for _ in range(cores()):
            todo.put(None)
        with ThreadPoolExecutor(cores() + len(results)) as pool:
            futures = [pool.submit(read_all, todo) for _ in range(cores())]
            futures += [
                pool.submit(write_all, path, profile, result, windows)
                for path, result in zip(task.outputs, results, strict=True)
            ]
        for future in futures:
            future.result()


if __name__ == "__main__":
    main()
