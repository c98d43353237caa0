"""Functions of generated modules, compiled: found by the types that they are called with, called without the GIL."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit.generated import Generated
from tilejit.compiler.jit.loader import loader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilejit.compiler.jit.generated import Call
    from tilejit.compiler.jit.object_code import ArgumentType

_LOCK = threading.RLock()


class NativeFunction:
    r"""A function of a generated module; threads may share one.

    Args:
        text: The module's source; the function is under ``njit`` with `tilejit.compiler.jit.object_code.OPTIONS`.
        name: The function, which returns an integer or nothing.
        stem: A readable beginning for the names of files.
        objects: What the text names and does not define, such as C functions: their addresses are compiled in, and
            are another process's tomorrow, so that such code is not kept.

    Example:
        >>> from tilejit.compiler.jit.object_code import OPTIONS
        >>> text = f"from numba import njit\n\n@njit(**{{{OPTIONS}}})\ndef double(n):\n    return 2 * n\n"
        >>> double = NativeFunction(text, "double", "double")
        >>> double(np.int64(21))
        42
    """

    def __init__(self, text: str, name: str, stem: str, objects: Mapping[str, Any] | None = None) -> None:
        self.generated = Generated(text, name, stem, objects or {})
        self._calls: dict[tuple[ArgumentType, ...], Call] = {}

    def __call__(self, *arguments: Any) -> int:
        """Calls it, compiling it for new types of arguments.

        Args:
            *arguments: NumPy arrays and numbers; Python's count as int64 and float64.

        Raises:
            BackendError: It cannot be compiled or loaded.
        """
        types = tuple(map(_type, arguments))
        call = self._calls.get(types)
        if call is None:
            with _LOCK:
                call = self._calls.get(types)
                if call is None:
                    load, _ = loader()
                    call = self._calls[types] = load(self.generated, types)
        return call(arguments)


def _type(argument: Any) -> ArgumentType:
    if isinstance(argument, np.ndarray):
        return argument.dtype, argument.ndim, "C" if argument.flags.c_contiguous else "A"
    return np.dtype(type(argument)), 0, ""
