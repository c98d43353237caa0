"""A file that appears under its name only when it is complete: what both GeoTIFF sinks share."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import SinkError
from tilejit.io.creation_options import block_of, default_options, stored_dtype
from tilejit.io.flusher import Flusher
from tilejit.io.gdal import cause_of
from tilejit.io.source import nodata_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilejit.io.sink import OutputProfile

_SUFFIXES = (".tif", ".tiff", ".gtiff")
_SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL reads beside a TIFF: those of the file that is replaced must not attach to the new pixels."""
_EXACT_NODATA = 2**53
"""rasterio hands nodata over as a float64, and GDAL then spells it with an exponent in the file: measured,
the int64 nodata -9223372036854775807 came back as -9."""


class OutputFile:
    """A checked target, and the temporary file beside it that takes its name in the end.

    Raises:
        SinkError: The name, the folder, the type, the nodata value or an option is refused; nothing is created.
    """

    def __init__(self, profile: OutputProfile) -> None:
        self.profile = profile
        """What the file will be."""
        self.target = checked_target(profile)
        """The file behind the name."""
        _check_values(profile)
        shape = profile.grid.shape
        self.options = default_options(profile.dtype, *shape, profile.options, profile.count)
        """All the creation options but NUM_THREADS."""
        self.block = block_of(self.options, *shape)
        """Rows and columns of the storage blocks."""
        # A name of its own length: the target's may already be as long as the file system takes.
        self.temporary = self.target.parent / f".{self.target.stem[:60]}.{os.getpid()}-{secrets.token_hex(4)}.tmp.tif"
        """What it is called until it is complete."""
        self._flusher: Flusher | None = None

    def start_flusher(self) -> None:
        """Send the temporary file's pages to the disk from now on."""
        self._flusher = Flusher(self.temporary)

    def sync(self) -> None:
        """Wait until the temporary file is on the disk.

        Raises:
            OSError: A page could not be written.
        """
        if self._flusher is not None:
            self._flusher.finish()
        _sync(self.temporary)

    def publish(self) -> None:
        """Give the temporary file its name, without what lay beside the old file."""
        self.temporary.replace(self.target)
        for suffix in _SIDECARS:
            Path(f"{self.temporary}{suffix}").unlink(missing_ok=True)
            Path(f"{self.target}{suffix}").unlink(missing_ok=True)
        _sync(self.target.parent)

    def remove(self) -> None:
        """Leave nothing behind but the target; nothing happens after `publish` or a second time."""
        if self._flusher is not None:
            self._flusher.stop()
        for suffix in ("", *_SIDECARS):
            with contextlib.suppress(OSError):
                Path(f"{self.temporary}{suffix}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def completing(self, done: str = "completed") -> Iterator[None]:
        """Leave nothing behind where the output cannot be completed.

        Args:
            done: What cannot be done to it, for the message.

        Raises:
            SinkError: With the cause, and what to do about a full disk.
        """
        try:
            yield
        except Exception as error:
            hint = self.hint(error)
            self.remove()
            cause = cause_of(error, str(self.temporary))
            raise SinkError(f"{self.profile.path}: cannot be {done}: {cause}{hint}") from error

    def hint(self, error: BaseException) -> str:
        """What to do about a full disk, in brackets; empty where it is not full."""
        return disk_hint(self.target.parent, error)


def disk_hint(folder: Path, error: BaseException) -> str:
    """What to do about a full disk, in brackets; empty where it is not full."""
    try:
        stats = os.statvfs(folder)
    except OSError:
        return ""
    free = stats.f_bavail * stats.f_frsize
    if free > 1 << 24 and "space" not in str(error).lower():
        return ""
    return f" ({folder} has {free:,} bytes left: free some, or write elsewhere)"


def checked_target(profile: OutputProfile) -> Path:
    """The file behind the name, with every refusal that needs no GDAL.

    Raises:
        SinkError: It is no GeoTIFF's name, not a local file, cannot be written to, or exists already.
    """
    name = profile.path
    if Path(name).suffix.lower() not in _SUFFIXES:
        raise SinkError(
            f"{name}: tilejit writes GeoTIFF: give a name that ends in .tif, and convert it after that "
            "(gdal_translate, rio convert)",
        )
    if name.startswith("/vsi") or "://" in name:
        raise SinkError(f"{name}: tilejit writes local files: write one, and copy it there after that")
    # Through a link, so that the link stays and its file is replaced.
    target = Path(os.path.realpath(name))
    if target.is_dir():
        raise SinkError(f"{name}: is a folder: give a file's name")
    if not target.parent.is_dir():
        raise SinkError(f"{name}: the folder {target.parent} does not exist: create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise SinkError(f"{name}: the folder {target.parent} cannot be written to: choose another")
    if target.exists() and not profile.overwrite:
        raise SinkError(f"{name}: exists already: give another name, or overwrite=True")
    return target


def _check_values(profile: OutputProfile) -> None:
    """Refuse a type or a nodata value that the file cannot hold."""
    name, dtype, nodata = profile.path, profile.dtype, profile.nodata
    if dtype.kind not in "iufb" or dtype.itemsize > 8 or dtype.name == "float16":
        raise SinkError(f"{name}: GeoTIFF stores integers, float32 and float64, not {dtype}")
    if nodata is None:
        return
    if nodata_key(stored_dtype(dtype), nodata) is None:
        raise SinkError(f"{name}: no {dtype} equals the nodata value {nodata}: give another")
    if dtype.kind in "iu" and abs(nodata) >= _EXACT_NODATA:
        raise SinkError(
            f"{name}: rasterio writes a nodata value exactly below 2 ** 53 only, not {nodata}: give another",
        )


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
