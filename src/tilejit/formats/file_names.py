"""Names of inputs that hold wherever the process goes, and what tells whether a file is still the one of that name."""

from __future__ import annotations

import re
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from tilejit.errors import ReadError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    State = tuple[int, int, int, int]
    """Device, inode, size, and when it was written."""

_IN_ARCHIVE = re.compile(r"(/vsi(?:zip|tar|gzip|7z|rar|subfile|cached|sparse|crypt)/(?:\d+(?:_\d+)?,)?)(.*)", re.DOTALL)
"""GDAL's file systems in a file, and the file."""
_BY_SCHEME = re.compile(r"((?:zip|tar|gzip|file)(?:\+(?:zip|tar|gzip|file))*://)(.*)", re.DOTALL)
"""rasterio's names of the same."""
_QUOTED = re.compile(r'"([^"]+)"')


def absolute_name(name: str) -> str:
    """The name of an input, with the path that it holds made absolute; a name without one stays as it is.

    Names in GDAL's own terms hold paths too: ``/vsizip/a.zip/a.tif``, ``zip://a.zip!a.tif``, ``NETCDF:"a.nc":height``.

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
    whole = str(Path(path).absolute())
    if quoted is not None:
        return f"{name[: quoted.start(1)]}{whole}{name[quoted.end(1) :]}"
    driver, *_ = name.split(":")
    return ":".join([driver, *(whole if part == path else part for part in parts)])


def _is_there(name: str) -> bool:
    try:
        Path(name).stat()
    except (OSError, ValueError):
        return False
    return True


def local_file(name: str) -> Path | None:
    """The local file or folder that an input's name leads to: itself, or the archive that it lies in; or None."""
    scheme = _BY_SCHEME.match(name)
    if scheme is not None:
        name = scheme[2].partition("!")[0]
    while found := _IN_ARCHIVE.match(name):
        name = found[2].strip("{").partition("}")[0]
    if _is_there(name):
        return Path(name)
    outside = name.startswith("/vsi") or "://" in name
    return None if outside else next((place for place in Path(name).parents if place.is_file()), None)


def size_of(name: str) -> int | None:
    """The bytes of a local file; None of what is none."""
    try:
        return Path(name).stat().st_size
    except (OSError, ValueError):
        return None


def states_of(files: Iterable[str]) -> dict[str, State | None]:
    """What tells each of some files from another of its name; None of what is no local file."""
    return {file: _state_of(file) for file in files}


def check_unchanged(name: str, states: Mapping[str, State | None]) -> None:
    """Refuse an input of which a file is another than when it was opened, by what its files were then.

    Raises:
        ReadError: One was written, replaced or removed since; with what to do.
    """
    for file, state in states.items():
        now = _state_of(file) if state is not None else None
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
    place = local_file(file)  # what is in an archive has changed if the archive has
    try:
        status = place.stat() if place is not None else None
    except OSError:
        return None
    return identity_of(status) if status is not None and S_ISREG(status.st_mode) else None
