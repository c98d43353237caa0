"""Local arrays and tuples, lowered: what makes them, their elements, and the functions that change them.

An array is memory of one variable, which statements fill; it has one length and one kind, and no second name. A tuple
is as many variables as it has elements.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.arrays.text import COPIERS, MAKERS, ZEROS, Lengths, at_place, is_one_of
from tilejit.compiler.form.form import LocalArray, assign, call, copied, is_call, load
from tilejit.compiler.form.kinds import Kind, article, kind_of_dtype
from tilejit.compiler.lowering.indexing import lower_index
from tilejit.compiler.lowering.scope import Scope, Value, cast
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Lower = Callable[[Scope, ast.expr], Value]
    Fill = Callable[[LocalArray], list[ast.stmt]]
    Made = Callable[[ast.expr], ast.expr]

MOST = 4096
"""Elements of an array: it lies on a thread's stack."""
_ZERO = {Kind.BOOL: ast.Constant(value=False), Kind.INT: ast.Constant(0)}
_OF_NUMPY = (np.zeros, np.ones, np.full, np.empty)


def lengths_of(scope: Scope) -> Lengths:
    """How long arrays and tuples are at this place."""
    sizes = {name: array.size for name, array in scope.arrays.items()}
    return Lengths(scope.names, {**scope.tuples, **sizes})


def is_array(scope: Scope, node: ast.expr) -> bool:
    """Whether an expression makes an array."""
    if isinstance(node, (ast.List, ast.ListComp)):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return isinstance(node.left, ast.List) or isinstance(node.right, ast.List)
    function = scope.names.resolve(node.func) if isinstance(node, ast.Call) else None
    return is_one_of(function, MAKERS) or function is sorted or function is list


def array_of(scope: Scope, node: ast.expr, lower: Lower) -> LocalArray | None:
    """The array that an expression is, made for it where it has no name; None where it is none."""
    if isinstance(node, ast.Name):
        array = scope.arrays.get(node.id)
        if array is not None and node.id not in scope.assigned:
            scope.fail(node, f"{node.id} may be used before it has a value", "assign it on every path that leads here")
        return array
    if not is_array(scope, node):
        return None
    scope.made += 1
    name = f"@array{scope.made}"
    scope.prelude += assign_array(scope, ast.copy_location(load(name), node), node, lower)
    return scope.arrays[name]


def assign_array(scope: Scope, target: ast.Name, node: ast.expr, lower: Lower) -> list[ast.stmt]:
    """Lowers an assignment of a new array to a variable."""
    name = target.id
    if name in scope.given:
        scope.fail(target, f"{name} is an array that the caller gives", "give the new one another name")
    if name in scope.kinds or name in scope.tuples or name in scope.windows:
        scope.fail(target, f"{name} is both an array and something else", "use two names")
    size = lengths_of(scope).of(node)
    if size == 0:
        scope.fail(node, "an array without elements", "an array has one length: [0.0] * 16, and a variable that counts")
    if size is None:
        stack = next((n for n, window in scope.windows.items() if window.is_stack), "")
        instead = "give a literal, or a constant that the body captures: tj.zeros(16)"
        if stack and isinstance(node, ast.ListComp):
            instead = f"go through layers in a loop: a = tj.zeros(len({stack})); for k in range(len({stack})): a[k] = …"
        scope.fail(node, "how long this array is cannot be seen from the text", instead)
    if size > MOST:
        scope.fail(node, f"an array of {size:,} elements", f"each pixel has its own, on the stack: {MOST:,} at most")
    held = scope.arrays.get(name)
    if held is not None and held.size != size:
        scope.fail(node, f"{name} has {size} elements here and {held.size} elsewhere", "use two names")
    kind, values = _filling(scope, node, size, name, lower)
    kind = kind if held is None else max(kind, held.kind)
    shape = scope.names.columns.get(name, 0), scope.names.words.get(name, "list")
    array = scope.arrays[name] = LocalArray(scope.name(name), kind, size, *shape)
    scope.assigned.add(name)
    return values(array)


def _filling(scope: Scope, node: ast.expr, size: int, name: str, lower: Lower) -> tuple[Kind, Fill]:
    """The kind of a new array, and what fills it."""
    elements = getattr(node, "elts", None)
    if isinstance(node, ast.ListComp):
        elements = lengths_of(scope).expanded(node)
    if elements is not None:
        return _of_elements(scope, elements, name, lower)
    if isinstance(node, ast.BinOp):
        parts = node.left if isinstance(node.left, ast.List) else node.right
        assert isinstance(parts, ast.List)  # noqa: S101 - which is how it was found
        if len(parts.elts) != 1:
            return _of_elements(scope, parts.elts * (size // len(parts.elts)), name, lower)
        value = lower(scope, parts.elts[0])
        return value.kind, functools.partial(_filled, scope, value)
    assert isinstance(node, ast.Call)  # noqa: S101 - as above
    function = scope.names.resolve(node.func)
    if is_one_of(function, COPIERS):
        return _copied(scope, node, name, lower)
    kind, value = _made(scope, node, function, lower)
    return kind, functools.partial(_filled, scope, Value(value.node, value.kind))


def _of_elements(scope: Scope, nodes: list[ast.expr], name: str, lower: Lower) -> tuple[Kind, Fill]:
    values = [lower(scope, e) for e in nodes]
    kind = max(v.kind for v in values)
    if any(isinstance(n, ast.Name) and n.id == name for e in nodes for n in ast.walk(e)):
        # All are computed before the first is stored, for they are of the array itself.
        values = [Value(scope.held("element", cast(v, kind)), kind) for v in values]
    return kind, lambda array: [store(array, ast.Constant(k), cast(v, array.kind)) for k, v in enumerate(values)]


def _filled(scope: Scope, value: Value, array: LocalArray) -> list[ast.stmt]:
    """One value in each element."""
    node = cast(value, array.kind)
    if not isinstance(node.args[0] if is_call(node, "_float") else node, ast.Constant):  # type: ignore[attr-defined]
        scope.prelude.append(assign(name := scope.temporary("fill"), node))
        node = load(name)
    index = scope.temporary("k")
    loop = ast.For(ast.Name(index, ast.Store()), _range(array.size), [store(array, load(index), node)], [])
    return [loop]


def _range(size: int) -> ast.expr:
    return ast.Call(load("range"), [ast.Constant(size)], [])


def _copied(scope: Scope, node: ast.Call, name: str, lower: Lower) -> tuple[Kind, Fill]:
    """``list(h)`` and ``sorted(h)``."""
    word = ast.unparse(node.func)
    if len(node.args) != 1 or node.keywords:
        scope.fail(node, f"{word} with more than one argument", f"write {word}(h)")
    argument = node.args[0]
    source = array_of(scope, argument, lower)
    if source is None:
        parts = argument.elts if isinstance(argument, ast.Tuple) else _parts(scope, argument)
        kind, fill = _of_elements(scope, parts, name, lower)
    else:
        index, kind = scope.temporary("k"), source.kind

        def fill(array: LocalArray) -> list[ast.stmt]:
            cell = cast(element(source, load(index)), array.kind)
            body: list[ast.stmt] = [store(array, load(index), cell)]
            return [] if array == source else [ast.For(ast.Name(index, ast.Store()), _range(array.size), body, [])]

    if scope.names.resolve(node.func) is not sorted:
        return kind, fill
    _check_sortable(scope, node, kind)
    return kind, lambda array: [*fill(array), sorting(array, ast.Constant(array.size))]


def _parts(scope: Scope, node: ast.expr) -> list[ast.expr]:
    """The elements of a tuple's variable, or of a comprehension."""
    if isinstance(node, ast.Name) and node.id in scope.tuples:
        return [ast.copy_location(load(f"{node.id}@{k}"), node) for k in range(scope.tuples[node.id])]
    lengths = lengths_of(scope)
    found = lengths.expanded(node) if isinstance(node, (ast.GeneratorExp, ast.ListComp)) else None
    captured = lengths.captured(node)
    if found is None and captured is None:
        scope.fail(node, f"{ast.unparse(node)} is no array whose length can be seen from the text",
                   "give an array, a tuple, or a comprehension over literal ranges without if")  # fmt: skip
    return found or captured.elts  # type: ignore[union-attr]


def _check_sortable(scope: Scope, node: ast.AST, kind: Kind) -> None:
    if kind is Kind.BOOL:
        scope.fail(node, "truth values are sorted", "make it an array of integers: [0] * n")


def sorting(array: LocalArray, count: ast.expr) -> ast.stmt:
    """The statement that sorts the first elements of an array."""
    return ast.Expr(call("_sort", load(array.name), count))


def _made(scope: Scope, node: ast.Call, function: object, lower: Lower) -> tuple[Kind, Value]:
    """``tj.zeros(16, dtype=int)`` and NumPy's makers: the kind, and the value of all elements."""
    word = ast.unparse(node.func)
    arguments = {k.arg: k.value for k in node.keywords}
    taken = ["size", *["value"] * (function is np.full), "dtype"]
    arguments |= dict(zip(taken[1:], node.args[1:], strict=False))
    unknown = sorted(str(a) for a in arguments.keys() - set(taken[1:]))
    if unknown or len(node.args) > len(taken):
        what = ", ".join(unknown) or "too many arguments"
        scope.fail(node, f"{word} with {what}", f"write {word}({', '.join(taken)})")
    value = lower(scope, arguments["value"]) if "value" in arguments else Value(
        ast.Constant(0 if is_one_of(function, ZEROS) else 1), Kind.INT)  # fmt: skip
    default = value.kind if function is np.full else Kind.FLOAT
    kind = _dtype(scope, arguments["dtype"]) if "dtype" in arguments else default
    if kind is Kind.BOOL and "value" not in arguments:
        return kind, Value(ast.Constant(bool(value.node.value)), kind)  # type: ignore[attr-defined]
    if value.kind > kind:
        scope.fail(node, f"{article(value.kind)} in an array of {kind}s", "leave dtype out, or make it dtype=float")
    return kind, Value(cast(value, kind), kind)


def _dtype(scope: Scope, node: ast.expr) -> Kind:
    """The kind of elements that a dtype stands for."""
    found = scope.names.resolve(node)
    whole = {bool: Kind.BOOL, np.bool_: Kind.BOOL, int: Kind.INT, np.int64: Kind.INT}
    if isinstance(found, type) and found in whole:
        return whole[found]
    if isinstance(found, type) and (found is float or issubclass(found, np.floating)):
        return Kind.FLOAT
    is_integer = isinstance(found, type) and issubclass(found, np.integer) and kind_of_dtype(found) is Kind.INT
    return scope.fail(node, f"an array of {ast.unparse(node)}",
                      "integers of a body have 64 bits: dtype=int" if is_integer else
                      "its elements are float, int or bool: tj.zeros(16, dtype=int)")  # fmt: skip


def element(array: LocalArray, index: ast.expr) -> Value:
    """An element, read; truth values lie as bytes."""
    node: ast.expr = ast.Subscript(load(array.name), index, ast.Load())
    if array.kind is Kind.BOOL:
        node = ast.Compare(node, [ast.NotEq()], [ast.Constant(0)])
    return Value(node, array.kind)


def store(array: LocalArray, index: ast.expr, value: ast.expr) -> ast.Assign:
    """An element, written, with a value of the array's kind."""
    if array.kind is Kind.BOOL:
        value = ast.Constant(int(bool(value.value))) if isinstance(value, ast.Constant) else call("int", value)
    return ast.Assign([ast.Subscript(load(array.name), index, ast.Store())], value)


def lower_element(scope: Scope, node: ast.Subscript, lower: Lower) -> Value | None:
    """Lowers an element of an array or of a tuple; None where it is of neither."""
    owner = node.value
    if isinstance(owner, ast.Name) and owner.id in scope.tuples:
        return _of_tuple(scope, node, [load(f"{owner.id}@{k}") for k in range(scope.tuples[owner.id])], lower)
    if isinstance(owner, ast.Tuple):
        return _of_tuple(scope, node, owner.elts, lower)
    array = array_of(scope, owner, lower)
    if array is None:
        return None
    return element(array, _place(scope, node, array, lower))


def _place(scope: Scope, node: ast.Subscript, array: LocalArray, lower: Lower) -> ast.expr:
    """Where an element lies in its array, which it does."""
    owner, index = getattr(node.value, "id", ""), node.slice
    of = f"the dict {owner[6:]}" if owner.startswith("@dict_") else f"the array {_shown(node.value)}"
    if isinstance(index, ast.Tuple):
        if not array.columns or len(index.elts) != 2:
            scope.fail(node, f"{ast.unparse(node)} has {len(index.elts)} indices",
                       "it has one dimension: h[3 * i + j]")  # fmt: skip
        sizes = array.size // array.columns, array.columns
        i, j = (lower_index(scope, node, e, s, of=of, lower=lower) for e, s in zip(index.elts, sizes, strict=True))
        if isinstance(i, ast.Constant) and isinstance(j, ast.Constant):
            return ast.Constant(int(i.value) * array.columns + int(j.value))  # type: ignore[arg-type]
        return ast.BinOp(ast.BinOp(i, ast.Mult(), ast.Constant(array.columns)), ast.Add(), j)
    count = scope.names.growing.get(owner)
    if not count:
        return lower_index(scope, node, index, array.size, of=of, lower=lower)
    if isinstance(index, ast.Name) and (index.id == count or index.id.startswith("@each")):
        return lower(scope, index).node  # there are as many places as elements can come
    return lower_index(scope, node, index, array.size, of=f"the list {owner}", lower=lower,
                       count=load(scope.name(count)))  # fmt: skip


def _shown(node: ast.expr) -> str:
    return "that is made here" if "@" in ast.unparse(node) else ast.unparse(node)


def each_raster(scope: Scope, node: ast.expr, lower: Lower, made: Made = copied) -> Value | None:
    """Lowers what is made of ``rasters[k]``, or of a cell of it, chosen among what is made of each; None of others."""
    member: Any = node if scope.names.members(node) else getattr(node, "value", node)
    names = scope.names.members(member)
    if not isinstance(node, ast.Subscript) or not any(name in scope.windows for name in names):
        return None
    cells = [load(n) if member is node else ast.Subscript(load(n), node.slice, ast.Load()) for n in names]
    return _of_tuple(scope, member, [at_place(made(cell), node) for cell in cells], lower)


def _of_tuple(scope: Scope, node: ast.Subscript, nodes: Sequence[ast.expr], lower: Lower) -> Value:
    """An element of a tuple; at an index known only while running it is chosen among all."""
    index = lower_index(scope, node, node.slice, len(nodes), of=f"the tuple {_shown(node.value)}", lower=lower)
    if isinstance(index, ast.Constant):
        value = lower(scope, ast.copy_location(nodes[int(index.value)], node))  # type: ignore[arg-type]
        scope.join(node, value.kind, [value.kind])
        return value
    values = [lower(scope, ast.copy_location(n, node)) for n in nodes]
    kind, held = max(v.kind for v in values), scope.held("index", index)
    scope.join(node, kind, (v.kind for v in values))
    result = cast(values[-1], kind)
    for k, value in reversed(list(enumerate(values[:-1]))):
        test = ast.Compare(held, [ast.Eq()], [ast.Constant(k)])
        result = call("_select", test, cast(value, kind), result)
    return Value(result, kind)


def store_element(scope: Scope, target: ast.Subscript, value: Value, lower: Lower) -> ast.Assign | None:
    """Lowers an assignment to an element; None where it is of no array."""
    owner = target.value
    if isinstance(owner, ast.Name) and owner.id in scope.tuples:
        scope.fail(target, f"an assignment to an element of the tuple {owner.id}", "make it an array: [a, b, c]")
    array = array_of(scope, owner, lower) if isinstance(owner, ast.Name) else None
    if array is None:
        return None
    if value.kind > array.kind and owner.id in scope.names.growing:  # type: ignore[attr-defined]
        array = scope.arrays[owner.id] = replace(array, kind=value.kind)  # type: ignore[attr-defined]
    if value.kind > array.kind:
        scope.fail(target, f"{article(value.kind)} for {ast.unparse(owner)}, {array}",
                   "declare it for what it takes, as tj.zeros(n) or [0.0] * n, or convert the value")  # fmt: skip
    _write(scope, owner)
    return store(array, _place(scope, target, array, lower), cast(value, array.kind))


def _write(scope: Scope, array: ast.expr) -> None:
    """Notes that a function writes to an array."""
    scope.writes |= isinstance(array, ast.Name) and array.id in scope.given


def lower_sort(scope: Scope, node: ast.Call, lower: Lower) -> list[ast.stmt]:
    """Lowers ``tj.sort(a, n)``, which is a statement."""
    if not 1 <= len(node.args) <= 2 or node.keywords:
        scope.fail(node, f"tj.sort with {counted(len(node.args), 'argument')}", "write tj.sort(a, n)")
    array = array_of(scope, node.args[0], lower) if isinstance(node.args[0], ast.Name) else None
    if array is None:
        scope.fail(node.args[0], f"{ast.unparse(node.args[0])} is no array that could be sorted in place",
                   "make one before: a = [z[0, 0], z[0, 1]]; for a new one write sorted(a)")  # fmt: skip
    _check_sortable(scope, node, array.kind)
    _write(scope, node.args[0])
    if len(node.args) == 1:
        return [sorting(array, ast.Constant(array.size))]
    of = f"the array {ast.unparse(node.args[0])}"
    return [sorting(array, lower_index(scope, node.args[1], node.args[1], array.size, of=of, lower=lower, counts=True))]


def refuse_whole(scope: Scope, node: ast.Name) -> None:
    """Refuses an array or a tuple where one value is needed."""
    if node.id in scope.arrays:
        returned = '; @tj.series(output="dates") returns it whole' * (node is scope.whole)
        scope.fail(node, f"{node.id} is {scope.arrays[node.id]}, and one value is needed",
                   f"take an element: {node.id}[k]; a copy is list({node.id}){returned}")  # fmt: skip
    if node.id in scope.tuples:
        scope.fail(node, f"{node.id} is a tuple, and one value is needed", f"take an element: {node.id}[0]")
