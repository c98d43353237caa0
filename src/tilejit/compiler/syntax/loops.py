"""Loops over tables and tuples, written as loops over an index; and rows of tables, taken apart.

``for dy, dx in OFFSETS`` becomes ``for k in range(8)`` with ``dy = OFFSETS[k][0]`` and ``dx = OFFSETS[k][1]``, which is
then written out as any loop over a literal range is, or stays a loop.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.captured import TABLES, plain_number
from tilejit.compiler.form.form import assign, copied, load, stored
from tilejit.compiler.form.tables import TableError, read_table
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tilejit.compiler.form.kinds import Kind
    from tilejit.compiler.syntax.names import Names

    At = Callable[[ast.expr], ast.expr]


def over_indices(tree: ast.AST, names: Names, made: int = 0) -> None:
    """Rewrites the loops over tables and tuples in a function, and what takes a table's row apart, in place.

    ``made`` is how many names were made up in it before.

    Raises:
        KernelError: What is looped over and the variables do not fit each other.
    """
    _Rewriter(names, made).generic_visit(tree)


def length_of(names: Names, node: ast.expr) -> int | None:
    """Returns how many elements a captured table has, or a row of one that is chosen while running; or None."""
    found = names.element(node)
    if isinstance(found, TABLES):
        return len(found)
    table = names.element(node.value) if isinstance(node, ast.Subscript) else None
    if not isinstance(table, TABLES) or isinstance(table, dict) or isinstance(getattr(node, "slice", None), ast.Tuple):
        return None
    try:
        values = read_table(table).values
    except TableError:
        return None
    return values.shape[1] if values.ndim == 2 else None


def kind_of_element(names: Names, node: ast.Subscript) -> Kind | None:
    """Returns the kind that a table's elements have where only the run shows which is chosen."""
    indices: list[ast.expr] = []
    base: ast.expr = node
    while isinstance(base, ast.Subscript):
        indices = [*(base.slice.elts if isinstance(base.slice, ast.Tuple) else [base.slice]), *indices]
        base = base.value
    table = names.captured(base)
    try:
        content = read_table(table)
    except TableError:
        return None
    column = getattr(indices[-1], "value", 0)
    return content.kinds[column] if len(content.kinds) > 1 else content.kind


@dataclass(frozen=True, slots=True)
class _Items:
    """What a loop goes over."""

    count: int
    at: At
    """An index -> the item, as an expression: a tuple of such where it has parts."""


@functools.lru_cache(maxsize=256)
def _literal(text: str) -> Any:
    """The numbers of a tuple that is written out: one object for one text."""
    return ast.literal_eval(text)


class _Rewriter(ast.NodeTransformer):
    def __init__(self, names: Names, made: int) -> None:
        self.names = names
        self.made = made

    def visit(self, node: ast.AST) -> Any:
        return super().visit(node) if isinstance(node, ast.stmt) else node

    def temporary(self, stem: str) -> str:
        """A name that no variable has: those of the user do not begin with an underscore in generated source."""
        self.made += 1
        return f"_{stem}_{self.made}"

    def visit_Assign(self, node: ast.Assign) -> ast.stmt | list[ast.stmt]:
        """``dy, dx = OFFSETS[k]``."""
        target = node.targets[0]
        is_plain = isinstance(target, ast.Tuple) and all(isinstance(t, (ast.Name, ast.Subscript)) for t in target.elts)
        count = length_of(self.names, node.value) if is_plain else None
        if count is None or len(node.targets) > 1 or not isinstance(target, ast.Tuple):
            return node
        if count != len(target.elts):
            self.names.source.fail(node, f"{counted(count, 'value')} for {counted(len(target.elts), 'variable')}",
                                   "give each value one variable")  # fmt: skip
        before: list[ast.stmt] = []
        row = node.value
        if isinstance(row, ast.Subscript) and any(isinstance(n, ast.Call) for n in ast.walk(row.slice)):
            held = self.temporary("row")
            before.append(_placed(assign(held, row.slice), node))
            row = _placed(ast.Subscript(row.value, load(held), ast.Load()), row)
        parts: list[ast.expr] = [self.element(row, ast.Constant(k)) for k in range(count)]
        return [*before, _placed(ast.Assign([target], ast.Tuple(parts, ast.Load())), node)]

    def visit_For(self, loop: ast.For) -> ast.stmt:
        items = None if _is_range(loop.iter) and isinstance(loop.target, ast.Name) else self.items(loop.iter)
        if items is None:
            self.generic_visit(loop)
            return loop
        name, body = self.temporary("each"), loop.body
        bound: list[ast.Assign] = []
        for target, item in self.bound(loop.target, items.at(_placed(load(name), loop.iter))):
            if isinstance(item, ast.Tuple) or length_of(self.names, item) is not None:  # a row, by one name
                body = [_Alias(target.id, item).visit(statement) for statement in copied(body)]
                continue
            made = _placed(ast.Assign([target], item), target)
            vars(made)["is_bound"] = target.id not in stored(*body)
            bound.append(made)
        places = _placed(ast.Call(load("range"), [ast.Constant(items.count)], []), loop.iter)
        made_loop: ast.For = _placed(ast.For(ast.Name(name, ast.Store()), places, body, loop.orelse), loop)
        self.generic_visit(made_loop)
        made_loop.body = [*bound, *made_loop.body]
        return made_loop

    def bound(self, target: ast.expr, item: ast.expr) -> Iterator[tuple[ast.Name, ast.expr]]:
        """The variables of a loop, each with its part of an item."""
        if isinstance(target, ast.Name):
            yield target, item
            return
        parts = item.elts if isinstance(item, ast.Tuple) else None
        count = length_of(self.names, item) if parts is None else len(parts)
        if not isinstance(target, ast.Tuple) or count is None:
            self.names.source.fail(target, f"an item of this loop for {ast.unparse(target)}, which is one number",
                                   "loop over one variable")  # fmt: skip
        if count != len(target.elts):
            self.names.source.fail(target, f"{counted(count, 'value')} for {counted(len(target.elts), 'variable')}",
                                   "give each value one variable")  # fmt: skip
        for k, element in enumerate(target.elts):
            yield from self.bound(element, self.element(item, ast.Constant(k)) if parts is None else parts[k])

    def element(self, table: ast.expr, index: ast.expr) -> ast.expr:
        """An element, the number itself where literals choose it."""
        node: ast.Subscript = _placed(ast.Subscript(copied(table), index, ast.Load()), table)
        number = plain_number(self.names.element(node))
        return ast.copy_location(ast.Constant(number), table) if number is not None else node

    def items(self, node: ast.expr) -> _Items | None:
        """What a loop goes over, unless that is a range whose bounds only the run shows."""
        if isinstance(node, ast.Tuple):
            return self.written(node)
        function = self.names.resolve(node.func) if isinstance(node, ast.Call) else None
        made: tuple[tuple[Any, Callable[..., _Items | None]], ...] = (
            (enumerate, self.enumerated), (zip, self.zipped), (reversed, self.backwards), (range, self.counted),
        )  # fmt: skip
        for known, make in made:
            if function is known:
                return make(node)
        if isinstance(node, ast.Call):
            return self.of_dict(node)
        found = self.names.element(node)
        if isinstance(found, dict):
            return self.written(ast.Tuple([ast.Constant(k) for k in found], ast.Load()))
        count = length_of(self.names, node)
        return None if count is None else _Items(count, lambda k: self.element(node, k))

    def written(self, node: ast.Tuple) -> _Items | None:
        """A tuple of numbers that is written out: it becomes a table. One of anything else is no table."""
        is_constant = all(isinstance(n, (ast.Tuple, ast.Constant, ast.Load)) for n in ast.walk(node))
        if not node.elts or not is_constant:
            return None
        name = self.temporary("values")
        self.names.free[name] = _literal(ast.unparse(node))
        return _Items(len(node.elts), lambda k: self.element(_placed(load(name), node), k))

    def of_dict(self, node: ast.Call) -> _Items | None:
        """``D.items()``, ``D.keys()``, ``D.values()``."""
        owner = self.names.captured(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if not isinstance(owner, dict) or node.args or node.func.attr not in {"items", "keys", "values"}:  # type: ignore[attr-defined]
            return None
        entries = tuple(getattr(owner, node.func.attr)())  # type: ignore[attr-defined]
        return self.written(ast.parse(repr(entries), mode="eval").body)  # type: ignore[arg-type]

    def counted(self, node: ast.Call) -> _Items | None:
        bounds = [a.value for a in node.args if isinstance(a, ast.Constant) and type(a.value) is int]
        if len(bounds) != len(node.args) or not 1 <= len(bounds) <= 3 or bounds[2:] == [0]:
            return None
        values = range(*bounds)
        return _Items(len(values), lambda k: _sum(values.start, ast.BinOp(k, ast.Mult(), ast.Constant(values.step))))

    def enumerated(self, node: ast.Call) -> _Items | None:
        first = [*node.args[1:], *(k.value for k in node.keywords if k.arg == "start"), ast.Constant(0)][0]
        items = self.items(node.args[0]) if node.args and isinstance(first, ast.Constant) else None
        if items is None:
            return None
        start = int(first.value)  # type: ignore[attr-defined]
        return _Items(items.count, lambda k: ast.Tuple([_sum(start, k), items.at(copied(k))], ast.Load()))

    def backwards(self, node: ast.Call) -> _Items | None:
        items = self.items(node.args[0]) if len(node.args) == 1 else None
        if items is None:
            return None
        return _Items(items.count, lambda k: items.at(ast.BinOp(ast.Constant(items.count - 1), ast.Sub(), k)))

    def zipped(self, node: ast.Call) -> _Items | None:
        columns = [self.items(a) for a in node.args]
        known = [c for c in columns if c is not None]
        if not columns or len(known) < len(columns):
            return None
        counts = [c.count for c in known]
        if len(set(counts)) > 1 and any(k.arg == "strict" for k in node.keywords):
            self.names.source.fail(node, f"zip over {' and '.join(map(str, counts))} elements",
                                   "give what is zipped one length")  # fmt: skip
        return _Items(min(counts), lambda k: ast.Tuple([c.at(copied(k)) for c in known], ast.Load()))


class _Alias(ast.NodeTransformer):
    """Puts an expression in the place of a variable."""

    def __init__(self, name: str, value: ast.expr) -> None:
        self.name, self.value = name, value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        is_it = node.id == self.name and isinstance(node.ctx, ast.Load)
        return _placed(copied(self.value), node) if is_it else node


def _is_range(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"


def _sum(start: int, node: ast.expr) -> ast.expr:
    return ast.BinOp(node, ast.Add(), ast.Constant(start)) if start else node


def _placed(node: Any, at: ast.AST) -> Any:
    """A new node, that refusals show at the place of another."""
    return ast.fix_missing_locations(ast.copy_location(node, at))
