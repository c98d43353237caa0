"""What the names in a body mean: locals, captured constants, math functions, helpers."""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import math
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tilejit import math as tilejit_math
from tilejit.compiler.c_functions import is_c_function, is_library
from tilejit.compiler.kinds import Kind, kind_of_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.source import FunctionSource

IMPORTS = {
    "math": "import math",
    "np": "import numpy as np",
    "numpy": "import numpy",
    "tj": "import tilejit as tj",
    "tilejit": "import tilejit",
}
"""Modules that bodies name, and the line that is forgotten where one is not defined."""
MISSING = object()
"""What an unknown name resolves to."""


def is_valid(value: float) -> bool:
    """Returns whether a cell holds data: it is not nodata, not NaN, and not outside the raster.

    Inside a body with ``nodata="kernel"`` it asks this of a raster's cell, of integer rasters too. In plain Python it
    can only see NaN.

    Example:
        >>> is_valid(1.0), is_valid(float("nan"))
        (True, False)
    """
    return bool(value == value)  # noqa: PLR0124 - NaN alone differs from itself


def local_names(tree: ast.FunctionDef) -> set[str]:
    """The names that a function's body binds: its parameters, assignments and loop variables."""
    arguments = tree.args
    parameters = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    return parameters | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def plain_number(value: Any) -> bool | float | None:
    """Returns a number as Python's own bool, int or float (NumPy scalars and enums too), or None.

    Example:
        >>> import numpy as np
        >>> plain_number(np.int16(3)), plain_number("3")
        (3, None)
    """
    convert = {Kind.BOOL: bool, Kind.INT: int, Kind.FLOAT: float}
    kind = kind_of_value(value)
    return None if kind is None else convert[kind](value)


def closure_of(function: Any) -> dict[str, Any]:
    """Returns the variables of enclosing functions; one that has no value yet is left out."""
    values = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):
            values[name] = cell.cell_contents
    return values


class Names:
    """Resolves the free names of one function."""

    def __init__(self, source: FunctionSource) -> None:
        self.source = source
        self.locals = local_names(source.tree)
        function: Any = source.function
        self.free: dict[str, Any] = {**vars(builtins), **function.__globals__, **closure_of(function)}
        """Every name that the function can see besides its own."""

    def resolve(self, node: ast.expr) -> Any:
        """Returns what a name or a dotted name stands for, or MISSING for a local or anything else.

        A dotted name goes through modules, classes and C libraries only: another object's attribute may change under
        a compiled body.
        """
        if isinstance(node, ast.Name):
            return MISSING if node.id in self.locals else self.free.get(node.id, MISSING)
        if isinstance(node, ast.Attribute):
            owner = self.resolve(node.value)
            if isinstance(owner, (ModuleType, type)):
                return getattr(owner, node.attr, MISSING)
            if is_library(owner):
                function = getattr(owner, node.attr, MISSING)
                return function if is_c_function(function) else MISSING
        return MISSING

    def undefined_module(self, node: ast.expr) -> str | None:
        """Returns the name in front of the first dot where it is a known module's that was not imported, or None."""
        while isinstance(node, ast.Attribute):
            node = node.value
        is_unknown = isinstance(node, ast.Name) and node.id not in self.locals and node.id not in self.free
        return node.id if is_unknown and node.id in IMPORTS else None  # type: ignore[attr-defined]

    def library(self, node: ast.expr) -> object | None:
        """Returns the C library in front of the last dot of a name, or None."""
        owner = self.resolve(node.value) if isinstance(node, ast.Attribute) else None
        return owner if is_library(owner) else None

    def constant(self, node: ast.expr) -> bool | float | None:
        """Returns the number that a captured name stands for, or None."""
        return plain_number(self.resolve(node))

    def constants(self, node: ast.expr) -> list[bool | float] | None:
        """Returns the numbers of a captured tuple or frozenset, or None."""
        value = self.resolve(node)
        if not isinstance(value, (tuple, frozenset)):
            return None
        numbers = [plain_number(v) for v in value]
        known = [n for n in numbers if n is not None]
        return known if len(known) == len(numbers) else None

    def table(self, node: ast.expr) -> tuple[Any, ...] | None:
        """Returns the captured tuple under one or more subscripts, or None."""
        while isinstance(node, ast.Subscript):
            node = node.value
        value = self.resolve(node)
        return value if isinstance(value, tuple) else None

    def element(self, node: ast.Subscript) -> bool | float | None:
        """Returns the number that literal subscripts pick from a captured tuple, or None."""
        value = self._picked(node)
        return plain_number(value)

    def _picked(self, node: ast.expr) -> Any:
        if not isinstance(node, ast.Subscript):
            return self.table(node)
        owner, index = self._picked(node.value), node.slice
        if not isinstance(owner, tuple) or not isinstance(index, ast.Constant) or type(index.value) is not int:
            return None
        return owner[index.value] if -len(owner) <= index.value < len(owner) else None

    def math_function(self, function: object) -> str | None:
        """Returns the name of a function of ``math`` or of ``tj.math``, or None."""
        name: str = getattr(function, "__name__", "")
        if getattr(math, name, None) is function or getattr(tilejit_math, name, None) is function:
            return name
        return None

    def helper(self, function: Any) -> Callable[..., object] | None:
        """Returns the plain function that a body may call (the one inside a Numba dispatcher too), or None."""
        plain = getattr(function, "py_func", function)
        return plain if inspect.isfunction(plain) and not getattr(plain, "__tilejit_kernel__", False) else None
