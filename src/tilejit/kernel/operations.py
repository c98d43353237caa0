"""About how much a kernel computes for a pixel, read from its form."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilejit.kernel.kernel import Kernel

_LOOP_OPERATIONS = 1000
"""What a loop whose length is not known counts as: an iteration per pixel is compute-bound in all likelihood."""
_MATH_OPERATIONS = 20
"""What a function of ``math`` counts as."""


@functools.lru_cache(maxsize=512)
def operations(kernel: Kernel) -> int:
    """Returns about how many operations a kernel does for a pixel; an unbounded loop counts as a thousand."""
    return sum(map(_weight, _nodes(kernel)))


@functools.lru_cache(maxsize=512)
def is_open_ended(kernel: Kernel) -> bool:
    """Whether its text does not tell how long a pixel takes: it loops, or calls C functions."""
    return bool(kernel.form.c_functions) or any(isinstance(node, (ast.For, ast.While)) for node in _nodes(kernel))


def _nodes(kernel: Kernel) -> Iterator[ast.AST]:
    return (node for function in kernel.form.functions for s in function.body for node in ast.walk(s))


def _weight(node: ast.AST) -> int:
    if isinstance(node, (ast.For, ast.While)):
        return _LOOP_OPERATIONS
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return {"_math": _MATH_OPERATIONS, "_float": 0}.get(node.func.id, 1)
    return isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp))
