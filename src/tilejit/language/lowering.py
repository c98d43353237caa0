"""From a body's source to its form: the body and every helper that it calls, typed."""

from __future__ import annotations

import ast
import itertools
from typing import TYPE_CHECKING

from tilejit.language.checks import check_syntax
from tilejit.language.expressions import lower
from tilejit.language.form import Form, Function, Offset, Value, Window
from tilejit.language.kinds import Kind
from tilejit.language.names import Names
from tilejit.language.scope import Scope, cast
from tilejit.language.source import FunctionSource, read_source
from tilejit.language.statements import joined_kinds, lower_block
from tilejit.language.unroll import unroll

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.language.parameters import RasterParameter, ScalarParameter

RESERVED = {"f32", "f64", "np", "math", "njit", "prange", "cuda", "tile", "whole", "launch", "u64", "int", "abs",
            "range", "round"}  # fmt: skip
"""Names of the generated module; a variable of such a name, or with a leading underscore, gets a trailing one."""


class Lowering:
    """Lowers one body for one variant; a ``Program`` to the scopes of its functions."""

    def __init__(self, rasters: tuple[RasterParameter, ...], *, is_focal: bool, radius: tuple[int, int] | None,
                 all_valid: bool) -> None:  # fmt: skip
        self.rasters = rasters
        self.is_focal = is_focal
        self.radius = radius
        self.all_valid = all_valid
        self.asks_validity = False
        self.has_while = False
        self.footprint: dict[str, frozenset[Offset]] = {r.name: frozenset() for r in rasters}
        self._functions: dict[object, Function] = {}
        self._active: list[Callable[..., object]] = []
        self._names: set[str] = set()

    def record(self, raster: str, offsets: frozenset[Offset]) -> None:
        """Notes cells that are read."""
        self.footprint[raster] |= offsets

    def form(self, source: FunctionSource, scalars: tuple[ScalarParameter, ...]) -> Form:
        """Lowers the body and returns its form."""
        windows = tuple(Window(r.name, r.kind, r.name) for r in self.rasters)
        self._lower(source, windows, {s.name: s.kind for s in scalars})
        reads = itertools.chain.from_iterable(self.footprint.values())
        rows, cols = self.radius or (0, 0)
        for dy, dx in reads:
            rows, cols = max(rows, abs(dy)), max(cols, abs(dx))
        return Form(
            tuple(self._functions.values()), self.footprint, (rows, cols), self.has_while, self.asks_validity
        )

    def helper(
        self, scope: Scope, node: ast.Call, function: Callable[..., object]
    ) -> tuple[Function, list[ast.expr]]:
        """Lowers a helper for the kinds of one call; returns it and the call's arguments."""
        if function in self._active:
            scope.fail(node, f"{function.__name__} calls itself", "write the recursion as a while loop")
        source = read_source(function)
        check_syntax(source)
        arguments = _bound(scope, node, source)
        wanted = self.window_parameters(source)
        windows: list[Window] = []
        values: dict[str, Value] = {}
        for name, argument in arguments.items():
            window = scope.windows.get(argument.id) if isinstance(argument, ast.Name) else None
            if name not in wanted:
                values[name] = lower(scope, argument)
            elif window is None:
                scope.fail(
                    argument,
                    f"{source.name} reads neighbours of {name}",
                    "pass it a raster parameter, by name",
                )
            elif not self.is_focal:
                scope.fail(
                    node,
                    f"{source.name} reads neighbours",
                    "a local body sees one pixel; declare it @tj.focal",
                )
            else:
                windows.append(Window(name, window.kind, window.raster))
        kinds = {name: value.kind for name, value in values.items()}
        lowered = self._lower(source, tuple(windows), kinds)
        passed: list[ast.expr] = [
            ast.Name(scope.windows[_identifier(arguments[w.name])].name, ast.Load()) for w in windows
        ]
        return lowered, passed + [v.node for v in values.values()]

    def window_parameters(self, source: FunctionSource) -> set[str]:
        """The parameters that a function subscripts, or hands to a helper that does."""
        names = Names(source)
        parameters = {a.arg for a in source.tree.args.args}
        found: set[str] = set()
        for node in ast.walk(source.tree):
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Name)
                and node.value.id in parameters
            ):
                found.add(node.value.id)
            if isinstance(node, ast.Call):
                inner = names.helper(names.resolve(node.func))
                if inner is not None and inner is not source.function and names.math_function(inner) is None:
                    inner_source = read_source(inner)
                    inner_wanted = self.window_parameters(inner_source)
                    for parameter, argument in zip(inner_source.tree.args.args, node.args, strict=False):
                        if parameter.arg in inner_wanted and isinstance(argument, ast.Name):
                            found |= {argument.id} & parameters
        return found

    def _lower(self, source: FunctionSource, windows: tuple[Window, ...], kinds: dict[str, Kind]) -> Function:
        key = (source.function, windows, tuple(kinds.items()))
        if key in self._functions:
            return self._functions[key]
        self._active.append(source.function)
        names = Names(source)
        self._names |= names.locals
        tree = unroll(source.tree, names)
        scope, body = self._until_kinds_settle(source, names, tree, windows, kinds)
        self._active.pop()
        result = Function(
            name=self._unique(source.name),
            windows=windows,
            scalars=tuple(scope.name(k) for k in kinds),
            body=tuple(ast.fix_missing_locations(s) for s in body),
            results=joined_kinds(scope.returns),
            is_tuple=scope.returns_tuple,
            doc=source.where,
        )
        self._functions[key] = result
        return result

    def _until_kinds_settle(self, source: FunctionSource, names: Names, tree: ast.FunctionDef,
                            windows: tuple[Window, ...], kinds: dict[str, Kind]) -> tuple[Scope, list[ast.stmt]]:  # fmt: skip
        """A variable's kind is the widest that is ever assigned to it, which a loop may show only at its end."""
        renamed = {n: f"{n}_" for n in names.locals if n in RESERVED or n.startswith("_")}
        known = dict(kinds)
        returns: list[tuple[Kind, ...]] = []
        while True:
            scope = Scope(self, source, names, {w.name: w for w in windows}, dict(known), renamed,
                          assigned=set(kinds), returns=list(returns))  # fmt: skip
            prologue = _shadow_reassigned(scope, tree, windows)
            body, _ = lower_block(scope, tree.body)
            joined = [joined_kinds(scope.returns)]
            if scope.kinds == known and joined == returns:
                return scope, prologue + body
            known, returns = dict(scope.kinds), joined

    def _unique(self, name: str) -> str:
        candidates = itertools.chain([name], (f"{name}_{k}" for k in itertools.count(2)))
        free = next(c for c in candidates if c not in self._names and c not in RESERVED)
        self._names.add(free)
        return free


def _reassigned(tree: ast.FunctionDef, windows: tuple[Window, ...]) -> set[str]:
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored & {w.name for w in windows}


def _shadow_reassigned(scope: Scope, tree: ast.FunctionDef, windows: tuple[Window, ...]) -> list[ast.stmt]:
    """``red = red * 0.0001``: the raster's name becomes a variable that starts as the pixel's own value."""
    prologue: list[ast.stmt] = []
    for name in sorted(_reassigned(tree, windows)):
        value = lower(scope, ast.Name(name, ast.Load()))
        del scope.windows[name]
        scope.renamed = {**scope.renamed, name: f"{name}_value"}
        scope.note(name, value.kind)
        target = ast.Name(scope.name(name), ast.Store())
        prologue.append(ast.Assign([target], cast(value, scope.kinds[name])))
    return prologue


def _identifier(node: ast.expr) -> str:
    if not isinstance(node, ast.Name):
        raise TypeError(node)
    return node.id


def _bound(scope: Scope, node: ast.Call, source: FunctionSource) -> dict[str, ast.expr]:
    """The helper's parameters -> the call's arguments, defaults filled in."""
    arguments = source.tree.args
    if arguments.vararg or arguments.kwarg:
        source.fail(arguments.vararg or arguments.kwarg, "*args in a helper", "name each parameter")
    parameters = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    positional = len(arguments.posonlyargs) + len(arguments.args)
    if len(node.args) > positional:
        scope.fail(
            node, f"{source.name} takes {positional} arguments, {len(node.args)} given", "as in Python"
        )
    bound: dict[str, ast.expr] = dict(zip(parameters, node.args, strict=False))
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg not in parameters or keyword.arg in bound:
            scope.fail(
                node,
                f"{source.name} has no free parameter {keyword.arg}",
                f"it takes {', '.join(parameters)}",
            )
        bound[keyword.arg] = keyword.value
    defaults = _defaults(arguments)
    for name in parameters:
        if name not in bound and name not in defaults:
            scope.fail(node, f"{source.name} is called without {name}", f"it takes {', '.join(parameters)}")
        bound.setdefault(name, defaults.get(name, ast.Constant(0)))
    return {name: bound[name] for name in parameters}


def _defaults(arguments: ast.arguments) -> dict[str, ast.expr]:
    positional = [*arguments.posonlyargs, *arguments.args]
    tail = positional[len(positional) - len(arguments.defaults) :]
    defaults = {a.arg: d for a, d in zip(tail, arguments.defaults, strict=True)}
    keyword = {
        a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None
    }
    return {**defaults, **keyword}
