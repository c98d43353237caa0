"""Planned against measured memory: ``memory.py FOLDER [NAME ...]`` prints a table of thirty shapes of raster.

Each shape is run twice, in processes of their own: the first compiles its kernel, in one more process, the second finds
it. What is measured is the most that they ever held together, their imports among it: VmHWM of the one that runs, and
every few milliseconds the proportional set size of both, so this needs Linux. Inputs are made in FOLDER and stay there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

WITHIN = 1.3
"""How much more than what is measured a plan may say; less it may never."""
RUN = """
import json, sys
from pathlib import Path
import tilejit as tj
from tilejit_kernels.terrain import slope
from tilejit_kernels.indices import ndvi

source, target, kernel, options = sys.argv[1:3] + [sys.argv[3], json.loads(sys.argv[4])]
raster = tj.open(source)
made = {
    "slope": lambda: slope(raster.band(1), dx=30.0, dy=30.0),
    "ndvi": lambda: ndvi(raster.band(1), raster.band(2)),
    "copy": lambda: raster,
}[kernel]()
planned = made.plan(target, **options).memory
report = made.save(target, overwrite=True, **options)
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
print(json.dumps([planned, peak, report.read_ratio]))
"""


@dataclass(frozen=True)
class Shape:
    """A raster, and what is made of it."""

    size: tuple[int, int] = (6000, 6000)
    """Rows and columns."""
    profile: dict[str, Any] = field(default_factory=dict)
    """How it is stored."""
    dtype: str = "float32"
    """Its type."""
    bands: int = 1
    """Its bands."""
    kernel: str = "slope"
    """What is computed of it."""
    options: dict[str, Any] = field(default_factory=dict)
    """How."""
    vrt: bool = False
    """Whether it is read through a VRT."""


def tiled(rows: int, cols: int, compress: str = "zstd", **profile: Any) -> dict[str, Any]:
    """Tiles of so many rows and columns."""
    return {"tiled": True, "blockysize": rows, "blockxsize": cols, "compress": compress} | profile


def strips(rows: int, compress: str = "zstd", **profile: Any) -> dict[str, Any]:
    """Strips of so many rows."""
    return {"blockysize": rows, "compress": compress} | profile


PIXEL, BAND = {"interleave": "pixel"}, {"interleave": "band"}
SHAPES = {
    "tiles 512, zstd": Shape(profile=tiled(512, 512)),
    "tiles 512, deflate": Shape(profile=tiled(512, 512, "deflate", predictor=3)),
    "tiles 512, lzw": Shape(profile=tiled(512, 512, "lzw", predictor=2)),
    "tiles 512, none": Shape(profile=tiled(512, 512, "none")),
    "tiles 512, packbits": Shape(profile=tiled(512, 512, "packbits")),
    "tiles 256, uint8": Shape((12000, 12000), tiled(256, 256), "uint8"),
    "tiles 256, uint8 with nodata": Shape((12000, 12000), tiled(256, 256, nodata=0), "uint8"),
    "tiles 256, int16": Shape((8000, 8000), tiled(256, 256), "int16"),
    "tiles 256, float64": Shape((4000, 4000), tiled(256, 256), "float64"),
    "tiles 16": Shape((3000, 3000), tiled(16, 16)),
    "tiles 16, deflate": Shape((3000, 3000), tiled(16, 16, "deflate")),
    "wide": Shape((512, 100_000), tiled(256, 256)),
    "tall": Shape((100_000, 512), tiled(256, 256)),
    "wide strips": Shape((512, 100_000), strips(16)),
    "strips of 1": Shape(profile=strips(1)),
    "strips of 1, none": Shape(profile=strips(1, "none")),
    "strips of 1000": Shape(profile=strips(1000)),
    "strips of 2048, lzw": Shape(profile=strips(2048, "lzw")),
    "one strip": Shape(profile=strips(6000)),
    "one strip, deflate, predictor 3": Shape(profile=strips(6000, "deflate", predictor=3)),
    "tiles 4096 x 1024, one of 4 bands": Shape((8192, 4096), tiled(4096, 1024, **PIXEL), bands=4),
    "tiles 1024 x 4096": Shape((6000, 8192), tiled(1024, 4096)),
    "4 bands, pixel": Shape((4000, 4000), tiled(256, 256, **PIXEL), "uint16", 4, "ndvi"),
    "4 bands, band": Shape((4000, 4000), tiled(256, 256, **BAND), "uint16", 4, "ndvi"),
    "4 bands, copy": Shape((4000, 4000), tiled(512, 512, **PIXEL), "uint8", 4, "copy"),
    "200 bands, pixel": Shape((1000, 1000), tiled(256, 256, **PIXEL), "uint8", 200),
    "200 bands, band": Shape((1000, 1000), tiled(256, 256, **BAND), "uint8", 200),
    "200 bands, copy": Shape((1000, 1000), tiled(256, 256, **BAND), "uint8", 200, "copy"),
    "vrt": Shape(profile=tiled(512, 512), vrt=True),
    "jpeg": Shape((12000, 12000), tiled(512, 512, "jpeg"), "uint8"),
}


def write_input(path: Path, shape: Shape) -> None:
    """Write a raster of noisy waves, some rows at a time; it takes its name when it is whole."""
    rng, (height, width) = np.random.default_rng(0), shape.size
    rows = max(1, (1 << 23) // (width * shape.bands))
    rows = -(-rows // shape.profile["blockysize"]) * shape.profile["blockysize"]
    part = path.with_suffix(".part")
    profile = {"driver": "GTiff", "count": shape.bands, "height": height, "width": width, "dtype": shape.dtype}
    with rasterio.open(part, "w", num_threads=2, crs="EPSG:32633", **profile | shape.profile) as dataset:
        for row in range(0, height, rows):
            count = min(rows, height - row)
            y, x = np.ogrid[row : row + count, :width]
            wave = 100 + 50 * np.sin(y / 90) + 40 * np.cos(x / 70)
            cells = (wave + 9 * rng.random((shape.bands, count, width), np.float32)).astype(shape.dtype)
            dataset.write(cells, window=Window(0, row, width, count))
    part.rename(path)


def input_of(folder: Path, name: str, shape: Shape) -> Path:
    """A shape's raster, made where it is not there."""
    path = folder / f"{name.replace(' ', '-').replace(',', '')}.tif"
    if not path.exists():
        write_input(path, shape)
    if not shape.vrt:
        return path
    import rasterio.shutil

    target = path.with_suffix(".vrt")
    rasterio.shutil.copy(path, target, driver="VRT")
    return target


def measure(source: Path, shape: Shape, cache: Path) -> tuple[int, int, float]:
    """Run a shape in a process of its own.

    Args:
        source: The raster.
        shape: What is made of it.
        cache: The folder of compiled code.

    Returns:
        Bytes planned and measured, and bytes decoded over bytes needed.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "out.tif")
        environment = os.environ | {"TILEJIT_CACHE_DIR": str(cache)}
        command = [sys.executable, "-W", "ignore", "-c", RUN, source, target, shape.kernel, json.dumps(shape.options)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            held = 0
            while process.poll() is None:
                held = max(held, held_together(process.pid))
                time.sleep(0.003)
            if process.returncode or process.stdout is None:
                raise SystemExit(process.returncode)
            planned, peak, ratio = json.loads(process.stdout.read().splitlines()[-1])
    return planned, max(peak, held), ratio


def held_together(pid: int) -> int:
    """Bytes that a process and those that it has started hold, what they share counted once."""
    held = 0
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            held += sum(map(held_together, map(int, (task / "children").read_text().split())))
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        held += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return held


def main(folder: Path, names: list[str]) -> None:
    """Print the table, and end with 1 where a plan is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    print(f"{'':54}{'planned':>9}{'measured':>9}{'ratio':>7}{'decoded':>9}")
    for name in names or SHAPES:
        shape = SHAPES[name]
        source = input_of(folder, name, shape)
        with tempfile.TemporaryDirectory() as cache:
            for run in ("compiles", "code is kept"):
                planned, peak, ratio = measure(source, shape, Path(cache))
                is_wrong = not peak <= planned <= WITHIN * peak
                wrong += is_wrong
                values = f"{planned / 1e6:>8.0f}M{peak / 1e6:>8.0f}M{planned / peak:>7.2f}{ratio:>9.2f}"
                print(f"{name:40}{run:14}{values}{'  <--' if is_wrong else ''}", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
