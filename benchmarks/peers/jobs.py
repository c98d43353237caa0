"""The jobs: what is computed from which rasters, and how far results of two programs may lie apart."""

from __future__ import annotations

from dataclasses import dataclass

NODATA = -9999.0
"""Of the terrain and of every output: the one value that ``gdaldem`` writes."""

CELL = 30.0
"""Width and height of a cell in metres."""

STEPS = 64
"""Of the iteration."""

SCALE = 4000.0
"""Elevation over this is the iteration's constant: 0.02 to 0.4, for which it converges, so that rounding dies out."""

WINDOW = 11
"""Rows and columns of the mean's window."""


@dataclass(frozen=True, slots=True)
class Output:
    """One file that a job writes: a band of float32."""

    name: str
    """What it holds."""
    tolerance: float
    """How far two programs may lie apart, in its own unit; see `peers.compare.STRAY`."""
    circle: float | None = None
    """Where values go round: 360 for degrees of a compass."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every contender computes."""

    name: str
    """What ``--jobs`` calls it."""
    title: str
    """The column's head in the table."""
    inputs: tuple[str, ...]
    """Rasters that are read: ``dem`` (float32, nodata in lakes), ``red`` and ``nir`` (uint16)."""
    outputs: tuple[Output, ...]
    """Files that are written."""
    border: int
    """Cells along the edge where conventions differ, which are not compared."""


_SLOPE = Output("slope", 0.01)

JOBS = {
    job.name: job
    for job in (
        Job("ndvi", "NDVI", ("red", "nir"), (Output("ndvi", 1e-5),), 0),
        Job("slope", "slope", ("dem",), (_SLOPE,), 1),
        Job("mean", "11x11 mean", ("dem",), (Output("mean", 0.01),), 5),
        Job(
            "terrain",
            "hillshade + slope + aspect",
            ("dem",),
            # A hillshade in whole numbers (gdaldem's) is up to a half off.
            (Output("hillshade", 0.51), _SLOPE, Output("aspect", 0.5, circle=360.0)),
            1,
        ),
        Job("iterate", f"{STEPS} steps", ("dem",), (Output("iterate", 1e-5),), 0),
    )
}

PROFILES = {
    "zstd": {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1"},
    "zstd1": {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1"},
    "deflate": {"COMPRESS": "DEFLATE", "ZLEVEL": "6"},
    "deflate6": {"COMPRESS": "DEFLATE", "ZLEVEL": "6"},
}
"""Compressors by what ``--profiles`` calls them; NDVI and slope alone are run with all but the first."""

OUR_DEFAULTS = {"zstd": {"ZSTD_LEVEL": "AUTO"}, "deflate": {"ZLEVEL": "AUTO"}}
"""What tilejit is given where others are given a level: none, so that cheaper encoders may stand in. With the other
profiles everybody obeys the same level."""

CREATION = {"TILED": "YES", "BLOCKXSIZE": "512", "BLOCKYSIZE": "512", "PREDICTOR": "3", "BIGTIFF": "IF_SAFER"}
"""GDAL's creation options of every output, whoever writes it, beside the compressor."""
