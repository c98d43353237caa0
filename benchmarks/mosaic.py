"""Mosaics beside rasterio's: overlapping tiles into one file, each run a process of its own, with its memory and time.

``python benchmarks/mosaic.py [TILES] [SIDE] [ROUNDS]`` makes so many tiles of int16 with holes, SIDE cells wide and
high, in a temporary folder: all of one grid, and a third each in three CRSs. All write 512 x 512 blocks, ZSTD level
1, predictor 2. The peers are ``rio merge``, and ``rasterio.merge``, which it calls, with GDAL's NUM_THREADS=ALL_CPUS
for the output; where CRSs differ that is given a ``WarpedVRT`` of each. Runs alternate; figures are medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import tilejit as tj

OVERLAP = 32
CRSS = ("EPSG:32633", "EPSG:32632", "EPSG:3035")
KINDS = ("one grid", "three CRSs")

OPTIONS = {"tiled": "yes", "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1, "predictor": 2}

OURS = """
import sys
import tilejit as tj

tj.mosaic(sys.argv[2:]).save(sys.argv[1], nodata=-1, dtype="int16")
"""
PEER = """
import sys
import rasterio
from rasterio.enums import Resampling
from rasterio.merge import merge
from rasterio.vrt import WarpedVRT

options = OPTIONS | {"driver": "GTiff", "bigtiff": "if_safer", "num_threads": "all_cpus"}
files = sys.argv[2:]
with rasterio.open(files[0]) as first:
    crs = first.crs
sources = [rasterio.open(file) for file in files]
if len({source.crs.to_epsg() for source in sources}) > 1:
    sources = [s if s.crs == crs else WarpedVRT(s, crs=crs, resampling=Resampling.bilinear) for s in sources]
merge(sources, dst_path=sys.argv[1], dst_kwds=options)
""".replace("OPTIONS", repr(OPTIONS))


def make_tiles(folder, count, side):
    """Tiles beside each other with an overlap; names of the files by kind."""
    across = int(np.ceil(np.sqrt(count)))
    random, files = np.random.default_rng(1), {kind: [] for kind in KINDS}
    y, x = np.mgrid[:side, :side]
    base = (800 + 300 * np.sin(x / 41) * np.cos(y / 29) + random.integers(0, 9, (side, side))).astype(np.int16)
    base[random.random(base.shape) < 0.001] = -1
    for k in range(count):
        row, col = divmod(k, across)
        step = (side - OVERLAP) * 10
        left, top = 400_000 + col * step, 5_600_000 - row * step
        grid = tj.Grid.from_bounds((left, top - side * 10, left + side * 10, top), CRSS[0], resolution=10)
        cells = np.roll(base, 7 * k, axis=1)
        for kind in KINDS:
            there = grid
            if kind == KINDS[1] and k % 3:
                there = tj.Grid.from_bounds(grid.to_crs(CRSS[k % 3]).bounds, CRSS[k % 3], shape=grid.shape)
            files[kind].append(str(folder / f"{kind.replace(' ', '_')}_{k:05}.tif"))
            tj.from_array(cells, grid=there, nodata=-1).save(files[kind][-1], progress=False)
    return files


def run(words):
    """Wall seconds, CPU seconds and the most memory, in MB, of a process."""
    start = time.perf_counter()
    child = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"a run failed: {' '.join(words[:4])} … ({status})")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def commands(output, files, kind):
    """What is raced, by its name."""
    python = [sys.executable, "-W", "ignore", "-c"]
    found = {"tilejit": [*python, OURS, output, *files], "rasterio.merge": [*python, PEER, output, *files]}
    if kind == KINDS[0]:
        options = [part for name, value in OPTIONS.items() for part in ("--co", f"{name}={value}")]
        found["rio merge"] = ["rio", "merge", *files, "-o", output, "--overwrite", *options]
    return found


def main(count=500, side=1024, rounds=3):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, output = make_tiles(folder, count, side), str(folder / "out.tif")
        print("| inputs | what | wall s | CPU s | most memory, MB | wall, of tilejit's |\n|---|---|---|---|---|---|")
        for kind in KINDS:
            figures = defaultdict(list)
            for _ in range(rounds):
                for what, words in commands(output, files[kind], kind).items():
                    Path(output).unlink(missing_ok=True)
                    figures[what].append(run(words))
            for what, found in figures.items():
                wall, cpu, memory = (statistics.median(column) for column in zip(*found, strict=True))
                ratio = statistics.median(one[0] / ours[0] for one, ours in zip(found, figures["tilejit"], strict=True))
                told = f"{count} tiles of {side} x {side}, {kind} | {what} | {wall:.1f} | {cpu:.1f} | {memory:.0f}"
                print(f"| {told} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
