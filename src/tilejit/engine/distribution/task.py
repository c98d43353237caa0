"""Tasks: what is sent to workers in other processes, and what a worker does with it."""

from __future__ import annotations

import functools
import pickle
import sys
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.engine.pipeline.evaluation import launches
from tilejit.engine.pipeline.pipeline import Cancellation, Pipeline, Run, stopped
from tilejit.engine.pipeline.report import Figures, reset_peak_memory
from tilejit.engine.pipeline.stopwatch import Stopwatch
from tilejit.engine.planning.planner import Job
from tilejit.errors import KernelError, PlanError, SinkError, SourceError
from tilejit.formats.files import check_unchanged, local_file
from tilejit.formats.gdal.library import Environment
from tilejit.formats.publishing import sweep, write_new
from tilejit.formats.registry import is_opened_by_name, open_source
from tilejit.formats.source import Source, made_of, storage_of
from tilejit.formats.target import hidden_beside
from tilejit.kernel.crossing import crossing_of
from tilejit.system.identity import FileIdentity, origin, temporary_folder
from tilejit.system.program import require_guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tilejit.backends import Launch
    from tilejit.engine.partials import State
    from tilejit.engine.planning.plan import Plan
    from tilejit.formats.files import State as FileState
    from tilejit.formats.sink import Manifest, WriterOpener
    from tilejit.kernel.kernel import Kernel
    from tilejit.window import Window

_GLANCE = 0.5  # seconds between two looks for the sentinel
_last = threading.local()  # the job that this thread has opened: a pool's threads have one each


@dataclass(frozen=True, slots=True)
class Input:
    """A source by the name that opens it in another process."""

    name: str  # the file
    makers: tuple[Callable[[Source], Source], ...]  # what makes of it what is read: its values, or its cells elsewhere
    states: tuple[tuple[str, FileState, FileIdentity], ...]
    """What told its files from others where the run was planned, and their folders: workers elsewhere may have copies.
    """
    environment: Environment  # what held of ``rasterio.Env`` when it was opened

    @classmethod
    def of(cls, source: Source) -> Input:
        """Names a source, whose file must be the one that was opened."""
        if not is_opened_by_name(source):
            raise PlanError(
                f"{source.name}: worker processes open inputs by name, and this one is in memory: save it to a file "
                "and open that, or leave executor= out, by which threads share the memory"
            )
        storage = storage_of(source)
        check_unchanged(source.name, storage.files)
        places = {file: local_file(file) or Path(file) for file in storage.files}  # of one in an archive, the archive's
        states = tuple((f, s, FileIdentity.of(places[f].parent)) for f, s in storage.files.items() if s is not None)
        return cls(source.name, made_of(source)[1], states, storage.environment or Environment())

    def made_of(self, file: Source) -> Source:
        """What is read, of the file once it is open."""
        return functools.reduce(lambda source, make: make(source), self.makers, file)

    def open(self) -> Source:
        """Opens the file, in a worker, where it must be the one that the run was planned with."""
        check_unchanged(self.name, {file: state for file, state, folder in self.states if folder.is_seen()})
        return self.environment.call(open_source, self.name)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job that can be pickled."""

    plan: Plan  # the plan of the whole
    inputs: tuple[Input | Source, ...]  # what each of its reads reads: what opens it, or what is a value
    kernels: bytes  # the kernel of each of its steps, pickled; what it needs is looked for in `path`
    fingerprints: tuple[str, ...]  # what each of them computes, in short; a worker refuses another kernel of that name
    parameters: tuple[Mapping[str, Any], ...]  # the bound parameters of each step
    openers: tuple[WriterOpener, ...]  # what opens a writer of each of its outputs
    environment: Environment  # what holds of ``rasterio.Env`` where the run is led
    path: tuple[str, ...]  # where the modules of kernels are looked for

    @classmethod
    def of(cls, job: Job, openers: Iterable[WriterOpener] = ()) -> JobSpec:
        """Names all that is alive in a job, or refuses it: an input in memory, a kernel that cannot be handed over."""
        if any(kernel.module == "__main__" for kernel in job.kernels):
            require_guard()
        modules = {module for kernel in job.kernels for module in crossing_of(kernel).modules}
        return cls(
            plan=job.plan,
            inputs=tuple(s if storage_of(s).is_value else Input.of(s) for s in job.sources),
            kernels=pickle.dumps(job.kernels),
            fingerprints=tuple(kernel.fingerprint for kernel in job.kernels),
            parameters=job.parameters,
            openers=tuple(openers),
            environment=Environment.current(),
            path=_search_path({module.partition(".")[0] for module in modules}),
        )

    def job(self) -> Job:
        """Opens the files and finds the kernels, in a worker, which must be what they were where it was planned."""
        sys.path.extend(folder for folder in self.path if folder not in sys.path)
        kernels: tuple[Kernel, ...] = pickle.loads(self.kernels)  # noqa: S301 - from who runs the job
        for kernel, fingerprint in zip(kernels, self.fingerprints, strict=True):
            _check_same(kernel, fingerprint)
        files = {i: replace(i, makers=()) for i in self.inputs if isinstance(i, Input)}
        opened = {file: file.open() for file in dict.fromkeys(files.values())}
        made = {i: i.made_of(opened[file]) for i, file in files.items()}
        sources = tuple(made[i] if isinstance(i, Input) else i for i in self.inputs)
        for read, source in zip(self.plan.reads, sources, strict=True):
            here, there, size = source.grid.shape, self.plan.grid.shape, storage_of(source).stored_bytes
            if (here, size) != (there, read.stored_bytes):
                raise SourceError(
                    f"{source.name}: has {here[0]} x {here[1]} cells in {size} bytes in a worker, and "
                    f"{there[0]} x {there[1]} in {read.stored_bytes} where the run was planned: give workers that file"
                )
        return Job(self.plan, sources, kernels, self.parameters)


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


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A file that is there as long as a run goes on, and that its workers look for, wherever they are.

    An executor that somebody else made ends no worker, and MPI none but all. So each worker asks the file system, which
    they share with the leader, and stops within about a second of the run's end.
    """

    path: Path  # among temporary files; for workers on other machines, beside the first output
    folder: FileIdentity  # its folder: a worker that sees it, and not the file, knows that the run has ended

    @classmethod
    def of(cls, run: str, output: str, *, local: bool) -> Sentinel:
        """The sentinel of a run, by what tells it from all others and the file that it writes first, if any."""
        target = temporary_folder() / "tilejit" if local or not output else Path(output)
        path = hidden_beside(target.resolve(), f"{origin()}-{run}.running")
        return cls(path, FileIdentity.of(path.parent))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Is there inside the ``with``."""
        sweep(self.path.parent)
        try:
            write_new(self.path, b"")
        except OSError as error:
            raise SinkError(
                f"{self.path}: cannot be made ({error.strerror}), and workers look for it while a run goes on: "
                "make room there, or name another folder for temporary files in TMPDIR"
            ) from error
        try:
            yield
        finally:
            self.remove()

    def remove(self) -> None:
        """Ends what workers do."""
        self.path.unlink(missing_ok=True)

    @contextmanager
    def watched(self, cancellation: Cancellation) -> Iterator[None]:
        """Cancels what a worker does inside the ``with`` when the sentinel goes, if it is seen from here."""
        if not self.path.exists():
            if self.folder.is_seen():
                raise stopped()
            yield
            return
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_GLANCE):
                if not self.path.exists():
                    cancellation.cancel()
                    return

        threading.Thread(target=watch, name="tilejit-sentinel", daemon=True).start()
        try:
            yield
        finally:
            ended.set()


@dataclass(frozen=True, slots=True)
class Task:
    """A part of a job, as it is sent to a worker."""

    run: str  # what tells this run from all others
    sentinel: Sentinel  # what is there as long as the run goes on
    spec: bytes = field(repr=False)  # the job, pickled once for all tasks: a worker looks into it once
    window: Window  # the cells to compute: whole tiles


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What comes back."""

    manifests: tuple[Manifest, ...]  # what each output must know of what was written
    states: tuple[State, ...]  # what its pixels come to, for each partial
    figures: Figures  # what the worker did


def run_task(task: Task) -> TaskResult:
    """Computes a part of a job by the ordinary pipeline, and writes it."""
    watch, cancellation = Stopwatch(), Cancellation()
    spec, job, compiled = _opened(task, watch)
    with spec.environment.entered():
        writers = [opener() for opener in spec.openers]
        pipeline = Pipeline(Run(job, watch, cancellation), lambda *_: nullcontext(writers), compiled)
        with task.sentinel.watched(cancellation):
            pipeline.compute([task.window])
        with watch.stage("encode"):
            manifests = tuple(writer.finish() for writer in writers)
    figures = Figures.of_worker(watch, pipeline.tiles, pipeline.bytes_read)
    return TaskResult(manifests, pipeline.totals.states, figures)


def check_writers(openers: Sequence[WriterOpener]) -> None:
    """Opens a writer of each output, and writes nothing: a folder that is not seen from here is an error."""
    for opener in openers:
        opener()


def _opened(task: Task, watch: Stopwatch) -> tuple[JobSpec, Job, tuple[Launch, ...]]:
    """The job of a task, ready to run: the last one again, where it belongs to the same run."""
    if getattr(_last, "run", None) == task.run:
        opened: tuple[JobSpec, Job, tuple[Launch, ...]] = _last.opened
        return opened
    reset_peak_memory()
    spec: JobSpec = pickle.loads(task.spec)  # noqa: S301 - from who runs the job
    with spec.environment.entered():
        job = spec.job()
    # One thread works in the worker's own.
    job = replace(job, plan=replace(job.plan, executor="serial" if job.plan.workers == 1 else "threads", processes=1))
    with watch.stage("compile"):
        compiled = launches(job)
    _last.run, _last.opened = task.run, (spec, job, compiled)
    return spec, job, compiled
