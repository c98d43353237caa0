"""The shards of a VRT into one file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.engine.pipeline.report import progress_bar
from tilejit.errors import SinkError
from tilejit.formats.folders.merging import copy_blocks, why_not_copied, write_cog
from tilejit.formats.folders.vrt import read_mosaic
from tilejit.formats.gdal.creation_options import cog_options
from tilejit.formats.gdal.new_file import colours_like, options_like
from tilejit.formats.publishing import sweep
from tilejit.formats.registry import format_of
from tilejit.formats.sink import OutputProfile
from tilejit.formats.target import check_not_read
from tilejit.raster.making import open_raster
from tilejit.raster.options import upper_options
from tilejit.sizes import counted
from tilejit.system.signals import ends_heard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilejit.formats.folders.vrt import Mosaic


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did."""

    shards: int
    """How many shards there were."""
    how: str
    """Whether their blocks were copied, or why not."""
    output_bytes: int
    """The size of the file."""

    def __str__(self) -> str:
        return f"merged    {counted(self.shards, 'shard')}, {self.how}"


def merge(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    cog: bool = False,
    profile: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Merged:
    """Puts the shards of a VRT together into one GeoTIFF, or a COG.

    Encoded blocks are copied as they are where the output is stored as the shards are. Otherwise, where ``profile``
    asks for something else, say, the VRT is read and saved as any raster; and a COG's overviews are GDAL's to make.

    Args:
        path: The VRT.
        output: The GeoTIFF.
        cog: Whether to write a cloud-optimised GeoTIFF, with overviews.
        profile: Creation options by name, of GDAL's GTiff driver or of its COG driver; the shards' own otherwise.
        overwrite: Whether an existing file may be replaced.
        progress: Whether to show a progress bar; None: on a terminal.

    Raises:
        SourceError: Shards differ, overlap, or leave a hole and there is no nodata value.
        SinkError: The output cannot be written; nothing is left of it.
    """
    source, target = Path(path), os.fspath(output)
    if format_of(target).name != "GeoTIFF":
        raise SinkError(f"{target}: a merge makes one GeoTIFF: give a name that ends in .tif")
    mosaic = read_mosaic(source)
    _check_not_a_shard(mosaic, target)
    asked = upper_options(profile or {})
    written = _profile_of(mosaic, target, overwrite=overwrite)
    with ends_heard():
        sweep(Path(os.path.realpath(target)).parent)
        how = _as_cog(mosaic, written, asked) if cog else _as_geotiff(mosaic, written, asked, progress)
    return Merged(len(mosaic.tiles), how, Path(target).stat().st_size)


def _check_not_a_shard(mosaic: Mosaic, target: str) -> None:
    files = {str(place): str(mosaic.path) for place in (mosaic.path, *(tile.path for tile in mosaic.tiles))}
    check_not_read(target, [Path(target)], files)


def _profile_of(mosaic: Mosaic, target: str, *, overwrite: bool) -> OutputProfile:
    bands = mosaic.bands
    return OutputProfile(
        path=target,
        grid=mosaic.grid,
        count=len(bands),
        dtype=bands[0].dtype,
        nodata=bands[0].nodata,
        descriptions=tuple(band.description for band in bands),
        units=tuple(band.unit for band in bands),
        tags=mosaic.tags,
        overwrite=overwrite,
    )


def _as_geotiff(mosaic: Mosaic, written: OutputProfile, asked: Mapping[str, str], progress: bool | None) -> str:
    own = options_like(str(mosaic.tiles[0].path)) or {}
    options = own | colours_like(str(mosaic.tiles[0].path)) | dict(asked)
    reason = why_not_copied(mosaic, own, asked)
    if reason is None:
        with progress_bar(Path(written.path).name, show=progress) as report:
            copy_blocks(mosaic, replace(written, options=options), report)
        return "blocks copied as they are"
    open_raster(mosaic.path).save(
        written.path, profile=options, nodata=written.nodata, overwrite=written.overwrite, progress=progress
    )
    return f"blocks decoded and encoded again: {reason}"


def _as_cog(mosaic: Mosaic, written: OutputProfile, asked: Mapping[str, str]) -> str:
    own = options_like(str(mosaic.tiles[0].path)) or {}
    options = {"COMPRESS": own["COMPRESS"]} if "COMPRESS" in own else {}
    if own.get("PREDICTOR", "1") != "1":
        options["PREDICTOR"] = "YES"
    write_cog(mosaic.path, written, cog_options(options | dict(asked)))
    return "as a COG, with overviews by GDAL"
