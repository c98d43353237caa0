"""Statements: what runs on which path, and the kind of every variable."""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING

from tilejit.compiler.form.captured import MISSING
from tilejit.compiler.form.form import assign, load, stored
from tilejit.compiler.form.kinds import Kind, article
from tilejit.compiler.lowering.assignments import (
    Lowered,
    elements_of,
    lower_annotated,
    lower_assignment,
    lower_augmented,
    lower_expression,
    taken_apart,
)
from tilejit.compiler.lowering.calls import lower_call
from tilejit.compiler.lowering.expressions import condition, lower
from tilejit.compiler.lowering.guards import guard_of, written_out
from tilejit.compiler.lowering.indexing import ANY, of_range, span_of
from tilejit.compiler.lowering.layers import return_layers
from tilejit.compiler.lowering.scope import Scope, Value, as_selects, aside, cast
from tilejit.compiler.syntax.folding import interval_of, literal_range
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def lower_block(scope: Scope, block: Sequence[ast.stmt]) -> tuple[list[ast.stmt], bool]:
    """Lowers statements; returns them, and whether the path goes on after the last."""
    result: list[ast.stmt] = []
    for statement in block:
        prelude, (lowered, goes_on) = aside(scope, _TABLE[type(statement)], statement)
        result += [*prelude, *lowered]
        if not goes_on:
            return result, False
    return result, True


def _if(scope: Scope, node: ast.If) -> Lowered:
    test = condition(scope, node.test)
    if isinstance(test, ast.Constant):  # is_valid, where everything is
        return lower_block(scope, node.body if test.value else node.orelse)
    before, held = set(scope.assigned), scope.held_names
    body, body_goes_on = lower_block(scope, node.body)
    after_body, scope.assigned = scope.assigned, set(before)
    orelse, else_goes_on = lower_block(scope, node.orelse)
    if not else_goes_on:
        scope.assigned = after_body
    elif body_goes_on:
        scope.assigned &= after_body
    if body_goes_on and else_goes_on and not _is_uniform(scope, node.test):
        selects = as_selects(test, body, orelse, held, scope.temporary("test"))
        if selects is not None:
            return selects, True
    return [ast.If(test, body or [ast.Pass()], orelse)], body_goes_on or else_goes_on


def _is_uniform(scope: Scope, test: ast.expr) -> bool:
    """Whether a test goes the same way for every pixel: then a jump costs nothing, and spares one side."""
    return all(n.id in scope.uniform for n in ast.walk(test) if isinstance(n, ast.Name))


def _for(scope: Scope, node: ast.For) -> Lowered:
    bounds, arguments = _range_arguments(scope, node)
    if not isinstance(node.target, ast.Name):
        scope.fail(node.target, "a loop over several variables", "loop over one: for k in range(n)")
    name = node.target.id
    before = set(scope.assigned)
    scope.note(name, Kind.INT)
    if scope.kinds[name] is not Kind.INT:
        scope.fail(node.target, f"{name} is both a loop variable and {article(scope.kinds[name])}", "use two names")
    scope.counters |= dict.fromkeys([name, *stored(*node.body)], ANY)
    interval = None if name in stored(*node.body) else _loop_interval(scope, bounds)
    outer = {n: i for n, i in scope.intervals.items() if n != name}
    scope.intervals = outer if interval is None else {**outer, name: interval}
    body, ends, breaks = _loop_body(scope, node.body)
    scope.intervals = outer
    scope.assigned = set.intersection(*ends, *breaks) if literal_range(node.iter) else before
    orelse = []
    if node.orelse:  # where no break has left the loop
        scope.assigned = set.intersection(*ends) if literal_range(node.iter) and ends else before
        orelse = _otherwise(scope, node.orelse, breaks)
    iterable = ast.Call(ast.Name("range", ast.Load()), arguments, [])
    return [ast.For(ast.Name(scope.name(name), ast.Store()), iterable, body, orelse)], True


def _otherwise(scope: Scope, block: list[ast.stmt], breaks: list[set[str]]) -> list[ast.stmt]:
    """Lowers what runs after a loop that no break has left; ``breaks`` are what is assigned at each."""
    orelse, goes_on = lower_block(scope, block)
    scope.assigned = set.intersection(*breaks, *([scope.assigned] if goes_on else []))
    return orelse


def _loop_body(scope: Scope, block: list[ast.stmt]) -> tuple[list[ast.stmt], list[set[str]], list[set[str]]]:
    """Lowers a loop's statements; returns them, and what is assigned wherever a round ends, and at each break."""
    outer = scope.breaks, scope.continues
    scope.breaks, scope.continues = [], []
    body, goes_on = lower_block(scope, block)
    ends, breaks = [*scope.continues, *([scope.assigned] if goes_on else [])], scope.breaks
    scope.breaks, scope.continues = outer
    return body or [ast.Pass()], ends if ends or breaks else [scope.assigned], breaks


def _range_arguments(scope: Scope, node: ast.For) -> tuple[list[ast.expr], list[ast.expr]]:
    """The bounds of a loop, as written and lowered."""
    iterable = node.iter
    if isinstance(iterable, ast.Name) and iterable.id in scope.windows:
        instead = "loop over offsets: for dy in range(-1, 2): … z[dy, dx]"
        if scope.windows[iterable.id].is_stack:
            instead = f"loop over its layers: for k in range(len({iterable.id})): … {iterable.id}[k]"
        scope.fail(iterable, f"iterates over the raster {iterable.id}", instead)
    function = scope.names.resolve(iterable.func) if isinstance(iterable, ast.Call) else MISSING
    if function is not range or not isinstance(iterable, ast.Call):
        scope.fail(iterable, f"loops over {ast.unparse(iterable)}",
                   "a for loop goes over range(...), or over a tuple or an array of numbers")  # fmt: skip
    if not 1 <= len(iterable.args) <= 3 or iterable.keywords:
        scope.fail(iterable, f"range with {counted(len(iterable.args), 'argument')}", "range takes one to three")
    values = [lower(scope, bound) for bound in iterable.args]
    for bound, value in zip(iterable.args, values, strict=True):
        if value.kind is not Kind.INT:
            scope.fail(bound, f"a bound of range is {article(value.kind)}",
                       "bounds are integers: annotate the parameter with int, or write int(x)")  # fmt: skip
    if len(iterable.args) == 3 and isinstance(iterable.args[2], ast.Constant) and iterable.args[2].value == 0:
        scope.fail(iterable.args[2], "range with a step of 0", "step by 1 or more, or by -1 or less")
    return iterable.args, [value.node for value in values]


def _loop_interval(scope: Scope, bounds: list[ast.expr]) -> tuple[int, int] | None:
    spans = [interval_of(b, scope.intervals) or span_of(b, scope.known_spans) for b in bounds]
    ends = of_range(spans)
    return None if math.inf in {-ends[0], ends[1]} else (int(ends[0]), int(ends[1]))


def _while(scope: Scope, node: ast.While) -> Lowered:
    scope.counters |= dict.fromkeys(stored(*node.body), ANY)
    prelude, test = aside(scope, condition, node.test)
    endless = isinstance(test, ast.Constant) and bool(test.value)
    before, outer = set(scope.assigned), (scope.breaks, scope.guards)
    guard, breaks = guard_of(scope, node), list[set[str]]()
    scope.breaks = breaks
    if guard is not None:
        scope.guards = {**scope.guards, guard.name: guard.within}
    body, _ = lower_block(scope, node.body)
    scope.breaks, scope.guards = outer
    if guard is not None:
        scope.guards = {**scope.guards, guard.name: guard.everywhere}
    scope.assigned = set.intersection(*breaks) if endless and breaks else before
    rounds = written_out(scope, guard, test, body) if guard and not prelude and not node.orelse else None
    if rounds is not None:
        return rounds, True
    scope.program.has_while = True
    orelse = _otherwise(scope, node.orelse, breaks) if node.orelse else []
    if prelude:  # stands before the test in every round
        ended = scope.temporary("ended") if orelse else ""
        leave = ast.If(ast.UnaryOp(ast.Not(), test), [*_set(ended, value=True), ast.Break()], [])
        loop = ast.While(ast.Constant(value=True), [*prelude, leave, *body], [])
        after: list[ast.stmt] = [ast.If(load(ended), orelse, [])] if orelse else []
        return [*_set(ended, value=False), loop, *after], not endless or bool(breaks)
    return [ast.While(test, body or [ast.Pass()], orelse)], not endless or bool(breaks)


def _set(name: str, *, value: bool) -> list[ast.stmt]:
    return [assign(name, ast.Constant(value))] if name else []


def _break(scope: Scope, _node: ast.Break) -> Lowered:
    scope.breaks.append(set(scope.assigned))
    return [ast.Break()], False


def _continue(scope: Scope, _node: ast.Continue) -> Lowered:
    scope.continues.append(set(scope.assigned))
    return [ast.Continue()], False


def _pass(_scope: Scope, _node: ast.Pass) -> Lowered:
    return [], True


def _return(scope: Scope, node: ast.Return) -> Lowered:
    assert node.value is not None  # noqa: S101 - refused before
    scope.whole = node.value
    if scope.by_layer:
        return [return_layers(scope, node, lower)], False
    is_held = isinstance(node.value, ast.Name) and node.value.id in scope.tuples
    if isinstance(node.value, ast.Tuple) or is_held:
        values = [lower(scope, e) for e in elements_of(scope, node.value) or ()]
        return [_returned(scope, node, values, is_tuple=True)], False
    value = lower_call(scope, node.value, lower) if isinstance(node.value, ast.Call) else lower(scope, node.value)
    if value.parts:
        statement, values = taken_apart(scope, value)
        return [statement, _returned(scope, node, values, is_tuple=True)], False
    return [_returned(scope, node, [value], is_tuple=False)], False


def _returned(scope: Scope, node: ast.Return, values: list[Value], *, is_tuple: bool) -> ast.stmt:
    kinds = tuple(v.kind for v in values)
    if scope.returns and len(kinds) != len(scope.returns[0]):
        here, elsewhere = (counted(len(k), "value") for k in (kinds, scope.returns[0]))
        scope.fail(node, f"returns {here} here and {elsewhere} elsewhere",
                   "return the same number of values on every path")  # fmt: skip
    scope.returns.append(kinds)
    scope.returns_tuple = is_tuple = scope.returns_tuple or is_tuple
    joined = joined_kinds(scope.returns)
    assert node.value is not None  # noqa: S101 - refused before
    for part, kind, value in zip(getattr(node.value, "elts", [node.value]), joined, values, strict=False):
        scope.join(part, kind, [value.kind])
    parts = [cast(v, k) for v, k in zip(values, joined, strict=True)]
    return ast.Return(ast.Tuple(parts, ast.Load()) if is_tuple else parts[0])


def joined_kinds(returns: Sequence[tuple[Kind, ...]]) -> tuple[Kind, ...]:
    """The widest kind of each result over all returns."""
    return tuple(max(column) for column in zip(*returns, strict=True))


_TABLE: dict[type[ast.stmt], Callable[..., Lowered]] = {
    ast.Assign: lower_assignment, ast.AugAssign: lower_augmented, ast.AnnAssign: lower_annotated,
    ast.Expr: lower_expression, ast.If: _if, ast.For: _for, ast.While: _while, ast.Break: _break,
    ast.Continue: _continue, ast.Pass: _pass, ast.Return: _return,
}  # fmt: skip
