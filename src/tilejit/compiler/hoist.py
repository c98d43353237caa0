"""What a body computes from its scalars alone: once for a launch instead of once for every pixel.

LLVM does this on the CPU. On a GPU every thread is a call of its own: the sine of a hillshade's sun took most of its
660 instructions, and float64 among them.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.functions import MATH, OWN
from tilejit.compiler.kinds import Kind
from tilejit.math import float32, float64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.compiler.form import Form
    from tilejit.kernel.kernel import Kernel

_CALLS = {"_float", "_math", "_minimum", "_maximum", "abs"}
_NUMPY = {
    "asin": "arcsin",
    "acos": "arccos",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "pow": "power",
}


@dataclass(frozen=True, slots=True)
class Hoisted:
    """A form without the assignments that need no pixel."""

    form: Form
    """The rest: its body takes the assigned variables as further scalars."""
    statements: tuple[ast.Assign, ...]
    """The assignments, in order."""
    scalars: tuple[str, ...]
    """The names of the scalars that they start from."""

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that they assign: floats in the compute dtype."""
        return tuple(_target(s) for s in self.statements)

    def values(self, scalars: Sequence[Any], compute: np.dtype) -> list[Any]:
        """Computes them.

        Args:
            scalars: The kernel's scalars, as a launch takes them.
            compute: The compute dtype.
        """
        known = dict(zip(self.scalars, scalars, strict=True))
        space = {**_functions(compute), **known}
        tree = ast.Module([ast.fix_missing_locations(s) for s in self.statements], [])
        with np.errstate(all="ignore"):
            exec(compile(tree, "<hoisted>", "exec"), {"__builtins__": {}}, space)  # noqa: S102 - the form of a body
        return [compute.type(space[name]) for name in self.names]


def hoist(kernel: Kernel, form: Form) -> Hoisted:
    """Takes out the top-level assignments that call ``math`` and use nothing but scalars of the whole grid."""
    pairs = zip(kernel.scalars, form.body.scalars, strict=True)
    known = {name: s.kind for s, name in pairs if s.quantity is None or s.quantity.axis == "grid"}
    counts = _stores(form)
    taken: list[ast.Assign] = []
    for statement in form.body.body:
        if _is_hoistable(statement, known, counts):
            taken.append(statement)  # type: ignore[arg-type]
            known[_target(statement)] = Kind.FLOAT
    rest = tuple(s for s in form.body.body if s not in taken)
    names = tuple(_target(s) for s in taken)
    body = replace(form.body, body=rest, scalars=(*form.body.scalars, *names))
    return Hoisted(replace(form, functions=(*form.functions[:-1], body)), tuple(taken), form.body.scalars)


def _is_hoistable(statement: ast.stmt, known: Mapping[str, Kind], counts: Mapping[str, int]) -> bool:
    if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
        return False
    calls = [n.func.id for n in ast.walk(statement.value) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    if "_math" not in calls or not _CALLS.issuperset(calls) or counts[_target(statement)] != 1:
        return False
    names = {n.id for n in ast.walk(statement.value) if isinstance(n, ast.Name)} - _CALLS
    return names <= known.keys() and _is_float(statement.value, known)


def _is_float(node: ast.expr, known: Mapping[str, Kind]) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "_math":
            return MATH[str(node.args[0].value)][1] is Kind.FLOAT  # type: ignore[attr-defined]
        return node.func.id == "_float" or _is_float(node.args[0], known)
    if isinstance(node, ast.BinOp):
        return _is_float(node.left, known)
    if isinstance(node, ast.UnaryOp):
        return _is_float(node.operand, known)
    return isinstance(node, ast.Name) and known.get(node.id) is Kind.FLOAT


def _stores(form: Form) -> dict[str, int]:
    counts: dict[str, int] = {}
    for statement in form.body.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                counts[node.id] = counts.get(node.id, 0) + 1
    return counts


def _target(statement: ast.stmt) -> str:
    return statement.targets[0].id  # type: ignore[attr-defined, no-any-return]


def _functions(compute: np.dtype) -> dict[str, Callable[..., Any]]:
    library = float32 if compute == np.float32 else float64

    def math(name: str, *values: Any) -> Any:
        function = getattr(library, name) if name in OWN else getattr(np, _NUMPY.get(name, name))
        return compute.type(function(*map(compute.type, values)))

    return {
        "_float": compute.type,
        "_math": math,
        "_minimum": min,
        "_maximum": max,
        "abs": abs,
    }
