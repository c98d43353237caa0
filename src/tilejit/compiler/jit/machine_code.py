"""Functions loaded as machine code, without Numba, and called by its convention.

That is: a pointer to the result, one to an error, then the arguments, of which an array is its owner, its Python
object, its count and size of elements, its address, shape and strides. Numba promises it to nobody: see `loader`.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit.cache import kept_place
from tilejit.compiler.jit.kept import read_kept, write_kept
from tilejit.compiler.jit.object_code import ArgumentType, ObjectCode, compile_object, compiler, processor
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilejit.compiler.jit.generated import Call, Generated

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int64
_FINE = (0, -2)
"""What is returned by functions with and without a result that did not fail."""


def load_machine_code(function: Generated, types: tuple[ArgumentType, ...]) -> Call:
    """Loads what is kept of a function, or compiles it and keeps that; see `tilejit.compiler.jit.generated.Loader`."""
    if function.objects:  # their addresses are compiled in, and are another process's tomorrow
        return MachineCode(types, compile_object(function.module(), function.name, types))
    path = kept_place(function.stem, compiler(), processor(), function.name, types, function.text, suffix=".o")
    kept = None if path is None else read_kept(path)
    if kept is not None:
        return MachineCode(types, ObjectCode.from_bytes(kept))
    code = compile_object(function.module(), function.name, types)
    if path is not None:
        write_kept(path, code.to_bytes())
    return MachineCode(types, code)


class MachineCode:
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
        """Calls it; see `tilejit.compiler.jit.generated.Call`."""
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
