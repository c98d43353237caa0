"""A body whose loops stand outside the loop over the pixels of a row, as `interchange` makes it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tilejit.compiler.form.form import Form, Function, LocalArray
    from tilejit.compiler.form.kinds import Kind


@dataclass(frozen=True, slots=True)
class Section:
    """Statements that are computed for one pixel of a row after the other."""

    function: Function
    """What computes them: it returns variables, the last one of a body the results."""
    variables: tuple[str, ...]
    """The variables that it returns."""


@dataclass(frozen=True, slots=True)
class Sort:
    """The arrays of all pixels are sorted."""

    array: LocalArray
    count: str
    """The variable that says how many elements."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop that all pixels of a row go through together."""

    target: str
    bounds: tuple[ast.expr, ...]
    block: tuple[Part, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it goes over all layers."""
        first = self.bounds[0]
        return len(self.bounds) == 1 and isinstance(first, ast.Call) and ast.unparse(first.func) == "_count"


@dataclass(frozen=True, slots=True)
class Once:
    """An assignment that is computed once for all pixels of a row."""

    statement: ast.stmt


@dataclass(frozen=True, slots=True)
class Branch:
    """A choice that all pixels of a row make alike."""

    test: ast.expr
    block: tuple[Part, ...]
    orelse: tuple[Part, ...]


Part = Section | Sort | Once | Branch | Loop


@dataclass(frozen=True, slots=True)
class Nest:
    """A body whose loops over layers stand outside the loop over the pixels of a row."""

    block: tuple[Part, ...]
    """What is computed; a section that ends the body is the last."""
    shared: dict[str, Kind]
    """The variables that several sections have."""
    form: Form
    """The body that it is made of."""
    arrays: tuple[LocalArray, ...] = ()
    """The body's arrays; with any a row is cut into pieces."""
    helpers: tuple[Function, ...] = ()
    """The functions that are given such arrays, each for a pixel among others."""
    lanes: int = 0
    """How many pixels such a piece has."""

    @property
    def functions(self) -> list[Function]:
        """The functions of all sections."""
        return [part.function for part in parts_of(self.block) if isinstance(part, Section)]

    @property
    def is_unsigned(self) -> bool:
        """Whether columns are unsigned numbers, which are tested for no sign: 0.55 of a microsecond instead of 0.75.

        They are in pieces of rows, where no offset is added to them.
        """
        return bool(self.arrays) and self.form.radius == (0, 0)

    @property
    def sorts(self) -> list[Sort]:
        """Where arrays are sorted."""
        return [part for part in parts_of(self.block) if isinstance(part, Sort)]


def parts_of(block: Sequence[Part]) -> Iterator[Section | Sort | Once]:
    """Yields what a block, its loops and its branches hold, in order."""
    for part in block:
        if isinstance(part, (Loop, Branch)):
            yield from parts_of((*part.block, *getattr(part, "orelse", ())))
        else:
            yield part
