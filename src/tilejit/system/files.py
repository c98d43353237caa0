"""Files: names given without taking them from anyone, texts that appear whole, and no link that is followed."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}  # what says one that has no such call
_NO_LINKS = _NOT_HERE | {errno.EPERM, errno.EACCES, errno.EMLINK}  # what one says that has no hard links, as FAT
_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)


def replace_bytes(path: Path, content: bytes, mode: int = 0o666, *, synced: bool = False) -> None:
    """Writes under a temporary name and renames, so that readers and processes that race see whole files.

    Args:
        path: The file.
        content: What it shall hold.
        mode: Who may do what with it, less the process's mask.
        synced: Whether it must be on the disk before it gets the name.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replace_bytes(Path(folder, "a.txt"), b"whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    # Made anew and not by mkstemp, whose files are the user's alone: this one is as public as the process makes any.
    temporary = path.with_name(f".{path.stem[:60]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def rename_new(old: Path, new: Path) -> None:
    """Gives a file or a folder a name that nothing has; what somebody makes of that name meanwhile stays.

    Linux, macOS and Windows do it in one step. A file system that cannot (NFS, FUSE) gives a file a second name, and
    takes the first; one that has no such links either (FAT) makes an empty file of the new name, and replaces that: a
    kill in between leaves it. A folder takes the place of an empty one at most.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     old, new = Path(folder, "old"), Path(folder, "new")
        ...     _ = old.write_text("1")
        ...     rename_new(old, new)
        ...     new.read_text(), old.exists()
        ('1', False)
    """
    if _renamed_in_one_step(old, new):
        return
    if old.is_dir():
        _rename_folder(old, new)
    else:
        _rename_by_link(old, new)


def _renamed_in_one_step(old: Path, new: Path) -> bool:
    """Whether the system could."""
    if os.name == "nt":
        old.rename(new)  # which replaces nothing there
        return True
    names = os.fsencode(old), os.fsencode(new)
    if sys.platform == "darwin":
        call, arguments = c_function("renamex_np"), (*names, 4)  # RENAME_EXCL
    else:  # -100 is the working folder, AT_FDCWD; 1 is RENAME_NOREPLACE
        call, arguments = c_function("renameat2"), (-100, names[0], -100, names[1], 1)
    if call is None:
        return False
    if call(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), str(old), None, str(new))


def _rename_by_link(old: Path, new: Path) -> None:
    try:
        new.hardlink_to(old)
    except FileExistsError:
        if not os.path.samestat(old.lstat(), new.lstat()):  # as after a kill between the two steps
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_over_own(old, new)
        return
    old.unlink()


def _rename_over_own(old: Path, new: Path) -> None:
    new.touch(exist_ok=False)
    try:
        old.replace(new)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _rename_folder(old: Path, new: Path) -> None:
    taken = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(old), None, str(new))
    if kind_of(new) is not None:
        raise taken
    try:
        old.rename(new)  # which replaces no more than an empty folder that is made in this instant
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise taken from error
        raise


def kind_of(place: Path) -> str | None:
    """What is at a place: "a file", "a folder", "a link", "a device", "a FIFO", "a socket"; None where nothing is."""
    try:
        return kind_of_mode(os.lstat(place).st_mode)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
            return None
        raise


def kind_of_mode(mode: int) -> str:
    """What a file's mode says that it is."""
    return next((word for is_such, word in _KINDS if is_such(mode)), "a file")


def open_regular(path: str | os.PathLike[str], flags: int) -> int:
    """Opens a file and nothing else: a link is not followed, and a device or a FIFO not touched."""
    # Without waiting: a FIFO waits for its other end.
    more = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))
    try:
        descriptor = os.open(path, flags | more, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link, which is not followed", str(path)) from error
        raise
    kind = kind_of_mode(os.fstat(descriptor).st_mode)
    if kind != "a file":
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"is {kind}, and no file", str(path))
    return descriptor


def is_locked(descriptor: int, path: Path) -> bool:
    """Locks an open file for this process alone, until it is closed; BlockingIOError where another process has.

    It says whether this is still the file of its name: who had it locked before may have removed it meanwhile.
    """
    import fcntl  # Windows has none

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino


def why_not_own(found: os.stat_result) -> str | None:
    """Why a file or a folder may be somebody else's, by what `os.lstat` says; None where it is this user's alone."""
    kind = kind_of_mode(found.st_mode)
    if kind not in {"a file", "a folder"}:
        return f"is {kind}"
    user = os.geteuid() if hasattr(os, "geteuid") else found.st_uid
    if found.st_uid != user:
        return f"belongs to another user, number {found.st_uid}, and you are {user}"
    if kind == "a file" and found.st_nlink > 1:
        return f"is one file by {found.st_nlink} names (hard links)"
    return None


def c_function(name: str) -> Any | None:
    """Returns a function of the C library that this process runs with; `ctypes.get_errno` has its error.

    None where there is none of that name, and on Windows, where no library stands for all.

    Example:
        >>> c_function("no_such_function") is None
        True
    """
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name, None)
    except (OSError, TypeError):
        return None
