"""What is known while one function is lowered."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from tilejit.language.form import Offset, Value, Window, call
from tilejit.language.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.language.c_functions import CFunction, CPointer
    from tilejit.language.form import Function
    from tilejit.language.names import Names
    from tilejit.language.source import FunctionSource

Interval = tuple[int, int]
"""The least and the largest value that an integer takes."""


class Program(Protocol):
    """The body that a function belongs to: its helpers and what it reads."""

    radius: tuple[int, int] | None
    """The declared radius, if there is one."""
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


def float_literal(value: float) -> ast.expr:
    """A literal in the compute dtype."""
    if value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return ast.Name("_NAN", ast.Load())
    if value in (float("inf"), float("-inf")):
        infinity = ast.Name("_INF", ast.Load())
        return infinity if value > 0 else ast.UnaryOp(ast.USub(), infinity)
    return call("_float", ast.Constant(value))
