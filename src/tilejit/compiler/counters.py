"""Small counters: integers that a body only counts up from a literal, outside loops, become floats through 32 bits.

And small sums: integer arithmetic of which 64 bits hold every result is left as it is; the rest is told to wrap.

``n += 1`` at every cell of a window written out counts to 25, yet a 64-bit ``n`` halves the width of the vector code.
LLVM narrows the whole chain where its end is cut to 32 bits: a NaN-skipping mean of 5x5 cells is 1.4 times as fast.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.form import call, is_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_BOUND = 2**31
_ENDS = 2**63
_LARGEST = {"_select", "_minimum", "_maximum", "abs", "_whole"}
"""Calls of which the result is no larger than the largest argument."""


def narrowed(
    block: Sequence[ast.stmt], parameters: Iterable[str], dtypes: Mapping[str, np.dtype | None]
) -> list[ast.stmt]:
    """Returns the lowered statements of a function with its small counters cut to 32 bits where they become floats.

    Args:
        block: The statements.
        parameters: The names of values that are given.
        dtypes: The names of rasters that are given, and what those of integers are annotated with.
    """
    small = _small(block)
    counters = {name: total for name, total in small.items() if name not in set(parameters)}
    return [_Narrow(counters, dtypes).visit(s) for s in block]


def _small(block: Sequence[ast.stmt]) -> dict[str, int]:
    """The variables whose every value is a literal plus or minus literals, 32 bits long at most, and how large."""
    totals: dict[str, int | None] = {}
    for statement in block:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign):
                _add(totals, node)
            elif isinstance(node, (ast.For, ast.While)):
                stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
                totals |= dict.fromkeys((n.id for n in stored), None)
    return {name: total for name, total in totals.items() if total is not None and total < _BOUND}


def _add(totals: dict[str, int | None], node: ast.Assign) -> None:
    target = node.targets[0]
    names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
    step = _step(node.value, names[0]) if isinstance(target, ast.Name) else None
    for name in names:
        total = totals.get(name, 0)
        totals[name] = None if step is None or total is None else total + step


def _step(node: ast.expr, name: str) -> int | None:
    """How far one assignment can move ``name`` away from zero, or None."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return abs(node.value)
    if isinstance(node, ast.Name) and node.id == name:
        return 0
    sides: list[ast.expr] = []
    if is_call(node, "_whole"):
        return _step(node.args[0], name)  # type: ignore[attr-defined]
    if is_call(node, "_select"):
        sides = node.args[1:]  # type: ignore[attr-defined]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)) and not _names(node.right):
        sides = [node.left, node.right]
    steps = [_step(side, name) for side in sides]
    known = [s for s in steps if s is not None]
    return sum(known) if known and len(known) == len(steps) else None


def _names(node: ast.expr) -> bool:
    """Whether an expression holds a variable: ``n + n`` doubles, which no sum of literals bounds."""
    return any(isinstance(n, ast.Name) for n in ast.walk(node))


class _Narrow(ast.NodeTransformer):
    def __init__(self, counters: Mapping[str, int], dtypes: Mapping[str, np.dtype | None]) -> None:
        self.counters, self.dtypes = counters, dtypes

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if is_call(node, "_whole") and self._largest(node.args[0]) < _ENDS:
            return self.visit(node.args[0])  # type: ignore[no-any-return]
        self.generic_visit(node)
        if is_call(node, "_float") and isinstance(node.args[0], ast.Name) and node.args[0].id in self.counters:
            narrow = ast.Call(ast.Attribute(ast.Name("np", ast.Load()), "int32", ast.Load()), node.args, [])
            return call("_float", narrow)
        return node

    def _largest(self, node: ast.expr) -> int:
        """What the absolute value of an integer does not exceed."""
        if isinstance(node, ast.Constant):
            return abs(int(node.value))  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            return self.counters.get(node.id, _ENDS)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
            left, right = self._largest(node.left), self._largest(node.right)
            return left * right if isinstance(node.op, ast.Mult) else left + right
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return self._largest(node.operand)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._largest_called(node.func.id, node.args)
        return _ENDS

    def _largest_called(self, name: str, arguments: list[ast.expr]) -> int:
        if name == "_read":
            dtype = self.dtypes[arguments[0].id]  # type: ignore[attr-defined]
            return _ENDS if dtype is None else max(np.iinfo(dtype).max, -np.iinfo(dtype).min)
        if name == "int":  # of a truth value
            return 1
        sides = arguments[1:] if name == "_select" else arguments
        return max(map(self._largest, sides)) if name in _LARGEST else _ENDS
