"""What is made for an expression and must stand before its statement."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NoReturn

from tilejit.compiler.arrays.text import at_place
from tilejit.compiler.arrays.wholes import Whole
from tilejit.compiler.form.form import assign, copied, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.arrays.text import Lengths
    from tilejit.compiler.syntax.names import Names


class Holding(ast.NodeTransformer):
    """Names for values that are computed before a statement."""

    whole: Callable[[ast.expr], Whole | None]
    number: Callable[[ast.expr], int | None]
    lengths: Callable[[], Lengths]

    def __init__(self, names: Names) -> None:
        self.names = names
        self.before: list[ast.stmt] = []
        """What must stand before the statement that is at hand."""
        self.made = 0
        self.choices = 0
        """How many choices (``a if test else b``, ``and``, ``or``) are around the expression that is at hand."""

    def fail(self, node: ast.AST, what: str, instead: str) -> NoReturn:
        """Refuses a node."""
        self.names.source.fail(node, what, instead)

    def fresh(self, stem: str) -> str:
        """A name that no variable has."""
        self.made += 1
        return f"@{stem}_{self.made}"

    def hold(self, value: ast.expr) -> ast.expr:
        """A name for a number, which is computed before the statement; one that changes nothing stays."""
        if isinstance(value, ast.Constant):
            return value
        name = self.fresh("held")
        self.before.append(at_place(assign(name, copied(value)), self.names.source.tree))
        return load(name)

    def hold_whole(self, value: ast.expr, like: Whole, place: ast.AST) -> Whole:
        """A name for an array, which is made before the statement."""
        name = self.fresh("array")
        if len(like.shape) == 2:
            self.names.columns[name] = like.shape[1]
            value = ast.List([copied(e) for e in like.flat], ast.Load())
        self.before.append(at_place(assign(name, value), place))
        self.names.words[name] = like.word
        parts = tuple(ast.Subscript(load(name), ast.Constant(k), ast.Load()) for k in range(len(like.flat)))
        return Whole(like.word, parts)

    def named_function(self, function: object) -> ast.Name:
        """A name that stands for a function, whatever the text calls it."""
        name = f"@{getattr(function, '__name__', 'function')}_{id(function)}"
        self.names.free[name] = function
        return load(name)


_MAKING = {"array", "zeros", "ones", "full", "empty", "arange", "linspace", "eye", "sort", "sorted", "copy", "list"}


def makes_arrays(tree: ast.FunctionDef) -> bool:
    """Whether a function may make an array, as far as its words show."""
    calls = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
    words = {getattr(f, "attr", getattr(f, "id", "")) for f in calls}
    return bool(words & _MAKING) or any(isinstance(n, (ast.List, ast.ListComp)) for n in ast.walk(tree))
