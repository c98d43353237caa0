"""Cells: what a body reads of its rasters, by an offset, and of a stack by the number of a layer too.

The number of layers is known only while running, so that one function serves any. An index of which the bounds of loops
tell that it lies within them costs nothing; any other is held within them before the cell is read, and noted where it
lay outside: the run then fails. Python counts negative ones from the end, and so does a body.
"""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.form.form import TIMES, Asked, call, load
from tilejit.compiler.form.kinds import ALL, Kind, article
from tilejit.compiler.lowering.indexing import ANY, settled_span
from tilejit.compiler.lowering.scope import Scope, Value
from tilejit.compiler.syntax.folding import COUNT, interval_of
from tilejit.compiler.syntax.neighbours import has_neighbours
from tilejit.times import CALENDAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.form.form import Neighbourhood

    Lower = Callable[[Scope, ast.expr], Value]


def lower_name(scope: Scope, node: ast.expr, window: Neighbourhood, lower: Lower) -> Value:
    """Lowers a raster's bare name: the pixel's own cell.

    Raises:
        KernelError: It is a stack.
    """
    if window.is_stack:
        scope.fail(node, f"{window.raster} is a stack, and one value is needed", f"choose a layer: {window.raster}[0]")
    if isinstance(node, ast.Name) and has_neighbours(scope.source, node.id):
        scope.fail(
            node,
            f"{window.raster} has neighbours here, and one value is needed",
            f"write {window.shown}[0, 0] for the pixel itself",
        )
    return _read(scope, node, window, [ast.Constant(0), ast.Constant(0)], lower)


def lower_subscript(scope: Scope, node: ast.Subscript, window: Neighbourhood, lower: Lower) -> Value:
    """Lowers a subscript of a raster.

    Raises:
        KernelError: It has not the form that a raster or a stack takes, or reaches further than was declared.
    """
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if window.is_stack and len(indices) not in {1, 3}:
        scope.fail(node, f"a cell of a stack has one index or three, and this has {len(indices)}",
                   f"write {window.name}[k], or {window.name}[k, dy, dx]: layer, rows south, columns east")  # fmt: skip
    if window.is_stack and len(indices) == 1:
        return _read(scope, node, window, [*indices, ast.Constant(0), ast.Constant(0)], lower)
    if not scope.program.is_focal:
        what, own = ("neighbours", f"{window.name}[k]") if window.is_stack else ("a subscript", window.shown)
        scope.fail(node, f"{what} in a local body",
                   f"a local body sees one pixel: write {own}, or declare it with @tj.focal")  # fmt: skip
    if not window.is_stack and len(indices) != 2:
        scope.fail(node, "a neighbour has two offsets", f"write {window.shown}[dy, dx]: rows south, columns east")
    return _read(scope, node, window, indices, lower)


def lower_length(scope: Scope, node: ast.Call) -> Value:
    """Lowers ``len(t)``.

    Raises:
        KernelError: It is of something that is no stack.
    """
    argument = node.args[0] if len(node.args) == 1 and not node.keywords else node
    window = scope.windows.get(argument.id) if isinstance(argument, ast.Name) else None
    if window is None or not window.is_stack:
        scope.fail(node.func, "len of something that is no stack",
                   "len counts the layers of a parameter that is annotated with tj.Stack")  # fmt: skip
    return Value(call("_count", load(window.name)), Kind.INT)


def lower_time(scope: Scope, node: ast.Subscript, window: Neighbourhood, lower: Lower) -> Value:
    """Lowers ``t.time[k]`` and ``t.month[k]``, which lie one after the other in one table.

    Raises:
        KernelError: It is of a plane, or has not one index.
    """
    if not window.is_stack:
        scope.fail(node, f"{ast.unparse(node.value)} of something that is no stack",
                   "layers of a parameter that is annotated with tj.Stack have times")  # fmt: skip
    if isinstance(node.slice, ast.Tuple):
        scope.fail(node, "the time of a layer has one index", f"write {ast.unparse(node.value)}[k]")
    _, (index,) = _layer(scope, node, window, node.slice, lower)
    scope.program.reads_times = True
    part = CALENDAR.index(node.value.attr)  # type: ignore[attr-defined]
    if part == 0:
        return Value(call("_time", load(TIMES), index), Kind.FLOAT)
    before = ast.BinOp(ast.Constant(part), ast.Mult(), call("_count", load(window.name)))
    return Value(call("_cut", call("_time", load(TIMES), ast.BinOp(before, ast.Add(), index))), Kind.INT)


def _read(scope: Scope, node: ast.expr, window: Neighbourhood, indices: list[ast.expr], lower: Lower) -> Value:
    """The read of a cell; beyond the radius, where offsets known only while running may lead, is no data."""
    *layers, dy, dx = indices
    layer, layers = _layer(scope, node, window, layers[0], lower) if layers else (0, [])
    row, rows, above = _offset(scope, node, 0, dy, lower)
    col, cols, beside = _offset(scope, node, 1, dx, lower)
    tests = [*above, *beside]
    scope.program.footprint[window.raster] |= {(layer, y, x) for y in rows for x in cols}
    cell = call("_read", load(window.name), *layers, row, col)
    number = _held_within(scope, cell) if scope.program.dtypes[window.raster] == np.uint64 else cell
    if not tests:
        return Value(number, window.kind, cell=cell)
    inside = scope.held("inside", functools.reduce(lambda a, b: ast.BinOp(a, ast.BitAnd(), b), tests))
    scope.remark("beyond", ast.UnaryOp(ast.Not(), inside))
    nothing = load("_NAN") if window.kind is Kind.FLOAT else ast.Constant(0)
    return Value(call("_select", inside, number, nothing), window.kind, cell=cell, inside=inside)


def _layer(
    scope: Scope, node: ast.expr, window: Neighbourhood, index: ast.expr, lower: Lower
) -> tuple[int, list[ast.expr]]:
    """Which layer is read, or ALL, and its index."""
    value = lower(scope, index)
    if value.kind is not Kind.INT:
        scope.fail(index, f"the index of a layer is {article(value.kind)}", "layers are numbered: t[0], t[1], …")
    count = call("_count", load(window.name))
    if isinstance(value.node, ast.Constant):
        number = int(value.node.value)  # type: ignore[arg-type]
        scope.program.asked[node] = Asked(number, scope.source, node)
        index = value.node if number >= 0 else ast.BinOp(count, ast.Sub(), ast.Constant(-number))
        return number, [index]
    low, high = settled_span(scope, index) if scope.program.layers else ANY
    is_last = high < scope.program.layers
    if _is_within(interval_of(index, scope.intervals)) or (low >= 0 and is_last):
        return ALL, [value.node]
    held = scope.held("layer", value.node)
    from_end = ast.BinOp(held, ast.Add(), count)
    held = scope.held("layer", call("_select", ast.Compare(held, [ast.Lt()], [ast.Constant(0)]), from_end, held))
    if low >= -scope.program.layers and is_last:
        return ALL, [held]
    scope.program.asked[node] = Asked(ALL, scope.source, node)
    inside = ast.BinOp(ast.Compare(held, [ast.GtE()], [ast.Constant(0)]), ast.BitAnd(),
                       ast.Compare(held, [ast.Lt()], [count]))  # fmt: skip
    scope.remark("missing", ast.UnaryOp(ast.Not(), inside))
    # The cell is read whether or not the layer is there.
    last = ast.BinOp(count, ast.Sub(), ast.Constant(1))
    return ALL, [call("_maximum", call("_minimum", held, last), ast.Constant(0))]


def _is_within(span: tuple[int, int] | None) -> bool:
    """Whether an index lies in every stack of one layer or more."""
    if span is None:
        return False
    (low, low_counts), (high, high_counts) = (_parted(bound) for bound in span)
    # Both differences grow with the number of layers, so that they are least where there is one.
    starts = low_counts >= 0 and low + low_counts >= 0
    return starts and high_counts <= 1 and high + high_counts <= 0


def _parted(bound: int) -> tuple[int, int]:
    """A bound as a literal and how many times the number of layers is in it."""
    counts = round(bound / COUNT)
    return bound - counts * COUNT, counts


def _offset(
    scope: Scope, node: ast.AST, axis: int, offset: ast.expr, lower: Lower
) -> tuple[ast.expr, range, list[ast.expr]]:
    """One offset of a cell, what it may be, and the tests of one that is known only while running."""
    value = lower(scope, offset)
    if value.kind is not Kind.INT:
        scope.fail(offset, f"an offset is {article(value.kind)}", "offsets are integers: z[-1, 1]")
    span = interval_of(offset, scope.intervals)
    declared = scope.program.radius
    if span is not None and max(map(abs, span)) < COUNT // 2:
        if declared is not None and max(-span[0], span[1]) > declared[axis]:
            scope.fail(node, f"reads {max(-span[0], span[1])} cells away, beyond the declared radius {declared[axis]}",
                       "declare a larger radius= or leave it out")  # fmt: skip
        return value.node, range(span[0], span[1] + 1), []
    if declared is None:
        scope.fail(offset, f"the offset {ast.unparse(offset)} is known only while running",
                   "declare how far it reaches: @tj.focal(radius=3)")  # fmt: skip
    reach = declared[axis]
    held = scope.held("offset", value.node)
    tests: list[ast.expr] = [
        ast.Compare(held, [ast.GtE()], [ast.Constant(-reach)]),
        ast.Compare(held, [ast.LtE()], [ast.Constant(reach)]),
    ]
    # The cell is read before it is chosen or not, and one past the buffer would crash the process.
    clamped = call("_minimum", call("_maximum", held, ast.Constant(-reach)), ast.Constant(reach))
    return clamped, range(-reach, reach + 1), tests


def _held_within(scope: Scope, cell: ast.expr) -> ast.expr:
    """A uint64 cell as a signed integer: what that does not hold has its sign bit set, and becomes the largest."""
    held = scope.held("cell", cell)
    test = scope.held("test", ast.Compare(held, [ast.Lt()], [ast.Constant(0)]))
    scope.remark("saturated", test)
    return call("_select", test, ast.Constant(2**63 - 1), held)
