"""Assignments: of numbers, of what is taken apart, of arrays, tuples and their elements."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.compiler.arrays.arrays import sort, window
from tilejit.compiler.arrays.text import at_place
from tilejit.compiler.form.form import assign, load, stored, targets
from tilejit.compiler.form.kinds import Kind, article
from tilejit.compiler.lowering.array_values import (
    array_of,
    assign_array,
    element,
    is_array,
    lower_sort,
    store,
    store_element,
)
from tilejit.compiler.lowering.calls import lower_call
from tilejit.compiler.lowering.expressions import lower
from tilejit.compiler.lowering.indexing import ANY, Span, span_of
from tilejit.compiler.lowering.scope import Scope, Value, cast
from tilejit.compiler.lowering.windows import assign_window
from tilejit.compiler.syntax.folding import COUNT, interval_of
from tilejit.compiler.syntax.names import parameter_names
from tilejit.compiler.syntax.numpy_names import math_name
from tilejit.compiler.syntax.rewriting import core_source
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

Lowered = tuple[list[ast.stmt], bool]
"""Statements, and whether the path goes on after them."""


def lower_assignment(scope: Scope, node: ast.Assign) -> Lowered:
    """Lowers ``a = …``, ``a, b = …`` and ``a = b = …``."""
    target = node.targets[0]
    scope.whole = node.value
    if len(node.targets) > 1:
        return _assign_many(scope, node)
    if isinstance(target, ast.Tuple) and any(isinstance(t, ast.Tuple) for t in target.elts):
        target, value = _flattened(target, node.value)
        nested = next((t for t in target.elts if isinstance(t, ast.Tuple)), None)
        if nested is not None:
            _store(scope, nested, Value(ast.Constant(0), Kind.INT))  # which refuses it
        return lower_assignment(scope, ast.copy_location(ast.Assign([target], value), node))
    made = _made(scope, target, node.value)
    if made is not None:
        return made, True
    if isinstance(target, ast.Tuple) and _makes_arrays(scope, target, node.value):
        pairs = zip(target.elts, node.value.elts, strict=True)  # type: ignore[attr-defined]
        return scope.program.lower_block(scope, [ast.copy_location(ast.Assign([t], v), node) for t, v in pairs])
    if isinstance(target, ast.Tuple):
        return _unpack(scope, node, target), True
    store = _store(scope, target, lower(scope, node.value), interval_of(node.value, {}))
    _note_interval(scope, target, node.value, is_bound=getattr(node, "is_bound", False))
    return [store], True


def _flattened(target: ast.Tuple, value: ast.expr) -> tuple[ast.Tuple, ast.expr]:
    """``(a, b), c = (x, y), z`` as ``a, b, c = x, y, z``, where a tuple in each place tells."""
    if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
        return target, value
    targets: list[ast.expr] = []
    values: list[ast.expr] = []
    for each, given in zip(target.elts, value.elts, strict=True):
        pair = _flattened(each, given) if isinstance(each, ast.Tuple) else (each, given)
        is_taken = isinstance(pair[0], ast.Tuple) and isinstance(pair[1], ast.Tuple)
        targets += pair[0].elts if is_taken else [pair[0]]  # type: ignore[attr-defined]
        values += pair[1].elts if is_taken else [pair[1]]  # type: ignore[attr-defined]
    return (ast.copy_location(ast.Tuple(targets, ast.Store()), target),
            ast.copy_location(ast.Tuple(values, ast.Load()), value))  # fmt: skip


def _makes_arrays(scope: Scope, target: ast.Tuple, value: ast.expr) -> bool:
    """Whether a line makes several arrays: ``h, n = tj.zeros(16), 0``."""
    if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
        return False
    changed = {t.id for t in target.elts if isinstance(t, ast.Name)}
    reads = changed & {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
    return any(is_array(scope, v) for v in value.elts) and not reads


def _made(scope: Scope, target: ast.expr, value: ast.expr) -> list[ast.stmt] | None:
    """The statements of an assignment of an array, a tuple or a window; None where it is none of these."""
    function = scope.names.resolve(value.func) if isinstance(value, ast.Call) else None
    if isinstance(target, ast.Tuple):
        is_window = function is window and isinstance(value, ast.Call)
        return assign_window(scope, target, value) if is_window else None  # type: ignore[arg-type]
    if not isinstance(target, ast.Name):
        return None
    if is_array(scope, value):
        return assign_array(scope, target, value, lower)
    if isinstance(value, ast.Name) and value.id in scope.arrays:
        scope.fail(value, f"{target.id} would be a second name of the array {value.id}",
                   f"an array has one; a copy is list({value.id})")  # fmt: skip
    names = _elements_of_tuple(scope, value)
    if names is None:
        return None
    if target.id in {*scope.kinds, *scope.arrays, *scope.windows}:
        scope.fail(target, f"{target.id} is both a tuple and something else", "use two names")
    if scope.tuples.setdefault(target.id, len(names)) != len(names):
        scope.fail(value, f"{target.id} has {len(names)} elements here and {scope.tuples[target.id]} elsewhere",
                   "use two names")  # fmt: skip
    parts: list[ast.expr] = [ast.Name(f"{target.id}@{k}", ast.Store()) for k in range(len(names))]
    whole = at_place(ast.Tuple(parts, ast.Store()), target)
    return _unpack(scope, ast.copy_location(ast.Assign([whole], value), value), whole)


def _elements_of_tuple(scope: Scope, value: ast.expr) -> Sequence[object] | None:
    """As many things as a tuple has elements that an expression is, or None where it is none."""
    if isinstance(value, ast.Tuple):
        return value.elts
    if isinstance(value, ast.Name) and value.id in scope.tuples:
        return range(scope.tuples[value.id])
    helper = scope.names.helper(scope.names.resolve(value.func)) if isinstance(value, ast.Call) else None
    if helper is None or math_name(helper) is not None or helper in scope.program.active:
        return None
    returned = next((n.value for n in ast.walk(core_source(helper).tree) if isinstance(n, ast.Return)), None)
    return returned.elts if isinstance(returned, ast.Tuple) else None


def _note_interval(scope: Scope, target: ast.expr, value: ast.expr, *, is_bound: bool = False) -> None:
    """Notes where a variable lies that is assigned once, of layers or of a table, or in a loop's head."""
    span = interval_of(value, scope.intervals)
    is_known = span is not None and (max(map(abs, span)) >= COUNT // 2 or _has_subscript(value) or is_bound)
    if span is None or not is_known or not isinstance(target, ast.Name):
        return
    if is_bound or [*parameter_names(scope.source), *stored(scope.source.tree)].count(target.id) == 1:
        scope.intervals = {**scope.intervals, target.id: span}


def _has_subscript(node: ast.expr) -> bool:
    return any(isinstance(n, ast.Subscript) for n in ast.walk(node))


def _assign_many(scope: Scope, node: ast.Assign) -> Lowered:
    """``a = b = value`` computes its value once, before any of the names changes."""
    value = lower(scope, node.value)
    result: list[ast.stmt] = []
    if not isinstance(value.node, ast.Constant):
        held = scope.temporary("value")
        result.append(assign(held, value.node))
        value = Value(load(held), value.kind)
    return result + [_store(scope, target, value) for target in node.targets], True


def _store(scope: Scope, target: ast.expr, value: Value, span: Span | None = None) -> ast.Assign:
    """An assignment of a value, which lies within ``span``."""
    if isinstance(target, ast.Subscript):
        stored_element = store_element(scope, target, value, lower)
        if stored_element is not None:
            return stored_element
        scope.fail(target, "an assignment to a cell", "a body returns its result; rasters are read only")
    if not isinstance(target, ast.Name):
        scope.fail(target, f"an assignment to {ast.unparse(target)}", "assign to plain variables")
    if target.id in scope.arrays or target.id in scope.tuples:
        scope.fail(target, f"{target.id} is both an array or a tuple and {article(value.kind)}", "use two names")
    low, high = span or ANY
    least, most = scope.counters.get(target.id, (low, high))
    scope.counters[target.id] = min(low, least), max(high, most)
    scope.note(target.id, value.kind)
    scope.join(target, scope.kinds[target.id], [value.kind])
    return assign(scope.name(target.id), cast(value, scope.kinds[target.id]))


def _unpack(scope: Scope, node: ast.Assign, target: ast.Tuple) -> list[ast.stmt]:
    """Lowers ``a, b = x, y`` and ``a, b = helper(...)``."""
    result: list[ast.Assign] = []
    elements = elements_of(scope, node.value)
    _check_targets(scope, target)
    if elements is not None:
        values = [lower(scope, e) for e in elements]
    else:
        value = lower_call(scope, node.value, lower) if isinstance(node.value, ast.Call) else None
        if value is None or not value.parts:
            scope.fail(node.value, "no tuple to take apart", "write a, b = x, y, or call a helper that returns a tuple")
        statement, values = taken_apart(scope, value)
        result.append(statement)
    if len(values) != len(target.elts):
        scope.fail(node, f"{counted(len(values), 'value')} for {counted(len(target.elts), 'variable')}",
                   "give each value one variable")  # fmt: skip
    written = node.value.elts if isinstance(node.value, ast.Tuple) else []
    spans = [interval_of(w, {}) for w in written] or [None] * len(values)
    stores = [_store(scope, *each) for each in zip(target.elts, values, spans, strict=True)]
    for part, text in zip(target.elts, written, strict=False):
        _note_interval(scope, part, text)
    names = ast.Tuple([s.targets[0] for s in stores], ast.Store())
    if result and all(isinstance(s.value, ast.Name) for s in stores):  # no cast: straight into the variables
        return [ast.Assign([names], result[0].value)]
    return [*result, ast.Assign([names], ast.Tuple([s.value for s in stores], ast.Load()))]


def elements_of(scope: Scope, node: ast.expr) -> list[ast.expr] | None:
    """The elements of what is taken apart, where that is no helper's result."""
    if isinstance(node, ast.Tuple):
        return node.elts
    if isinstance(node, ast.Name) and node.id in scope.tuples:
        return [at_place(load(f"{node.id}@{k}"), node) for k in range(scope.tuples[node.id])]
    array = array_of(scope, node, lower)
    if array is None:
        return None
    name = next(n for n, a in scope.arrays.items() if a == array)
    return [at_place(ast.Subscript(load(name), ast.Constant(k), ast.Load()), node) for k in range(array.size)]


def _check_targets(scope: Scope, target: ast.Tuple) -> None:
    """Python assigns from the left, and a body all at once: no index may be of a variable that is assigned too."""
    indices = [t.slice for t in target.elts if isinstance(t, ast.Subscript)]
    changed = {t.id for t in target.elts if isinstance(t, ast.Name)}
    for index in indices:
        if changed & {n.id for n in ast.walk(index) if isinstance(n, ast.Name)}:
            scope.fail(index, "an index that the same line changes", "write the assignments on lines of their own")


def taken_apart(scope: Scope, value: Value) -> tuple[ast.Assign, list[Value]]:
    """Gives the elements of a tuple names, because a variable may need a wider kind."""
    names = [scope.temporary("part") for _ in value.parts]
    elements = [Value(load(n), k) for n, k in zip(names, value.parts, strict=True)]
    return ast.Assign([targets(names)], value.node), elements


def lower_augmented(scope: Scope, node: ast.AugAssign) -> Lowered:
    """Lowers ``a += …``."""
    if isinstance(node.target, ast.Subscript):
        return _augmented_element(scope, node, node.target), True
    if not isinstance(node.target, ast.Name):
        return [_store(scope, node.target, Value(ast.Constant(0), Kind.INT))], True
    held = ast.copy_location(load(node.target.id), node.target)
    value = ast.copy_location(ast.BinOp(held, node.op, node.value), node)
    reached = span_of(value, {node.target.id: scope.counters.get(node.target.id, ANY)})
    return [_store(scope, node.target, lower(scope, value), reached)], True


def _augmented_element(scope: Scope, node: ast.AugAssign, target: ast.Subscript) -> list[ast.stmt]:
    """``h[k] += 1``, whose index is tested once."""
    changed = store_element(scope, target, Value(ast.Constant(value=False), Kind.BOOL), lower)
    if changed is None or not isinstance(target.value, ast.Name):
        return [_store(scope, target, Value(ast.Constant(0), Kind.INT))]
    array, place = scope.arrays[target.value.id], changed.targets[0]
    assert isinstance(place, ast.Subscript)  # noqa: S101 - an element
    index = place.slice if isinstance(place.slice, (ast.Constant, ast.Name)) else scope.held("index", place.slice)
    scope.made += 1
    held = f"@element{scope.made}"
    old = element(array, index)
    scope.note(held, old.kind)
    scope.prelude.append(assign(scope.name(held), cast(old, scope.kinds[held])))
    value = lower(scope, at_place(ast.BinOp(load(held), node.op, node.value), node))
    if value.kind > array.kind:
        store_element(scope, target, value, lower)  # which refuses it
    return [store(array, index, cast(value, array.kind))]


def lower_expression(scope: Scope, node: ast.Expr) -> Lowered:
    """A call for what it changes: of ``tj.sort``, or of a helper that writes to an array."""
    call = node.value
    assert isinstance(call, ast.Call)  # noqa: S101 - others are left out, or refused before
    scope.whole = scope.bare = call
    function = scope.names.resolve(call.func)
    if function is sort:
        return lower_sort(scope, call, lower), True
    value, plain = lower_call(scope, call, lower), scope.names.helper(function)
    if not any(f.function is plain and f.name in scope.program.writers for f in scope.program.functions.values()):
        scope.fail(node, "an expression whose value is not used", "assign it to a variable, or leave it out")
    return [ast.Expr(value.node)] if isinstance(value.node, ast.Call) else [], True


def lower_annotated(scope: Scope, node: ast.AnnAssign) -> Lowered:
    """Lowers ``a: int = …``."""
    if node.value is None:
        return [], True
    scope.whole = node.value
    made = _made(scope, node.target, node.value)
    return [_store(scope, node.target, lower(scope, node.value))] if made is None else made, True
