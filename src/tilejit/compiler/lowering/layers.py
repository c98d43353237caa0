"""Bodies that give a value for each layer: they fill an array that they are given, and return nothing."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.compiler.form.form import LocalArray, is_call, load
from tilejit.compiler.lowering.array_values import array_of, element, store
from tilejit.compiler.lowering.scope import cast
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.compiler.form.kinds import Kind
    from tilejit.compiler.lowering.scope import Scope, Value

_RESULT, _LAYER = "_result", "_layer"


def return_layers(scope: Scope, node: ast.Return, lower: Callable[[Scope, ast.expr], Value]) -> ast.Return:
    """Lowers the return of an array that is as long as there are layers.

    Raises:
        KernelError: It is none.
    """
    assert node.value is not None  # noqa: S101 - refused before
    array, layers = array_of(scope, node.value, lower), scope.program.layers
    stack = next((name for name, window in scope.windows.items() if window.is_stack), "t")
    instead = f"return an array as long as the stack: values = tj.zeros(len({stack})), values[k] = …"
    if array is None:
        what = "several results" if isinstance(node.value, ast.Tuple) else "one value"
        scope.fail(node.value, f'returns {what}, and output="dates" promises a value for each date', instead)
    if layers and array.size != layers:
        scope.fail(node.value, f"returns {array}, and the stack has {counted(layers, 'layer')}", instead)
    scope.returns.append((array.kind,))
    return ast.Return(load(array.name))


def filling(body: Sequence[ast.stmt], arrays: Sequence[LocalArray], kind: Kind) -> tuple[list[ast.stmt], LocalArray]:
    """Returns the statements of a body that fills its result, and that array.

    Where all returns are of one array it is this, else a new one, into which elements are copied.
    """
    own = {array.name: array for array in arrays}
    found = {n.value.id for s in body for n in ast.walk(s) if isinstance(n, ast.Return)}  # type: ignore[union-attr]
    first = own[min(found)]
    result = first if len(found) == 1 else LocalArray(_RESULT, kind, first.size)
    statements = [s for s in body if not _is_place(s, result)]
    return _Filling(own, result).visit(ast.Module(statements, [])).body, result


def _is_place(statement: ast.stmt, array: LocalArray) -> bool:
    """Whether a statement gives an array its place, which the caller does."""
    is_made = isinstance(statement, ast.Assign) and is_call(statement.value, "_array")
    return is_made and statement.targets[0].id == array.name  # type: ignore[attr-defined]


class _Filling(ast.NodeTransformer):
    """Copies what is returned."""

    def __init__(self, own: Mapping[str, LocalArray], result: LocalArray) -> None:
        self.own, self.result = own, result

    def visit_Return(self, node: ast.Return) -> list[ast.stmt]:
        """Copies one array, unless it is the result itself."""
        returned = self.own[node.value.id]  # type: ignore[union-attr]
        if returned == self.result:
            return [ast.Return()]
        value = cast(element(returned, load(_LAYER)), self.result.kind)
        layers = ast.Call(load("range"), [ast.Constant(self.result.size)], [])
        copy = ast.For(ast.Name(_LAYER, ast.Store()), layers, [store(self.result, load(_LAYER), value)], [])
        return [copy, ast.Return()]
