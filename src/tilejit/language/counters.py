"""Small counters: integers that a body only counts up from a literal, outside loops, become floats through 32 bits.

``n += 1`` at every cell of a window written out counts to 25, yet a 64-bit ``n`` halves the width of the vector code.
LLVM narrows the whole chain where its end is cut to 32 bits: a NaN-skipping mean of 5x5 cells is 1.4 times as fast.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.language.form import call, is_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BOUND = 2**31


def narrowed(block: Sequence[ast.stmt], parameters: Iterable[str]) -> list[ast.stmt]:
    """Returns the lowered statements of a function with its small counters cut to 32 bits where they become floats."""
    names = _small(block) - set(parameters)
    return [_Narrow(names).visit(s) for s in block] if names else list(block)


def _small(block: Sequence[ast.stmt]) -> set[str]:
    """The variables whose every value is a literal plus or minus literals, 32 bits long at most."""
    totals: dict[str, int | None] = {}
    for statement in block:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign):
                _add(totals, node)
            elif isinstance(node, (ast.For, ast.While)):
                stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
                totals |= dict.fromkeys((n.id for n in stored), None)
    return {name for name, total in totals.items() if total is not None and total < _BOUND}


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
    def __init__(self, names: set[str]) -> None:
        self.names = names

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if is_call(node, "_float") and isinstance(node.args[0], ast.Name) and node.args[0].id in self.names:
            narrow = ast.Call(ast.Attribute(ast.Name("np", ast.Load()), "int32", ast.Load()), node.args, [])
            return call("_float", narrow)
        return node
