"""Shards into one GeoTIFF without decoding: encoded blocks are copied as they are; or into a COG, which GDAL makes."""

from __future__ import annotations

import glob
import importlib
import os
from typing import TYPE_CHECKING

import numpy as np

from tilejit.errors import NameTakenError
from tilejit.formats.gdal.creation_options import block_of, default_options
from tilejit.formats.gdal.library import load_rasterio, messages, quiet
from tilejit.formats.gdal.new_file import close_dataset, create_dataset
from tilejit.formats.geotiff.blocks import BlockGrid, Place
from tilejit.formats.geotiff.tiff_directory import TiffLayout, read_skeleton
from tilejit.formats.output import OutputFile
from tilejit.system.files import open_regular
from tilejit.system.limits import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tilejit.formats.folders.vrt import Mosaic, ShardFile
    from tilejit.formats.geotiff.tiff_directory import TiffSkeleton
    from tilejit.formats.sink import OutputProfile


_DIRECTORY = {"ALPHA", "BIGTIFF", "GEOTIFF_KEYS_FLAVOR", "GEOTIFF_VERSION", "NUM_THREADS", "PHOTOMETRIC", "SPARSE_OK"}
"""Options that leave the blocks as they are."""


def why_not_copied(mosaic: Mosaic, own: Mapping[str, str], asked: Mapping[str, str]) -> str | None:
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


def copy_blocks(
    mosaic: Mosaic, profile: OutputProfile, progress: Callable[[float, int, str], None] | None = None
) -> None:
    """Write one GeoTIFF, stored as they are, of the blocks of shards of which `why_not_copied` says nothing."""
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
        tiles = self._mosaic.tiles
        out = open_regular(self._file.temporary, os.O_RDWR)
        try:
            end = os.fstat(out).st_size
            for done, tile in enumerate(tiles, 1):
                end = self._copy_tile(tile, out, end)
                if progress is not None:
                    progress(done, len(tiles), "")
            self._skeleton.enter(out, self._offsets, self._counts)
        finally:
            os.close(out)

    def _copy_tile(self, tile: ShardFile, out: int, end: int) -> int:
        """Append the blocks of a shard in the order of its directory; returns the output's new end."""
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
                self._offsets[target], self._counts[target] = end, size
                end = self._append(out, data, end)
        return end

    def _append(self, out: int, data: bytes, end: int) -> int:
        if end + len(data) > self._skeleton.largest:
            raise OSError("the file would pass 4 GB, which only a BigTIFF can: give the option BIGTIFF=YES")
        left = memoryview(data)
        while left:
            written = os.pwrite(out, left, end)
            left, end = left[written:], end + written
        return end

    def _check_codec(self, tile: ShardFile, layout: TiffLayout) -> None:
        mine, theirs = self._skeleton.codec, layout.codec
        for word in ("compression", "predictor", "dtype", "samples"):
            if getattr(mine, word) != getattr(theirs, word):
                values = f"{getattr(theirs, word)}, and the output {getattr(mine, word)}"
                raise OSError(f"{tile.path}: its {word} is {values}")


def write_cog(source: Path, profile: OutputProfile, options: Mapping[str, str]) -> None:
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
