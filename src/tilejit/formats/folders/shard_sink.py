"""An output of GeoTIFF shards in a folder, with a VRT that shows them as one raster: many machines can write it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import NameTakenError, SinkError, SourceError
from tilejit.formats.folders.folder_sink import FolderSink
from tilejit.formats.folders.shard_writer import SHARD_BYTES, ShardOpener, ShardWriter
from tilejit.formats.folders.vrt import Shard, can_be_named, read_shards, write_vrt
from tilejit.formats.gdal.side_file import SIDE_SUFFIX
from tilejit.formats.geotiff_sink import geotiff_storage
from tilejit.formats.output import check_replaceable, check_values
from tilejit.formats.target import check_length, checked_file, finished, give_name, remove_own, sync_path
from tilejit.system.files import kind_of
from tilejit.system.identity import FileIdentity
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from tilejit.formats.output_sink import Guard
    from tilejit.formats.sink import Manifest, OutputProfile, Storage

_OWN_NAME = re.compile(r"(r\d+_c\d+_\d+x\d+\.tif)(\.aux\.xml|\.ovr|\.msk)?")


def tiles_of(target: Path) -> Path:
    """The folder of a VRT's shards."""
    return target.with_suffix(".tiles")


def shard_storage(dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]) -> Storage:
    """How shards with these options are stored; see `storage_at`."""
    storage = geotiff_storage(dtype, shape, count, options)
    return replace(storage, writer=f"GeoTIFF shards for .vrt, {storage.writer}", held=SHARD_BYTES, shared=True)


def checked_shards(profile: OutputProfile) -> Path:
    """The VRT behind the name, with every refusal that needs no GDAL.

    Raises:
        SinkError: It is not local, cannot be written to, or it or its folder of shards exists already, or that
            folder holds something else.
    """
    target = checked_file(profile.path, overwrite=profile.overwrite, sidecars=True)
    tiles = tiles_of(target)
    check_length(profile.path, tiles)
    if not can_be_named(tiles.name):
        raise SinkError(f"{profile.path}: a VRT, which is XML, cannot name the folder {tiles.name}: give another name")
    kind = kind_of(tiles)
    if kind not in {None, "a folder"}:
        raise SinkError(f"{profile.path}: the shards go to {tiles}, which is {kind}: give another name")
    if kind is not None:
        if not profile.overwrite:
            raise SinkError(
                f"{profile.path}: its folder of shards, {tiles}, exists already: give another name, or overwrite=True"
            )
        check_shards_replaced(profile, tiles)
    return target


def check_shards_replaced(profile: OutputProfile, folder: Path) -> None:
    """Refuse to replace a folder of shards that holds anything else, wherever it is now.

    Raises:
        SinkError: It does.
    """
    target = Path(os.path.realpath(profile.path))
    check_replaceable(profile.path, tiles_of(target), folder, _strangers(folder, target))


def _strangers(folder: Path, target: Path) -> Iterator[Path]:
    """What is no shard, or none that the VRT names."""
    listed = _listed(target)
    for place in sorted(folder.iterdir()):
        own = _OWN_NAME.fullmatch(place.name)
        if own is None or kind_of(place) != "a file" or (listed is not None and own[1] not in listed):
            yield place


def _listed(target: Path) -> set[str] | None:
    """The names of a VRT's shards; None where there is no such VRT."""
    try:
        return {Path(shard.name).name for shard in read_shards(target)}
    except SourceError:
        return None


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

    def _new_writer(self, guard: Guard | None) -> ShardWriter:
        return ShardWriter(self._profile, self.block, self._folder.temporary, synced=False, guard=guard)

    def opener(self, *, local: bool) -> ShardOpener:
        """What opens writers in other processes; see `opener_of`."""
        self._open_writers()
        return ShardOpener(self._profile, self.block, FileIdentity.of(self._folder.temporary), local)

    def _check_replaced(self, folder: Path) -> None:
        check_shards_replaced(self._profile, folder)

    def _create(self) -> None:
        self._new_writer(None).check()

    def _note(self, manifest: Manifest) -> None:
        self._shards += [Shard(n, Window(*w)) for n, w in zip(manifest["names"], manifest["windows"], strict=True)]

    def _complete(self) -> None:
        """Drop what a failed attempt left, and write the VRT."""
        super()._complete()
        known = {shard.name for shard in self._shards}
        for file in self._folder.temporary.iterdir():
            if file.name.removesuffix(SIDE_SUFFIX) not in known:
                file.unlink()
        self._write_vrt(self._folder.target.name)

    def _write_vrt(self, beside: str) -> None:
        remove_own(self._temporary)
        write_vrt(self._temporary, self._profile, self._folder.temporary, self._shards, beside)
        sync_path(self._temporary)

    @property
    def _temporary(self) -> Path:
        """What the VRT is called until it is complete: it lies where its relative names are right."""
        return self._folder.temporary.with_suffix(self._target.suffix)

    def _publish(self) -> None:
        vrt = self._temporary
        try:
            with self._folder.published():
                vrt = finished(vrt)
                give_name(self._profile.path, self._temporary, self._target, overwrite=self._profile.overwrite)
        except NameTakenError:
            if (
                self._profile.checkpoint is None
            ):  # so that the two can be used as they are; a later run names them anyway
                vrt.unlink(missing_ok=True)
                self._write_vrt(self._folder.temporary.name)
            raise

    def abort(self) -> None:
        """Remove what was written; idempotent, and nothing after `publish`."""
        super().abort()
        if not self._folder.kept:
            with suppress(OSError):  # which would hide what ended the run, on a disk that has gone read-only
                self._temporary.unlink(missing_ok=True)
