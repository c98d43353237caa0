"""Arrays and tuples in a body's text, before it is typed: how long they are, and loops over them.

``for v in h`` becomes ``for k in range(16): v = h[k]``, which is then written out as other loops are. Variables made up
here begin with an ``@``, so that none is the user's.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.arrays.arrays import window, zeros
from tilejit.compiler.form.captured import plain_number
from tilejit.compiler.form.form import copied, load, stored
from tilejit.compiler.syntax.folding import folded, folded_expression, literal_range
from tilejit.compiler.syntax.neighbours import has_neighbours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.compiler.syntax.names import Names

ZEROS = (zeros, np.zeros, np.empty)
MAKERS = (*ZEROS, np.ones, np.full)
"""Functions that make an array."""
COPIERS = (sorted, list, tuple)
"""Functions that make one of another."""
_PASSED = {"reversed", "enumerate", "zip"}


def is_one_of(function: object, functions: Sequence[object]) -> bool:
    """Whether a function is one of some; NumPy's own compare by value."""
    return any(function is other for other in functions)


class Lengths:
    """How long the arrays and tuples of one function are."""

    def __init__(self, names: Names, given: Mapping[str, int]) -> None:
        self.names, self.known = names, dict(given)
        self.used = 0
        """How many have been put in the place of calls."""

    def take_in(self, block: Sequence[ast.stmt]) -> None:
        """Takes in what statements assign."""
        for node in (n for s in block for n in ast.walk(s) if isinstance(n, (ast.Assign, ast.AnnAssign))):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if node.value is None:
                continue
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                self.take_in([ast.Assign([t], v) for t, v in zip(target.elts, node.value.elts, strict=False)])
            if isinstance(target, ast.Tuple) and self._is_window(node.value) and isinstance(target.elts[0], ast.Name):
                target, size = target.elts[0], self.of_window(node.value)
            else:
                size = self.of(node.value)
            if size is not None and isinstance(target, ast.Name):
                self.known.setdefault(target.id, size)

    def of(self, node: ast.expr) -> int | None:
        """The length of an expression, or None where it is no array and no tuple."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id, None if (table := self.captured(node)) is None else len(table.elts))
        if isinstance(node, (ast.Tuple, ast.List)):
            return None if any(isinstance(e, ast.Starred) for e in node.elts) else len(node.elts)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            parts, times = (node.left, node.right) if isinstance(node.left, ast.List) else (node.right, node.left)
            count = self.number(times)
            return len(parts.elts) * count if isinstance(parts, ast.List) and count is not None else None
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            elements = self.expanded(node)
            return None if elements is None else len(elements)
        return self._of_call(node) if isinstance(node, ast.Call) and node.args else None

    def _of_call(self, node: ast.Call) -> int | None:
        function = self.names.resolve(node.func)
        if is_one_of(function, MAKERS):
            return self.number(node.args[0])
        if is_one_of(function, COPIERS):
            return self.of(node.args[0])
        word = self._word(node)
        passed = node.args[:1] if word == "enumerate" else node.args
        sizes = [self.of(a) for a in passed] if word in _PASSED else [None]
        known = [s for s in sizes if s is not None]
        return min(known) if len(known) == len(sizes) else None

    def number(self, node: ast.expr) -> int | None:
        """A literal, or a captured constant's value, of 1 or more; or the number of layers."""
        layers = self.names.layers.get(ast.unparse(node)) if self.names.layers else None
        if layers is not None:
            self.names.is_sized = True
            return layers
        value = folded_expression(node, self.names)
        is_size = isinstance(value, ast.Constant) and type(value.value) is int and value.value > 0
        return value.value if is_size else None  # type: ignore[attr-defined]

    def _is_window(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and self.names.resolve(node.func) is window

    def of_window(self, node: ast.expr) -> int | None:
        """How many cells the window of a call has."""
        side = self.number(node.args[1]) if len(node.args) == 2 else None  # type: ignore[attr-defined]
        return None if side is None else side * side

    def captured(self, node: ast.expr) -> ast.Tuple | None:
        """A captured tuple or array of numbers, or of tuples of them, as if it were written out."""
        value = self.names.resolve(node)
        found = _written(value.tolist() if isinstance(value, np.ndarray) else value)
        return at_place(found, node) if isinstance(found, ast.Tuple) else None

    def _word(self, node: ast.expr) -> str:
        """The name of one of Python's own functions that is called."""
        function = self.names.resolve(node.func) if isinstance(node, ast.Call) else None
        return str(getattr(function, "__name__", "")) if isinstance(function, type) else ""

    def element(self, node: ast.expr, index: ast.expr) -> ast.expr | None:
        """What ``node`` holds at an index, which is a literal or a variable."""
        size, word = self.of(node), self._word(node)
        if word in _PASSED:
            return self._passed(node, word, index)  # type: ignore[arg-type]
        literal = literal_range(node)
        number = index.value if isinstance(index, ast.Constant) else None
        if literal is not None:
            return ast.Constant(literal[number]) if isinstance(number, int) else None
        written = node if isinstance(node, (ast.Tuple, ast.List)) else self.captured(node)
        if size is not None and isinstance(written, (ast.Tuple, ast.List)) and isinstance(number, int):
            return copied(written.elts[number])
        is_named = isinstance(node, ast.Name) and size is not None
        return ast.Subscript(copied(node), index, ast.Load()) if is_named else None

    def _passed(self, node: ast.Call, word: str, index: ast.expr) -> ast.expr | None:
        size = self.of(node)
        if word == "reversed" and size is not None:
            back = ast.BinOp(ast.Constant(size - 1), ast.Sub(), index)
            return self.element(node.args[0], folded_expression(back, self.names))
        parts = [self.element(a, index) for a in node.args]
        if word == "enumerate":
            first = [*node.args[1:], *(k.value for k in node.keywords), ast.Constant(0)][0]
            start = folded_expression(ast.BinOp(index, ast.Add(), first), self.names) if _told(first) else index
            parts = [start, parts[0]] if isinstance(first, ast.Constant) else [None]
        is_strict = word == "zip" and any(not is_false(k.value) for k in node.keywords)
        if is_strict and len({self.of(a) for a in node.args}) > 1:
            return None
        known = [p for p in parts if p is not None]
        return ast.Tuple(known, ast.Load()) if len(known) == len(parts) else None

    def length(self, node: ast.expr) -> int | None:
        """How many rounds a loop over ``node`` has, where its text shows it."""
        literal = literal_range(node)
        return self.of(node) if literal is None else len(literal)

    def expanded(self, node: ast.ListComp | ast.GeneratorExp) -> list[ast.expr] | None:
        """The elements of a comprehension one by one, or None where its text does not show them."""
        found: list[tuple[ast.expr, list[ast.expr]]] = [(node.elt, [])]
        for part in reversed(node.generators):
            source = folded_expression(part.iter, self.names)
            size = self.length(source)
            if size is None or part.is_async or len(found) * size > MOST_WRITTEN:
                return None
            rounds = [self.element(source, ast.Constant(k)) for k in range(size)]
            replaced = [bound(part.target, value) for value in rounds]
            if None in replaced:
                return None
            puts = [Put(values or {}) for values in replaced]
            found = [(put.visit(copied(e)), [put.visit(copied(t)) for t in (*part.ifs, *tests)])
                     for put in puts for e, tests in found]  # fmt: skip
        tests = [[_told(folded_expression(t, self.names)) for t in part] for _, part in found]
        if any(None in part for part in tests):
            return None
        kept = [e for (e, _), part in zip(found, tests, strict=True) if all(part)]
        return [at_place(folded_expression(e, self.names), node.elt) for e in kept]


def _told(test: ast.expr) -> bool | None:
    """Whether a test holds, where its text tells that."""
    if isinstance(test, ast.BoolOp):
        parts = list(map(_told, test.values))
        return None if None in parts else (any if isinstance(test.op, ast.Or) else all)(parts)
    return bool(test.value) if isinstance(test, ast.Constant) else None


def is_false(node: ast.expr) -> bool:
    """Whether an expression is False."""
    return isinstance(node, ast.Constant) and node.value is False


MOST_WRITTEN = 640
"""Elements of a comprehension that are written out."""


def bound(target: ast.expr, value: ast.expr | None) -> dict[str, ast.expr] | None:
    """What each variable of a target gets of a value, or None where it does not fit."""
    if isinstance(target, ast.Name):
        return None if value is None else {target.id: value}
    if not isinstance(target, ast.Tuple) or not isinstance(value, ast.Tuple) or len(target.elts) != len(value.elts):
        return None
    parts = [bound(t, v) for t, v in zip(target.elts, value.elts, strict=True)]
    return None if None in parts else {name: v for part in parts if part for name, v in part.items()}


class Put(ast.NodeTransformer):
    """Puts expressions in the place of variables."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """One of them."""
        value = self.values.get(node.id)
        return node if value is None else at_place(copied(value), node)


def _written(value: Any) -> ast.expr | None:
    if isinstance(value, (tuple, list)):
        parts = [_written(v) for v in value]
        known = [p for p in parts if p is not None]
        return ast.Tuple(known, ast.Load()) if len(known) == len(parts) and parts else None
    number = plain_number(value)
    return None if number is None else ast.Constant(number)


def at_place(node: Any, place: ast.AST) -> Any:
    """A made-up expression, all of it at the place of what is written."""
    for part in ast.walk(node):
        if not hasattr(part, "lineno"):
            ast.copy_location(part, place)
    return node


class _Counted(ast.NodeTransformer):
    """Puts lengths in the place of ``len(h)``."""

    def __init__(self, lengths: Lengths, made: int = 0, stem: str = "each") -> None:
        self.lengths, self.made, self.stem = lengths, made, stem

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """A call of ``len``."""
        self.generic_visit(node)
        is_length = self.lengths.names.resolve(node.func) is len and len(node.args) == 1
        size = self.lengths.of(node.args[0]) if is_length else None
        self.lengths.used += size is not None
        return node if size is None else ast.copy_location(ast.Constant(size), node)


class Spelled(_Counted):
    """Puts loops over numbers in the place of loops over arrays and tuples too."""

    def visit_For(self, loop: ast.For) -> Any:
        """A loop."""
        before: list[ast.stmt] = []
        if literal_range(loop.iter) is None and not self._is_range(loop.iter):
            loop.iter, before = self._named(loop.iter)
            size = self.lengths.length(loop.iter)
            self._check_bound_once(loop)
            self.made += 1
            index = load(f"@{self.stem}{self.made}")
            value = None if size is None else self.lengths.element(loop.iter, index)
            if value is not None:
                values, loop.body = self._aliased(loop, value)
                first = [at_place(ast.Assign([t], v), loop.iter) for t, v in values]
                target = ast.copy_location(ast.Name(index.id, ast.Store()), loop.iter)
                bounds = at_place(ast.Call(load("range"), [ast.Constant(size)], []), loop.iter)
                loop = ast.copy_location(ast.For(target, bounds, [*first, *loop.body], loop.orelse), loop)
        self.generic_visit(loop)
        return [*before, loop]

    def _aliased(self, loop: ast.For, value: ast.expr) -> tuple[list[tuple[ast.expr, ast.expr]], list[ast.stmt]]:
        """What a round assigns, and its statements, in which ``r`` of ``rasters`` is called by its place there."""
        names, parts = self.lengths.names, bound(loop.target, value) or {}
        rasters = {name: members[0] for name, part in parts.items() if (members := names.members(part))}
        put = Put({name: parts[name] for name in rasters.keys() - stored(*loop.body)})
        if not put.values:
            return [(loop.target, value)], loop.body
        # One of which neighbours are read is no value that a variable could hold.
        left = {n: p for n, p in parts.items() if n not in put.values or not has_neighbours(names.source, rasters[n])}
        return [(ast.Name(n, ast.Store()), p) for n, p in left.items()], [put.visit(s) for s in loop.body]

    def _check_bound_once(self, loop: ast.For) -> None:
        """Python would go on over the old one, whose place the new one takes here."""
        changed = set(stored(*loop.body))
        for node in ast.walk(loop.iter):
            if isinstance(node, ast.Name) and node.id in changed and node.id in self.lengths.known:
                self.lengths.names.source.fail(node, f"{node.id} is made anew in a loop over it", "use two names")

    def _is_range(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and self.lengths.names.resolve(node.func) is range

    def _named(self, node: ast.expr) -> tuple[ast.expr, list[ast.stmt]]:
        """What is gone over, with names for what is made for the loop: ``for v in (a, b)``, ``for v in sorted(h)``."""
        if isinstance(node, ast.Call) and self.lengths._word(node) in _PASSED and node.args:  # noqa: SLF001
            parts = [self._named(a) for a in node.args]
            return (ast.copy_location(ast.Call(node.func, [p for p, _ in parts], node.keywords), node),
                    [s for _, before in parts for s in before])  # fmt: skip
        size = self.lengths.of(node)
        if (
            size is None
            or literal_range(node) is not None
            or (isinstance(node, ast.Name) and node.id in self.lengths.known)
        ):
            return node, []
        self.made += 1
        name = f"@{self.stem}_of{self.made}"
        self.lengths.known[name] = size
        names, elements = self.lengths.names, node.elts if isinstance(node, ast.Tuple) else []
        rasters = [e.id for e in elements if isinstance(e, ast.Name) and has_neighbours(names.source, e.id)]
        if len(rasters) == size:
            names.tuples[name] = rasters
            return at_place(load(name), node), []
        value = self.lengths.captured(node) or node
        return at_place(load(name), node), [at_place(ast.Assign([ast.Name(name, ast.Store())], value), node)]


def spelled(tree: ast.FunctionDef, names: Names, given: Mapping[str, int]) -> ast.FunctionDef:
    """Rewrites a folded tree in place where it has arrays or tuples of numbers."""
    lengths = Lengths(names, given)
    used = -1
    while lengths.used > used:  # the length of one may be that of another
        used = lengths.used
        lengths.take_in(tree.body)
        _Counted(lengths).generic_visit(tree)
    Spelled(lengths).generic_visit(tree)
    if lengths.used:
        tree.body = folded(tree.body, names)
    return tree
