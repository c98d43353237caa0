"""``gdal_calc.py``: NumPy on blocks, one thread; all cores compress."""

from __future__ import annotations

from peers.jobs import NODATA
from peers.programs import creation, run_all
from peers.task import Task, clocked

if __name__ == "__main__":
    task = Task.from_arguments()
    red, nir = task.inputs
    formula = "(B.astype(float32)-A.astype(float32))/(B.astype(float32)+A.astype(float32))"
    bands = ["-A", red, "-B", nir, f"--outfile={task.outputs[0]}", "--type=Float32", f"--NoDataValue={NODATA}"]
    with clocked(task):
        run_all([["gdal_calc.py", *bands, f"--calc={formula}", "--quiet", *creation(task, "--co")]])
