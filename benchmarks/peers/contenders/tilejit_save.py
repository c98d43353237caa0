"""tilejit: one pass from files to files, with its planning and loading of compiled code in the clock.

What tilejit imports when it needs it is imported before, its own modules and packages, as everyone else's packages are.
"""

from __future__ import annotations

import dataclasses

import imagecodecs  # noqa: F401
import llvmlite.binding  # noqa: F401
import rasterio  # noqa: F401
import tifffile  # noqa: F401
import zstandard  # noqa: F401

import tilejit as tj
import tilejit.raster.running
from peers.jobs import JOBS, NODATA, SCALE, STEPS
from peers.task import Task, clocked
from tilejit_kernels.filters import mean_11x11
from tilejit_kernels.indices import ndvi
from tilejit_kernels.terrain import aspect, hillshade, slope


@tj.local
def iterate(z):
    """A quadratic map whose constant is the pixel."""
    constant = z / SCALE
    x = constant
    for _ in range(STEPS):
        x = x * x * 0.5 - constant
    return x


FUNCTIONS = {
    "ndvi": ndvi,
    "slope": slope,
    "hillshade": hillshade,
    "aspect": aspect,
    "mean": mean_11x11,
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
        figures["stages"] = {name: dataclasses.asdict(stage) for name, stage in report.stages.items()}
        figures["planned"] = report.planned_memory


if __name__ == "__main__":
    main()
