"""Folds constants and writes literal loops out.

A window loop written out (``for dy in range(-2, 3)``) is 18-37 % faster than the loop (measured): the loop over the
columns is then the innermost one, and LLVM turns it into vector code. It also makes the offsets visible.
"""

from __future__ import annotations

import ast
import copy
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.language.names import Names

LIMIT = 640
"""Statements that a written-out loop may come to: an 11x11 window of three statements a cell, with room."""

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: operator.not_,
}  # fmt: skip
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


def unroll(tree: ast.FunctionDef, names: Names) -> ast.FunctionDef:
    """Returns a copy of ``tree`` with captured numbers in place, constants folded and literal loops written out."""
    tree = copy.deepcopy(tree)
    fold = _Fold(names)
    tree.body = _block(tree.body, fold)
    unroller = _Unroll(fold, tree)
    tree.body = unroller.block(tree.body)
    return tree


def literal_range(node: ast.expr) -> range | None:
    """Returns the range of a ``range(...)`` call whose bounds are literal integers, or None."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"):
        return None
    bounds = [a.value for a in node.args if isinstance(a, ast.Constant) and type(a.value) is int]
    if len(bounds) != len(node.args) or not 1 <= len(bounds) <= 3 or bounds[2:] == [0]:
        return None
    return range(*bounds)


class _Fold(ast.NodeTransformer):
    """Puts captured numbers in place and computes what is constant, as Python does before it meets an array."""

    def __init__(self, names: Names, values: Mapping[str, int] | None = None) -> None:
        self.names = names
        self.values = values or {}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self.values:
            return _constant(node, self.values[node.id])
        return self._captured(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._captured(node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        node.args = [
            self.visit(a) for a in node.args
        ]  # the function's own name is resolved when it is lowered
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        function = _BINARY.get(type(node.op))
        return self._computed(node, function, node.left, node.right) if function else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return self._computed(node, _UNARY[type(node.op)], node.operand)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        function = _COMPARE.get(type(node.ops[0])) if len(node.ops) == 1 else None
        return self._computed(node, function, node.left, node.comparators[0]) if function else node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        decisive = isinstance(node.op, ast.Or)
        open_values = []
        for value in node.values:
            if not (isinstance(value, ast.Constant) and isinstance(value.value, bool)):
                open_values.append(value)
            elif value.value is decisive:
                return _constant(node, decisive)
        if not open_values:
            return _constant(node, not decisive)
        node.values = open_values
        return node if len(open_values) > 1 else open_values[0]

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def _captured(self, node: ast.Name | ast.Attribute) -> ast.expr:
        value = self.names.constant(node) if isinstance(node.ctx, ast.Load) else None
        return node if value is None else _constant(node, value)

    @staticmethod
    def _computed(node: ast.expr, function: Callable[..., Any], *operands: ast.expr) -> ast.expr:
        if not all(isinstance(o, ast.Constant) for o in operands):
            return node
        values = [o.value for o in operands]  # type: ignore[attr-defined]
        try:
            value = function(*values)
        except (ArithmeticError, ValueError, TypeError):
            return node
        return _constant(node, value)


def _constant(node: ast.expr, value: bool | float) -> ast.Constant:
    return ast.copy_location(ast.Constant(value), node)


def _block(block: list[ast.stmt], fold: _Fold) -> list[ast.stmt]:
    """Folds the statements of a block and drops the branches that a constant test rules out."""
    result: list[ast.stmt] = []
    for statement in block:
        if isinstance(statement, ast.If):
            statement.test = fold.visit(statement.test)
            if isinstance(statement.test, ast.Constant):
                result += _block(statement.body if statement.test.value else statement.orelse, fold)
                continue
        if isinstance(statement, (ast.If, ast.For, ast.While)):
            _fold_head(statement, fold)
            statement.body = _block(statement.body, fold) or [ast.copy_location(ast.Pass(), statement)]
            statement.orelse = _block(statement.orelse, fold)
            result.append(statement)
        elif not isinstance(statement, ast.Expr):
            result.append(fold.visit(statement))
    return result


def _fold_head(statement: ast.If | ast.For | ast.While, fold: _Fold) -> None:
    if isinstance(statement, ast.For):
        statement.iter = fold.visit(statement.iter)
    elif isinstance(statement, ast.While):
        statement.test = fold.visit(statement.test)


class _Unroll:
    """Writes out every loop whose bounds are literals, innermost last, within LIMIT statements."""

    def __init__(self, fold: _Fold, tree: ast.FunctionDef) -> None:
        self.fold = fold
        self.tree = tree

    def block(self, block: list[ast.stmt]) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        for statement in block:
            written = self._written_out(statement) if isinstance(statement, ast.For) else None
            if written is not None:
                result += self.block(written)
                continue
            if isinstance(statement, (ast.If, ast.For, ast.While)):
                statement.body = self.block(statement.body) or [ast.copy_location(ast.Pass(), statement)]
                statement.orelse = self.block(statement.orelse)
            result.append(statement)
        return result

    def _written_out(self, loop: ast.For) -> list[ast.stmt] | None:
        values = literal_range(loop.iter)
        if values is None or not isinstance(loop.target, ast.Name) or _size(loop) > LIMIT:
            return None
        name = loop.target.id
        if any(name in _stores(statement) for statement in loop.body):
            return None
        result: list[ast.stmt] = []
        for value in values:
            fold = _Fold(self.fold.names, {**self.fold.values, name: value})
            body, end = _until_jump(_block(copy.deepcopy(loop.body), fold))
            if any(_jumps(statement) for statement in body):
                return None
            result += body
            if end == "break":
                break
        if values and self._read_after(loop, name):
            last = ast.Assign([ast.Name(name, ast.Store())], ast.Constant(values[-1]))
            result.append(ast.fix_missing_locations(ast.copy_location(last, loop)))
        return result

    def _read_after(self, loop: ast.For, name: str) -> bool:
        inside = sum(_loads(statement, name) for statement in loop.body)
        return _loads(self.tree, name) > inside


def _size(loop: ast.For) -> int:
    """How many statements the loop, and the literal loops inside it, come to when written out."""
    values = literal_range(loop.iter)
    inner = sum(_size(s) if isinstance(s, ast.For) else sum(isinstance(n, ast.stmt) for n in ast.walk(s))
                for s in loop.body)  # fmt: skip
    return inner * (len(values) if values is not None else 1)


def _until_jump(block: list[ast.stmt]) -> tuple[list[ast.stmt], str]:
    """Cuts a block at its first unconditional break or continue."""
    for index, statement in enumerate(block):
        if isinstance(statement, (ast.Break, ast.Continue)):
            return block[:index], type(statement).__name__.lower()
    return block, ""


def _jumps(statement: ast.stmt) -> bool:
    """Whether a statement may break or continue the loop around it."""
    if isinstance(statement, (ast.Break, ast.Continue)):
        return True
    if isinstance(statement, ast.If):
        return any(_jumps(s) for s in (*statement.body, *statement.orelse))
    return False


def _stores(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _loads(node: ast.AST, name: str) -> int:
    return sum(
        isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) for n in ast.walk(node)
    )
