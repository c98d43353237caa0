"""Parts of arrays that have names of their own: in NumPy they change with the array, and here they are copies."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHANGING = {"sort", "fill", "append", "insert", "extend", "pop", "remove", "reverse", "clear"}
_VIEWS = {"T", "flat", "reshape", "ravel", "transpose"}


def owner_of(node: ast.expr) -> str | None:
    """Returns the variable of which an expression is a part that is not copied, or None."""
    if isinstance(node, ast.Call):
        is_view = isinstance(node.func, ast.Attribute) and node.func.attr in _VIEWS
        return _root(node.func) if is_view else None
    return _root(node) if isinstance(node, (ast.Subscript, ast.Attribute)) else None


def changed_after(tree: ast.AST, names: set[str], place: ast.expr, *, is_repeated: bool) -> ast.expr | None:
    """Returns where one of some arrays is changed behind a place of the text; anywhere, where that is in a loop."""
    for node in ast.walk(tree):
        for changed in _changed(node):
            is_behind = (changed.lineno, changed.col_offset) > (place.lineno, place.col_offset)
            if _root(changed) in names and (is_repeated or is_behind):
                return changed
    return None


def _changed(node: ast.AST) -> Iterator[ast.expr]:
    """What a node changes elements of."""
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield node
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield node.target
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        if isinstance(function, ast.Attribute) and function.attr in _CHANGING:
            yield function.value
        yield from node.value.args


def _root(node: ast.expr) -> str | None:
    """The variable that a chain of subscripts and dots begins with."""
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
