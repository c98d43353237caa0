"""Helpers: the plain functions that a body calls, their parameters, and which of these are rasters."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any

from tilejit.compiler.names import Names, plain_number
from tilejit.compiler.source import read_source
from tilejit.sizes import counted

if TYPE_CHECKING:
    from tilejit.compiler.scope import Scope
    from tilejit.compiler.source import FunctionSource


def parameter_names(source: FunctionSource) -> list[str]:
    """All parameters of a function, in order."""
    arguments = source.tree.args
    return [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def bind(scope: Scope, node: ast.Call, source: FunctionSource) -> dict[str, ast.expr]:
    """Returns the helper's parameters -> the call's arguments, defaults filled in.

    Raises:
        KernelError: The call does not fit the helper, or the helper takes what the language does not have.
    """
    arguments = source.tree.args
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None:
            source.fail(star, "a helper with * or ** parameters", "name each parameter")
    names = parameter_names(source)
    bound = _positional(scope, node, source) | _keywords(scope, node, source)
    defaults = inspect.signature(source.function).parameters
    for name in names:
        if name in bound:
            continue
        default = defaults[name].default
        if default is inspect.Parameter.empty:
            scope.fail(node, f"{source.name} is called without {name}", f"it takes {', '.join(names)}")
        bound[name] = _default(source, name, default)
    return {name: bound[name] for name in names}


def _positional(scope: Scope, node: ast.Call, source: FunctionSource) -> dict[str, ast.expr]:
    names = [a.arg for a in (*source.tree.args.posonlyargs, *source.tree.args.args)]
    if len(node.args) > len(names):
        scope.fail(node, f"{source.name} takes {counted(len(names), 'positional argument')}, {len(node.args)} given",
                   f"it takes {', '.join(parameter_names(source))}")  # fmt: skip
    return dict(zip(names, node.args, strict=False))


def _keywords(scope: Scope, node: ast.Call, source: FunctionSource) -> dict[str, ast.expr]:
    taken = [a.arg for a in source.tree.args.posonlyargs]
    free = [a.arg for a in (*source.tree.args.args, *source.tree.args.kwonlyargs)]
    taken += parameter_names(source)[: len(node.args)]
    bound: dict[str, ast.expr] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            scope.fail(keyword.value, "** in a call", "write the arguments out")
        if keyword.arg in taken:
            scope.fail(keyword, f"{source.name} gets {keyword.arg} twice", "give each parameter once")
        if keyword.arg not in free:
            scope.fail(keyword, f"{source.name} has no parameter {keyword.arg}",
                       f"it takes {', '.join(parameter_names(source))}")  # fmt: skip
        bound[keyword.arg] = keyword.value
    return bound


def _default(source: FunctionSource, name: str, value: Any) -> ast.expr:
    """A default as it was when the helper was defined."""
    number = plain_number(value)
    arguments = source.tree.args
    node = next(a for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg == name)
    if number is None:
        source.fail(node, f"{name} has the default {value!r}", "a default is a number, True or False")
    return ast.copy_location(ast.Constant(number), node)


def window_parameters(source: FunctionSource, active: frozenset[object] = frozenset()) -> set[str]:
    """Returns the parameters that a function subscripts, or hands to a helper that does."""
    names = Names(source)
    parameters = set(parameter_names(source))
    found: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            found.add(node.value.id)
        if isinstance(node, ast.Call):
            found |= _handed_on(node, names, active | {source.function})
    return found & parameters


def _handed_on(node: ast.Call, names: Names, active: frozenset[object]) -> set[str]:
    """The names that a call passes for parameters that are subscripted."""
    function = names.resolve(node.func)
    helper = names.helper(function)
    if helper is None or helper in active or names.math_function(function) is not None:
        return set()
    source = read_source(helper)
    wanted = window_parameters(source, active)
    passed = dict(zip(parameter_names(source), node.args, strict=False))
    passed |= {k.arg: k.value for k in node.keywords if k.arg is not None}
    return {a.id for p, a in passed.items() if p in wanted and isinstance(a, ast.Name)}


def reaching_parameters(source: FunctionSource) -> set[str]:
    """Returns the parameters that a function may use in an offset or as a bound of range, and never assigns to.

    A literal that a call gives for one of them is put in its place, so that ``shifted(z, 2)`` reaches two cells.
    """
    used: set[str] = set()
    stored: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Subscript, ast.Call)):
            used |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stored.add(node.id)
    return (used - stored) & set(parameter_names(source))
