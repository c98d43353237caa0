"""Expressions of Rasters against a fused loop written by hand for Numba, numexpr, and NumPy, in one run.

Ten operations on five bands, first of arrays in memory, each contender with a new array for its result, then from file
to file: tilejit, and rasterio with NumPy on as many threads, strip by strip, each block decoded once by both. Rounds
are interleaved, each in another order; the table shows medians, and how many times as long as tilejit each takes.

    python benchmarks/expressions.py [SIDE] [THREADS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numba
import numexpr
import numpy as np
import rasterio
from numba import njit, prange
from rasterio.windows import Window

import tilejit as tj
from tilejit.system.limits import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROUNDS = 9
F32 = np.float32
ONE = F32(1)
TEXT = "(a - b) / (a + b + one) * c + (d - e) / (d + e + one)"
BLOCK = 512


def formula(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Ten operations, of Rasters and of arrays."""
    return (a - b) / (a + b + ONE) * c + (d - e) / (d + e + ONE)


@njit(parallel=True, error_model="numpy")
def by_hand(a, b, c, d, e):
    """The fused loop that one would write."""
    out = np.empty(a.shape, np.float32)
    for y in prange(a.shape[0]):
        for x in range(a.shape[1]):
            p, q, r, s, t = F32(a[y, x]), F32(b[y, x]), F32(c[y, x]), F32(d[y, x]), F32(e[y, x])
            out[y, x] = (p - q) / (p + q + ONE) * r + (s - t) / (s + t + ONE)
    return out


def timed(contenders: Mapping[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """The median seconds of each, by the clock and of cores."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start, cores = time.perf_counter(), time.process_time()
            contenders[name]()
            seconds[name].append((time.perf_counter() - start, time.process_time() - cores))
    medians = {
        name: [statistics.median(column) for column in zip(*times, strict=True)] for name, times in seconds.items()
    }
    return {name: (clock, cores) for name, (clock, cores) in medians.items()}


def told(title: str, seconds: Mapping[str, tuple[float, float]], pixels: int) -> None:
    """Prints a table; the first is what the others are compared with."""
    first, first_cores = next(iter(seconds.values()))
    sys.stdout.write(f"\n{title}\n  {'':28}{'clock':>12}{'ratio':>8}{'cores':>12}{'ratio':>8}\n")
    for name, (clock, cores) in seconds.items():
        by_clock = f"{clock * 1e3:9.1f} ms{clock / first:8.2f}"
        by_cores = f"{cores * 1e3:9.1f} ms{cores / first_cores:8.2f}"
        sys.stdout.write(f"  {name:28}{by_clock}{by_cores}{pixels / clock / 1e6:10.0f} Mpx/s\n")


def in_memory(side: int, threads: int, dtype: type[np.number]) -> None:
    """Arrays of float32; or of integers, which NumPy and numexpr are given as float32, for theirs would wrap."""
    random = np.random.default_rng(0)
    bands = [(random.random((side, side), np.float32) * 10_000).astype(dtype) for _ in range(5)]
    lazy = formula(*(tj.from_array(band) for band in bands))

    def floats() -> list[Any]:
        return [band.astype(np.float32, copy=False) for band in bands]

    contenders: dict[str, Callable[[], Any]] = {
        "tilejit": lambda: lazy.compute(workers=threads)[0],
        "fused loop, Numba": lambda: by_hand(*bands),
        "numexpr": lambda: numexpr.evaluate(TEXT, dict(zip("abcde", floats(), strict=True), one=ONE)),
        "NumPy": lambda: formula(*floats()),
    }
    results = {name: compute() for name, compute in contenders.items()}
    for name, result in results.items():
        np.testing.assert_array_equal(result, results["tilejit"], err_msg=name)
    told(f"in memory: {side} x {side}, {dtype.__name__}, {threads} threads", timed(contenders), side * side)


def written(folder: Path, side: int) -> Path:
    """A file of five bands of reflectances, uint16."""
    path = folder / "scene.tif"
    smooth = np.add.outer(np.arange(side), np.arange(side)) % 5000
    noise = np.random.default_rng(1).integers(0, 200, (5, side, side))
    cells = (smooth + noise + 1000 * np.arange(5)[:, None, None]).astype(np.uint16)
    tj.from_array(cells).save(path, progress=False)
    return path


def by_rasterio(source: Path, target: Path, threads: int) -> None:
    """Strips of whole blocks on threads, each with a file of its own to read from."""
    with rasterio.open(source) as file:
        profile = {**file.profile, "count": 1, "dtype": "float32", "nodata": np.nan}
        windows = [Window(0, row, file.width, min(BLOCK, file.height - row)) for row in range(0, file.height, BLOCK)]
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "zstd", "zstd_level": 1,
                "predictor": 3}  # fmt: skip
    writing = Lock()
    with rasterio.open(target, "w", **profile) as output:

        def strip(window: Window) -> None:
            with rasterio.open(source) as file:
                cells = file.read(window=window).astype(np.float32)
            result = formula(*cells)
            with writing:
                output.write(result, 1, window=window)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(strip, windows))


def file_to_file(side: int, threads: int) -> None:
    """A GeoTIFF of five bands to one of one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = written(folder, side)
        ours, theirs = folder / "ours.tif", folder / "theirs.tif"

        def tilejit() -> None:
            formula(*tj.open(source)).save(ours, workers=threads, progress=False, overwrite=True)

        report = formula(*tj.open(source)).save(ours, workers=threads, progress=False)
        by_rasterio(source, theirs, threads)
        with rasterio.open(ours) as one, rasterio.open(theirs) as other:
            np.testing.assert_allclose(one.read(), other.read(), rtol=1e-6)
        bytes_line = next(line for line in str(report).splitlines() if line.startswith("bytes"))
        seconds = timed({"tilejit": tilejit, "rasterio threads, NumPy": lambda: by_rasterio(source, theirs, threads)})
        told(f"file to file: {side} x {side}, five bands of uint16, ZSTD, {threads} threads", seconds, side * side)
        sys.stdout.write(f"  {bytes_line}\n")


def main(arguments: Sequence[str]) -> None:
    """Measures both."""
    side = int(arguments[0]) if arguments else 4096
    threads = int(arguments[1]) if len(arguments) > 1 else available_cores()
    numba.set_num_threads(threads)
    numexpr.set_num_threads(threads)
    for dtype in (np.float32, np.uint16):
        in_memory(side, threads, dtype)
    file_to_file(side, threads)


if __name__ == "__main__":
    main(sys.argv[1:])
