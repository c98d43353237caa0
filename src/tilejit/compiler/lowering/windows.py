"""``values, n = tj.window(z, 5)``: the valid cells of a window as an array.

Where all cells are valid each lies at a literal index, so that the array becomes registers; else each is put where the
next valid one belongs, without a jump.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.compiler.arrays.text import at_place
from tilejit.compiler.form.form import assign, call, load
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.lowering.array_values import assign_array, lengths_of, store
from tilejit.compiler.lowering.calls import lower_validity
from tilejit.compiler.lowering.expressions import lower
from tilejit.compiler.lowering.scope import Scope, Value, aside, cast

if TYPE_CHECKING:
    from tilejit.compiler.form.form import Neighbourhood


def assign_window(scope: Scope, target: ast.Tuple, node: ast.Call) -> list[ast.stmt]:
    """Lowers the assignment of a window.

    Raises:
        KernelError: It is not of a raster, or its size cannot be seen from the text.
    """
    if [type(t) for t in target.elts] != [ast.Name, ast.Name]:
        scope.fail(target, "a window is two things", "write: values, n = tj.window(z, 5)")
    side = lengths_of(scope).number(node.args[1]) if len(node.args) == 2 and not node.keywords else None
    if side is None or side % 2 == 0:
        scope.fail(node, "a window of no odd size that can be seen from the text",
                   "write tj.window(z, 5), with a literal or a constant that the body captures")  # fmt: skip
    raster = node.args[0]
    plane = scope.windows.get(raster.id) if isinstance(raster, ast.Name) else None
    if plane is None or plane.is_stack:
        scope.fail(
            raster, f"{ast.unparse(raster)} is no raster that has a window", "give a raster parameter, by its name"
        )
    return _assigned(scope, target, node, side // 2, plane)


def _assigned(scope: Scope, target: ast.Tuple, node: ast.Call, reach: int, plane: Neighbourhood) -> list[ast.stmt]:
    values, count = target.elts
    assert isinstance(values, ast.Name)  # noqa: S101 - as was seen
    assert isinstance(count, ast.Name)  # noqa: S101
    steps = range(-reach, reach + 1)
    near = [[_cell(node, ast.Constant(dy), ast.Constant(dx)) for dx in steps] for dy in steps]
    if isinstance(_valid(scope, near[reach][reach]), ast.Constant):
        cells = ast.copy_location(ast.List([cell for row in near for cell in row], ast.Load()), node)
        return [
            *assign_array(scope, values, cells, lower),
            _counted(scope, count, call("int", ast.Constant(len(steps) ** 2))),
        ]
    zero = ast.copy_location(ast.Constant(0.0 if plane.kind is Kind.FLOAT else 0), node)
    zeros = ast.BinOp(ast.List([zero], ast.Load()), ast.Mult(), ast.Constant(len(steps) ** 2))
    filled = assign_array(scope, values, ast.copy_location(zeros, node), lower)
    scope.made += 1
    array, number, offsets = scope.arrays[values.id], scope.temporary("number"), [f"@{d}{scope.made}" for d in "yx"]
    outer, outer_kinds, outer_assigned = scope.intervals, dict(scope.kinds), set(scope.assigned)
    scope.intervals = {**outer, **dict.fromkeys(offsets, (-reach, reach))}
    scope.kinds |= dict.fromkeys(offsets, Kind.INT)
    scope.assigned |= set(offsets)
    before, (cell, valid) = aside(scope, _cell_and_validity, _cell(node, *map(load, offsets)))
    scope.intervals, scope.assigned = outer, outer_assigned
    scope.kinds.clear()
    scope.kinds.update(outer_kinds)
    here = load(number)
    loop: list[ast.stmt] = [
        *before,
        store(array, here, call("_select", valid, cast(cell, array.kind), cast(lower(scope, zero), array.kind))),
        assign(number, call("_select", valid, call("_whole", ast.BinOp(here, ast.Add(), ast.Constant(1))), here)),
    ]
    for name in reversed(offsets):
        bounds = ast.Call(load("range"), [ast.Constant(-reach), ast.Constant(reach + 1)], [])
        loop = [ast.For(ast.Name(scope.name(name), ast.Store()), bounds, loop, [])]
    return [*filled, assign(number, call("int", ast.Constant(0))), *loop, _counted(scope, count, here)]


def _cell(node: ast.Call, dy: ast.expr, dx: ast.expr) -> ast.expr:
    """The text of a cell, at the place of the window."""
    cell = ast.Subscript(node.args[0], ast.Tuple([dy, dx], ast.Load()), ast.Load())
    return at_place(cell, node)  # type: ignore[no-any-return]


def _valid(scope: Scope, cell: ast.expr) -> ast.expr:
    """Whether it is valid: a literal, where all are."""
    return aside(scope, lambda s, c: lower_validity(s, lower(s, c)), cell)[1]  # type: ignore[no-any-return]


def _cell_and_validity(scope: Scope, node: ast.expr) -> tuple[Value, ast.expr]:
    cell = lower(scope, node)
    return cell, lower_validity(scope, cell)


def _counted(scope: Scope, target: ast.Name, number: ast.expr) -> ast.stmt:
    scope.note(target.id, Kind.INT)
    return assign(scope.name(target.id), cast(Value(number, Kind.INT), scope.kinds[target.id]))
