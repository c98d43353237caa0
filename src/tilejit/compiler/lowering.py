"""From a body's source to its form: the body and every helper that it calls, typed."""

from __future__ import annotations

import ast
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.c_functions import CFunction
from tilejit.compiler.checks import check_syntax
from tilejit.compiler.counters import narrowed
from tilejit.compiler.expressions import lower
from tilejit.compiler.form import NOTES, Form, Function, Offset, Value, Window
from tilejit.compiler.helpers import bind, reaching_parameters, window_parameters
from tilejit.compiler.names import Names
from tilejit.compiler.scope import Scope, aside, cast
from tilejit.compiler.source import FunctionSource, read_source
from tilejit.compiler.statements import joined_kinds, lower_block
from tilejit.compiler.unroll import unroll

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tilejit.compiler.c_functions import CPointer
    from tilejit.compiler.kinds import Kind
    from tilejit.compiler.parameters import RasterParameter, ScalarParameter

RESERVED = {"f32", "f64", "i32", "i64", "u64", "np", "math", "njit", "prange", "cuda", "tile", "whole", "launch", "int",
            "abs", "range", "round", "min", "max", "bool", "float"}  # fmt: skip
"""Names of the generated module; a variable of such a name, or with a leading underscore, gets a trailing one."""


class Lowering:
    """Lowers one body for one variant; a ``Program`` to the scopes of its functions."""

    def __init__(self, rasters: tuple[RasterParameter, ...], *, is_focal: bool, radius: tuple[int, int] | None,
                 all_valid: bool, c_functions: tuple[CFunction, ...] = ()) -> None:  # fmt: skip
        self.rasters = rasters
        self.dtypes = {r.name: r.dtype for r in rasters}
        self.is_focal = is_focal
        self.radius = radius
        self.all_valid = all_valid
        self.asks_validity = False
        self.has_while = False
        self.footprint: dict[str, frozenset[Offset]] = {r.name: frozenset() for r in rasters}
        self._functions: dict[object, Function] = {}
        self._active: list[Callable[..., object]] = []
        self._locals: set[str] = set()
        self._uniform: set[str] = set()
        # Both variants stand in one module, where each C function has one name.
        self._c_functions: dict[CPointer, CFunction] = {f.pointer: f for f in c_functions}
        self._taken = {f.name for f in c_functions}

    @property
    def calls_c(self) -> bool:
        """Whether a C function was met."""
        return bool(self._c_functions)

    def c_function(self, scope: Scope, node: ast.Call, pointer: CPointer, held: tuple[Any, ...]) -> CFunction:
        """Notes a C function that is called, and returns it with its name in the generated module."""
        if pointer not in self._c_functions:
            name = self._free_name(ast.unparse(node.func).rpartition(".")[2])
            self._c_functions[pointer] = CFunction(name, pointer, held, scope.source, node)
        return self._c_functions[pointer]

    def record(self, raster: str, offsets: frozenset[Offset]) -> None:
        """Notes cells that are read."""
        self.footprint[raster] |= offsets

    def form(self, source: FunctionSource, scalars: tuple[ScalarParameter, ...]) -> Form:
        """Lowers the body and returns its form."""
        windows = {r.name: (r.kind, r.name) for r in self.rasters}
        self._uniform = {s.name for s in scalars if s.quantity is None or s.quantity.axis == "grid"}
        self._lower(source, windows, {s.name: s.kind for s in scalars}, {})
        reads = itertools.chain.from_iterable(self.footprint.values())
        rows, cols = self.radius or (0, 0)
        for dy, dx in reads:
            rows, cols = max(rows, abs(dy)), max(cols, abs(dx))
        functions = tuple(self._functions.values())
        called = tuple(self._c_functions.values())
        return Form(functions, self.footprint, (rows, cols), self.has_while, self.asks_validity, called)

    def helper(self, scope: Scope, node: ast.Call, function: Callable[..., object]) -> tuple[Function, list[ast.expr]]:
        """Lowers a helper for the kinds of one call; returns it and the call's arguments."""
        if function in self._active:
            scope.fail(node, f"{function.__name__} calls itself", "write the recursion as a while loop")
        source = read_source(function)
        check_syntax(source)
        wanted, reaching = window_parameters(source), reaching_parameters(source)
        literals: dict[str, int] = {}
        windows: dict[str, tuple[Kind, str]] = {}
        passed: list[ast.expr] = []
        values: dict[str, Value] = {}
        for name, argument in bind(scope, node, source).items():
            if name in wanted:
                window = self._window(scope, argument, source, name)
                windows[name] = (window.kind, window.raster)
                passed.append(ast.Name(window.name, ast.Load()))
            elif name in reaching and isinstance(argument, ast.Constant) and type(argument.value) is int:
                literals[name] = argument.value
            else:
                values[name] = lower(scope, argument)
        kinds = {name: value.kind for name, value in values.items()}
        lowered = self._lower(source, windows, kinds, literals)
        return lowered, passed + [v.node for v in values.values()]

    def _window(self, scope: Scope, argument: ast.expr, source: FunctionSource, name: str) -> Window:
        """The raster that a call passes for a parameter that the helper subscripts."""
        window = scope.windows.get(argument.id) if isinstance(argument, ast.Name) else None
        if window is None:
            scope.fail(argument, f"{source.name} reads neighbours of {name}", "pass it a raster parameter, by its name")
        if not self.is_focal:
            scope.fail(argument, f"{source.name} reads neighbours of {name}, and a local body sees one pixel",
                       "declare the kernel with @tj.focal")  # fmt: skip
        return window

    def _lower(self, source: FunctionSource, windows: dict[str, tuple[Kind, str]], kinds: dict[str, Kind],
               literals: dict[str, int]) -> Function:  # fmt: skip
        key = (source.function, *(tuple(part.items()) for part in (windows, kinds, literals)))
        if key in self._functions:
            return self._functions[key]
        self._active.append(source.function)
        names = Names(source)
        self._locals |= names.locals
        renamed = _renamed(names.locals, self._taken)
        held = {n: Window(renamed.get(n, n), kind, raster) for n, (kind, raster) in windows.items()}
        tree = unroll(source.tree, names, literals)
        start = Scope(self, source, names, held, dict(kinds), renamed, uniform=self._uniform_in(tree),
                      returns_tuple=_returns_tuple(tree))  # fmt: skip
        scope, body = _until_kinds_settle(start, tree)
        self._active.pop()
        notes = tuple(note for note in NOTES if note in scope.notes)
        body = _returning_notes(body, notes)
        dtypes = {w.name: self.dtypes[w.raster] for w in held.values()}
        scalars = tuple(renamed.get(k, k) for k in kinds)
        result = Function(
            name=self._free_name(source.name),
            windows=tuple(held.values()),
            scalars=scalars,
            body=tuple(ast.fix_missing_locations(s) for s in narrowed(body, scalars, dtypes)),
            results=joined_kinds(scope.returns),
            is_tuple=scope.returns_tuple,
            doc=source.where,
            notes=notes,
        )
        self._functions[key] = result
        return result

    def _uniform_in(self, tree: ast.FunctionDef) -> set[str]:
        """The parameters that are the same for all pixels; a helper's may differ from pixel to pixel."""
        return self._uniform - _stored(tree) if len(self._active) == 1 else set()

    def _free_name(self, name: str) -> str:
        """A name for a function in the generated module, which no variable has."""
        plain = f"{name}_" if name in RESERVED or name.startswith("_") else name
        if plain.startswith("_"):
            plain = f"helper{plain}"
        candidates = itertools.chain([plain], (f"{plain}_{k}" for k in itertools.count(2)))
        free = next(c for c in candidates if c not in self._locals | self._taken | RESERVED)
        self._taken.add(free)
        return free


def _until_kinds_settle(start: Scope, tree: ast.FunctionDef) -> tuple[Scope, list[ast.stmt]]:
    """A variable's kind is the widest that is ever assigned to it, which a loop may show only at its end."""
    parameters = set(start.kinds)
    known, returns = start.kinds, start.returns
    while True:
        scope = replace(start, windows=dict(start.windows), kinds=dict(known), renamed=dict(start.renamed),
                        assigned=set(parameters), returns=list(returns), prelude=[], notes=set())  # fmt: skip
        prologue = [*_read_whole(scope), *_shadow_reassigned(scope, tree)]
        body, _ = lower_block(scope, tree.body)
        joined = [joined_kinds(scope.returns)]
        if scope.kinds == known and joined == returns:
            return scope, prologue + body
        known, returns = dict(scope.kinds), joined


def _returning_notes(body: list[ast.stmt], notes: Sequence[str]) -> list[ast.stmt]:
    """The statements of a function that returns its notes behind its results."""
    for node in (n for s in body for n in ast.walk(s) if isinstance(n, ast.Return)):
        results = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        parts = [*results, *(ast.Name(f"_{note}", ast.Load()) for note in notes)]
        node.value = ast.Tuple(parts, ast.Load()) if notes else node.value
    start = [ast.Assign([ast.Name(f"_{note}", ast.Store())], ast.Constant(value=False)) for note in notes]
    return [*start, *body]


def _renamed(names: set[str], taken: set[str]) -> dict[str, str]:
    """Variables that get another name, because the generated module has one like it."""
    result: dict[str, str] = {}
    for name in sorted(names):
        if name in RESERVED or name in taken or name.startswith("_"):
            stem = f"own{name}" if name.startswith("_") else name
            candidates = (f"{stem}_{'' if k == 1 else k}" for k in itertools.count(1))
            result[name] = next(c for c in candidates if c not in {*names, *taken, *result.values()})
    return result


def _returns_tuple(tree: ast.FunctionDef) -> bool:
    """Whether a return writes a tuple out: ``return x,`` and ``return x`` both give one result then."""
    return any(isinstance(n, ast.Return) and isinstance(n.value, ast.Tuple) for n in ast.walk(tree))


def _stored(tree: ast.FunctionDef) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _shadow_reassigned(scope: Scope, tree: ast.FunctionDef) -> list[ast.stmt]:
    """``red = red * 0.0001``: the raster's name becomes a variable that starts as the pixel's own value."""
    prologue: list[ast.stmt] = []
    for name in sorted(_stored(tree) & scope.windows.keys()):
        value = lower(scope, ast.Name(name, ast.Load()))
        del scope.windows[name]
        scope.renamed[name] = f"_{name}_here"
        scope.note(name, value.kind)
        target = ast.Name(scope.name(name), ast.Store())
        prologue.append(ast.Assign([target], cast(value, scope.kinds[name])))
    return prologue


def _read_whole(scope: Scope) -> list[ast.stmt]:
    """Reads of uint64 pixels, which may not fit: a pixel that a body sees as one value is read before it begins."""
    subscripted = window_parameters(scope.source)
    wide = [n for n, w in scope.windows.items() if scope.program.dtypes[w.raster] == np.uint64 and n not in subscripted]
    return [s for name in wide for s in aside(scope, lower, ast.Name(name, ast.Load()))[0]]
