"""What crosses the boundary to a worker: a plan, and names for all that is alive in it."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
import sys
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.errors import PlanError, SourceError, TilejitError
from tilejit.io.file_names import check_unchanged
from tilejit.io.open_source import is_opened_by_name, open_source
from tilejit.io.scaled_source import ScaledSource
from tilejit.kernel.discovery import find_single_kernel
from tilejit.kernel.kernel import Kernel
from tilejit.planning.planner import Job
from tilejit.system.main_guard import main_file, require_guard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.io.file_names import State
    from tilejit.io.sink import BranchOpener
    from tilejit.io.source import Source
    from tilejit.kernel.kernel import Edge
    from tilejit.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class KernelName:
    """A kernel by the name that finds it in another process."""

    name: str
    """``module:name``, or ``/path/to/file.py:name``."""
    fingerprint: str
    """What it computes, in short; a worker refuses another kernel of this name."""
    edge: Edge | None = None
    """What lies outside the raster, where the kernel has an edge; it may be another than the decorator's."""

    def find(self) -> Kernel:
        """Finds the kernel.

        Raises:
            TilejitError: There is none of this name here, or it is another.
        """
        where, _, attribute = self.name.rpartition(":")
        kernel = find_single_kernel(self.name)
        if self.edge is not None and kernel.kind == "focal":
            kernel = kernel.with_edge(self.edge)
        if fingerprint_of(kernel) != self.fingerprint:
            raise TilejitError(
                f"{attribute} of {where} is not the same in a worker as where the run was planned: its text or a "
                "constant that it uses differs. Give workers the same file, and let what is random or read from the "
                "command line come in as a keyword-only parameter"
            )
        return kernel


@dataclass(frozen=True, slots=True)
class Input:
    """A source by the name that opens it in another process."""

    name: str
    """The file."""
    is_scaled: bool
    """Whether its values are read, and not its counts."""
    states: tuple[tuple[str, State], ...]
    """What told its files from others where the run was planned."""
    machine: str
    """Where that was: other machines may have a copy."""

    def open(self) -> Source:
        """Opens the file, in a worker.

        Raises:
            TilejitError: It is not here, or is another than the one that the run was planned with.
        """
        if platform.node() == self.machine:
            check_unchanged(self.name, dict(self.states))
        return open_source(self.name)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A job that can be pickled."""

    plan: Plan
    """The plan of the whole."""
    sources: tuple[Input, ...]
    """What each of its reads reads."""
    kernels: tuple[KernelName, ...]
    """The kernel of each of its steps."""
    parameters: tuple[Mapping[str, Any], ...]
    """The bound parameters of each step."""
    branches: tuple[BranchOpener, ...]
    """What opens a worker's end of each of its outputs."""
    path: tuple[str, ...]
    """Where the modules of kernels are looked for."""

    def job(self) -> Job:
        """Opens the files and finds the kernels, in a worker.

        Raises:
            TilejitError: One is not here, or is not what it was where the run was planned.
        """
        sys.path.extend(folder for folder in self.path if folder not in sys.path)
        kernels = tuple(kernel.find() for kernel in self.kernels)
        opened = {name: i.open() for name, i in {i.name: i for i in self.sources}.items()}
        made = {i: ScaledSource(opened[i.name]) if i.is_scaled else opened[i.name] for i in dict.fromkeys(self.sources)}
        sources = tuple(made[i] for i in self.sources)
        for read, source in zip(self.plan.reads, sources, strict=True):
            here, there = source.grid.shape, self.plan.grid.shape
            if (here, source.stored_bytes) != (there, read.stored_bytes):
                raise SourceError(
                    f"{source.name}: has {here[0]} x {here[1]} cells in {source.stored_bytes} bytes in a worker, and "
                    f"{there[0]} x {there[1]} in {read.stored_bytes} where the run was planned: give workers that file"
                )
        return Job(self.plan, sources, kernels, self.parameters)


def recipe_of(job: Job, branches: Sequence[BranchOpener]) -> Recipe:
    """Names all that is alive in a job.

    Raises:
        ReadError: An input is another file than when it was opened.
        PlanError: An input is in memory, or a kernel is where a worker cannot import it; with what to do.
    """
    kernels = {id(k): k for k in job.kernels}
    edges = {key: k.edge if k.kind == "focal" else None for key, k in kernels.items()}
    names = {key: KernelName(name_of(k), fingerprint_of(k), edges[key]) for key, k in kernels.items()}
    sources = tuple(_input_of(source) for source in job.sources)
    found = tuple(names[id(k)] for k in job.kernels)
    return Recipe(job.plan, sources, found, job.parameters, tuple(branches), _search_path(job.kernels))


def _search_path(kernels: Sequence[Kernel]) -> tuple[str, ...]:
    """Where workers look for modules: where this process does, but for the current folder if no kernel lies there."""
    here = Path.cwd()
    files = (getattr(sys.modules.get(k.module.partition(".")[0]), "__file__", None) for k in kernels)
    needed = any(file is not None and here in Path(file).resolve().parents[:2] for file in files)
    places = dict.fromkeys(place or str(here) for place in sys.path)
    return tuple(place for place in places if needed or Path(place) != here)


def _input_of(source: Source) -> Input:
    if not is_opened_by_name(source):
        raise PlanError(
            f"{source.name}: worker processes open inputs by name, and this one is in memory: save it to a file and "
            "open that, or leave executor= out, by which threads share the memory"
        )
    stored: Any = source.counts if isinstance(source, ScaledSource) else source
    check_unchanged(source.name, stored.states)
    return Input(source.name, stored is not source, tuple(stored.states.items()), platform.node())


def name_of(kernel: Kernel) -> str:
    """Returns the name by which another process finds a kernel.

    Raises:
        PlanError: It is inside a function, or was typed in.
    """
    module = sys.modules.get(kernel.module)
    named = vars(module).items() if module else ()
    # The kernel may have got another edge where it was called.
    attribute = next((n for n, v in named if isinstance(v, Kernel) and replace(v, edge=kernel.edge) == kernel), None)
    if attribute is None:
        raise PlanError(
            f"{kernel.name} ({kernel.source.where}) is inside a function, or has no name in its module: worker "
            "processes import kernels by name, so define it on the top level of a file"
        )
    if kernel.module == "__main__":
        return f"{_main_name(kernel)}:{attribute}"
    file = getattr(module, "__file__", None)
    if "." not in kernel.module and file is not None and not _is_on_path(kernel.module, file):
        return f"{os.path.realpath(file)}:{attribute}"
    return f"{kernel.module}:{attribute}"


def _main_name(kernel: Kernel) -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and not spec.name.endswith("__main__"):
        return str(spec.name)  # python -m package.module
    file = main_file()
    if file is None:
        raise PlanError(
            f"{kernel.name} was typed in, and worker processes cannot import it: write it to a file, my_kernels.py, "
            "and import it from there"
        )
    require_guard()
    return file


def _is_on_path(module: str, file: str) -> bool:
    """Whether an import by name finds this very file, which `tilejit.kernel.discovery` may have loaded by its path."""
    spec = PathFinder.find_spec(module)
    return spec is not None and spec.origin is not None and os.path.realpath(spec.origin) == os.path.realpath(file)


@functools.lru_cache(maxsize=256)
def fingerprint_of(kernel: Kernel) -> str:
    """Returns a hash of what a kernel computes: its lowered body, with helpers and constants, and its contract."""
    body = [(f.name, f.scalars, [ast.dump(statement) for statement in f.body]) for f in kernel.form.functions]
    contract = kernel.kind, kernel.nodata, kernel.edge, kernel.radius, kernel.declared_outputs, kernel.fast
    return hashlib.sha256(repr((body, contract)).encode()).hexdigest()
