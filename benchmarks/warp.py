"""Warping beside GDAL's: the same DEM onto the same grid, in memory, on one thread, in one run.

``python benchmarks/warp.py [DEM] [ROUNDS]`` prints CPU nanoseconds for each cell of the output, medians of rounds that
alternate, and how far the results lie apart; then, from a file, how many blocks are decoded for each that is needed.
GDAL warps as it does by default: an approximate transformer, 0.125 of a cell, and a scale of its own.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.warp import Resampling, reproject

import tilejit as tj
from tilejit.formats.geotiff.block_source import BlockSource

DATA = Path(os.environ.get("TILEJIT_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
DEM = DATA / "dem" / "srtm3_north_england_3601x2401.tif"
RESAMPLINGS = ("nearest", "bilinear", "cubic", "average")


def heights(path):
    """A DEM as float32 with NaN, and its grid; generated where there is none."""
    if Path(path).exists():
        raster = tj.open(path, band=1)
        return raster.read(dtype="float32")[0], raster.grid
    y, x = np.mgrid[:2401, :3601]
    grid = tj.Grid.from_bounds((-3, 54, 0.0008333, 56.0008333), "EPSG:4326", shape=(2401, 3601))
    return (300 + 200 * np.sin(x / 37) * np.cos(y / 53)).astype(np.float32), grid


def by_gdal(cells, grid, target, name):
    out = np.full(target.shape, np.nan, np.float32)
    reproject(
        cells, out, src_transform=rasterio.Affine(*grid.transform), src_crs=grid.crs, src_nodata=np.nan,
        dst_transform=rasterio.Affine(*target.transform), dst_crs=target.crs, dst_nodata=np.nan,
        resampling=Resampling[name], num_threads=1, warp_mem_limit=64,
    )  # fmt: skip
    return out


def by_tilejit(raster, target, name):
    return raster.to(target, resampling=name).read(executor="serial")[0]


def cpu_of(function, *arguments):
    start = time.process_time()
    made = function(*arguments)
    return time.process_time() - start, made


def race(cells, grid, target, title, rounds):
    raster = tj.from_array(cells, grid=grid)
    for name in RESAMPLINGS:
        ours, gdals = by_tilejit(raster, target, name), by_gdal(cells, grid, target, name)  # which compiles, too
        apart = np.nanmedian(np.abs(ours - gdals))
        times = [
            (cpu_of(by_tilejit, raster, target, name)[0], cpu_of(by_gdal, cells, grid, target, name)[0])
            for _ in range(rounds)
        ]
        mine, theirs = (statistics.median(t[k] for t in times) / ours.size * 1e9 for k in (0, 1))
        ratio = statistics.median(t[1] / t[0] for t in times)
        print(f"| {title} | {name} | {mine:.1f} | {theirs:.1f} | {ratio:.1f} | {apart:.2g} |")


def decoded(path, target, tile):
    """How many blocks are decoded, for each that the file has."""
    raster, count, decode = tj.open(path), 0, BlockSource._decoded

    def counted(self, number, run, row, out):
        nonlocal count
        count += run.count
        return decode(self, number, run, row, out)

    BlockSource._decoded = counted
    try:
        raster.to(target).read(tile=tile)
    finally:
        BlockSource._decoded = decode
    rows, cols = raster.bands[0].source.block
    return count / (-(-raster.grid.height // rows) * -(-raster.grid.width // cols))


def main(path=DEM, rounds=5):
    warnings.simplefilter("ignore")
    cells, grid = heights(path)
    utm = grid.to_crs("EPSG:32630")
    targets = {
        "UTM, as GDAL suggests": utm,
        "UTM, twice as fine": utm.zoom_out(0.5),
        "Web Mercator": grid.to_crs("EPSG:3857"),
        "UTM, 4 times as coarse": utm.zoom_out(4),
    }
    print("| grid | resampling | tilejit, ns a cell | GDAL, ns a cell | times as fast | median difference |")
    print("|---|---|---|---|---|---|")
    for title, target in targets.items():
        race(cells, grid, target, title, int(rounds))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dem.tif"
        tj.from_array(cells, grid=grid).save(file, progress=False)
        for tile in (None, (512, 512), (64, 4096), (700, 333)):
            found = decoded(file, utm, tile)
            print(f"\ntiles of {tile or 'the chosen size'}: {found:.2f} blocks decoded for each of the file")


if __name__ == "__main__":
    main(*sys.argv[1:])
