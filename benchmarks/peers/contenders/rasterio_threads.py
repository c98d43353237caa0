"""The recipe everyone writes: rasterio's windows, a pool of threads, NumPy.

After "Concurrent processing" of rasterio's documentation, with windows larger than a block and a handle
for each thread.
"""

from __future__ import annotations

import numpy as np

from peers.arithmetic import FORMULAS
from peers.contenders.threads import run
from peers.task import Task, clocked

if __name__ == "__main__":
    task = Task.from_arguments()
    np.seterr(all="ignore")
    with clocked(task):
        run(task, FORMULAS[task.job])
