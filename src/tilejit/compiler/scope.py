"""What is known while one function is lowered."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from tilejit.compiler.form import NOTES, Offset, Value, Window, call
from tilejit.compiler.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from tilejit.compiler.c_functions import CFunction, CPointer
    from tilejit.compiler.form import Function
    from tilejit.compiler.names import Names
    from tilejit.compiler.source import FunctionSource

Interval = tuple[int, int]
"""The least and the largest value that an integer takes."""


class Program(Protocol):
    """The body that a function belongs to: its helpers and what it reads."""

    radius: tuple[int, int] | None
    """The declared radius, if there is one."""
    dtypes: dict[str, np.dtype | None]
    """Raster parameter -> the integer dtype that it is annotated with."""
    is_focal: bool
    """Whether neighbours may be read."""
    all_valid: bool
    """Whether this variant runs where every cell is valid."""
    asks_validity: bool
    """Whether ``is_valid`` was met."""
    has_while: bool
    """Whether a ``while`` was met."""

    @property
    def calls_c(self) -> bool:
        """Whether a C function was met."""
        ...

    def c_function(self, scope: Scope, node: ast.Call, pointer: CPointer, held: tuple[Any, ...]) -> CFunction:
        """Notes a C function that is called, and returns it with its name in the generated module."""
        ...

    def record(self, raster: str, offsets: frozenset[Offset]) -> None:
        """Notes cells that are read."""
        ...

    def helper(self, scope: Scope, node: ast.Call, function: Callable[..., object]) -> tuple[Function, list[ast.expr]]:
        """Lowers a helper for the arguments of one call."""
        ...


@dataclass(slots=True)
class Scope:
    """One function while it is lowered."""

    program: Program
    """The body that it belongs to."""
    source: FunctionSource
    """Its text, for errors."""
    names: Names
    """What its free names mean."""
    windows: dict[str, Window]
    """Its raster parameters."""
    kinds: dict[str, Kind]
    """The kinds of its parameters and of the variables met so far."""
    renamed: dict[str, str]
    """Variables that get another name in the generated source."""
    assigned: set[str] = field(default_factory=set)
    """Variables that hold a value on every path to here."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """Loop variables with literal bounds."""
    returns: list[tuple[Kind, ...]] = field(default_factory=list)
    """The kinds of each return met so far."""
    returns_tuple: bool = False
    """Whether a return gives a tuple."""
    breaks: list[set[str]] = field(default_factory=list)
    """What was assigned at each break of the innermost loop."""
    continues: list[set[str]] = field(default_factory=list)
    """What was assigned at each continue of the innermost loop."""
    uniform: set[str] = field(default_factory=set)
    """Parameters that are the same for every pixel: a test of them alone is no jump that differs between pixels."""
    temporaries: int = 0
    """Names made up so far."""
    prelude: list[ast.stmt] = field(default_factory=list)
    """Statements that must stand before the one that is being lowered."""
    notes: set[str] = field(default_factory=set)
    """What the function notes of its pixel."""

    def fail(self, node: ast.AST, what: str, instead: str) -> NoReturn:
        """Refuses ``node``."""
        self.source.fail(node, what, instead)

    def name(self, name: str) -> str:
        """The variable's name in the generated source."""
        return self.renamed.get(name, name)

    def temporary(self, stem: str) -> str:
        """A new name; the user's own never begin with an underscore in the generated source."""
        self.temporaries += 1
        return f"_{stem}{self.temporaries}"

    def held(self, stem: str, node: ast.expr) -> ast.Name:
        """A name for the value of ``node``, which is then computed once, before the statement."""
        name = self.temporary(stem)
        self.prelude.append(ast.Assign([ast.Name(name, ast.Store())], node))
        return ast.Name(name, ast.Load())

    def remark(self, note: str, test: ast.expr) -> None:
        """Notes something of the pixel where ``test`` is true."""
        self.notes.add(note)
        known = ast.Name(f"_{note}", ast.Load())
        self.prelude.append(ast.Assign([ast.Name(f"_{note}", ast.Store())], ast.BinOp(known, ast.BitOr(), test)))

    @property
    def held_names(self) -> set[str]:
        """The variables of the generated source that hold a value."""
        return {self.name(n) for n in self.assigned} | {f"_{note}" for note in NOTES}

    def note(self, name: str, kind: Kind) -> None:
        """Joins ``kind`` into the kind of a variable: it is the widest of all that are assigned to it."""
        self.kinds[name] = max(kind, self.kinds.get(name, kind))
        self.assigned.add(name)


def cast(value: Value, kind: Kind) -> ast.expr:
    """The value as ``kind``, which is at least its own; literals change in place."""
    node = value.node
    if value.kind is kind:
        return node
    if kind is Kind.FLOAT:
        if isinstance(node, ast.Constant):
            return float_literal(float(node.value))  # type: ignore[arg-type]
        return call("_float", node)
    if isinstance(node, ast.Constant):
        return ast.Constant(int(node.value))  # type: ignore[arg-type]
    return ast.Call(ast.Name("int", ast.Load()), [node], [])


def aside(scope: Scope, lower: Callable[..., Any], *arguments: Any) -> tuple[list[ast.stmt], Any]:
    """Lowers what does not run on every path; returns the statements that must stand before it there, and it."""
    outer, scope.prelude = scope.prelude, []
    result = lower(scope, *arguments)
    prelude, scope.prelude = scope.prelude, outer
    return prelude, result


def cut(scope: Scope, value: ast.expr) -> Value:
    """A float cut to an integer; where it is NaN the pixel has no results."""
    held = scope.held("cut", value)
    scope.remark("undefined", call("_math", ast.Constant("isnan"), held))
    return Value(call("_cut", held), Kind.INT)


def float_literal(value: float) -> ast.expr:
    """A literal in the compute dtype."""
    if value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return ast.Name("_NAN", ast.Load())
    if value in (float("inf"), float("-inf")):
        infinity = ast.Name("_INF", ast.Load())
        return infinity if value > 0 else ast.UnaryOp(ast.USub(), infinity)
    return call("_float", ast.Constant(value))
