"""tilejit: one pass from files to files, with its planning, imports and loading of compiled code in the clock."""

from __future__ import annotations

import math

import tilejit as tj
from peers.jobs import JOBS, NODATA, SCALE, STEPS
from peers.task import Task, clocked
from tilejit_kernels import filters
from tilejit_kernels.indices import ndvi
from tilejit_kernels.terrain import aspect, hillshade, slope


@tj.focal(nodata="kernel")
def row_sums(z):
    """Sum and count of the valid cells among eleven of a row."""
    total = 0.0
    count = 0.0
    for dx in range(-5, 6):
        total += z[0, dx] if tj.is_valid(z[0, dx]) else 0.0
        count += 1.0 if tj.is_valid(z[0, dx]) else 0.0
    return total, count


@tj.focal(nodata="kernel")
def mean_of_sums(total, count):
    """Mean of eleven rows' sums; NaN where no cell is valid."""
    sums = 0.0
    counts = 0.0
    for dy in range(-5, 6):
        sums += total[dy, 0] if tj.is_valid(total[dy, 0]) else 0.0
        counts += count[dy, 0] if tj.is_valid(count[dy, 0]) else 0.0
    return sums / counts if counts > 0.0 else math.nan


@tj.local
def iterate(z):
    """A quadratic map whose constant is the pixel."""
    constant = z / SCALE
    x = constant
    for _ in range(STEPS):
        x = x * x * 0.5 - constant
    return x


def mean(dem: tj.Raster) -> tj.Raster:
    """The 11x11 mean: the shipped kernel, or its separable form here where there is none."""
    if hasattr(filters, "mean_11x11"):
        return filters.mean_11x11(dem)
    sums = row_sums(dem)
    return mean_of_sums(sums.band(1), sums.band(2))


FUNCTIONS = {
    "ndvi": ndvi,
    "slope": slope,
    "hillshade": hillshade,
    "aspect": aspect,
    "mean": mean,
    "iterate": iterate,
}
"""By the output's name."""


def main() -> None:
    task = Task.from_arguments()
    with clocked(task) as figures:
        inputs = [tj.open(path) for path in task.inputs]
        outputs = {
            path: FUNCTIONS[output.name](*inputs)
            for path, output in zip(task.outputs, JOBS[task.job].outputs, strict=True)
        }
        report = tj.save(outputs, nodata=NODATA, profile=task.creation, backend="cpu", progress=False)
        figures["read_ratio"] = report.read_ratio
        figures["stages"] = report.stages
        figures["planned"] = report.planned_memory


if __name__ == "__main__":
    main()
