"""From which cells NaN finds its own way to every result, so that they need no checking."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.compiler.form import is_call
from tilejit.compiler.functions import NAN_PASSES
from tilejit.compiler.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilejit.compiler.form import Form, Function

Cells = frozenset[tuple[str, int, int]]
"""Cells whose NaN would make a value NaN: raster, dy, dx."""

NOTHING: Cells = frozenset()


class _OpaqueError(Exception):
    """The body branches, loops or compares: nothing can be said."""


def carried(form: Form) -> Cells:
    """Returns the cells of which each, where it is NaN, makes every result NaN, by IEEE arithmetic alone.

    All that are read by straight-line arithmetic such as a vegetation index, and all but the centre of a slope.
    """
    if any(kind is not Kind.FLOAT for kind in (*form.body.results, *(w.kind for w in form.body.windows))):
        return NOTHING
    functions = {f.name: f for f in form.functions}
    try:
        results = _results(form.body, {w.name: w.raster for w in form.body.windows}, {}, functions)
    except _OpaqueError:
        return NOTHING
    return frozenset.intersection(*results)


def _results(function: Function, windows: Mapping[str, str], values: Mapping[str, Cells],
             functions: Mapping[str, Function]) -> list[Cells]:  # fmt: skip
    known = dict(values)
    for statement in function.body:
        if isinstance(statement, ast.Return) and statement.value is not None:
            elements = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
            return [_cells(e, windows, known, functions) for e in elements]
        if not isinstance(statement, ast.Assign):
            raise _OpaqueError
        _assign(statement, windows, known, functions)
    raise _OpaqueError


def _assign(statement: ast.Assign, windows: Mapping[str, str], known: dict[str, Cells],
            functions: Mapping[str, Function]) -> None:  # fmt: skip
    target = statement.targets[0]
    if isinstance(target, ast.Name):
        known[target.id] = _cells(statement.value, windows, known, functions)
        return
    if not isinstance(target, ast.Tuple):
        raise _OpaqueError
    if isinstance(statement.value, ast.Tuple):
        parts = [_cells(e, windows, known, functions) for e in statement.value.elts]
    else:
        parts = _call(statement.value, windows, known, functions)
    known.update({n.id: c for n, c in zip(target.elts, parts, strict=True) if isinstance(n, ast.Name)})


def _cells(node: ast.expr, windows: Mapping[str, str], known: Mapping[str, Cells],
           functions: Mapping[str, Function]) -> Cells:  # fmt: skip
    if isinstance(node, ast.Constant):
        return NOTHING
    if isinstance(node, ast.Name):
        return known.get(node.id, NOTHING)
    operands = _operands(node)
    if operands:
        return frozenset().union(*(_cells(o, windows, known, functions) for o in operands))
    if is_call(node, "_read"):
        return frozenset({_cell(node, windows)})  # type: ignore[arg-type]
    if isinstance(node, ast.Call):
        results = _call(node, windows, known, functions)
        if len(results) == 1:
            return results[0]
    raise _OpaqueError


def _operands(node: ast.expr) -> list[ast.expr]:
    """The operands of an operator that makes NaN of NaN."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return [node.operand]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
        return [node.left, node.right]
    return [node.left] if isinstance(node, ast.BinOp) and _is_positive_power(node) else []


def _is_positive_power(node: ast.BinOp) -> bool:
    exponent = node.right.value if isinstance(node.right, ast.Constant) else None
    return isinstance(node.op, ast.Pow) and isinstance(exponent, (int, float)) and exponent > 0


def _cell(node: ast.Call, windows: Mapping[str, str]) -> tuple[str, int, int]:
    name, dy, dx = node.args
    if not (isinstance(name, ast.Name) and isinstance(dy, ast.Constant) and isinstance(dx, ast.Constant)):
        raise _OpaqueError
    return windows[name.id], int(dy.value), int(dx.value)  # type: ignore[arg-type]


def _call(node: ast.expr, windows: Mapping[str, str], known: Mapping[str, Cells],
          functions: Mapping[str, Function]) -> list[Cells]:  # fmt: skip
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise _OpaqueError
    name = node.func.id
    if name == "_math":
        function, *arguments = node.args
        if not isinstance(function, ast.Constant) or function.value not in NAN_PASSES:
            raise _OpaqueError
        return [frozenset().union(*(_cells(a, windows, known, functions) for a in arguments))]
    if name in {"_float", "abs"}:
        return [_cells(node.args[0], windows, known, functions)]
    helper = functions.get(name)
    if helper is None:
        raise _OpaqueError
    count = len(helper.windows)
    inner_windows = {w.name: windows[a.id] for w, a in zip(helper.windows, node.args, strict=False)}  # type: ignore[attr-defined]
    inner_values = {
        p: _cells(a, windows, known, functions) for p, a in zip(helper.scalars, node.args[count:], strict=True)
    }
    return _results(helper, inner_windows, inner_values, functions)
