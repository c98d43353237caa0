"""File to file: slope of a DEM with the default profile, against GDAL's floor in the same run.

The floor (floor.py) reads the input and writes the finished result through the same codecs, overlapped on all cores,
and computes nothing. Both start as processes of their own, in turn; the clock of each runs from the first read to the
output's fsync, for tilejit with its imports of Numba, loading of compiled code and planning's end in it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from terrain import write_terrain

HERE = Path(__file__).parent


def _run(script: str, *arguments: Path) -> dict[str, float]:
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def _same_pixels(first: Path, second: Path) -> bool:
    with rasterio.open(first) as a, rasterio.open(second) as b:
        return all(np.array_equal(a.read(window=w), b.read(window=w), equal_nan=True) for _, w in a.block_windows(1))


def run(folder: Path, size: int, rounds: int) -> dict[str, object]:
    """Returns medians of wall, CPU and memory for tilejit and the floor at one size."""
    dem, ours, floors = (folder / f"{name}-{size}.tif" for name in ("dem", "slope", "floor"))
    if not dem.exists():
        write_terrain(dem, size)
    _run("slope_file.py", dem, ours)  # fills the cache of compiled kernels
    results: dict[str, list[dict[str, float]]] = {"tilejit": [], "floor": []}
    for _ in range(rounds):
        results["tilejit"].append(_run("slope_file.py", dem, ours))
        results["floor"].append(_run("floor.py", dem, ours, floors))
    if not _same_pixels(ours, floors):
        raise SystemExit("the floor wrote other pixels than tilejit")
    medians = {
        name: {
            key: statistics.median(r[key] for r in runs) for key in runs[0] if isinstance(runs[0][key], (int, float))
        }
        for name, runs in results.items()
    }
    ratios = [a["wall"] / b["wall"] for a, b in zip(results["tilejit"], results["floor"], strict=True)]
    for path in (ours, floors):
        path.unlink()
    return {"size": size, "medians": medians, "wall_ratio": statistics.median(ratios), "rounds": results}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))["medians"], indent=1))
