"""Machine code that Numba made once, kept on disk as LLVM made it, and loaded without Numba.

Importing Numba takes a third of a second and finding a function in its cache another tenth; loading the object file of
a kernel through llvmlite takes ten milliseconds, of which most is importing llvmlite. So only a process that compiles
imports Numba.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilejit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import numpy as np

ArgumentType = tuple["np.dtype[Any]", int, str]
"""A number or an array: its dtype, its dimensions (0 for a number), and its layout: ``C``, or ``A`` for strided."""

OPTIONS = '"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False'
"""What a function that is compiled here has under ``njit``, as text: nothing around it that calls into Python, and no
counting of an array's owners, which all need Numba to be there."""


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
        """Loads it into this process.

        Returns:
            The function's address, and what must live as long as it is called.

        Raises:
            BackendError: It calls a function that is nowhere to be found.
        """
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
            import numba  # noqa: F401 - it registers its helpers with LLVM

            missing = [name for name in missing if llvm.address_of_symbol(name) is None]
        if missing:
            raise BackendError(f"compiled code calls {', '.join(missing)}, which this process does not have")


def compile_object(module: ModuleType, name: str, arguments: Sequence[ArgumentType]) -> ObjectCode:
    """Compiles one function of a generated module with Numba.

    Args:
        module: The module, in which the function is under ``njit`` with `OPTIONS`.
        name: The function.
        arguments: What it is called with.

    Raises:
        BackendError: Numba passes arguments otherwise than expected.
    """
    function = getattr(module, name)
    signature = tuple(_numba_type(*argument) for argument in arguments)
    function.compile(signature)
    overload = function.overloads[signature]
    library, symbol = overload.library, overload.fndesc.llvm_func_name
    compiled = library._final_module  # noqa: SLF001 - in no other way to be had
    _check_arguments(compiled.get_function(symbol), arguments)
    declared = (f.name for f in compiled.functions if f.is_declaration and not f.name.startswith("llvm."))
    code = library._get_compiled_object()  # noqa: SLF001 - what Numba's own cache keeps
    return ObjectCode(symbol, tuple(sorted(declared)), code)


def _numba_type(dtype: np.dtype[Any], ndim: int, layout: str) -> Any:
    from numba.core import types
    from numba.np.numpy_support import from_dtype

    element = from_dtype(dtype)
    return types.Array(element, ndim, layout) if ndim else element  # type: ignore[call-overload]


def _check_arguments(function: Any, arguments: Sequence[ArgumentType]) -> None:
    """Holds the function to what `machine_code` calls: Numba documents its convention for no one else."""
    expected = ["ptr", "ptr"]
    for dtype, ndim, _ in arguments:
        expected += ["ptr", "ptr", "i64", "i64", "ptr", *["i64"] * (2 * ndim)] if ndim else [_llvm_name(dtype)]
    found = ["ptr" if str(a.type).endswith("*") else str(a.type) for a in function.arguments]
    if found != expected:
        raise BackendError(f"{compiler()} passes {found}, and tilejit expects {expected}: set TILEJIT_NATIVE=0")


def _llvm_name(dtype: np.dtype[Any]) -> str:
    return {"f4": "float", "f8": "double"}.get(dtype.str[1:], f"i{8 * dtype.itemsize}")


@functools.cache
def compiler() -> str:
    """Returns the compiler's version, without importing it."""
    return f"numba {importlib.metadata.version('numba')} llvmlite {importlib.metadata.version('llvmlite')}"


@functools.cache
def processor() -> str:
    """Returns what code is compiled for."""
    import llvmlite.binding as llvm

    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten()
    return f"{llvm.get_process_triple()} {name} {features}"
