"""From a body's source to its form: the body and every helper that it calls, typed."""

from __future__ import annotations

import ast
import functools
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.arrays.sequences import structure_of, written_out
from tilejit.compiler.arrays.text import spelled as loops_spelled
from tilejit.compiler.emitter.passes import narrowed
from tilejit.compiler.form.captured import TABLES
from tilejit.compiler.form.form import (
    NOTES,
    TIMES,
    Form,
    Function,
    LocalArray,
    Neighbourhood,
    assign,
    call,
    copied,
    load,
    stored,
)
from tilejit.compiler.form.tables import changing
from tilejit.compiler.lowering.array_values import array_of
from tilejit.compiler.lowering.assignments import elements_of
from tilejit.compiler.lowering.expressions import lower
from tilejit.compiler.lowering.indexing import ANY, spans_of
from tilejit.compiler.lowering.layers import filling
from tilejit.compiler.lowering.scope import RESERVED, Program, Scope, Value, aside, cast
from tilejit.compiler.lowering.statements import joined_kinds, lower_block
from tilejit.compiler.syntax.checks import changes_only, check_syntax
from tilejit.compiler.syntax.folding import COUNT
from tilejit.compiler.syntax.names import Names, bind, reaching_parameters
from tilejit.compiler.syntax.neighbours import has_neighbours, window_parameters
from tilejit.compiler.syntax.numpy_names import math_name
from tilejit.compiler.syntax.rewriting import core_source
from tilejit.compiler.syntax.unrolling import LIMIT, unroll

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tilejit.compiler.form.c_functions import CFunction
    from tilejit.compiler.form.kinds import Kind
    from tilejit.compiler.form.parameters import RasterParameter, ScalarParameter
    from tilejit.compiler.form.source import FunctionSource
    from tilejit.compiler.form.tables import Table

    Parameter = tuple[Kind, str, bool]
    """A parameter that is a raster: the kind of its cells, the kernel's own that it stands for, and whether a stack."""


def lower_body(source: FunctionSource, rasters: Sequence[RasterParameter], scalars: Sequence[ScalarParameter], *,
               is_focal: bool, radius: tuple[int, int] | None, all_valid: bool,
               c_functions: Sequence[CFunction] = (), tables: Sequence[Table] = (),
               has_times: bool = False, layers: int = 0, by_layer: bool = False,
               limit: int | None = None) -> Form:  # fmt: skip
    """Returns the form of a body for one variant: for tiles in which all cells are valid, or for all tiles.

    Both stand in one module: the one that is made later is given the C functions and the tables of the first. The
    body's loops that come to more than ``limit`` statements stay loops.

    Raises:
        KernelError: The body uses a name or an expression that the language does not have.
    """
    program = Program(
        {r.name: r.dtype for r in rasters}, is_focal, radius, all_valid, _lower_helper, lower_block,
        uniform={s.name for s in scalars if s.quantity is None or s.quantity.axis == "grid"},
        footprint={r.name: frozenset() for r in rasters},
        c_functions={f.pointer: f for f in c_functions}, tables={t.key: t for t in tables},
        taken={*(f.name for f in c_functions), *(t.name for t in tables)}, has_times=has_times, layers=layers,
        by_layer=by_layer, is_sized=by_layer, limit=LIMIT if limit is None else limit,
    )  # fmt: skip
    own = [r for r in rasters if not r.star]
    windows = {r.name: (r.kind, r.name, r.is_stack) for r in own}
    windows |= {f"{r.star}@{k}": (r.kind, r.name, False) for k, r in enumerate(rasters[len(own) :])}
    tuples = {r.star: len(rasters) - len(own) for r in rasters[len(own) :]}
    _lower(program, source, windows, {s.name: s.kind for s in scalars}, literals={}, arrays={}, tables={},
           tuples=tuples)  # fmt: skip
    if program.reads_times and not has_times:  # helpers that were lowered before it was seen take the table, too
        return lower_body(source, rasters, scalars, is_focal=is_focal, radius=radius, all_valid=all_valid,
                          c_functions=c_functions, tables=tables, has_times=True, layers=layers,
                          by_layer=by_layer, limit=limit)  # fmt: skip
    rows, cols = radius or (0, 0)
    for _, dy, dx in itertools.chain.from_iterable(program.footprint.values()):
        rows, cols = max(rows, abs(dy)), max(cols, abs(dx))
    return Form(tuple(program.functions.values()), program.footprint, (rows, cols), program.has_while,
                program.asks_validity, tuple(program.c_functions.values()), tuple(program.tables.values()),
                tuple(program.changing.values()), tuple(program.asked.values()),
                program.is_sized, frozenset(p for p, kinds in program.joined.items() if kinds == {True}))  # fmt: skip


def _lower_helper(scope: Scope, node: ast.Call, function: Callable[..., object]) -> tuple[Function, list[ast.expr]]:
    if function in scope.program.active:
        scope.fail(node, f"{function.__name__} calls itself", "write the recursion as a while loop")
    scope.program.is_sized |= scope.names.is_sized
    source = _ended(core_source(function))
    if source.tree is not core_source(function).tree and node is not scope.bare:
        scope.fail(
            node, f"{function.__name__} returns nothing", "call it on a line of its own, or let it return a value"
        )
    check_syntax(source)
    wanted, reaching = window_parameters(source), reaching_parameters(source)
    literals: dict[str, int] = {}
    windows: dict[str, Parameter] = {}
    passed: list[ast.expr] = []
    values: dict[str, Value] = {}
    arrays: dict[str, LocalArray] = {}
    tables: dict[str, Any] = {}
    tuples: dict[str, int] = {}
    for name, argument in _apart(scope, bind(scope.source, node, source), tuples).items():
        table = None if name in stored(source.tree) else scope.names.captured(argument)
        array = None if isinstance(table, TABLES) else array_of(scope, argument, lower)
        handed = scope.names.resolve(argument)
        if isinstance(table, TABLES):
            tables[name] = table
        elif scope.names.helper(handed) is not None or math_name(handed) is not None:
            _check_handed(scope, argument, handed)
            tables[name] = handed
        elif array is not None:
            arrays[name] = array
        elif name in wanted or _given_whole(scope, name, argument) is not None:
            window = _given_whole(scope, name, argument) or _passed_window(scope, argument, source, name)
            windows[name] = (window.kind, window.raster, window.is_stack)
            passed.append(load(window.name))
        elif name in reaching and isinstance(argument, ast.Constant) and type(argument.value) is int:
            literals[name] = argument.value
        else:
            values[name] = lower(scope, argument)
    kinds = {name: value.kind for name, value in values.items()}
    lowered = _lower(scope.program, source, windows, kinds, literals=literals, arrays=arrays, tables=tables,
                     tuples=tuples)  # fmt: skip
    given = [*(load(a.name) for a in arrays.values()), *(v.node for v in values.values())]
    return lowered, [*passed, *given, *[load(TIMES)] * (TIMES in lowered.scalars)]


def _check_handed(scope: Scope, node: ast.expr, function: Any) -> None:
    """Refuses a function inside the body that sees variables of it: where it is called next, they are not there."""
    is_inside = any(function is nested for nested in scope.source.nested or ())
    seen = [a.arg for a in function.__tilejit_source__.tree.args.kwonlyargs] if is_inside else []
    if seen:
        scope.fail(node, f"{ast.unparse(node)} sees {', '.join(seen)} of the body, and is handed on",
                   "give it what it needs as a parameter, or call it here")  # fmt: skip


def _ended(source: FunctionSource) -> FunctionSource:
    """A helper that returns nothing, and changes arrays, as one that returns 0."""
    if not changes_only(source):
        return source
    tree = copied(source.tree)
    tree.body.append(ast.copy_location(ast.Return(ast.copy_location(ast.Constant(0), tree.body[-1])), tree.body[-1]))
    return replace(source, tree=tree)


def _apart(scope: Scope, bound: dict[str, ast.expr], tuples: dict[str, int]) -> dict[str, ast.expr]:
    """The arguments of a call, tuples element by element; takes in how long these are."""
    given: dict[str, ast.expr] = {}
    for name, argument in bound.items():
        is_tuple = isinstance(argument, ast.Tuple) or (isinstance(argument, ast.Name) and argument.id in scope.tuples)
        elements = elements_of(scope, argument) if is_tuple else None
        tuples |= {} if elements is None else {name: len(elements)}
        parts = [(name, argument)] if elements is None else [(f"{name}@{k}", e) for k, e in enumerate(elements)]
        given |= parts
    return given


def _given_whole(scope: Scope, name: str, argument: ast.expr) -> Neighbourhood | None:
    """The raster that a call passes as such: a stack, or one of several in a tuple."""
    window = scope.windows.get(argument.id) if isinstance(argument, ast.Name) else None
    return window if window is not None and (window.is_stack or "@" in name) else None


def _passed_window(scope: Scope, argument: ast.expr, source: FunctionSource, name: str) -> Neighbourhood:
    """The raster that a call passes for a parameter that the helper subscripts."""
    window = scope.windows.get(argument.id) if isinstance(argument, ast.Name) else None
    if window is None:
        scope.fail(argument, f"{source.name} reads neighbours of {name}", "pass it a raster parameter, by its name")
    if not scope.program.is_focal:
        scope.fail(argument, f"{source.name} reads neighbours of {name}, and a local body sees one pixel",
                   "declare the kernel with @tj.focal")  # fmt: skip
    return window


def _lower(program: Program, source: FunctionSource, windows: dict[str, Parameter], kinds: dict[str, Kind], *,
           literals: dict[str, int], arrays: dict[str, LocalArray], tables: dict[str, Any],
           tuples: dict[str, int]) -> Function:  # fmt: skip
    """Lowers a function for the kinds, literals, arrays, tables, tuples of a call, once for all calls of these."""
    long = {name: (array.kind, array.size, array.columns, array.word) for name, array in arrays.items()}
    given_tables = {name: id(table) for name, table in tables.items()}
    key = (source.function, *(tuple(part.items()) for part in (windows, kinds, literals, long, given_tables, tuples)))
    if key in program.functions:
        return program.functions[key]
    is_helper = bool(program.active)
    program.active.append(source.function)
    names = Names(source, tables)
    members = {name: [f"{name}@{k}" for k in range(size)] for name, size in tuples.items()}
    names.tuples = {name: parts for name, parts in members.items() if windows.keys() >= set(parts)}
    program.locals |= names.locals
    names.layers = _as_long(source.tree, [n for n, (*_, is_stack) in windows.items() if is_stack], program.layers or 1)
    program.changing |= {id(c.owner): c for c in changing(source.tree, names.captured)}
    renamed = _renamed(names.locals, program.taken)
    renamed |= {n: f"_{n.replace('@', '_of_')}" for n in windows if "@" in n}
    held = {n: Neighbourhood(renamed.get(n, n), *rest) for n, rest in windows.items()}
    given = {name: LocalArray(renamed.get(name, name), *rest) for name, rest in long.items()}
    spelled = functools.partial(_spelled, names=names, given=given, tuples=tuples, is_helper=is_helper)
    tree = unroll(source.tree, names, literals, spelled, LIMIT if is_helper else program.limit)
    # A helper's parameters may differ from pixel to pixel.
    uniform = set() if is_helper else program.uniform.difference(stored(tree))
    is_tuple = any(isinstance(n, ast.Return) and isinstance(n.value, ast.Tuple) for n in ast.walk(tree))
    is_known = names.resolve(load("len")) is len
    counts = {f"len({name})": (COUNT, COUNT) for name, window in held.items() if window.is_stack and is_known}
    known = {name: (program.layers, program.layers) for name in counts if program.layers}
    start = Scope(program, source, names, held, dict(kinds), renamed, intervals=counts, uniform=uniform,
                  returns_tuple=is_tuple, by_layer=program.by_layer and not is_helper,
                  arrays=given, given=frozenset(given), tuples=tuples,
                  spans=functools.cache(functools.partial(spans_of, tree, known)))  # fmt: skip
    scope, body = _until_kinds_settle(start, tree)
    program.active.pop()
    program.is_sized |= names.is_sized
    notes = tuple(note for note in NOTES if note in scope.notes)
    own, result = tuple(scope.arrays.values()), None
    if scope.by_layer:
        body, result = filling(body, own, joined_kinds(scope.returns)[0])
    body = _returning_notes(body, notes)
    dtypes = {w.name: program.dtypes[w.raster] for w in held.values()}
    has_times = program.has_times and any(w.is_stack for w in held.values())
    parameters = *(start.name(k) for k in (*given, *kinds)), *[TIMES] * has_times
    body = [ast.fix_missing_locations(s) for s in narrowed(body, parameters, dtypes)]
    program.functions[key] = Function(program.free_name(source.name), tuple(held.values()), parameters, tuple(body),
                                      joined_kinds(scope.returns), scope.returns_tuple, notes,
                                      tuple((scope.name(n), kind) for n, kind in scope.kinds.items()),
                                      tuple(dict.fromkeys([*own, *([result] if result else [])])), source.function,
                                      result=result)  # fmt: skip
    program.writers |= {program.functions[key].name} if scope.writes else set()
    return program.functions[key]


def _spelled(tree: ast.FunctionDef, names: Names, given: Mapping[str, LocalArray],
             tuples: Mapping[str, int], *, is_helper: bool) -> ast.FunctionDef:  # fmt: skip
    """Rewrites a folded tree where it has arrays or tuples."""
    shapes = {name: (array.word, structure_of(array)) for name, array in given.items()}
    names.columns |= {name: array.columns for name, array in given.items() if array.columns}
    shapes |= {name: ("tuple", (None,) * size) for name, size in tuples.items()}
    written = written_out(tree, names, shapes, is_helper=is_helper)
    return loops_spelled(written, names, {name: array.size for name, array in given.items()} | dict(tuples))


def _as_long(tree: ast.FunctionDef, stacks: Sequence[str], layers: int) -> dict[str, int]:
    """What a function writes for the number of layers: ``len(t)``, and variables that are that and nothing else."""
    found = {f"len({name})": layers for name in stacks}
    counts = stored(tree)
    for statement in (s for s in tree.body if found and isinstance(s, ast.Assign)):
        target = statement.targets[0]
        if isinstance(target, ast.Name) and counts.count(target.id) == 1 and ast.unparse(statement.value) in found:
            found[target.id] = layers
    return found


def _until_kinds_settle(start: Scope, tree: ast.FunctionDef) -> tuple[Scope, list[ast.stmt]]:
    """A variable's kind is the widest that is ever assigned to it, which a loop may show only at its end."""
    known, returns, arrays = start.kinds, start.returns, start.arrays
    while True:
        scope = replace(start, windows=dict(start.windows), kinds=dict(known), renamed=dict(start.renamed),
                        assigned={*start.kinds, *start.given}, returns=list(returns), prelude=[], notes=set(),
                        arrays=dict(arrays), tuples=dict(start.tuples),
                        counters=dict.fromkeys(start.kinds, ANY), joined={})  # fmt: skip
        prologue = [*_read_whole(scope), *_shadow_reassigned(scope, tree)]
        body, _ = lower_block(scope, tree.body)
        joined = [joined_kinds(scope.returns)]
        if scope.kinds == known and joined == returns and scope.arrays == arrays:
            own = [a for name, a in scope.arrays.items() if name not in scope.given]
            for place, kinds in scope.joined.items():
                scope.program.joined.setdefault(place, set()).update(kinds)
            return scope, [*map(_place, own), *prologue, *body]
        known, returns, arrays = dict(scope.kinds), joined, dict(scope.arrays)


def _place(array: LocalArray) -> ast.stmt:
    """The statement that gives an array its place, the same in every round of a loop."""
    return assign(array.name, call("_array", ast.Constant(array.kind.name), ast.Constant(array.size)))


def _returning_notes(body: list[ast.stmt], notes: Sequence[str]) -> list[ast.stmt]:
    """The statements of a function that returns its notes behind its results."""
    for node in (n for s in body for n in ast.walk(s) if isinstance(n, ast.Return)):
        results = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value] if node.value else []
        parts = [*results, *(load(f"_{note}") for note in notes)]
        node.value = ast.Tuple(parts, ast.Load()) if notes else node.value
    return [*(assign(f"_{note}", ast.Constant(value=False)) for note in notes), *body]


def _renamed(names: set[str], taken: set[str]) -> dict[str, str]:
    """Variables that get another name, because the generated module has one like it."""
    result: dict[str, str] = {}
    for name in sorted(names):
        if name in RESERVED or name in taken or name.startswith("_"):
            stem = f"own{name}" if name.startswith("_") else name
            candidates = (f"{stem}_{'' if k == 1 else k}" for k in itertools.count(1))
            result[name] = next(c for c in candidates if c not in {*names, *taken, *result.values()})
    return result


def _shadow_reassigned(scope: Scope, tree: ast.FunctionDef) -> list[ast.stmt]:
    """``red = red * 0.0001``: the raster's name becomes a variable that starts as the pixel's own value."""
    prologue: list[ast.stmt] = []
    for name in sorted(scope.windows.keys() & set(stored(tree))):
        names = (n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name)
        first = next(n for n in names if isinstance(n.ctx, ast.Store))
        value = lower(scope, ast.copy_location(load(name), first))
        del scope.windows[name]
        scope.renamed[name] = f"_{name}_here"
        scope.note(name, value.kind)
        prologue.append(assign(scope.name(name), cast(value, scope.kinds[name])))
    return prologue


def _read_whole(scope: Scope) -> list[ast.stmt]:
    """Reads of uint64 pixels, which may not fit: a pixel that a body sees as one value is read before it begins."""
    planes = [(n, w.raster) for n, w in scope.windows.items() if not w.is_stack and not has_neighbours(scope.source, n)]
    wide = [n for n, raster in planes if scope.program.dtypes[raster] == np.uint64]
    return [s for name in wide for s in aside(scope, lower, load(name))[0]]
