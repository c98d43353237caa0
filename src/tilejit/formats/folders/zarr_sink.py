"""A Zarr output: each block is a chunk, and a file, that any worker on any machine can write."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import SinkError
from tilejit.formats.folders.folder_sink import FolderSink, blocks_of, check_folder, checksums_of
from tilejit.formats.folders.zarr_layout import METADATA, band_names, consolidate, create_group, load_zarr, strangers
from tilejit.formats.output import check_replaceable
from tilejit.formats.output_sink import OutputWriter
from tilejit.formats.sink import Manifest, OutputProfile, SinkFormat, Storage, WriterOpener
from tilejit.formats.target import local_target
from tilejit.system.files import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.output_sink import Guard
    from tilejit.system.identity import FileIdentity
    from tilejit.window import Window

_SIDE = 512
_LEVELS = {
    "NONE": None,
    "ZSTD": ("ZSTD_LEVEL", "1", range(-7, 23)),
    "GZIP": ("GZIP_LEVEL", "6", range(10)),
    "BLOSC": ("BLOSC_CLEVEL", "1", range(10)),
}
"""Codec -> the option of its level, ours, and the levels that there are."""
_PARTIAL = "*.partial"  # what zarr calls a chunk until it is written
_OTHERS = ("BLOCKXSIZE", "BLOCKYSIZE", "COMPRESS", "INTERLEAVE", "SPARSE_OK")


def zarr_storage(dtype: np.dtype[Any], shape: tuple[int, int], count: int, options: Mapping[str, str]) -> Storage:
    """How a Zarr output with these options is stored; see `storage_at`.

    Example:
        >>> import numpy as np
        >>> zarr_storage(np.dtype("f4"), (3000, 4000), 1, {"BLOCKXSIZE": "1024"}).block
        (512, 1024)
    """
    del dtype
    user = {name.upper(): str(value).upper() for name, value in options.items()}
    codec = user.get("COMPRESS", "ZSTD")
    if codec not in _LEVELS:
        raise SinkError(f"COMPRESS={codec}; Zarr outputs take {', '.join(_LEVELS)}")
    level = _LEVELS[codec]
    complete = {"COMPRESS": codec} | ({} if level is None else {level[0]: level[1]})
    complete |= {"BLOCKXSIZE": str(min(_SIDE, shape[1])), "BLOCKYSIZE": str(min(_SIDE, shape[0]))}
    if count > 1:
        complete["INTERLEAVE"] = "BAND"
    complete |= user
    known = {*_OTHERS, *(() if level is None else (level[0],))}
    for name, value in complete.items():
        _check_option(name, value, known)
    if level is not None and int(complete[level[0]]) not in level[2]:
        raise SinkError(f"{level[0]} is {level[2].start} to {level[2].stop - 1}, not {complete[level[0]]}")
    return Storage(complete, (int(complete["BLOCKYSIZE"]), int(complete["BLOCKXSIZE"])), "Zarr v3 chunks for .zarr")


def _check_option(name: str, value: str, known: set[str]) -> None:
    if name not in known:
        raise SinkError(f"{name} is no creation option of this Zarr output: there are {', '.join(sorted(known))}")
    if name.startswith("BLOCK") and not (value.isdecimal() and int(value)):
        raise SinkError(f"{name} is a number of cells, one or more, not {value}")
    if name.endswith("_LEVEL") and not value.removeprefix("-").isdecimal():
        raise SinkError(f"{name} is a number, not {value}")
    if name == "INTERLEAVE" and value != "BAND":
        raise SinkError(f"INTERLEAVE={value}; in a Zarr output each band is an array of its own: BAND")


def checked_zarr(profile: OutputProfile) -> Path:
    """The folder behind the name, unless it is refused, or there is no zarr here."""
    target = local_target(profile.path)
    load_zarr(profile.path)
    kind = kind_of(target)
    if kind not in {None, "a folder"}:
        raise SinkError(f"{profile.path}: is {kind}, and a Zarr output is a folder: give another name")
    if kind is not None:
        if not profile.overwrite:
            raise SinkError(f"{profile.path}: exists already: give another name, or overwrite=True")
        check_zarr_replaced(profile, target)
    return target


def check_zarr_replaced(profile: OutputProfile, folder: Path) -> None:
    """Refuse to replace a Zarr that holds anything that its own metadata does not name, wherever it is now."""
    check_replaceable(profile.path, Path(os.path.realpath(profile.path)), folder, strangers(folder))


class ZarrSink(FolderSink):
    """A Zarr group whose chunks are the blocks."""

    def __init__(self, profile: OutputProfile) -> None:
        super().__init__(profile, ZARR, checked_zarr(profile))

    def _new_writer(self, guard: Guard | None) -> ZarrWriter:
        return ZarrWriter(self._profile, self.block, self._folder.temporary, guard)

    def _opener(self, folder: FileIdentity, *, local: bool) -> WriterOpener:  # noqa: ARG002 - it is the same anywhere
        return partial(open_chunks, self._profile, self.block, folder)

    def _create(self) -> None:
        create_group(self._folder.temporary, self._profile, self._storage)

    def _note(self, manifest: Manifest) -> None:
        """What has been written is in its place."""

    def _complete(self) -> None:
        """Drop what a run that was killed left of a chunk, and put the metadata together."""
        super()._complete()
        for file in self._folder.temporary.rglob(_PARTIAL) if self._folder.kept else ():
            file.unlink()
        consolidate(self._folder.temporary)


def open_chunks(profile: OutputProfile, block: tuple[int, int], folder: FileIdentity) -> ZarrWriter:
    """Open a writer of chunks in a worker, on any machine that sees the folder."""
    check_folder(profile.path, folder)
    return ZarrWriter(profile, block, Path(folder.path))


_SETTLING = threading.Lock()  # of two that wait for all others, each would wait for the other


@contextmanager
def _settling() -> Iterator[None]:
    """Where a chunk cannot be written, wait for the others, which zarr goes on to write in its own thread.

    They would make the folders anew that whoever has failed removes.
    """
    try:
        yield
    except BaseException:
        from zarr.core.sync import sync

        with _SETTLING:
            sync(_others())
        raise


async def _others() -> None:
    import asyncio  # as zarr has

    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks)


class ZarrWriter(OutputWriter):
    """Writes windows of whole chunks; threads may share it."""

    def __init__(
        self, profile: OutputProfile, block: tuple[int, int], folder: Path, guard: Guard | None = None
    ) -> None:
        super().__init__(profile, blocks_of(profile, block), guard)
        group = load_zarr(profile.path).open_group(str(folder), mode="r+")
        names, count = band_names(profile), profile.count
        places = [(name, ()) for name in names] if profile.stacked is None else [(names[0], (k,)) for k in range(count)]
        self._bands = [(name, group[name], layer) for name, layer in places]
        self._folder = folder
        self._windows: list[Window] = []

    def _put(self, window: Window, cells: NDArray[Any]) -> None:
        place = slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)
        try:
            with _settling():
                for (_, array, layer), part in zip(self._bands, cells, strict=True):
                    array[*layer, *place] = part
        finally:
            self._check_wanted()
        self._windows.append(window)

    def _check_wanted(self) -> None:
        """Drop what was written for a run that has failed meanwhile: zarr makes a chunk's folders anew."""
        if not (self._folder / METADATA).exists():
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SinkError(f"{self._profile.path}: its run has ended")

    def finish(self) -> Manifest:
        """Returns the windows that were written, and checksums of their chunks for a journal."""
        chunks = (name for window in self._windows for name in self._chunks(window))
        return {
            "windows": [astuple(window) for window in self._windows],
            "checksums": checksums_of(self._profile, self._folder, chunks),
        }

    def _chunks(self, window: Window) -> Iterator[str]:
        """The files of a window of whole chunks; those of nothing but nodata are not written."""
        for name, array, layer in self._bands:
            *_, height, width = array.chunks
            for row in range(window.row_off // height, -(-window.row_end // height)):
                for col in range(window.col_off // width, -(-window.col_end // width)):
                    yield f"{name}/{array.metadata.encode_chunk_key((*layer, row, col))}"


ZARR = SinkFormat(
    name="Zarr",
    open=lambda profile, _: ZarrSink(profile),
    storage=zarr_storage,
    check=checked_zarr,
    check_replaced=check_zarr_replaced,
)
"""What `tilejit.formats.registry` finds."""
