"""Where an output goes: what is refused of its name, how it gets it, and what happens where it cannot be completed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.errors import NameTakenError, SinkError
from tilejit.formats.gdal.library import cause_of
from tilejit.system.files import c_function, kind_of, rename_new, why_not_own
from tilejit.system.identity import ORIGIN, origin
from tilejit.system.limits import open_files_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tilejit.formats.sink import Checkpoint


_LONGEST = 255
"""Bytes of a file's name, where the system does not say."""
_STEM = 60
"""Bytes of a target's name that a temporary name has: enough to tell it by, and all of that fits any file system."""
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM}
"""What network file systems say of a sync of a folder, and Windows, which opens none."""
_MADE = re.compile(rf"(\..+)\.{ORIGIN}-([0-9a-f]{{16}})\.tmp(.*)")
"""The temporary names that say which process has made a file."""
_SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL reads beside a file: those of the one that is replaced must not attach to the new pixels."""


def local_target(name: str) -> Path:
    """The place behind a name.

    Raises:
        SinkError: It is not local, or its folder is not there or cannot be written to, or its name is too long.
    """
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

    Args:
        name: The file.
        overwrite: Whether a file that is there may be replaced.
        sidecars: Whether GDAL reads what lies beside it.

    Raises:
        SinkError: As for `local_target`; or something else than a file is there, or a file that may not be replaced.
    """
    target = local_target(name)
    check_place(name, target, overwrite=overwrite)
    for side in _sidecars(target) if sidecars else ():
        check_place(f"{name}: what GDAL would read beside it, {side},", side, overwrite=overwrite)
    return target


def check_place(name: str, place: Path, *, overwrite: bool) -> None:
    """Refuse a place that a file may not take.

    Raises:
        SinkError: A folder, a device, a FIFO, a socket or a link that leads nowhere is there; or there is a file that
            may not be replaced.
    """
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
    """Refuse a name that the file system does not take.

    Raises:
        SinkError: It is too long.
    """
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
    return [side for place in places for side in (place, *_sidecars(place)) if kind_of(side) is not None]


def check_not_read(name: str, places: Iterable[Path], inputs: Mapping[str, str], what: str = "an output") -> None:
    """Refuse to write what is read.

    Args:
        name: What is to be written.
        places: Its files and folders.
        inputs: Each file that is read -> the input that it belongs to.
        what: What is to be written, for the message.

    Raises:
        SinkError: A place is an input's file, by whatever name, or holds one; or one lies where GDAL would look for it
            beside a place.
    """
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


def finished(temporary: Path) -> Path:
    """Take the process out of the temporary name of an output that is complete: nobody removes it any more.

    Returns:
        Its new name, or the one that it has where that has no process.

    Raises:
        OSError: It cannot be renamed.
    """
    made = _MADE.fullmatch(temporary.name)
    if made is None:
        return temporary
    new = temporary.with_name(f"{made[1]}.{made[2]}.finished{made[3]}")
    rename_new(temporary, new)
    return new


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

    Args:
        place: A file or a folder.
        found: What `os.fstat` says of it, where it is open.

    Raises:
        SinkError: It is a link, a device or such, or belongs to another user, or is a file by another name as well.
    """
    reason = why_not_own(os.lstat(place) if found is None else found)
    if reason is not None:
        raise SinkError(f"{place} {reason}: it is not gone on with, nor replaced; move it away, or write elsewhere")


def remove_own(place: Path) -> None:
    """Remove a file that an earlier run has left, if there is one.

    Raises:
        SinkError: It is not this user's.
    """
    if kind_of(place) is not None:
        require_own(place)
        place.unlink()


@contextlib.contextmanager
def completing(path: str, temporary: Path, remove: Callable[[], None], done: str = "completed") -> Iterator[None]:
    """Leave nothing behind where an output cannot be completed.

    Args:
        path: The output, for the message.
        temporary: What it is called until then, which GDAL puts in front of its messages.
        remove: What removes it.
        done: What cannot be done to it, for the message.

    Raises:
        SinkError: With the cause, and what to do about a full disk.
    """
    try:
        yield
    except NameTakenError:  # it is complete, and stays
        raise
    except Exception as error:
        known = failed(path, f"cannot be {done}", error, str(temporary))  # with what room there is before it is removed
        remove()
        raise known from error


def failed(path: str, doing: str, error: BaseException, temporary: str = "") -> SinkError:
    """An error of an output, with its cause and what to do about a full disk.

    Args:
        path: The output.
        doing: What cannot be done, in words.
        error: The cause.
        temporary: What the output is called until it is complete, which GDAL puts in front of its messages.
    """
    hint = disk_hint(Path(os.path.realpath(path)).parent, error)
    cause = str(error) if isinstance(error, SinkError) else cause_of(error, temporary)
    cause = cause.removeprefix(f"{path}: ").removeprefix(f"{doing}: ")
    return SinkError(f"{path}: {doing}: {cause}{hint if hint not in cause else ''}")


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


def _sidecars(file: Path) -> list[Path]:
    """What GDAL would read beside a file, as far as such names can be."""
    longest = _longest(file.parent)
    sides = [Path(f"{file}{suffix}") for suffix in _SIDECARS]
    return [side for side in sides if len(os.fsencode(side.name)) <= longest]


def remove_sidecars(file: Path) -> None:
    """Remove what GDAL reads beside a file."""
    for side in _sidecars(file):
        if kind_of(side) == "a file":
            side.unlink(missing_ok=True)


def give_name(path: str, new: Path, target: Path, *, overwrite: bool) -> None:
    """Give a file its name, in one step; with ``overwrite`` without what lay beside the old one.

    Raises:
        NameTakenError: Something has the name that may not be replaced; the file stays.
        OSError: It cannot be renamed.
    """
    if not overwrite:
        with name_taken_told(path, new):
            rename_new(new, target)
        return
    with name_taken_told(path, new):
        check_place(path, target, overwrite=True)
    new.replace(target)
    remove_sidecars(new)
    remove_sidecars(target)


@contextlib.contextmanager
def name_taken_told(path: str, finished: Path) -> Iterator[None]:
    """Say where a finished output is whose name somebody has taken while the run went on.

    Raises:
        NameTakenError: Somebody has.
    """
    try:
        yield
    except (FileExistsError, SinkError) as error:
        cause = str(error).removeprefix(f"{path}: ") if isinstance(error, SinkError) else "somebody has made that name"
        raise NameTakenError(
            f"{path}: is finished, and does not replace what is there since the run began ({cause}): it is {finished}; "
            "give that a name"
        ) from error


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet; no link is followed.

    Raises:
        OSError: It is there, or cannot be written.
    """
    with path.open("xb") as file:
        file.write(content)


def write_text(path: str, target: Path, text: str, *, overwrite: bool) -> None:
    """Write a small file whole, as UTF-8: under a temporary name first.

    Args:
        path: What messages call it.
        target: Where it goes; `checked_file` has returned it.
        text: What it holds.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        NameTakenError: Something has the name by now; the file stays under another.
        OSError: It cannot be written; nothing is left of it.
    """
    temporary = temporary_of(target)
    try:
        write_new(temporary, text.encode("utf-8"))
        temporary = finished(temporary)
        give_name(path, temporary, target, overwrite=overwrite)
    except NameTakenError:
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: str, new: Path, target: Path, check: Callable[[Path], None] | None) -> Iterator[None]:
    """Give a folder its name, in two steps where one is replaced, for no system has one; undone where the body fails.

    Where it ends in between, as in a kill, the folder that was there before is at `replaced_folder`.

    Args:
        path: The output, for messages.
        new: The folder.
        target: Its name.
        check: Refuses to replace a folder for what it holds; None where none may be replaced.

    Raises:
        NameTakenError: A folder of that name may not be replaced; the new one stays.
        OSError: It cannot be renamed.
    """
    old = replaced_folder(new)
    if kind_of(old) is not None and kind_of(target) is None:
        rename_new(old, target)  # a kill came between the two steps
    is_named = False
    try:
        with name_taken_told(path, new):
            if check is not None and kind_of(target) is not None:
                # What a kill has left there was replaced by what is the target now.
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
                check(old)  # now that nobody puts anything into it by its name
            rename_new(new, target)
            is_named = True
        yield
    except BaseException as error:
        if is_named:
            rename_new(target, new)
        _put_back(old, target, error)
        raise
    sync_path(target.parent)
    if kind_of(old) is not None:
        remove_folder(old)


def _put_back(old: Path, target: Path, error: BaseException) -> None:
    """Give a folder that was to be replaced its name again, or say where it is if somebody has made that name."""
    if kind_of(old) is None:
        return
    try:
        rename_new(old, target)
    except FileExistsError:
        error.add_note(f"what was {target} is {old}: somebody has made that name meanwhile")


def remove_folder(folder: Path) -> None:
    """Remove a folder that others may still write to: under another name, by which they do not find it.

    After a kill in the middle of that, the next run removes the rest.
    """
    gone = temporary_of(folder)
    with contextlib.suppress(OSError):
        folder.rename(gone)
        folder = gone
    shutil.rmtree(folder, ignore_errors=True)


def replaced_folder(new: Path) -> Path:
    """Where the folder is meanwhile that a new one replaces."""
    return new.with_name(f"{new.name}.old")


def sync_path(path: Path) -> None:
    """Wait until a file or a folder is on the disk; a folder that nobody can sync is left to its file system."""
    is_folder = path.is_dir()
    try:
        _sync(path, os.O_RDWR if sys.platform == "win32" and not is_folder else os.O_RDONLY)
    except OSError as error:
        if not is_folder or error.errno not in _NO_SYNC:
            raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Wait until all files of a folder, and of the file system that it is on, are on the disk.

    For 300 files of 600 KB this took 0.1 s, and an fsync of each 0.8 to 1.3 s (ext4).

    Raises:
        OSError: A page could not be written.
    """
    syncfs = c_function("syncfs")
    if syncfs is None:  # which Linux alone has
        for path in (*folder.rglob("*"), folder):
            sync_path(path)
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
