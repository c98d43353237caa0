"""What outputs of many files have in common, and what tells whether finished files are as an earlier run left them."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import SinkError
from tilejit.formats.gdal.creation_options import is_sparse
from tilejit.formats.geotiff.blocks import BlockGrid
from tilejit.formats.output import OutputFolder, check_values
from tilejit.formats.output_sink import Coverage, OutputSink
from tilejit.system.identity import FileIdentity, process_name
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilejit.formats.sink import Manifest, OutputProfile, SinkFormat, WriterOpener


Checksum = list[str | int]  # a file's name, its size and the CRC-32 of its bytes; a size of -1 where it was not written

_PIECE = 1 << 20


def checksum_of(folder: Path, name: str) -> Checksum:
    """A file's checksum."""
    size, code = 0, 0
    try:
        with (folder / name).open("rb") as file:
            while piece := file.read(_PIECE):
                size, code = size + len(piece), zlib.crc32(piece, code)
    except FileNotFoundError:
        return [name, -1, 0]
    return [name, size, code]


def checksums_of(profile: OutputProfile, folder: Path, names: Iterable[str]) -> list[Checksum]:
    """The checksums of what a writer has finished; none where no journal keeps them."""
    return [] if profile.checkpoint is None else [checksum_of(folder, name) for name in names]


def check_checksums(path: str, folder: Path, checksums: Iterable[Checksum]) -> None:
    """Refuse to go on with an output of which a finished file is gone, cut or altered since the journal's checksums."""
    for checksum in checksums:
        found = checksum_of(folder, str(checksum[0]))
        if found != list(checksum):
            there, noted = (_words(size) for size in (found[1], checksum[1]))
            changed = (
                "other bytes than its journal says" if there == noted else f"{there}, and its journal says {noted}"
            )
            raise SinkError(
                f"{path}: cannot go on: {folder / str(checksum[0])} has {changed}: delete {folder} and the journal to "
                "begin anew"
            )


def _words(size: str | int) -> str:
    return "no file" if size == -1 else f"{size:,} bytes"


class FolderSink(OutputSink):
    """An output of many files in one folder, which workers anywhere write."""

    def __init__(self, profile: OutputProfile, form: SinkFormat, folder: Path) -> None:
        check_values(profile)
        storage = form.storage(profile.dtype, profile.grid.shape, profile.count, profile.options)
        profile = replace(profile, options=storage.options)
        check = None if form.check_replaced is None else partial(form.check_replaced, profile)
        self._folder = OutputFolder(profile, folder, check if profile.overwrite else None)
        super().__init__(self._folder, storage.block)
        self._storage = storage
        self._merged = Coverage(profile.path, blocks_of(profile, storage.block))
        try:
            with self._folder.completing("created"):
                if not self._folder.kept:
                    self._create()
        except BaseException:
            self.abort()
            raise

    @abstractmethod
    def _create(self) -> None:
        """Put into the folder what is there before any window."""

    @abstractmethod
    def _note(self, manifest: Manifest) -> None:
        """Keep what a writer has written."""

    @abstractmethod
    def _opener(self, folder: FileIdentity, *, local: bool) -> WriterOpener:
        """What opens a writer where the folder is seen."""

    def opener(self, *, local: bool) -> WriterOpener:
        """What opens writers in other processes; see `opener_of`."""
        self._open_writers()
        return self._opener(FileIdentity.of(self._folder.temporary), local=local)

    def _check_kept(self, manifest: Manifest) -> None:
        check_checksums(self._profile.path, self._folder.temporary, manifest["checksums"])

    def _merge(self, manifest: Manifest) -> Manifest:
        for numbers in manifest["windows"]:
            self._merged.claim(Window(*numbers))
        self._note(manifest)
        return manifest

    def _complete(self) -> None:
        if not is_sparse(self._storage.options):
            self._merged.check_complete()


def blocks_of(profile: OutputProfile, block: tuple[int, int]) -> BlockGrid:
    """The blocks of a whole output."""
    return BlockGrid(profile.grid.shape, block, tiled=True, planes=1)


def check_folder(path: str, folder: FileIdentity) -> None:
    """Refuse to write where the leader's folder is not seen; with the worker that says so.

    Of a network file system two machines, and two mounts of one machine, know one folder by different numbers: there
    its name has to do, which nobody can guess.
    """
    try:
        found = FileIdentity.of(folder.path)
    except OSError:
        found = None
    is_other = found is not None and (found.kernel, found.device) == (folder.kernel, folder.device) and found != folder
    if found is None or is_other:
        raise SinkError(
            f"{path}: the worker that is {process_name()} does not see the folder "
            f"{Path(folder.path).parent} of the process that leads: give workers on other machines and in containers "
            "that folder by the same path"
        )
