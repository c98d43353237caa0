"""C functions that a body may call: those of ``ctypes`` and of ``cffi``, read into one value.

Only scalars pass, as numbers: a body has no memory to point to. cffi is never imported here: where one of its objects
is met, the user's program has imported it.
"""

from __future__ import annotations

import ast
import ctypes
import sys
from _ctypes import CFuncPtr
from dataclasses import dataclass
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tilejit.compiler.form.kinds import Kind, kind_of_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tilejit.compiler.form.source import FunctionSource

_TYPES = (ctypes.c_float, ctypes.c_double, ctypes.c_bool, ctypes.c_int8, ctypes.c_int16, ctypes.c_int32,
          ctypes.c_int64, ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32)  # fmt: skip
_DTYPES = {np.dtype(t): t for t in _TYPES}
"""Dtype -> what ctypes calls it; unsigned integers of 64 bits do not fit a body's signed ones."""
_CFFI_DTYPES: dict[str, np.dtype] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "_Bool": np.dtype(np.bool_),
}
_NO_INTEGERS = {"char", "wchar_t", "char16_t", "char32_t", "long double"}
_CFFI_LIBRARIES = ("cffi.api.FFILibrary", "_cffi_backend.Lib")
"""What ``ffi.dlopen`` gives, whose name goes on with the library's, and the ``lib`` of a compiled module."""
_NEEDS_GIL = 4
"""``ctypes._FUNCFLAG_PYTHONAPI``: set on the functions of a `ctypes.PyDLL`."""
_SCALARS = ("pass and return double, float, bool, or an integer of up to 64 bits (unsigned: up to 32); wrap it in a C "
            "function that does")  # fmt: skip


class CFunctionError(Exception):
    """A C function that no body can call: what it is, and what to do instead."""


@dataclass(frozen=True, slots=True)
class CPointer:
    """A C function in this process."""

    address: int
    arguments: tuple[np.dtype, ...]
    result: np.dtype

    @property
    def kind(self) -> Kind:
        """The kind of its result."""
        return kind_of_dtype(self.result)

    def for_python(self) -> Any:
        """Returns a ctypes function of just these types."""
        return _prototype(self.result, self.arguments)(self.address)

    @property
    def types(self) -> tuple[str, ...]:
        """What compiled code calls it by: the dtype of the result, then those of the arguments.

        Integers below 32 bits are passed as 32 of them, for C compilers differ in who fills the register up; a truth
        value comes as uint8.
        """
        result = np.dtype(np.uint8) if self.kind is Kind.BOOL else self.result
        return tuple(
            str(np.dtype(np.int32) if is_narrow(a) and k else a) for k, a in enumerate((result, *self.arguments))
        )


@dataclass(frozen=True, slots=True)
class CFunction:
    """A C function that a body calls."""

    name: str
    """Its name in the generated module, which is given the function itself: an address is no text."""
    pointer: CPointer
    held: tuple[Any, ...]
    """What the user's function and library are, so that the library stays loaded."""
    source: FunctionSource
    """The function that calls it first."""
    node: ast.Call

    def refuse_on_gpu(self) -> NoReturn:
        """Raises a KernelError that shows the call."""
        self.source.fail(self.node.func, f"{ast.unparse(self.node.func)} is a C function, which is compiled for the "
                         "CPU: a GPU cannot call it",
                         "run it with backend='cpu', or write the function in Python")  # fmt: skip


def _prototype(result: np.dtype, arguments: Iterable[np.dtype]) -> Any:
    return ctypes.CFUNCTYPE(_DTYPES[result], *(_DTYPES[a] for a in arguments))


def is_narrow(dtype: np.dtype) -> bool:
    """Whether it is passed in a register that it does not fill."""
    return dtype.kind != "f" and dtype.itemsize < 4


def is_library(value: object) -> bool:
    """Whether the attributes of ``value`` are C functions: a `ctypes.CDLL`, or a library of cffi's."""
    name = f"{type(value).__module__}.{type(value).__name__}"
    return isinstance(value, ctypes.CDLL) or name.startswith(_CFFI_LIBRARIES)


def is_c_function(value: object) -> bool:
    """Whether ``value`` is a function of ctypes or cffi."""
    return isinstance(value, CFuncPtr) or _cffi_type(value) is not None


def read_c_function(value: Any) -> CPointer:
    """Returns where a C function is, what it takes and what it returns.

    Raises:
        CFunctionError: It does not say what it takes, or takes or returns something other than numbers.
    """
    return _of_ctypes(value) if isinstance(value, CFuncPtr) else _of_cffi(value, _cffi_type(value))


def _of_ctypes(function: Any) -> CPointer:
    if function.argtypes is None:
        raise CFunctionError("does not say what it takes",
                             "set its argtypes and its restype (int unless it is set): f.argtypes = "
                             "[ctypes.c_double]; f.restype = ctypes.c_double")  # fmt: skip
    if function.errcheck is not None:
        raise CFunctionError("has an errcheck, which compiled code would leave out", "return a number, and test that")
    if function._flags_ & _NEEDS_GIL:
        raise CFunctionError("needs Python's lock, which compiled code does not hold", "load it with ctypes.CDLL")
    address = ctypes.cast(function, ctypes.c_void_p).value
    if address is None:
        raise CFunctionError("points to nothing", "load it from a library: ctypes.CDLL(path).name")
    arguments = tuple(_of_ctype(a, "takes") for a in function.argtypes)
    return CPointer(address, arguments, _of_ctype(function.restype, "returns"))


def _of_ctype(given: Any, verb: str) -> np.dtype:
    dtype = next((d for d, t in _DTYPES.items() if t is given), None)
    if dtype is None:
        name = getattr(given, "__name__", repr(given)) if given is not None else "nothing"
        raise CFunctionError(f"{verb} {name}", _SCALARS)
    return dtype


def _cffi_type(value: object) -> Any:
    """The type of a function of cffi's, or None: one of its data, or a built-in function of a compiled library."""
    owner = value.__self__ if isinstance(value, BuiltinFunctionType) else value
    if type(owner).__module__ != "_cffi_backend":
        return None
    try:
        found = sys.modules["_cffi_backend"].FFI().typeof(value)
    except TypeError:  # a type, or a library
        return None
    return found if found.kind == "function" else None


def _of_cffi(function: Any, signature: Any) -> CPointer:
    ffi: Any = sys.modules["_cffi_backend"].FFI()
    if signature.ellipsis:
        raise CFunctionError("takes any number of arguments", _SCALARS)
    if isinstance(function, BuiltinFunctionType):
        function = ffi.addressof(function.__self__, function.__name__)
    arguments = tuple(_of_cffi_type(ffi, a, "takes") for a in signature.args)
    return CPointer(int(ffi.cast("uintptr_t", function)), arguments, _of_cffi_type(ffi, signature.result, "returns"))


def _of_cffi_type(ffi: Any, given: Any, verb: str) -> np.dtype:
    name = "nothing" if given.kind == "void" else given.cname
    dtype = _CFFI_DTYPES.get(name)
    if dtype is None and given.kind == "primitive" and name not in _NO_INTEGERS and "complex" not in name:
        dtype = np.dtype(f"{'i' if int(ffi.cast(given, -1)) < 0 else 'u'}{ffi.sizeof(given)}")
    if dtype is None or dtype not in _DTYPES:
        raise CFunctionError(f"{verb} {name}", _SCALARS)
    return dtype
