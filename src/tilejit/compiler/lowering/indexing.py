"""Indices known only while running: held within what they index, and noted where they lie outside, which ends the run.

An index of which the text shows that it lies within (``h[v & 15]``, ``h[min(max(k, 0), 15)]``, a loop's variable) is
taken as it is. Negative ones count from the end, as in Python.
"""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING

from tilejit.compiler.form.form import Asked, call
from tilejit.compiler.form.kinds import ALL, Kind, article
from tilejit.compiler.lowering.scope import Value, cast
from tilejit.compiler.syntax.folding import COUNT, interval_of, literal_range
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tilejit.compiler.lowering.scope import Scope

    Lower = Callable[[Scope, ast.expr], Value]

Span = tuple[float, float]
"""The least and the largest value of an integer; infinite where nothing is known."""
ANY: Span = (-math.inf, math.inf)
_FITS = 2**62
"""A number beyond it may have wrapped around."""
_SHORT = 64
"""A shift by as many bits is none: the last six count."""


def lower_index(scope: Scope, node: ast.expr, index: ast.expr, size: int, *, of: str, lower: Lower,
                counts: bool = False, count: ast.expr | None = None) -> ast.expr:  # fmt: skip
    """Lowers the index of one of ``size`` elements, which ``node`` is; ``of`` says of what.

    With ``counts`` it is a number of elements instead, 0 to ``size``; ``count`` is how many of them are there.

    Raises:
        KernelError: It is no integer, or a literal that lies outside.
    """
    value = lower(scope, index)
    if value.kind is Kind.BOOL and not counts:
        value = Value(cast(value, Kind.INT), Kind.INT)
    if value.kind is not Kind.INT:
        what = "a number of elements" if counts else "an index"
        scope.fail(index, f"{what} of {of} is {article(value.kind)}", "elements are numbered: write int(x)")
    if isinstance(value.node, ast.Constant) and count is None:
        return _literal(scope, node, int(value.node.value), size, of, counts=counts)  # type: ignore[arg-type]
    low, high = settled_span(scope, index)
    last = size if counts else size - 1
    if low >= 0 and high <= last and count is None:
        return value.node
    held = scope.held("index", value.node)
    if low < 0 and not counts:
        from_end = ast.BinOp(held, ast.Add(), count or ast.Constant(size))
        is_negative = ast.Compare(held, [ast.Lt()], [ast.Constant(0)])
        held = scope.held("index", call("_select", is_negative, from_end, held))
        if low >= -size and high <= last and count is None:
            return held
    long = f", which has {counted(size, 'element')}" if count is None else ""
    scope.program.asked[node] = Asked(ALL, scope.source, node, of + long)
    inside = ast.BinOp(ast.Compare(held, [ast.GtE()], [ast.Constant(0)]), ast.BitAnd(),
                       ast.Compare(held, [ast.LtE()], [ast.Constant(last)] if count is None else
                                   [ast.BinOp(count, ast.Sub(), ast.Constant(1))]))  # fmt: skip
    scope.remark("missing", ast.UnaryOp(ast.Not(), inside))
    # The element is read whether or not it is there.
    return call("_maximum", call("_minimum", held, ast.Constant(last)), ast.Constant(0))


def settled_span(scope: Scope, index: ast.expr) -> Span:
    """Between which numbers an index lies, as far as text and the number of layers tell."""
    return span_of(index, {name: _settled(span, scope.program.layers) for name, span in scope.known_spans.items()})


def _settled(span: Span, layers: int) -> Span:
    """A span whose ends count layers, where it is known how many there are."""
    low, high = (
        end - round(end / COUNT) * (COUNT - layers) if isinstance(end, int) and layers else end for end in span
    )
    return low, high


def _literal(scope: Scope, node: ast.expr, number: int, size: int, of: str, *, counts: bool) -> ast.expr:
    """A literal index, or number of elements."""
    long = f"{of}, which has {counted(size, 'element')}"
    if not scope.program.layers and (scope.names.is_sized or scope.program.is_sized):  # a call shows how long it is
        return ast.Constant(0)
    if counts and not 0 <= number <= size:
        scope.fail(node, f"{counted(number, 'element')} of {long}", f"give 0 to {size}")
    if not counts and not -size <= number < size:
        scope.fail(node, f"element {number} of {long}",
                   f"elements are numbered 0 to {size - 1}, and from the end -1 to -{size}")  # fmt: skip
    return ast.Constant(number if counts else number % size)


def span_of(node: ast.expr, variables: Mapping[str, Span], *, of_float: bool = False) -> Span:
    """Returns between which numbers a value lies, as far as its text shows.

    ``of_float`` says that it may be a float: ``x % 16`` of one may be 16.

    Example:
        >>> span_of(ast.parse("k & 15", mode="eval").body, {}), span_of(ast.parse("max(k, 1)", mode="eval").body, {})
        ((0, 15), (1, inf))
    """
    finite = {n: s for n, s in variables.items() if not (math.isinf(s[0]) or math.isinf(s[1]))}
    known = None if of_float else interval_of(node, finite)  # type: ignore[arg-type]
    if known is None:
        return _span(node, variables, of_float=of_float)
    return known if max(map(abs, known)) < _FITS else ANY


def _span(node: ast.expr, variables: Mapping[str, Span], *, of_float: bool) -> Span:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and node.value == node.value:
        return node.value, node.value
    if isinstance(node, ast.Name):
        low, high = variables.get(node.id, ANY)
        return low, high + of_float
    if isinstance(node, ast.Subscript):  # a cell of a raster
        return variables.get(ast.unparse(node.value), ANY)
    if isinstance(node, ast.BinOp):
        return _of_operator(node, variables, of_float=of_float)
    if isinstance(node, ast.IfExp):
        return _joined([span_of(side, variables, of_float=of_float) for side in (node.body, node.orelse)])
    return _of_call(node, variables, of_float=of_float) if isinstance(node, ast.Call) else ANY


def _of_operator(node: ast.BinOp, variables: Mapping[str, Span], *, of_float: bool) -> Span:
    """``k & 15`` and ``k % 16``, of numbers of both signs; ``k >> 4`` and ``k // 16``."""
    literals = [s.value for s in (node.left, node.right) if isinstance(s, ast.Constant) and type(s.value) is int]
    if isinstance(node.op, ast.BitAnd) and literals and min(literals) >= 0:
        return 0, min(literals)
    right = node.right.value if isinstance(node.right, ast.Constant) else None
    if isinstance(node.op, ast.Mod) and type(right) is int and right > 0:
        return 0, right - 1 + of_float
    if isinstance(node.op, (ast.RShift, ast.FloorDiv)) and type(right) is int and 0 < right < _SHORT and not of_float:
        divisor = 1 << right if isinstance(node.op, ast.RShift) else right
        low, high = span_of(node.left, variables)
        return (low // divisor, high // divisor) if math.isfinite(low) and math.isfinite(high) else ANY
    return ANY


def _of_call(node: ast.Call, variables: Mapping[str, Span], *, of_float: bool) -> Span:
    word = ast.unparse(node.func).rpartition(".")[2]
    if word in {"int", "round", "floor", "ceil", "trunc"} and len(node.args) == 1:
        low, high = span_of(node.args[0], variables, of_float=True)
        return _whole(math.floor, min(low, 0)), _whole(math.ceil, max(high, 0))  # 0 is what NaN gives
    if word not in {"min", "max"} or len(node.args) < 2 or node.keywords:
        return ANY
    spans = [span_of(a, variables, of_float=of_float) for a in node.args]
    choose = min if word == "min" else max
    return choose(low for low, _ in spans), choose(high for _, high in spans)


def _whole(function: Callable[[float], int], bound: float) -> float:
    return function(bound) if math.isfinite(bound) else bound


def _joined(spans: list[Span]) -> Span:
    return min(low for low, _ in spans), max(high for _, high in spans)


def spans_of(tree: ast.FunctionDef, lengths: Mapping[str, Span]) -> dict[str, Span]:
    """Returns between which numbers a function's variables lie: each of them among all that is assigned to it.

    ``lengths`` are those that are known, as ``len(t)``.
    """
    values: dict[str, list[ast.expr | Span]] = {a.arg: [ANY] for a in ast.walk(tree) if isinstance(a, ast.arg)}
    for node in ast.walk(tree):
        pairs: list[tuple[ast.expr, ast.expr | Span]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.For):
            pairs = [(node.target, node.iter if isinstance(node.target, ast.Name) else ANY)]
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            pairs = [(node.target, ANY)]
        for target, value in singly(pairs):
            for name in (n for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)):
                values.setdefault(name.id, []).extend(_chosen(value, name.id) if name is target else [ANY])
    spans: dict[str, Span] = {}
    for _ in range(3):  # of each again, now that more is known of others
        known = {**lengths, **spans}
        spans = {
            name: _joined([_of_value(v, known) if isinstance(v, ast.expr) else v for v in found])
            for name, found in values.items()
            if found
        }
    return spans


def _of_value(node: ast.expr, variables: Mapping[str, Span]) -> Span:
    """Of what is assigned, or of the numbers of a ``range(...)`` that a loop goes through."""
    is_range = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"
    if not is_range:
        return span_of(node, variables)
    if numbers := literal_range(node):
        return min(numbers), max(numbers)
    return of_range([span_of(a, variables) for a in node.args])  # type: ignore[attr-defined]


def of_range(bounds: list[Span]) -> Span:
    """Between which numbers those of a range lie, whose bounds do."""
    start, stop = ((0, 0), bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
    if len(bounds) == 3 and bounds[2][0] < 0:
        return (min(stop[0] + 1, start[1]), start[1]) if bounds[2][1] < 0 else ANY
    return start[0], max(stop[1] - 1, start[0])


def _chosen(value: ast.expr | Span, name: str) -> list[ast.expr | Span]:
    """What a variable may be given, without what it has already: ``k`` of ``last = k if found else last``."""
    if isinstance(value, ast.IfExp):
        return [*_chosen(value.body, name), *_chosen(value.orelse, name)]
    return [] if isinstance(value, ast.Name) and value.id == name else [value]


def singly(pairs: list[tuple[ast.expr, ast.expr | Span]]) -> Iterator[tuple[ast.expr, ast.expr | Span]]:
    """``a, b = x, y`` as two assignments."""
    for target, value in pairs:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            yield from zip(target.elts, value.elts, strict=True)
        else:
            yield target, value
