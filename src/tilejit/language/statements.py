"""Statements: what is assigned on which path, and the kind of every variable."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.language.expressions import condition, lower
from tilejit.language.form import Value
from tilejit.language.intervals import interval_of
from tilejit.language.kinds import Kind
from tilejit.language.calls import lower_call
from tilejit.language.names import MISSING
from tilejit.language.scope import Scope, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def lower_block(scope: Scope, block: Sequence[ast.stmt]) -> tuple[list[ast.stmt], bool]:
    """Lowers statements; returns them, and whether the path goes on after the last."""
    result: list[ast.stmt] = []
    for statement in block:
        lowered, goes_on = _TABLE[type(statement)](scope, statement)
        result += lowered
        if not goes_on:
            return result, False
    return result, True


Lowered = tuple[list[ast.stmt], bool]


def _assign(scope: Scope, node: ast.Assign) -> Lowered:
    if len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple):
        return _unpack(scope, node, node.targets[0])
    value = lower(scope, node.value)
    result: list[ast.stmt] = []
    for target in node.targets:
        result.append(_store(scope, target, value))
    return result, True


def _store(scope: Scope, target: ast.expr, value: Value) -> ast.stmt:
    if isinstance(target, ast.Subscript):
        scope.fail(target, "an assignment to a cell", "a body returns its result; rasters are read only")
    if not isinstance(target, ast.Name):
        scope.fail(target, f"an assignment to {ast.unparse(target)}", "assign to plain variables")
    scope.note(target.id, value.kind)
    kind = scope.kinds[target.id]
    return ast.Assign([ast.Name(scope.name(target.id), ast.Store())], cast(value, kind))


def _unpack(scope: Scope, node: ast.Assign, target: ast.Tuple) -> Lowered:
    if isinstance(node.value, ast.Tuple):
        values = [lower(scope, e) for e in node.value.elts]
        kinds = [v.kind for v in values]
    elif isinstance(node.value, ast.Call):
        value = lower_call(scope, node.value, lower)
        values, kinds = [], list(value.parts)
    else:
        scope.fail(node.value, "takes apart something that is no tuple", "write a, b = x, y or call a helper")
    if len(kinds) != len(target.elts):
        scope.fail(
            node, f"{len(kinds)} values for {len(target.elts)} variables", "give each value one variable"
        )
    names = []
    for element, kind in zip(target.elts, kinds, strict=True):
        if not isinstance(element, ast.Name):
            scope.fail(element, f"an assignment to {ast.unparse(element)}", "assign to plain variables")
        scope.note(element.id, kind)
        names.append(element.id)
    targets = ast.Tuple([ast.Name(scope.name(n), ast.Store()) for n in names], ast.Store())
    if values:
        parts: list[ast.expr] = [cast(v, scope.kinds[n]) for v, n in zip(values, names, strict=True)]
        return [ast.Assign([targets], ast.Tuple(parts, ast.Load()))], True
    result: list[ast.stmt] = [ast.Assign([targets], value.node)]
    for name, kind in zip(names, kinds, strict=True):
        if scope.kinds[name] is not kind:
            # One variable has one type: a second name holds the narrower value until it is cast.
            held = f"{scope.name(name)}_part"
            for element in targets.elts:
                if isinstance(element, ast.Name) and element.id == scope.name(name):
                    element.id = held
            wide = cast(Value(ast.Name(held, ast.Load()), kind), scope.kinds[name])
            result.append(ast.Assign([ast.Name(scope.name(name), ast.Store())], wide))
    return result, True


def _augmented(scope: Scope, node: ast.AugAssign) -> Lowered:
    if not isinstance(node.target, ast.Name):
        return [_store(scope, node.target, Value(ast.Constant(0), Kind.INT))], True
    load = ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target)
    value = ast.copy_location(ast.BinOp(load, node.op, node.value), node)
    return [_store(scope, node.target, lower(scope, value))], True


def _annotated(scope: Scope, node: ast.AnnAssign) -> Lowered:
    if node.value is None:
        return [], True
    return [_store(scope, node.target, lower(scope, node.value))], True


def _if(scope: Scope, node: ast.If) -> Lowered:
    test = condition(scope, node.test)
    if isinstance(test, ast.Constant):  # is_valid, where everything is
        return lower_block(scope, node.body if test.value else node.orelse)
    before = set(scope.assigned)
    body, body_goes_on = lower_block(scope, node.body)
    after_body, scope.assigned = scope.assigned, set(before)
    orelse, else_goes_on = lower_block(scope, node.orelse)
    if not else_goes_on:
        scope.assigned = after_body
    elif body_goes_on:
        scope.assigned &= after_body
    return [ast.If(test, body or [ast.Pass()], orelse)], body_goes_on or else_goes_on


def _for(scope: Scope, node: ast.For) -> Lowered:
    bounds = _range_arguments(scope, node)
    if not isinstance(node.target, ast.Name):
        scope.fail(node.target, "a loop over several variables", "loop over one: for k in range(n)")
    name = node.target.id
    before = set(scope.assigned)
    scope.note(name, Kind.INT)
    if scope.kinds[name] is not Kind.INT:
        scope.fail(node.target, f"{name} is both a loop variable and a {scope.kinds[name]}", "use two names")
    outer = scope.intervals.pop(name, None)
    interval = None if _is_stored(node.body, name) else _loop_interval(scope, bounds)
    if interval is not None:
        scope.intervals[name] = interval
    outer_breaks, scope.breaks = scope.breaks, []
    body, _ = lower_block(scope, node.body)
    scope.breaks = outer_breaks
    scope.intervals.pop(name, None)
    if outer is not None:
        scope.intervals[name] = outer
    scope.assigned = before
    arguments = [lower(scope, b).node for b in bounds]
    iterable = ast.Call(ast.Name("range", ast.Load()), arguments, [])
    return [ast.For(ast.Name(scope.name(name), ast.Store()), iterable, body or [ast.Pass()], [])], True


def _range_arguments(scope: Scope, node: ast.For) -> list[ast.expr]:
    iterable = node.iter
    if isinstance(iterable, ast.Name) and iterable.id in scope.windows:
        scope.fail(iterable, f"iterates over the raster {iterable.id}",
                   "loop over offsets: for dy in range(-1, 2): … z[dy, dx]")  # fmt: skip
    function = scope.names.resolve(iterable.func) if isinstance(iterable, ast.Call) else MISSING
    if function is not range or not isinstance(iterable, ast.Call):
        scope.fail(iterable, f"loops over {ast.unparse(iterable)}", "a for loop goes over range(...)")
    if not 1 <= len(iterable.args) <= 3 or iterable.keywords:
        scope.fail(iterable, f"range with {len(iterable.args)} arguments", "range takes one to three")
    for bound in iterable.args:
        kind = lower(scope, bound).kind
        if kind is not Kind.INT:
            scope.fail(bound, f"a bound of range is a {kind}",
                       "bounds are integers: annotate the parameter with int, or write int(x)")  # fmt: skip
    return iterable.args


def _loop_interval(scope: Scope, bounds: list[ast.expr]) -> tuple[int, int] | None:
    spans = [interval_of(b, scope.intervals) for b in bounds]
    if any(s is None for s in spans):
        return None
    known = [s for s in spans if s is not None]
    start, stop = ((0, 0), known[0]) if len(known) == 1 else (known[0], known[1])
    if len(known) == 3 and known[2][0] < 0:
        return stop[0] + 1, start[1]
    return start[0], max(stop[1] - 1, start[0])


def _while(scope: Scope, node: ast.While) -> Lowered:
    scope.program.has_while = True
    test = condition(scope, node.test)
    endless = isinstance(test, ast.Constant) and bool(test.value)
    before = set(scope.assigned)
    outer_breaks, scope.breaks = scope.breaks, []
    body, _ = lower_block(scope, node.body)
    breaks, scope.breaks = scope.breaks, outer_breaks
    scope.assigned = set.intersection(*breaks) if endless and breaks else before
    return [ast.While(test, body or [ast.Pass()], [])], not endless or bool(breaks)


def _break(scope: Scope, node: ast.Break) -> Lowered:
    del node
    scope.breaks.append(set(scope.assigned))
    return [ast.Break()], False


def _continue(scope: Scope, node: ast.Continue) -> Lowered:
    del scope, node
    return [ast.Continue()], False


def _pass(scope: Scope, node: ast.Pass) -> Lowered:
    del scope, node
    return [], True


def _return(scope: Scope, node: ast.Return) -> Lowered:
    if isinstance(node.value, ast.Tuple):
        values = [lower(scope, e) for e in node.value.elts]
        return [_returned(scope, node, values, is_tuple=True)], False
    if isinstance(node.value, ast.Call):
        value = lower_call(scope, node.value, lower)
        if value.parts:
            return _return_call(scope, node, value), False
    value = lower(scope, node.value)  # type: ignore[arg-type]
    return [_returned(scope, node, [value], is_tuple=False)], False


def _return_call(scope: Scope, node: ast.Return, value: Value) -> list[ast.stmt]:
    """``return helper(…)`` where the helper returns a tuple: its parts may need a wider kind."""
    names = [f"part_{k}" for k in range(len(value.parts))]
    targets = ast.Tuple([ast.Name(n, ast.Store()) for n in names], ast.Store())
    values = [Value(ast.Name(n, ast.Load()), k) for n, k in zip(names, value.parts, strict=True)]
    return [ast.Assign([targets], value.node), _returned(scope, node, values, is_tuple=True)]


def _returned(scope: Scope, node: ast.Return, values: list[Value], *, is_tuple: bool) -> ast.stmt:
    kinds = tuple(v.kind for v in values)
    if scope.returns and len(kinds) != len(scope.returns[0]):
        scope.fail(node, f"returns {len(kinds)} values here and {len(scope.returns[0])} elsewhere",
                   "return the same number of values on every path")  # fmt: skip
    scope.returns.append(kinds)
    scope.returns_tuple = scope.returns_tuple or is_tuple
    joined = joined_kinds(scope.returns)
    parts = [cast(v, k) for v, k in zip(values, joined, strict=True)]
    return ast.Return(ast.Tuple(parts, ast.Load()) if is_tuple else parts[0])


def joined_kinds(returns: Sequence[tuple[Kind, ...]]) -> tuple[Kind, ...]:
    """The widest kind of each result over all returns."""
    return tuple(max(column) for column in zip(*returns, strict=True))


def _is_stored(block: list[ast.stmt], name: str) -> bool:
    return any(
        isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store)
        for s in block
        for n in ast.walk(s)
    )


_TABLE: dict[type[ast.stmt], Callable[..., Lowered]] = {
    ast.Assign: _assign, ast.AugAssign: _augmented, ast.AnnAssign: _annotated, ast.If: _if, ast.For: _for,
    ast.While: _while, ast.Break: _break, ast.Continue: _continue, ast.Pass: _pass, ast.Return: _return,
}  # fmt: skip
