"""What the names in a body mean: locals, captured constants, math functions, helpers and their parameters."""

from __future__ import annotations

import ast
import enum
import inspect
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.c_functions import is_c_function, is_library
from tilejit.compiler.form.captured import IMPORTS, MISSING, TABLES, member, plain_number, visible
from tilejit.compiler.form.form import stored
from tilejit.compiler.syntax.written import WRITTEN
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.compiler.form.source import FunctionSource

_FLAGS = (str, type(None), enum.Enum, tuple, frozenset)
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda value, values: value in values, ast.NotIn: lambda value, values: value not in values,
}  # fmt: skip


class Names:
    """Resolves the free names of one function."""

    def __init__(self, source: FunctionSource, given: Mapping[str, Any] | None = None) -> None:
        self.source, given = source, given or {}
        self.locals = {*parameter_names(source), *star_of(source), *stored(source.tree)} - given.keys()
        self.free = visible(source.function)
        """Every name that the function can see besides its own, and parameters that a call gives a table."""
        self.free.update({nested.__name__: nested for nested in source.nested or ()} | dict(given))
        self.layers: dict[str, int] = {}
        """What is as long as there are layers, as it is written (``len(t)``, or a variable of that), and how long."""
        self.is_sized = False
        """Whether an array was found to be so long."""
        self.columns: dict[str, int] = {}
        """How many columns arrays of two dimensions have."""
        self.words: dict[str, str] = {}
        """Whether variables are an "array" or a "list"."""
        self.growing: dict[str, str] = {}
        """Lists that grow, and the variables that count their elements; nothing for those with one for each layer."""
        self.masks: set[str] = set()
        """Arrays of truth values."""
        self.tuples: dict[str, list[str]] = {}
        """Tuples of parameters, ``rasters`` of ``*rasters``, and what their elements are called: ``rasters@2``."""

    def resolve(self, node: ast.expr) -> Any:
        """Returns what a name or a dotted name stands for, or MISSING for a local or anything else.

        A dotted name goes through modules, classes, records that nothing changes and C libraries: another object's
        attribute may change under a compiled body.
        """
        if isinstance(node, ast.Name):
            return MISSING if node.id in self.locals else self.free.get(node.id, MISSING)
        if isinstance(node, ast.Attribute):
            owner = self._limits(node.value) if isinstance(node.value, ast.Call) else self.resolve(node.value)
            if is_library(owner):
                function = getattr(owner, node.attr, MISSING)
                return function if is_c_function(function) else MISSING
            return member(owner, node.attr)
        return MISSING

    def _limits(self, node: ast.Call) -> np.iinfo | np.finfo | None:
        """What ``np.finfo(np.float32)`` gives."""
        function, kinds = self.resolve(node.func), [self.resolve(a) for a in node.args]
        is_known = function in {np.iinfo, np.finfo} and len(kinds) == 1 and isinstance(kinds[0], type)
        return function(kinds[0]) if is_known else None

    def undefined_module(self, node: ast.expr) -> str | None:
        """Returns the name in front of the first dot where it is a known module's that was not imported, or None."""
        while isinstance(node, ast.Attribute):
            node = node.value
        is_unknown = isinstance(node, ast.Name) and node.id not in self.locals and node.id not in self.free
        return node.id if is_unknown and node.id in IMPORTS else None  # type: ignore[attr-defined]

    def library(self, node: ast.expr) -> object | None:
        """Returns the C library in front of the last dot of a name, or None."""
        owner = self.resolve(node.value) if isinstance(node, ast.Attribute) else None
        return owner if is_library(owner) else None

    def constant(self, node: ast.expr) -> bool | float | None:
        """Returns the number that a captured name stands for, or None."""
        return plain_number(self.resolve(node))

    def constants(self, node: ast.expr) -> list[bool | float] | None:
        """Returns the numbers of a captured tuple or frozenset, or None."""
        value = self.resolve(node)
        numbers = [plain_number(v) for v in value] if isinstance(value, (tuple, frozenset)) else [None]
        known = [n for n in numbers if n is not None]
        return known if len(known) == len(numbers) else None

    def told(self, node: ast.Compare) -> bool | None:
        """Returns what a comparison of captured flags gives, of texts, None and members of enums; None for others."""
        left, right = self._flag(node.left), self._flag(node.comparators[0])
        if MISSING in (left, right) or not any(isinstance(side, _FLAGS) for side in (left, right)):
            return None
        compare = _COMPARED.get(type(node.ops[0]))
        return None if compare is None else bool(compare(left, right))

    def _flag(self, node: ast.expr) -> Any:
        """What a flag is that is known before anything runs, also a tuple of such; MISSING for anything else."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Tuple):
            parts = tuple(map(self._flag, node.elts))
            return MISSING if MISSING in parts else parts
        value = self.resolve(node)
        is_tuple = isinstance(value, (tuple, frozenset)) and all(isinstance(v, _FLAGS) for v in value)
        return value if is_tuple or isinstance(value, _FLAGS) else MISSING

    def captured(self, node: ast.expr) -> Any:
        """Returns the captured tuple, list, dict or array that a name stands for, or the shape of one; or None."""
        value = self.resolve(node)
        if isinstance(node, ast.Attribute) and node.attr == "shape":
            value = getattr(self.captured(node.value), "shape", value)
        return value if isinstance(value, TABLES) else None

    def element(self, node: ast.expr) -> Any:
        """Returns what literal subscripts pick from a captured tuple, list, dict or array, or None."""
        if not isinstance(node, ast.Subscript):
            return self.captured(node)
        owner = self.element(node.value)
        for part in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
            kinds = (int, str) if isinstance(owner, dict) else (int,)
            index: Any = part.value if isinstance(part, ast.Constant) and type(part.value) in kinds else None
            if isinstance(owner, dict):
                owner = owner.get(index) if index is not None else None
            elif index is None or not isinstance(owner, TABLES) or not -len(owner) <= index < len(owner):
                return None
            else:
                owner = owner[index]
        return owner

    def member(self, node: ast.expr) -> ast.Name | None:
        """Returns the name of the element of a parameter's tuple that a literal chooses, or None."""
        elements, index = self.members(node), getattr(getattr(node, "slice", None), "value", 0.5)
        is_there = type(index) is int and -len(elements) <= index < len(elements)
        return ast.copy_location(ast.Name(elements[int(index)], ast.Load()), node) if is_there else None

    def members(self, node: ast.expr) -> list[str]:
        """Returns what ``rasters[k]`` may be, where it is an element of a tuple of parameters; or nothing."""
        is_element = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
        return self.tuples.get(node.value.id, []) if is_element else []  # type: ignore[attr-defined]

    def helper(self, function: Any) -> Callable[..., object] | None:
        """Returns the plain function that a body may call (inside a Numba dispatcher, or what is written for it)."""
        function = WRITTEN.get(id(function), function)
        plain = getattr(function, "py_func", getattr(function, "__tilejit_body__", function))
        return plain if inspect.isfunction(plain) and not getattr(plain, "__tilejit_kernel__", False) else None


def dotted_names(source: FunctionSource) -> set[str]:
    """Returns the names that a function uses and does not have, and those with dots that begin so."""
    locals_, nodes = Names(source).locals, list(ast.walk(source.tree))
    owners = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    dotted = [node for node in nodes if isinstance(node, (ast.Name, ast.Attribute)) and id(node) not in owners]
    found = {(first, ast.unparse(node)) for node in dotted for first in [_first_of(node)] if first}
    return {name for first, name in found if first not in locals_}


def _first_of(node: ast.expr) -> str:
    """The name in front of the first dot; nothing of what is not all names."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def parameters_of(source: FunctionSource) -> list[ast.arg]:
    """All parameters of a function, in order."""
    arguments = source.tree.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def parameter_names(source: FunctionSource) -> list[str]:
    """The names of all parameters, in order."""
    return [a.arg for a in parameters_of(source)]


def star_of(source: FunctionSource) -> list[str]:
    """The name of ``*rasters``, where a function takes any number of arguments."""
    star = source.tree.args.vararg
    return [] if star is None else [star.arg]


def reaching_parameters(source: FunctionSource) -> set[str]:
    """Returns the parameters that a function may use in an offset or as a bound of range, and never assigns to.

    A literal that a call gives for one of them is put in its place, so that ``shifted(z, 2)`` reaches two cells.
    """
    uses = [node for node in ast.walk(source.tree) if isinstance(node, (ast.Subscript, ast.Call))]
    used = {n.id for use in uses for n in ast.walk(use) if isinstance(n, ast.Name)}
    return (used & set(parameter_names(source))).difference(stored(source.tree))


def bind(caller: FunctionSource, node: ast.Call, source: FunctionSource) -> dict[str, ast.expr]:
    """Returns the helper's parameters -> the call's arguments, defaults filled in.

    Raises:
        KernelError: The call does not fit the helper, or the helper takes what the language does not have.
    """
    arguments = source.tree.args
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None:
            source.fail(star, "a helper with * or ** parameters", "name each parameter")
    names = parameter_names(source)
    bound = _positional(caller, node, source) | _keywords(caller, node, source)
    defaults = inspect.signature(source.function).parameters
    for parameter in parameters_of(source):
        if parameter.arg in bound:
            continue
        default = defaults[parameter.arg].default
        if default is inspect.Parameter.empty:
            caller.fail(node, f"{source.name} is called without {parameter.arg}", f"it takes {', '.join(names)}")
        number = plain_number(default)  # as it was when the helper was defined
        if number is None:
            source.fail(parameter, f"{parameter.arg} has the default {default!r}",
                        "a default is a number, True or False")  # fmt: skip
        bound[parameter.arg] = ast.copy_location(ast.Constant(number), parameter)
    return {name: bound[name] for name in names}


def _positional(caller: FunctionSource, node: ast.Call, source: FunctionSource) -> dict[str, ast.expr]:
    names = [a.arg for a in (*source.tree.args.posonlyargs, *source.tree.args.args)]
    if len(node.args) > len(names):
        caller.fail(node, f"{source.name} takes {counted(len(names), 'positional argument')}, {len(node.args)} given",
                    f"it takes {', '.join(parameter_names(source))}")  # fmt: skip
    return dict(zip(names, node.args, strict=False))


def _keywords(caller: FunctionSource, node: ast.Call, source: FunctionSource) -> dict[str, ast.expr]:
    names = parameter_names(source)
    taken = [a.arg for a in source.tree.args.posonlyargs] + names[: len(node.args)]
    bound: dict[str, ast.expr] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            caller.fail(keyword.value, "** in a call", "write the arguments out")
        if keyword.arg in taken:
            caller.fail(keyword, f"{source.name} gets {keyword.arg} twice", "give each parameter once")
        if keyword.arg not in names:
            caller.fail(keyword, f"{source.name} has no parameter {keyword.arg}", f"it takes {', '.join(names)}")
        bound[keyword.arg] = keyword.value
    return bound
