"""The target-neutral form of a body: typed functions over a few pseudo-operations that each target spells out.

The functions are Python syntax trees. Where targets differ they hold a call of a reserved name:

=====================  ====================================================================================
``_read(z, dy, dx)``   the cell of ``z`` at an offset, as a value of the body
``_valid(z, dy, dx)``  whether that cell of an integer raster is valid
``_float(e)``          ``e`` in the compute dtype (literals too)
``_math(name, …)``     a function of ``math``
``_minimum(a, b)``     ``b if b < a else a``, as Python's min; ``_maximum`` likewise
``_c(name, …)``        a C function, by its name among the form's
``_select(t, a, b)``   ``a if t else b`` where both are cheap enough to compute
``_whole(a + b)``      a sum, difference or product of integers, which wraps at 64 bits
``_cut(e)``            the float ``e`` cut towards zero, held within 64 bits; 0 for NaN
=====================  ====================================================================================
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tilejit.compiler.c_functions import CFunction
    from tilejit.compiler.kinds import Kind

NOTES = ("beyond", "undefined", "saturated")
"""What a function may note of its pixel, in variables of these names with a leading underscore: that it asked for cells
beyond the declared radius; that it made an integer of NaN, so that the pixel has no results; that it read a uint64 that
no integer of a body holds."""

Offset = tuple[int, int]
"""A neighbour: rows south, columns east."""


@dataclass(frozen=True, slots=True)
class Window:
    """A parameter through which a function reads cells of a raster."""

    name: str
    """The parameter's name in the function."""
    kind: Kind
    """The kind of its cells."""
    raster: str
    """The kernel's raster parameter that it stands for."""


@dataclass(frozen=True, slots=True)
class Function:
    """One typed function: the body, or a helper for the kinds it is called with."""

    name: str
    """Its name in the generated module."""
    windows: tuple[Window, ...]
    """The parameters that are rasters, in order."""
    scalars: tuple[str, ...]
    """The parameters that are values, in order."""
    body: tuple[ast.stmt, ...]
    """Its statements."""
    results: tuple[Kind, ...]
    """The kinds of what it returns."""
    is_tuple: bool
    """Whether it returns a tuple."""
    doc: str
    """Where the user wrote it."""
    notes: tuple[str, ...] = ()
    """Which of NOTES it may note: it returns them behind its results."""


@dataclass(frozen=True, slots=True)
class Form:
    """A whole body, ready for a target."""

    functions: tuple[Function, ...]
    """Helpers before their callers; the body comes last."""
    footprint: dict[str, frozenset[Offset]]
    """For each raster, the offsets that it is read at; a box where they are not literals.

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

    @property
    def takes_valid_cells_only(self) -> bool:
        """Whether NaN must stay outside: it might never leave a loop, and nobody knows what C makes of it."""
        return self.has_while or bool(self.c_functions)

    @property
    def body(self) -> Function:
        """The kernel's own function."""
        return self.functions[-1]


@dataclass(frozen=True, slots=True)
class Value:
    """A lowered expression."""

    node: ast.expr
    """Its syntax tree."""
    kind: Kind
    """Its kind."""
    parts: tuple[Kind, ...] = field(default=())
    """The kinds of its elements, where it is the tuple that a helper returns."""
    cell: ast.Call | None = None
    """The ``_read`` that it comes from, where it is a cell."""
    inside: ast.expr | None = None
    """Where that is at an offset known only while running: whether it lies within the radius."""


def call(name: str, *arguments: ast.expr) -> ast.Call:
    """A call of a pseudo-operation."""
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def is_call(node: ast.AST, name: str) -> bool:
    """Whether ``node`` calls the pseudo-operation ``name``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
