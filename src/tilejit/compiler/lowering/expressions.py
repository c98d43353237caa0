"""Expressions: each gets a kind, and a cast wherever integers meet floats."""

from __future__ import annotations

import ast
import itertools
from typing import TYPE_CHECKING

from tilejit.compiler.form.captured import MISSING
from tilejit.compiler.form.form import MULTIPLIED_OUT, assign, call, load
from tilejit.compiler.form.kinds import Kind, Quantity, article
from tilejit.compiler.lowering.array_values import each_raster, lower_element, refuse_whole
from tilejit.compiler.lowering.calls import lower_call, refuse_array_function, refuse_undefined
from tilejit.compiler.lowering.cells import lower_name, lower_subscript, lower_time
from tilejit.compiler.lowering.elements import lower_contains, lower_table
from tilejit.compiler.lowering.scope import Scope, Value, aside, branched, cast, choice, float_literal
from tilejit.compiler.syntax.checks import refuse
from tilejit.times import CALENDAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.form.form import Neighbourhood

_BITS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift, ast.RShift)
_ANNOTATE = "annotate the raster with its integer dtype: def f(qa: np.uint16)"


def lower(scope: Scope, node: ast.expr) -> Value:
    """Lowers an expression.

    Raises:
        KernelError: It is something that the language does not have.
    """
    lowering = _TABLE.get(type(node))
    return refuse(scope.source, node) if lowering is None else lowering(scope, node)


def condition(scope: Scope, node: ast.expr) -> ast.expr:
    """Lowers an expression whose truth is asked: numbers are compared with zero, as in Python."""
    if isinstance(node, ast.BoolOp):
        return _joined(scope, node.op, [aside(scope, condition, v) for v in node.values])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _negated(condition(scope, node.operand))
    return truth_of(lower(scope, node))


def truth_of(value: Value) -> ast.expr:
    """Whether a value is true: a number is where it is not zero."""
    if value.kind is Kind.BOOL:
        return value.node
    zero = float_literal(0.0) if value.kind is Kind.FLOAT else ast.Constant(0)
    return ast.Compare(value.node, [ast.NotEq()], [zero])


def _constant(scope: Scope, node: ast.Constant) -> Value:
    if isinstance(node.value, bool):
        return Value(ast.Constant(node.value), Kind.BOOL)
    if isinstance(node.value, int):
        if not -(2**63) <= node.value < 2**63:
            scope.fail(node, f"the integer {node.value} does not fit 64 bits", "write it as a float: 1e20")
        return Value(ast.Constant(node.value), Kind.INT)
    if not isinstance(node.value, float):
        what = "None" if node.value is None else "a string"
        scope.fail(node, f"{what} in a body", "a body has numbers, True and False only; a flag that is compared with a "
                   "text or None is captured, and known when the kernel is compiled")  # fmt: skip
    return Value(float_literal(node.value), Kind.FLOAT)


def _name(scope: Scope, node: ast.Name) -> Value:
    window = scope.windows.get(node.id)
    if window is not None:
        return lower_name(scope, node, window, lower)
    refuse_whole(scope, node)
    if node.id in scope.kinds:
        if node.id not in scope.assigned:
            scope.fail(node, f"{node.id} may be used before it has a value", "assign it on every path that leads here")
        return Value(load(scope.name(node.id)), scope.kinds[node.id])
    if node.id in scope.names.locals:
        scope.fail(node, f"{node.id} is used before it has a value", "assign it first")
    captured = scope.names.resolve(node)
    if captured is MISSING:
        refuse_undefined(scope, node)
        scope.fail(node, f"unknown name {node.id}",
                   "define it above the kernel, or make it a keyword-only parameter")  # fmt: skip
    instead = ("a body captures numbers and plain functions; pass values as keyword-only parameters, "
               "arrays as rasters")  # fmt: skip
    if isinstance(captured, (tuple, frozenset)):
        instead = f"index it, or ask: z in {node.id}"
    return scope.fail(node, f"{node.id} is no number ({type(captured).__name__})", instead)


def _timed(scope: Scope, node: ast.expr) -> Neighbourhood | None:
    """The raster of which a body asks the times: ``t.time``, ``t.month``."""
    is_time = isinstance(node, ast.Attribute) and node.attr in CALENDAR and isinstance(node.value, ast.Name)
    return scope.windows.get(node.value.id) if is_time else None  # type: ignore[attr-defined]


def _attribute(scope: Scope, node: ast.Attribute) -> Value:
    captured = scope.names.resolve(node)
    if _timed(scope, node) is not None:
        scope.fail(node, f"{ast.unparse(node)} without a layer", f"write {ast.unparse(node)}[k]")
    if captured is MISSING:
        refuse_undefined(scope, node)
        scope.fail(node, f"unknown name {ast.unparse(node)}",
                   "a body sees numbers, modules and plain functions, and no attributes of objects")  # fmt: skip
    if isinstance(captured, Quantity):
        scope.fail(node, f"{captured!r} inside a body",
                   f"make it the default of a keyword-only parameter: def f(z, *, size={captured!r})")  # fmt: skip
    scope.fail(node, f"{ast.unparse(node)} is not a number that a body can capture",
               "assign it to a module constant above the kernel, or make it a keyword-only parameter")  # fmt: skip


def _subscript(scope: Scope, node: ast.Subscript) -> Value:
    window = scope.windows.get(node.value.id) if isinstance(node.value, ast.Name) else None
    if (timed := _timed(scope, node.value)) is not None:
        return lower_time(scope, node, timed, lower)
    if window is None:
        value = each_raster(scope, node, lower) or lower_table(scope, node, lower) or lower_element(scope, node, lower)
        if value is not None:
            return value
        refuse_array_function(scope, node.value)
        scope.fail(node, f"{ast.unparse(node.value)} is no raster parameter, so it has no cells",
                   "pass arrays as positional parameters, and constant weights as a captured tuple")  # fmt: skip
    return lower_subscript(scope, node, window, lower)


def _binary(scope: Scope, node: ast.BinOp) -> Value:
    left, right = lower(scope, node.left), lower(scope, node.right)
    if isinstance(node.op, _BITS):
        return _bits(scope, node, left, right)
    kind = max(left.kind, right.kind, Kind.INT)
    if isinstance(node.op, ast.Div):
        kind = Kind.FLOAT
    if isinstance(node.op, ast.Pow):
        return _power(scope, left, right, node.op)
    result = ast.BinOp(cast(left, kind), node.op, cast(right, kind))
    wraps = kind is Kind.INT and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult))
    return Value(call("_whole", result) if wraps else result, kind)


def _power(scope: Scope, left: Value, right: Value, operator: ast.Pow) -> Value:
    """``x ** 2`` keeps its literal exponent, which Numba multiplies out; everything else is a power of floats."""
    exponent = right.node.value if isinstance(right.node, ast.Constant) and right.kind is not Kind.FLOAT else None
    kind = max(left.kind, Kind.INT)
    if not isinstance(exponent, int) or abs(exponent) > MULTIPLIED_OUT or (exponent < 0 and kind is Kind.INT):
        return Value(call("_math", ast.Constant("pow"), cast(left, Kind.FLOAT), cast(right, Kind.FLOAT)), Kind.FLOAT)
    if kind is Kind.INT:
        return Value(_product(scope, cast(left, kind), exponent), kind)
    power: ast.expr = call("_float", ast.BinOp(cast(left, kind), operator, ast.Constant(abs(exponent))))
    if exponent < 0:  # Numba's own raises where x is 0
        power = ast.BinOp(float_literal(1.0), ast.Div(), power)
    return Value(power, Kind.FLOAT)


def _product(scope: Scope, base: ast.expr, exponent: int) -> ast.expr:
    """An integer to a literal power, by squares."""
    result: ast.expr | None = None
    while exponent:
        base = base if isinstance(base, ast.Constant) else scope.held("square", base)
        if exponent & 1:
            result = base if result is None else call("_whole", ast.BinOp(result, ast.Mult(), base))
        base, exponent = call("_whole", ast.BinOp(base, ast.Mult(), base)), exponent >> 1
    return ast.Constant(1) if result is None else result


def _bits(scope: Scope, node: ast.BinOp, left: Value, right: Value) -> Value:
    for value in (left, right):
        if value.kind is Kind.FLOAT:
            scope.fail(node, "a bit operator on a float", _ANNOTATE)
    is_shift = isinstance(node.op, (ast.LShift, ast.RShift))
    if is_shift:
        right = _shift_count(scope, node.right, right)
    if left.kind is right.kind is Kind.BOOL and not is_shift:
        return Value(ast.BinOp(left.node, node.op, right.node), Kind.BOOL)
    return Value(ast.BinOp(cast(left, Kind.INT), node.op, cast(right, Kind.INT)), Kind.INT)


def _shift_count(scope: Scope, node: ast.expr, value: Value) -> Value:
    if not isinstance(value.node, ast.Constant):
        # Only these six bits count, as on x86; the shift would otherwise be undefined.
        return Value(ast.BinOp(cast(value, Kind.INT), ast.BitAnd(), ast.Constant(63)), Kind.INT)
    if value.node.value not in range(64):
        scope.fail(node, f"a shift by {value.node.value!r}", "integers have 64 bits: shift by 0 to 63")
    return value


def _unary(scope: Scope, node: ast.UnaryOp) -> Value:
    if isinstance(node.op, ast.Not):
        return Value(_negated(condition(scope, node.operand)), Kind.BOOL)
    value = lower(scope, node.operand)
    if isinstance(node.op, ast.Invert) and value.kind is Kind.BOOL:
        scope.fail(node, "~ on a truth value, which would be -1 or -2", "write not")
    if isinstance(node.op, ast.Invert) and value.kind is Kind.FLOAT:
        scope.fail(node, "a bit operator on a float", _ANNOTATE)
    kind = max(value.kind, Kind.INT)
    return Value(ast.UnaryOp(node.op, cast(value, kind)), kind)


def _boolean(scope: Scope, node: ast.BoolOp) -> Value:
    parts = [aside(scope, lower, v) for v in node.values]
    if all(value.kind is Kind.BOOL for _, value in parts):
        return Value(_joined(scope, node.op, [(prelude, v.node) for prelude, v in parts]), Kind.BOOL)
    scope.join(node, max(v.kind for _, v in parts), (v.kind for _, v in parts))
    return _operand(scope, node.op, parts)


def _operand(scope: Scope, operator: ast.boolop, parts: list[tuple[list[ast.stmt], Value]]) -> Value:
    """``and`` and ``or`` of numbers give one of their operands: the first that decides, or the last."""
    kind = max(value.kind for _, value in parts)
    (before, value), *rest = parts
    scope.prelude += before
    if not rest:
        return Value(cast(value, kind), kind)
    first = Value(scope.held("operand", value.node), value.kind)
    is_decided = truth_of(first)
    before_rest, other = aside(scope, _operand, operator, rest)
    sides = cast(first, kind), cast(other, kind)
    yes, no = sides if isinstance(operator, ast.Or) else sides[::-1]
    if not before_rest:
        return Value(choice(is_decided, yes, no), kind)
    held = scope.temporary("operand")
    ways = [assign(held, sides[0])], [*before_rest, assign(held, sides[1])]
    scope.prelude += branched(scope, is_decided, *(ways if isinstance(operator, ast.Or) else ways[::-1]))
    return Value(load(held), kind)


_Part = tuple[list[ast.stmt], ast.expr]
"""A condition, and the statements that must stand before it."""


def _joined(scope: Scope, operator: ast.boolop, parts: list[_Part]) -> ast.expr:
    """Bodies have no side effects, so both sides may be computed; without the jump the loop stays vector code.

    A C function may crash on what the left side rules out, so it is called behind a jump.
    """
    if any(prelude for prelude, _ in parts):
        return _in_turn(scope, operator, parts)
    conditions = [condition for _, condition in parts]
    decisive = isinstance(operator, ast.Or)
    literals = [c.value for c in conditions if isinstance(c, ast.Constant)]
    if decisive in literals:
        return ast.Constant(value=decisive)
    rest = [c for c in conditions if not isinstance(c, ast.Constant)]
    if not rest:
        return ast.Constant(value=not decisive)
    if scope.program.calls_c and len(rest) > 1:
        return ast.BoolOp(operator, rest)
    result = rest[0]
    for other in rest[1:]:
        result = ast.BinOp(result, ast.BitOr() if decisive else ast.BitAnd(), other)
    return result


def _in_turn(scope: Scope, operator: ast.boolop, parts: list[_Part]) -> ast.expr:
    """``and`` and ``or`` of which an operand needs statements of its own: they count where Python comes to it."""
    (prelude, first), *rest = parts
    scope.prelude += prelude
    if not rest:
        return first
    result = scope.held("truth", first)
    goes_on = result if isinstance(operator, ast.And) else ast.UnaryOp(ast.Not(), result)
    for before, other in rest:
        scope.prelude += branched(scope, goes_on, [*before, assign(result.id, other)], [], result.id)
    return result


def _compare(scope: Scope, node: ast.Compare) -> Value:
    sides = itertools.pairwise([node.left, *node.comparators])
    tests: list[_Part] = [aside(scope, _test, op, *pair) for op, pair in zip(node.ops, sides, strict=True)]
    return Value(_joined(scope, ast.And(), tests), Kind.BOOL)


def _test(scope: Scope, operator: ast.cmpop, left_node: ast.expr, right_node: ast.expr) -> ast.expr:
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if isinstance(right_node, ast.Constant) and isinstance(right_node.value, bool):
            return _is_truth(scope, left_node, right_node.value is isinstance(operator, ast.Is))
        scope.fail(right_node, "'is' in a body", "compare numbers with ==; ask tj.is_valid(z[dy, dx]) for nodata")
    if isinstance(operator, (ast.In, ast.NotIn)):
        found = lower_contains(scope, left_node, right_node, lower)
        if found is None:
            elements = _elements(scope, right_node)
            found = _joined(scope, ast.Or(), [([], _test(scope, ast.Eq(), left_node, e)) for e in elements])
        return found if isinstance(operator, ast.In) else _negated(found)
    left, right = lower(scope, left_node), lower(scope, right_node)
    kind = max(left.kind, right.kind)
    return ast.Compare(cast(left, kind), [operator], [cast(right, kind)])


def _is_truth(scope: Scope, node: ast.expr, wanted: bool) -> ast.expr:
    """``flag is True``, which no number is."""
    value = lower(scope, node)
    if value.kind is not Kind.BOOL:
        scope.fail(node, f"{article(value.kind)} compared with 'is'", "compare numbers with ==")
    return value.node if wanted else _negated(value.node)


def _elements(scope: Scope, node: ast.expr) -> list[ast.expr]:
    """What ``in`` looks through: a tuple, written out or captured."""
    if isinstance(node, ast.Tuple):
        return node.elts
    values = scope.names.constants(node)
    if values is None:
        scope.fail(node, "'in' over something that is no tuple of numbers", "write: c in (3, 8, 9)")
    return [ast.copy_location(ast.Constant(v), node) for v in values]


def _negated(test: ast.expr) -> ast.expr:
    if isinstance(test, ast.Constant):
        return ast.Constant(not test.value)
    return ast.UnaryOp(ast.Not(), test)


def _choice(scope: Scope, node: ast.IfExp) -> Value:
    test = condition(scope, node.test)
    if isinstance(test, ast.Constant):  # is_valid, where everything is
        return lower(scope, node.body if test.value else node.orelse)
    (before_yes, yes), (before_no, no) = aside(scope, lower, node.body), aside(scope, lower, node.orelse)
    kind = max(yes.kind, no.kind)
    scope.join(node, kind, (yes.kind, no.kind))
    if not before_yes and not before_no:
        return Value(choice(test, cast(yes, kind), cast(no, kind)), kind)
    held = scope.temporary("choice")
    body, orelse = ([*b, assign(held, cast(v, kind))] for b, v in ((before_yes, yes), (before_no, no)))
    scope.prelude += branched(scope, test, body, orelse)
    return Value(load(held), kind)


def _tuple(scope: Scope, node: ast.Tuple) -> Value:
    scope.fail(node, "a tuple as a value", "tuples are for return, and for assigning several variables at once")


def _array(scope: Scope, node: ast.expr) -> Value:
    scope.fail(node, "a list where one value is needed",
               "assign it first: a = [x, y]; a[k]. Or add up: sum(x for x in a)")  # fmt: skip


def _call(scope: Scope, node: ast.Call) -> Value:
    value = lower_call(scope, node, lower)
    if value.parts:
        scope.fail(node, f"{ast.unparse(node.func)} returns {len(value.parts)} values, where one is needed",
                   "take them apart first: a, b = …")  # fmt: skip
    return value


_TABLE: dict[type[ast.expr], Callable[..., Value]] = {
    ast.Constant: _constant, ast.Name: _name, ast.Attribute: _attribute, ast.Subscript: _subscript,
    ast.BinOp: _binary, ast.UnaryOp: _unary, ast.BoolOp: _boolean, ast.Compare: _compare, ast.IfExp: _choice,
    ast.Tuple: _tuple, ast.Call: _call, ast.List: _array, ast.ListComp: _array, ast.GeneratorExp: _array,
}  # fmt: skip
