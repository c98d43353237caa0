"""A body's operators, literals and lists as calls, so that the python backend can say what each means."""

from __future__ import annotations

import ast
import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv", ast.Mod: "mod",
    ast.Pow: "pow", ast.LShift: "lshift", ast.RShift: "rshift", ast.BitAnd: "and_", ast.BitOr: "or_",
    ast.BitXor: "xor",
}  # fmt: skip
"""Operator -> the name that it is called by, behind a dot."""
_STORING = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For)


class Rewrite(ast.NodeTransformer):
    """Replaces operators and float literals by calls; their names hold a dot, so no name of the user's is one.

    ``is_float`` says of a place whether it has a float, whatever comes to it.
    """

    def __init__(self, is_float: Callable[[ast.expr], bool] = lambda _: False) -> None:
        self.is_float = is_float

    def visit(self, node: ast.AST) -> Any:
        """A node, which is a float where the language has one for the sake of other cases."""
        is_read = isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store)
        is_made = is_read and self.is_float(node)  # type: ignore[arg-type]
        stores = [n for n in self._targets(node) if self.is_float(n)]
        result = super().visit(node)
        after = [ast.copy_location(ast.Assign([n], _called(n, "float", ast.Name(n.id, ast.Load()))), n) for n in stores]
        if isinstance(result, ast.For):
            result.body = [*after, *result.body]
        elif after:
            return [result, *after]
        return _called(result, "float", result) if is_made else result

    @staticmethod
    def _targets(node: ast.AST) -> list[ast.Name]:
        """The variables that a statement gives a value."""
        targets = getattr(node, "targets", [getattr(node, "target", node)]) if isinstance(node, _STORING) else []
        return [n for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        """A float is of the compute dtype."""
        return _called(node, "literal", node) if isinstance(node.value, float) else node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """A comparison gives Python's truth values."""
        self.generic_visit(node)
        return _called(node, "truth", node)  # NumPy's truth values add up to True, not to 2

    def visit_List(self, node: ast.List | ast.ListComp) -> ast.expr:
        """A list is an array of the body's."""
        self.generic_visit(node)
        return _called(node, "list", node)

    def visit_Dict(self, node: ast.Dict) -> ast.expr:
        """A dict of the body's own."""
        self.generic_visit(node)
        return _called(node, "dict", node)

    visit_ListComp = visit_List  # noqa: N815 - as ast calls it

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """An operator, or ``[0.0] * 16``."""
        if isinstance(node.op, ast.MatMult):
            return node
        if isinstance(node.op, ast.Mult) and isinstance(node.left, ast.List):
            return _called(node, "times", self.visit(node.left), node.right)
        if isinstance(node.op, ast.Mult) and isinstance(node.right, ast.List):
            return _called(node, "times", self.visit(node.right), node.left)
        literal = _is_whole_literal(node.right)
        self.generic_visit(node)
        result = _called(node, OPERATORS[type(node.op)], node.left, node.right)
        if isinstance(node.op, ast.Pow):
            result.keywords = [ast.keyword("literal", ast.Constant(literal))]
        return result

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        """A minus."""
        self.generic_visit(node)
        return _called(node, "neg", node.operand) if isinstance(node.op, ast.USub) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        """``a += b`` is ``a = a + b``."""
        held = copy.deepcopy(node.target)
        held.ctx = ast.Load()
        value = ast.copy_location(ast.BinOp(held, node.op, node.value), node)
        self.visit(node.target)
        return ast.copy_location(ast.Assign([node.target], self.visit(value)), node)

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        """A tuple that a variable holds has indices that are held within it."""
        self.generic_visit(node)
        if isinstance(node.targets[0], ast.Name) and isinstance(node.value, (ast.Tuple, ast.Call)):
            node.value = _called(node.value, "held", node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """What ``*rasters`` takes is a tuple that a variable holds."""
        self.generic_visit(node)
        if node.args.vararg is not None:
            name = node.args.vararg.arg
            held = _called(node.args.vararg, "held", ast.Name(name, ast.Load()))
            node.body.insert(0, ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], held), node))
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """An annotation says nothing."""
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], self.visit(node.value)), node)


def _is_whole_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _called(node: ast.expr | ast.arg, name: str, *arguments: ast.expr) -> ast.Call:
    return ast.copy_location(ast.Call(ast.Name(f".{name}", ast.Load()), list(arguments), []), node)
