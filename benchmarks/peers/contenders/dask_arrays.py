"""rioxarray and dask: lazy chunks, NumPy on each, ``map_overlap`` where a job looks around."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from peers.arithmetic import FORMULAS
from peers.chunks import open_arrays, save_arrays
from peers.jobs import JOBS
from peers.task import Task, clocked
from peers.windows import radius_of


def run(task: Task) -> None:
    """Builds the graph of the job and computes it on dask's threads."""
    arrays = open_arrays(task)
    radius, count = radius_of(task), len(JOBS[task.job].outputs)

    def stacked(*parts: Any) -> Any:
        return np.stack(FORMULAS[task.job](*parts))

    # Several results of one function are one array with another axis; its planes are computed together.
    grown = [da.overlap.overlap(a.data, depth=radius, boundary=np.nan) if radius else a.data for a in arrays]
    chunks = ((count,), *arrays[0].data.chunks)
    result = da.map_blocks(stacked, *grown, dtype=np.float32, chunks=chunks, new_axis=0, meta=np.empty((0, 0, 0)))
    save_arrays(task, [result[k] for k in range(count)])


if __name__ == "__main__":
    task = Task.from_arguments()
    np.seterr(all="ignore")
    with clocked(task):
        run(task)
