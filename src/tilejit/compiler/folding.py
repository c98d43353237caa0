"""Folds constants: captured numbers, literals, and what Python computes of them in double precision.

A float is rounded to the compute dtype once, where such an expression ends: ``z * (math.pi / 180)`` keeps its last bit.
The python backend folds with this same function, so that both mean the same number.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.compiler.names import Names

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: operator.not_,
}  # fmt: skip
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_GROWING = (ast.Pow, ast.LShift)
"""Operators whose result is far longer than its operands: folded for exponents and shifts below 64 only."""


def folded(block: list[ast.stmt], names: Names, values: Mapping[str, int] | None = None) -> list[ast.stmt]:
    """Folds the statements of a block in place, and leaves out branches that a constant test rules out.

    Args:
        block: The statements, which change.
        names: What the function's free names mean.
        values: Variables that are literals here, such as those of a loop that is written out. Given them, floats are
            not folded any further: a loop that is written out must give the bits of one that is not.
    """
    return _Fold(names, values or {}).block(block)


class _Fold(ast.NodeTransformer):
    """Puts captured numbers in place and computes what is constant."""

    def __init__(self, names: Names, values: Mapping[str, int]) -> None:
        self.names = names
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self.values:
            return _constant(node, self.values[node.id])
        return self._captured(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._captured(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """An element of a captured tuple: ``WEIGHTS[1]``, ``TABLE[dy + 1][dx + 1]``."""
        self.generic_visit(node)
        value = self.names.element(node)
        return node if value is None else _constant(node, value)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        # The function's own name is resolved when the call is lowered.
        node.args = [self.visit(a) for a in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.op, _GROWING) and not _is_small(node.right):
            return node
        function = _BINARY.get(type(node.op))
        return self._computed(node, function, node.left, node.right) if function else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        is_bool = isinstance(node.operand, ast.Constant) and isinstance(node.operand.value, bool)
        if is_bool and isinstance(node.op, ast.Invert):
            return node  # ~True is -2, which is true: refused when it is lowered
        return self._computed(node, _UNARY[type(node.op)], node.operand)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        function = _COMPARE.get(type(node.ops[0])) if len(node.ops) == 1 else None
        return self._computed(node, function, node.left, node.comparators[0]) if function else node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """``True and x`` is ``x``; ``x and True`` is not, where x is a number."""
        self.generic_visit(node)
        decisive = isinstance(node.op, ast.Or)
        values = node.values
        while len(values) > 1 and _is_truth(values[0]):
            if values[0].value is decisive:  # type: ignore[attr-defined]
                return _constant(node, decisive)
            values = values[1:]
        node.values = values
        return node if len(values) > 1 else values[0]

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def block(self, block: list[ast.stmt]) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        for statement in block:
            if isinstance(statement, ast.If):
                statement.test = self.visit(statement.test)
                if isinstance(statement.test, ast.Constant):
                    result += self.block(statement.body if statement.test.value else statement.orelse)
                    continue
            if isinstance(statement, (ast.If, ast.For, ast.While)):
                self._head(statement)
                statement.body = self.block(statement.body) or [ast.copy_location(ast.Pass(), statement)]
                statement.orelse = self.block(statement.orelse)
                result.append(statement)
            elif not isinstance(statement, ast.Expr):
                result.append(self.visit(statement))
        return result

    def _head(self, statement: ast.If | ast.For | ast.While) -> None:
        if isinstance(statement, ast.For):
            statement.iter = self.visit(statement.iter)
        elif isinstance(statement, ast.While):
            statement.test = self.visit(statement.test)

    def _captured(self, node: ast.Name | ast.Attribute) -> ast.expr:
        value = self.names.constant(node) if isinstance(node.ctx, ast.Load) else None
        return node if value is None else _constant(node, value)

    def _computed(self, node: ast.expr, function: Callable[..., Any], *operands: ast.expr) -> ast.expr:
        values = [o.value for o in operands if isinstance(o, ast.Constant)]
        if len(values) != len(operands) or (self.values and any(isinstance(v, float) for v in values)):
            return node
        try:
            value = function(*values)
        except (ArithmeticError, ValueError, TypeError):
            return node
        is_kept = isinstance(value, int) or (isinstance(value, float) and not self.values)
        return _constant(node, value) if is_kept else node


def _is_small(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and abs(node.value) < 64


def _is_truth(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _constant(node: ast.expr, value: bool | float) -> ast.Constant:
    return ast.copy_location(ast.Constant(value), node)
