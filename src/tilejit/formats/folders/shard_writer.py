"""A writer of shards: windows become GeoTIFFs of a useful size."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.folders.checksums import checksums_of
from tilejit.formats.folders.folder_sink import blocks_of, check_folder, numbers_of
from tilejit.formats.geotiff_sink import open_geotiff
from tilejit.formats.output_sink import OutputWriter
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from tilejit.formats.output_sink import Guard
    from tilejit.formats.sink import Manifest, OutputProfile
    from tilejit.system.identity import FileIdentity

SHARD_BYTES = 1 << 24
"""Windows are gathered until they come to so much.

A file takes 6 to 15 ms to create, to sync and to name, which is more than the arithmetic of a small tile: a run of
200,000 tiles would spend most of its time on files, and leave as many in a folder, each of which GDAL opens. 16 MB take
60 ms and more to compress; and each thread may hold so much, beside the tile that it works on."""

Piece = tuple[Window, "NDArray[Any]"]
"""Cells, and their place."""


@dataclass(frozen=True, slots=True)
class ShardOpener:
    """What opens a `ShardWriter` in a worker, on any machine that sees the folder."""

    profile: OutputProfile
    """The whole output; its options are complete."""
    block: tuple[int, int]
    """Rows and columns of its blocks."""
    folder: FileIdentity
    """Where the shards go."""
    local: bool
    """Whether the leader, which syncs the folder in the end, seems to be on this machine.

    An fsync of each shard took a fifth of the cores' time (12288 x 12288 float32: 2.0 against 1.6 CPU seconds)."""

    def __call__(self) -> ShardWriter:
        """Open it.

        Raises:
            SinkError: The folder is not there.
        """
        check_folder(self.profile.path, self.folder)
        is_synced = self.local and self.folder.is_seen()
        return ShardWriter(self.profile, self.block, Path(self.folder.path), synced=not is_synced)


class ShardWriter(OutputWriter):
    """Gathers windows, joins neighbours, and writes each rectangle of them as a GeoTIFF; threads may share it.

    A shard is named for its place and its size: whoever writes that name again writes the same cells.
    """

    def __init__(
        self,
        profile: OutputProfile,
        block: tuple[int, int],
        folder: Path,
        *,
        synced: bool,
        guard: Guard | None = None,
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
            "windows": [numbers_of(window) for _, window in written],
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
        """Have GDAL create a shard, which is when it finds a CRS or an option that it does not take.

        Raises:
            SinkError: It finds one.
        """
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
    """The file's name of a shard.

    Example:
        >>> shard_name(Window(512, 0, 512, 1024))
        'r00000512_c00000000_512x1024.tif'
    """
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
