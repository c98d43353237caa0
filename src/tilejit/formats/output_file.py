"""A file that appears under its name only when it is complete: what both GeoTIFF sinks share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tilejit.errors import NameTakenError, SinkError
from tilejit.formats.cells import nodata_key
from tilejit.formats.flusher import Flusher
from tilejit.formats.gdal.creation_options import block_of, default_options, stored_dtype
from tilejit.formats.gdal.library import read_a_block
from tilejit.formats.gdal.side_file import check_side_file, write_side_file
from tilejit.formats.target import (
    checked_file,
    completing,
    disk_hint,
    finished,
    give_name,
    remove_own,
    remove_sidecars,
    require_own,
    sync_path,
    temporary_of,
)
from tilejit.system.files import rename_new

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any

    import numpy as np

    from tilejit.formats.sink import OutputProfile

_EXACT_NODATA = 2**53
"""rasterio hands nodata over as a float64, and GDAL then spells it with an exponent in the file: measured,
the int64 nodata -9223372036854775807 came back as -9."""


class OutputFile:
    """A checked target, and the temporary file beside it that takes its name in the end.

    Args:
        profile: What the file will be.
        synced: Whether it is on the disk when it has its name; if not, that is left to the caller.

    Raises:
        SinkError: The name, the folder, the type, the nodata value or an option is refused; nothing is created.
    """

    def __init__(self, profile: OutputProfile, *, synced: bool = True) -> None:
        self.profile = profile
        """What the file will be."""
        self.target = checked_geotiff(profile)
        """The file behind the name."""
        check_values(profile)
        check_side_file(profile.path, self.target, profile.grid)
        shape = profile.grid.shape
        self.options = default_options(profile.dtype, *shape, profile.options, profile.count)
        """All the creation options but NUM_THREADS."""
        self.block = block_of(self.options, *shape)
        """Rows and columns of the storage blocks."""
        self.kept = profile.kept is not None and profile.kept.stage == "begun"
        """Whether it stays where the output cannot be completed."""
        self._found = None if profile.kept is None else temporary_of(self.target, profile.kept)
        self.temporary = self._found if self._found is not None and self.kept else temporary_of(self.target)
        """What it is called until it is complete."""
        if self.kept:
            require_own(self.temporary)
        self._synced = synced
        self._flusher: Flusher | None = None

    def settle(self) -> None:
        """Give the new file the name by which the next run finds it, if one is to.

        GDAL makes it under a name that nobody can guess: it follows links, and the other name can be foretold.

        Raises:
            SinkError: What is there under that name is not this user's.
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
        """Have GDAL read a block of the closed file, and wait until all are on the disk.

        Raises:
            OSError: GDAL does not read it, or a page could not be written.
        """
        read_a_block(self.temporary)
        if self._flusher is not None:
            self._flusher.finish()
        if self._synced:
            sync_path(self.temporary)

    def publish(self) -> None:
        """Give the temporary file its name, without what lay beside the old file.

        Raises:
            NameTakenError: Something that may not be replaced has the name by now; the file stays.
        """
        self.temporary = finished(self.temporary)
        try:
            give_name(self.profile.path, self.temporary, self.target, overwrite=self.profile.overwrite)
        except NameTakenError:
            self.kept = True
            raise
        write_side_file(self.profile.path, self.target, self.profile.grid, overwrite=self.profile.overwrite)
        if self._synced:
            sync_path(self.target.parent)

    def remove(self) -> None:
        """Leave nothing behind but the target, unless it is kept; nothing happens after `publish` or a second time."""
        if self._flusher is not None:
            self._flusher.stop()
        if self.kept:
            return
        with contextlib.suppress(OSError):
            self.temporary.unlink(missing_ok=True)
            remove_sidecars(self.temporary)

    def completing(self, done: str = "completed") -> AbstractContextManager[None]:
        """Leave nothing behind where the output cannot be completed; see `target.completing`."""
        return completing(self.profile.path, self.temporary, self.remove, done)

    def hint(self, error: BaseException) -> str:
        """What to do about a full disk, in brackets; empty where it is not full."""
        return disk_hint(self.target.parent, error)


def checked_geotiff(profile: OutputProfile) -> Path:
    """The file behind the name, with every refusal that needs no GDAL.

    Raises:
        SinkError: It is not a local file, cannot be written to, or exists already.
    """
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
            f"{name}: rasterio writes a nodata value exactly below 2 ** 53 only, not {nodata}: give another",
        )


def can_be_written(dtype: np.dtype[Any], nodata: float | None) -> bool:
    """Whether rasterio writes a nodata value as it is."""
    return nodata is None or dtype.kind not in "iu" or abs(nodata) < _EXACT_NODATA
