"""Machine code as LLVM made it: as it is kept in a file, loaded through llvmlite, and called through ctypes."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilejit.errors import BackendError
from tilejit.system.signals import lock_that_forks_await

ArgumentType = tuple["np.dtype[Any]", int, str]
"""A number or an array: its dtype, its dimensions (0 for a number), and its layout: ``C``, or ``A`` for strided."""
Call = Callable[[Sequence[Any]], int]
"""Calls a function without the GIL, with arguments of the types that it was loaded for; 0 where it returns nothing."""

OPTIONS = '"error_model": "numpy"'
"""What generated modules say of each function, as text, in Numba's words: a quotient by 0 is infinite, as NumPy's."""

llvm_at_work = lock_that_forks_await()
"""Held while LLVM loads or compiles here: locks of its own that another thread had would never be free in a fork."""

MOST_WORDS = 1024
"""What ctypes passes at once."""
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int64
_OF_C = "tilejit.c."
"""How the names of a module's C functions begin, which mean others in another module."""


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

    def load(self, c_functions: Mapping[str, int]) -> tuple[int, Any]:
        """Loads it, with the addresses of C functions: its own, and what must live as long as it is called."""
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        empty = llvm.parse_assembly("")
        # The engine takes the machine over, so each needs one of its own.
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        engine = llvm.create_mcjit_compiler(empty, machine)
        engine.remove_module(empty)  # which it would compile: half a millisecond
        for name, address in c_functions.items():
            llvm.add_symbol(f"{_OF_C}{name}", address)
        self._find_symbols(llvm)  # not before there is an engine, by which LLVM learns what the process has
        engine.add_object_file(llvm.ObjectFileRef.from_data(self.code))
        engine.finalize_object()
        return engine.get_function_address(self.symbol), engine

    def _find_symbols(self, llvm: Any) -> None:
        """Makes sure that all it calls is there: LLVM ends the process over a name that it cannot find."""
        missing = [name for name in self.needs if llvm.address_of_symbol(name) is None]
        if missing:
            raise BackendError(f"compiled code calls {', '.join(missing)}, which this process does not have")


def words_of(types: Sequence[ArgumentType]) -> int:
    """How many words a call passes: see `MachineCode`."""
    return sum(1 + ndim * (1 + (layout == "A")) for _, ndim, layout in types)


class MachineCode:
    """A function for one choice of types.

    It is passed, for each array, its address, its shape, and where it is strided its strides, in bytes.
    """

    def __init__(self, types: Sequence[ArgumentType], code: ObjectCode, c_functions: Mapping[str, int]) -> None:
        with llvm_at_work:
            address, self._owner = code.load(c_functions)
        parameters: list[Any] = []
        for dtype, ndim, layout in types:
            if ndim:
                parameters += [_POINTER, *[_INT] * (ndim * (1 + (layout == "A")))]
            else:
                parameters.append(np.ctypeslib.as_ctypes_type(dtype))
        self._is_strided = [layout == "A" for _, _, layout in types]
        self._call: Callable[..., int] = ctypes.CFUNCTYPE(_INT, *parameters)(address)

    def __call__(self, arguments: Sequence[Any]) -> int:
        """Calls it; see `Call`."""
        flat: list[Any] = []
        for argument, is_strided in zip(arguments, self._is_strided, strict=True):
            if isinstance(argument, np.ndarray):
                strides = argument.strides if is_strided else ()
                flat += (_address_of(argument), *argument.shape, *strides)
            else:
                flat.append(argument.item() if isinstance(argument, np.generic) else argument)
        return self._call(*flat)


def _address_of(array: np.ndarray[Any, Any]) -> int:
    """Where an array's cells lie, in a fourth of the time that NumPy takes to tell, where it lets others write."""
    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    address: int = array.__array_interface__["data"][0]
    return address
