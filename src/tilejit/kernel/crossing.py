"""Kernels and chains in other processes: by the name that finds them there, else as text with all that it uses.

A pickled kernel is one of the two, whoever pickles it: executors of tilejit, a `multiprocessing.Pool`, joblib, Dask.
Within a process its copy is the kernel itself, and in another one copies of the same kernel are one.
"""

from __future__ import annotations

import ast
import copy
import enum
import functools
import io
import os
import pickle
import secrets
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from tilejit.compiler.form.c_functions import is_c_function, is_library
from tilejit.compiler.form.captured import closure_of, plain_number, record_fields
from tilejit.compiler.form.source import FunctionSource, bare, function_of, read_source
from tilejit.errors import KernelError, TilejitError
from tilejit.kernel.decorators import Applicable
from tilejit.kernel.discovery import find_kernel, import_module, is_importable, load_file
from tilejit.kernel.kernel import Kernel
from tilejit.system.program import is_run_again, main_file, main_module

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from tilejit.kernel.kernel import Edge

_known: WeakValueDictionary[str, Applicable] = WeakValueDictionary()
"""Token -> what has crossed as text, from here or to here."""


@dataclass(frozen=True, slots=True)
class Name:
    """Where another process finds a kernel or a chain."""

    module: str
    """Its module."""
    file: str | None
    """The module's file, where an import of that name does not lead there."""
    attribute: str
    """Its name in the module."""

    def __str__(self) -> str:
        return f"{self.file or self.module}:{self.attribute}"

    @property
    def modules(self) -> frozenset[str]:
        """What has to be imported."""
        return frozenset() if self.file else frozenset([self.module])

    def find(self) -> Applicable:
        """Finds it."""
        is_main = self.module == main_module()
        held = sys.modules.get("__main__" if is_main else self.module)
        is_there = held is not None and (self.file is None or _file_of(held) == self.file)
        value = getattr(held, self.attribute, None) if is_there else None
        return value if isinstance(value, Applicable) else find_kernel(str(self))


@dataclass(frozen=True, slots=True)
class Text:
    """A kernel or a chain as text, with all that it uses."""

    token: str
    """What tells it from all others, also where it has arrived."""
    pickled: bytes
    """The text, pickled."""
    modules: frozenset[str]
    """What has to be imported."""

    def find(self) -> Applicable:
        """Makes it, but the first time only."""
        known = _known.get(self.token)
        if known is None:
            made: Applicable = pickle.loads(self.pickled)  # noqa: S301 - what pickles it gives it
            vars(made)["crossing"] = self
            known = _known.setdefault(self.token, made)
        return known


def reduced(function: Applicable) -> tuple[Callable[..., Applicable], tuple[Any, ...]]:
    """What pickle keeps of a kernel or a chain; see ``object.__reduce__``."""
    crossing = crossing_of(function)
    return _found, (crossing, _own_reach(function, crossing))


Reach = tuple["Edge", "tuple[int, int] | None", bool, int, int]
"""An edge, a radius, whether that is the call's own, and the numbers of layers that arrays have and of rasters."""


def _found(crossing: Name | Text, reach: Reach | None) -> Applicable:
    found = crossing.find()
    if reach is None or not isinstance(found, Kernel):
        return found
    edge, radius, is_called, layers, rasters = reach
    found = found.taking(rasters).with_layers(layers)
    found = found if edge == found.edge else found.with_edge(edge)
    return found.with_radius(radius) if is_called else found


def _own_reach(function: Applicable, crossing: Name | Text) -> Reach | None:
    """The edge, the radius, the layers and the rasters of a kernel that has others than the kernel of its name."""
    named = crossing.find() if isinstance(crossing, Name) else function
    if named is function or not isinstance(function, Kernel) or not isinstance(named, Kernel):
        return None
    is_called = (function.declared_radius, function.radius_rule) != (named.declared_radius, named.radius_rule)
    return function.edge, function.declared_radius, is_called, function.layers, len(function.rasters)


def crossing_of(function: Applicable) -> Name | Text:
    """Returns how a kernel or a chain gets into another process.

    One of ``__main__`` goes as text: another process has another one, or none.
    """
    name = _name_of(function)
    if name is not None:
        return name
    try:
        return text_of(function)
    except KernelError:
        name = _name_in_main(function)
        if name is None:
            raise
        return name


def text_of(function: Applicable) -> Text:
    """Returns a kernel or a chain as text, which is made once: copies are one, also where a constant has changed."""
    made: Text = vars(function).get("crossing") or vars(function).setdefault("crossing", _made_text(function))
    return made


def _made_text(function: Applicable) -> Text:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, function)
    try:
        pickler.dump(function)
    except TilejitError:
        raise
    except Exception as error:
        raise _refusal(function, f"uses what cannot be pickled ({type(error).__name__}: {error})") from error
    text = Text(secrets.token_hex(8), buffer.getvalue(), frozenset(pickler.modules))
    if isinstance(function, Kernel):
        made: Kernel = pickle.loads(text.pickled)  # noqa: S301 - our own
        if made.fingerprint != function.fingerprint:
            function.source.fail(None, "a constant or a function that it uses was changed since it was first used",
                                 "define the kernel again, or make the constant a keyword-only parameter")  # fmt: skip
    _known[text.token] = function
    return text


def _refusal(function: Applicable, why: str) -> KernelError:
    return KernelError(
        f"{function.name} ({function.source.where}) {why}, and no name leads another process to it: define it on the "
        "top level of a module that can be imported, or of a script's .py file"
    )


def _name_of(function: Applicable) -> Name | None:
    module = sys.modules.get(function.module)
    attribute = _attribute(module, function)
    if module is None or attribute is None or function.module == "__main__":
        return None
    if is_importable(module):
        return Name(function.module, None, attribute)
    file = _file_of(module)
    return Name(function.module, file, attribute) if file is not None and "." not in function.module else None


def _name_in_main(function: Applicable) -> Name | None:
    """The name in the program that is run, where that can be imported too."""
    attribute = _attribute(sys.modules["__main__"], function)
    file, module = main_file(), main_module()
    if attribute is None or file is None or function.module != "__main__":
        return None
    if module is not None:
        return Name(module, None, attribute) if is_run_again() else None
    return Name("__main__", file, attribute) if file.endswith(".py") else None


def _attribute(module: ModuleType | None, function: Applicable) -> str | None:
    """The name in a module of a kernel or chain, which may have got another edge or a radius where it was called."""
    named = list(vars(module).items()) if module is not None else ()
    return next((n for n, v in named if isinstance(v, Applicable) and v.function is function.function
                 and _with_edge_of(v, function) == function), None)  # fmt: skip


def _with_edge_of(named: Applicable, function: Applicable) -> Applicable:
    if isinstance(named, Kernel) and isinstance(function, Kernel):
        is_called = named.radius_rule is not None and function.radius_rule is None
        named = named.with_radius(function.declared_radius) if is_called else named
        return replace(named, edge=function.edge, layers=function.layers)
    return named


def _file_of(module: ModuleType) -> str | None:
    """The ``.py`` file of a module."""
    file = getattr(module, "__file__", None)
    return os.path.realpath(file) if file is not None and file.endswith(".py") and Path(file).is_file() else None


class _Pickler(pickle.Pickler):
    """Pickles functions as text, and modules by name."""

    def __init__(self, file: io.BytesIO, whole: Applicable) -> None:
        super().__init__(file)
        self.whole, self.modules = whole, set[str]()

    def reducer_override(self, value: Any) -> Any:
        """What is kept of a value; see `pickle.Pickler`."""
        if is_c_function(value) or is_library(value):
            raise _refusal(self.whole, "uses a C function, whose address is this process's own")
        plain = getattr(value, "py_func", None)
        if isinstance(plain, FunctionType):  # what Numba has compiled
            return _itself, (plain,)
        reducers: dict[Any, Callable[[Any], Any]] = {
            Applicable: self._applicable,
            FunctionType: self._function,
            ModuleType: self._module,
            type: self._class,
            enum.Enum: self._member,
        }
        reduce = next((reduce for kind, reduce in reducers.items() if isinstance(value, kind)), None)
        return NotImplemented if reduce is None else reduce(value)

    def _applicable(self, value: Applicable) -> Any:
        name = None if value is self.whole else _name_of(value)
        if name is not None:
            self.modules |= name.modules
            return _found, (name, _own_reach(value, name))
        # Two steps, for a chain may use itself.
        state = {f.name: getattr(value, f.name) for f in fields(value)}
        return _unfilled, (type(value),), state, None, None, _fill

    def _member(self, value: enum.Enum) -> Any:
        number = None if _is_found(type(value)) else plain_number(value)  # which it is in a body
        return NotImplemented if number is None else (type(number), (number,))

    def _module(self, value: ModuleType) -> Any:
        if is_importable(value):
            self.modules.add(value.__name__)
            return import_module, (value.__name__,)
        file = _file_of(value)
        if file is None or "." in value.__name__:
            raise _refusal(self.whole, f"uses the module {value.__name__}, which no import leads to")
        return load_file, (file,)

    def _class(self, value: type) -> Any:
        if not _is_found(value):
            raise _refusal(self.whole, f"uses the class {value.__qualname__} for more than constants")
        self.modules.add(value.__module__)
        return NotImplemented

    def _function(self, value: FunctionType) -> Any:
        if _is_found(value):
            self.modules.add(value.__module__)
            return NotImplemented
        source = read_source(value)
        state = _names(source), value.__defaults__, value.__kwdefaults__
        return function_of, source.text, state, None, None, _fill_function


def _is_found(value: Any) -> bool:
    """Whether another process finds a function or a class by its name."""
    module = sys.modules.get(value.__module__)
    if module is None or value.__module__ == "__main__":
        return False
    try:
        found = functools.reduce(getattr, value.__qualname__.split("."), module)
    except AttributeError:
        return False
    return found is value and is_importable(module)


def _names(source: FunctionSource) -> dict[str, Any]:
    """What the names in a function mean that are not its own."""
    function: Any = source.function
    nodes = list(ast.walk(bare(copy.deepcopy(source.tree))))
    members = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    owners = {id(n.value) for n in nodes if isinstance(n, ast.Attribute)}
    named = [n for n in nodes if isinstance(n, ast.Name)]
    alone = {n.id for n in named if id(n) not in owners}
    seen = {**function.__globals__, **closure_of(function)}
    used = ({n.id for n in named} & seen.keys()) - {*function.__code__.co_varnames, *function.__code__.co_cellvars}
    return {n: seen[n] if n in alone else _constants(seen[n], members) for n in sorted(used)}


def _constants(value: Any, members: Collection[str]) -> Any:
    """A class that is not found by name, or a record of one, with the members that a body names alone."""
    if record_fields(value) and plain_number(value) is None and not _is_found(type(value)):
        return _Constants(type(value).__name__, {n: getattr(value, n) for n in members if n in record_fields(value)})
    if not isinstance(value, type) or _is_found(value):
        return value
    return _Constants(value.__name__, {n: _constants(getattr(value, n), members) for n in members if hasattr(value, n)})


@dataclass(frozen=True, slots=True)
class _Constants:
    """What is pickled of a class that is a namespace of constants."""

    name: str
    members: Mapping[str, Any]

    def __reduce__(self) -> tuple[type, tuple[str, tuple[()], Mapping[str, Any]]]:
        return type, (self.name, (), self.members)


def _fill_function(function: Any, state: tuple[dict[str, Any], Any, Any]) -> None:
    names, function.__defaults__, function.__kwdefaults__ = state
    function.__globals__.update(names)


def _unfilled(kind: type[Applicable]) -> Applicable:
    return kind.__new__(kind)


def _fill(function: Applicable, state: Mapping[str, Any]) -> None:
    vars(function).update(state)
    function.__post_init__()


def _itself(value: Any) -> Any:
    return value
