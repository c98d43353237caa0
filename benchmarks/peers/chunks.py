"""What the contenders on dask share: lazy arrays of files, and their way back into files."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import rasterio
import rioxarray
from rasterio.windows import Window

from peers.task import cores
from peers.windows import SIDE, bound_cache, output_profile, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from peers.task import Task


def open_arrays(task: Task) -> list[Any]:
    """Opens the inputs as arrays of chunks, each read without a lock; NaN where there is no data."""
    bound_cache()
    chunks = {"x": SIDE, "y": SIDE}
    return [
        rioxarray.open_rasterio(path, chunks=chunks, lock=False, masked=path.endswith("dem.tif")).squeeze("band", True)
        for path in task.inputs
    ]


class _Target:
    """An open file that dask stores chunks into."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __setitem__(self, key: tuple[slice, slice], chunk: NDArray[Any]) -> None:
        rows, cols = key
        window = Window.from_slices(rows, cols)
        write(self._dataset, window, chunk)


def save_arrays(task: Task, arrays: Sequence[Any]) -> None:
    """Computes all arrays in one go, and writes each chunk as it is there.

    rioxarray's ``to_raster`` with a lock opens the file anew for each chunk, for which GDAL forgets the compressor's
    level and threads (measured: ZSTD at its level 9, on one core). So chunks go into files that stay open.
    """
    with ExitStack() as stack:
        first = stack.enter_context(rasterio.open(task.inputs[0]))
        profile = output_profile(task, first, cores())
        targets = [_Target(stack.enter_context(rasterio.open(path, "w", **profile))) for path in task.outputs]
        locks = [threading.Lock() for _ in targets]
        waiting = [
            da.store(array, target, lock=lock, compute=False)
            for array, target, lock in zip(arrays, targets, locks, strict=True)
        ]
        dask.compute(*waiting)
