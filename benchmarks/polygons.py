"""Tables by polygons beside exactextract and rasterstats: the same polygons, the same raster, one run.

``python benchmarks/polygons.py FOLDER [SIZE] [ROUNDS]`` races mean, minimum and maximum of SIZE x SIZE float32 by 2,000
polygons that overlap, of 8 to 200 corners: the whole command, from files. ``--large`` makes a raster of 30000 x 30000
instead, and 8,000 polygons that overlap everywhere, and tells time and peak memory of one pass in a process of its own.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rasterio

CELL, WEST, NORTH = 30.0, 500_000.0, 5_300_000.0
OPTIONS = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1}
LARGE, MANY, FEW = 30_000, 8_000, 2_000


def make_raster(path, size):
    """Rows of noise that repeat, so that a large file stays small."""
    rng = np.random.default_rng(1)
    rows = (500 + 100 * np.sin(np.arange(size) / 700) + rng.normal(0, 5, (512, size))).astype(np.float32)
    grid = {"height": size, "width": size, "count": 1, "dtype": "float32", "nodata": -9999, "crs": "EPSG:32633"}
    if size == LARGE:
        rows = np.round(rows[:1] / 50).repeat(512, axis=0) * 50
    with rasterio.open(path, "w", transform=rasterio.Affine(CELL, 0, WEST, 0, -CELL, NORTH), **grid, **OPTIONS) as file:
        for row in range(0, size, 512):
            part = rows[: size - row]
            file.write(part, 1, window=rasterio.windows.Window(0, row, size, len(part)))


def make_polygons(path, size, count):
    """Stars, most of them small, that overlap; some with holes, some with more than one part."""
    import geopandas
    import shapely

    rng, made = np.random.default_rng(2), []
    for _ in range(count):
        corners = int(rng.integers(8, 200))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = size / np.sqrt(count) * rng.lognormal(0, 0.7) * (0.7 + 0.3 * rng.random(corners))
        x, y = rng.uniform(0, size, 2)
        shape = shapely.make_valid(
            shapely.Polygon(np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)]))
        )
        if rng.random() < 0.3:
            shape = shape.difference(shapely.Point(x, y).buffer(radius.mean() / 3))
        made.append(shapely.transform(shape, lambda xy: xy * [CELL, -CELL] + [WEST, NORTH]))
    geopandas.GeoDataFrame(geometry=made, crs="EPSG:32633").to_file(path)


def by_tilejit(folder, cells="fraction"):
    import tilejit as tj

    table = stats()(tj.open(folder / "values.tif"), zones=folder / "polygons.gpkg", cells=cells).compute()
    return np.column_stack([table["mean"], table["low"], table["high"]])


def stats():
    import tilejit as tj

    @tj.zonal(mean="mean", low="min", high="max")
    def stats(value):
        return value, value, value

    return stats


def by_exactextract(folder, strategy="feature-sequential"):
    import geopandas
    from exactextract import exact_extract

    names, polygons = ["mean", "min", "max"], geopandas.read_file(folder / "polygons.gpkg")
    table = exact_extract(str(folder / "values.tif"), polygons, names, output="pandas", strategy=strategy)
    return table[names].to_numpy()


def by_rasterstats(folder):
    from rasterstats import zonal_stats

    names = ["mean", "min", "max"]
    rows = zonal_stats(str(folder / "polygons.gpkg"), str(folder / "values.tif"), stats=" ".join(names))
    return np.array([[np.nan if row[name] is None else row[name] for name in names] for row in rows])


WAYS = {
    "shares of cells": {
        "tilejit": by_tilejit,
        "exactextract": by_exactextract,
        "exactextract, raster-sequential": lambda folder: by_exactextract(folder, "raster-sequential"),
    },
    "cells by centre": {"tilejit": lambda folder: by_tilejit(folder, "centre"), "rasterstats": by_rasterstats},
}


def race(ways, folder, rounds):
    """Median seconds of each way, in turns, after one round that compiles."""
    seconds, found = {name: [] for name in ways}, {}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            found[name] = way(folder)
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}, found


def compare(folder, size, rounds):
    make_raster(folder / "values.tif", size)
    make_polygons(folder / "polygons.gpkg", size, FEW)
    for title, ways in WAYS.items():
        seconds, found = race(ways, folder, rounds)
        print(f"{size} x {size}, {FEW} polygons: {title}")
        for name, median in seconds.items():
            apart = np.nanmax(np.abs(found[name] - found["tilejit"]))
            print(
                f"  {name:34} {median:7.2f} s   {median / seconds['tilejit']:6.1f} times tilejit's   {apart:.1e} apart"
            )


_ONE_RUN = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from polygons import by_tilejit
folder = Path({folder!r})
begin = time.perf_counter()
by_tilejit(folder, {cells!r})
print(json.dumps([time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
"""


def large(folder):
    """Time and peak memory of one pass over a large raster."""
    make_raster(folder / "values.tif", LARGE)
    make_polygons(folder / "polygons.gpkg", LARGE, MANY)
    for cells in ("centre", "fraction"):
        code = _ONE_RUN.format(here=str(Path(__file__).parent), folder=str(folder), cells=cells)
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, gigabytes = json.loads(run.stdout)
        print(f"{LARGE} x {LARGE}, {MANY} polygons that overlap, {cells}: {seconds:.1f} s, {gigabytes:.2f} GB at most")


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    folder, size, rounds = Path(words[0]), *(int(word) for word in (*words[1:], 8192, 3)[:2])
    folder.mkdir(exist_ok=True)
    if "--large" in sys.argv:
        large(folder)
    else:
        compare(folder, size, rounds)


if __name__ == "__main__":
    main()
