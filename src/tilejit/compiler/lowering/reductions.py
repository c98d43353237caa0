"""Python's ``sum``, ``any``, ``all``, and ``min`` and ``max`` of one argument, over arrays, tuples, comprehensions.

They become the loops that one would write: ``total = 0; for k in range(16): total += h[k]``.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tilejit.compiler.arrays.text import MOST_WRITTEN, Spelled, at_place
from tilejit.compiler.form.form import copied, load, stored
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.lowering.array_values import array_of, lengths_of
from tilejit.compiler.lowering.scope import Scope, Value
from tilejit.compiler.syntax.loops import over_indices
from tilejit.compiler.syntax.unrolling import written_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Lower = Callable[[Scope, ast.expr], Value]

_OF_A_FUNCTION = 1000
"""Names that a function's own loops over tables have at most."""
_WORDS = {sum: "sum", any: "any", all: "all", min: "min", max: "max"}


def is_reduction(function: object, node: ast.Call) -> bool:
    """Whether a call goes over all elements of something."""
    is_one = len(node.args) == 1 or function is sum
    return isinstance(function, type(sum)) and function in _WORDS and is_one


def lower_reduction(scope: Scope, node: ast.Call, function: object, lower: Lower) -> Value:
    """Lowers one.

    Raises:
        KernelError: What it goes over is nothing that the language goes over, or may be empty and then has no result.
    """
    word = _WORDS[function]  # type: ignore[index]
    if node.keywords or not 1 <= len(node.args) <= 1 + (word == "sum"):
        scope.fail(node, f"{word} with more than what it goes over", f"write {word}(a)")
    over = node.args[0]
    if isinstance(over, ast.GeneratorExp | ast.ListComp):
        elements = lengths_of(scope).expanded(over)
        if elements is None:
            return _running(scope, node, word, over, lower)
    else:
        elements = _elements(scope, over, lower)
    if word in {"any", "all"}:
        if not elements:
            return Value(ast.Constant(word == "all"), lower(scope, ast.Constant(value=True)).kind)
        joined = elements[0] if len(elements) == 1 else ast.BoolOp(ast.Or() if word == "any" else ast.And(), elements)
        return lower(scope, at_place(ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), joined)), over))  # a truth value
    if word == "sum":
        return _folded(scope, node, [*(node.args[1:] or [ast.Constant(0)]), *elements], _added, lower)
    if not elements:
        scope.fail(node, f"{word} of nothing", f"give it elements: {word}(a, b)")
    return _folded(scope, node, elements, lambda a, b: ast.Call(load(word), [a, b], []), lower)


def _elements(scope: Scope, node: ast.expr, lower: Lower) -> list[ast.expr]:
    """The elements of an array, a tuple, or what goes over them."""
    lengths = lengths_of(scope)
    array = array_of(scope, node, lower)
    if array is not None and not isinstance(node, ast.Name):
        name = next(n for n, a in scope.arrays.items() if a == array)
        node = ast.copy_location(load(name), node)
        lengths = lengths_of(scope)
    size = lengths.length(node)
    found = [] if size is None else [lengths.element(node, ast.Constant(k)) for k in range(size)]
    known = [at_place(f, node) for f in found if f is not None]
    if size is None or size > MOST_WRITTEN or len(known) < size:
        scope.fail(node, f"goes over {ast.unparse(node)}",
                   "give an array, a tuple, or a generator: sum(h[k] for k in range(n))")  # fmt: skip
    return known


def _added(a: ast.expr, b: ast.expr) -> ast.expr:
    return ast.BinOp(a, ast.Add(), b)


def _folded(scope: Scope, node: ast.expr, elements: list[ast.expr], join: Callable[[ast.expr, ast.expr], ast.expr],
            lower: Lower) -> Value:  # fmt: skip
    """Joins elements from the left in a variable."""
    name = _made(scope, "total")
    block: list[ast.stmt] = [_assign(name, elements[0])]
    block += [_assign(name, join(load(name), e)) for e in elements[1:]]
    return _lowered(scope, node, name, block, lower)


def _made(scope: Scope, stem: str) -> str:
    scope.made += 1
    return f"@{stem}{scope.made}"


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _lowered(scope: Scope, node: ast.expr, name: str, block: list[ast.stmt], lower: Lower) -> Value:
    """Lowers statements before the one that is at hand, and what they leave in a variable."""
    whole, bare = scope.whole, scope.bare
    statements, _ = scope.program.lower_block(scope, [at_place(s, node) for s in block])
    scope.whole, scope.bare = whole, bare
    scope.prelude += statements
    scope.join(node, scope.kinds[name], [Kind.INT])  # what is added to nothing is 0
    return lower(scope, at_place(load(name), node))


def _running(scope: Scope, node: ast.Call, word: str, over: ast.GeneratorExp | ast.ListComp, lower: Lower) -> Value:
    """A reduction over a comprehension of which only the run shows how many elements it has."""
    if word in {"min", "max"}:
        scope.fail(over, f"{word} over what may be empty",
                   f"start from a value: m = first; for k in range(n): m = {word}(m, …)")  # fmt: skip
    name = _made(scope, "total")
    element, parts = _renamed(scope, over)
    inner: list[ast.stmt]
    if word == "sum":
        first: ast.expr = node.args[1] if len(node.args) == 2 else ast.Constant(0)
        inner = [_assign(name, _added(load(name), element))]
    else:
        first = ast.Constant(word == "all")
        test = element if word == "any" else ast.UnaryOp(ast.Not(), element)
        inner = [ast.If(test, [_assign(name, ast.Constant(word == "any")), ast.Break()], [])]
    for depth, part in enumerate(reversed(parts)):
        if depth and word != "sum":
            ends = load(name) if word == "any" else ast.UnaryOp(ast.Not(), load(name))
            inner.append(ast.If(ends, [ast.Break()], []))
        for test in reversed(part.ifs):
            inner = [ast.If(test, inner, [])]
        inner = [ast.For(part.target, part.iter, inner, [])]
    module = ast.Module([at_place(s, node) for s in [_assign(name, first), *inner]], [])
    over_indices(module, scope.names, _OF_A_FUNCTION * scope.made)
    spelled = Spelled(lengths_of(scope), scope.made, "inner")
    spelled.generic_visit(module)
    scope.made = spelled.made
    return _lowered(scope, node, name, written_out(module.body, scope.names), lower)


def _renamed(scope: Scope, over: ast.GeneratorExp | ast.ListComp) -> tuple[ast.expr, list[ast.comprehension]]:
    """The parts of a comprehension, whose variables are its own."""
    names = {n: _made(scope, "each") for part in over.generators for n in dict.fromkeys(stored(part.target))}
    renamer = _Rename(names)
    return renamer.visit(copied(over.elt)), [renamer.visit(copied(part)) for part in over.generators]


class _Rename(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.names.get(node.id, node.id), node.ctx), node)
