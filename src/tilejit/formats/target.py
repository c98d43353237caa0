"""Where an output goes: what is refused of its name, and what it is called until it is complete."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tilejit.errors import SinkError
from tilejit.system.files import kind_of, why_not_own
from tilejit.system.identity import origin
from tilejit.system.limits import open_files_hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_LONGEST = 255  # bytes of a file's name, where the system does not say
_STEM = 60  # bytes of a target's name that a temporary name has: enough to tell it by
_SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL reads beside a file: those of the one that is replaced must not attach to the new pixels."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A temporary output that a run leaves to the next one when it fails."""

    mark: str  # what tells the run from others, in the temporary name
    stage: Literal["new", "begun", "complete"]
    """Whether it is created anew; or an earlier run has left it, and it is opened; or lacks nothing but its name."""


def local_target(name: str) -> Path:
    """The place behind a name."""
    if name.startswith("/vsi") or "://" in name:
        raise SinkError(f"{name}: tilejit writes local files: write one, and copy it there after that")
    # Through a link, so that the link stays and its file is replaced.
    target = Path(os.path.realpath(name))
    if not target.parent.is_dir():
        raise SinkError(f"{name}: the folder {target.parent} does not exist: create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        reason = " (read-only file system)" if _is_read_only(target.parent) else ""
        raise SinkError(f"{name}: the folder {target.parent} cannot be written to{reason}: choose another")
    check_length(name, target)
    return target


def _is_read_only(folder: Path) -> bool:
    """Whether the file system is, as a disk that has failed becomes."""
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def checked_file(name: str, *, overwrite: bool, sidecars: bool = False) -> Path:
    """The place behind the name of a file that is to be written: the one check for all that tilejit writes.

    With ``sidecars`` of what GDAL would read beside it, too.
    """
    target = local_target(name)
    check_place(name, target, overwrite=overwrite)
    for side in sidecars_of(target) if sidecars else ():
        check_place(f"{name}: what GDAL would read beside it, {side},", side, overwrite=overwrite)
    return target


def check_place(name: str, place: Path, *, overwrite: bool) -> None:
    """Refuse a place that a file may not take."""
    said = name if name.endswith(",") else f"{name}:"
    match kind_of(place):
        case None:
            return
        case "a file":
            if not overwrite:
                raise SinkError(f"{said} exists already: give another name, or overwrite=True")
        case "a folder":
            raise SinkError(f"{said} is a folder: give a file's name")
        case kind:
            raise SinkError(f"{said} is {kind}, and only files are replaced: give another name")


def check_length(name: str, place: Path) -> None:
    """Refuse a name that is longer than the file system takes."""
    length, longest = len(os.fsencode(place.name)), _longest(place.parent)
    if length > longest:
        raise SinkError(
            f"{name}: the name {place.name} has {length} bytes, and {place.parent} takes {longest}: give a shorter one"
        )


def _longest(folder: Path) -> int:
    """Bytes that a name in a folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return _LONGEST


def beside(places: Iterable[Path]) -> list[Path]:
    """Files and folders, and what GDAL would read beside them, as far as they are there."""
    return [side for place in places for side in (place, *sidecars_of(place)) if kind_of(side) is not None]


def check_not_read(name: str, places: Iterable[Path], inputs: Mapping[str, str], what: str = "an output") -> None:
    """Refuse to write files and folders of which one is read: inputs are file -> the input that it belongs to."""
    there = beside(places)
    names, numbers = {os.path.realpath(place) for place in there}, {_number(place) for place in there} - {None}
    for file, source in inputs.items():
        real = Path(os.path.realpath(file))
        if not names.isdisjoint(map(str, (real, *real.parents))) or _number(real) in numbers:
            belongs = f"{file} is an input" if file == source else f"{file}, of the input {source}, is an input"
            other = "output" if what == "an output" else what.removeprefix("the ")
            raise SinkError(f"{belongs} and would be written as {what} {name}: give the {other} another name")


def _number(place: Path) -> tuple[int, int] | None:
    """What tells a file from others by whatever name, also where capitals do not count."""
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def temporary_of(target: Path, checkpoint: Checkpoint | None = None) -> Path:
    """What an output is called until it is complete: a name that nobody can guess, or one that the next run finds.

    The first says who has made it, so that the next run removes it where that process was killed.
    """
    end = f"{origin()}-{secrets.token_hex(8)}.tmp" if checkpoint is None else f"{checkpoint.mark}.resume"
    return hidden_beside(target, f"{end}{target.suffix}")


def hidden_beside(target: Path, end: str) -> Path:
    """A hidden name beside a target, of a length of its own: the target's may be as long as the file system takes.

    Example:
        >>> hidden_beside(Path("data/slope.tif"), "resume.tif").name
        '.slope.resume.tif'
        >>> len(os.fsencode(hidden_beside(Path("🏔" * 60), "tmp").name))
        65
    """
    stem = os.fsencode(target.stem)[:_STEM].decode("utf-8", "ignore")
    return target.parent / f".{stem}.{end}"


def require_own(place: Path, found: os.stat_result | None = None) -> None:
    """Refuse what an earlier run should have left, and somebody else may have put there.

    That is a link, a device or such, what belongs to another user, or is a file by another name as well.
    """
    reason = why_not_own(os.lstat(place) if found is None else found)
    if reason is not None:
        raise SinkError(f"{place} {reason}: it is not gone on with, nor replaced; move it away, or write elsewhere")


def remove_own(place: Path) -> None:
    """Remove a file that an earlier run has left, if there is one and it is this user's."""
    if kind_of(place) is not None:
        require_own(place)
        place.unlink()


def disk_hint(folder: Path, error: BaseException) -> str:
    """What to do about a full disk, or too many open files, in brackets; empty where it is neither."""
    if hint := open_files_hint(error):
        return hint
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    said = str(error).lower()
    if "read-only" in said or (free > 1 << 24 and "space" not in said):
        return ""
    return f" ({folder} has {free:,} bytes left: free some, or write elsewhere)"


def sidecars_of(file: Path) -> list[Path]:
    """What GDAL would read beside a file, as far as such names can be."""
    longest = _longest(file.parent)
    sides = [Path(f"{file}{suffix}") for suffix in _SIDECARS]
    return [side for side in sides if len(os.fsencode(side.name)) <= longest]
