"""Arrays of the pixels of a row, beside each other: an element is found by its number, and the pixel's among them.

Functions that have such arrays, and helpers that are given them, take the pixel's number as well.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from tilejit.compiler.form.form import call, copied, load
from tilejit.compiler.form.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from tilejit.compiler.form.form import Function, LocalArray

_ROOM, LEAST, MOST = 2**18, 64, 512
_BYTES = {Kind.FLOAT: 4, Kind.INT: 8, Kind.BOOL: 1}
PLACE = "_place"
"""The number of a pixel in its piece of a row, unsigned: where its elements lie among those of the others."""


def given_arrays(function: Function) -> set[str]:
    """The arrays that a function is given."""
    return {a.name for a in function.arrays} & set(function.scalars)


def are_for_rows(
    statements: Sequence[ast.stmt], lanes: AbstractSet[str], own: AbstractSet[str], helpers: Container[str]
) -> bool:
    """Whether statements can have the arrays ``lanes`` beside those of other pixels.

    They ask of them elements alone, or hand them to helpers, with none of the arrays that are a pixel's ``own``.
    """
    nodes = [node for s in statements for node in ast.walk(s)]
    known: list[ast.expr] = [n.value for n in nodes if isinstance(n, ast.Subscript)]
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in helpers]
    known += [a for n in calls for a in n.args]
    given = [{a.id for a in n.args if isinstance(a, ast.Name)} for n in calls]
    is_mixed = any(names & lanes and names & own for names in given)
    return not is_mixed and all(n in known for n in nodes if isinstance(n, ast.Name) and n.id in lanes)


def lanes_for(arrays: Iterable[LocalArray]) -> int:
    """How many pixels' arrays lie beside each other: as many as fill 256 KB, which a core's second cache holds.

    A loop over them is vector code, and what it takes to begin is little beside it: a value for each of 200 dates takes
    0.35 microseconds a pixel with 256 or 512, and 0.74 with 64.
    """
    size = sum(a.size * _BYTES[a.kind] for a in arrays)
    return min(max(1 << (_ROOM // max(size, 1)).bit_length() - 1, LEAST), MOST)


def beside_others(helper: Function, helpers: Container[str], lanes: int) -> Function:
    """A helper for a pixel whose arrays lie beside those of others."""
    body = tuple(Beside(given_arrays(helper), helpers, lanes).visit(copied(s)) for s in helper.body)
    return replace(helper, name=f"_beside_{helper.name}", scalars=(*helper.scalars, PLACE), body=body)


class Beside(ast.NodeTransformer):
    """Finds elements of arrays that lie beside those of other pixels."""

    def __init__(self, arrays: Container[str], helpers: Container[str], lanes: int) -> None:
        self.arrays, self.helpers, self.lanes = arrays, helpers, lanes

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Hands helpers the pixel's number where they get such arrays."""
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id not in self.helpers:
            return node
        if not any(isinstance(a, ast.Name) and a.id in self.arrays for a in node.args):  # a pixel's own
            return node
        return ast.Call(load(f"_beside_{node.func.id}"), [*node.args, load(PLACE)], [])

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Finds an element."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id in self.arrays:
            row = ast.BinOp(call("u64", node.slice), ast.Mult(), load(f"_U{self.lanes}"))
            return ast.Subscript(node.value, ast.BinOp(row, ast.Add(), load(PLACE)), node.ctx)
        return node
