"""Functions inside a body, made helpers of their own: what they see of the body's variables is passed to them.

``rise = lambda v: v * factor`` becomes a helper ``rise(v, *, factor)``, and each ``rise(z)`` is
``rise(z, factor=factor)``: Python looks such names up when the function is called, and so does this.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.form import copied
from tilejit.compiler.form.source import bare, defined, inner_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tilejit.compiler.form.source import FunctionSource

_Function = ast.FunctionDef | ast.Lambda
_TOP = "define it at the top of the body, once, and call it by its name"


def lifted(source: FunctionSource) -> tuple[ast.FunctionDef, tuple[FunctionType, ...]]:
    """Returns a copy of a function's tree without the functions inside, and these.

    Raises:
        KernelError: One is made in a branch or a loop, or twice.
    """
    tree = copied(source.tree)
    if not any(isinstance(n, _Function) for s in tree.body for n in ast.walk(s)):
        return tree, source.nested or ()
    return _Lifter(source, tree).lift()


@dataclass(slots=True)
class _Nested:
    """One function inside."""

    tree: ast.FunctionDef
    defaults: tuple[list[ast.expr], list[ast.expr | None]]
    taken: set[str] = field(default_factory=set)
    """The variables of the body that it sees."""

    @property
    def own(self) -> set[str]:
        """Its parameters and variables."""
        return _bound(self.tree)


class _Lifter:
    """Lifts the functions out of one body."""

    def __init__(self, source: FunctionSource, tree: ast.FunctionDef) -> None:
        self.source, self.tree = source, tree
        self.nested: dict[str, _Nested] = {}

    def lift(self) -> tuple[ast.FunctionDef, tuple[FunctionType, ...]]:
        self.tree.body = [s for s in self.tree.body if not self.is_taken(s)]
        self.take_called_lambdas(self.tree)
        variables = _bound(self.tree)
        for name, nested in self.nested.items():
            if name in variables:
                self.source.fail(nested.tree, f"{name} is both a function and a variable", _TOP)
            nested.taken = _free(nested.tree) & variables
        self.settle()
        for function in (self.tree, *(n.tree for n in self.nested.values())):
            _Passer(self, _bound(function) if function is not self.tree else set()).generic_visit(function)
        for nested in self.nested.values():
            extra = [ast.copy_location(ast.arg(name), nested.tree) for name in sorted(nested.taken)]
            nested.tree.args.kwonlyargs += extra
            nested.tree.args.kw_defaults += [None] * len(extra)
        return self.tree, self.made()

    def is_taken(self, statement: ast.stmt) -> bool:
        """Takes a function out of the body, if the statement defines one."""
        if isinstance(statement, ast.FunctionDef):
            if statement.decorator_list:
                self.source.fail(statement.decorator_list[0], "a decorator inside a body", "leave it out")
            self.take(statement.name, statement)
            return True
        value = getattr(statement, "value", None)
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if not isinstance(value, ast.Lambda) or len(targets) != 1 or not isinstance(targets[0], ast.Name):
            return False
        self.take(targets[0].id, defined(targets[0].id, value))
        return True

    def take(self, name: str, tree: ast.FunctionDef) -> None:
        if name in self.nested:
            self.source.fail(tree, f"a second function {name}", _TOP)
        defaults = tree.args.defaults, tree.args.kw_defaults
        self.nested[name] = _Nested(bare(tree), defaults)

    def take_called_lambdas(self, tree: ast.AST) -> None:
        """``(lambda v: v * v)(z)``."""
        for node in list(ast.walk(tree)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Lambda):
                name = f"lambda_{len(self.nested) + 1}"
                self.take(name, defined(name, node.func))
                node.func = ast.copy_location(ast.Name(name, ast.Load()), node.func)

    def settle(self) -> None:
        """A function that calls another one inside sees what that sees."""
        before = -1
        while before != (now := sum(len(n.taken) for n in self.nested.values())):
            before = now
            for nested in self.nested.values():
                for node in _calls(nested.tree):
                    called = self.nested.get(node.func.id)  # type: ignore[attr-defined]
                    if called is None or node.func.id in nested.own:  # type: ignore[attr-defined]
                        continue
                    if both := called.taken & nested.own:
                        what = f"{called.tree.name} sees {min(both)} of the body, and {nested.tree.name} has its own"
                        self.source.fail(node, what, "give that one another name")
                    nested.taken |= called.taken

    def made(self) -> tuple[FunctionType, ...]:
        function: Any = self.source.function
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        found = tuple(_function_of(n.tree, function, cells, self.source.filename) for n in self.nested.values())
        for made, nested in zip(found, self.nested.values(), strict=True):
            made.__defaults__ = tuple(self.default(d, made) for d in nested.defaults[0])
            names = [a.arg for a in nested.tree.args.kwonlyargs]
            pairs = zip(names, nested.defaults[1], strict=False)
            made.__kwdefaults__ = {name: self.default(d, made) for name, d in pairs if d is not None}
            text = replace(self.source, function=made, tree=nested.tree, nested=(*(self.source.nested or ()), *found))
            made.__tilejit_source__ = text  # type: ignore[attr-defined]
        return (*(self.source.nested or ()), *found)

    def default(self, node: ast.expr, made: Any) -> Any:
        try:
            return eval(compile(ast.Expression(node), self.source.filename, "eval"), made.__globals__)  # noqa: S307
        except Exception:  # noqa: BLE001 - the user's own text, which may see variables of the body
            self.source.fail(node, "a default that is computed in the body", "use the variable inside the function")


class _Passer(ast.NodeTransformer):
    """Passes functions what they see of the body's variables."""

    def __init__(self, lifter: _Lifter, own: set[str]) -> None:
        self.lifter, self.own = lifter, own

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        nested = self.lifter.nested.get(name) if name not in self.own else None
        for variable in sorted(nested.taken) if nested is not None else ():
            value = ast.copy_location(ast.Name(variable, ast.Load()), node.func)
            node.keywords.append(ast.copy_location(ast.keyword(variable, value), node.func))
        return node


def _function_of(tree: ast.FunctionDef, outer: Any, cells: dict[str, Any], filename: str) -> FunctionType:
    """The function of a tree, which sees what the outer one sees."""
    around = ast.parse(f"def around({', '.join(cells)}): pass").body[0]
    inner = copied(tree)
    inner.name = "its own"  # not the one that it calls itself by
    around.body = [inner]  # type: ignore[attr-defined]
    module = ast.fix_missing_locations(ast.Module([around], []))
    code = next(c for c in inner_codes(next(inner_codes(compile(module, filename, "exec", dont_inherit=True)))))
    closure = tuple(cells[name] for name in code.co_freevars)
    made = FunctionType(code, outer.__globals__, tree.name, None, closure)
    made.__qualname__, made.__module__ = f"{outer.__qualname__}.<locals>.{tree.name}", outer.__module__
    return made


def _direct(node: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes of a function without those of the functions inside, but these themselves."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _Function):
            yield from _direct(child)


def _bound(function: _Function) -> set[str]:
    """The parameters and variables of a function."""
    arguments = function.args
    names = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    for node in _direct(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.MatchAs)) and node.name:
            names.add(node.name)
    return names


def _free(function: _Function) -> set[str]:
    """The names that a function and those inside it use and do not have."""
    found = {n.id for n in _direct(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    for node in _direct(function):
        if isinstance(node, _Function):
            found |= _free(node)
    return found - _bound(function)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls of plain names in a function, and in those inside it."""
    return (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name))
