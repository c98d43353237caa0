"""Modules for the CPU as LLVM's assembly language.

Numba would take four fifths of the time of compiling: it reads Python's bytecode, finds types that the text says, and
lowers statement by statement. A generated module has few kinds of statements, and says its types. The arithmetic is
Numba's, and so are LLVM's passes.
"""

from __future__ import annotations

import ast
import base64
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit.lanes import LOOPS
from tilejit.compiler.jit.plain_calls import c_function, local, sorting
from tilejit.compiler.jit.plain_expressions import number_of, parts_of, result_of
from tilejit.compiler.jit.plain_functions import PlainFunction
from tilejit.compiler.jit.values import LLVM, TYPES, Array, Pointer, UnknownTextError, Value, constant, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilejit.compiler.jit.values import Any_, Result

Argument = Value | Array | Pointer
"""What a function is given."""
_IMPORTED: dict[str, Any] = {"np": np, "math": math, "base64": base64, "zlib": zlib}
_MADE: dict[str, Any] = {"_local": local, "_sorting": sorting, "_c_function": c_function}
_FLAGS = ("reassoc", "nsz", "arcp", "contract", "afn")
_ALONE = "_out", "_lane", "_keys", "_counts"
"""How arrays are called that share no memory with others: LLVM need not ask: a loop over bytes takes 0.8 as long."""
_NEIGHBOUR = "_x + "
"""What a text has that reads neighbours. LLVM would then keep cells from pixel to pixel instead of reading them again,
and shift them through vectors: 1.1 of the time."""
_INLINED = {"inline", "forceinline"}


class PlainModule:
    """A module's text."""

    def __init__(self, text: str, name: str) -> None:
        self.stem, self.declared = name, set[str]()
        self._alone = () if _NEIGHBOUR in text else _ALONE
        self.texts: list[str] = []
        self.functions: dict[str, ast.FunctionDef] = {}
        self.made: dict[str, Callable[..., Any]] = {}
        """What gives arrays their places, and sorts them."""
        self.constants: dict[str, Any] = dict(_IMPORTED)
        self._compiled: dict[Any, tuple[str, Result]] = {}
        self._arrays: dict[str, Array] = {}
        for statement in ast.parse(text + LOOPS if "_sort_by_lanes(" in text else text).body:
            self._read(statement)

    def _read(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.FunctionDef):
            self.functions[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            (target,), value = statement.targets, statement.value
            if isinstance(target, ast.Tuple):
                names = [ast.unparse(name) for name in target.elts]
                self.constants |= dict(zip(names, self._evaluated(value), strict=True))
            elif isinstance(value, ast.Call) and ast.unparse(value.func) in _MADE:
                self.made[ast.unparse(target)] = _MADE[ast.unparse(value.func)](*map(ast.literal_eval, value.args))
            else:
                self.constants[ast.unparse(target)] = self._evaluated(value)

    def _evaluated(self, node: ast.expr) -> Any:
        with np.errstate(all="ignore"):
            return eval(compile(ast.Expression(node), "<constant>", "eval"), dict(self.constants))  # noqa: S307

    def options(self, node: ast.FunctionDef) -> dict[str, Any]:
        """What a function has under ``njit``."""
        if not node.decorator_list:
            return {}
        decorator = node.decorator_list[0]
        keyword = decorator.keywords[0] if isinstance(decorator, ast.Call) and decorator.keywords else None
        options = None if keyword is None or keyword.arg is not None else self._evaluated(keyword.value)
        if not isinstance(options, dict) or options.get("error_model") != "numpy":
            raise UnknownTextError("a function with other options")
        return options

    def flags(self, node: ast.FunctionDef) -> str:
        """Those of a function's float arithmetic."""
        fast = self.options(node).get("fastmath") or ()
        return "".join(f"{flag} " for flag in _FLAGS if flag in fast)

    def constant(self, name: str) -> Any_:
        """A number or an array of the module."""
        value = self.constants.get(name)
        if isinstance(value, np.ndarray):
            if name not in self._arrays:
                self._arrays[name] = self._array(name, np.ascontiguousarray(value))
            return self._arrays[name]
        return constant(value)

    def _array(self, name: str, values: np.ndarray[Any, Any]) -> Array:
        content = "".join(f"\\{byte:02X}" for byte in values.tobytes())
        self.texts.append(f'@"{name}" = private unnamed_addr constant [{values.nbytes} x i8] c"{content}", align 64\n')
        return Array(TYPES[values.dtype], f'@"{name}"', tuple(map(str, values.shape)), None)

    def named(self, node: ast.expr) -> Any:
        """What an expression such as ``np.sqrt`` names."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return getattr(_IMPORTED.get(node.value.id), node.attr, None)
        return self.constants.get(node.id) if isinstance(node, ast.Name) else None

    def function(self, name: str, arguments: Sequence[Any_]) -> tuple[str, Result]:
        """Returns the symbol of a function for arguments of some types, and what it returns."""
        key = name, tuple(_type(a) for a in arguments)
        if key not in self._compiled:
            node, symbol = self.functions[name], f'@"{name}.{len(self._compiled)}"'
            given = [_parameter(a, f"a{k}") for k, a in enumerate(arguments)]
            written = PlainFunction(self, node, given)
            parameters = ", ".join(f"{kind} {text}" for a in given for kind, text in parts_of(a))
            inlined = " alwaysinline" * bool(_INLINED & self.options(node).keys())
            self._define(written, f"internal {result_of(written.result)} {symbol}({parameters}){inlined}")
            self._compiled[key] = symbol, written.result
        return self._compiled[key]

    def _define(self, written: PlainFunction, head: str) -> None:
        lines = [f"define {head} nounwind {{", "entry:", *written.to.places, *written.to.lines, "}", ""]
        self.texts.append("\n".join(lines))

    def entry(self, name: str, types: Sequence[Sequence[Any]]) -> str:
        """Writes the function that is called from outside; returns its symbol.

        See `tilejit.compiler.jit.machine_code.MachineCode`.
        """
        names = [a.arg for a in self.functions[name].args.args]
        given = [_entry_argument(type_, f"a{k}", names[k]) for k, type_ in enumerate(types)]
        written = _Entry(self, self.functions[name], given)
        parameters: list[str] = []
        for argument, parameter in zip(given, names, strict=True):
            if isinstance(argument, Array):
                alone = " noalias" * parameter.startswith(self._alone)
                extents = (*argument.shape, *(argument.strides or ()))
                parameters += [f"ptr{alone} {argument.text}", *(f"i64 {text}" for text in extents)]
            elif argument.type == "b1":  # which is passed as a byte
                parameters.append(f"i8 {argument.text}.b")
                written.to.places.append(f"  {argument.text} = trunc i8 {argument.text}.b to i1")
            else:
                parameters.append(f"{LLVM[argument.type]} {argument.text}")
        self._define(written, f"i64 @{self.stem}_{name}({', '.join(parameters)})")
        return f"{self.stem}_{name}"

    @property
    def text(self) -> str:
        """What was written."""
        return "\n".join([*sorted(self.declared), *self.texts])


class _Entry(PlainFunction):
    """The function that is called from outside."""

    def return_text(self, value: Any_ | None) -> str:
        result = typed("i64", 0) if value is None else self.to.cast(number_of(value), "i64")
        return f"ret i64 {result.text}"


def _type(argument: Any_) -> Any:
    if isinstance(argument, (Value, Array, Pointer)):
        return argument.type
    raise UnknownTextError("a tuple that is passed")


def _parameter(argument: Any_, stem: str) -> Argument:
    """What a function calls its argument."""
    if isinstance(argument, Value):
        return Value(argument.type, f"%{stem}")
    if isinstance(argument, Pointer):
        return Pointer(argument.element, f"%{stem}")
    if not isinstance(argument, Array):
        raise UnknownTextError("a tuple that is passed")
    return _array_parameter(argument.element, len(argument.shape), f"%{stem}", strided=argument.strides is not None)


def _array_parameter(element: str, ndim: int, stem: str, *, strided: bool) -> Array:
    shape, strides = (tuple(f"{stem}.{letter}{k}" for k in range(ndim)) for letter in ("e", "t"))
    return Array(element, stem, shape, strides if strided else None)


def _entry_argument(type_name: Sequence[Any], stem: str, name: str) -> Value | Array:
    dtype, ndim, layout = type_name
    type_ = TYPES.get(np.dtype(dtype))
    if type_ is None:
        raise UnknownTextError(f"an argument of {dtype}")
    if not ndim:
        return Value(type_, f"%{stem}")
    array = _array_parameter(type_, ndim, f"%{stem}", strided=layout != "C")
    return array._replace(is_control=name == "_control")
