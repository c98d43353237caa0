"""Folds constants: numbers that are known before anything runs stand in place of what computes them.

Constants are captured numbers, literals, and what Python computes of them in double precision. A float is rounded to
the compute dtype once, where such an expression ends: ``z * (math.pi / 180)`` keeps its last bit. The python backend
folds with this same function, so that both mean the same number.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.captured import plain_number
from tilejit.compiler.form.form import copied
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.syntax.loops import kind_of_element, length_of
from tilejit.compiler.syntax.numpy_names import as_operators

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.compiler.syntax.names import Names

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: operator.not_,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_GROWING = (ast.Pow, ast.LShift)
"""Operators whose result is far longer than its operands: folded for exponents and shifts below 64 only."""


_ONLY_DEBUG = {"print", "breakpoint"}


def is_for_debugging(node: ast.expr) -> bool:
    """Whether it is a call that ``Kernel.debug`` makes, and that compiled code leaves out."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ONLY_DEBUG


def folded_expression(node: ast.expr, names: Names) -> ast.expr:
    """Returns a copy of an expression with numbers in place and constants folded."""
    return _Fold(names, {}).visit(copied(node))  # type: ignore[no-any-return]


def folded(block: list[ast.stmt], names: Names, values: Mapping[str, bool | float] | None = None) -> list[ast.stmt]:
    """Folds the statements of a block in place, and leaves out branches that a constant test rules out.

    ``values`` are variables that are literals here, such as those of a loop that is written out. Given them, floats are
    not folded any further: a loop that is written out must give the bits of one that is not.
    """
    return inside(_Fold(names, values or {}), block)


def inside(transformer: ast.NodeTransformer, block: list[ast.stmt]) -> list[ast.stmt]:
    """Returns statements as a transformer makes them."""
    module = ast.Module(block, [])
    transformer.generic_visit(module)
    return module.body


def filled(statement: ast.If | ast.For | ast.While) -> ast.stmt:
    """Returns a statement whose block is not empty."""
    statement.body = statement.body or [ast.copy_location(ast.Pass(), statement)]
    return statement


class _Fold(ast.NodeTransformer):
    """Puts captured numbers in place and computes what is constant."""

    def __init__(self, names: Names, values: Mapping[str, bool | float]) -> None:
        self.names = names
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self.values:
            return _literal(node, self.values[node.id])
        return self.visit_Attribute(node)

    def visit_Attribute(self, node: ast.Name | ast.Attribute) -> ast.expr:
        value = self.names.constant(node) if isinstance(node.ctx, ast.Load) else None
        return node if value is None else _literal(node, value)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """An element of a captured tuple: ``WEIGHTS[1]``, ``TABLE[dy + 1][dx + 1]``."""
        self.generic_visit(node)
        member = self.names.member(node)
        if member is not None:
            return member
        value = plain_number(self.names.element(node))
        return node if value is None else _literal(node, self._as_stored(node, value))

    def _as_stored(self, node: ast.Subscript, value: bool | float) -> bool | float:
        """An element of a loop's table as it is where the loop is not written out: of the widest kind of all."""
        return float(value) if self.values and kind_of_element(self.names, node) is Kind.FLOAT else value

    def visit_Call(self, node: ast.Call) -> ast.expr:
        written = as_operators(node, self.names.resolve)
        if written is not node:
            return self.visit(written)  # type: ignore[no-any-return]
        # The function's own name is resolved when the call is lowered.
        if self.names.resolve(node.func) is len and len(node.args) == 1:
            count = length_of(self.names, node.args[0])
            return node if count is None else _literal(node, count)
        node.args = [self.visit(a) for a in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        right = node.right.value if isinstance(node.right, ast.Constant) else None
        if isinstance(node.op, _GROWING) and not (isinstance(right, (int, float)) and abs(right) < 64):
            return node
        return self._computed(node, node.op, node.left, node.right)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        if _is_truth(node.operand) and isinstance(node.op, ast.Invert):
            return node  # ~True is -2, which is true: refused when it is lowered
        return self._computed(node, node.op, node.operand)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        node.comparators = list(map(_as_tuple, node.ops, node.comparators))
        self.generic_visit(node)
        if len(node.ops) != 1:
            return node
        told = self.names.told(node)
        if told is not None:
            return _literal(node, told)
        return self._computed(node, node.ops[0], node.left, node.comparators[0])

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """``True and x`` is ``x``; ``x and True`` is not, where x is a number."""
        self.generic_visit(node)
        decisive = isinstance(node.op, ast.Or)
        values = node.values
        while len(values) > 1 and _is_truth(values[0]):
            if values[0].value is decisive:  # type: ignore[attr-defined]
                return _literal(node, decisive)
            values = values[1:]
        node.values = values
        return node if len(values) > 1 else values[0]

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return filled(node)

    def visit_For(self, node: ast.For | ast.While) -> ast.stmt:
        self.generic_visit(node)
        return filled(node)

    visit_While = visit_For  # noqa: N815 - as ast calls it

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | None:
        """A text, or a call of print: left out; any other call is made for what it changes."""
        if not isinstance(node.value, ast.Call) or is_for_debugging(node.value):
            return None
        self.generic_visit(node)
        return node

    def _computed(self, node: ast.expr, op: ast.AST, *operands: ast.expr) -> ast.expr:
        function = _OPERATORS.get(type(op))
        values = [o.value for o in operands if isinstance(o, ast.Constant)]
        is_kept = bool(self.values) and any(isinstance(v, float) for v in values)
        if function is None or len(values) != len(operands) or is_kept:
            return node
        try:
            value = function(*values)
        except (ArithmeticError, ValueError, TypeError):
            return node
        is_number = isinstance(value, int) or (isinstance(value, float) and not self.values)
        return _literal(node, value) if is_number else node


def _as_tuple(operator: ast.cmpop, node: ast.expr) -> ast.expr:
    """What ``in`` looks through: a list or a set is as good as a tuple."""
    is_listed = isinstance(operator, (ast.In, ast.NotIn)) and isinstance(node, (ast.List, ast.Set))
    return ast.copy_location(ast.Tuple(node.elts, ast.Load()), node) if is_listed else node  # type: ignore[attr-defined]


def _is_truth(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _literal(node: ast.expr, value: bool | float) -> ast.Constant:
    return ast.copy_location(ast.Constant(value), node)


def literal_range(node: ast.expr) -> range | None:
    """Returns the range of a ``range(...)`` call whose bounds are literal integers, or None."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"):
        return None
    bounds = [a.value for a in node.args if isinstance(a, ast.Constant) and type(a.value) is int]
    if len(bounds) != len(node.args) or not 1 <= len(bounds) <= 3 or bounds[2:] == [0]:
        return None
    return range(*bounds)


COUNT = 1 << 90
"""What the number of a stack's layers is in an interval: so large that what is added to it is told from it again."""


def interval_of(node: ast.expr, variables: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """Returns the least and largest value of an integer, or None where it depends on anything but ``variables``.

    It is the reach of ``z[dy, 2 * dx]`` over loop variables. ``len(t)`` may be one of them, and is COUNT, and so may a
    table's element.

    Example:
        >>> interval_of(ast.parse("2 * dy - 1", mode="eval").body, {"dy": (-2, 2)})
        (-5, 3)
    """
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value, node.value
    if isinstance(node, (ast.Name, ast.Call, ast.Subscript)):
        return variables.get(ast.unparse(node))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        sides = [(0, 0), interval_of(node.operand, variables)]
        op: ast.operator = ast.Sub() if isinstance(node.op, ast.USub) else ast.Add()
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
        sides, op = [interval_of(node.left, variables), interval_of(node.right, variables)], node.op
    else:
        return None
    if None in sides:
        return None
    combined = _OPERATORS[type(op)]
    corners = [combined(a, b) for a in sides[0] for b in sides[1]]  # type: ignore[union-attr]
    return min(corners), max(corners)
