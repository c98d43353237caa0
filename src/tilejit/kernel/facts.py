"""What a run must know of a kernel, kept under a hash of all that it depends on: see `Facts`.

A run for which it is there neither reads nor types a body. The hash is of the body's text and code, of all that its
names mean, of the functions that it calls, and of the compiler. Each process finds out what has none: C functions.
"""

from __future__ import annotations

import ast
import contextlib
import enum
import functools
import hashlib
import marshal
import os
import sys
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from tilejit.compiler.form.captured import MISSING, member, record_fields, visible
from tilejit.compiler.form.kinds import ALL
from tilejit.compiler.form.source import file_text, read_source, refuse_wrapped
from tilejit.compiler.jit.cache import kept_place, read_kept, write_kept
from tilejit.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tilejit.compiler.form.form import Form
    from tilejit.compiler.form.source import FunctionSource

    Role = Literal["body", "helper", "chain"]

_COMPILER = ("compiler", "kernel", "backends", "math")
"""The folders of tilejit that decide what a kernel's facts are, with all that is in them."""
_ALWAYS = ("len", "range")
"""Names that the compiler asks for whatever a text says."""
_KNOWN = {"builtins", "cmath", "math", "numpy", "operator", "typing"}
_OWN = ("tilejit.compiler", "tilejit.kernel", "tilejit.math")
"""Modules whose functions are told by their names: they are a version's, or hashed as the compiler is."""


@functools.cache
def _compiler() -> str | None:
    """A hash of the compiler, as far as the files of it tell; None where there are none, as in a frozen program."""
    home = Path(__file__).parents[1]
    with contextlib.suppress(OSError):
        known = sorted((e.path, *_state(e.stat())) for name in _COMPILER for e in _files(home / name))
        return hashlib.sha256(repr((sys.version, np.__version__, known)).encode()).hexdigest() if known else None
    return None


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The Python files in a folder and in those inside it."""
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _files(Path(entry))
        elif entry.name.endswith(".py"):
            yield entry


def _state(status: os.stat_result) -> tuple[int, int, int]:
    """What changes with a file's content: Python goes by the first two, and no copy keeps the third."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


class _Page:
    """What is known of the functions in one file's text: the dotted names that they use."""

    def __init__(self, place: Path | None, names: dict[str, tuple[str, ...]]) -> None:
        self.place, self.names = place, names

    def add(self, mark: str, names: Iterable[str]) -> None:
        self.names[mark] = tuple(names)
        if self.place is not None:
            write_kept(self.place, marshal.dumps(self.names))


@functools.lru_cache(maxsize=256)
def _page(filename: str, text: str) -> _Page:
    version = _compiler()
    place = None if version is None else kept_place(Path(filename).stem, version, text, suffix=".names")
    content = None if place is None else read_kept(place)
    return _Page(place, {} if content is None else marshal.loads(content))  # noqa: S302 - as above


@functools.lru_cache(maxsize=4096)
def names_in(function: Any, role: Role) -> tuple[tuple[str, ...], str]:
    """Returns the dotted names that a function uses, and a hash of its text and code.

    A function of a text that no process has read before is read, and refused where its syntax shows that it is wrong.

    Raises:
        KernelError: It has no text, or, as a body, says what the language does not have.
    """
    refuse_wrapped(function)
    lines, _, filename = file_text(function)
    page = _page(filename, "".join(lines))
    code = marshal.dumps((role, function.__name__, function.__qualname__, _placeless(function.__code__)), 2)
    mark = hashlib.sha256(code).hexdigest()
    if mark not in page.names:
        page.add(mark, _read_names(function, role))
    return page.names[mark], f"{mark} {page.place}"


def _placeless(code: CodeType) -> CodeType:
    """Code with the mere name of its file: the cell of a notebook lies in another folder each time."""
    parts = tuple(_placeless(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=Path(code.co_filename).name, co_consts=parts)


def _read_names(function: Any, role: Role) -> list[str]:
    source = read_source(function)
    if role == "chain":
        return []
    from tilejit.compiler.syntax.checks import check_syntax
    from tilejit.compiler.syntax.names import dotted_names
    from tilejit.compiler.syntax.rewriting import core_source

    core = core_source(source.function)
    for one in (core, *map(core_source, core.nested or ())) if role == "body" else ():
        check_syntax(one)
    waiting, sources = [core], {}
    while waiting:
        one = waiting.pop()
        sources[one.function] = one
        waiting += [core_source(inner) for inner in one.nested or () if inner not in sources]
    return sorted({name for one in sources.values() for name in dotted_names(one)} | _defaults(source))


_COMPUTED = ""
"""Stands among the names where the default of a function inside is computed, by whatever is called there."""


def _defaults(source: FunctionSource) -> set[str]:
    """`_COMPUTED`, where a default of a function inside is no literal."""
    inner = (n for s in source.tree.body for n in ast.walk(s) if isinstance(n, (ast.FunctionDef, ast.Lambda)))
    defaults = [d for n in inner for d in (*n.args.defaults, *n.args.kw_defaults) if d is not None]
    return {_COMPUTED for d in defaults for part in ast.walk(d) if isinstance(part, ast.Name)}


_FLAGS = (str, tuple, frozenset, enum.Enum)


class _UnknownError(Exception):
    """A value that cannot be hashed."""


class Dependencies:
    """All that a body depends on, as it is now."""

    key: str | None = None
    """A hash of it; None where it cannot be hashed."""

    def __init__(self, function: Any) -> None:
        self.owners: list[Any] = []
        """The captured objects that may be changed in place."""
        self._functions: dict[FunctionType, int] = {}
        self._met: dict[int, tuple[int, Any]] = {}
        version = _compiler()
        with contextlib.suppress(_UnknownError, RecursionError):
            parts = repr((version, self._function(function, "body")))
            self.key = None if version is None else hashlib.sha256(parts.encode()).hexdigest()

    def _function(self, function: Any, role: Role) -> Any:
        if function in self._functions:
            return self._functions[function]
        self._functions[function] = len(self._functions)
        try:
            names, text = names_in(function, role)
        except KernelError:  # which is told where the body is read
            raise _UnknownError from None
        if _COMPUTED in names:
            raise _UnknownError
        seen = visible(function)
        defaults = [] if role == "body" else [function.__defaults__, sorted((function.__kwdefaults__ or {}).items())]
        return text, self._value(defaults), [(n, self._value(_named(seen, n))) for n in (*_ALWAYS, *names)]

    def _value(self, value: Any) -> Any:
        """A value as something whose ``repr`` tells it from all others."""
        plain = getattr(value, "py_func", getattr(value, "__tilejit_body__", value))
        if _is_known(plain):
            return "known", type(plain).__name__, _module(plain), getattr(plain, "__qualname__", plain.__name__)
        if isinstance(plain, FunctionType):
            return "function", self._function(plain, "helper")
        if isinstance(value, (list, dict, np.ndarray)):
            self.owners.append(value)
        # A flag may be compared by what it is, and not by what it says.
        told = [self._number(one) for one in (type(value), value)] if isinstance(value, _FLAGS) else []
        return type(value).__qualname__, told, self._content(value)

    def _number(self, one: Any) -> int:
        """Which of all that was met it is."""
        return self._met.setdefault(id(one), (len(self._met), one))[0]

    def _content(self, value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
            return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()
        if value is MISSING or value is None or type(value) in _PLAIN:
            return value is MISSING or repr(value)
        if isinstance(value, (np.iinfo, np.finfo, np.dtype)):
            return str(getattr(value, "dtype", value))
        return [self._value(part) for part in _parts(value)]


_PLAIN = {bool, int, float, str, bytes, range}


def _parts(value: Any) -> Iterable[Any]:
    """What a record or a collection holds."""
    if isinstance(value, ModuleType):
        return [value.__name__]
    if record_fields(value):
        return [getattr(value, name) for name in record_fields(value)]
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (tuple, list)):
        return value
    if isinstance(value, frozenset):
        return sorted(value, key=repr)
    raise _UnknownError


_CALLABLE = (BuiltinFunctionType, FunctionType, type, np.ufunc, type(np.where))


def _is_known(value: Any) -> bool:
    """Whether its name tells a function or a class from all others."""
    if not isinstance(value, _CALLABLE):
        return False
    module = value.__globals__.get("__name__") if isinstance(value, FunctionType) else _module(value)
    return f"{module}".partition(".")[0] in _KNOWN or f"{module}".startswith(_OWN)


def _module(value: Any) -> str:
    return "numpy" if isinstance(value, np.ufunc) else f"{getattr(value, '__module__', None)}"


def _named(seen: Mapping[str, Any], dotted: str) -> Any:
    """What a dotted name stands for, as far as it leads through what nothing changes."""
    first, *rest = dotted.split(".")
    value = seen.get(first, MISSING)
    for name in rest:
        found = member(value, name)
        if found is MISSING:
            return value if not isinstance(value, (ModuleType, type)) else MISSING
        value = found
    return value


class Facts(NamedTuple):
    """What a run must know of a kernel before it has anything compiled: values that `marshal` takes."""

    fingerprint: str
    """A hash of what it computes: its lowered body, with helpers and constants, and its contract."""
    radius: tuple[int, int]
    """How far it reads, in rows and columns."""
    results: tuple[int, ...]
    """The kinds of its results, as numbers."""
    returns_tuple: bool
    """Whether it returns a tuple."""
    windows: frozenset[str]
    """The rasters that it subscripts, itself or in a helper, and stacks; the others it sees as one value."""
    border_is_nodata: bool
    """Whether every pixel within the radius of the raster's border reads a cell outside, which makes it nodata."""
    deciding_inputs: tuple[tuple[int, frozenset[int]], ...]
    """The inputs, with their layers, of which each makes all results nodata where it is nodata all over.

    Those whose cells the body reads, be it in a branch: where nodata propagates, any of them does. There is none of a
    kernel that deals with nodata itself.
    """
    operations: int
    """About how many operations it does for a pixel; a loop, whose length is not known, counts as a thousand."""
    is_open_ended: bool
    """Whether its text does not tell how long a pixel takes: it loops, or calls C functions."""
    layers: tuple[int, ...]
    """The layers of stacks that it reads by their numbers."""
    is_sized: bool
    """Whether it has arrays that are as long as there are layers."""
    reads_times: bool
    """Whether the body asks when layers were taken."""
    calls_c: bool
    """Whether it calls C functions."""
    changing: tuple[tuple[int, str], ...]
    """The captured objects that may be changed in place: their places among those that were hashed (-1 where they were
    not), and their names."""


Contract = tuple[str, str, Any, tuple[int, int], Any, bool, int]
"""A kernel's kind, nodata, edge, radius, declared outputs, speed before bits, and layers."""


def facts_of(form: Form, contract: Contract, rasters: Sequence[str], windows: Iterable[str],
             owners: Sequence[object]) -> Facts:  # fmt: skip
    """Finds the facts of a kernel out, of its form, for rasters and the captured objects that may be changed."""
    _, nodata, edge, *_ = contract
    cells = [cell for found in form.footprint.values() for cell in found]
    read = [form.footprint.get(name, frozenset()) for name in rasters] * (nodata == "propagate")
    nodes = [node for function in form.functions for s in function.body for node in ast.walk(s)]
    tables = [(t.name, t.values.tolist()) for t in form.tables]
    parts = (form.texts, contract, tables) if tables else (form.texts, contract)
    return Facts(
        fingerprint=hashlib.sha256(repr(parts).encode()).hexdigest(),
        radius=form.radius,
        results=tuple(map(int, form.body.results)),
        returns_tuple=form.body.is_tuple,
        windows=frozenset(windows),
        border_is_nodata=nodata == "propagate" and edge == "nodata" and all(
            {-reach, reach} <= {cell[axis] for cell in cells} for axis, reach in enumerate(form.radius, 1)
        ),
        deciding_inputs=tuple((k, frozenset(layer for layer, _, _ in found)) for k, found in enumerate(read) if found),
        operations=sum(map(_weight, nodes)),
        is_open_ended=bool(form.c_functions) or any(isinstance(node, (ast.For, ast.While)) for node in nodes),
        layers=tuple(asked.number for asked in form.asked if asked.number != ALL),
        is_sized=form.is_sized,
        reads_times=form.reads_times,
        calls_c=bool(form.c_functions),
        changing=tuple((_place(one.owner, owners), one.label) for one in form.changing),
    )  # fmt: skip


def _place(one: object, among: Sequence[object]) -> int:
    return next((k for k, other in enumerate(among) if other is one), -1)


_WEIGHTS = {"_math": 20, "_float": 0}
"""Operations of the calls that a lowered body has for functions of ``math`` and conversions; one for others."""


def _weight(node: ast.AST) -> int:
    if isinstance(node, (ast.For, ast.While)):
        return 1000
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _WEIGHTS.get(node.func.id, 1)
    return isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp))


def kept(stem: str, key: str | None, what: object, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """Returns what ``make`` gives, of plain values, as this process or one before it has made it for a key."""
    place = None if key is None else kept_place(stem, key, what, suffix=".facts")
    content = None if place is None else read_kept(place)
    if content is not None:
        return marshal.loads(content)  # type: ignore[no-any-return] # noqa: S302 - this user's own, or it would not be here
    made = make()
    if place is not None:
        write_kept(place, marshal.dumps(tuple(made)))
    return made
