"""Which parameters of a function are rasters of which it reads neighbours, itself or in a helper."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING

from tilejit.compiler.syntax.names import Names, parameter_names, star_of
from tilejit.compiler.syntax.numpy_names import math_name
from tilejit.compiler.syntax.rewriting import core_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilejit.compiler.form.source import FunctionSource


def window_parameters(source: FunctionSource) -> set[str]:
    """Returns the parameters that a function subscripts, or hands to a helper that does; of ``*rasters`` each."""
    return {name.removesuffix("[]") for name in _subscripted(source)}


def has_neighbours(source: FunctionSource, raster: str) -> bool:
    """Returns whether a function asks for cells around the pixel of a raster, or, as ``rasters@2``, of some."""
    owner, at, _ = raster.partition("@")
    return (f"{owner}[]" if at else owner) in _subscripted(source)


@functools.lru_cache(maxsize=4096)
def _subscripted(source: FunctionSource, active: frozenset[object] = frozenset()) -> set[str]:
    """The parameters that are subscripted, ``z``, and those of which the elements are, ``rasters[]``."""
    names, members = Names(source), dict[str, set[str]]()
    for name, owner in _members(source.tree):
        members.setdefault(name, set()).add(owner)
    found: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Subscript):
            found |= _told(node.value, members)
        if isinstance(node, ast.Call):
            found |= _handed_on(node, names, members, active | {source.function})
    return found & {*parameter_names(source), *(f"{p}[]" for p in (*parameter_names(source), *star_of(source)))}


def _members(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What loops call the elements of what they go over: ``r`` is one of ``rasters[]``."""
    loops = [(n.target, n.iter) for n in ast.walk(tree) if isinstance(n, (ast.For, ast.comprehension))]
    for target, over in loops:
        if isinstance(target, ast.Name) and isinstance(over, ast.Name):
            yield target.id, f"{over.id}[]"
        if isinstance(target, ast.Name) and isinstance(over, ast.Tuple):
            yield from ((target.id, e.id) for e in over.elts if isinstance(e, ast.Name))
        if isinstance(over, ast.Call):
            is_row = isinstance(target, ast.Tuple)
            word, targets = ast.unparse(over.func), target.elts if isinstance(target, ast.Tuple) else [target]
            parts = targets[1:] if word == "enumerate" else targets
            if is_row == (word != "reversed"):
                loops += zip(parts, over.args, strict=False)


def _told(node: ast.expr, members: Mapping[str, set[str]]) -> set[str]:
    """The parameters that an expression may be, and, with brackets, those that it may be an element of."""
    if isinstance(node, ast.Name):
        return members.get(node.id, {node.id})
    is_element = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    return {f"{node.value.id}[]"} if is_element else set()  # type: ignore[attr-defined]


def _handed_on(node: ast.Call, names: Names, members: Mapping[str, set[str]], active: frozenset[object]) -> set[str]:
    """What a call passes for parameters that are subscripted, or of which the elements are."""
    function = names.resolve(node.func)
    helper = names.helper(function)
    if helper is None or helper in active or math_name(function) is not None:
        return set()
    source = core_source(helper)
    wanted = _subscripted(source, active)
    passed = dict(zip(parameter_names(source), node.args, strict=False))
    passed |= {k.arg: k.value for k in node.keywords if k.arg is not None}
    told = [(p, name) for p, a in passed.items() for name in _told(a, members)]
    return {name for p, name in told if p in wanted} | {f"{name}[]" for p, name in told if f"{p}[]" in wanted}
