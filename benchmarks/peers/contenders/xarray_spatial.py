"""xarray-spatial's own functions on dask arrays; three calls for hillshade, slope and aspect.

Its functions are compiled on their first call in each process: they are called on a few cells before the clock starts.
Its hillshade is a formula of its own, without the cells' size, and not compared with the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import xrspatial
from xrspatial.convolution import custom_kernel
from xrspatial.focal import focal_stats

from peers.chunks import open_arrays, save_arrays
from peers.jobs import CELL, WINDOW
from peers.task import Task, clocked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _mean(z: Any) -> list[Any]:
    return [focal_stats(z, custom_kernel(np.ones((WINDOW, WINDOW))), stats_funcs=["mean"])[0]]


FUNCTIONS: dict[str, Callable[..., Sequence[Any]]] = {
    "ndvi": lambda red, nir: [xrspatial.multispectral.ndvi(nir, red)],
    "slope": lambda z: [xrspatial.slope(z)],
    "mean": _mean,
    "terrain": lambda z: [
        xrspatial.hillshade(z, azimuth=315, angle_altitude=45) * np.float32(255),
        xrspatial.slope(z),
        xrspatial.aspect(z),
    ],
}
"""By the job's name."""


def compile_functions(task: Task) -> None:
    """Calls what the job calls on a few cells."""
    axes = {"y": -CELL * np.arange(32), "x": CELL * np.arange(32)}
    dtype = np.uint16 if task.job == "ndvi" else np.float32
    cells = xr.DataArray(np.ones((32, 32), dtype), dims=("y", "x"), coords=axes)
    for result in FUNCTIONS[task.job](*[cells.chunk(16)] * len(task.inputs)):
        result.compute()


def run(task: Task) -> None:
    """Builds the graph of the job and computes it on dask's threads."""
    arrays = open_arrays(task)
    results = FUNCTIONS[task.job](*arrays)
    # A level cell's aspect is -1 here and nodata elsewhere.
    results = [r.where(r >= 0) if task.job == "terrain" and k == 2 else r for k, r in enumerate(results)]
    save_arrays(task, [result.data.astype(np.float32) for result in results])


if __name__ == "__main__":
    task = Task.from_arguments()
    np.seterr(all="ignore")
    compile_functions(task)
    with clocked(task):
        run(task)
