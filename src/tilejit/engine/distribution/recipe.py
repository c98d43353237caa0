"""What crosses the boundary to a worker: a plan, and names for all that is alive in it."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.engine.planning.planner import Job
from tilejit.errors import KernelError, PlanError, SourceError
from tilejit.formats.file_names import check_unchanged, local_file
from tilejit.formats.gdal.library import Environment
from tilejit.formats.registry import is_opened_by_name, open_source
from tilejit.formats.scaled_source import ScaledSource
from tilejit.formats.source import storage_of
from tilejit.kernel.crossing import way_of
from tilejit.system.identity import FileIdentity
from tilejit.system.main_module import require_guard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tilejit.engine.planning.plan import Plan
    from tilejit.formats.file_names import State
    from tilejit.formats.sink import WriterOpener
    from tilejit.formats.source import Source
    from tilejit.kernel.kernel import Kernel


@dataclass(frozen=True, slots=True)
class Input:
    """A source by the name that opens it in another process."""

    name: str
    """The file."""
    is_scaled: bool
    """Whether its values are read, and not its counts."""
    states: tuple[tuple[str, State, FileIdentity], ...]
    """What told its files from others where the run was planned, and their folders: workers elsewhere may have copies.
    """
    environment: Environment
    """What held of ``rasterio.Env`` when it was opened."""

    def open(self) -> Source:
        """Opens the file, in a worker.

        Raises:
            TilejitError: It is not here, or is another than the one that the run was planned with.
        """
        check_unchanged(self.name, {file: state for file, state, folder in self.states if folder.is_seen()})
        return self.environment.call(open_source, self.name)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A job that can be pickled."""

    plan: Plan
    """The plan of the whole."""
    sources: tuple[Input, ...]
    """What each of its reads reads."""
    kernels: bytes
    """The kernel of each of its steps, pickled; what it needs is looked for in `path`."""
    fingerprints: tuple[str, ...]
    """What each of them computes, in short; a worker refuses another kernel of that name."""
    parameters: tuple[Mapping[str, Any], ...]
    """The bound parameters of each step."""
    writers: tuple[WriterOpener, ...]
    """What opens a worker's end of each of its outputs."""
    environment: Environment
    """What holds of ``rasterio.Env`` where the run is led."""
    path: tuple[str, ...]
    """Where the modules of kernels are looked for."""

    def job(self) -> Job:
        """Opens the files and finds the kernels, in a worker.

        Raises:
            TilejitError: One is not here, or is not what it was where the run was planned.
        """
        sys.path.extend(folder for folder in self.path if folder not in sys.path)
        kernels: tuple[Kernel, ...] = pickle.loads(self.kernels)  # noqa: S301 - from who runs the job
        for kernel, fingerprint in zip(kernels, self.fingerprints, strict=True):
            _check_same(kernel, fingerprint)
        files = {i: replace(i, is_scaled=False) for i in self.sources}
        opened = {file: file.open() for file in dict.fromkeys(files.values())}
        made = {i: ScaledSource(opened[file]) if i.is_scaled else opened[file] for i, file in files.items()}
        sources = tuple(made[i] for i in self.sources)
        for read, source in zip(self.plan.reads, sources, strict=True):
            here, there = source.grid.shape, self.plan.grid.shape
            size = storage_of(source).stored_bytes
            if (here, size) != (there, read.stored_bytes):
                raise SourceError(
                    f"{source.name}: has {here[0]} x {here[1]} cells in {size} bytes in a worker, and "
                    f"{there[0]} x {there[1]} in {read.stored_bytes} where the run was planned: give workers that file"
                )
        return Job(self.plan, sources, kernels, self.parameters)


def recipe_of(job: Job, writers: Sequence[WriterOpener]) -> Recipe:
    """Names all that is alive in a job.

    Raises:
        ReadError: An input is another file than when it was opened.
        PlanError: An input is in memory, or a script starts its work where workers would start it again.
        KernelError: A kernel has no name that a worker finds, and uses what cannot be handed to one.
    """
    if any(kernel.module == "__main__" for kernel in job.kernels):
        require_guard()
    ways = [way_of(kernel) for kernel in job.kernels]
    sources = tuple(_input_of(source) for source in job.sources)
    fingerprints = tuple(kernel.fingerprint for kernel in job.kernels)
    path = _search_path({module.partition(".")[0] for way in ways for module in way.modules})
    return Recipe(
        job.plan, sources, pickle.dumps(job.kernels), fingerprints, job.parameters, tuple(writers),
        Environment.current(), path,
    )  # fmt: skip


def _search_path(modules: Iterable[str]) -> tuple[str, ...]:
    """Where workers look for modules: where this process does, but for the current folder if they need none of it."""
    here = str(Path.cwd())
    places = dict.fromkeys(str(Path(place).absolute()) if Path(place).exists() else place for place in sys.path)
    others = [place for place in places if place != here]
    is_needed = any(PathFinder.find_spec(m, [here]) and not PathFinder.find_spec(m, others) for m in modules)
    return tuple(places) if is_needed and here in places else tuple(others)


def _check_same(kernel: Kernel, fingerprint: str) -> None:
    if kernel.fingerprint != fingerprint:
        raise KernelError(
            f"{kernel.name} of {kernel.module} is not the same in a worker as where the run was planned: its "
            "text or a constant that it uses differs. Give workers the same file, and let what is random or read from "
            "the command line come in as a keyword-only parameter"
        )


def _input_of(source: Source) -> Input:
    if not is_opened_by_name(source):
        raise PlanError(
            f"{source.name}: worker processes open inputs by name, and this one is in memory: save it to a file and "
            "open that, or leave executor= out, by which threads share the memory"
        )
    storage = storage_of(source)
    check_unchanged(source.name, storage.files)
    states = tuple((file, state, _folder_of(file)) for file, state in storage.files.items() if state is not None)
    return Input(source.name, isinstance(source, ScaledSource), states, storage.environment or Environment())


def _folder_of(file: str) -> FileIdentity:
    """The folder of a local file, or of the archive that it lies in."""
    return FileIdentity.of((local_file(file) or Path(file)).parent)
