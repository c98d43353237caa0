"""Functions of generated modules as machine code: found by the types that they are called with, called without the GIL.

They follow Numba's convention: a pointer to the result, one to an error, then the arguments, of which an array is its
owner, its Python object, its count and size of elements, its address, shape and strides.
"""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import BackendError
from tilejit.jit.cache import kept_place, load_module
from tilejit.jit.kept import read_kept, write_kept
from tilejit.jit.object_code import ArgumentType, ObjectCode, compile_object, compiler, processor
from tilejit.jit.private_module import private_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LOCK = threading.RLock()
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int64
_FINE = (0, -2)
"""What is returned by functions with and without a result that did not fail."""


class NativeFunction:
    r"""A function of a generated module; threads may share one.

    Args:
        text: The module's source, in which the function is under ``njit`` with `tilejit.jit.object_code.OPTIONS`.
        name: The function, which returns an integer or nothing.
        stem: A readable beginning for the names of files.
        objects: What the text names and does not define, such as C functions: their addresses are compiled in, and
            are another process's tomorrow, so that such code is not kept.

    Example:
        >>> from tilejit.jit.object_code import OPTIONS
        >>> text = f"from numba import njit\n\n@njit(**{{{OPTIONS}}})\ndef double(n):\n    return 2 * n\n"
        >>> double = NativeFunction(text, "double", "double")
        >>> double(np.int64(21))
        42
    """

    def __init__(self, text: str, name: str, stem: str, objects: Mapping[str, Any] | None = None) -> None:
        self.text, self.name, self.stem, self.objects = text, name, stem, objects or {}
        self._entries: dict[tuple[ArgumentType, ...], _Entry] = {}

    def __call__(self, *arguments: Any) -> int:
        """Calls it, compiling it for new types of arguments.

        Args:
            *arguments: NumPy arrays and numbers; Python's count as int64 and float64.

        Raises:
            BackendError: It cannot be compiled or loaded.
        """
        types = tuple(map(_type, arguments))
        entry = self._entries.get(types)
        if entry is None:
            with _LOCK:
                entry = self._entries.get(types) or self._load(types)
                self._entries[types] = entry
        return entry(arguments)

    def _load(self, types: tuple[ArgumentType, ...]) -> _Entry:
        if self.objects:
            return _Entry(types, compile_object(private_module(self.text, self.stem, self.objects), self.name, types))
        path = kept_place(self.stem, compiler(), processor(), self.name, types, self.text, suffix=".o")
        kept = None if path is None else read_kept(path)
        if kept is not None:
            return _Entry(types, ObjectCode.from_bytes(kept))
        code = compile_object(load_module(self.text, self.stem, compiler()), self.name, types)
        if path is not None:
            write_kept(path, code.to_bytes())
        return _Entry(types, code)


class _Entry:
    """A function for one choice of types."""

    def __init__(self, types: Sequence[ArgumentType], code: ObjectCode) -> None:
        address, self._owner = code.load()
        parameters: list[Any] = [_POINTER, _POINTER]
        for dtype, ndim, _ in types:
            if ndim:
                parameters += [_POINTER, _POINTER, _INT, _INT, _POINTER, *[_INT] * (2 * ndim)]
            else:
                parameters.append(np.ctypeslib.as_ctypes_type(dtype))
        self._call: Callable[..., int] = ctypes.CFUNCTYPE(ctypes.c_int32, *parameters)(address)

    def __call__(self, arguments: Sequence[Any]) -> int:
        flat: list[Any] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                address = argument.__array_interface__["data"][0]
                flat += (None, None, argument.size, argument.itemsize, address, *argument.shape, *argument.strides)
            else:
                flat.append(argument.item() if isinstance(argument, np.generic) else argument)
        result, error = _INT(0), _POINTER()
        status = self._call(ctypes.byref(result), ctypes.byref(error), *flat)
        if status not in _FINE:
            raise BackendError(f"compiled code failed with status {status}")
        return result.value


def _type(argument: Any) -> ArgumentType:
    if isinstance(argument, np.ndarray):
        return argument.dtype, argument.ndim, "C" if argument.flags.c_contiguous else "A"
    return np.dtype(type(argument)), 0, ""
