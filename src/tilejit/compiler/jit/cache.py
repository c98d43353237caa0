"""The folder of what Numba compiled, and the modules that it compiled that of.

What is kept there is run by whoever loads it. So it belongs to the user alone (0700), what it holds is authenticated
(`kept`), and where no such folder can be made, a private temporary one serves this process and goes with it. Nothing
needs it: where nothing can be kept, each process compiles.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import linecache
import os
import shutil
import stat
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType

from tilejit.compiler.jit.overloads import keep_overloads

_LOCK = threading.RLock()


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
    """Returns the file for what depends on all of that; None where nothing can be kept.

    Args:
        stem: A readable beginning for its name.
        *content: All that it depends on.
        suffix: How its name ends.
    """
    folder = cache_folder()[0]
    return None if folder is None else folder / f"{hashed_name(stem, *content)}{suffix}"


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


def load_module(text: str, stem: str, version: str, keep: str = "") -> ModuleType:
    """Makes a module of generated source.

    Its name carries a hash of its text, so a changed kernel is a new module and an old one is never stale.

    Args:
        text: The module's source.
        stem: A readable beginning for its name.
        version: What else the compiled code depends on: the version of the compiler.
        keep: A function of which Numba finds again what it compiled in another process.
    """
    name = f"_tilejit_{hashed_name(stem, version, text)}"
    with _LOCK:
        if name not in sys.modules:
            _make_module(name, text, keep)
        return sys.modules[name]


def _make_module(name: str, text: str, keep: str) -> None:
    module, file = ModuleType(name), f"<{name}>"
    # Where tracebacks find its lines.
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    # Numba pickles its environment by module name: a module that is not registered yet fails in the next process.
    sys.modules[name] = module
    try:
        exec(compile(text, file, "exec"), vars(module))  # noqa: S102 - our own source
    except BaseException:
        del sys.modules[name], linecache.cache[file]
        raise
    if keep:
        place = functools.partial(kept_place, name.removeprefix("_tilejit_"), suffix=".nbc")
        keep_overloads(getattr(module, keep), place)
