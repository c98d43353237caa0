"""Modules of generated source for a GPU, and what Numba compiled of their functions, kept for the next process.

Numba's own cache unpickles whatever lies in its folder, which runs it. Ours takes its place in a function, and
unpickles only what this user's processes have kept. It goes by Numba's inner parts; where a version has others, nothing
is kept, and each process compiles.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import linecache
import pickle
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tilejit.compiler.jit.cache import hashed_name, kept_place, read_kept, write_kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOCK = threading.RLock()
_DIFFERS = AttributeError, ImportError, TypeError
"""What is raised where a part of Numba has another name, place or signature: then it is as if nothing were kept."""


def module_of(text: str, name: str) -> ModuleType:
    """Returns a new module of generated source, whose lines tracebacks find.

    Example:
        >>> module_of("twice = 2 * 3", "example").twice
        6
    """
    module, file = ModuleType(name), f"<{name}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    exec(compile(text, file, "exec"), vars(module))  # noqa: S102 - our own source
    return module


def load_module(text: str, stem: str, version: str, keep: str = "") -> ModuleType:
    """Makes a module of generated source.

    Its name carries a hash of its text, so a changed kernel is a new module and an old one is never stale. What Numba
    compiles of the function ``keep`` is found again in another process.
    """
    name = f"_tilejit_{hashed_name(stem, version, text)}"
    with _LOCK:
        if name not in sys.modules:
            # Numba finds it again by its name, also in the next process.
            module = sys.modules[name] = module_of(text, name)
            if keep:
                place = functools.partial(kept_place, name.removeprefix("_tilejit_"), suffix=".nbc")
                keep_overloads(getattr(module, keep), place)
        return sys.modules[name]


def keep_overloads(function: Any, place: Callable[..., Path | None]) -> None:
    """Lets Numba find what was compiled of a function, and keep what will be."""
    asked = {name for name in dir(getattr(function, "_cache", None)) if not name.startswith("_")}
    if asked and asked <= set(dir(_Overloads)):
        function._cache = _Overloads(place)  # noqa: SLF001 - Numba has no other way


class _Overloads:
    """A function's cache, as Numba's dispatchers call it."""

    cache_path = None
    """Numba's word for its folder, which is not used."""

    def __init__(self, place: Callable[..., Path | None]) -> None:
        self._place = place

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Returns what was compiled for a signature; None where that is not kept."""
        with contextlib.suppress(*_DIFFERS):
            return self._load(signature, target)
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keeps what was compiled for a signature, if it means the same in another process."""
        with contextlib.suppress(*_DIFFERS):
            self._save(signature, compiled)

    def enable(self) -> None:
        """It is never off."""

    def disable(self) -> None:
        """It is never off."""

    def flush(self) -> None:
        """Nothing waits."""

    def _load(self, signature: Any, target: Any) -> Any:
        target.refresh()
        path = self._path(signature, target.codegen())
        content = None if path is None else read_kept(path)
        if content is None:
            return None
        rebuild, payload = pickle.loads(content)  # noqa: S301 - this user's own, or it would not be here
        return rebuild(target, payload)

    def _save(self, signature: Any, compiled: Any) -> None:
        path = self._path(signature, compiled.codegen)
        if path is None:
            return
        if not getattr(compiled, "launch_config_sensitive", False):
            write_kept(path, _dumps((_rebuild_kernel, compiled._reduce_states())))  # noqa: SLF001

    def _path(self, signature: Any, codegen: Any) -> Path | None:
        return self._place(signature, codegen.magic_tuple(), sys.implementation.cache_tag)


def _dumps(value: Any) -> bytes:
    """Numba's own pickle, which knows its types."""
    serialize: Any = importlib.import_module("numba.core.serialize")
    return bytes(serialize.dumps(value))


def _rebuild_kernel(_target: Any, payload: Any) -> Any:
    dispatcher: Any = importlib.import_module("numba.cuda.dispatcher")
    return dispatcher._Kernel._rebuild(**payload)  # noqa: SLF001
