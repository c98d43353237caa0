"""Calls: built-in functions, ``math``, ``tj.is_valid`` and plain helper functions."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING

from tilejit.language.form import Value, call, is_call
from tilejit.language.functions import MATH
from tilejit.language.kinds import Kind
from tilejit.language.names import MISSING, is_valid
from tilejit.language.scope import Scope, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    Lower = Callable[[Scope, ast.expr], Value]

_KNOWN = "a body may call abs, min, max, int, float, bool, round, math.*, tj.is_valid and plain functions"


def lower_call(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    """Lowers a call.

    Raises:
        KernelError: The function is unknown, not callable from a body, or called with the wrong arguments.
    """
    function = scope.names.resolve(node.func)
    name = ast.unparse(node.func)
    if function is MISSING:
        scope.fail(node.func, f"unknown function {name}", _KNOWN)
    if function is is_valid:
        return _is_valid(scope, node, lower)
    handler = _BUILTINS.get(getattr(function, "__name__", "")) if _is_builtin(function) else None
    mathematical = scope.names.math_function(function)
    if handler is None and mathematical is None:
        return _helper(scope, node, function)
    if node.keywords:
        scope.fail(
            node.keywords[0].value, f"{name} with a keyword argument", "give its arguments by position"
        )
    values = [lower(scope, a) for a in node.args]
    if handler is not None:
        return handler(scope, node, values)
    return _math(scope, node, str(mathematical), values)


def _is_builtin(function: object) -> bool:
    return getattr(builtins, getattr(function, "__name__", ""), None) is function


def _math(scope: Scope, node: ast.Call, name: str, values: list[Value]) -> Value:
    if name not in MATH:
        scope.fail(node, f"math.{name} is not in the language", f"it has math.{', '.join(sorted(MATH))}")
    count, kind = MATH[name]
    if len(values) == 2 and name == "log":
        scope.fail(node, "math.log with a base", "write math.log(x) / math.log(base)")
    if len(values) != count:
        scope.fail(
            node,
            f"math.{name} takes {count} argument{'s' * (count > 1)}, {len(values)} given",
            "as in Python",
        )
    if name in {"floor", "ceil", "trunc"} and values[0].kind is not Kind.FLOAT:
        return Value(cast(values[0], Kind.INT), Kind.INT)
    if name == "isnan" and is_call(values[0].node, "_read"):
        scope.program.asks_validity = True
        if scope.program.all_valid:
            return Value(ast.Constant(value=False), Kind.BOOL)
    arguments = [cast(v, Kind.FLOAT) for v in values]
    return Value(call("_math", ast.Constant(name), *arguments), kind)


def _is_valid(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    if len(node.args) != 1 or node.keywords:
        scope.fail(node, "tj.is_valid takes one cell", "write tj.is_valid(z[dy, dx])")
    value = lower(scope, node.args[0])
    cell = is_call(value.node, "_read")
    if not cell and value.kind is not Kind.FLOAT:
        scope.fail(
            node,
            f"tj.is_valid of a computed {value.kind}",
            "ask it of a raster's cell: tj.is_valid(qa[0, 0])",
        )
    scope.program.asks_validity = True
    if cell and scope.program.all_valid:
        return Value(ast.Constant(value=True), Kind.BOOL)
    if cell and value.kind is Kind.INT:
        return Value(call("_valid", *value.node.args), Kind.BOOL)  # type: ignore[attr-defined]
    return Value(ast.UnaryOp(ast.Not(), call("_math", ast.Constant("isnan"), value.node)), Kind.BOOL)


def _helper(scope: Scope, node: ast.Call, function: object) -> Value:
    name = ast.unparse(node.func)
    plain = scope.names.helper(function)
    if plain is None:
        if getattr(function, "__tilejit_kernel__", False):
            scope.fail(
                node, f"{name} is a kernel", "call a plain function here, or compose Rasters: f(g(raster))"
            )
        module = getattr(function, "__module__", None) or ""
        if module.startswith("numpy") or getattr(function, "__class__", type).__name__ == "ufunc":
            base = name.rsplit(".", 1)[-1]
            scope.fail(node, f"{name} works on arrays",
                       f"write math.{base}" if base in MATH else "a body works on one pixel; see tilejit's math.*")  # fmt: skip
        scope.fail(node, f"{name} cannot be called from a body", _KNOWN)
    lowered, arguments = scope.program.helper(scope, node, plain)
    result = call(lowered.name, *arguments)
    if lowered.is_tuple:
        return Value(result, Kind.FLOAT, lowered.results)
    return Value(result, lowered.results[0])


def _extreme(operation: str) -> Callable[[Scope, ast.Call, list[Value]], Value]:
    def lower_extreme(scope: Scope, node: ast.Call, values: list[Value]) -> Value:
        if len(values) < 2:
            scope.fail(node, f"{operation[1:4]} of one value", "give two or more: max(a, b)")
        kind = max(v.kind for v in values)
        result = cast(values[0], kind)
        for value in values[1:]:
            result = call(operation, result, cast(value, kind))
        return Value(result, kind)

    return lower_extreme


def _one(scope: Scope, node: ast.Call, values: list[Value]) -> Value:
    if len(values) != 1:
        scope.fail(node, f"{ast.unparse(node.func)} takes one argument, {len(values)} given", "as in Python")
    return values[0]


def _abs(scope: Scope, node: ast.Call, values: list[Value]) -> Value:
    value = _one(scope, node, values)
    kind = max(value.kind, Kind.INT)
    return Value(ast.Call(ast.Name("abs", ast.Load()), [cast(value, kind)], []), kind)


def _int(scope: Scope, node: ast.Call, values: list[Value]) -> Value:
    value = _one(scope, node, values)
    if value.kind is Kind.INT:
        return value
    return Value(ast.Call(ast.Name("int", ast.Load()), [value.node], []), Kind.INT)


def _float(scope: Scope, node: ast.Call, values: list[Value]) -> Value:
    return Value(cast(_one(scope, node, values), Kind.FLOAT), Kind.FLOAT)


def _bool(scope: Scope, node: ast.Call, values: list[Value]) -> Value:
    value = _one(scope, node, values)
    zero = Value(ast.Constant(0), Kind.INT)
    if value.kind is Kind.BOOL:
        return value
    return Value(ast.Compare(value.node, [ast.NotEq()], [cast(zero, value.kind)]), Kind.BOOL)


def _round(scope: Scope, node: ast.Call, values: list[Value]) -> Value:
    value = _one(scope, node, values)
    if value.kind is not Kind.FLOAT:
        return Value(cast(value, Kind.INT), Kind.INT)
    return Value(
        ast.Call(ast.Name("int", ast.Load()), [call("_math", ast.Constant("rint"), value.node)], []), Kind.INT
    )


_BUILTINS = {
    "abs": _abs, "min": _extreme("_minimum"), "max": _extreme("_maximum"), "int": _int, "float": _float,
    "bool": _bool, "round": _round,
}  # fmt: skip
