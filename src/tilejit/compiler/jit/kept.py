"""Files that this user's processes keep for each other: what was cut, altered or planted is as if it were not there.

Machine code and pickles are run by whoever loads them. So each file begins with a code that only the holder of the
folder's key can make of its name and content, and the key is a file that only this user can read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from tilejit.system.exclusive import open_regular, rename_new
from tilejit.system.files import replace_bytes

if TYPE_CHECKING:
    from pathlib import Path

_KEY = "key"
"""The key's name in its folder."""
_KEY_BYTES, _CODE_BYTES = 32, 32


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
    """Puts a key there in place of what is none; of processes that race the first wins.

    Raises:
        OSError: It cannot be written.
    """
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
    """What is in a plain file of this user that no one else can write; None where it cannot be read.

    Args:
        path: The file; no link.
        secret: Whether no one else may read it either.
    """
    with contextlib.suppress(OSError):
        descriptor = open_regular(path, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            forbidden = 0o077 if secret else 0o022
            if not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & forbidden):
                return file.read()
    return None
