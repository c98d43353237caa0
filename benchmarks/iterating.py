"""Reconstruction by dilation beside scikit-image's, in time and memory.

``python benchmarks/iterating.py FOLDER [SIZE] [ROUNDS]``: SIZE x SIZE float32, ZSTD level 1, file to file. Each way
runs in a process of its own, in turns; seconds are medians without imports, memory is the most that the process held.
scikit-image reads the whole file, and reconstructs on one core.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import tilejit as tj
from tilejit.engine.pipeline.report import peak_memory
from tilejit_kernels.morphology import geodesic_dilation, reconstruct_by_dilation

OPTIONS = {"compress": "zstd", "zstd_level": 1, "predictor": 3}


def make(folder, size):
    """A fractal terrain; the marker is the terrain less 20 m, as for peaks that stand out by that."""
    rng = np.random.default_rng(1)
    terrain, side = np.zeros((size, size), np.float32), 4
    while side <= size:
        coarse = rng.normal(0, 1000 / side**0.9, (side + 1, side + 1)).astype(np.float32)
        at = np.linspace(0, side, size, endpoint=False)
        low, part = at.astype(int), (at % 1).astype(np.float32)
        rows = coarse[low] + (coarse[low + 1] - coarse[low]) * part[:, None]
        terrain += rows[:, low] + (rows[:, low + 1] - rows[:, low]) * part[None]
        side *= 4
    grid = tj.Grid(size, size, (30.0, 0.0, 0.0, 0.0, -30.0, 0.0), "EPSG:32633")
    tj.from_array(terrain, grid=grid).save(folder / "mask.tif", profile=OPTIONS, overwrite=True)
    tj.from_array(terrain - 20, grid=grid).save(folder / "marker.tif", profile=OPTIONS, overwrite=True)


def by_tilejit(folder):
    """One core, or all of them."""
    rasters = tj.open(folder / "marker.tif"), tj.open(folder / "mask.tif")
    report = reconstruct_by_dilation(*rasters).save(folder / "tilejit.tif", overwrite=True, profile=OPTIONS)
    sweeps = report.earlier[-1]
    return f"{sweeps.sweeps} sweeps of {sweeps.tiles} tiles, {sweeps.seconds:.1f} s"


def by_tilejit_on_one_core(folder):
    os.sched_setaffinity(0, {0})
    return by_tilejit(folder)


def by_sweeps(folder):
    """Without what monotone= allows."""
    rasters = tj.open(folder / "marker.tif"), tj.open(folder / "mask.tif")
    report = tj.iterate(geodesic_dilation, *rasters).save(folder / "sweeps.tif", overwrite=True, profile=OPTIONS)
    return f"{report.earlier[-1].sweeps} sweeps of {report.earlier[-1].tiles} tiles"


def by_scikit_image(folder):
    import rasterio
    from skimage.morphology import reconstruction

    with rasterio.open(folder / "marker.tif") as marker, rasterio.open(folder / "mask.tif") as mask:
        profile = mask.profile
        found = reconstruction(marker.read(1), mask.read(1)).astype(np.float32)
    with rasterio.open(folder / "skimage.tif", "w", **profile) as out:
        out.write(found, 1)
    return ""


WAYS = {
    "tilejit": by_tilejit,
    "tilejit, one core": by_tilejit_on_one_core,
    "scikit-image": by_scikit_image,
    "tilejit, sweep by sweep": by_sweeps,
}


def run(name, folder):
    """Seconds, core seconds, peak memory in MB and a note of one way, in this process."""
    if name == "scikit-image":
        import skimage.morphology  # noqa: F401
    import rasterio  # noqa: F401

    begin, cpu = time.perf_counter(), time.process_time()
    note = WAYS[name](folder)
    took = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps([*took, peak_memory() / 1e6, note]))


def main():
    folder, size, rounds = Path(sys.argv[1]), *(int(word) for word in (*sys.argv[2:], 4096, 3)[:2])
    folder.mkdir(exist_ok=True)
    make(folder, size)
    names = [name for name in WAYS if size <= 2048 or name != "tilejit, sweep by sweep"]
    found = {name: [] for name in names}
    for number in range(rounds + 1):  # the first compiles
        for name in names:
            words = [sys.executable, __file__, "--run", name, str(folder)]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            if number:
                found[name].append(json.loads(done.stdout))
    import rasterio

    with rasterio.open(folder / "tilejit.tif") as ours, rasterio.open(folder / "skimage.tif") as theirs:
        np.testing.assert_array_equal(ours.read(1), theirs.read(1))
    print(f"{size} x {size} float32, {size * size * 4 / 1e6:.0f} MB a raster")
    peer = statistics.median(row[0] for row in found["scikit-image"])
    for name, rows in found.items():
        seconds, cores, memory = (statistics.median(row[k] for row in rows) for k in (0, 1, 2))
        ratio = f"{seconds / peer:5.2f} of scikit-image, {cores:7.2f} core seconds"
        print(f"  {name:24} {seconds:7.2f} s, {ratio}, {memory:6.0f} MB  {rows[-1][3]}")


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
