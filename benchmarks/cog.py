"""What a COG costs beside a plain GeoTIFF: ``cog.py FOLDER [SIDE]`` prints a table of time, memory and bytes.

Each output is saved in a process of its own, in turns, seven times after one that compiles. Figures are medians, of
ratios too. A copy by GDAL's COG driver of the plain file, with as many threads, is the way
without ``cog=True``. The input is made in FOLDER and stays there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import rasterio
from rasterio.windows import Window

RUNS = 7
RUN = """
import json, os, resource, sys, time
from pathlib import Path
import tilejit as tj
from tilejit_kernels.terrain import slope

@tj.focal(radius=4)
def rough(z):
    low, high = z[0, 0], z[0, 0]
    for dy in range(-4, 5):
        for dx in range(-4, 5):
            low, high = min(low, z[dy, dx]), max(high, z[dy, dx])
    return high - low

source, target, name, how = *sys.argv[1:4], json.loads(sys.argv[4])
dem = tj.open(source)
made = {"copy": lambda: dem * 2.0, "slope": lambda: slope(dem, dx=30.0, dy=30.0), "rough": lambda: rough(dem)}[name]()
began = time.perf_counter()
if how == "gdal":
    import rasterio.shutil
    made.save(target + ".plain.tif", overwrite=True)
    options = {"COMPRESS": "ZSTD", "LEVEL": 1, "PREDICTOR": "YES", "OVERVIEW_RESAMPLING": "AVERAGE"}
    options |= {"NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER"}
    rasterio.shutil.copy(target + ".plain.tif", target, driver="COG", **options)
else:
    made.save(target, overwrite=True, **how)
took = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, os.path.getsize(target) / 1e6]))
"""
WAYS = {"plain": {}, "cog": {"cog": True}, "GDAL's copy": "gdal"}


def make_input(path: Path, side: int) -> None:
    """Write hills of float32."""
    profile = {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "zstd",
        "predictor": 3,
    }
    place = rasterio.Affine(30.0, 0.0, 500_000.0, 0.0, -30.0, 4_000_000.0)
    rng, cols = np.random.default_rng(1), np.arange(side)
    profile |= {"count": 1, "height": side, "width": side, "dtype": "float32", "bigtiff": "if_safer"}
    with rasterio.open(path, "w", nodata=np.nan, transform=place, crs="EPSG:32630", **profile) as file:
        for row in range(0, side, 512):
            rows = np.arange(row, min(row + 512, side))[:, None]
            hills = 800 + 300 * np.sin(rows / 210) * np.cos(cols / 170) + 20 * np.sin((rows + cols) / 13)
            cells = hills + rng.normal(size=hills.shape).cumsum(1) * 0.05
            file.write(cells.astype(np.float32), 1, window=Window(0, row, side, len(rows)))


def measure(source: Path, folder: Path, name: str, how: object) -> list[float]:
    """Seconds, core seconds, MB of memory at most, and MB of the file, of one run."""
    command = [sys.executable, str(folder / "run.py"), str(source), str(folder / "out.tif"), name, json.dumps(how)]
    found: list[float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def main() -> None:
    """Measure, and print."""
    folder, side = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 12288
    source = folder / f"dem_{side}.tif"
    if not source.exists():
        make_input(source, side)
    (folder / "run.py").write_text(RUN, "utf-8")
    print(f"{side} x {side} float32        seconds  ratio  core seconds   MB of memory   MB of file")
    for name in ("copy", "slope", "rough"):
        runs: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for turn in range(RUNS + 1):
            for way, how in WAYS.items():
                found = measure(source, folder, name, how)
                if turn:
                    runs[way].append(found)
        for way, rows in runs.items():
            took, cores, memory, size = (median(column) for column in zip(*rows, strict=True))
            ratio = median(row[0] / plain[0] for row, plain in zip(rows, runs["plain"], strict=True))
            print(f"{name:6} {way:14} {took:12.2f} {ratio:6.2f} {cores:13.2f} {memory:14.0f} {size:12.1f}")


if __name__ == "__main__":
    main()
