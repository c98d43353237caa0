"""Tables by zone and a stretch by percentiles, file to file, beside hand-written loops, SciPy and xarray-spatial.

``python benchmarks/zones.py FOLDER [SIZE] [ROUNDS]``: SIZE x SIZE float32 by 4,000 zones, ZSTD level 1, medians of
rounds that take turns: seconds, and seconds of cores, which other work on the machine changes less. The hand-written
way reads windows with rasterio on all cores and folds them in a Numba loop of float64 sums; every way gives the same
counts and extremes, and sums that differ in their last digits. Reading alone is what tilejit's readers take for the
same windows. Polygons, with exactextract and rasterstats, are in `benchmarks/polygons.py`.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
from numba import njit
from rasterio.windows import Window
from scipy import ndimage

import tilejit as tj
from tilejit_kernels import zonal

ZONES, TILE = 4000, 1024
OPTIONS = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1}


@tj.zonal(count="sum", total="sum", low="min", high="max")
def stats(value):
    return 1, value, value, value


@tj.zonal(majority="majority", variety="variety")
def most(value):
    whole = math.floor(value)
    return whole, whole


@tj.local
def stretched(z, *, low, high) -> np.uint8:
    return min(max((z - low) / (high - low), 0.0), 1.0) * 254


@njit(nogil=True)
def fold(zones, values, counts, sums, lows, highs):  # noqa: PLR0917
    for y in range(zones.shape[0]):
        for x in range(zones.shape[1]):
            zone, value = zones[y, x], values[y, x]
            if value == value:
                counts[zone] += 1
                sums[zone] += value
                lows[zone] = min(lows[zone], value)
                highs[zone] = max(highs[zone], value)


def make(folder, size):
    """Terrain-like values, and zones of irregular cells."""
    rng = np.random.default_rng(1)
    rough = rng.normal(500, 150, (size // 64 + 2, size // 64 + 2)).astype(np.float32)
    values = np.kron(rough, np.ones((64, 64), np.float32))[:size, :size] + rng.normal(0, 2, (size, size)).astype(
        np.float32
    )
    side = int(np.ceil(np.sqrt(ZONES)))
    rows = (np.arange(size)[:, None] + 40 * np.sin(np.arange(size) / 300)[None]) * side / (size + 80) + 0.4
    cols = (np.arange(size)[None] + 40 * np.sin(np.arange(size) / 200)[:, None]) * side / (size + 80) + 0.4
    zones = np.clip(rows.astype(np.int32) * side + cols.astype(np.int32), 0, ZONES - 1)
    for name, array, predictor in (("values", values, 3), ("zones", zones, 2)):
        with rasterio.open(folder / f"{name}.tif", "w", height=size, width=size, count=1, dtype=array.dtype.name,
                           crs="EPSG:32633", transform=rasterio.Affine(30, 0, 0, 0, -30, 0), predictor=predictor,
                           **OPTIONS) as file:  # fmt: skip
            file.write(array, 1)


def windows(size):
    return [
        Window(x, y, min(TILE, size - x), min(TILE, size - y))
        for y in range(0, size, TILE)
        for x in range(0, size, TILE)
    ]


def by_hand(folder, size):
    """Windows on threads, each with datasets and tables of its own."""
    cores = os.cpu_count() or 1
    parts = [windows(size)[k::cores] for k in range(cores)]

    def run(part):
        table = np.zeros(ZONES, np.int64), np.zeros(ZONES), np.full(ZONES, np.inf), np.full(ZONES, -np.inf)
        with rasterio.open(folder / "zones.tif") as zones, rasterio.open(folder / "values.tif") as values:
            for window in part:
                fold(zones.read(1, window=window), values.read(1, window=window), *table)
        return table

    with ThreadPoolExecutor(cores) as pool:
        tables = list(pool.map(run, parts))
    return {"count": sum(t[0] for t in tables), "low": np.min([t[2] for t in tables], axis=0)}


def by_tilejit(folder, _size):
    return stats(tj.open(folder / "values.tif"), zones=tj.open(folder / "zones.tif")).compute()


def reading_alone(folder, size):
    """What tilejit takes to read both files, window by window on all cores."""
    bands = [tj.open(folder / f"{name}.tif").bands[0] for name in ("values", "zones")]

    def read(row):
        for band in bands:
            band.source.read(
                [1], tj.Window(row, 0, min(512, size - row), size), np.empty((1, 512, size), band.info.dtype)
            )

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(read, range(0, size, 512)))


def medians_by_tilejit(folder, _size):
    return zonal.median(tj.open(folder / "values.tif"), zones=tj.open(folder / "zones.tif")).compute()


def medians_by_scipy(folder, _size):
    """In memory, on one core: it sorts all cells."""
    with rasterio.open(folder / "zones.tif") as zones, rasterio.open(folder / "values.tif") as values:
        return {"median": ndimage.median(values.read(1), zones.read(1), np.arange(ZONES))}


def majorities_by_tilejit(folder, _size):
    table = most(tj.open(folder / "values.tif"), zones=tj.open(folder / "zones.tif"))
    return table.compute()


def by_xarray_spatial(folder, _size):
    """In memory: it has no way over blocks of files for this but dask's."""
    import rioxarray
    from xrspatial import zonal_stats

    values = rioxarray.open_rasterio(folder / "values.tif")[0]
    zones = rioxarray.open_rasterio(folder / "zones.tif")[0]
    table = zonal_stats(zones, values, stats_funcs=["count", "sum", "min", "max"])
    return {"count": table["count"].to_numpy(), "low": table["min"].to_numpy()}


def stretch_by_tilejit(folder, _size):
    raster = tj.open(folder / "values.tif")
    low, high = raster.percentile(2, 98)
    stretched(raster, low=low, high=high).save(folder / "by tilejit.tif", overwrite=True)


def stretch_by_hand(folder, size):
    """np.percentile of all cells, then windows on threads."""
    cores = os.cpu_count() or 1
    with rasterio.open(folder / "values.tif") as file:
        low, high = np.percentile(file.read(1), [2, 98])
        profile = file.profile | {"dtype": "uint8", "nodata": 255, "predictor": 2}
    with rasterio.open(folder / "by hand.tif", "w", **profile, num_threads=cores) as out:

        def run(window):
            with rasterio.open(folder / "values.tif") as file:
                z = file.read(1, window=window)
            return window, (np.clip((z - low) / (high - low), 0, 1) * 254).astype(np.uint8)

        with ThreadPoolExecutor(cores) as pool:
            for window, cells in pool.map(run, windows(size)):
                out.write(cells, 1, window=window)


def race(ways, folder, size, rounds):
    """Median seconds, and seconds of cores, of each way, in turns."""
    found = {name: [] for name in ways}
    for _ in range(rounds + 1):  # the first compiles
        for name, way in ways.items():
            begin, cores = time.perf_counter(), time.process_time()
            way(folder, size)
            found[name].append((time.perf_counter() - begin, time.process_time() - cores))
    return {name: tuple(map(statistics.median, zip(*times[1:], strict=True))) for name, times in found.items()}


def main():
    folder, size, rounds = Path(sys.argv[1]), *(int(word) for word in (*sys.argv[2:], 8192, 3)[:2])
    folder.mkdir(exist_ok=True)
    make(folder, size)
    one, other = by_tilejit(folder, size), by_hand(folder, size)
    for name in ("count", "low"):
        np.testing.assert_array_equal(one[name], other[name][one["zone"]])
    tables = {"tilejit": by_tilejit, "rasterio threads, Numba by hand": by_hand, "reading alone": reading_alone}
    medians = {"tilejit": medians_by_tilejit, "tilejit, majority and variety": majorities_by_tilejit}
    if size <= 8192:
        tables["xarray-spatial, in memory"] = by_xarray_spatial
        medians["scipy.ndimage, in memory"] = medians_by_scipy
    stretches = {"tilejit": stretch_by_tilejit, "rasterio threads, NumPy": stretch_by_hand}
    jobs = {f"{ZONES} zones": tables, f"medians of {ZONES} zones": medians, "stretch from 2 to 98 %": stretches}
    for title, ways in jobs.items():
        found = race(ways, folder, size, rounds)
        print(f"{size} x {size}, {title}")
        for name, (seconds, cores) in found.items():
            share, of_cores = (mine / its for mine, its in zip(found["tilejit"], (seconds, cores), strict=True))
            print(
                f"  {name:32} {seconds:6.2f} s, {cores:6.2f} of cores   tilejit takes {share:.2f} of it, {of_cores:.2f}"
            )


if __name__ == "__main__":
    main()
