"""What output files are asked to be and will be: their cells, and what goes along from the files they are copied from.

A band that no kernel touched is a copy, and says what GDAL's own copies say (`gdal_translate`). What kernels make says
for itself what it is; of its inputs' tags only AREA_OR_POINT, RPCs and ground control points hold, which say where
cells lie.
"""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.graph import Band, SourceBand, sources_of
from tilejit.formats.files import BandTags, FileTags
from tilejit.formats.gdal.new_file import needs_side_file
from tilejit.formats.registry import storage_at
from tilejit.formats.sink import OutputProfile, Storage
from tilejit.formats.source import storage_of
from tilejit.grid import crs_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.engine.planning.steps import Write
    from tilejit.grid import Grid

_POINT = "AREA_OR_POINT"
"""Whether a cell's value holds for its area or for its middle."""


def file_request(
    bands: tuple[Band, ...], grid: Grid, path: str, options: Mapping[str, str], nodata: float | None = None
) -> Request:
    """The request for an output file, by creation options whose names are in upper case."""

    def storage(dtype: np.dtype) -> Storage:
        return storage_at(path, dtype, grid.shape, len(bands), options)

    return Request(bands, path, nodata, storage, notes=_notes(bands, grid, path))


def _notes(bands: Sequence[Band], grid: Grid, path: str) -> tuple[str, ...]:
    """What an output keeps in another place than its input, or does not keep."""
    told = [storage_of(source).tags for source in sources_of(bands)]
    suffix, notes = Path(path).suffix.lower(), []
    if suffix == ".zarr":
        lost = {
            "ground control points": any(tags.ground for tags in told),
            "rational polynomials (RPC)": any(tags.tags.get("RPC") for tags in told),
            "AREA_OR_POINT=Point": any(tags.tags.get("", {}).get(_POINT) == "Point" for tags in told),
        }
        notes += [f"Zarr does not keep {what}" for what, is_there in lost.items() if is_there]
    elif suffix != ".vrt" and needs_side_file(grid):
        notes.append(f"GeoTIFF does not hold {crs_name(grid.crs)}: it goes into {Path(path).name}.aux.xml")
    if any(tags.ground != told[0].ground for tags in told):
        notes.append("the inputs' ground control points differ, and are not kept")
    return tuple(notes)


def output_profile(
    bands: Sequence[Band], grid: Grid, write: Write, options: Mapping[str, str], *, overwrite: bool
) -> OutputProfile:
    """What an output file will be."""
    return OutputProfile(
        path=write.path,
        grid=grid,
        count=len(bands),
        dtype=write.dtype,
        nodata=write.tag,
        descriptions=tuple(b.info.description if isinstance(b, SourceBand) else b.label for b in bands),
        units=tuple(band.unit for band in bands),
        tags=_carried_tags(bands, write),
        options=options,
        overwrite=overwrite,
    )


def _carried_tags(bands: Sequence[Band], write: Write) -> FileTags:
    """What goes along from the inputs to an output: of the file, what all inputs agree upon."""
    told = [storage_of(source).tags for source in sources_of(bands)]
    said = [tags.tags for tags in told]
    copied = all(isinstance(band, SourceBand) for band in bands)
    spaces = dict.fromkeys(space for tags in said for space in tags)
    common = {space: _common([tags.get(space, {}) for tags in said]) for space in spaces}
    if not copied:
        default = {name: value for name, value in common.get("", {}).items() if name == _POINT}
        common = {"": default, "RPC": common.get("RPC", {})}
    ground = told[0].ground if all(tags.ground == told[0].ground for tags in told) else None
    return FileTags(common, tuple(_band_tags(band, k, write) for k, band in enumerate(bands)), ground)


def _common(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {name: value for name, value in tags[0].items() if all(other.get(name) == value for other in tags)}


def _band_tags(band: Band, position: int, write: Write) -> BandTags:
    known = storage_of(band.source).tags.bands if isinstance(band, SourceBand) else ()
    if not isinstance(band, SourceBand) or not known:
        return BandTags()
    tags = known[band.info.index - 1]
    # A TIFF has one table, for its first band, with at most an alpha band beside it.
    has_table = position == 0 and len(write.planes) <= 2 and write.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}
    kept = tags if _is_unchanged(band, write) else replace(tags, tags=tags.without_statistics())
    return kept if has_table else replace(kept, table=None)


def _is_unchanged(band: SourceBand, write: Write) -> bool:
    """Whether a copy holds the same cells, of which the same ones count as valid."""
    info = band.info
    if info.has_mask or not write.is_tagged or write.dtype != info.dtype.newbyteorder("="):
        return False
    if info.nodata is None or write.nodata is None:
        # Statistics leave NaN out, be it nodata or not.
        return write.nodata is None or (info.nodata is None and isnan(write.nodata))
    return write.nodata == info.nodata or (isnan(write.nodata) and isnan(info.nodata))
