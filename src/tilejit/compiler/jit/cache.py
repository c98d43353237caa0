"""Files that this user's processes keep for each other, and the folder that they lie in.

Machine code and pickles are run by whoever loads them. So the folder belongs to the user alone (0700), and each file
begins with a code that only the holder of the folder's key can make of its name and content. The key is a file that
only this user can read. What was cut, altered or planted is as if it were not there. Where no such folder can be made,
a private temporary one serves this process and goes with it. Nothing needs it: where nothing can be kept, each process
compiles.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from tilejit.system.files import open_regular, rename_new, replace_bytes

_KEY = "key"
"""The key's name in its folder."""
_COMPILER = (
    "values", "assembly", "sorting", "lanes", "plain_calls", "plain_expressions", "plain_functions", "plain_module",
    "object_compiler",
)  # fmt: skip
"""The files that decide what machine code is made of a text."""
_KEY_BYTES, _CODE_BYTES = 32, 32


@functools.cache
def cache_folder() -> tuple[Path | None, str]:
    """Returns the folder for compiled code, and why it is this one; None where nothing can be kept.

    ``TILEJIT_CACHE_DIR`` names it; otherwise it is ``tilejit`` in the user's cache folder.
    """
    named = os.environ.get("TILEJIT_CACHE_DIR")
    folder = Path(named).absolute() if named else _user_cache()
    reason = "TILEJIT_CACHE_DIR" if named else "the user's cache folder"
    problem = "the user has no home folder" if folder is None else _make_private(folder)
    if problem is None:
        return folder, reason
    problem = problem if folder is None else f"{folder} {problem}"
    try:
        private = Path(tempfile.mkdtemp(prefix="tilejit-"))
    except OSError as error:
        return None, f"nothing is kept: {problem}, and there is no temporary folder ({error.strerror or error})"
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private, f"for this process only: {problem}"


def kept_place(stem: str, *content: object, suffix: str) -> Path | None:
    """Returns the file for what depends on all of that; None where nothing can be kept."""
    folder = cache_folder()[0]
    return None if folder is None else folder / f"{hashed_name(stem, *content)}{suffix}"


@functools.cache
def version_of_compiler() -> str:
    """Returns what tells tilejit's own compiler from another version's: compiled code is kept by its text."""
    read: Any = __spec__.loader  # also where tilejit lies in an archive
    content = [read.get_data(str(Path(__file__).with_name(f"{name}.py"))) for name in _COMPILER]
    return hashlib.sha256(b"".join(content)).hexdigest()[:8]


def _user_cache() -> Path | None:
    """The folder in the user's cache folder; None for a user without a home."""
    variable = {"win32": "LOCALAPPDATA", "darwin": ""}.get(sys.platform, "XDG_CACHE_HOME")
    named = Path(os.environ.get(variable) or ".")
    if named.is_absolute():
        return named / "tilejit"
    try:
        home = Path.home()
    except RuntimeError:  # without HOME, and without an entry among the users
        return None
    below = {"win32": Path(), "darwin": Path("Library", "Caches")}.get(sys.platform, Path(".cache"))
    # A relative one is another folder wherever the process goes, of data most of all.
    return home / below / "tilejit" if home.is_absolute() else None


def _make_private(folder: Path) -> str | None:
    """Makes the folder, 0700; returns what stands against keeping code in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            return "belongs to another user"
        if hasattr(os, "getuid") and stat.S_IMODE(status.st_mode) & 0o022:
            return "can be written by others (chmod 700 mends it)"
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"cannot be written ({error.strerror or error})"


def hashed_name(stem: str, *content: object) -> str:
    """Returns a name for a file: a readable beginning, and a hash of all that its content depends on."""
    digest = hashlib.sha256("\n".join(map(str, content)).encode()).hexdigest()[:20]
    return f"{stem.encode('ascii', 'ignore').decode()[:60]}_{digest}"


def read_kept(path: Path) -> bytes | None:
    """Returns what `write_kept` wrote to a file; None where it is not there, not whole, or somebody else's.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_kept(Path(folder, "a"), b"content")
        ...     before = read_kept(Path(folder, "a"))
        ...     _ = Path(folder, "a").write_bytes(b"planted")
        ...     before, read_kept(Path(folder, "a"))
        (b'content', None)
    """
    key, stored = _key(path.parent), _own_bytes(path)
    if key is None or stored is None:
        return None
    code, content = stored[:_CODE_BYTES], stored[_CODE_BYTES:]
    return content if secrets.compare_digest(code, _code(key, path.name, content)) else None


def write_kept(path: Path, content: bytes) -> None:
    """Keeps content in a file, if it can be kept: on a full disk, or without a key, the next process makes it anew."""
    key = _key(path.parent)
    if key is not None:
        with contextlib.suppress(OSError):
            replace_bytes(path, _code(key, path.name, content) + content, mode=0o600)


def _code(key: bytes, name: str, content: bytes) -> bytes:
    """A code of a file's name and content; of the name, too, lest files be swapped."""
    whole = hashlib.blake2b(key=key, digest_size=_CODE_BYTES)
    whole.update(name.encode() + b"\0")
    whole.update(content)
    return whole.digest()


@functools.lru_cache(maxsize=8)
def _key(folder: Path) -> bytes | None:
    """The folder's key, made where there is none; None where none can be had."""
    path = folder / _KEY
    for _ in range(3):
        key = _own_key(path)
        if key is not None:
            return key
        with contextlib.suppress(OSError):
            _make_key(path)
    return None


def _make_key(path: Path) -> None:
    """Puts a key there in place of what is none; of processes that race the first wins."""
    temporary = path.with_name(f".{_KEY}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            rename_new(temporary, path)
        except FileExistsError:
            if _own_key(path) is None:
                temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _own_key(path: Path) -> bytes | None:
    """The key in a file; None where that is none, or others can read it."""
    key = _own_bytes(path, secret=True)
    return key if key is not None and len(key) == _KEY_BYTES else None


def _own_bytes(path: Path, *, secret: bool = False) -> bytes | None:
    """What is in a plain file of this user that no one else can write; None where it cannot be read."""
    with contextlib.suppress(OSError):
        descriptor = open_regular(path, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            forbidden = 0o077 if secret else 0o022
            if not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & forbidden):
                return file.read()
    return None
