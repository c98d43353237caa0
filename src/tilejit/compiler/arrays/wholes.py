"""Arrays, lists and tuples as their elements: what is made of whole ones, in expressions of single numbers.

``np.array([a, b]) * 2`` is the elements ``a * 2`` and ``b * 2``; ``t[1:]`` is those of ``t`` but its first.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tilejit.compiler.form.form import copied, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Part: TypeAlias = "ast.expr | Whole"
    Structure: TypeAlias = "tuple[Structure | None, ...]"
    """How a whole is made up: None for a number."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An array, a list or a tuple, of numbers or of others of these."""

    word: str
    """"array", which arithmetic goes through element by element, or "list" or "tuple"."""
    parts: tuple[Part, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many parts it has, and how many each of them has."""
        inner = self.parts[0].shape if self.parts and isinstance(self.parts[0], Whole) else ()
        return len(self.parts), *inner

    @property
    def flat(self) -> list[ast.expr]:
        """All numbers, row by row."""
        found = ((p.flat if isinstance(p, Whole) else [p]) for p in self.parts)
        return [e for part in found for e in part]

    @property
    def structure(self) -> Structure:
        """How it is made up."""
        return tuple(p.structure if isinstance(p, Whole) else None for p in self.parts)

    @property
    def is_even(self) -> bool:
        """Whether it is of one or two dimensions, with rows of one length."""
        rows = {s if s is None or set(s) == {None} else 0 for s in self.structure}
        return len(rows) == 1 and 0 not in rows

    @property
    def node(self) -> ast.expr:
        """It, written out."""
        parts = [p.node if isinstance(p, Whole) else copied(p) for p in self.parts]
        return (ast.Tuple if self.word == "tuple" else ast.List)(parts, ast.Load())

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def written(node: ast.expr) -> ast.expr:
    """Notes that an expression is one of the language beneath: there ``m[3]`` is a number of ``m``, and here a row."""
    vars(node)["is_written"] = True
    return node


def is_written(node: ast.AST) -> bool:
    """Whether an expression is one of the language beneath."""
    return "is_written" in vars(node)


def named(name: str, word: str, structure: Structure) -> Whole:
    """The whole that a variable holds, whose numbers lie one behind the other."""
    places = iter(range(10**6))

    def made(part: Structure | None) -> Part:
        if part is None:
            return written(ast.Subscript(load(name), ast.Constant(next(places)), ast.Load()))
        return Whole(word, tuple(map(made, part)))

    return Whole(word, tuple(map(made, structure)))


def filled(whole: Whole, names: Iterator[str]) -> Whole:
    """The same structure, of variables."""
    return Whole(whole.word, tuple(filled(p, names) if isinstance(p, Whole) else load(next(names)) for p in whole))


class UnlikeError(Exception):
    """Wholes of which the shapes do not fit."""


def by_element(make: Callable[..., ast.expr], *sides: Part) -> Part:
    """Makes numbers of the numbers that stand in the same places; a number stands in all, and a row in each row.

    Raises:
        UnlikeError: The shapes do not fit.
    """
    depth = max((len(s.shape) for s in sides if isinstance(s, Whole)), default=0)
    if not depth:
        return make(*(copied(s) for s in sides if isinstance(s, ast.expr)))
    deep = [s for s in sides if isinstance(s, Whole) and len(s.shape) == depth]
    size = max(map(len, deep))
    if any(len(s) not in {1, size} for s in deep):
        raise UnlikeError

    def part(side: Part, k: int) -> Part:
        return side.parts[k % len(side)] if isinstance(side, Whole) and len(side.shape) == depth else side

    return Whole("array", tuple(by_element(make, *(part(s, k) for s in sides)) for k in range(size)))


def transposed(whole: Whole) -> Whole:
    """Rows and columns exchanged; of one dimension it stays as it is."""
    if len(whole.shape) < 2:
        return whole
    rows = [row.parts for row in whole.parts if isinstance(row, Whole)]
    return Whole(whole.word, tuple(Whole(whole.word, column) for column in zip(*rows, strict=True)))


def reshaped(whole: Whole, shape: Sequence[int]) -> Whole:
    """The same numbers in another shape, of which one side may be -1.

    Raises:
        UnlikeError: They do not fill it.
    """
    numbers = whole.flat
    known = functools.reduce(lambda a, b: a * b, (s for s in shape if s != -1), 1)
    sides = [len(numbers) // max(known, 1) if s == -1 else s for s in shape]
    if functools.reduce(lambda a, b: a * b, sides, 1) != len(numbers) or len(sides) not in {1, 2}:
        raise UnlikeError
    if len(sides) == 1:
        return Whole("array", tuple(numbers))
    rows = (tuple(numbers[k * sides[1] : (k + 1) * sides[1]]) for k in range(sides[0]))
    return Whole("array", tuple(Whole("array", row) for row in rows))


def compared(operator: ast.cmpop, left: Whole, right: Whole) -> ast.expr:
    """Tuples or lists compared as Python does: by the first elements that differ."""
    is_equal = isinstance(operator, (ast.Eq, ast.NotEq))
    if is_equal or not left.parts or not right.parts:
        tests: list[ast.expr] = [_side(ast.Eq(), *pair) for pair in zip(left.parts, right.parts, strict=False)]
        if len(left) != len(right):
            tests = [ast.Constant(value=False)]
        both = _joined(ast.And(), tests, value=True)
        return ast.UnaryOp(ast.Not(), both) if isinstance(operator, ast.NotEq) else both
    first = left.parts[0], right.parts[0]
    strict: ast.cmpop = ast.Lt() if isinstance(operator, (ast.Lt, ast.LtE)) else ast.Gt()
    if len(left) == len(right) == 1:
        return _side(operator, *first)
    rest = compared(operator, Whole(left.word, left.parts[1:]), Whole(right.word, right.parts[1:]))
    return ast.BoolOp(ast.Or(), [_side(strict, *first), ast.BoolOp(ast.And(), [_side(ast.Eq(), *first), rest])])


def _side(operator: ast.cmpop, left: Part, right: Part) -> ast.expr:
    if isinstance(left, Whole) and isinstance(right, Whole):
        return compared(operator, left, right)
    if isinstance(left, Whole) or isinstance(right, Whole):
        return ast.Constant(isinstance(operator, ast.NotEq))
    return ast.Compare(copied(left), [operator], [copied(right)])


def _joined(operator: ast.boolop, tests: list[ast.expr], *, value: bool) -> ast.expr:
    return tests[0] if len(tests) == 1 else ast.BoolOp(operator, tests) if tests else ast.Constant(value)
