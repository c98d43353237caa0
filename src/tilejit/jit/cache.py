"""The folder of generated modules, beside which Numba keeps what it compiled.

Numba's cache files are pickles: whoever can write to the folder can run code as its user. So it belongs to the user
alone (0700), and where no such folder can be made, a private temporary one serves this process and goes with it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.system.files import replace_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_LOCK = threading.RLock()


@functools.cache
def cache_folder() -> tuple[Path, str]:
    """Returns the folder for generated modules, and why it is this one.

    ``TILEJIT_CACHE_DIR`` names it; otherwise it is ``tilejit`` in the user's cache folder.
    """
    named = os.environ.get("TILEJIT_CACHE_DIR")
    folder = Path(named) if named else _user_cache() / "tilejit"
    reason = "TILEJIT_CACHE_DIR" if named else "the user's cache folder"
    problem = _make_private(folder)
    if problem is None:
        return folder, reason
    private = Path(tempfile.mkdtemp(prefix="tilejit-"))
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private, f"for this process only: {folder} {problem}"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


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


def load_module(text: str, stem: str, version: str) -> ModuleType:
    """Imports generated source as a module from the cache folder, so that Numba's on-disk cache finds it again.

    The file's name carries a hash of its text, so a changed kernel is a new module and an old one is never stale.

    Args:
        text: The module's source.
        stem: A readable beginning for its name.
        version: What else the compiled code depends on: the version of the compiler.
    """
    name = f"_tilejit_{hashed_name(stem, version, text)}"
    with _LOCK:
        if name not in sys.modules:
            path = cache_folder()[0] / f"{name}.py"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                replace_text(path, text)
            _import(name, path)
        return sys.modules[name]


def _import(name: str, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    # Numba pickles its environment by module name: a module that is not registered yet fails in the next process.
    sys.modules[name] = module
    try:
        with _beside_the_module():
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


@contextlib.contextmanager
def _beside_the_module() -> Iterator[None]:
    """Lets Numba keep its files in the module's own folder, whatever NUMBA_CACHE_DIR says of the user's own functions.

    Numba chooses the place when a function is decorated. NUMBA_CACHE_DIR may be a folder that others write to.
    """
    from numba import config

    names = ("CACHE_DIR", "CACHE_LOCATOR_CLASSES")
    before = {name: getattr(config, name) for name in names if hasattr(config, name)}
    try:
        for name in before:
            setattr(config, name, "")
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
