"""Short local arrays as variables, one for each element, so that pixels are computed beside each other.

An element that data choose is memory, and no vector: a histogram goes pixel by pixel. Where elements are few, each is a
variable that takes what is stored or keeps what it has: ``n3 = n3 + 1 if c == 3 else n3``. A majority of 3x3 cells of
eight classes does a hundred such steps for four pixels or more at once, and takes half of the time.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tilejit.compiler.form.form import OWN, Renamer, assign, call, copied, is_call, load
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.syntax.folding import literal_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tilejit.compiler.form.form import Form, LocalArray

_MOST_ELEMENTS, _MOST_STEPS = 16, 160
"""The longest array, and how many steps a pixel may take for what data choose: beyond, memory is as fast."""
_VECTORS = {*OWN, "sqrt", "fabs", "isnan", "isinf", "isfinite", "floor", "ceil", "rint"}
"""Functions of ``math`` that are vector code."""


class _UnfitError(Exception):
    """The body is left as it is."""


def spread(form: Form) -> Form | None:
    """Returns a body whose arrays are variables, or None where it has none that can be, or gains nothing."""
    body = form.body
    fits = all(a.size <= _MOST_ELEMENTS and a.kind is not Kind.BOOL for a in body.arrays)
    is_alone = len(form.functions) == 1 and not (form.has_while or form.c_functions or body.result)
    if not (body.arrays and fits and is_alone):
        return None
    spreader = _Spreader({a.name: a for a in body.arrays}, _uses(body.body))
    try:
        statements = [s for block in spreader.statements(body.body) for s in block]
    except _UnfitError:
        return None
    if not 0 < spreader.steps <= _MOST_STEPS:
        return None
    fixed = tuple(map(ast.fix_missing_locations, statements))
    return replace(form, functions=(replace(body, body=fixed, arrays=()),))


def _uses(block: Sequence[ast.stmt]) -> dict[str, int]:
    """How often each variable is read."""
    counts: dict[str, int] = {}
    for node in (n for s in block for n in ast.walk(s)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            counts[node.id] = counts.get(node.id, 0) + 1
    return counts


@dataclass
class _Spreader(ast.NodeTransformer):
    """Goes through the statements of one body."""

    arrays: dict[str, LocalArray]
    uses: dict[str, int]
    steps: int = 0
    """What a pixel does for elements that data choose."""
    values: dict[str, frozenset[int]] = field(default_factory=dict)
    """The integers that a variable may be, where they are few."""
    made: int = 0
    """Names made up so far."""
    before: list[ast.stmt] = field(default_factory=list)
    """Statements that must stand before the one that is being made."""

    def statements(self, block: Sequence[ast.stmt]) -> Iterator[list[ast.stmt]]:
        """The statements that each of a block becomes."""
        at = 0
        while at < len(block):
            statement, *rest = block[at:]
            changed = self._changed(statement, rest[0]) if rest else None
            at += 1 if changed is None else 2
            made = self._statement(statement) if changed is None else changed
            before, self.before = self.before, []
            yield [*before, *made]

    def _statement(self, statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, ast.For):
            return self._loop(statement)
        if isinstance(statement, ast.Return):
            return [self.visit(copied(statement))]
        if not isinstance(statement, ast.Assign) or len(statement.targets) > 1:
            raise _UnfitError
        target = statement.targets[0]
        if isinstance(target, ast.Name) and target.id in self.arrays:
            zero = ast.Constant(0)
            first = zero if self.arrays[target.id].kind is Kind.INT else call("_float", ast.Constant(0.0))
            return [assign(self._element(target.id, k), copied(first)) for k in range(self.arrays[target.id].size)]
        if isinstance(target, ast.Subscript):
            return self._stored(target, statement.value)
        if not isinstance(target, ast.Name):
            raise _UnfitError
        value = self.visit(copied(statement.value))
        self.values.pop(target.id, None)
        if (possible := self._possible(value)) is not None:
            self.values[target.id] = possible
        return [assign(target.id, value)]

    def _loop(self, loop: ast.For) -> list[ast.stmt]:
        """A loop of few rounds, written out."""
        numbers = literal_range(loop.iter)
        if not numbers or len(numbers) > _MOST_ELEMENTS or loop.orelse or not isinstance(loop.target, ast.Name):
            raise _UnfitError
        name, result = loop.target.id, list[ast.stmt]()
        for number in numbers:
            block = [_Literal(name, number).visit(copied(s)) for s in loop.body]
            result += [s for made in self.statements(block) for s in made]
        return result

    def _changed(self, read: ast.stmt, write: ast.stmt) -> list[ast.stmt] | None:
        """``e = a[i]`` and ``a[i] = e + 1``, where ``e`` is used nowhere else: each element is changed or not."""
        if not (isinstance(read, ast.Assign) and isinstance(write, ast.Assign)):
            return None
        cell, place, held = read.value, write.targets[0], read.targets[0]
        if not (isinstance(cell, ast.Subscript) and isinstance(place, ast.Subscript) and isinstance(held, ast.Name)):
            return None
        array, reads = place.value, _uses([ast.Expr(write.value)]).get(held.id, 0)
        is_literal = isinstance(place.slice, ast.Constant) or not isinstance(array, ast.Name)
        if is_literal or ast.unparse(cell) != ast.unparse(place) or reads != self.uses.get(held.id, 0):
            return None
        index = self._index(place)
        assert isinstance(array, ast.Name) and index is not None  # noqa: S101, PT018 - as was asked
        value = self.visit(copied(write.value))
        return self._chosen(array.id, index, lambda name: Renamer({held.id: name}).visit(copied(value)))

    def _stored(self, place: ast.Subscript, value: ast.expr) -> list[ast.stmt]:
        """An element that is given a value."""
        index, array, value = self._index(place), place.value, self.visit(copied(value))
        if not isinstance(array, ast.Name):
            raise _UnfitError
        if index is None:
            return [assign(self._element(array.id, self._literal(place)), value)]
        self.made += 1
        held = f"_stored_{self.made}"
        return [assign(held, value), *self._chosen(array.id, index, lambda _: load(held))]

    def _chosen(self, array: str, index: str, value: Callable[[str], ast.expr]) -> list[ast.stmt]:
        """All elements that an index may be of: one takes a value, and the others keep theirs."""
        result: list[ast.stmt] = []
        for k in self._places(array, index):
            name = self._element(array, k)
            result.append(assign(name, call("_select", _is(index, k), value(name), load(name))))
        self.steps += len(result)
        return result

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """An element that is read."""
        if not isinstance(node.value, ast.Name) or node.value.id not in self.arrays:
            raise _UnfitError
        array, index = node.value.id, self._index(node)
        if index is None:
            return load(self._element(array, self._literal(node)))
        *places, last = self._places(array, index)
        self.steps += len(places)
        chosen: ast.expr = load(self._element(array, last))
        for k in places:
            chosen = call("_select", _is(index, k), load(self._element(array, k)), chosen)
        return chosen

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """An array as a whole is memory."""
        if node.id in self.arrays:
            raise _UnfitError
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Functions that are no vector code gain nothing."""
        if is_call(node, "_math") and node.args[0].value not in _VECTORS:  # type: ignore[attr-defined]
            raise _UnfitError
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_IfExp(self, _: ast.IfExp) -> ast.expr:
        """Nor do jumps."""
        raise _UnfitError

    def _index(self, node: ast.Subscript) -> str | None:
        """The variable that an index is, or is made; None of a literal."""
        if isinstance(node.slice, ast.Constant):
            return None
        if isinstance(node.slice, ast.Name):
            return node.slice.id
        self.made += 1
        name, value = f"_place_{self.made}", self.visit(copied(node.slice))
        if (possible := self._possible(value)) is not None:
            self.values[name] = possible
        self.before.append(assign(name, value))
        return name

    def _literal(self, node: ast.Subscript) -> int:
        return int(node.slice.value)  # type: ignore[attr-defined]

    def _places(self, array: str, index: str) -> list[int]:
        """The elements that an index may be of."""
        every = range(self.arrays[array].size)
        return sorted(set(every) & self.values.get(index, frozenset(every)))

    def _possible(self, node: ast.expr) -> frozenset[int] | None:
        """The integers that a value may be; None where these are many."""
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return frozenset({node.value})
        if isinstance(node, ast.Name):
            return self.values.get(node.id)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd) and isinstance(node.right, ast.Constant):
            most = int(node.right.value)  # type: ignore[arg-type]
            return frozenset(range(most + 1)) if 0 <= most < _MOST_ELEMENTS else None
        if is_call(node, "_select"):
            sides = [self._possible(side) for side in node.args[1:]]  # type: ignore[attr-defined]
            return None if None in sides else frozenset().union(*sides)  # type: ignore[arg-type]
        return None

    def _element(self, array: str, k: int) -> str:
        """The variable that an element is."""
        return f"_{array}_{k}"


class _Literal(ast.NodeTransformer):
    """Puts a literal in the place of a variable."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replaces the variable."""
        return ast.Constant(self.number) if node.id == self.name else node


def _is(index: str, k: int) -> ast.expr:
    return ast.Compare(load(index), [ast.Eq()], [ast.Constant(k)])
