"""``map``, ``filter`` and ``functools.reduce``, said as the comprehensions and the loop that they are."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING, Any, TypeVar

from tilejit.compiler.form.captured import MISSING
from tilejit.compiler.form.form import copied
from tilejit.compiler.syntax.names import Names

if TYPE_CHECKING:
    from tilejit.compiler.form.source import FunctionSource

_Node = TypeVar("_Node", bound=ast.AST)
_REDUCING = """
def reduced(values):
    total = values[0]
    for value in values[1:]:
        pass
    return total
"""
_FOLDING = """
def reduced(values, total):
    for value in values:
        pass
    return total
"""


def without_mapping(source: FunctionSource) -> ast.FunctionDef:
    """Returns a copy of a function's tree in which these are written out; ``reduce`` is a function inside."""
    tree = copied(source.tree)
    mapping = _Mapping(Names(source))
    mapping.generic_visit(tree)
    tree.body = [*mapping.made, *tree.body]
    return tree


class _Mapping(ast.NodeTransformer):
    def __init__(self, names: Names) -> None:
        self.names = names
        self.made: list[ast.FunctionDef] = []
        self.count = 0

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """A call of one of them."""
        self.generic_visit(node)
        function = self.names.resolve(node.func)
        if function is MISSING or node.keywords or len(node.args) < 2:
            return node
        if function is map:
            return self.mapped(node)
        if function is filter and len(node.args) == 2:
            return self.filtered(node)
        return self.reduced(node) if function is functools.reduce else node

    def fresh(self, count: int) -> list[str]:
        """Names that no variable has."""
        self.count += 1
        return [f"_each_{self.count}_{k}" for k in range(count)]

    def parts(self, function: ast.expr, count: int) -> tuple[list[str], ast.expr] | None:
        """The variables of a function of so many numbers, and what it makes of them."""
        if not isinstance(function, ast.Lambda):
            names = self.fresh(count)
            return names, ast.Call(function, [ast.Name(n, ast.Load()) for n in names], [])
        own = function.args
        is_plain = not (own.vararg or own.kwonlyargs or own.kwarg or own.defaults)
        names = [a.arg for a in (*own.posonlyargs, *own.args)]
        return (names, function.body) if is_plain and len(names) == count else None

    def mapped(self, node: ast.Call) -> ast.expr:
        function, *over = node.args
        parts = self.parts(function, len(over))
        if parts is None:
            return node
        targets: list[ast.expr] = [ast.Name(n, ast.Store()) for n in parts[0]]
        if len(over) > 1:
            targets, over = [ast.Tuple(targets, ast.Store())], [ast.Call(ast.Name("zip", ast.Load()), over, [])]
        return _placed(ast.ListComp(parts[1], [ast.comprehension(targets[0], over[0], [], 0)]), node)

    def filtered(self, node: ast.Call) -> ast.expr:
        function, over = node.args
        if isinstance(function, ast.Constant) and function.value is None:
            (name,) = self.fresh(1)
            test: ast.expr = ast.Name(name, ast.Load())
        else:
            parts = self.parts(function, 1)
            if parts is None:
                return node
            (name,), test = parts
        loop = ast.comprehension(ast.Name(name, ast.Store()), over, [test], 0)
        return _placed(ast.ListComp(ast.Name(name, ast.Load()), [loop]), node)

    def reduced(self, node: ast.Call) -> ast.expr:
        function, *given = node.args
        parts = self.parts(function, 2)
        if parts is None or len(given) > 2:
            return node
        (total, value), step = parts
        made: Any = ast.parse(_REDUCING if len(given) == 1 else _FOLDING).body[0]
        made = _Renamed({"total": total, "value": value}).visit(made)
        made.name = f"reduced_{len(self.made) + 1}"
        for part in ast.walk(made):
            vars(part).pop("lineno", None)
        next(n for n in made.body if isinstance(n, ast.For)).body = [ast.Assign([ast.Name(total, ast.Store())], step)]
        self.made.append(_placed(made, node))
        return _placed(ast.Call(ast.Name(made.name, ast.Load()), given, []), node)


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self.names.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg = self.names.get(node.arg, node.arg)
        return node


def _placed(node: _Node, at: ast.AST) -> _Node:
    """A node, with all in it that has no place, at the place of another."""
    for part in ast.walk(node):
        if isinstance(part, (ast.expr, ast.stmt, ast.arg)) and not hasattr(part, "lineno"):
            ast.copy_location(part, at)
    return node
