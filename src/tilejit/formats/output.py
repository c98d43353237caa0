"""A file or a folder that appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
import shutil
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from tilejit.errors import NameTakenError, SinkError
from tilejit.formats.append_file import Flusher
from tilejit.formats.cells import nodata_key
from tilejit.formats.gdal.creation_options import block_of, default_options, stored_dtype
from tilejit.formats.gdal.library import read_a_block
from tilejit.formats.gdal.new_file import check_side_file, write_side_file
from tilejit.formats.publishing import (
    completing,
    finished,
    give_name,
    remove_folder,
    remove_sidecars,
    replacing_folder,
    sync_file_system,
    sync_path,
)  # fmt: skip
from tilejit.formats.target import checked_file, remove_own, require_own, temporary_of
from tilejit.system.files import kind_of, rename_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np

    from tilejit.formats.sink import OutputProfile

_EXACT_NODATA = 2**53
"""rasterio hands nodata over as a float64, and GDAL then spells it with an exponent in the file: measured,
the int64 nodata -9223372036854775807 came back as -9."""


class _Output(ABC):
    """What is made under a temporary name beside its target, whose name it gets in the end."""

    temporary: Path  # what it is called until it is complete

    def __init__(self, profile: OutputProfile, target: Path) -> None:
        self.profile, self.target = profile, target
        self.kept = profile.checkpoint is not None and profile.checkpoint.stage == "begun"
        """Whether it stays where the output cannot be completed."""

    @abstractmethod
    def remove(self) -> None:
        """Leave nothing behind but the target, unless it is kept; idempotent, and nothing after it has its name."""

    def completing(self, done: str = "completed") -> AbstractContextManager[None]:
        """Leave nothing behind where the output cannot be completed; see `publishing.completing`."""
        return completing(self.profile.path, self.temporary, self.remove, done)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Stands around what gives it its name: if that is taken, it stays, and no process is in its temporary name."""
        self.temporary = finished(self.temporary)
        try:
            yield
        except NameTakenError:
            self.kept = True
            raise


class OutputFile(_Output):
    """A checked GeoTIFF, and the temporary file beside it that takes its name in the end.

    Unless ``synced``, it is left to the caller that it is on the disk when it has its name.
    """

    def __init__(self, profile: OutputProfile, *, synced: bool = True) -> None:
        super().__init__(profile, checked_geotiff(profile))
        check_values(profile)
        check_side_file(profile.path, self.target, profile.grid)
        shape, checkpoint = profile.grid.shape, profile.checkpoint
        self.options = default_options(profile.dtype, *shape, profile.options, profile.count)
        """All the creation options but NUM_THREADS."""
        self.block = block_of(self.options, *shape)  # rows and columns of the storage blocks
        self._found = None if checkpoint is None else temporary_of(self.target, checkpoint)
        self.temporary = self._found if self._found is not None and self.kept else temporary_of(self.target)
        if self.kept:
            require_own(self.temporary)
        self._synced = synced
        self._flusher: Flusher | None = None

    def settle(self) -> None:
        """Give the new file the name by which the next run finds it, if one is to.

        GDAL makes it under a name that nobody can guess: it follows links, and the other name can be foretold.
        """
        if self._found is not None and not self.kept:
            remove_own(self._found)
            rename_new(self.temporary, self._found)
            self.temporary = self._found

    def start_flusher(self) -> None:
        """Send the temporary file's pages to the disk from now on."""
        if self._synced:
            self._flusher = Flusher(self.temporary)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        sync_path(self.temporary)

    def finish(self) -> None:
        """Have GDAL read a block of the closed file, and wait until all are on the disk."""
        read_a_block(self.temporary)
        if self._flusher is not None:
            self._flusher.finish()
        if self._synced:
            sync_path(self.temporary)

    def publish(self) -> None:
        """Give the file its name, without what lay beside the old one."""
        with self._named():
            give_name(self.profile.path, self.temporary, self.target, overwrite=self.profile.overwrite)
        write_side_file(self.profile.path, self.target, self.profile.grid, overwrite=self.profile.overwrite)
        if self._synced:
            sync_path(self.target.parent)

    def remove(self) -> None:
        """See `_Output.remove`."""
        if self._flusher is not None:
            self._flusher.stop()
        if self.kept:
            return
        with contextlib.suppress(OSError):
            self.temporary.unlink(missing_ok=True)
            remove_sidecars(self.temporary)


class OutputFolder(_Output):
    """A folder under a temporary name beside its target, whose name it gets in the end.

    ``check`` refuses to replace a folder for what it holds; None where none may be replaced.
    """

    def __init__(self, profile: OutputProfile, target: Path, check: Callable[[Path], None] | None = None) -> None:
        super().__init__(profile, target)
        checkpoint = profile.checkpoint
        self.temporary = temporary_of(target, checkpoint)
        self._check = check
        if checkpoint is not None and kind_of(self.temporary) is not None:
            require_own(self.temporary)
        if not self.kept:
            with self.completing("created"):
                if checkpoint is not None:  # what a run left that had not begun yet
                    shutil.rmtree(self.temporary, ignore_errors=True)
                self.temporary.mkdir()

    def sync(self) -> None:
        """Wait until all its files are on the disk."""
        sync_file_system(self.temporary)

    finish = sync

    @contextmanager
    def published(self) -> Iterator[None]:
        """Give the folder its name; where the body fails, all is as before."""
        with self._named(), replacing_folder(self.profile.path, self.temporary, self.target, self._check):
            yield

    def publish(self) -> None:
        """Give the folder its name, and do nothing else."""
        with self.published():
            pass

    def remove(self) -> None:
        """See `_Output.remove`."""
        if not self.kept:
            remove_folder(self.temporary)


def check_replaceable(path: str, target: Path, folder: Path, strangers: Iterable[Path]) -> None:
    """Refuse to replace a folder, wherever it is now, that holds strangers: what is no part of such an output."""
    for strange in strangers:
        raise SinkError(
            f"{path}: {target} would be replaced, and holds {strange.relative_to(folder)}, which is no part of such an "
            "output: give another name, or move that"
        )


def checked_geotiff(profile: OutputProfile) -> Path:
    """The file behind the name, with every refusal that needs no GDAL."""
    return checked_file(profile.path, overwrite=profile.overwrite, sidecars=True)


def check_values(profile: OutputProfile) -> None:
    """Refuse a type or a nodata value that the file cannot hold."""
    name, dtype, nodata = profile.path, profile.dtype, profile.nodata
    if dtype.kind not in "iufb" or dtype.itemsize > 8 or dtype.name == "float16":
        raise SinkError(f"{name}: a raster stores integers, float32 and float64, not {dtype}")
    if nodata is None:
        return
    if nodata_key(stored_dtype(dtype), nodata) is None:
        raise SinkError(f"{name}: no {dtype} equals the nodata value {nodata}: give another")
    if not can_be_written(dtype, nodata):
        raise SinkError(
            f"{name}: rasterio writes a nodata value exactly below 2 ** 53 only, not {nodata}: give another"
        )


def can_be_written(dtype: np.dtype[Any], nodata: float | None) -> bool:
    """Whether rasterio writes a nodata value as it is."""
    return nodata is None or dtype.kind not in "iu" or abs(nodata) < _EXACT_NODATA
