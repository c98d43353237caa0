"""Functions of numbers that are no function of ``math``: Python's own, and NumPy's for scalars."""

from __future__ import annotations

import ast
import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.form import call, load
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.lowering.scope import Scope, Value, cast, cut, float_literal
from tilejit.compiler.syntax.numpy_names import FORMULAS, INTEGERS, ROUNDED, Formula, found_in
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    Lower = Callable[[Scope, ast.expr], Value]
    Handler = Callable[[Scope, ast.Call, Lower], Value]


def handler_of(function: object) -> Handler | None:
    """Returns what lowers a call of a function, or None where it is none of these."""
    formula, integers, rounded = (found_in(table, function) for table in (FORMULAS, INTEGERS, ROUNDED))
    if formula is not None:
        return functools.partial(_formula, formula)
    if integers is not None:
        return functools.partial(_whole_of, integers)
    if rounded is not None:
        return functools.partial(_rounded, rounded)
    found: Handler | None = found_in(_HANDLERS, function)
    return found


def _formula(formula: Formula, scope: Scope, node: ast.Call, lower: Lower) -> Value:
    values = _values(scope, node, lower, len(formula.parameters))
    return _of_formula(formula, scope, values, lower)


def _of_formula(formula: Formula, scope: Scope, values: list[Value], lower: Lower) -> Value:
    """Lowers a formula in a scope that has its parameters alone."""
    literals = {p: v.node for p, v in zip(formula.parameters, values, strict=True) if _is_literal(v.node)}
    held = {p: (v.node if isinstance(v.node, ast.Name) else scope.held("value", v.node)).id
            for p, v in zip(formula.parameters, values, strict=True) if p not in literals}  # fmt: skip
    kinds = {p: v.kind for p, v in zip(formula.parameters, values, strict=True)}
    renamed = {p: held.get(p, f".{p}") for p in formula.parameters}
    inner = replace(scope, windows={}, arrays={}, tuples={}, kinds=kinds, renamed=renamed, assigned=set(kinds))
    value = lower(inner, formula.tree)
    scope.temporaries, scope.prelude = inner.temporaries, inner.prelude
    return replace(value, node=_Literals({f".{p}": n for p, n in literals.items()}).visit(value.node))


def _is_literal(node: ast.expr) -> bool:
    is_float = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_float"
    return isinstance(node.args[0] if is_float else node, ast.Constant)  # type: ignore[attr-defined]


class _Literals(ast.NodeTransformer):
    """Puts literals in the place of names."""

    def __init__(self, literals: dict[str, ast.expr]) -> None:
        self.literals = literals

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.literals.get(node.id, node)


def _values(scope: Scope, node: ast.Call, lower: Lower, count: int) -> list[Value]:
    """The arguments of a function that takes so many."""
    if len(node.args) != count:
        name, given = ast.unparse(node.func), len(node.args)
        scope.fail(node, f"{name} takes {counted(count, 'argument')} in a body, {given} given",
                   f"write {name}({', '.join('xyz'[:count])})")  # fmt: skip
    return [lower(scope, argument) for argument in node.args]


def _rounded(name: str, scope: Scope, node: ast.Call, lower: Lower) -> Value:
    """A whole float; an integer is whole as it is."""
    (value,) = _values(scope, node, lower, 1)
    if value.kind is not Kind.FLOAT:
        return Value(cast(value, Kind.INT), Kind.INT)
    return Value(call("_math", ast.Constant(name), value.node), Kind.FLOAT)


def _trunc(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    (value,) = _values(scope, node, lower, 1)
    if value.kind is not Kind.FLOAT:
        return Value(cast(value, Kind.INT), Kind.INT)
    return _towards_zero(scope.held("value", value.node))


def _towards_zero(held: ast.expr) -> Value:
    sides = (call("_math", ast.Constant(name), held) for name in ("ceil", "floor"))
    return Value(call("_select", ast.Compare(held, [ast.Lt()], [float_literal(0.0)]), *sides), Kind.FLOAT)


def _clip(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    """NumPy's: the larger one of x and the lower bound, then the smaller one; None is no bound."""
    if len(node.args) != 3:
        scope.fail(node, f"{ast.unparse(node.func)} takes 3 arguments in a body, {len(node.args)} given",
                   f"write {ast.unparse(node.func)}(x, least, most)")  # fmt: skip
    value = lower(scope, node.args[0])
    for function, bound in zip((np.maximum, np.minimum), node.args[1:], strict=True):
        if not (isinstance(bound, ast.Constant) and bound.value is None):
            value = _of_formula(FORMULAS[function], scope, [value, lower(scope, bound)], lower)
    return value


def _divmod(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    parts = _values(scope, node, lower, 2)
    formulas = (Formula(("a", "b"), text) for text in ("a // b", "a % b"))
    held = [v if _is_literal(v.node) else Value(scope.held("value", v.node), v.kind) for v in parts]
    results = [_of_formula(formula, scope, held, lower) for formula in formulas]
    return Value(ast.Tuple([r.node for r in results], ast.Load()), Kind.FLOAT, tuple(r.kind for r in results))


def _modf(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    """The part behind the point and that before it, both with the sign; of an infinity zero and itself."""
    (value,) = _values(scope, node, lower, 1)
    held = scope.held("value", cast(value, Kind.FLOAT))
    whole = scope.held("value", _towards_zero(held).node)
    rest = call("_select", call("_math", ast.Constant("isinf"), held), float_literal(0.0),
                ast.BinOp(held, ast.Sub(), whole))  # fmt: skip
    signed = call("_math", ast.Constant("copysign"), rest, held)
    return Value(ast.Tuple([signed, whole], ast.Load()), Kind.FLOAT, (Kind.FLOAT, Kind.FLOAT))


def _extreme(operation: str) -> Handler:
    def lower_extreme(scope: Scope, node: ast.Call, lower: Lower) -> Value:
        values = [lower(scope, argument) for argument in node.args]
        if len(values) < 2:
            word = operation[1:4]
            scope.fail(node, f"{word} of {counted(len(values), 'value')}", f"give two or more: {word}(a, b)")
        kind = max(v.kind for v in values)
        result = cast(values[0], kind)
        for value in values[1:]:
            result = call(operation, result, cast(value, kind))
        return Value(result, kind)

    return lower_extreme


def _abs(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    (value,) = _values(scope, node, lower, 1)
    kind = max(value.kind, Kind.INT)
    return Value(call("abs", cast(value, kind)), kind)


def _int(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    (value,) = _values(scope, node, lower, 1)
    return cut(scope, value.node) if value.kind is Kind.FLOAT else Value(cast(value, Kind.INT), Kind.INT)


def _whole_of(dtype: np.dtype, scope: Scope, node: ast.Call, lower: Lower) -> Value:
    """An integer that wraps at the width of its type."""
    value = _int(scope, node, lower)
    bits = 8 * dtype.itemsize
    if bits == 64:
        return value
    if dtype.kind == "u":
        return Value(ast.BinOp(value.node, ast.BitAnd(), ast.Constant(2**bits - 1)), Kind.INT)
    shift = ast.Constant(64 - bits)
    return Value(ast.BinOp(ast.BinOp(value.node, ast.LShift(), shift), ast.RShift(), shift), Kind.INT)


def _float(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    (value,) = _values(scope, node, lower, 1)
    return Value(cast(value, Kind.FLOAT), Kind.FLOAT)


def _single(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    """A float of the body that is rounded to float32."""
    (value,) = _values(scope, node, lower, 1)
    rounded = ast.Call(ast.Attribute(load("np"), "float32", ast.Load()), [value.node], [])
    return Value(call("_float", rounded), Kind.FLOAT)


def _bool(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    (value,) = _values(scope, node, lower, 1)
    zero = Value(ast.Constant(0), Kind.INT)
    if value.kind is Kind.BOOL:
        return value
    return Value(ast.Compare(value.node, [ast.NotEq()], [cast(zero, value.kind)]), Kind.BOOL)


def _round(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    """An integer; of floats and a number of digits a float, as NumPy rounds: ``rint(x * 100) / 100``."""
    if len(node.args) == 2:
        return _to_digits(scope, node, lower)
    (value,) = _values(scope, node, lower, 1)
    if value.kind is not Kind.FLOAT:
        return Value(cast(value, Kind.INT), Kind.INT)
    return cut(scope, call("_math", ast.Constant("rint"), value.node))


def _numpy_round(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    return _to_digits(scope, node, lower) if len(node.args) == 2 else _rounded("rint", scope, node, lower)


def _to_digits(scope: Scope, node: ast.Call, lower: Lower) -> Value:
    value, digits = lower(scope, node.args[0]), digits_of(node.args[1])
    if digits is None:
        scope.fail(node.args[1], f"{ast.unparse(node.func)} to digits known only while running",
                   "give their number as a literal, -15 to 15, or write round(x * scale) / scale")  # fmt: skip
    if value.kind is not Kind.FLOAT:
        if digits < 0:
            scope.fail(node, "an integer rounded to tens", f"make a float of it: float({ast.unparse(node.args[0])})")
        return Value(cast(value, Kind.INT), Kind.INT)
    scale = float_literal(10.0 ** abs(digits))
    ways: list[ast.operator] = [ast.Mult(), ast.Div()][:: -1 if digits < 0 else 1]
    rounded = call("_math", ast.Constant("rint"), ast.BinOp(value.node, ways[0], scale))
    return Value(ast.BinOp(rounded, ways[1], scale), Kind.FLOAT)


def digits_of(node: ast.expr) -> int | None:
    """Returns the number of digits that a call of round names, or None where it is no literal within reason."""
    is_there = isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) <= 15
    return node.value if is_there else None  # type: ignore[attr-defined]


_HANDLERS: dict[Any, Handler] = {
    abs: _abs, np.absolute: _abs, min: _extreme("_minimum"), max: _extreme("_maximum"), int: _int, float: _float,
    np.float64: _float, np.float32: _single, bool: _bool, np.bool_: _bool, round: _round, np.round: _numpy_round,
    np.around: _numpy_round, np.trunc: _trunc, np.fix: _trunc, np.clip: _clip, divmod: _divmod,
    math.modf: _modf, np.modf: _modf,
}  # fmt: skip
