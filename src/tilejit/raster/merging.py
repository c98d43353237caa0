"""The shards of a VRT into one file: encoded blocks are copied as they are, or decoded; or GDAL makes a COG of them."""

from __future__ import annotations

import glob
import importlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.pipeline.report import progress_bar
from tilejit.errors import NameTakenError, SinkError
from tilejit.formats.append_file import CachedAppendFile
from tilejit.formats.folders.vrt import Mosaic, ShardFile, read_mosaic
from tilejit.formats.gdal.creation_options import block_of, cog_options, default_options
from tilejit.formats.gdal.library import load_rasterio, messages, quiet
from tilejit.formats.gdal.new_file import close_dataset, colours_like, create_dataset, options_like
from tilejit.formats.geotiff.blocks import BlockGrid, Place
from tilejit.formats.geotiff.tiff_directory import TiffLayout, TiffSkeleton, read_skeleton
from tilejit.formats.output import OutputFile
from tilejit.formats.publishing import sweep
from tilejit.formats.registry import format_of
from tilejit.formats.sink import OutputProfile
from tilejit.formats.target import check_not_read
from tilejit.raster.making import open_raster
from tilejit.raster.options import upper_options
from tilejit.sizes import counted
from tilejit.system.limits import available_cores
from tilejit.system.signals import ends_heard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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
        path=target, grid=mosaic.grid, count=len(bands), dtype=bands[0].dtype, nodata=bands[0].nodata,
        descriptions=tuple(band.description for band in bands), units=tuple(band.unit for band in bands),
        tags=mosaic.tags, overwrite=overwrite,
    )  # fmt: skip


def _as_geotiff(mosaic: Mosaic, written: OutputProfile, asked: Mapping[str, str], progress: bool | None) -> str:
    own = options_like(str(mosaic.tiles[0].path)) or {}
    options = own | colours_like(str(mosaic.tiles[0].path)) | dict(asked)
    reason = _why_not_copied(mosaic, own, asked)
    if reason is None:
        with progress_bar(Path(written.path).name, show=progress) as report:
            _copy_blocks(mosaic, replace(written, options=options), report)
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
    _write_cog(mosaic.path, written, cog_options(options | dict(asked)))
    return "as a COG, with overviews by GDAL"


_DIRECTORY = {"ALPHA", "BIGTIFF", "GEOTIFF_KEYS_FLAVOR", "GEOTIFF_VERSION", "NUM_THREADS", "PHOTOMETRIC", "SPARSE_OK"}
"""Options that leave the blocks as they are."""


def _why_not_copied(mosaic: Mosaic, own: Mapping[str, str], asked: Mapping[str, str]) -> str | None:
    """Why blocks of shards must be decoded for the options asked; None where they can stay as their own options say."""
    changing = [f"{k}={v}" for k, v in asked.items() if own.get(k, "").upper() != v.upper() and k not in _DIRECTORY]
    if changing:
        return f"{', '.join(changing)} is asked for"
    layout = mosaic.tiles[0].layout
    if isinstance(layout, str):
        return layout
    if layout.codec.dtype.byteorder == ">":
        return "the cells are in the other byte order"
    shape = mosaic.grid.shape
    complete = default_options(layout.codec.dtype.newbyteorder("="), *shape, own, len(mosaic.bands))
    target = BlockGrid(shape, block_of(complete, *shape), layout.grid.tiled, layout.grid.planes)
    return next((why for tile in mosaic.tiles if (why := _why_not(tile, target)) is not None), None)


def _why_not(tile: ShardFile, target: BlockGrid) -> str | None:
    layout = tile.layout
    if isinstance(layout, str):
        return layout
    mine, theirs = layout.grid, target
    # A shard that is lower than a strip is one strip.
    rows = theirs.block[0] if theirs.tiled else min(theirs.block[0], tile.window.height)
    if (mine.block, mine.tiled, mine.planes) != ((rows, theirs.block[1]), theirs.tiled, theirs.planes):
        return f"{tile.path.name} has blocks of {_times(mine.block)}, and the output of {_times(theirs.block)}"
    if not target.holds_whole(tile.window):
        return f"{tile.path.name} begins or ends within a block of {_times(theirs.block)}"
    return None


def _times(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _copy_blocks(
    mosaic: Mosaic, profile: OutputProfile, progress: Callable[[float, int, str], None] | None = None
) -> None:
    """Write one GeoTIFF, stored as they are, of the blocks of shards of which `_why_not_copied` says nothing."""
    file = OutputFile(profile)
    try:
        with file.completing("created"):
            # Blocks that are left out of a shard are left out here: they read alike.
            close_dataset(create_dataset(file.profile, file.temporary, file.options | {"SPARSE_OK": "TRUE"}))
            file.start_flusher()
        with file.completing():
            _Copy(file, mosaic).run(progress)
            file.finish()
            file.publish()
    except BaseException:
        file.remove()
        raise


class _Copy:
    """One copy: where the output's blocks are."""

    def __init__(self, file: OutputFile, mosaic: Mosaic) -> None:
        self._file, self._mosaic = file, mosaic
        self._skeleton: TiffSkeleton = read_skeleton(file.temporary, None)
        planes = file.profile.count // self._skeleton.codec.samples
        self._blocks = BlockGrid(file.profile.grid.shape, file.block, self._skeleton.tiled, planes)
        self._offsets = np.zeros(self._blocks.count, np.int64)
        self._counts = np.zeros(self._blocks.count, np.int64)

    def run(self, progress: Callable[[float, int, str], None] | None) -> None:
        tiles, out = self._mosaic.tiles, CachedAppendFile(self._file.temporary)
        try:
            for done, tile in enumerate(tiles, 1):
                self._copy_tile(tile, out)
                if progress is not None:
                    progress(done, len(tiles), "")
            self._skeleton.enter(out.descriptor, self._offsets, self._counts)
        finally:
            out.close()

    def _copy_tile(self, tile: ShardFile, out: CachedAppendFile) -> None:
        """Append the blocks of a shard in the order of its directory."""
        layout = tile.layout
        if not isinstance(layout, TiffLayout):
            raise TypeError(f"{tile.path}: {layout}")
        self._check_codec(tile, layout)
        rows, cols = self._blocks.block
        row, col = tile.window.row_off // rows, tile.window.col_off // cols
        with tile.path.open("rb", buffering=0) as shard:
            for number in range(layout.grid.count):
                if layout.are_missing(number, 1):
                    continue
                place = layout.grid.place(number)
                target = self._blocks.number(Place(place.plane, place.row + row, place.col + col))
                size, offset = int(layout.counts[number]), int(layout.offsets[number])
                data = os.pread(shard.fileno(), size, offset)
                if len(data) != size:
                    raise OSError(
                        f"{tile.path}: block {number} should have {size} bytes at {offset}, and {len(data)} are there"
                    )
                stored = np.frombuffer(data, np.uint8)
                self._offsets[target], self._counts[target] = out.append(stored, self._skeleton.largest), size

    def _check_codec(self, tile: ShardFile, layout: TiffLayout) -> None:
        mine, theirs = self._skeleton.codec, layout.codec
        for word in ("compression", "predictor", "dtype", "samples"):
            if getattr(mine, word) != getattr(theirs, word):
                values = f"{getattr(theirs, word)}, and the output {getattr(mine, word)}"
                raise OSError(f"{tile.path}: its {word} is {values}")


def _write_cog(source: Path, profile: OutputProfile, options: Mapping[str, str]) -> None:
    """Copy what GDAL opens into a COG, with options of GDAL's COG driver; where it is not as asked nothing is left."""
    file = OutputFile(profile)
    complete = {"NUM_THREADS": str(available_cores()), "BIGTIFF": "IF_SAFER"} | dict(options)
    rasterio, shutil = load_rasterio(), importlib.import_module("rasterio.shutil")
    try:
        with file.completing():
            with quiet(), messages() as said, rasterio.Env(GDAL_PAM_ENABLED="NO"):
                shutil.copy(source, file.temporary, driver="COG", **complete)
            _refuse(said)
            file.finish()
            file.publish()
    except NameTakenError:  # it is finished, and stays
        raise
    except BaseException:
        # Overviews that were not finished lie beside it.
        for left in file.temporary.parent.glob(f"{glob.escape(file.temporary.name)}*"):
            left.unlink(missing_ok=True)
        raise


def _refuse(said: list[str]) -> None:
    """Raise what GDAL only said."""
    if said:
        raise OSError("; ".join(said))
