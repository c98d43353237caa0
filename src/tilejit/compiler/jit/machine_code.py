"""Machine code as LLVM made it: as it is kept in a file, loaded through llvmlite, and called without Numba."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilejit.errors import BackendError
from tilejit.system.signals import lock_that_forks_await

ArgumentType = tuple["np.dtype[Any]", int, str]
"""A number or an array: its dtype, its dimensions (0 for a number), and its layout: ``C``, or ``A`` for strided."""
Call = Callable[[Sequence[Any]], int]
"""Calls a function without the GIL, with arguments of the types that it was loaded for; 0 where it returns nothing."""

BARE = '"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False'
"""What any function that is compiled here has under ``njit``, as text: nothing around it that calls into Python, and no
counting of an array's owners. Both need Numba to be there, and a fifth of the time that it takes to compile."""
OPTIONS = f'"error_model": "numpy", {BARE}'
"""What one that is called from Python has."""

llvm_at_work = lock_that_forks_await()
"""Held while LLVM loads or compiles here: locks of its own that another thread had would never be free in a fork."""

MOST_WORDS = 1024
"""What ctypes passes at once."""
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int64
_FINE = (0, -2)
"""What is returned by functions with and without a result that did not fail."""


@dataclass(frozen=True, slots=True)
class ObjectCode:
    """A compiled function."""

    symbol: str
    """Its name in the object file."""
    needs: tuple[str, ...]
    """Functions outside of it that it may call."""
    code: bytes
    """The object file."""

    def to_bytes(self) -> bytes:
        """Returns it as it is kept in a file."""
        return json.dumps({"symbol": self.symbol, "needs": self.needs}).encode() + b"\n" + self.code

    @staticmethod
    def from_bytes(kept: bytes) -> ObjectCode:
        """Returns what `to_bytes` made bytes of; others are run as they are, and end the process at best."""
        line, _, code = kept.partition(b"\n")
        head = json.loads(line)
        return ObjectCode(head["symbol"], tuple(head["needs"]), code)

    def load(self) -> tuple[int, Any]:
        """Loads it: its address, and what must live as long as it is called."""
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        empty = llvm.parse_assembly("")
        # The engine takes the machine over, so each needs one of its own.
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        engine = llvm.create_mcjit_compiler(empty, machine)
        engine.remove_module(empty)  # which it would compile: half a millisecond
        self._find_symbols(llvm)  # not before there is an engine, by which LLVM learns what the process has
        engine.add_object_file(llvm.ObjectFileRef.from_data(self.code))
        engine.finalize_object()
        return engine.get_function_address(self.symbol), engine

    def _find_symbols(self, llvm: Any) -> None:
        """Makes sure that all it calls is there: LLVM ends the process over a name that it cannot find."""
        # The C library of Windows lacks some functions that LLVM calls for its own operations; Numba brings them.
        missing = [name for name in self.needs if llvm.address_of_symbol(name) is None]
        if missing or sys.platform == "win32":
            from numba import _helperlib  # math.gamma and lgamma are Numba's own, which tells LLVM of them late

            for name, address in _helperlib.c_helpers.items():  # type: ignore[attr-defined]
                llvm.add_symbol(f"numba_{name}", address)
            missing = [name for name in missing if llvm.address_of_symbol(name) is None]
        if missing:
            raise BackendError(f"compiled code calls {', '.join(missing)}, which this process does not have")


def words_of(types: Sequence[ArgumentType]) -> int:
    """How many words a call passes: see `MachineCode`."""
    return 2 + sum(5 + 2 * ndim if ndim else 1 for _, ndim, _ in types)


class MachineCode:
    """A function for one choice of types, called by Numba's convention, which Numba promises to nobody: see `loader`.

    That is: a pointer to the result, one to an error, then the arguments, of which an array is its owner, its Python
    object, its count and size of elements, its address, shape and strides.
    """

    def __init__(self, types: Sequence[ArgumentType], code: ObjectCode) -> None:
        with llvm_at_work:
            address, self._owner = code.load()
        parameters: list[Any] = [_POINTER, _POINTER]
        for dtype, ndim, _ in types:
            if ndim:
                parameters += [_POINTER, _POINTER, _INT, _INT, _POINTER, *[_INT] * (2 * ndim)]
            else:
                parameters.append(np.ctypeslib.as_ctypes_type(dtype))
        self._call: Callable[..., int] = ctypes.CFUNCTYPE(ctypes.c_int32, *parameters)(address)

    def __call__(self, arguments: Sequence[Any]) -> int:
        """Calls it; see `Call`."""
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
