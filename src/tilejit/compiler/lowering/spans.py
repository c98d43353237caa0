"""Between which numbers an integer lies, as far as its own lowered expression tells: ``qa & 15`` from 0 to 15."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.lowering import indexing

if TYPE_CHECKING:
    from tilejit.compiler.lowering.scope import Scope

    Span = tuple[int, int]

ANY = -(2**63), 2**63 - 1
"""Between which every integer lies."""


def span_of(scope: Scope, node: ast.expr, written: ast.expr | None = None) -> Span:
    """Returns the least and the largest value that a lowered integer expression may have, and it as it was written."""
    (low, high), text = _span(scope, node), ANY if written is None else indexing.span_of(written, scope.known_spans)
    return int(max(low, text[0])), int(min(high, text[1]))


def _span(scope: Scope, node: ast.expr) -> Span:
    if isinstance(node, ast.Constant):
        return int(node.value), int(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return next((span for name, span in scope.intervals.items() if scope.name(name) == node.id
                     and max(map(abs, span)) < 2**63), ANY)  # fmt: skip
    if isinstance(node, ast.BinOp):
        return _operated(node.op, _span(scope, node.left), _span(scope, node.right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _called(scope, node.func.id, node.args)
    return ANY


def _called(scope: Scope, name: str, arguments: list[ast.expr]) -> Span:
    if name in _ENDS:
        spans = [_span(scope, a) for a in arguments[-2:]]
        return tuple(end(*both) for end, both in zip(_ENDS[name], zip(*spans, strict=True), strict=True))
    if name == "_read":
        raster = next(w.raster for w in scope.windows.values() if w.name == arguments[0].id)  # type: ignore[attr-defined]
        dtype = scope.program.dtypes[raster]
        return ANY if dtype is None or dtype == np.uint64 else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if name == "int":  # of a truth value
        return 0, 1
    if name == "_table":
        table = next(t for t in scope.program.tables.values() if t.name == arguments[0].value)  # type: ignore[attr-defined]
        return int(table.values.min()), int(table.values.max())
    return _span(scope, arguments[0]) if name == "_whole" else ANY


def _operated(operator: ast.operator, left: Span, right: Span) -> Span:
    is_counted = left[0] >= 0 and right[0] == right[1] >= 0
    if isinstance(operator, ast.BitAnd):
        counts = [high for low, high in (left, right) if low >= 0]
        return (0, min(counts)) if counts else ANY
    if isinstance(operator, ast.RShift) and is_counted and right[0] < 64:
        return left[0] >> right[0], left[1] >> right[0]
    if isinstance(operator, ast.FloorDiv) and is_counted and right[0] > 0:
        return left[0] // right[0], left[1] // right[0]
    if isinstance(operator, ast.Mod) and right[0] > 0:
        return 0, right[1] - 1
    if isinstance(operator, (ast.Add, ast.Sub, ast.Mult)):
        corners = [_SUMS[type(operator)](a, b) for a in left for b in right]
        span = min(corners), max(corners)
        return span if span[0] >= ANY[0] and span[1] <= ANY[1] else ANY
    return ANY


_ENDS = {"_minimum": (min, min), "_maximum": (max, max), "_select": (min, max)}
"""How the ends of what a call chooses from make its own."""
_SUMS = {ast.Add: int.__add__, ast.Sub: int.__sub__, ast.Mult: int.__mul__}
