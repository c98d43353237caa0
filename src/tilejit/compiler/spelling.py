"""How a target spells the pseudo-operations of a form, and its functions as text."""

from __future__ import annotations

import ast
import copy
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tilejit.math
from tilejit.compiler.c_functions import is_narrow
from tilejit.compiler.form import Form, Function, call
from tilejit.compiler.functions import OWN
from tilejit.compiler.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_DIRECT = {"isnan": "_isnan", "fabs": "abs"}
_CONVERSIONS = {"float32": "f32", "float64": "f64", "int64": "i64"}


@dataclass(frozen=True, slots=True)
class Spelling:
    """What differs between targets."""

    float_name: str
    """The name of the compute dtype in the generated module: f32 or f64."""
    shifted: Callable[[str, ast.expr, int], ast.expr]
    """Index, offset, radius -> the index into the padded array."""
    math_name: Callable[[str], str]
    """Function of ``math`` -> what to call."""
    select_name: str = ""
    """What ``_select`` is called; where empty, it is a conditional expression."""


class _Speller(ast.NodeTransformer):
    """Replaces the pseudo-operations of one function."""

    def __init__(self, spelling: Spelling, form: Form, function: Function) -> None:
        self.spelling = spelling
        self.radius = form.radius
        self.kinds = {w.name: w.kind for w in function.windows}
        self.functions = {f.name: f for f in form.functions}
        self.c_functions = {f.name: f for f in form.c_functions}

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in {"_read", "_valid", "_whole"}:
            return self._wrapping(node.args[0]) if name == "_whole" else self._cell(name, node)  # type: ignore[arg-type]
        arguments = [self.visit(a) for a in node.args]
        if name == "_float":
            return call(self.spelling.float_name, *arguments)
        if name in {"_math", "_c"}:
            return self._math(arguments) if name == "_math" else self._c_function(arguments)
        if name == "_select" and not self.spelling.select_name:
            return ast.IfExp(*arguments)
        if name in self.functions:
            return self._helper(self.functions[name], arguments)
        return ast.Call(node.func, arguments, [])

    def _wrapping(self, node: ast.BinOp) -> ast.expr:
        """Unsigned integers wrap; LLVM takes it that signed ones, as Numba adds them, do not."""
        left, right = (call("u64", self.visit(side)) for side in (node.left, node.right))
        return call("i64", ast.BinOp(left, node.op, right))

    def _cell(self, name: str, node: ast.Call) -> ast.expr:
        raster, dy, dx = node.args
        row = self.spelling.shifted("_y", self.visit(dy), self.radius[0])
        col = self.spelling.shifted("_x", self.visit(dx), self.radius[1])
        array = raster.id  # type: ignore[attr-defined]
        index = ast.Tuple([row, col], ast.Load())
        if name == "_valid":
            cell = ast.Subscript(ast.Name(f"_{array}_valid", ast.Load()), index, ast.Load())
            return ast.Compare(cell, [ast.NotEq()], [ast.Constant(0)])
        cell = ast.Subscript(ast.Name(array, ast.Load()), index, ast.Load())
        return call(self.spelling.float_name if self.kinds[array] is Kind.FLOAT else "i64", cell)

    def _math(self, arguments: list[ast.expr]) -> ast.expr:
        function, *values = arguments
        name = function.value  # type: ignore[attr-defined]
        if name in _DIRECT:
            return call(_DIRECT[name], *values)
        result = call(self.spelling.math_name(name), *values)
        # math.* returns float64 for some float32 arguments, depending on the function and the target.
        if name in {*OWN, "isinf", "isfinite"}:
            return result
        return call(self.spelling.float_name, result)

    def _c_function(self, arguments: list[ast.expr]) -> ast.expr:
        """Arguments and result are converted by name: what a compiler does by itself depends on the compiler."""
        function, *values = arguments
        called = self.c_functions[function.value]  # type: ignore[attr-defined]
        pairs = zip(values, called.pointer.arguments, strict=True)
        result = call(called.name, *(_passed(v, dtype) for v, dtype in pairs))
        if called.pointer.kind is Kind.BOOL:
            return ast.Compare(result, [ast.NotEq()], [ast.Constant(0)])
        return call(self.spelling.float_name if called.pointer.kind is Kind.FLOAT else "i64", result)

    def _helper(self, helper: Function, arguments: list[ast.expr]) -> ast.expr:
        count = len(helper.windows)
        passed: list[ast.expr] = []
        for window, argument in zip(helper.windows, arguments[:count], strict=True):
            passed.append(argument)
            if window.kind is Kind.INT:
                passed.append(ast.Name(f"_{argument.id}_valid", ast.Load()))  # type: ignore[attr-defined]
        if count:
            passed += [ast.Name("_y", ast.Load()), ast.Name("_x", ast.Load())]
        return call(helper.name, *passed, *arguments[count:])


def _passed(value: ast.expr, dtype: np.dtype) -> ast.expr:
    """An argument as C takes it; see `CPointer.for_numba`."""
    converted = call(_CONVERSIONS.get(dtype.name, f"np.{dtype.name}"), value) if dtype.kind != "b" else value
    return call("np.int32", converted) if is_narrow(dtype) else converted


def function_text(spelling: Spelling, form: Form, function: Function, decorator: str) -> str:
    """One function as text."""
    body = [_Speller(spelling, form, function).visit(copy.deepcopy(s)) for s in function.body]
    lines = "\n".join("    " + line for s in body for line in ast.unparse(ast.fix_missing_locations(s)).split("\n"))
    parameters = ", ".join(device_parameters(function))
    return f"{decorator}\ndef {function.name}({parameters}):\n{lines}\n"


def device_parameters(function: Function) -> list[str]:
    """The parameters of a generated function: arrays (with validity for integers), the pixel, scalars."""
    arrays: list[str] = []
    for window in function.windows:
        arrays.append(window.name)
        if window.kind is Kind.INT:
            arrays.append(f"_{window.name}_valid")
    return [*arrays, *(["_y", "_x"] if arrays else []), *function.scalars]


def math_used(form: Form) -> set[str]:
    """The functions of ``math`` that a form calls."""
    names = set()
    for function in form.functions:
        for statement in function.body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_math":
                    names.add(str(node.args[0].value))  # type: ignore[attr-defined]
    return names


@functools.cache
def _library(width: int) -> tuple[dict[str, ast.stmt], dict[str, set[str]]]:
    """The top-level definitions of tj.math's float32 or float64 file, and the names that each uses."""
    path = Path(tilejit.math.__file__).parent / f"float{width}.py"
    definitions: dict[str, ast.stmt] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef):
            definitions[statement.name] = statement
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            definitions[statement.targets[0].id] = statement
    uses = {
        name: {n.id for n in ast.walk(s) if isinstance(n, ast.Name)} & (definitions.keys() - {name})
        for name, s in definitions.items()
    }
    return definitions, uses


class _Prefix(ast.NodeTransformer):
    """Gives the library's names a leading underscore, which no name of the user's has."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(f"_{node.id}", node.ctx) if node.id in self.names else node


def library_parts(names: set[str], width: int, decorator: str) -> tuple[list[str], list[str]]:
    """The constants and the functions of tj.math that ``names`` and all that they use come to, as text."""
    definitions, uses = _library(width)
    wanted: set[str] = set()
    todo = set(names) & definitions.keys()
    while todo:
        name = todo.pop()
        wanted.add(name)
        todo |= uses[name] - wanted
    constants, functions = [], []
    for name in definitions:
        if name in wanted:
            statement = _Prefix(set(definitions)).visit(copy.deepcopy(definitions[name]))
            if isinstance(statement, ast.FunctionDef):
                functions.append(f"{decorator}\n{ast.unparse(_undecorated(statement))}")
            else:
                constants.append(ast.unparse(ast.fix_missing_locations(statement)))
    return constants, functions


def _undecorated(function: ast.FunctionDef) -> ast.FunctionDef:
    arguments = function.args
    for argument in arguments.args:
        argument.annotation = None
    function.name, function.returns, function.decorator_list = f"_{function.name}", None, []
    return ast.fix_missing_locations(function)
