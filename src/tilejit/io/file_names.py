"""Names of inputs that hold wherever the process goes, and what tells whether a file is still the one of that name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from tilejit.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable

    State = tuple[int, int, int, int]
    """Device, inode, size, and when it was written."""

_IN_ARCHIVE = re.compile(r"(/vsi(?:zip|tar|gzip|7z|rar|subfile|cached|sparse|crypt)/(?:\d+(?:_\d+)?,)?)(.*)", re.DOTALL)
"""GDAL's file systems in a local file, and the file."""
_BY_SCHEME = re.compile(r"((?:zip|tar|gzip|file)://)(.*)", re.DOTALL)
"""rasterio's names of the same."""
_QUOTED = re.compile(r'"([^"]+)"')


def absolute_name(name: str) -> str:
    """The name of an input, with the path that it holds made absolute.

    Args:
        name: A path, or a name in GDAL's own terms: ``/vsizip/a.zip/a.tif``, ``zip://a.zip!a.tif``,
            ``NETCDF:"a.nc":height``. What holds no path of a file that is there stays as it is.

    Example:
        >>> absolute_name("/vsimem/a.tif"), absolute_name("s3://bucket/a.tif"), absolute_name("/data/a.tif")
        ('/vsimem/a.tif', 's3://bucket/a.tif', '/data/a.tif')
    """
    if name.startswith("<") or not name:
        return name
    for pattern in (_IN_ARCHIVE, _BY_SCHEME):
        match = pattern.match(name)
        if match is not None:
            brace = "{" if match[2].startswith("{") else ""
            return match[1] + brace + absolute_name(match[2].removeprefix(brace))
    if name.startswith("/vsi") or re.match(r"[\w+]+://", name):
        return name
    if ":" in name and not _is_there(name):
        return _absolute_parts(name)
    return str(Path(name).absolute())


def _absolute_parts(name: str) -> str:
    """The name of a subdataset: ``DRIVER:"path":part`` or ``DRIVER:path:part``."""
    quoted = _QUOTED.search(name)
    parts = [quoted[1]] if quoted is not None else name.split(":")[1:]
    path = next((part for part in parts if part and _is_there(part)), None)
    if path is None:
        return name if name.split(":", maxsplit=1)[0].isupper() else str(Path(name).absolute())
    return name.replace(path, str(Path(path).absolute()), 1)


def _is_there(name: str) -> bool:
    try:
        Path(name).stat()
    except (OSError, ValueError):
        return False
    return True


def states_of(files: Iterable[str]) -> dict[str, State]:
    """What tells each of some files from another of its name; nothing of what is no local file."""
    states = {file: _state_of(file) for file in dict.fromkeys(files)}
    return {file: state for file, state in states.items() if state is not None}


def check_unchanged(name: str, states: dict[str, State]) -> None:
    """Refuse an input of which a file is another than when it was opened.

    Args:
        name: The input.
        states: Its files, as they were.

    Raises:
        ReadError: One was written, replaced or removed since; with what to do.
    """
    for file, state in states.items():
        now = _state_of(file)
        if now == state:
            continue
        which = "" if file == name else f"{file}, of which it is made: "
        if now is None:
            raise ReadError(f"{name}: {which}is gone since it was opened: put it back, or open another")
        raise ReadError(f"{name}: {which}it was written or replaced since it was opened: open it again")


def identity_of(status: os.stat_result) -> State:
    """What tells a file from another of its name."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _state_of(file: str) -> State | None:
    match = _IN_ARCHIVE.match(file)
    if match is not None:
        # What is in an archive has changed if the archive has: the part of the name that is a file.
        inner = match[2].strip("{}")
        return next((s for s in map(_state_of, (inner, *map(str, Path(inner).parents))) if s is not None), None)
    try:
        status = os.stat(file)  # noqa: PTH116 - a name of GDAL's is no Path
    except (OSError, ValueError):
        return None
    return identity_of(status) if S_ISREG(status.st_mode) else None
