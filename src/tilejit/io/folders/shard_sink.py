"""An output of GeoTIFF shards in a folder, with a VRT that shows them as one raster: many machines can write it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tilejit.errors import SinkError
from tilejit.io.folders.folder_sink import FolderSink
from tilejit.io.folders.output_folder import check_replaceable
from tilejit.io.folders.shard_writer import SHARD_BYTES, ShardOpener
from tilejit.io.folders.vrt import Shard, write_vrt
from tilejit.io.geotiff_sink import geotiff_storage
from tilejit.io.output_file import check_values
from tilejit.io.target import local_target, sync_path
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from tilejit.io.sink import OutputProfile, Record, Storage

_OWN_NAME = re.compile(r"r\d+_c\d+_\d+x\d+\.tif(\.aux\.xml|\.ovr|\.msk)?")


def tiles_of(target: Path) -> Path:
    """The folder of a VRT's shards."""
    return target.with_suffix(".tiles")


def shard_storage(dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]) -> Storage:
    """How shards with these options are stored; see `storage_of`."""
    storage = geotiff_storage(dtype, shape, count, options)
    return replace(storage, writer=f"GeoTIFF shards for .vrt, {storage.writer}", held=SHARD_BYTES, shared=True)


def checked_shards(profile: OutputProfile) -> Path:
    """The VRT behind the name, with every refusal that needs no GDAL.

    Raises:
        SinkError: It is not local, cannot be written to, or it or its folder of shards exists already, or that
            folder holds something else.
    """
    target = local_target(profile.path)
    tiles = tiles_of(target)
    if target.is_dir():
        raise SinkError(f"{profile.path}: is a folder: give a file's name")
    for place in (target, tiles):
        if place.exists() and not profile.overwrite:
            name = profile.path if place == target else f"{profile.path}: its folder of shards, {place},"
            raise SinkError(f"{name}{':' * (place == target)} exists already: give another name, or overwrite=True")
    if tiles.exists():
        if not tiles.is_dir():
            raise SinkError(f"{profile.path}: the shards go to {tiles}, which is a file: give another name")
        check_replaceable(profile.path, tiles, lambda name: _OWN_NAME.fullmatch(name) is not None)
    return target


class ShardSink(FolderSink):
    """GeoTIFF shards, and the VRT that is written when all are there.

    Raises:
        SinkError: It cannot be created; nothing is left.
    """

    def __init__(self, profile: OutputProfile) -> None:
        self._target = checked_shards(profile)
        check_values(profile)
        self._shards: list[Shard] = []
        storage = shard_storage(profile.dtype, profile.grid.shape, profile.count, profile.options)
        super().__init__(replace(profile, options=storage.options), storage, tiles_of(self._target))

    def branch(self, *, local: bool) -> ShardOpener:
        """What opens a worker's end; see `SharedSink.branch`."""
        return ShardOpener(self._profile, str(self._folder.temporary), local)

    def _create(self) -> None:
        self.branch(local=True)().check()

    def _note(self, record: Record) -> None:
        self._shards += [Shard(n, Window(*w)) for n, w in zip(record["names"], record["windows"], strict=True)]

    def _complete(self) -> None:
        """Drop what a failed attempt left, and write the VRT."""
        known = {shard.name for shard in self._shards}
        for file in self._folder.temporary.iterdir():
            if file.name not in known:
                file.unlink()
        write_vrt(self._temporary, self._profile, self._folder.temporary, self._shards, self._folder.target.name)
        sync_path(self._temporary)

    @property
    def _temporary(self) -> Path:
        """What the VRT is called until it is complete: it lies where its relative names are right."""
        return self._folder.temporary.with_suffix(self._target.suffix)

    def _publish(self) -> None:
        with self._folder.published():
            self._temporary.replace(self._target)

    def abort(self) -> None:
        """Remove what was written; nothing happens after `commit`."""
        super().abort()
        self._temporary.unlink(missing_ok=True)
