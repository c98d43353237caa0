"""What kernels make, as a source: a window of it is read by running the program of its tiles for that window."""

from __future__ import annotations

import pickle
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tilejit.engine.passes import numbers_before
from tilejit.engine.pipeline.evaluation import launches
from tilejit.engine.pipeline.pipeline import Cancellation, Pipeline, Run
from tilejit.engine.pipeline.run import run_job
from tilejit.engine.pipeline.stopwatch import Stopwatch
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.dispatch import choose_backend
from tilejit.engine.planning.graph import (
    Band,
    Iteration,
    ResultBand,
    SourceBand,
    applications_of,
    needed_bands,
    passes_before,
)
from tilejit.engine.planning.planner import Job, Settings, bound, make_job
from tilejit.errors import ParameterError
from tilejit.formats.cells import fill, nodata_key
from tilejit.formats.registry import is_opened_by_name
from tilejit.formats.source import BandInfo, Source, SourceStorage, check_request, kept_blocks, make_ready, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.backends import Launch
    from tilejit.grid import Grid
    from tilejit.window import Window

    Array = NDArray[Any]

_BLOCK = 256, 256


def read_bands(bands: Sequence[Band], grid: Grid) -> tuple[SourceBand, ...]:
    """Returns bands as what is read: what kernels make of them is a source then.

    Raises:
        ParameterError: One is what an iteration makes.
    """
    found = {id(band): band for band in bands if _is_computed(band)}
    if not found:
        return tuple(band for band in bands if isinstance(band, SourceBand))
    source = ComputedSource.of(grid, tuple(found.values()))
    made: dict[int, Any] = {number: SourceBand(source, info) for number, info in zip(found, source.bands, strict=True)}
    return tuple(made.get(id(band), band) for band in bands)


def _is_computed(band: Band) -> bool:
    return isinstance(band, ResultBand) or isinstance(band.source, Iteration)


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """Where a run puts its tiles: a band of what is read."""

    out: Array  # (row, col)
    valid: NDArray[np.uint8] | None
    key: np.generic | None  # what the run gives for no data

    def write(self, window: Window, array: Array) -> None:
        """Takes a tile."""
        place = slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)
        fill(self.out[place], None if self.valid is None else self.valid[place], array[0], self.key)


class ComputedSource:
    """Bands that kernels make; threads may read at the same time, each computes what it reads.

    What several windows have in common, as the cells around them, is computed for each.
    """

    def __init__(self, name: str, jobs: Sequence[Job], bands: tuple[BandInfo, ...]) -> None:
        self.name, self.bands, self.grid, self.block = name, bands, jobs[0].plan.grid, _BLOCK
        self.storage = _storage(name, jobs)
        self._jobs = list(jobs)
        self._compiled: list[tuple[Launch, ...] | None] = [None] * len(jobs)
        self._lock = threading.Lock()

    @classmethod
    def of(cls, grid: Grid, bands: Sequence[Band]) -> ComputedSource:
        """Plans how bands are computed; nothing is read.

        Raises:
            ParameterError: One waits for an iteration, whose state is on the disk while it goes on.
        """
        for _, made in passes_before(bands):
            if isinstance(made, Iteration):
                name = made.application.kernel.name
                raise ParameterError(
                    f"{name} is iterated, and what an iteration makes is not read by windows: save it first, as "
                    f"raster.save('{name}.tif'), and take tj.open('{name}.tif')"
                )
        kernels = [application.kernel for application in applications_of(needed_bands(bands))]
        settings = Settings(*choose_backend("auto", kernels), workers=1, executor="serial")
        jobs = [make_job(grid, [Request((band,))], settings) for band in bands]
        infos = (_info(k, band, job) for k, (band, job) in enumerate(zip(bands, jobs, strict=True), 1))
        return cls(", ".join(dict.fromkeys(band.label for band in bands)), jobs, tuple(infos))

    def __reduce__(self) -> tuple[Callable[..., ComputedSource], tuple[Any, ...]]:
        from tilejit.engine.distribution.task import JobSpec

        specs = [pickle.dumps(JobSpec.of(self._bound(k))) for k in range(len(self._jobs))]
        return _opened, (self.name, specs, self.bands)

    def read(self, bands: tuple[int, ...], window: Window, out: Array, valid: NDArray[np.uint8] | None = None) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        if window.is_empty:
            return
        for k, band in enumerate(bands):
            job = self._bound(band - 1)
            job = replace(job, plan=replace(job.plan, window=window))
            info = self.bands[band - 1]
            part = _Part(out[k], None if valid is None else valid[k], nodata_key(info.dtype, info.nodata))
            writers: Any = [part]
            run = Run(job, Stopwatch(), Cancellation())
            Pipeline(run, lambda *_, given=writers: nullcontext(given), self._launches(band - 1)).compute_here(window)

    def ready(self, threads: int, blocks: int) -> None:
        """Make ready for a run: what kernels wait for is computed now; see `make_ready`."""
        for k in range(len(self._jobs)):
            self._bound(k)
            self._launches(k)
        for source in self._sources():
            make_ready(source, threads, max(blocks, threads * kept_blocks(storage_of(source))))

    def close(self) -> None:
        """Let go of files."""
        for source in self._sources():
            source.close()

    def _sources(self) -> list[Source]:
        return list({id(source): source for job in self._jobs for source in job.sources}.values())

    def _bound(self, number: int) -> Job:
        """A job whose kernels have the numbers that they wait for."""
        with self._lock:
            job = self._jobs[number]
            if job.earlier:
                job = self._jobs[number] = bound(job, numbers_before(job, lambda one: run_job(one, ())), {})
            return job

    def _launches(self, number: int) -> tuple[Launch, ...]:
        with self._lock:
            found = self._compiled[number]
            if found is None:
                found = self._compiled[number] = launches(self._jobs[number])
            return found


def _opened(name: str, specs: Sequence[bytes], bands: tuple[BandInfo, ...]) -> ComputedSource:
    """Such a source in another process."""
    return ComputedSource(name, [pickle.loads(spec).job() for spec in specs], bands)  # noqa: S301 - from who runs it


def _info(number: int, band: Band, job: Job) -> BandInfo:
    write = job.plan.writes[0]
    nodata = None if write.dtype.kind == "f" else write.nodata
    description = band.description if isinstance(band, ResultBand) else band.info.description
    return BandInfo(number, write.dtype, nodata, description, band.unit)


def _storage(name: str, jobs: Sequence[Job]) -> SourceStorage:
    """What a plan says of it; a thread takes the buffers of a run, of one band after the other."""
    plans = [job.plan for job in jobs]
    sources = [source for job in jobs for one in (*job.earlier, job) for source in one.sources]
    told = [storage_of(source) for source in sources]
    size = max(plan.buffer_bytes + plan.decoding_bytes for plan in plans) + sum(map(_kept_bytes, told))
    steps = dict.fromkeys(step.kernel for plan in plans for step in plan.steps)
    return SourceStorage(
        f"computed by {', '.join(steps) or name}, of {_names(sources)}",
        block_bytes=size,
        files={file: state for one in told for file, state in one.files.items()},
        identity="; ".join(map(_identity, jobs)),
        is_value=all(storage_of(source).is_value or is_opened_by_name(source) for source in sources),
    )


def _identity(job: Job) -> str:
    """What tells what a job computes from what others do."""
    steps = zip(job.kernels, job.parameters, strict=True)
    read = ", ".join(f"{read.source} {read.bands} {storage_of(source).identity}" for read, source in
                     zip(job.plan.reads, job.sources, strict=True))  # fmt: skip
    return f"{read}: {', '.join(f'{kernel.fingerprint} {dict(given)}' for kernel, given in steps)}"


def _kept_bytes(storage: SourceStorage) -> int:
    return 0 if storage.decoding is None else kept_blocks(storage) * storage.decoding.run_bytes


def _names(sources: Iterable[Source]) -> str:
    names = list(dict.fromkeys(source.name for source in sources))
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"
