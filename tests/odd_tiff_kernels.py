"""Run a kernel from file to file over every file of a folder; see `odd_tiff_sweep`, whose loop this uses."""

import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

import tilejit as tj
from odd_tiff_sweep import main, open_quietly
from tilejit.engine.planning.plan import BASE_BYTES, LOADER_BYTES

MOST_CELLS = 1 << 24
MEMORY = "1500MB"
FRESH_PROCESS = BASE_BYTES + LOADER_BYTES
"""What the plan counts of a process before its first run, which this one has behind it."""


@tj.local
def plus_one(z):
    return z + 1


def wanted(path, window):
    with open_quietly(path) as dataset:
        place = (window.row_off, window.row_end), (window.col_off, window.col_end)
        cells = dataset.read(1, window=place, masked=True)
    narrow = cells.dtype.itemsize <= 2 or cells.dtype == np.float32
    compute = np.float32 if narrow else np.float64
    return np.ma.filled(cells.astype(compute), np.nan) + compute(1)


def run_file(path):
    """Outcome and detail for one file; a giant only in its middle."""
    try:
        raster = tj.open(path, band=1)
        height, width = raster.grid.shape
        window = tj.Window(0, 0, height, width)
        if height * width > MOST_CELLS:
            window = tj.Window(height // 2, width // 2, min(height, 64), min(width, 64))
            given = plus_one(raster).read(window.intersection(tj.Window(0, 0, height, width)), memory=MEMORY)[0]
        else:
            given = saved(plus_one(raster))
    except tj.TilejitError as error:
        return ("refused" if path in str(error) else "does not name the file"), str(error)
    if isinstance(given, str):
        return "beyond the plan", given
    with np.errstate(all="ignore"):
        same = np.array_equal(given, wanted(path, window), equal_nan=True)
    return ("same" if same else "differs"), str(window)


def saved(raster):
    """What a run wrote, or how it went beyond its plan."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.tif"
        before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        try:
            report = raster.save(target, memory=MEMORY)
        finally:
            left = [p.name for p in Path(folder).iterdir() if p != target]
            if left:
                raise AssertionError(left)
        # This process has run other files before: what counts is what the run took on top.
        if report.peak_memory - before > report.planned_memory - FRESH_PROCESS:
            return f"{report.peak_memory} bytes from {before}, planned {report.planned_memory}"
        with open_quietly(target) as dataset:
            return dataset.read(1)


if __name__ == "__main__":
    plus_one(np.zeros((2, 2), np.float32))  # what loads machine code is part of the process
    main(sys.argv[1], int(sys.argv[2]), run_file)
