"""The target-neutral form of a body: typed functions over a few pseudo-operations that each target spells out.

The functions are Python syntax trees. Where targets differ they hold a call of a reserved name:

=====================  ====================================================================================
``_read(z, dy, dx)``   the cell of ``z`` at an offset, as a value of the body; of a stack, ``_read(t, k, dy, dx)``
``_valid(z, dy, dx)``  whether that cell of an integer raster is valid
``_count(t)``          how many layers a stack has
``_time(_times, k)``   when a layer was taken; each function that has a stack then takes ``_times`` as its last scalar
``_table(name, i)``    an element of a table, by its name among the form's; of two dimensions, ``_table(name, i, j)``
``_within(i, n)``      ``i`` where that is from 0 to n - 1, and n elsewhere
``_float(e)``          ``e`` in the compute dtype (literals too)
``_math(name, …)``     a function of ``math``
``_minimum(a, b)``     ``b if b < a else a``, as Python's min; ``_maximum`` likewise
``_c(name, …)``        a C function, by its name among the form's
``_select(t, a, b)``   ``a if t else b`` where both are cheap enough to compute
``_whole(a + b)``      a sum, difference or product of integers, which wraps at 64 bits
``_cut(e)``            the float ``e`` cut towards zero, held within 64 bits; 0 for NaN
``_array(kind, n)``    the place of a local array of ``n`` elements, one for each variable; ``a[k]`` is an element
``_sort(a, n)``        as a statement: sorts the first ``n`` elements of an array; see `tilejit.compiler.jit.sorting`
=====================  ====================================================================================
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tilejit.compiler.form.kinds import Kind
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.compiler.form.c_functions import CFunction
    from tilejit.compiler.form.captured import Changing
    from tilejit.compiler.form.source import FunctionSource
    from tilejit.compiler.form.tables import Table

_TO_FLOAT = {
    1: ("sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "exp",
        "expm1", "log", "log2", "log10", "log1p", "degrees", "radians", "fabs", "erf", "erfc", "gamma", "lgamma"),
    2: ("atan2", "hypot", "pow", "fmod", "copysign"),
}  # fmt: skip
_TO_INT = {1: ("floor", "ceil", "trunc")}
_TO_BOOL = {1: ("isnan", "isinf", "isfinite")}

MATH: dict[str, tuple[int, Kind]] = {
    name: (count, kind)
    for table, kind in ((_TO_FLOAT, Kind.FLOAT), (_TO_INT, Kind.INT), (_TO_BOOL, Kind.BOOL))
    for count, names in table.items()
    for name in names
}
"""Function of ``math`` that a body may call -> number of arguments, kind of the result."""

OWN = ("atan", "atan2", "sin", "cos", "exp", "log", "degrees", "radians", "hypot", "pow")
"""Those that tj.math has branch-free forms of, used on the CPU."""

NAN_PASSES = {*OWN, "sqrt", "tan", "asin", "acos", "sinh", "cosh", "tanh", "expm1", "log2", "log10", "log1p",
              "fabs"} - {"pow"}  # fmt: skip
"""Those that return NaN whenever an argument is NaN; the zeroth power of NaN is 1."""

MULTIPLIED_OUT = 64
"""``x ** n`` with a literal n up to this is multiplications, by squares; beyond, and for other powers, it is pow."""

NOTES = ("beyond", "undefined", "saturated", "missing", "outside")
"""What a function may note of its pixel, in variables of these names with a leading underscore: that it asked for cells
beyond the declared radius; that it made an integer of NaN, so that the pixel has no results; that it read a uint64 that
no integer of a body holds; that it asked for a layer that a stack does not have, or for an element that is not there,
which ends the run."""

Tree = TypeVar("Tree")
Cell = tuple[int, int, int]
"""What is read around a pixel: the layer, rows south, columns east. A plane has one layer, 0; layers of a stack below 0
count from its last, and `ALL` is each of them."""

TIMES = "_times"
"""The scalar that is a table: when each layer of the stacks was taken."""


Place = tuple[object, type[ast.AST], int, int, "int | None", "int | None"]
"""Where a node stands in the text of a function."""


def place_of(function: object, node: ast.expr) -> Place:
    """Returns where a node stands."""
    return function, type(node), node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A parameter through which a function reads cells of a raster."""

    name: str
    """The parameter's name in the function."""
    kind: Kind
    """The kind of its cells."""
    raster: str
    """The kernel's raster parameter that it stands for."""
    is_stack: bool = False
    """Whether it has any number of layers; a plane has one."""

    @property
    def shown(self) -> str:
        """What its author calls it: one of ``*rasters`` has a name of its own in generated source alone."""
        return self.raster if self.name.startswith("_") else self.name


@dataclass(frozen=True, slots=True)
class Function:
    """One typed function: the body, or a helper for the kinds it is called with."""

    name: str
    """Its name in the generated module."""
    windows: tuple[Neighbourhood, ...]
    """The parameters that are rasters, in order."""
    scalars: tuple[str, ...]
    """The parameters that are values, in order."""
    body: tuple[ast.stmt, ...]
    results: tuple[Kind, ...]
    is_tuple: bool
    """Whether it returns a tuple."""
    notes: tuple[str, ...] = ()
    """Which of NOTES it may note: it returns them behind its results."""
    kinds: tuple[tuple[str, Kind], ...] = ()
    """The kinds of its author's variables."""
    arrays: tuple[LocalArray, ...] = ()
    """Its local arrays, those that it is given among them."""
    function: object = None
    """The function that it is written as."""
    tables: tuple[str, ...] = ()
    """The tables that it is given; others are constants of the module."""
    result: LocalArray | None = None
    """Its result, where that is a value for each layer: an array that it is given, and fills."""


@dataclass(frozen=True, slots=True)
class LocalArray:
    """An array of one function: a variable of it, or a parameter that its caller gives."""

    name: str
    """Its name in the generated source."""
    kind: Kind
    size: int
    columns: int = 0
    """How many columns it has, where it has rows."""
    word: str = "array"
    """Whether its author made an "array" or a "list"."""

    def __str__(self) -> str:
        return f"an array of {counted(self.size, str(self.kind))}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A subscript that may ask for what is not there."""

    number: int
    """The number of the layer, or ALL where only the run shows it."""
    source: FunctionSource
    node: ast.expr
    of: str = ""
    """What it is a subscript of, and how long that is; nothing for a stack, whose length is not in the text."""


@dataclass(frozen=True, slots=True)
class Form:
    """A whole body, ready for a target."""

    functions: tuple[Function, ...]
    """Helpers before their callers; the body comes last."""
    footprint: dict[str, frozenset[Cell]]
    """For each raster, the cells that are read of it; a box where offsets are not literals, and all layers likewise.

    Of a focal body under which nodata propagates, the centre is one of them wherever there are any.
    """
    radius: tuple[int, int]
    """The reach in rows and columns."""
    has_while: bool
    """Whether a loop's end depends on data, so that NaN must not enter it."""
    asks_validity: bool
    """Whether the body asks ``is_valid`` or ``math.isnan`` of a cell."""
    c_functions: tuple[CFunction, ...] = ()
    """The C functions that it calls, in order of the first call."""
    tables: tuple[Table, ...] = ()
    """The tables that it indexes by what is known only while running."""
    changing: tuple[Changing, ...] = ()
    """The captured objects that may be changed in place, as they were."""
    asked: tuple[Asked, ...] = ()
    """Layers that stacks may not have, and elements that arrays may not have."""
    is_sized: bool = False
    """Whether it has arrays that are as long as there are layers, of which it is the form for one number."""
    floats: frozenset[Place] = frozenset()
    """Where its text has an integer in one case that is a float in another, and so a float in all."""

    @property
    def reads_times(self) -> bool:
        """Whether the body asks when layers were taken; all stacks of a call have the same times."""
        return TIMES in self.body.scalars

    @property
    def texts(self) -> list[tuple[str, tuple[str, ...], list[str]]]:
        """What its functions say."""
        return [(f.name, f.scalars, [ast.dump(statement) for statement in f.body]) for f in self.functions]

    @property
    def takes_valid_cells_only(self) -> bool:
        """Whether NaN must stay outside: it might never leave a loop, and nobody knows what C makes of it."""
        return self.has_while or bool(self.c_functions)

    @property
    def body(self) -> Function:
        """The kernel's own function."""
        return self.functions[-1]


def copied(node: Tree) -> Tree:
    """A copy of a syntax tree; `copy.deepcopy` takes five times as long."""
    if isinstance(node, list):
        return [copied(part) for part in node]  # type: ignore[return-value]
    if not isinstance(node, ast.AST):
        return node
    new = type(node).__new__(type(node))
    vars(new).update({name: copied(value) for name, value in vars(node).items()})
    return new


def call(name: str, *arguments: ast.expr) -> ast.Call:
    """A call of a pseudo-operation."""
    return ast.Call(load(name), list(arguments), [])


def is_call(node: ast.AST, name: str) -> bool:
    """Whether ``node`` calls the pseudo-operation ``name``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def load(name: str) -> ast.Name:
    """The value of a variable."""
    return ast.Name(name, ast.Load())


def assign(name: str, value: ast.expr) -> ast.Assign:
    """An assignment to a variable."""
    return ast.Assign([ast.Name(name, ast.Store())], value)


def targets(names: Sequence[str]) -> ast.Tuple:
    """The variables that a tuple is taken apart into."""
    return ast.Tuple([ast.Name(n, ast.Store()) for n in names], ast.Store())


def stored(*nodes: ast.AST) -> list[str]:
    """The variables that are assigned to, once for each time."""
    return [n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


class Renamer(ast.NodeTransformer):
    """Gives names others."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Gives one another."""
        return ast.Name(self.names.get(node.id, node.id), node.ctx)
