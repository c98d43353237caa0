"""Loops over a stack's layers, and over windows too large to be written out, taken out of the loop over a row's pixels.

A layer is a plane of memory. A pixel that goes through all layers reads one cell of each, megabytes apart; a row that
does reads whole cache lines, and is vector code. So a body is cut into sections, each computed for all pixels of a row
before the next: ``for k: for x: total[x] += t[k, y, x]`` (loop fission and interchange). Variables of several sections
become arrays as long as a row, which a launch is given. Each pixel does the same arithmetic in the same order: the bits
are the same. A mean of 50 layers of 1024 x 1024 takes 16 ms instead of 180, a loop by hand 17.

Local arrays become rows of elements, one for each pixel of a piece of a row, and are sorted beside each other: a median
of 200 dates takes a ninth of the time.

A body is left as it is where a loop's bounds differ between pixels, where a pixel may leave the loop, return before its
end, or must not be computed with: its statements then run pixel by pixel.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tilejit.compiler.emitter.beside import PLACE, Beside, are_for_rows, beside_others, given_arrays, lanes_for
from tilejit.compiler.emitter.nest import Branch, Loop, Nest, Once, Section, Sort
from tilejit.compiler.form.form import NOTES, TIMES, Function, Renamer, assign, copied, is_call, load, stored
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.syntax.unrolling import LIMIT_IN_ROWS
from tilejit.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilejit.compiler.emitter.module import Body
    from tilejit.compiler.emitter.nest import Part
    from tilejit.compiler.form.form import Form

_UNIFORM_CALLS = {"_whole", "_minimum", "_maximum", "int", "abs", "_float", "_math", "_select", "_cut", "_table"}
_LONG, _LONG_ALONE, _OF_A_CALL = 64, 16, 8
"""Statements of a body from which on its loops are kept, a function of tj.math as long as 8: beyond, text is long to
compile, and rows that go through a window together are faster. Up to there cells that are in registers are: a filter of
5x5 cells that adds up two sums, 50 statements, takes 0.7 of the time. What cannot be vector code gains nothing."""
_UNIFORM = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp)


class _UnfitError(Exception):
    """The body is left as it is."""


def interchanged(kernel: Body, form: Form | None) -> Nest | None:
    """Returns a body with its loops over layers outside, or None where it has none that can be."""
    if form is None:
        return None
    body = form.body
    has_stacks = any(w.is_stack for w in body.windows)
    if form.takes_valid_cells_only or not (has_stacks or _has_large_window(form)):
        return None
    pairs = zip(kernel.scalars, body.scalars, strict=False)  # times come behind
    uniform = [name for s, name in pairs if s.quantity is None or s.quantity.axis == "grid"]
    try:
        return _Cutter(form, set(uniform)).nest()
    except _UnfitError:
        return None


def looped(form: Form, lower: Callable[[int], Form]) -> Form | None:
    """Returns a body with those loops kept that come to many statements; None of a short one, and where it differs.

    ``form`` has them written out, and tells what is read; ``lower`` is given how many statements a loop may come to.
    """
    nodes = [n for f in form.functions for s in f.body for n in ast.walk(s)]
    effort = sum(isinstance(n, ast.stmt) + _OF_A_CALL * _is_long_call(n) for n in nodes)
    goes_alone = is_scalar(form)
    is_short = effort <= (_LONG_ALONE if goes_alone else _LONG) and not any(isinstance(n, ast.For) for n in nodes)
    if form.asks_validity or form.c_functions or is_short or any(w.is_stack for w in form.body.windows):
        return None
    try:
        kept = lower(0 if goes_alone else LIMIT_IN_ROWS)
    except KernelError:  # a helper may ask for offsets that are literals
        return None
    is_same = (kept.radius, kept.body.notes, kept.body.results) == (form.radius, form.body.notes, form.body.results)
    return replace(kept, footprint=form.footprint) if is_same else None


def _is_long_call(node: ast.AST) -> bool:
    """Whether it calls a function of ``math``, of more than literals: what it makes of these is known."""
    arguments = node.args[1:] if is_call(node, "_math") else []  # type: ignore[attr-defined]
    return any(
        not is_call(a, "_float") or not isinstance(getattr(a.args[0], "operand", a.args[0]), ast.Constant)
        for a in arguments
    )


def is_scalar(form: Form) -> bool:
    """Whether a body cannot be vector code, however it is written: it has loops of data, or indexes arrays by them."""
    nodes = [n for s in form.body.body for n in ast.walk(s)]
    counted = {n.target.id for n in nodes if isinstance(n, ast.For) and isinstance(n.target, ast.Name)}
    indices = [n.slice for n in nodes if isinstance(n, ast.Subscript)]
    known = [isinstance(i, ast.Constant) or (isinstance(i, ast.Name) and i.id in counted) for i in indices]
    return form.has_while or not all(known)


def _has_large_window(form: Form) -> bool:
    """Whether a body of one variant goes over cells by a loop that is not written out."""
    is_single = not form.asks_validity and not form.body.arrays
    return is_single and form.radius != (0, 0) and any(isinstance(s, ast.For) for s in form.body.body)


@dataclass(slots=True)
class _Statements:
    """What becomes a section."""

    statements: list[ast.stmt]
    names: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = {n.id for s in self.statements for n in ast.walk(s) if isinstance(n, ast.Name)}


_Part = _Statements | Sort | Once | tuple[ast.For | ast.If, "list[_Part]", "list[_Part]"]


class _Cutter:
    """Cuts one body."""

    def __init__(self, form: Form, uniform: set[str]) -> None:
        body = form.body
        self.form = form
        self.helpers = {f.name: f for f in form.functions if set(f.scalars) & {a.name for a in f.arrays}}
        self.body, self.uniform = replace(body, body=_apart(body.body)), uniform
        self.arrays = {a.name: a for a in body.arrays}
        self.lanes = lanes_for(body.arrays)
        planes = {w.name for w in body.windows if not w.is_stack and form.radius != (0, 0)}
        self.layers = {TIMES, *(w.name for w in body.windows if w.is_stack), *planes}
        self.gains = False
        """Whether some loop reads layers, or something is sorted: arrays alone are best each pixel's own."""
        self.counts = stored(*self.body.body)
        self.sections: list[_Statements] = []
        self.sorted: list[str] = []
        """The variables that say how much is sorted."""

    def nest(self) -> Nest:
        """The whole body."""
        if set(self.counts) & set(self.body.scalars):
            raise _UnfitError
        parts = self.parts(self.body.body, set())
        if not self.gains or not isinstance(parts[-1], _Statements):
            raise _UnfitError
        if any(_returns(s) for section in self.sections if section is not parts[-1] for s in section.statements):
            raise _UnfitError
        statements = [s for section in self.sections for s in section.statements]
        if not are_for_rows(statements, self.arrays.keys(), set(), self.helpers):
            raise _UnfitError
        for helper in self.helpers.values():
            own = {a.name for a in helper.arrays} - given_arrays(helper)
            if not are_for_rows(helper.body, given_arrays(helper), own, self.helpers):
                raise _UnfitError
        varying = [name for name in dict.fromkeys(self.counts) if name not in {*self.uniform, *self.arrays}]
        names = [name for name in varying if sum(name in section.names for section in self.sections) > 1]
        kinds = {**dict(self.body.kinds), **{f"_{note}": Kind.BOOL for note in NOTES}}
        if not kinds.keys() >= set(names):
            raise _UnfitError
        shared = {name: kinds[name] for name in names} | dict.fromkeys(self.sorted, Kind.INT)
        block = tuple(self.made(part, shared) for part in parts)
        helpers = tuple(beside_others(f, self.helpers, self.lanes) for f in self.helpers.values())
        return Nest(block, shared, self.form, tuple(self.arrays.values()), helpers, self.lanes)

    def parts(self, statements: Sequence[ast.stmt], targets: set[str], *, is_inside: bool = False) -> list[_Part]:
        """Cuts a block; ``targets`` are the variables that all pixels share there, those of the loops around it too."""
        result: list[_Part] = []
        rest: list[ast.stmt] = []
        for statement in (single for s in statements for single in _singly(s)):
            if isinstance(statement, ast.For) and self.is_loop(statement):
                self.close(rest, result, targets)
                rest = []
                name = statement.target.id  # type: ignore[attr-defined]
                self.uniform.add(name)
                result.append((statement, self.parts(statement.body, {*targets, name}, is_inside=True), []))
            elif is_inside and isinstance(statement, ast.If) and self.is_branch(statement):
                self.close(rest, result, targets)
                rest = []
                block, orelse = (
                    self.parts(side, targets, is_inside=True) for side in (statement.body, statement.orelse)
                )
                result.append((statement, block, orelse))
            elif isinstance(statement, ast.Expr) and is_call(statement.value, "_sort"):
                name, count = statement.value.args  # type: ignore[attr-defined]
                sort = Sort(self.arrays[name.id], f"_sorted_{len(self.sorted) + 1}")
                self.sorted.append(sort.count)
                self.gains = True
                self.close([*rest, assign(sort.count, count)], result, targets)
                rest = []
                result.append(sort)
            elif self.is_place(statement):
                continue
            elif self.is_same_for_all(statement):
                name = statement.targets[0].id  # type: ignore[attr-defined]
                self.uniform.add(name)
                targets = {*targets, name}
                result.append(Once(statement))  # in its place: it may be of a loop's variable after that loop
            else:
                rest.append(statement)
        self.close(rest, result, targets)
        return result

    def is_place(self, statement: ast.stmt) -> bool:
        """Whether a statement gives an array its place, which it has among the others'."""
        return isinstance(statement, ast.Assign) and is_call(statement.value, "_array")

    def close(self, statements: list[ast.stmt], result: list[_Part], targets: set[str]) -> None:
        """Makes a section of statements, none of which has the variable of a loop that it does not stand in."""
        if not statements:
            return
        section = _Statements(statements)
        if section.names & self.uniform & set(self.counts) - targets:
            raise _UnfitError
        self.sections.append(section)
        result.append(section)

    def is_loop(self, loop: ast.For) -> bool:
        """Whether all pixels go through a loop alike, and read layers in it."""
        names = {n.id for s in loop.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        is_alike = isinstance(loop.iter, ast.Call) and all(map(self.is_uniform, loop.iter.args))
        is_once = isinstance(loop.target, ast.Name) and self.counts.count(loop.target.id) == 1
        leaves = any(map(_leaves, loop.body)) or any(map(_returns, loop.body))
        is_fit = bool(names & {*self.layers, *self.arrays}) and is_alike and is_once and not leaves
        self.gains |= is_fit and bool(names & self.layers)
        return is_fit

    def is_uniform(self, node: ast.expr) -> bool:
        """Whether a value is the same for all pixels of a row."""
        if isinstance(node, ast.Name):
            return node.id in self.uniform or node.id in {"_NAN", "_INF"}
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            arguments = node.args[1:] if name == "_time" else node.args
            return name == "_count" or (name in {"_time", *_UNIFORM_CALLS} and all(map(self.is_uniform, arguments)))
        parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        return isinstance(node, _UNIFORM) and all(map(self.is_uniform, parts))

    def is_same_for_all(self, statement: ast.stmt) -> bool:
        """Whether a statement assigns such a value, for good: ``n = len(t)``, or a weight of the window's cell."""
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            return False
        return self.counts.count(statement.targets[0].id) == 1 and self.is_uniform(statement.value)

    def is_branch(self, statement: ast.If) -> bool:
        """Whether all pixels go the same way, and on from there."""
        return self.is_uniform(statement.test) and not any(map(_returns, (*statement.body, *statement.orelse)))

    def made(self, part: _Part, shared: dict[str, Kind]) -> Part:
        """What a part becomes."""
        if isinstance(part, (Sort, Once)):
            return part
        if not isinstance(part, _Statements):
            statement, *sides = part
            block, orelse = (tuple(self.made(p, shared) for p in side) for side in sides)
            if isinstance(statement, ast.If):
                return Branch(statement.test, block, orelse)
            return Loop(statement.target.id, tuple(statement.iter.args), block)  # type: ignore[attr-defined]
        changed = set(stored(*part.statements))
        variables = tuple(name for name in shared if name in changed)
        windows = tuple(w for w in self.body.windows if w.name in part.names)
        given = (*self.body.scalars, *sorted(self.uniform - set(self.body.scalars)), *shared, *self.arrays)
        taken = tuple(name for name in given if name in part.names)
        taken += (PLACE,) * bool(part.names & self.arrays.keys())
        name = f"_{self.body.name}_{self.sections.index(part) + 1}"
        statements = [Beside(self.arrays, self.helpers, self.lanes).visit(copied(s)) for s in part.statements]
        if part is self.sections[-1]:
            return Section(Function(name, windows, taken, tuple(statements), self.body.results,
                                self.body.is_tuple, self.body.notes), ())  # fmt: skip
        values: list[ast.expr] = [load(v) for v in variables]
        is_tuple = len(values) != 1
        returned = ast.Return(ast.Tuple(values, ast.Load()) if is_tuple else values[0])
        body = (*statements, ast.fix_missing_locations(returned))
        return Section(Function(name, windows, taken, body, tuple(shared[v] for v in variables), is_tuple), variables)


def _apart(statements: Sequence[ast.stmt]) -> tuple[ast.stmt, ...]:
    """Loops one after the other over a variable of one name, each with one of its own, where nothing else has it."""
    body = tuple(map(copied, statements))
    loops: dict[str, list[ast.For]] = {}
    for node in (n for s in body for n in ast.walk(s)):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            loops.setdefault(node.target.id, []).append(node)
    for name, found in loops.items():
        if _uses(body, name) == sum(_uses([loop], name) for loop in found):
            for number, loop in enumerate(found[1:], 2):
                Renamer({name: f"_{name}_{number}"}).visit(loop)
    return body


def _uses(statements: Sequence[ast.stmt], name: str) -> int:
    return sum(isinstance(n, ast.Name) and n.id == name for s in statements for n in ast.walk(s))


def _singly(statement: ast.stmt) -> list[ast.stmt]:
    """``a, b = x, y`` as two assignments, where neither value needs a variable's old one."""
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Tuple):
        return [statement]
    pairs = list(zip(statement.targets[0].elts, statement.value.elts, strict=True))  # type: ignore[attr-defined]
    read = {n.id for n in ast.walk(statement.value) if isinstance(n, ast.Name)}
    return [statement] if read & set(stored(statement)) else [ast.Assign([t], v, lineno=0) for t, v in pairs]


def _returns(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Return) for node in ast.walk(statement))


def _leaves(statement: ast.stmt) -> bool:
    """Whether a statement may leave the loop around it, or its round."""
    if isinstance(statement, ast.If):
        return any(map(_leaves, (*statement.body, *statement.orelse)))
    if isinstance(statement, (ast.For, ast.While)):
        return any(map(_leaves, statement.orelse))
    return isinstance(statement, (ast.Break, ast.Continue))
