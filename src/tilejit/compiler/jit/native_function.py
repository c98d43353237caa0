"""Functions of generated modules, compiled: found by the types that they are called with, called without the GIL.

Machine code is kept on disk as LLVM made it, and loaded through llvmlite: ten milliseconds, of which most is importing
llvmlite.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilejit.compiler.jit.cache import cache_folder, hashed_name, kept_place, read_kept, version_of_compiler, write_kept
from tilejit.compiler.jit.machine_code import ArgumentType, Call, MachineCode, ObjectCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class NativeFunction:
    r"""A function of a generated module that returns an integer or nothing.

    Threads may share one. The addresses of ``c_functions`` that the text names are told when its machine code is
    loaded. Where the file of that is known before, the text is made when it is not there.

    Example:
        >>> double = NativeFunction("def double(n):\n    return 2 * n\n", "double", "double")
        >>> double(np.int64(21))
        42
    """

    def __init__(
        self,
        text: str | Callable[[], str],
        name: str,
        stem: str,
        c_functions: Mapping[str, int] | None = None,
        places: Mapping[tuple[ArgumentType, ...], str] | None = None,
    ) -> None:
        self._text, self.name, self.stem, self.c_functions = text, name, stem, c_functions or {}
        self._calls: dict[tuple[ArgumentType, ...], Call] = {}
        self._places = places or {}

    @functools.cached_property
    def text(self) -> str:
        """The module's text."""
        return self._text if isinstance(self._text, str) else self._text()

    @classmethod
    @functools.cache
    def of_loops(cls, path: Path, name: str, *before: Path) -> NativeFunction:
        """Returns a function of a file of plain Python loops, and of files ``before`` it, of which it imports some."""
        first, *more = (each.read_text("utf-8") for each in (*before, path))
        more = [re.sub(r"^from (__future__|tilejit).*\n", "", text, flags=re.MULTILINE) for text in more]
        return cls("\n\n".join([first, *more]), name, f"{path.stem}_{name}")

    def __call__(self, *arguments: Any) -> int:
        """Calls it, compiling it for new types of arguments."""
        types = tuple(map(_type, arguments))
        return (self._calls.get(types) or self.load(types))(arguments)

    def load(self, types: tuple[ArgumentType, ...]) -> Call:
        """Makes it callable for arguments of some types."""
        with _lock:
            if types not in self._calls:
                self._calls[types] = MachineCode(types, self._code(types), self.c_functions)
            return self._calls[types]

    def is_compiled(self, types: tuple[ArgumentType, ...]) -> bool:
        """Whether it can be loaded for such arguments with no compiler."""
        if types in self._calls:
            return True
        path = self.place(types)
        return path is not None and path.exists()

    def place(self, types: tuple[ArgumentType, ...]) -> Path | None:
        """Returns the file of its machine code; None where nothing is kept."""
        folder, known = cache_folder()[0], self._places.get(types)
        if folder is not None and known:
            return folder / known
        return kept_place(self.stem, code_target(), self.name, types, self.text, suffix=".o")

    def _code(self, types: tuple[ArgumentType, ...]) -> ObjectCode:
        """What is kept of it, or is compiled and then kept."""
        path = self.place(types)
        kept = None if path is None else read_kept(path)
        if kept is not None:
            return ObjectCode.from_bytes(kept)
        from tilejit.compiler.jit.compile_process import compile_text  # which not every process needs

        name = f"_tilejit_{hashed_name(self.stem, self.text)}"
        names = [(str(dtype), ndim, layout) for dtype, ndim, layout in types]
        symbol, needs, compiled = compile_text(self.text, name, self.name, names)
        code = ObjectCode(symbol, tuple(needs), compiled)
        if path is not None:
            write_kept(path, code.to_bytes())
        return code


def _type(argument: Any) -> ArgumentType:
    if isinstance(argument, np.ndarray):
        return argument.dtype, argument.ndim, "C" if argument.flags.c_contiguous else "A"
    return np.dtype(type(argument)), 0, ""


Functions = list[tuple[NativeFunction, tuple[ArgumentType, ...]]]
"""Functions, each with the types that it is called with."""
Compiler = Literal["", "ready", "apart", "here"]
"""Where functions are compiled: there are none; they are already; in a process of its own; in this process."""


def compiler_of(functions: Functions) -> Compiler:
    """Returns where functions will be compiled."""
    if not functions:
        return ""
    if all(function.is_compiled(types) for function, types in functions):
        return "ready"
    from tilejit.compiler.jit.compile_process import is_apart  # which not every process needs

    return "apart" if is_apart() else "here"


def finish_compiling() -> None:
    """Gives back the memory that compiling takes; a function that is compiled later takes it again."""
    end = getattr(sys.modules.get("tilejit.compiler.jit.compile_process"), "end", None)
    if end is not None:  # another thread, which reads a raster that is warped, may be importing it
        end()


@functools.cache
def code_target() -> str:
    """Returns what machine code is for, and by what."""
    import llvmlite
    import llvmlite.binding as llvm

    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten()
    own = f"tilejit {version_of_compiler()} llvmlite {llvmlite.__version__}"
    return f"{own} {llvm.get_process_triple()} {name} {features}"


_lock = threading.RLock()
"""Held while something is compiled or loaded; a process that was forked meanwhile has a new one."""


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
