"""Elements, slices and arithmetic of whole arrays, lists and tuples: see `tilejit.compiler.arrays.sequences`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.arrays.dicts import LocalDicts
from tilejit.compiler.arrays.text import MOST_WRITTEN, Lengths, at_place
from tilejit.compiler.arrays.wholes import UnlikeError, Whole, by_element, compared, is_written, named
from tilejit.compiler.arrays.written import count_of
from tilejit.compiler.form.captured import TABLES
from tilejit.compiler.form.form import copied, load, stored
from tilejit.compiler.syntax.folding import folded_expression

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.compiler.arrays.wholes import Part, Structure
    from tilejit.compiler.syntax.names import Names

    Shapes = Mapping[str, tuple[str, Structure]]


class WholeElements(LocalDicts):
    """What expressions are, where they are wholes."""

    of_helper: Callable[[ast.Call], Whole | None]
    iterated: Callable[[ast.expr], ast.expr]

    def __init__(self, names: Names, given: Shapes) -> None:
        super().__init__(names)
        self.known: dict[str, tuple[str, Structure]] = dict(given)
        self.constants: dict[str, ast.expr] = {}
        """Variables that are a text, None, or another name of an array, and what they are."""
        self.counts = stored(names.source.tree)
        self.dicts = {}
        self._found: dict[int, tuple[ast.expr, Whole | None]] = {}

    def whole(self, node: ast.expr) -> Whole | None:
        """What an expression is, where it is an array, a list or a tuple of which the text tells the elements."""
        if id(node) not in self._found:  # what it needs before the statement stands there once
            self._found[id(node)] = node, self._whole(node)
        return self._found[id(node)][1]

    def _whole(self, node: ast.expr) -> Whole | None:
        kind = type(node)
        if isinstance(node, ast.Name):
            return self._named(node)
        if isinstance(node, (ast.Tuple, ast.List)):
            return self._listed(node)
        if isinstance(node, ast.BinOp):
            return self._computed(node)
        if isinstance(node, ast.Subscript):
            found = self.at(node)
            return found if isinstance(found, Whole) else None
        if isinstance(node, ast.Call) and (entries := self.of_dict(node)) is not None:
            return entries
        handlers: dict[type, Callable[[Any], Whole | None]] = {
            ast.UnaryOp: self._turned,
            ast.Compare: self._tested,
            ast.Call: lambda call: self.of_call(call) or self.of_helper(call),
            ast.Attribute: self.of_attribute,
            ast.ListComp: self._comprehended,
        }
        return handlers[kind](node) if kind in handlers else None

    def part(self, node: ast.expr) -> Part:
        """An element: a number in the core of the language, or a whole of its own."""
        return self.whole(node) or self.visit(copied(node))

    def _named(self, node: ast.Name) -> Whole | None:
        if node.id in self.constants:
            return self.whole(self.constants[node.id])
        if node.id in self.known:
            return named(node.id, *self.known[node.id])
        if node.id in self.dicts:
            return self.of_dict(node)
        value = self.names.captured(node)
        if (
            value is None
            or isinstance(value, dict)
            or (value.size if isinstance(value, np.ndarray) else len(value)) > MOST_WRITTEN
        ):
            return None
        written = self.lengths().captured(node)
        return None if written is None else self._of_written(node, written)

    def _of_written(self, node: ast.expr, written: ast.Tuple) -> Whole:
        value = self.names.resolve(node)
        word = "array" if isinstance(value, np.ndarray) else "list" if isinstance(value, list) else "tuple"

        def made(part: ast.expr) -> Part:
            return Whole(word, tuple(map(made, part.elts))) if isinstance(part, ast.Tuple) else part

        whole = made(written)
        assert isinstance(whole, Whole)  # noqa: S101 - a tuple
        return whole

    def _listed(self, node: ast.Tuple | ast.List) -> Whole:
        parts: list[Part] = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                inner = self.of_tuple(element.value)
                if inner is None:
                    self.fail(element, "a starred expression", "write the values out")
                parts += inner.parts
            else:
                parts.append(self.part(element))
        return Whole("tuple" if isinstance(node, ast.Tuple) else "list", tuple(parts))

    def _computed(self, node: ast.BinOp) -> Whole | None:
        if isinstance(node.op, ast.MatMult):
            return self.product(node, node.left, node.right)
        left, right = self.whole(node.left), self.whole(node.right)
        if left is None and right is None:
            return None
        both = [w for w in (left, right) if w is not None]
        if isinstance(node.op, ast.Mult) and len(both) == 1 and both[0].word != "array":
            count = self.number(node.right if right is None else node.left)
            return None if count is None else Whole(both[0].word, both[0].parts * count)
        if isinstance(node.op, ast.Add) and len(both) == 2 and "array" not in {w.word for w in both}:
            return Whole(both[0].word, (*both[0].parts, *both[1].parts))
        return self.by_element(node, lambda a, b: ast.BinOp(a, node.op, b), left or self.visit(copied(node.left)),
                               right or self.visit(copied(node.right)))  # fmt: skip

    def by_element(self, node: ast.expr, make: Callable[..., ast.expr], *sides: Part) -> Whole | None:
        """What is made of wholes element by element; None where none is an array."""
        if not any(isinstance(s, Whole) and s.word == "array" for s in sides):
            return None
        try:
            found = by_element(make, *sides)
        except UnlikeError:
            shapes = " and ".join(str(s.shape) for s in sides if isinstance(s, Whole))
            self.fail(node, f"arrays of unlike shapes: {shapes}", "give them one length")
        return found if isinstance(found, Whole) else None

    def _turned(self, node: ast.UnaryOp) -> Whole | None:
        whole = self.whole(node.operand)
        if whole is None or isinstance(node.op, ast.Not):
            return None
        is_truth = isinstance(node.op, ast.Invert) and all(_is_test(e) for e in whole.flat)
        op = ast.Not() if is_truth else node.op
        return self.by_element(node, lambda a: ast.UnaryOp(op, a), whole)

    def _tested(self, node: ast.Compare) -> Whole | None:
        if len(node.ops) != 1 or isinstance(node.ops[0], (ast.In, ast.NotIn, ast.Is, ast.IsNot)):
            return None
        left, right = self.whole(node.left), self.whole(node.comparators[0])
        if left is None and right is None:
            return None
        sides = left or self.visit(copied(node.left)), right or self.visit(copied(node.comparators[0]))
        return self.by_element(node, lambda a, b: ast.Compare(a, [node.ops[0]], [b]), *sides)

    def _comprehended(self, node: ast.ListComp) -> Whole | None:
        node = copied(node)
        for part in node.generators:
            inner = self.whole(part.iter) if self._is_mine(part.iter) else None
            if inner is not None:
                part.iter = at_place(inner.node, part.iter)
            elif not self.has_rows(part.iter):
                part.iter = self.visit(self.iterated(part.iter))
        found = self.lengths().expanded(node)
        return None if found is None else Whole("list", tuple(map(self.part, found)))

    def has_rows(self, node: ast.expr) -> bool:
        """Whether an expression is a variable of two dimensions."""
        return isinstance(node, ast.Name) and node.id in self.names.columns

    def _is_mine(self, node: ast.expr) -> bool:
        """Whether an expression is a whole that the language beneath does not have."""
        return not isinstance(node, (ast.Name, ast.Call)) and self.whole(node) is not None

    def lengths(self) -> Lengths:
        """How long arrays are, for what asks beneath."""
        return Lengths(self.names, {n: len(s) for n, (_, s) in self.known.items()})

    def number(self, node: ast.expr) -> int | None:
        """A literal integer, as far as the text tells."""
        value = folded_expression(self.visit(copied(node)), self.names)
        return value.value if isinstance(value, ast.Constant) and type(value.value) is int else None

    def at(self, node: ast.Subscript) -> Part | None:
        """What a subscript is of a whole."""
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        is_table = self.names.captured(node.value) is not None and not isinstance(self.names.element(node), TABLES)
        is_table = is_table and not any(isinstance(i, ast.Slice) for i in indices)
        whole = None if is_table or is_written(node) else self.of_tuple(node.value)
        if whole is None:
            return None
        return self._chosen(node, whole, list(indices))

    def _chosen(self, node: ast.Subscript, whole: Part, indices: list[ast.expr]) -> Part | None:
        if not indices or not isinstance(whole, Whole):
            return whole if not indices else None
        first, rest = self._slice_of(indices[0]), indices[1:]
        if isinstance(first, ast.Slice):
            bounds = [None if b is None else self.number(b) for b in (first.lower, first.upper, first.step)]
            if any(b is None for b, given in zip(bounds, (first.lower, first.upper, first.step), strict=True) if given):
                self.fail(first, "a slice with ends known only while running",
                          "write a loop: for k in range(first, last)")  # fmt: skip
            parts = [self._chosen(node, p, rest) for p in whole.parts[slice(*bounds)]]
            return None if None in parts else Whole(whole.word, tuple(p for p in parts if p is not None))
        places = self.whole(first)
        if places is not None:
            return self.picked(node, whole, places) if not rest else None
        number = self.number(first)
        if number is not None:
            is_there = -len(whole) <= number < len(whole)
            return self._chosen(node, whole.parts[number], rest) if is_there else None
        return self._running(node, whole, first, rest)

    def _slice_of(self, node: ast.expr) -> ast.expr:
        """``s`` after ``s = slice(1, 3)``."""
        call = self.constants.get(node.id) if isinstance(node, ast.Name) else None
        if not isinstance(call, ast.Call):
            return node
        bounds = [None if isinstance(a, ast.Constant) and a.value is None else a for a in call.args]
        lower, upper, step = [None, *bounds, None] if len(bounds) == 1 else [*bounds, None, None][:3]
        return ast.copy_location(ast.Slice(lower, upper, step), node)

    def _running(self, node: ast.Subscript, whole: Whole, index: ast.expr, rest: list[ast.expr]) -> Part | None:
        """The part at a place that only the run shows."""
        place = self.visit(copied(index))
        if len(whole.shape) == 1:
            is_named = isinstance(node.value, ast.Name) and node.value.id not in self.constants
            is_named = is_named and whole is self.whole(node.value)  # and no row of it
            owner = load(node.value.id) if is_named else ast.Tuple(whole.flat, ast.Load())  # type: ignore[attr-defined]
            return ast.Subscript(at_place(owner, node), place, ast.Load()) if not rest else None
        if rest and isinstance(node.value, ast.Name) and node.value.id in self.names.columns:
            inner = ast.Tuple([place, self.visit(copied(rest[0]))], ast.Load())
            is_number = not isinstance(rest[0], ast.Slice) and self.whole(rest[0]) is None
            return ast.Subscript(load(node.value.id), inner, ast.Load()) if is_number else None
        columns = [list(c) for c in zip(*(p.parts for p in whole.parts if isinstance(p, Whole)), strict=False)]
        if not all(isinstance(e, ast.expr) for c in columns for e in c):
            return None
        parts = tuple(ast.Subscript(ast.Tuple(c, ast.Load()), copied(place), ast.Load()) for c in columns)
        return self._chosen(node, Whole(whole.word, parts), rest)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """An element, or a slice."""
        if (entry := self.entry(node)) is not None:
            return entry
        if isinstance(node.value, ast.Subscript) and (joined := self._joined(node)) is not None:
            return joined
        is_core = isinstance(node.value, ast.Name) and node.value.id in self.known and (
            isinstance(node.slice, (ast.Constant, ast.Name)) and not {node.value.id, getattr(node.slice, "id", "")} &
            {*self.names.columns, *self.known, *self.constants} - {node.value.id})  # fmt: skip
        is_core = is_core and self.known[node.value.id][1] == (None,) * len(self.known[node.value.id][1])  # type: ignore[attr-defined]
        found = self.at(node) if isinstance(node.ctx, ast.Load) and not is_core else None
        if found is None:
            self.generic_visit(node)
            return node
        return at_place(copied(found.node if isinstance(found, Whole) else found), node)  # type: ignore[no-any-return]

    def _joined(self, node: ast.Subscript) -> ast.expr | None:
        """``h[i][j]`` of rows as ``h[i, j]``."""
        inner = node.value
        assert isinstance(inner, ast.Subscript)  # noqa: S101 - as it was asked for
        is_mine = isinstance(inner.value, ast.Name) and inner.value.id in self.names.columns
        if not is_mine or any(isinstance(s, (ast.Slice, ast.Tuple)) for s in (inner.slice, node.slice)):
            return None
        both = ast.copy_location(ast.Tuple([inner.slice, node.slice], ast.Load()), node)
        found: ast.expr = self.visit(ast.copy_location(ast.Subscript(inner.value, both, node.ctx), node))
        return found

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A variable that is a text, None, or another name of an array."""
        value = self.constants.get(node.id) if isinstance(node.ctx, ast.Load) else None
        return node if value is None else at_place(copied(value), node)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Tuples and lists are compared as Python does, and looked through."""
        if len(node.ops) == 1:
            left, right = self.whole(node.left), self.whole(node.comparators[0])
            if isinstance(node.comparators[0], ast.Dict):
                node.comparators = [ast.copy_location(ast.Tuple([k for k in node.comparators[0].keys if k], ast.Load()),
                                                      node.comparators[0])]  # fmt: skip
            if isinstance(node.ops[0], (ast.In, ast.NotIn)) and (within := self.within_range(node)) is not None:
                return at_place(within, node)  # type: ignore[no-any-return]
            if isinstance(node.ops[0], (ast.In, ast.NotIn)) and (grown := self.growing_of(node.comparators[0])):
                given = [load(grown), self.visit(node.left), load(self.count(grown))]
                node.ops = [ast.Gt() if isinstance(node.ops[0], ast.In) else ast.Eq()]
                node.left, node.comparators = ast.Call(self.named_function(count_of), given, []), [ast.Constant(0)]
                return at_place(node, node)  # type: ignore[no-any-return]
            if isinstance(node.ops[0], (ast.In, ast.NotIn)) and right is not None and left is None:
                is_captured = isinstance(node.comparators[0], ast.Name) and node.comparators[0].id not in {
                    *self.known,
                    *self.dicts,
                }
                if not is_captured:
                    node.comparators = [at_place(ast.Tuple(right.flat, ast.Load()), node.comparators[0])]
                node.left = self.visit(node.left)
                return node
            if left is not None and right is not None and "array" not in {left.word, right.word}:
                return at_place(compared(node.ops[0], left, right), node)  # type: ignore[no-any-return]
        self.generic_visit(node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """Arithmetic of wholes."""
        found = self.product_of_two(node) or self.whole(node)
        if found is None or (isinstance(node.op, ast.Mult) and is_repeated(node)):
            self.generic_visit(node)
            return node
        return at_place(found.node if isinstance(found, Whole) else found, node)  # type: ignore[no-any-return]

    def visit_Tuple(self, node: ast.Tuple | ast.List) -> ast.expr:
        """Elements that a star takes out of another."""
        if isinstance(node.ctx, ast.Load) and any(isinstance(e, ast.Starred) for e in node.elts):
            return at_place(self._listed(node).node, node)  # type: ignore[no-any-return]
        self.generic_visit(node)
        return node

    visit_List = visit_Tuple  # noqa: N815 - as ast calls it


def is_repeated(node: ast.BinOp) -> bool:
    """Whether an expression is ``[0.0] * 16``."""
    sides = node.left, node.right
    return any(isinstance(s, ast.List) and len(s.elts) == 1 and not isinstance(s.elts[0], ast.List) for s in sides)


def _is_test(node: ast.expr) -> bool:
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return is_not or isinstance(node, (ast.Compare, ast.BoolOp))
