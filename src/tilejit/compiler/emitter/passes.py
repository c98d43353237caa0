"""Passes over lowered functions: what is computed once for a launch, which cells carry their own NaN, small integers.

A launch computes once what needs scalars alone. LLVM does this on the CPU; on a GPU every thread is a call of its own:
the sine of a hillshade's sun took most of its 660 instructions, and float64 among them.

Small counters are integers that a body only counts up from a literal, outside loops. ``n += 1`` at every cell of a
window written out counts to 25, yet a 64-bit ``n`` halves the width of the vector code. LLVM narrows the whole chain
where its end is cut to 32 bits: a NaN-skipping mean of 5x5 cells is 1.4 times as fast. Integer arithmetic of which 64
bits hold every result is left as it is; the rest is told to wrap.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.form import MATH, NAN_PASSES, OWN, call, is_call, stored
from tilejit.compiler.form.kinds import ALL, Kind
from tilejit.math import float32, float64

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tilejit.compiler.emitter.module import Body
    from tilejit.compiler.form.form import Form, Function

_UNIFORM_CALLS = {"_float", "_math", "_minimum", "_maximum", "abs"}
_NUMPY = {
    "asin": "arcsin",
    "acos": "arccos",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "pow": "power",
}


@dataclass(frozen=True, slots=True)
class Hoisted:
    """A form without the assignments that need no pixel."""

    form: Form
    """The rest: its body takes the assigned variables as further scalars."""
    statements: tuple[ast.Assign, ...]
    """The assignments, in order."""
    scalars: tuple[str, ...]
    """The names of the scalars that they start from."""

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that they assign: floats in the compute dtype."""
        return tuple(stored(*self.statements))

    def values(self, scalars: Sequence[Any], compute: np.dtype) -> list[Any]:
        """Computes them from the kernel's scalars, as a launch takes them."""
        library = float32 if compute == np.float32 else float64

        def math(name: str, *values: Any) -> Any:
            function = getattr(library, name) if name in OWN else getattr(np, _NUMPY.get(name, name))
            return compute.type(function(*map(compute.type, values)))

        space = {"__builtins__": {}, "_float": compute.type, "_math": math, "_minimum": min, "_maximum": max,
                 "abs": abs, **dict(zip(self.scalars, scalars, strict=True))}  # fmt: skip
        tree = ast.Module([ast.fix_missing_locations(s) for s in self.statements], [])
        with np.errstate(all="ignore"):
            exec(compile(tree, "<hoisted>", "exec"), space)  # noqa: S102 - the form of a body
        return [compute.type(space[name]) for name in self.names]


def hoisted(kernel: Body) -> Hoisted:
    """Takes out the top-level assignments that call ``math`` and use nothing but scalars of the whole grid."""
    form = kernel.clean_form if kernel.nodata == "propagate" else kernel.form  # a pixel of another has no results
    pairs = zip(kernel.scalars, form.body.scalars, strict=False)  # times come behind
    known = {name: s.kind for s, name in pairs if s.quantity is None or s.quantity.axis == "grid"}
    assignments = stored(*form.body.body)
    taken: list[ast.Assign] = []
    for statement in form.body.body:
        if isinstance(statement, ast.Assign) and _is_hoistable(statement, known):
            (name,) = stored(statement)
            if assignments.count(name) == 1:
                taken.append(statement)
                known[name] = Kind.FLOAT
    rest = tuple(s for s in form.body.body if s not in taken)
    body = replace(form.body, body=rest, scalars=(*form.body.scalars, *stored(*taken)))
    return Hoisted(replace(form, functions=(*form.functions[:-1], body)), tuple(taken), form.body.scalars)


def _is_hoistable(statement: ast.Assign, known: Mapping[str, Kind]) -> bool:
    calls = [n.func.id for n in ast.walk(statement.value) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    if not isinstance(statement.targets[0], ast.Name) or "_math" not in calls or not _UNIFORM_CALLS.issuperset(calls):
        return False
    names = {n.id for n in ast.walk(statement.value) if isinstance(n, ast.Name)} - _UNIFORM_CALLS
    return names <= known.keys() and _is_float(statement.value, known)


def _is_float(node: ast.expr, known: Mapping[str, Kind]) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "_math":
            return MATH.get(str(node.args[0].value), (1, Kind.FLOAT))[1] is Kind.FLOAT  # type: ignore[attr-defined]
        return node.func.id == "_float" or _is_float(node.args[0], known)
    if isinstance(node, ast.BinOp):
        return _is_float(node.left, known)
    if isinstance(node, ast.UnaryOp):
        return _is_float(node.operand, known)
    return isinstance(node, ast.Name) and known.get(node.id) is Kind.FLOAT


Cells = frozenset[tuple[str, int, int, int]]
"""Cells whose NaN would make a value NaN: raster, layer, dy, dx."""


class _OpaqueError(Exception):
    """The body branches, loops or compares: nothing can be said."""


def carried(form: Form) -> Cells:
    """Returns the cells of which each, where it is NaN, makes every result NaN, by IEEE arithmetic alone.

    All that are read by straight-line arithmetic such as a vegetation index, and all but the centre of a slope.
    """
    if any(kind is not Kind.FLOAT for kind in (*form.body.results, *(w.kind for w in form.body.windows))):
        return frozenset()
    functions = {f.name: f for f in form.functions}
    try:
        results = _Carrier(functions, {w.name: w.raster for w in form.body.windows}, {}).results(form.body)
    except _OpaqueError:
        return frozenset()
    return frozenset.intersection(*results)


class _Carrier:
    """Follows the cells through one function: ``known`` are those of its variables."""

    def __init__(self, functions: Mapping[str, Function], windows: Mapping[str, str], known: dict[str, Cells]) -> None:
        self.functions, self.windows, self.known = functions, windows, known
        self.layer = ""
        """The variable of the loop over layers that it is in."""

    def results(self, function: Function) -> list[Cells]:
        for statement in function.body:
            if isinstance(statement, ast.Return) and statement.value is not None:
                return self.parts(statement.value)
            if isinstance(statement, ast.For):
                self.loop(statement)
            else:
                self.assignment(statement)
        raise _OpaqueError

    def assignment(self, statement: ast.stmt) -> None:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if isinstance(target, ast.Name):
            self.known[target.id] = self.cells(statement.value)  # type: ignore[attr-defined]
        elif isinstance(target, ast.Tuple):
            self.known.update(zip(stored(target), self.parts(statement.value), strict=True))  # type: ignore[attr-defined]
        else:
            raise _OpaqueError

    def loop(self, loop: ast.For) -> None:
        """A loop over all layers: what a variable takes in in each round stays, if its own NaN does."""
        bounds = loop.iter.args if isinstance(loop.iter, ast.Call) else []
        is_whole = len(bounds) == 1 and is_call(bounds[0], "_count") and not loop.orelse
        if self.layer or not is_whole or not isinstance(loop.target, ast.Name):
            raise _OpaqueError
        before, changed = dict(self.known), set(stored(*loop.body))
        own = {name: (f"={name}", 0, 0, 0) for name in changed}
        self.layer = loop.target.id
        self.known |= {name: frozenset({mark}) for name, mark in own.items()}
        for statement in loop.body:
            self.assignment(statement)
        self.layer = ""
        for name, mark in own.items():
            cells = self.known[name] - set(own.values()) | before.get(name, frozenset())
            self.known[name] = cells if mark in self.known[name] else frozenset()

    def parts(self, node: ast.expr) -> list[Cells]:
        """Of each element of a tuple, which a helper may return."""
        if isinstance(node, ast.Tuple):
            return [self.cells(e) for e in node.elts]
        return self.called(node) if isinstance(node, ast.Call) else [self.cells(node)]

    def cells(self, node: ast.expr) -> Cells:
        if isinstance(node, ast.Constant):
            return frozenset()
        if isinstance(node, ast.Name):
            return self.known.get(node.id, frozenset())
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return self.cells(node.operand)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
            return self.cells(node.left) | self.cells(node.right)
        if isinstance(node, ast.BinOp) and _is_positive_power(node):
            return self.cells(node.left)
        results = self.called(node) if isinstance(node, ast.Call) else []
        if len(results) != 1:
            raise _OpaqueError
        return results[0]

    def called(self, node: ast.Call) -> list[Cells]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "_read":
            raster, *index = node.args
            places = [ALL if self.layer and _is_name(i, self.layer) else _literal(i) for i in index]
            if not isinstance(raster, ast.Name) or ALL in places[-2:]:
                raise _OpaqueError
            layer, dy, dx = places if len(places) == 3 else (0, *places)
            return [frozenset({(self.windows[raster.id], layer, dy, dx)})]
        if name == "_time":
            return [frozenset()]
        if name == "_math":
            function, *arguments = node.args
            if not isinstance(function, ast.Constant) or function.value not in NAN_PASSES:
                raise _OpaqueError
            return [frozenset().union(*map(self.cells, arguments))]
        if name in {"_float", "abs"}:
            return [self.cells(node.args[0])]
        if name == "_count":
            return [frozenset()]
        helper = self.functions.get(name)
        if helper is None:
            raise _OpaqueError
        count = len(helper.windows)
        windows = {w.name: self.windows[a.id] for w, a in zip(helper.windows, node.args, strict=False)}  # type: ignore[attr-defined]
        known = {p: self.cells(a) for p, a in zip(helper.scalars, node.args[count:], strict=True)}
        return _Carrier(self.functions, windows, known).results(helper)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _literal(node: ast.expr) -> int:
    """An offset, or the number of a layer, that is a literal; layers may be counted from the end."""
    if isinstance(node, ast.Constant):
        return int(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and is_call(node.left, "_count"):
        return -_literal(node.right)
    raise _OpaqueError


def _is_positive_power(node: ast.BinOp) -> bool:
    exponent = node.right.value if isinstance(node.right, ast.Constant) else None
    return isinstance(node.op, ast.Pow) and isinstance(exponent, (int, float)) and exponent > 0


_BOUND = 2**31
_ENDS = 2**63
_LARGEST = {"_select", "_minimum", "_maximum", "abs", "_whole"}
"""Calls of which the result is no larger than the largest argument."""


def narrowed(
    block: Sequence[ast.stmt], parameters: Iterable[str], dtypes: Mapping[str, np.dtype | None]
) -> list[ast.stmt]:
    """Returns the lowered statements of a function with its small counters cut to 32 bits where they become floats.

    ``parameters`` are the names of values that are given; ``dtypes`` those of rasters, and what those of integers are
    annotated with.
    """
    small = _small(block)
    counters = {name: total for name, total in small.items() if name not in set(parameters)}
    return [_Narrow(counters, dtypes).visit(s) for s in block]


def _small(block: Sequence[ast.stmt]) -> dict[str, int]:
    """The variables whose every value is a literal plus or minus literals, 32 bits long at most, and how large."""
    totals: dict[str, int | None] = {}
    for statement in block:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign):
                names = [n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name)]
                step = _step(node.value, names[0]) if isinstance(node.targets[0], ast.Name) else None
                for name in names:
                    total = totals.get(name, 0)
                    totals[name] = None if step is None or total is None else total + step
            elif isinstance(node, (ast.For, ast.While)):
                totals |= dict.fromkeys(stored(node), None)
    return {name: total for name, total in totals.items() if total is not None and total < _BOUND}


def _step(node: ast.expr, name: str) -> int | None:
    """How far one assignment can move ``name`` away from zero, or None."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return abs(node.value)
    if isinstance(node, ast.Name) and node.id == name:
        return 0
    sides: list[ast.expr] = []
    if is_call(node, "_whole"):
        return _step(node.args[0], name)  # type: ignore[attr-defined]
    if is_call(node, "_select"):
        sides = node.args[1:]  # type: ignore[attr-defined]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)) and not _has_name(node.right):
        sides = [node.left, node.right]
    steps = [_step(side, name) for side in sides]
    known = [s for s in steps if s is not None]
    return sum(known) if known and len(known) == len(steps) else None


def _has_name(node: ast.expr) -> bool:
    """Whether an expression holds a variable: ``n + n`` doubles, which no sum of literals bounds."""
    return any(isinstance(n, ast.Name) for n in ast.walk(node))


class _Narrow(ast.NodeTransformer):
    def __init__(self, counters: Mapping[str, int], dtypes: Mapping[str, np.dtype | None]) -> None:
        self.counters, self.dtypes = counters, dtypes

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if is_call(node, "_whole") and self._largest(node.args[0]) < _ENDS:
            return self.visit(node.args[0])  # type: ignore[no-any-return]
        self.generic_visit(node)
        if is_call(node, "_float") and isinstance(node.args[0], ast.Name) and node.args[0].id in self.counters:
            narrow = ast.Call(ast.Attribute(ast.Name("np", ast.Load()), "int32", ast.Load()), node.args, [])
            return call("_float", narrow)
        return node

    def _largest(self, node: ast.expr) -> int:
        """What the absolute value of an integer does not exceed."""
        if isinstance(node, ast.Constant):
            return abs(int(node.value))  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            return self.counters.get(node.id, _ENDS)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
            left, right = self._largest(node.left), self._largest(node.right)
            return left * right if isinstance(node.op, ast.Mult) else left + right
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return self._largest(node.operand)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._largest_called(node.func.id, node.args)
        return _ENDS

    def _largest_called(self, name: str, arguments: list[ast.expr]) -> int:
        if name == "_read":
            dtype = self.dtypes[arguments[0].id]  # type: ignore[attr-defined]
            return _ENDS if dtype is None else max(np.iinfo(dtype).max, -np.iinfo(dtype).min)
        if name == "int":  # of a truth value
            return 1
        sides = arguments[1:] if name == "_select" else arguments
        return max(map(self._largest, sides)) if name in _LARGEST else _ENDS
