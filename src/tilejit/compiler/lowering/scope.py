"""What is known while one function is lowered, and what both expressions and statements make.

Choices are made without jumps where both sides are cheap: they are both computed, and LLVM turns the loop into vector
code. ``if ok: s += v`` becomes ``s = _select(ok, s + v, s)``. With it and the narrow counters a mean of 5x5 cells that
skips NaN is 2.7 times as fast, a largest value of 5x5 valid cells 16 times (docs/performance.md); the values are the
same, because a body has no side effects.
"""

from __future__ import annotations

import ast
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tilejit.compiler.form.c_functions import CFunction
from tilejit.compiler.form.form import NOTES, Asked, Cell, LocalArray, Neighbourhood, assign, call, load, place_of
from tilejit.compiler.form.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tilejit.compiler.form.c_functions import CPointer
    from tilejit.compiler.form.captured import Changing
    from tilejit.compiler.form.form import Function, Place
    from tilejit.compiler.form.source import FunctionSource
    from tilejit.compiler.form.tables import Table
    from tilejit.compiler.syntax.names import Names

RESERVED = {"f32", "f64", "i32", "i64", "u64", "np", "math", "njit", "prange", "cuda", "tile", "launch", "int",
            "abs", "range", "round", "min", "max", "bool", "float"}  # fmt: skip
"""Names of the generated module; a variable of such a name, or with a leading underscore, gets a trailing one."""

_CHEAP_CALLS = {"_read", "_valid", "_count", "_time", "_table", "_within", "_float", "_minimum", "_maximum", "_select",
                "_cut", "_whole", "abs", "int"}  # fmt: skip
_CHEAP_MATH = {"sqrt", "fabs", "isnan", "isinf", "isfinite", "degrees", "radians", "floor", "ceil", "rint"}
_LIMIT = 240
"""Syntax nodes that both sides of a choice may come to: beyond some tens of operations a jump is cheaper."""


@dataclass(frozen=True, slots=True)
class Value:
    """A lowered expression."""

    node: ast.expr
    kind: Kind
    parts: tuple[Kind, ...] = ()
    """The kinds of its elements, where it is the tuple that a helper returns."""
    cell: ast.Call | None = None
    """The ``_read`` that it comes from, where it is a cell."""
    inside: ast.expr | None = None
    """Where that is at an offset known only while running: whether it lies within the radius."""


@dataclass(slots=True)
class Program:
    """A body while it is lowered with its helpers, for tiles that may hold invalid cells or for those that do not."""

    dtypes: dict[str, np.dtype | None]
    """Raster parameter -> the integer dtype that it is annotated with."""
    is_focal: bool
    radius: tuple[int, int] | None
    """The declared radius, if there is one."""
    all_valid: bool
    """Whether this variant runs where every cell is valid."""
    lower_helper: Callable[[Scope, ast.Call, Callable[..., object]], tuple[Function, list[ast.expr]]]
    """Lowers a helper for the kinds of one call; returns it and the call's arguments."""
    lower_block: Callable[[Scope, Sequence[ast.stmt]], tuple[list[ast.stmt], bool]]
    """Lowers statements that an expression comes to."""
    uniform: set[str]
    """Scalars of the body that are the same for every pixel."""
    footprint: dict[str, frozenset[Cell]]
    c_functions: dict[CPointer, CFunction]
    """Both variants stand in one module, where each C function has one name: the second one is given the first's."""
    tables: dict[tuple[Any, ...], Table]
    """What of a captured object is indexed -> its array; the second variant is given those of the first."""
    changing: dict[int, Changing] = field(default_factory=dict)
    """The captured objects that may be changed in place."""
    limit: int = 0
    """Statements that the body's loops may come to when they are written out."""
    layers: int = 0
    """How many layers stacks have, as far as arrays of their length are concerned; 0 where that is not known yet."""
    is_sized: bool = False
    """Whether there are such arrays."""
    has_times: bool = False
    """Whether functions with a stack take a table of times."""
    reads_times: bool = False
    """Whether one was asked for."""
    by_layer: bool = False
    """Whether the body gives a value for each layer."""
    asks_validity: bool = False
    has_while: bool = False
    asked: dict[ast.expr, Asked] = field(default_factory=dict)
    """Subscripts that ask for what may not be there; see `Form.asked`."""
    joined: dict[Place, set[bool]] = field(default_factory=dict)
    """The same of all functions."""
    functions: dict[object, Function] = field(default_factory=dict)
    writers: set[str] = field(default_factory=set)
    """Those of them that write to arrays which they are given."""
    active: list[Callable[..., object]] = field(default_factory=list)
    """The functions that are being lowered, each called by the one before."""
    locals: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    """Names of functions in the generated module."""

    @property
    def calls_c(self) -> bool:
        """Whether a C function was met."""
        return bool(self.c_functions)

    def c_function(self, scope: Scope, node: ast.Call, pointer: CPointer, held: tuple[Any, ...]) -> CFunction:
        """Notes a C function that is called, and returns it with its name in the generated module."""
        if pointer not in self.c_functions:
            name = self.free_name(ast.unparse(node.func).rpartition(".")[2])
            self.c_functions[pointer] = CFunction(name, pointer, held, scope.source, node)
        return self.c_functions[pointer]

    def free_name(self, name: str) -> str:
        """A name for a function in the generated module, which no variable has."""
        plain = f"{name}_" if name in RESERVED or name.startswith("_") else name
        if plain.startswith("_"):
            plain = f"helper{plain}"
        candidates = itertools.chain([plain], (f"{plain}_{k}" for k in itertools.count(2)))
        free = next(c for c in candidates if c not in self.locals | self.taken | RESERVED)
        self.taken.add(free)
        return free


@dataclass(slots=True)
class Scope:
    """One function while it is lowered."""

    program: Program
    source: FunctionSource
    names: Names
    windows: dict[str, Neighbourhood]
    """Its raster parameters."""
    kinds: dict[str, Kind]
    """The kinds of its parameters and of the variables met so far."""
    renamed: dict[str, str]
    """Variables that get another name in the generated source."""
    assigned: set[str] = field(default_factory=set)
    """Variables that hold a value on every path to here."""
    intervals: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Loop variables with literal bounds: the least and the largest value."""
    returns: list[tuple[Kind, ...]] = field(default_factory=list)
    """The kinds of each return met so far."""
    returns_tuple: bool = False
    by_layer: bool = False
    """Whether it returns an array of a value for each layer."""
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
    arrays: dict[str, LocalArray] = field(default_factory=dict)
    """Its arrays, by their names in its text."""
    given: frozenset[str] = frozenset()
    """Those of them that the caller gives."""
    tuples: dict[str, int] = field(default_factory=dict)
    """Variables that are tuples, and how long they are."""
    spans: Callable[[], Mapping[str, tuple[float, float]]] = dict
    """Between which numbers its variables lie, wherever it has come to."""
    counters: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Between which numbers lie those that have a value so far: what is assigned before, outside loops."""
    guards: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Between which numbers counters of while loops lie here; see `tilejit.compiler.lowering.guards`."""
    made: int = 0
    """Variables made up for what has no name in the text, in the order of the text."""
    joined: dict[Place, set[bool]] = field(default_factory=dict)
    """Where values of several kinds meet, and whether they become floats there."""
    writes: bool = False
    """Whether it writes to arrays that it is given."""
    bare: ast.expr | None = None
    """The call that is a statement by itself."""
    whole: ast.expr | None = None
    """The call that is a statement's whole value: there alone a helper may write to arrays."""

    def fail(self, node: ast.AST, what: str, instead: str) -> NoReturn:
        """Refuses ``node``."""
        self.source.fail(node, what, instead)

    def name(self, name: str) -> str:
        """The variable's name in the generated source."""
        return f"_{name.replace('@', '_')}" if "@" in name else self.renamed.get(name, name)

    def temporary(self, stem: str) -> str:
        """A new name; the user's own never begin with an underscore in the generated source."""
        self.temporaries += 1
        return f"_{stem}{self.temporaries}"

    def held(self, stem: str, node: ast.expr) -> ast.Name:
        """A name for the value of ``node``, which is then computed once, before the statement."""
        name = self.temporary(stem)
        self.prelude.append(assign(name, node))
        return load(name)

    def remark(self, note: str, test: ast.expr) -> None:
        """Notes something of the pixel where ``test`` is true."""
        self.notes.add(note)
        self.prelude.append(assign(f"_{note}", ast.BinOp(load(f"_{note}"), ast.BitOr(), test)))

    @property
    def held_names(self) -> set[str]:
        """The variables of the generated source that hold a value."""
        return {self.name(n) for n in self.assigned} | {f"_{note}" for note in NOTES}

    @property
    def known_spans(self) -> dict[str, tuple[float, float]]:
        """Between which numbers variables lie, and the cells of rasters of integers."""
        cells: dict[str, tuple[float, float]] = {}
        for name, window in self.windows.items():
            dtype = self.program.dtypes[window.raster]
            if dtype is not None and dtype.itemsize < 8:
                limits = np.iinfo(dtype)
                cells[name] = (float(limits.min), float(limits.max))
        found = dict(self.spans())
        for name, (low, high) in self.counters.items():
            other = found.get(name, (low, high))
            found[name] = max(low, other[0]), min(high, other[1])
        found |= self.guards
        lengths = {f"len({name})": (array.size, array.size) for name, array in self.arrays.items()}
        return {**found, **cells, **lengths, **self.intervals}

    def join(self, node: ast.expr, kind: Kind, kinds: Iterable[Kind]) -> None:
        """Notes a place where values of some kinds become one of another kind: whether that is a float."""
        if kind is not Kind.FLOAT or set(kinds) != {kind}:
            self.joined.setdefault(place_of(self.source.function, node), set()).add(kind is Kind.FLOAT)

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
        return float_literal(float(node.value)) if isinstance(node, ast.Constant) else call("_float", node)  # type: ignore[arg-type]
    return ast.Constant(int(node.value)) if isinstance(node, ast.Constant) else call("int", node)  # type: ignore[arg-type]


def float_literal(value: float) -> ast.expr:
    """A literal in the compute dtype."""
    if value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return load("_NAN")
    if value in (float("inf"), float("-inf")):
        return load("_INF") if value > 0 else ast.UnaryOp(ast.USub(), load("_INF"))
    return call("_float", ast.Constant(value))


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


def choice(test: ast.expr, yes: ast.expr, no: ast.expr) -> ast.expr:
    """``yes if test else no``, without a jump where both are cheap."""
    return call("_select", test, yes, no) if _is_cheap([yes, no]) else ast.IfExp(test, yes, no)


def branched(scope: Scope, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt],
             *held: str) -> list[ast.stmt]:  # fmt: skip
    """An if that an expression comes to, without a jump where both branches are cheap."""
    made = {scope.name(n) for n in scope.assigned if n.startswith("@")}  # in the branch that uses it
    names = (scope.held_names - made) | set(held)
    return as_selects(test, body, orelse, names, scope.temporary("test")) or [ast.If(test, body, orelse)]


def as_selects(test: ast.expr, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt], held: set[str],
               temporary: str) -> list[ast.stmt] | None:  # fmt: skip
    """Turns an ``if`` whose branches only assign cheap values into assignments without a jump, or returns None.

    ``held`` are the variables that hold a value before it; others may be overwritten on both paths. ``temporary`` is a
    free name for the condition.
    """
    first, second = _assignments(body), _assignments(orelse)
    if first is None or second is None or not _is_cheap([v for _, v in (*first, *second)]):
        return None
    if len(first) == len(second) == 1 and first[0][0] == second[0][0]:
        return [assign(first[0][0], call("_select", test, first[0][1], second[0][1]))]
    result: list[ast.stmt] = []
    if len(first) + len(second) > 1:
        result.append(assign(temporary, test))
        test = load(temporary)
    held = set(held)
    for branch, pairs in ((True, first), (False, second)):
        for name, value in pairs:
            sides = (value, load(name)) if branch else (load(name), value)
            result.append(assign(name, call("_select", test, *sides) if name in held else value))
            held.add(name)
    return result


def _assignments(block: Sequence[ast.stmt]) -> list[tuple[str, ast.expr]] | None:
    """The names and values of a block that only assigns, or None."""
    pairs = []
    for statement in block:
        if isinstance(statement, ast.Pass):
            continue
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            return None
        pairs.append((statement.targets[0].id, statement.value))
    return pairs


def _is_cheap(expressions: Sequence[ast.expr]) -> bool:
    nodes = [node for e in expressions for node in ast.walk(e)]
    return len(nodes) <= _LIMIT and all(map(_is_cheap_node, nodes))


def _is_cheap_node(node: ast.AST) -> bool:
    if isinstance(node, ast.IfExp):
        return False
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.FloorDiv, ast.Mod, ast.Pow)):
        return isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant)
    if not isinstance(node, ast.Call):
        return True
    name = node.func.id if isinstance(node.func, ast.Name) else "int"  # np.float32
    if name == "_math":
        return isinstance(node.args[0], ast.Constant) and node.args[0].value in _CHEAP_MATH
    return name in _CHEAP_CALLS
