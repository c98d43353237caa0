"""Functions of generated modules, compiled: found by the types that they are called with, called without the GIL.

Where Numba's inner parts are what tilejit knows, machine code is kept on disk as LLVM made it, loaded through llvmlite
and called by Numba's convention, without Numba: importing that takes a third of a second and finding a function in its
cache another tenth, and loading an object file ten milliseconds, of which most is importing llvmlite. Elsewhere
functions are called through Numba's own dispatchers, which takes half a second longer and gives the same bits.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tilejit.compiler.jit.cache import cache_folder, hashed_name, kept_place, read_kept, write_kept
from tilejit.compiler.jit.machine_code import OPTIONS, ArgumentType, Call, MachineCode, ObjectCode
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ORDINARY = '"error_model": "numpy", "nogil": True'
"""What stands there where it is called through Numba."""

TESTED = {
    "0.61": "0.44",
    "0.62": "0.45",
    "0.63": "0.46",
    "0.64": "0.46",
    "0.65": "0.47",
    "0.66": "0.48",
    "0.67": "0.49",
    "0.68": "0.50",
}
"""Series of Numba and of its llvmlite of which tilejit has called machine code in tests."""


_COMPILE_LOOPS = f"""

from numba import njit as _njit

for _name in COMPILED:
    globals()[_name] = _njit(**{{{OPTIONS}}})(globals()[_name])
"""


class NativeFunction:
    r"""A function of a generated module, under ``njit`` with `OPTIONS`, that returns an integer or nothing.

    Threads may share one. Code with ``objects`` that the text does not define, such as C functions, is not kept: their
    addresses are another process's tomorrow. Where the file of its machine code is known before, the text is made when
    that is not there.

    Example:
        >>> text = f"from numba import njit\n\n@njit(**{{{OPTIONS}}})\ndef double(n):\n    return 2 * n\n"
        >>> double = NativeFunction(text, "double", "double")
        >>> double(np.int64(21))
        42
    """

    def __init__(
        self,
        text: str | Callable[[], str],
        name: str,
        stem: str,
        objects: Mapping[str, Any] | None = None,
        places: Mapping[tuple[ArgumentType, ...], str] | None = None,
    ) -> None:
        self._text, self.name, self.stem, self.objects = text, name, stem, objects or {}
        self._calls: dict[tuple[ArgumentType, ...], Call] = {}
        self._places = places or {}

    @functools.cached_property
    def text(self) -> str:
        """The module's text."""
        return self._text if isinstance(self._text, str) else self._text()

    @classmethod
    @functools.cache
    def of_loops(cls, path: Path, name: str, *before: Path) -> NativeFunction:
        """Returns a function of a file of plain Python loops, which names those that are compiled in ``COMPILED``.

        Among them it names those that it imports from files of loops ``before`` it, with which it becomes one text.
        """
        first, *more = (each.read_text("utf-8") for each in (*before, path))
        more = [re.sub(r"^from (__future__|tilejit).*\n", "", text, flags=re.MULTILINE) for text in more]
        text = "\n\n".join([first, *more])
        return cls(text + _COMPILE_LOOPS, name, f"{path.stem}_{name}")

    def __call__(self, *arguments: Any) -> int:
        """Calls it, compiling it for new types of arguments."""
        types = tuple(map(_type, arguments))
        return (self._calls.get(types) or self.load(types))(arguments)

    def load(self, types: tuple[ArgumentType, ...]) -> Call:
        """Makes it callable for arguments of some types."""
        with _lock:
            if types not in self._calls:
                load, _ = loader()
                self._calls[types] = load(self, types)
            return self._calls[types]

    def is_compiled(self, types: tuple[ArgumentType, ...]) -> bool:
        """Whether it can be loaded for such arguments with no compiler."""
        if types in self._calls:
            return True
        path = None if self.objects or uses_dispatchers() else self.place(types)
        return path is not None and path.exists()

    def place(self, types: tuple[ArgumentType, ...]) -> Path | None:
        """Returns the file of its machine code; None where nothing is kept."""
        folder, known = cache_folder()[0], self._places.get(types)
        if folder is not None and known:
            return folder / known
        return kept_place(self.stem, compiler(), processor(), self.name, types, self.text, suffix=".o")


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
    if "numba" in sys.modules or uses_dispatchers() or any(function.objects for function, _ in functions):
        return "here"
    if all(function.is_compiled(types) for function, types in functions):
        return "ready"
    from tilejit.compiler.jit.compile_process import is_apart  # which not every process needs

    return "apart" if is_apart() else "here"


Loader = Callable[[NativeFunction, tuple[ArgumentType, ...]], Call]
"""Makes a function callable for arguments of some types."""


@functools.cache
def loader() -> tuple[Loader, str]:
    """Returns what loads functions in this process, and why it is not the faster one; empty where it is.

    ``TILEJIT_NATIVE=0`` asks for Numba's dispatchers.
    """
    obstacle = uses_dispatchers() or _misfit()
    return (load_dispatcher if obstacle else load_machine_code), obstacle


def uses_dispatchers() -> str:
    """Returns why functions are called through Numba, as far as that is known before one is tried."""
    if os.environ.get("TILEJIT_NATIVE") == "0":
        return "TILEJIT_NATIVE is 0"
    numba, llvmlite = (_version(name) for name in ("numba", "llvmlite"))
    if TESTED.get(_series(numba)) == _series(llvmlite):
        return ""
    return f"{compiler()} is not among those tested (numba {', '.join(TESTED)})"


def _series(version: str) -> str:
    return ".".join(version.split(".")[:2])


def load_dispatcher(function: NativeFunction, types: tuple[ArgumentType, ...]) -> Call:
    """Has Numba make a dispatcher of a function: what is documented of Numba, and half a second of importing it."""
    del types  # Numba finds them when it is called
    from tilejit.compiler.jit.modules import load_module
    from tilejit.compiler.jit.object_compiler import DISABLED, module_of

    text = function.text.replace(OPTIONS, _ORDINARY)
    if function.objects:
        module = module_of(text, f"_tilejit_{function.stem}", function.objects)
    else:
        module = load_module(text, function.stem, compiler(), function.name)
    dispatcher = getattr(module, function.name)
    if not hasattr(dispatcher, "overloads"):
        raise BackendError(DISABLED)

    def call(arguments: Sequence[Any]) -> int:
        result = dispatcher(*arguments)
        return 0 if result is None else int(result)

    return call


def load_machine_code(function: NativeFunction, types: tuple[ArgumentType, ...]) -> Call:
    """Loads what is kept of a function, or compiles it and keeps that."""
    path = None if function.objects else function.place(types)
    kept = None if path is None else read_kept(path)
    if kept is not None:
        return MachineCode(types, ObjectCode.from_bytes(kept))
    code = _compiled(function, types)
    if path is not None:
        write_kept(path, code.to_bytes())
    return MachineCode(types, code)


def _compiled(function: NativeFunction, types: tuple[ArgumentType, ...]) -> ObjectCode:
    from tilejit.compiler.jit.compile_process import compile_text  # which not every process needs

    name = f"_tilejit_{hashed_name(function.stem, compiler(), function.text)}"
    names = [(str(dtype), ndim, layout) for dtype, ndim, layout in types]
    symbol, needs, code = compile_text(function.text, name, function.name, names, function.objects)
    return ObjectCode(symbol, tuple(needs), code)


def finish_compiling() -> None:
    """Gives back the memory that compiling takes; a function that is compiled later takes it again."""
    end = getattr(sys.modules.get("tilejit.compiler.jit.compile_process"), "end", None)
    if end is not None:  # another thread, which reads a raster that is warped, may be importing it
        end()


@functools.cache
def compiler() -> str:
    """Returns the compiler's version, without importing it."""
    return f"numba {_version('numba')} llvmlite {_version('llvmlite')}"


@functools.cache
def _version(package: str) -> str:
    """The version of a package; `importlib.metadata.version` reads all that a package says of itself, 5 ms each."""
    told = importlib.metadata.distribution(package).read_text("METADATA") or ""
    found = re.search(r"^Version: *(\S+)", told, re.MULTILINE)
    return found[1] if found else importlib.metadata.version(package)


@functools.cache
def processor() -> str:
    """Returns what code is compiled for."""
    import llvmlite.binding as llvm

    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten()
    return f"{llvm.get_process_triple()} {name} {features}"


def code_target() -> str:
    """Returns what machine code is for, and by what; nothing where functions are called through Numba."""
    return "" if uses_dispatchers() else f"{compiler()} {processor()}"


_TRIAL = f'''"""Scales an array in place: is it called as Numba means it?"""

from numba import njit


@njit(**{{{OPTIONS}}})
def trial(cells, factor):
    for row in range(cells.shape[0]):
        for col in range(cells.shape[1]):
            cells[row, col] = factor * cells[row, col] + row
    return 1000 * cells.shape[0] + cells.size
'''
_PASSED = b"passed"


def _misfit() -> str:
    """What was other than expected when machine code was called, once for each version; empty where nothing was."""
    path = kept_place("trial", compiler(), processor(), _TRIAL, suffix=".trial")
    if path is not None and read_kept(path) == _PASSED:
        return ""
    try:
        _try()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other way is taken, and `tilejit info` tells
        return f"{compiler()}: {type(error).__name__}: {error}"
    if path is not None:
        write_kept(path, _PASSED)
    return ""


def _try() -> None:
    """Calls a function of an array, which is strided, and a number."""
    types = (np.dtype(np.float32), 2, "A"), (np.dtype(np.float64), 0, "")
    cells = np.arange(48, dtype=np.float32).reshape(6, 8)
    expected = cells.copy()
    expected[::-2, 1::3] = 0.5 * expected[::-2, 1::3] + np.arange(3)[:, np.newaxis]
    trial = MachineCode(types, _compiled(NativeFunction(_TRIAL, "trial", "trial"), types))
    result = trial((cells[::-2, 1::3], 0.5))
    if result != 3009 or not np.array_equal(cells, expected):
        raise ValueError(f"a function of an array and a number returned {result} for 3009, or wrote other cells")


_lock = threading.RLock()
"""Held while something is compiled or loaded; a process that was forked meanwhile has a new one."""


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
