"""Finding kernels and chains by the names that people type: ``module:name``, ``file.py:name``, or a registered name.

Registered kernels come from the entry-point group `GROUP`. A line of it names a module, or a file; the line's own
name is the first half of a qualified name: ``terrain = "my_kernels.terrain"`` registers ``terrain.slope``.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import itertools
import os
import re
import sys
import traceback
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tilejit.errors import KernelError, TilejitError
from tilejit.kernel.decorators import Applicable
from tilejit.kernel.kernel import Kernel
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from importlib.metadata import Distribution
    from types import ModuleType

GROUP = "tilejit.kernels"
"""The entry-point group."""


@dataclass(frozen=True, slots=True)
class Collection:
    """The kernels of one line of the entry-point group: its name, its module or file, its distribution."""

    name: str
    value: str
    distribution: Distribution | None
    kernels: Mapping[str, Applicable]
    """Name -> kernel or chain, in the order of the file."""
    problem: str | None = None
    """Why it could not be loaded."""

    @property
    def package(self) -> str:
        """The distribution and its version, for which all that it says of itself is read."""
        return "?" if self.distribution is None else f"{self.distribution.name} {self.distribution.version}"


def find_kernel(name: str, makes_table: bool | None = None) -> Applicable:
    """Finds ``module:name``, ``file.py:name``, ``terrain.slope``, or ``slope`` where one collection has it.

    A file that holds one kernel needs no name after it. Where several collections have the name, that is meant which
    makes a table by zone, or does not, if it is known which of the two is asked for.

    Example:
        >>> find_kernel("terrain.slope").kind
        'focal'
    """
    where, colon, attribute = name.rpartition(":")
    if colon and where:
        return _chosen(where, attribute, _load(where))
    if _is_file(name):
        return _chosen(name, "", _load(name))
    return _registered(name, makes_table)


def find_single_kernel(name: str) -> Kernel:
    """Finds a kernel that is no chain; see `find_kernel`."""
    found = find_kernel(name, makes_table=False)
    if not isinstance(found, Kernel):
        raise KernelError(f"{name} is a chain of kernels: name one kernel ('tilejit show {name}' prints those of it)")
    return found


def kernels_in(where: str) -> dict[str, Applicable]:
    """Returns the kernels of a file, a module, or a collection, by name; of a kernel's own name that one."""
    entry = _entry_points().get(where)
    if entry is not None and not _is_file(where):
        return _kernels_of(_load(entry[0].partition(":")[0]))
    if ":" in where:
        return {where: find_kernel(where)}
    if _is_file(where):
        return _kernels_of(_load(where))
    try:
        return {where: _registered(where)}
    except KernelError:
        _see_folder(where)
        if not _is_found(where):
            raise
        return _kernels_of(_load(where))


@functools.cache
def collections() -> tuple[Collection, ...]:
    """Returns every registered collection; one that cannot be loaded carries its problem."""
    return tuple(_collection(name, *entry) for name, entry in sorted(_entry_points().items()))


def _entry_points() -> dict[str, tuple[str, Distribution | None]]:
    """Name -> (value, distribution)."""
    from importlib.metadata import entry_points

    return {point.name: (point.value, point.dist) for point in entry_points(group=GROUP)}


@functools.cache
def _collection(name: str, value: str, distribution: Distribution | None) -> Collection:
    try:
        # An entry point may be narrowed to one kernel: module:name.
        where, _, attribute = value.partition(":") if not _is_file(value) else (value, "", "")
        module = load_file(where) if _is_file(where) else import_module(where)
        kernels = {attribute: _chosen(where, attribute, module)} if attribute else _kernels_of(module)
    except TilejitError as error:
        return Collection(name, value, distribution, {}, str(error))
    return Collection(name, value, distribution, kernels)


def _registered(name: str, makes_table: bool | None = None) -> Applicable:
    """Finds a kernel by its registered name."""
    known = _entry_points()
    collection, dot, short = name.partition(".")
    if dot and collection in known:
        found = _collection(collection, *known[collection])
        if found.problem is not None:
            raise KernelError(f"{collection}, which {found.package} registers, cannot be loaded: {found.problem}")
        if short in found.kernels:
            return found.kernels[short]
    likely = [_collection(c, *entry) for c, entry in sorted(known.items()) if _mentions(entry[0], name)]
    holders = [c for c in likely or collections() if name in c.kernels]
    if makes_table is not None and len(holders) > 1:
        holders = [c for c in holders if (c.kernels[name].kind == "zonal") is makes_table] or holders
    if len(holders) > 1:
        names = " or ".join(f"{c.name}.{name}" for c in holders)
        raise KernelError(f"{name!r} is ambiguous: write {names}")
    if not holders:
        _unknown(name)
    return holders[0].kernels[name]


def _mentions(value: str, name: str) -> bool:
    """Whether a name is in a module's text: that tells of most modules that they need not be imported."""
    where = value.partition(":")[0]
    try:
        spec = None if _is_file(value) else importlib.util.find_spec(where)
        file = value if _is_file(value) else spec.origin if spec is not None else None
        return file is None or re.search(rf"\b{re.escape(name)}\b", Path(file).read_text("utf-8")) is not None
    except Exception:  # noqa: BLE001 - importing it will say what is wrong, and whose it is
        return True


def _unknown(name: str) -> NoReturn:
    collection = next((c for c in collections() if c.name == name), None)
    if collection is not None and collection.kernels:
        example = f"{name}.{next(iter(collection.kernels))}"
        count = counted(len(collection.kernels), "kernel")
        raise KernelError(f"{name} is a collection of {count}: choose one, as {example} "
                          f"(tilejit list {name} shows all)")  # fmt: skip
    names = [n for c in collections() for short in c.kernels for n in (short, f"{c.name}.{short}")]
    broken = [f"; {c.name} ({c.package}) cannot be loaded" for c in collections() if c.problem]
    near = _near(name, names) or "; a file's is named as my_kernels.py:name"
    raise KernelError(f"no kernel {name!r}{near} (tilejit list shows all{''.join(broken)})")


def _near(name: str, names: Iterable[str], most: int = 3) -> str:
    """``; did you mean …?``, or nothing where no name is close."""
    lower = {n.lower(): n for n in names}
    close = difflib.get_close_matches(name.lower(), lower, n=most, cutoff=0.6)
    # Of slope and terrain.slope one is enough.
    short = [lower[c] for c in close if c.rpartition(".")[2] not in close or "." not in c]
    return f"; did you mean {' or '.join(short)}?" if short else ""


def _chosen(where: str, attribute: str, module: ModuleType) -> Applicable:
    """The kernel of that name in a module, or its only one."""
    kernels = _kernels_of(module)
    listed = ", ".join(kernels) or "none"
    if not attribute:
        if len(kernels) == 1:
            return next(iter(kernels.values()))
        raise KernelError(f"{where} holds {counted(len(kernels), 'kernel')} ({listed}): choose one, as {where}:name")
    value = getattr(module, attribute, None)
    if isinstance(value, Applicable):
        return value
    if value is not None:
        raise KernelError(f"{where}: {attribute} is a {type(value).__name__}, no kernel: put @tj.local, @tj.focal or "
                          "@tj.chain above it")  # fmt: skip
    raise KernelError(f"{where} has no kernel {attribute!r}{_near(attribute, kernels) or f'; it holds {listed}'}")


def _kernels_of(module: ModuleType) -> dict[str, Applicable]:
    """The public kernels that a module defines, or a part of it where it is a package; not others that it imports."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Applicable)
        and not name.startswith("_")
        and f"{value.module}.".startswith(f"{module.__name__}.")
    }


def _is_found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _is_file(where: str) -> bool:
    return where.endswith(".py")


def _load(where: str) -> ModuleType:
    if _is_file(where):
        return load_file(where)
    _see_folder(where)
    return import_module(where)


def _see_folder(name: str) -> None:
    """Lets a module beside the user be found, after all others, if he names one that is nowhere else.

    In a folder of data a `coverage.py` may lie, which Numba would import, and nobody has asked for.
    """
    if os.getcwd() not in sys.path and not _is_found(name.partition(".")[0]):  # noqa: PTH109 - as sys.path spells it
        sys.path.append(os.getcwd())  # noqa: PTH109
        importlib.invalidate_caches()


class _Beside(MetaPathFinder):
    """Lets the files of a folder import each other, as for `python file.py`, and nobody else import them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a module for a file of the folder."""
        if path is not None or name in sys.builtin_module_names or not self._is_asked_by_its_own():
            return None
        return PathFinder.find_spec(name, [str(self._folder)], target)

    def _is_asked_by_its_own(self) -> bool:
        frame = sys._getframe(2)  # noqa: SLF001 - the import system does not say who asks
        while frame.f_back is not None and "importlib" in frame.f_globals.get("__name__", ""):
            frame = frame.f_back
        file = frame.f_globals.get("__file__")
        return file is not None and Path(file).resolve().is_relative_to(self._folder)


@functools.cache
def _see_beside(folder: Path) -> None:
    sys.meta_path.insert(0, _Beside(folder))


def is_importable(module: ModuleType) -> bool:
    """Whether an import of its name leads another process to a module, if it looks in the same places."""
    package = module.__name__.rpartition(".")[0]
    parent = sys.modules.get(package)
    if package and (parent is None or not is_importable(parent)):
        return False
    own = getattr(module, "__spec__", None)
    finders = [finder for finder in sys.meta_path if not isinstance(finder, _Beside) and hasattr(finder, "find_spec")]
    places = getattr(parent, "__path__", None)
    found = next((spec for f in finders if (spec := f.find_spec(module.__name__, places)) is not None), None)
    if own is None or found is None:
        return False
    one, two = own.origin, found.origin
    return one == two or (one is not None and two is not None and os.path.realpath(one) == os.path.realpath(two))


def import_module(name: str) -> ModuleType:
    """Imports a module."""
    try:
        return importlib.import_module(name)
    except TilejitError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            _fail(name, error)
        raise KernelError(f"no module {error.name!r}: check the name, or install it") from error
    except Exception as error:  # noqa: BLE001 - importing runs any code
        _fail(name, error)


def load_file(path: str) -> ModuleType:
    """Imports a file as a module of its own, once; it finds those beside it."""
    file = Path(path)
    if not file.is_file():
        nearby = [p.name for p in file.parent.glob("*.py")] if file.parent.is_dir() else []
        raise KernelError(f"no file {path}{_near(file.name, nearby, 1) or ': check the path'}")
    return _loaded(file.resolve())  # the program may have another folder by now


@functools.cache
def _loaded(file: Path) -> ModuleType:
    names = itertools.chain([file.stem], (f"{file.stem}_{k}" for k in itertools.count(2)))
    name = next(n for n in names if n not in sys.modules)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise KernelError(f"{file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _see_beside(file.parent)
    try:
        spec.loader.exec_module(module)
    except TilejitError:
        del sys.modules[name]
        raise
    except Exception as error:  # noqa: BLE001 - importing runs any code
        del sys.modules[name]
        _fail(file.name, error)
    return module


def _fail(where: str, error: Exception) -> NoReturn:
    """Says where a user's file went wrong: the line, and for a syntax error a caret."""
    if isinstance(error, SyntaxError):
        lines = traceback.format_exception_only(error)
        shown = "".join(lines[1:-1]).rstrip("\n")
        place = f"{error.filename or where}:{error.lineno}: {error.msg}"
        raise KernelError(f"{place}\n{shown}" if shown else place) from error
    ours = ("importlib", __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(o in f.filename for o in ours)]
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    raise KernelError(f"{place}importing {where} failed: {type(error).__name__}: {error}") from error
