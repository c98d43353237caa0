"""Predicted against measured run times: ``prediction.py FOLDER [SIZE] [ROUNDS]`` prints a table.

Each run is a process of its own, as a command line's is; predictions are made before the runs. A run counts where other
programs took less than a tenth of the cores meanwhile (/proc/stat tells); where there is none after three times the
rounds, the one that they disturbed least stands for it. The table has medians of those that count. Inputs are made in
FOLDER and stay there.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio

import tilejit as tj
from terrain import PROFILE, scene, write_terrain
from tilejit.engine.prediction import predict_job
from tilejit.raster.options import RunOptions
from tilejit.raster.running import plan_outputs
from tilejit_kernels.filters import mean_5x5
from tilejit_kernels.indices import ndvi
from tilejit_kernels.terrain import aspect, hillshade, slope

if TYPE_CHECKING:
    from tilejit.engine.planning.planner import Job
    from tilejit.engine.prediction import Prediction


@tj.focal(nodata="kernel")
def mean_11x11(z):
    total = 0.0
    count = 0
    for dy in range(-5, 6):
        for dx in range(-5, 6):
            if tj.is_valid(z[dy, dx]):
                total += z[dy, dx]
                count += 1
    return total / count if count else math.nan


PROFILES = {
    "ZSTD 1": {"compress": "zstd", "zstd_level": 1},
    "DEFLATE 6": {"compress": "deflate", "zlevel": 6},
}
QUIET = 0.1
"""The share of the cores that other programs may take in a run that counts."""
JOBS = ("ndvi", "slope", "mean 5x5", "mean 11x11", "three outputs")


def write_inputs(folder: Path, size: int) -> None:
    dem = folder / f"dem-{size}.tif"
    if not dem.exists():
        write_terrain(dem, size, holes=True)
    for name, cells in zip(("red", "nir"), scene(size), strict=True):
        path = folder / f"{name}-{size}.tif"
        if path.exists():
            continue
        profile = PROFILE | {"dtype": "uint16", "count": 1, "width": size, "height": size, "predictor": 2}
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(cells, 1)


def outputs(job: str, folder: Path, size: int) -> dict[Path, tj.Raster]:
    dem = tj.open(folder / f"dem-{size}.tif")
    if job == "ndvi":
        made = [ndvi(*(tj.open(folder / f"{name}-{size}.tif") for name in ("red", "nir")))]
    elif job == "three outputs":
        made = [hillshade(dem), slope(dem), aspect(dem)]
    else:
        made = [{"slope": slope, "mean 5x5": mean_5x5, "mean 11x11": mean_11x11}[job](dem)]
    return {folder / f"out{n}.tif": raster for n, raster in enumerate(made)}


def planned(job: str, profile: str, folder: Path, size: int) -> Job:
    return plan_outputs(outputs(job, folder, size), RunOptions(profile=PROFILES[profile], overwrite=True))[0]


def busy_seconds() -> float:
    """Core seconds that all programs have spent since the machine started."""
    fields = [int(f) for f in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def measured(*words: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--run", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(job: str, profile: str, folder: str, size: str) -> None:
    made = outputs(job, Path(folder), int(size))
    all_before, own_before = busy_seconds(), time.process_time()
    report = tj.save(made, profile=PROFILES[profile], overwrite=True, progress=False)
    stages = report.stages
    others = busy_seconds() - all_before - (time.process_time() - own_before)
    print(
        json.dumps(
            {
                "seconds": report.seconds,
                "others": max(0.0, others) / (report.seconds * len(os.sched_getaffinity(0))),
                "decode": stages["decode"].cpu,
                "compute": stages["compute"].cpu,
                "encode": report.cpu_seconds - sum(stages[s].cpu for s in ("decode", "compute", "compile", "wait")),
            }
        )
    )
    for path in made:
        path.unlink()


def main(folder: Path, size: int, rounds: int) -> None:
    write_inputs(folder, size)
    cases = [(job, profile) for profile in PROFILES for job in JOBS]
    predictions, taken = {}, {}
    for case in cases:
        start = time.perf_counter()
        predictions[case] = predict_job(planned(*case, folder, size))
        taken[case] = time.perf_counter() - start
    runs = {case: [] for case in cases}
    for _ in range(3 * rounds):
        for case in cases:
            if sum(r["others"] < QUIET for r in runs[case]) < rounds:
                runs[case].append(measured(*case, str(folder), str(size)))
    print(f"{size} x {size}; predicted / measured, medians of quiet runs")
    print("| job | profile | wall s | ratio | decode | compute | encode | quiet runs | predicting took s |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for case in cases:
        print(row(case, predictions[case], runs[case], taken[case]))


def row(case: tuple[str, str], prediction: Prediction, runs: list[dict[str, float]], taken: float) -> str:
    quiet = [r for r in runs if r["others"] < QUIET]
    counted = quiet or [min(runs, key=lambda r: r["others"])]
    middle = {name: statistics.median(r[name] for r in counted) for name in counted[0]}
    parts = " | ".join(f"{getattr(prediction, n):.2f} / {middle[n]:.2f}" for n in ("decode", "compute", "encode"))
    wall = f"{prediction.seconds:.2f} / {middle['seconds']:.2f} | {prediction.seconds / middle['seconds']:.2f}"
    count = f"{len(quiet)}" if quiet else f"none; others took {middle['others']:.0%}"
    return f"| {case[0]} | {case[1]} | {wall} | {parts} | {count} | {taken:.1f} |"


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(*sys.argv[2:])
    else:
        main(Path(sys.argv[1]), int((sys.argv[2:3] or ["8192"])[0]), int((sys.argv[3:4] or ["3"])[0]))
