"""The contenders, and whether each can run here."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass

from peers.jobs import JOBS


@dataclass(frozen=True, slots=True)
class Contender:
    """A program under ``peers/contenders/``."""

    module: str
    """Its file's name."""
    title: str
    """Its row in the table."""
    jobs: tuple[str, ...] = tuple(JOBS)
    """The jobs that it can say."""
    packages: tuple[str, ...] = ()
    """Packages that it needs beyond tilejit's own."""
    program: tuple[str, ...] = ()
    """A command that succeeds where its program is installed."""
    tools: tuple[str, ...] = ()
    """Commands that must be found."""
    other_pixels: tuple[str, ...] = ()
    """Outputs that it computes by a formula of its own, which are not compared."""
    other_profile: tuple[str, ...] = ()
    """Outputs that it cannot write in the type or with the nodata value of the others."""

    def why_not(self) -> str | None:
        """Returns why it cannot run here, or None."""
        absent = [name for name in self.packages if importlib.util.find_spec(name) is None]
        absent += [name for name in self.tools if shutil.which(name) is None]
        if self.program and not _succeeds(self.program):
            absent.append(" ".join(self.program[:-1]))
        return f"not installed: {', '.join(absent)}" if absent else None


def _succeeds(command: tuple[str, ...]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


OURS, FLOOR, CODEC = "tilejit_save", "floor", "codec"

CONTENDERS = {
    one.module: one
    for one in (
        Contender(OURS, "tilejit"),
        Contender(FLOOR, "GDAL's floor: read and write, nothing computed"),
        Contender(CODEC, "the codec's own limit: decode and encode, nothing else"),
        Contender("rasterio_threads", "rasterio windows, threads, NumPy", packages=("scipy",)),
        Contender("rasterio_processes", "rasterio windows, multiprocessing.Pool, NumPy", packages=("scipy",)),
        Contender("rasterio_numba", "rasterio windows, threads, Numba by hand"),
        Contender("dask_arrays", "rioxarray + dask", packages=("rioxarray", "dask", "scipy")),
        Contender(
            "xarray_spatial",
            "xarray-spatial on dask",
            ("ndvi", "slope", "mean", "terrain"),
            packages=("rioxarray", "dask", "xrspatial"),
            other_pixels=("hillshade",),
        ),
        Contender("gdaldem", "gdaldem", ("slope", "terrain"), tools=("gdaldem",), other_profile=("hillshade",)),
        Contender("gdal_calc", "gdal_calc.py", ("ndvi",), program=("gdal_calc.py", "--help")),
        Contender(
            "gdal_raster_calc",
            "gdal raster calc",
            ("ndvi",),
            program=("gdal", "raster", "calc", "--help"),
            other_profile=("ndvi",),
        ),
    )
}
