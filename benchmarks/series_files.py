"""A median from a file for each date: seconds, peak memory, blocks decoded, beside rioxarray and dask, on one core.

``python benchmarks/series_files.py [DATES] [SIZE]``: each contender runs in a process of its own, on the same files,
and writes a GeoTIFF; the results are compared.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "GDAL_NUM_THREADS"), "1")


def write_files(folder: Path, dates: int, size: int) -> None:
    """Float32, deflated in blocks of 256 x 256, a fifth NaN."""
    rng = np.random.default_rng(4)
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "float32", "nodata": np.nan,
               "tiled": True, "compress": "deflate", "predictor": 3, "crs": "EPSG:32633",
               "transform": rasterio.transform.from_origin(5e5, 5e6, 10, 10)}  # fmt: skip
    for k in range(dates):
        cells = np.round(rng.normal(size=(size, size)), 3).astype(np.float32)
        cells[rng.random(cells.shape) < 0.2] = np.nan
        day = np.datetime64("2020-01-01") + k
        with rasterio.open(folder / f"ndvi_{day}.tif", "w", **profile) as file:
            file.write(cells, 1)


def by_tilejit(files, out):
    import tilejit as tj
    from tilejit_kernels.series import median

    report = median(tj.stack(files)).save(out, workers=1, overwrite=True)
    return report.read_ratio


def by_dask(files, out):
    import dask
    import rioxarray
    import xarray as xr

    dask.config.set(scheduler="synchronous")
    layers = [rioxarray.open_rasterio(file, chunks={"x": 256, "y": 256}).squeeze("band") for file in files]
    cube = xr.concat(layers, "time").chunk(time=-1)
    cube.median("time", skipna=True).rio.to_raster(out)


CONTENDERS = {"tilejit": by_tilejit, "rioxarray + dask": by_dask}


def alone(name: str, folder: str, out: str) -> None:
    """What the process of one contender does; the first run of tilejit compiles, and is not counted."""
    files = sorted(str(f) for f in Path(folder).glob("ndvi_*.tif"))
    if name == "tilejit":
        CONTENDERS[name](files, out)
    start, before = time.perf_counter(), time.process_time()
    decoded = CONTENDERS[name](files, out)
    seconds, core = time.perf_counter() - start, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "core": core, "peak": peak, "decoded": decoded}))


def main() -> None:
    if len(sys.argv) == 4:
        alone(*sys.argv[1:])
        return
    dates, size = (int(a) for a in [*sys.argv[1:], *("200", "512")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), dates, size)
        print(f"| median of {dates} files, {size} x {size} | seconds | core seconds | peak MB | blocks decoded |")
        print("|---|---:|---:|---:|---:|")
        outputs = []
        for name in CONTENDERS:
            out = str(Path(folder, f"{len(outputs)}.tif"))
            run = subprocess.run([sys.executable, __file__, name, folder, out], env=os.environ | ONE_THREAD,
                                 capture_output=True, text=True, check=False)  # fmt: skip
            if run.returncode:
                print(f"| {name} | not measured: {run.stderr.strip().splitlines()[-1]} | | | |")
                continue
            found = json.loads(run.stdout.splitlines()[-1])
            decoded = "" if found["decoded"] is None else f"{found['decoded']:.2f} times"
            print(
                f"| {name} | {found['seconds']:.1f} | {found['core']:.1f} | {found['peak']:.0f} | {decoded} |",
                flush=True,
            )
            with rasterio.open(out) as file:
                outputs.append(file.read(1))
        if any(not np.allclose(one, outputs[0], rtol=1e-5, equal_nan=True) for one in outputs):
            raise SystemExit("they give different medians")


if __name__ == "__main__":
    main()
