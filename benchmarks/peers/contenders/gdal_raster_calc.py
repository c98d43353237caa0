"""``gdal raster calc`` of GDAL 3.11 and newer: an expression for each pixel; all cores compress.

Its output declares no nodata value, which the option for it, newer than the program, would set; NDVI here has none.
"""

from __future__ import annotations

from peers.programs import creation, run_all
from peers.task import Task, clocked

if __name__ == "__main__":
    task = Task.from_arguments()
    red, nir = task.inputs
    bands = ["-i", f"A={red}", "-i", f"B={nir}", "-o", task.outputs[0], "--ot", "Float32"]
    options = ["--calc", "(B-A)/(B+A)", *creation(task, "--co"), "--config", "GDAL_NUM_THREADS=ALL_CPUS"]
    with clocked(task):
        run_all([["gdal", "raster", "calc", *bands, *options]])
