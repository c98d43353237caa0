"""Calls of C functions."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.compiler.c_functions import CFunctionError, CPointer, read_c_function
from tilejit.compiler.form import Value, call
from tilejit.compiler.kinds import Kind, article, kind_of_dtype
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tilejit.compiler.scope import Scope


def lower_c_call(scope: Scope, node: ast.Call, function: Any, lower: Callable[[Scope, ast.expr], Value]) -> Value:
    """Lowers a call of a C function; each target converts its arguments and its result.

    Raises:
        KernelError: It passes or returns what is no number, or is called with other arguments than it takes.
    """
    name = ast.unparse(node.func)
    try:
        pointer = read_c_function(function)
    except CFunctionError as error:
        scope.fail(node.func, f"{name} {error.args[0]}", error.args[1])
    if node.keywords:
        scope.fail(node.keywords[0], f"{name} with a keyword argument", "give its arguments by position")
    if len(node.args) != len(pointer.arguments):
        taken = ", ".join(map(str, pointer.arguments)) or "nothing"
        given = len(node.args)
        scope.fail(node, f"{name} takes {counted(len(pointer.arguments), 'argument')}, {given} given",
                   f"it takes {taken}")  # fmt: skip
    owner = scope.names.resolve(node.func.value) if isinstance(node.func, ast.Attribute) else None
    named = scope.program.c_function(scope, node, pointer, (function, owner))
    arguments = [_argument(scope, a, lower(scope, a), pointer, k) for k, a in enumerate(node.args)]
    return Value(call("_c", ast.Constant(named.name), *arguments), pointer.kind)


def _argument(scope: Scope, node: ast.expr, value: Value, pointer: CPointer, index: int) -> ast.expr:
    wanted = kind_of_dtype(pointer.arguments[index])
    if value.kind > wanted:
        instead = f"write int({ast.unparse(node)})" if wanted is Kind.INT else f"compare it: {ast.unparse(node)} != 0"
        scope.fail(node, f"{article(value.kind)}, and the C function takes {pointer.arguments[index]} here", instead)
    return value.node
