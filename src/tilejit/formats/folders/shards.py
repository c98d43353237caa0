"""An output of GeoTIFF shards in a folder, with a VRT that shows them as one raster: many machines can write it."""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import NameTakenError, SinkError, SourceError
from tilejit.formats.folders.folder_sink import FolderSink, blocks_of, check_folder, checksums_of
from tilejit.formats.folders.vrt import Shard, can_be_named, read_shards, write_vrt
from tilejit.formats.gdal.new_file import SIDE_SUFFIX
from tilejit.formats.geotiff_sink import geotiff_storage, open_geotiff
from tilejit.formats.output import check_replaceable
from tilejit.formats.output_sink import OutputWriter
from tilejit.formats.publishing import finished, give_name, sync_path
from tilejit.formats.sink import Manifest, OutputProfile, SinkFormat, Storage, WriterOpener
from tilejit.formats.target import check_length, checked_file, remove_own
from tilejit.system.files import kind_of
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from tilejit.formats.output_sink import Guard
    from tilejit.system.identity import FileIdentity


SHARD_BYTES = 1 << 24
"""Windows are gathered until they come to so much.

A file takes 6 to 15 ms to create, to sync and to name, which is more than the arithmetic of a small tile: a run of
200,000 tiles would spend most of its time on files, and leave as many in a folder, each of which GDAL opens. 16 MB take
60 ms and more to compress; and each thread may hold so much, beside the tile that it works on."""

Piece = tuple[Window, "NDArray[Any]"]  # cells, and their place


def open_shards(profile: OutputProfile, block: tuple[int, int], folder: FileIdentity, *, local: bool) -> ShardWriter:
    """Open a writer of shards in a worker, on any machine that sees the folder.

    The leader, if it seems to be on this machine, syncs the folder in the end: an fsync of each shard took a fifth of
    the cores' time (12288 x 12288 float32: 2.0 against 1.6 CPU seconds).
    """
    check_folder(profile.path, folder)
    return ShardWriter(profile, block, Path(folder.path), synced=not (local and folder.is_seen()))


class ShardWriter(OutputWriter):
    """Gathers windows, joins neighbours, and writes each rectangle of them as a GeoTIFF; threads may share it.

    A shard is named for its place and its size: whoever writes that name again writes the same cells.
    """

    def __init__(
        self, profile: OutputProfile, block: tuple[int, int], folder: Path, *, synced: bool, guard: Guard | None = None
    ) -> None:
        super().__init__(profile, blocks_of(profile, block), guard)
        self._folder, self._synced = folder, synced
        self._lock = threading.Lock()
        self._pieces: list[Piece] = []
        self._bytes = 0
        self._written: list[tuple[str, Window]] = []

    def _put(self, window: Window, cells: NDArray[Any]) -> None:
        with self._lock:
            self._bytes += cells.nbytes
            full = self._bytes >= SHARD_BYTES
            # The cells may be reused after the call: what is not written within it is copied.
            self._pieces.append((window, cells if full else cells.copy()))
            pieces = self._taken() if full else []
        self._flush(pieces)

    def finish(self) -> Manifest:
        """Write what is gathered; returns names and windows of the shards, and checksums for a journal."""
        self._flush(self._taken())
        written = sorted(self._written, key=lambda shard: shard[0])
        names = [name for name, _ in written]
        return {
            "names": names,
            "windows": [astuple(window) for _, window in written],
            "checksums": checksums_of(self._profile, self._folder, names),
        }

    def _taken(self) -> list[Piece]:
        pieces, self._pieces, self._bytes = self._pieces, [], 0
        return pieces

    def _flush(self, pieces: list[Piece]) -> None:
        for rectangle in rectangles(pieces):
            whole = _hull(rectangle)
            name = shard_name(whole)
            self._write_shard(name, whole, rectangle)
            with self._lock:
                self._written.append((name, whole))

    def _write_shard(self, name: str, whole: Window, pieces: list[Piece]) -> None:
        profile = self._shard_profile(name, whole)
        with self._renamed(profile.path, f"{self._profile.path}: shard {name}"):
            sink = open_geotiff(profile, synced=self._synced)
            try:
                writer = sink.writer()
                for window, cells in pieces:
                    stored = cells.view(np.bool_) if profile.dtype == np.bool_ else cells
                    writer.write(window.shifted(-whole.row_off, -whole.col_off), stored)
                sink.merge(writer.finish())
                sink.prepare()
                sink.publish()
            except BaseException:
                sink.abort()
                raise

    def check(self) -> None:
        """Have GDAL create a shard, which is when it finds a CRS or an option that it does not take."""
        profile = self._shard_profile("check.tif", Window(0, 0, 1, 1))
        with self._renamed(profile.path, self._profile.path):
            open_geotiff(profile, synced=False).abort()

    @contextmanager
    def _renamed(self, path: str, name: str) -> Iterator[None]:
        """Let an error say other names than those of a temporary file and folder."""
        try:
            yield
        except SinkError as error:
            text = str(error).replace(path, name).replace(str(self._folder), str(self._folder.parent))
            raise SinkError(text) from error

    def _shard_profile(self, name: str, window: Window) -> OutputProfile:
        grid = self._profile.grid.part(window)
        # Ground control points are of the whole raster's rows and columns.
        tags = replace(self._profile.tags, ground=None)
        return replace(
            self._profile, path=str(self._folder / name), grid=grid, tags=tags, overwrite=True, checkpoint=None
        )


def shard_name(window: Window) -> str:
    """The file's name of a shard: r00000512_c00000000_512x1024.tif, of its first cell and its size."""
    return f"r{window.row_off:08}_c{window.col_off:08}_{window.height}x{window.width}.tif"


def rectangles(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Join neighbours: windows side by side become strips, and strips of one width below each other rectangles.

    Example:
        >>> import numpy as np
        >>> windows = [Window(0, 0, 2, 2), Window(0, 2, 2, 2), Window(2, 0, 2, 4), Window(6, 0, 2, 2)]
        >>> [len(found) for found in rectangles([(w, np.zeros((1, *w.shape))) for w in windows])]
        [1, 3]
    """
    strips = _joined(
        [[piece] for piece in pieces],
        lambda w: (w.row_off, w.height, w.col_off),
        lambda a, b: (a.row_off, a.height, a.col_end) == (b.row_off, b.height, b.col_off),
    )
    return _joined(
        strips,
        lambda w: (w.col_off, w.width, w.row_off),
        lambda a, b: (a.col_off, a.width, a.row_end) == (b.col_off, b.width, b.row_off),
    )


def _joined(
    groups: list[list[Piece]], key: Callable[[Window], Any], follows: Callable[[Window, Window], bool]
) -> list[list[Piece]]:
    """Join groups that follow each other."""
    found: list[list[Piece]] = []
    end = Window(0, 0, 0, 0)
    for whole, group in sorted(((_hull(g), g) for g in groups), key=lambda pair: key(pair[0])):
        if found and follows(end, whole):
            found[-1].extend(group)
        else:
            found.append(list(group))
        end = whole
    return found


def _hull(pieces: list[Piece]) -> Window:
    """The rectangle around windows."""
    windows = [window for window, _ in pieces]
    row, col = min(w.row_off for w in windows), min(w.col_off for w in windows)
    return Window(row, col, max(w.row_end for w in windows) - row, max(w.col_end for w in windows) - col)


_OWN_NAME = re.compile(r"(r\d+_c\d+_\d+x\d+\.tif)(\.aux\.xml|\.ovr|\.msk)?")


def tiles_of(target: Path) -> Path:
    """The folder of a VRT's shards."""
    return target.with_suffix(".tiles")


def shard_storage(dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]) -> Storage:
    """How shards with these options are stored; see `storage_at`."""
    storage = geotiff_storage(dtype, shape, count, options)
    return replace(storage, writer=f"GeoTIFF shards for .vrt, {storage.writer}", held=SHARD_BYTES, shared=True)


def checked_shards(profile: OutputProfile) -> Path:
    """The VRT behind the name, with every refusal that needs no GDAL, of its folder of shards, too."""
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
    """Refuse to replace a folder of shards that holds anything else, wherever it is now."""
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
    """GeoTIFF shards, and the VRT that is written when all are there."""

    def __init__(self, profile: OutputProfile) -> None:
        self._target = checked_shards(profile)
        self._shards: list[Shard] = []
        super().__init__(profile, SHARDS, tiles_of(self._target))

    def _new_writer(self, guard: Guard | None) -> ShardWriter:
        return ShardWriter(self._profile, self.block, self._folder.temporary, synced=False, guard=guard)

    def _opener(self, folder: FileIdentity, *, local: bool) -> WriterOpener:
        return partial(open_shards, self._profile, self.block, folder, local=local)

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
            if self._profile.checkpoint is None:  # the two can be used as they are; a later run names them anyway
                vrt.unlink(missing_ok=True)
                self._write_vrt(self._folder.temporary.name)
            raise

    def abort(self) -> None:
        """Remove what was written; idempotent, and nothing after `publish`."""
        super().abort()
        if not self._folder.kept:
            with suppress(OSError):  # which would hide what ended the run, on a disk that has gone read-only
                self._temporary.unlink(missing_ok=True)


SHARDS = SinkFormat(
    name="a VRT of GeoTIFF shards",
    open=lambda profile, _: ShardSink(profile),
    storage=shard_storage,
    check=checked_shards,
    beside=tiles_of,
    check_replaced=check_shards_replaced,
)
"""What `tilejit.formats.registry` finds."""
