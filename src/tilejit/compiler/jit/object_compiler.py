"""The object code of functions of a module's text: in this process, or in one that does only that.

A plain text becomes LLVM's assembly language at once (`plain_module`); any other is given to Numba. A process of its
own runs the text of this file and of those that it imports, and imports nothing else of tilejit (`compile_process`).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import linecache
import os
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit import plain_module
from tilejit.compiler.jit.values import NotPlainError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DISABLED = "NUMBA_DISABLE_JIT is set, so that nothing is compiled: unset it, or take backend='python'"


_PLAIN = {"Float", "Integer", "IntegerLiteral", "Boolean", "Array", "UniTuple", "Tuple"}
"""Numba's types of which an operator's result depends on nothing else."""
_looked_up: dict[Any, Any] = {}
"""A function's type, a typing context and arguments -> the signature."""


class UnfitError(Exception):
    """Numba does not do what is expected of it; the text says what to do."""


def module_of(text: str, name: str, objects: Mapping[str, Any] | None = None) -> ModuleType:
    """Returns a new module of generated source, whose lines tracebacks find.

    Example:
        >>> module_of("twice = 2 * value", "example", {"value": 3}).twice
        6
    """
    module, file = ModuleType(name), f"<{name}>"
    vars(module).update(objects or {})
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    exec(compile(text, file, "exec"), vars(module))  # noqa: S102 - our own source
    return module


def compile_text(text: str, name: str, function: str, types: Sequence[Sequence[Any]],
                 objects: Mapping[str, Any] | None = None) -> tuple[str, list[str], bytes]:  # fmt: skip
    """Compiles a function of a module, of which only Numba knows ``objects``; see `compile_function`."""
    if not objects:
        with contextlib.suppress(NotPlainError):
            return plain_module.compiled(text, name, function, types)
    return compile_function(module_of(text, name, objects), function, types)


def compile_function(module: ModuleType, function: str, types: Sequence[Sequence[Any]]) -> tuple[str, list[str], bytes]:
    """Returns a function's symbol, what it calls outside, and its object file, for (dtype, dimensions, layout)s."""
    dispatcher = getattr(module, function)
    if not hasattr(dispatcher, "overloads"):
        raise UnfitError(DISABLED)
    signature = tuple(_numba_type(*argument) for argument in types)
    with hastened():
        dispatcher.compile(signature)
    overload = dispatcher.overloads[signature]
    library, symbol = overload.library, overload.fndesc.llvm_func_name
    compiled = library._final_module  # noqa: SLF001 - in no other way to be had
    _check_arguments(compiled.get_function(symbol), types)
    declared = (f.name for f in compiled.functions if f.is_declaration and not f.name.startswith("llvm."))
    return symbol, sorted(declared), library._get_compiled_object()  # noqa: SLF001 - what Numba's own cache keeps


@contextlib.contextmanager
def hastened() -> Iterator[None]:
    """Lets Numba look for no garbage meanwhile, and look up only once what an operator makes of some types.

    The one takes a sixth of its time and finds little; the other an eighth: it asks each of an operator's templates,
    of which ``+`` has forty, for every expression of a function.
    """
    functions: Any = importlib.import_module("numba.core.types.functions").BaseFunction
    was_enabled, real = gc.isenabled(), functions.get_call_type

    def get_call_type(self: Any, context: Any, arguments: Any, named: Any) -> Any:
        is_operator = getattr(self.key[0], "__module__", "") == "_operator"
        if named or not is_operator or not all(type(a).__name__ in _PLAIN for a in arguments):
            return real(self, context, arguments, named)
        key = self, context, tuple(arguments)
        if key not in _looked_up:
            _looked_up[key] = real(self, context, arguments, named)
        return _looked_up[key]

    gc.disable()
    functions.get_call_type = get_call_type
    try:
        yield
    finally:
        functions.get_call_type = real
        if was_enabled:
            gc.enable()


def _numba_type(dtype: str, ndim: int, layout: str) -> Any:
    from numba.core import types
    from numba.np.numpy_support import from_dtype

    element = from_dtype(np.dtype(dtype))
    return types.Array(element, ndim, layout) if ndim else element  # type: ignore[call-overload]


def _check_arguments(function: Any, types: Sequence[Sequence[Any]]) -> None:
    """Holds the function to what `native_function` calls: Numba documents its convention for no one else."""
    expected = ["ptr", "ptr"]
    for dtype, ndim, _ in types:
        expected += ["ptr", "ptr", "i64", "i64", "ptr", *["i64"] * (2 * ndim)] if ndim else [_llvm_name(dtype)]
    found = ["ptr" if str(a.type).endswith("*") else str(a.type) for a in function.arguments]
    if found != expected:
        raise UnfitError(f"this Numba passes {found}, and tilejit expects {expected}: set TILEJIT_NATIVE=0")


def _llvm_name(dtype: str) -> str:
    known = np.dtype(dtype)
    return {"f4": "float", "f8": "double"}.get(known.str[1:], f"i{8 * known.itemsize}")


def serve(idle_seconds: float) -> None:
    """Answers the lines of the standard input until it ends, or none comes for a while; then the process is over."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Numba prints is no reply
    while True:
        idle = threading.Timer(idle_seconds, os._exit, (0,))
        idle.daemon = True
        idle.start()
        line = sys.stdin.buffer.readline()
        idle.cancel()
        if not line:
            os._exit(0)
        head, code = _answer(**json.loads(line))
        replies.write(json.dumps({**head, "size": len(code)}).encode() + b"\n" + code)
        replies.flush()


def _answer(text: str, name: str, function: str, types: Sequence[Sequence[Any]]) -> tuple[dict[str, Any], bytes]:
    try:
        symbol, needs, code = compile_text(text, name, function, types)
    except Exception as error:  # noqa: BLE001 - the process that asked raises it
        return {"error": str(error) if isinstance(error, UnfitError) else f"{type(error).__name__}: {error}"}, b""
    return {"symbol": symbol, "needs": needs}, code
