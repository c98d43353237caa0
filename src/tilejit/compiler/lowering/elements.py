"""Elements of tables: captured tuples, lists, arrays and dicts, indexed by what is known only while running.

An index that its own expression holds within the table (``LUT[qa & 15]``, or a uint8 raster's cell where there are 256
elements) costs nothing. Any other is tested, and where it lay outside a further element is read: the pixel is noted,
and the run fails. As in Python, negative ones count from the end.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.form import call
from tilejit.compiler.form.kinds import Kind, article
from tilejit.compiler.form.tables import Table, TableError, read_table
from tilejit.compiler.lowering.scope import Scope, Value, cast
from tilejit.compiler.lowering.spans import span_of
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tilejit.compiler.form.tables import Content

    Lower = Callable[[Scope, ast.expr], Value]

MOST_BYTES = 10**6
"""Bytes of a table that stand in machine code; what is larger is read as rasters are."""


def lower_table(scope: Scope, node: ast.Subscript, lower: Lower) -> Value | None:
    """Lowers a subscript of a captured table; None where it is none.

    Raises:
        KernelError: It is no table of numbers, or an index has not the form that it takes.
    """
    owner, indices, bases = _opened(scope, node)
    if owner is None:
        return None
    label, path = ast.unparse(bases[0]), []
    value = owner
    while indices and not isinstance(value, dict) and type(getattr(indices[0], "value", None)) is int:
        number = indices[0].value  # type: ignore[attr-defined]
        path.append(number)
        if not hasattr(value, "__len__") or not -len(value) <= number < len(value):
            size = counted(len(value), "element") if hasattr(value, "__len__") else "no elements"
            scope.fail(node, f"{ast.unparse(bases[len(path)])} is outside {label}, which has {size}",
                       "elements are numbered from 0, and from the end -1")  # fmt: skip
        value, label = value[number], ast.unparse(bases[len(path)])
        indices = indices[1:]
    content = _read(scope, node, label, value)
    if isinstance(value, dict):
        return _lower_key(_Named(scope, node, owner, label, (*path,)), content, indices, lower)
    dimensions = content.values.ndim
    if len(indices) != dimensions:
        what = "one row" if len(indices) < dimensions else "a number with an index"
        scope.fail(node, f"{what} of {label}, where one number is needed",
                   f"index {label} {'twice' if dimensions == 2 else 'once'}")  # fmt: skip
    named = _Named(scope, node, owner, label, (*path,))
    if len(set(content.kinds)) > 1 and dimensions == 2:
        column = getattr(indices[1], "value", None)
        if type(column) is not int or not -len(content.kinds) <= column < len(content.kinds):
            scope.fail(indices[1], f"which column of {label} is known only while running, and they differ in kind",
                       "write all numbers of the table as floats, or index columns with literals")  # fmt: skip
        table, indices = named.table(content.values[:, column], content.kinds[column], column), indices[:1]
    else:
        table = named.table(content.values, content.kind, None)
    if table.kind is Kind.INT:
        span = int(table.values.min()), int(table.values.max())
        scope.intervals = {**scope.intervals, ast.unparse(node): span}
    places = [_place(scope, table, i, axis, lower) for axis, i in enumerate(indices)]
    return Value(call("_table", ast.Constant(table.name), *places), table.kind)


def _opened(scope: Scope, node: ast.expr) -> tuple[Any, list[ast.expr], list[ast.expr]]:
    """The captured object under subscripts, all indices, and what stands before each of them."""
    indices: list[ast.expr] = []
    bases: list[ast.expr] = [node]
    while isinstance(node, ast.Subscript):
        here = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        indices = [*here, *indices]
        bases = [node.value, *[bases[0]] * (len(here) - 1), *bases]
        node = node.value
    return scope.names.captured(node), indices, bases


def _read(scope: Scope, node: ast.expr, label: str, value: Any) -> Content:
    try:
        content = read_table(value)
    except TableError as error:
        what, instead = error.args
        scope.fail(node, f"{label} {what}", instead)
    if content.values.nbytes > MOST_BYTES:
        scope.fail(node, f"{label} has {content.values.size} elements",
                   f"a table has {MOST_BYTES // 8} at most: pass larger ones as rasters")  # fmt: skip
    return content


@dataclass(frozen=True, slots=True)
class _Named:
    """What a table is known by while a body is lowered."""

    scope: Scope
    node: ast.expr
    owner: Any
    label: str
    path: tuple[int, ...]

    def table(self, values: NDArray[Any], kind: Kind, part: int | str | None) -> Table:
        """The module's array, which is one for all that index it."""
        tables, key = self.scope.program.tables, (id(self.owner), self.path, part)
        if key not in tables:
            name = self.scope.program.free_name(self.label.split("[", maxsplit=1)[0].rpartition(".")[2])
            where = self.scope.source, self.node
            tables[key] = Table(key, name, kind, values, self.owner, self.label, where)
        return tables[key]


def _place(scope: Scope, table: Table, node: ast.expr, axis: int, lower: Lower) -> ast.expr:
    """An index that lies within the table."""
    value = lower(scope, node)
    if value.kind is Kind.FLOAT:
        scope.fail(node, f"the index of {table.label} is {article(value.kind)}",
                   f"write int({ast.unparse(node)}), or annotate the raster with its integer dtype")  # fmt: skip
    index, size = cast(value, Kind.INT), table.values.shape[axis]
    low, high = span_of(scope, index, node)
    if isinstance(index, ast.Constant) and not -size <= low < size:
        scope.fail(node, f"the index {low} of {table.label} is outside its {counted(size, 'element')}",
                   "elements are numbered from 0, and from the end -1")  # fmt: skip
    if low >= 0 and high < size:
        return index
    if low < 0:
        held = scope.held("index", index)
        from_end = ast.BinOp(held, ast.Add(), ast.Constant(size))
        index = call("_select", ast.Compare(held, [ast.Lt()], [ast.Constant(0)]), from_end, held)
        if low >= -size and high < size:
            return index
    place, is_beyond = _within(scope, table, index, size)
    scope.remark("outside", is_beyond)
    return place


def _within(scope: Scope, table: Table, index: ast.expr, size: int) -> tuple[ast.Name, ast.expr]:
    """An index, or that of a further element where it lies outside, and whether it does."""
    table.is_padded = True
    held = scope.held("index", call("_within", index, ast.Constant(size)))
    return held, ast.Compare(held, [ast.Eq()], [ast.Constant(size)])


def _lower_key(named: _Named, content: Content, indices: list[ast.expr], lower: Lower) -> Value:
    """A dict's value: a key that it has not is an error of the run."""
    scope, node = named.scope, named.node
    if len(indices) != 1:
        scope.fail(node, f"a number of {named.label} with an index", "a dict of numbers takes one key")
    key = indices[0]
    if isinstance(key, ast.Constant) and key.value not in named.owner:
        scope.fail(node, f"{named.label} has no key {key.value!r}", "its keys are " + ", ".join(map(str, named.owner)))
    table = named.table(content.values, content.kind, None)
    place, tests = _key(named, content, table, key, lower)
    for test in tests:
        scope.remark("outside", test)
    return Value(call("_table", ast.Constant(table.name), place), table.kind)


def _key(
    named: _Named, content: Content, table: Table, node: ast.expr, lower: Lower
) -> tuple[ast.expr, list[ast.expr]]:
    """Where a key lies in the table, and the tests of which one is true where it is not there."""
    scope, size, tests = named.scope, len(content.values), list[ast.expr]()
    value = lower(scope, node)
    number = cast(value, Kind.INT) if value.kind is not Kind.FLOAT else scope.held("key", value.node)
    if value.kind is Kind.FLOAT:  # 11.0 is the key 11, and 11.5 is none
        whole = scope.held("key", call("_cut", number))
        tests.append(ast.Compare(call("_float", whole), [ast.NotEq()], [number]))
        number = whole
    low, high = (end - content.first for end in span_of(scope, number))
    place = ast.BinOp(number, ast.Sub(), ast.Constant(content.first)) if content.first else number
    if low < 0 or high >= size:
        place, is_beyond = _within(scope, table, call("_whole", place) if content.first else place, size)
        tests.append(is_beyond)
    if content.absent is not None:
        place = scope.held("index", place)
        absent = named.table(content.absent, Kind.BOOL, "keys")
        absent.is_padded = table.is_padded
        tests.append(call("_table", ast.Constant(absent.name), place))
    return place, tests


def _any(tests: list[ast.expr]) -> ast.expr:
    """Whether one of the tests is true."""
    return functools.reduce(lambda a, b: ast.BinOp(a, ast.BitOr(), b), tests or [ast.Constant(value=False)])


def lower_get(scope: Scope, node: ast.Call, lower: Lower) -> Value | None:
    """Lowers ``D.get(c, 0)`` of a captured dict; None where it is none.

    Raises:
        KernelError: It is called with other than two arguments.
    """
    function = node.func
    owner = scope.names.captured(function.value) if isinstance(function, ast.Attribute) else None
    if not isinstance(function, ast.Attribute) or function.attr != "get" or not isinstance(owner, dict):
        return None
    label = ast.unparse(function.value)
    if len(node.args) != 2 or node.keywords:
        scope.fail(node, f"{label}.get with {counted(len(node.args), 'argument')}", f"write {label}.get(c, 0)")
    content, named = _read(scope, node, label, owner), _Named(scope, node, owner, label, ())
    table = named.table(content.values, content.kind, None)
    place, tests = _key(named, content, table, node.args[0], lower)
    other = lower(scope, node.args[1])
    kind = max(table.kind, other.kind)
    scope.join(node, kind, (table.kind, other.kind))
    found = cast(Value(call("_table", ast.Constant(table.name), place), table.kind), kind)
    return Value(call("_select", _any(tests), cast(other, kind), found) if tests else found, kind)


def lower_contains(scope: Scope, left: ast.expr, right: ast.expr, lower: Lower) -> ast.expr | None:
    """Lowers ``c in D`` of a captured dict; None where it is none."""
    owner = scope.names.captured(right)
    if not isinstance(owner, dict):
        return None
    label = ast.unparse(right)
    content = _read(scope, right, label, owner)
    named = _Named(scope, right, owner, label, ())
    table = named.table(content.values, content.kind, None)
    _, tests = _key(named, content, table, left, lower)
    return ast.UnaryOp(ast.Not(), _any(tests)) if tests else ast.Constant(value=True)
