"""GDAL's floor: the input read, the finished result written, through the same codecs, overlapped, no arithmetic.

Run as a program: ``floor.py INPUT RESULT OUTPUT``. RESULT is loaded before the clock starts, so that writing is all
that its pixels cost.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time

os.environ.setdefault("GDAL_CACHEMAX", "8")

import numpy as np
import rasterio
from rasterio.windows import Window

TILE = (512, 2048)


def read_all(path: str, todo: queue.SimpleQueue, dtype: str) -> None:
    out = np.empty((1, *TILE), dtype)
    with rasterio.open(path, sharing=False) as dataset:
        while (window := todo.get()) is not None:
            dataset.read(window=window, out=out[:, : window.height, : window.width])


def write_all(path: str, result: np.ndarray, profile: dict, windows: list[Window]) -> None:
    with rasterio.open(path, "w", **profile) as dataset:
        for window in windows:
            rows, cols = window.toslices()
            dataset.write(result[:, rows, cols], window=window)


def main() -> None:
    source, finished, target = sys.argv[1:4]
    cores = len(os.sched_getaffinity(0))
    with rasterio.open(finished) as dataset:
        result, profile = (
            dataset.read(),
            dataset.profile | {"num_threads": cores, "zstd_level": 1, "bigtiff": "IF_SAFER"},
        )
        profile["predictor"] = 3 if result.dtype.kind == "f" else 2
    with rasterio.open(source) as dataset:
        height, width, dtype = dataset.height, dataset.width, dataset.dtypes[0]
    windows = [
        Window(c, r, min(TILE[1], width - c), min(TILE[0], height - r))
        for r in range(0, height, TILE[0])
        for c in range(0, width, TILE[1])
    ]
    todo: queue.SimpleQueue = queue.SimpleQueue()
    for window in [*windows, *[None] * cores]:
        todo.put(window)
    start, busy = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=read_all, args=(source, todo, dtype)) for _ in range(cores)]
    threads.append(threading.Thread(target=write_all, args=(target, result, profile, windows)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    seconds = time.perf_counter() - start
    print(json.dumps({"wall": seconds, "cpu": time.process_time() - busy}))


if __name__ == "__main__":
    main()
