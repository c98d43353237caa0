"""What a strategy is, and its material: tiles that are decoded into what a launch takes, and results to fill.

All strategies read, pad and launch with tilejit's own functions: what differs between them is how the work is spread,
and not how well somebody wrote a reader.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.pipeline.evaluation import Evaluator, launches
from tilejit.engine.pipeline.tile_buffers import TileBuffer, TileMemory
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.graph import applications_of
from tilejit.engine.planning.planner import Job, make_job
from tilejit.raster.making import apply_kernel, open_raster, stack
from tilejit.raster.options import RunOptions
from tilejit.window import Window, tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.pool import Pool

    from numpy.typing import NDArray

    from tilejit.backends import Launch
    from tilejit.comparison.measures import Stages, TrialSpec
    from tilejit.engine.pipeline.stopwatch import Stopwatch

    Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way of spreading a sample over cores; each trial of it is made in a process of its own."""

    name: str
    is_like: str  # its counterpart in C
    start: Callable[[TrialSpec], Trial]
    is_serial: bool = False  # more cores are of no use to it
    is_interpreted: bool = False  # it stops when its time is up
    is_exact: bool = True  # its pixels must have tilejit's bits, not only be within what arithmetic rounds
    why_not: Callable[[], str | None] = lambda: None  # why it cannot run on this machine
    program: Callable[[int], list[str]] = lambda _: [sys.executable]  # what starts Python on so many cores


class Workload:
    """A spec's kernel applied to its inputs, in this process."""

    def __init__(self, spec: TrialSpec) -> None:
        opened = {path: open_raster(path) for path in dict.fromkeys(path for port in spec.inputs for path, _ in port)}
        layers = [[opened[path].band(band) for path, band in port] for port in spec.inputs]
        rasters = list(map(stack, layers, spec.dates or [None] * len(layers)))
        self.raster = apply_kernel(spec.kernel, rasters, spec.parameters)  # the kernel's results, lazy
        self.kernel = applications_of(self.raster.bands)[0].kernel  # the kernel, as it is applied
        self.window = Window(0, 0, spec.rows, self.raster.grid.width)  # the cells that are computed
        self._cores = spec.cores

    def job(self, tile: tuple[int, int] | None = None, backend: str = "cpu") -> Job:
        """Plans it, in tiles that tilejit would choose unless they are given."""
        settings = RunOptions(workers=self._cores, backend=backend, tile=tile).settings(self.raster.bands)
        return make_job(self.raster.grid, [Request(self.raster.bands)], settings, self.window)

    def launch(self, job: Job) -> Launch:
        """Compiles the kernel, or loads what was compiled, and all else that the first tile needs."""
        compiled = launches(job)[0]
        Reader(job).call(Window(0, 0, 1, min(16, self.window.width)))  # predictors are compiled too
        return compiled

    def windows(self, tile: tuple[int, int]) -> list[Window]:
        """Returns its tiles, row by row."""
        return list(tiles(*self.window.shape, *tile))


@dataclass(frozen=True, slots=True)
class Call:
    """What a launch takes for one tile, and the tile."""

    window: Window
    arrays: list[Array]
    nodata: Sequence[Any]
    scalars: Sequence[Any]

    def compute(self, launch: Launch, job: Job) -> list[Array]:
        """Launches it into arrays of its own."""
        outputs = empty(self.window.shape, job)
        launch(self.arrays, outputs, self.nodata, self.scalars)
        return outputs


class Reader:
    """Decodes tiles in memory of its own; one for each thread. A call lives until the next."""

    def __init__(self, job: Job) -> None:
        self._job, self._memory, self._evaluator = job, TileMemory(job.plan), Evaluator(job, ())

    def call(self, window: Window) -> Call:
        """Decodes a tile with its halo and fills what lies outside the raster."""
        buffer, shape = TileBuffer(window, window, self._memory), self._job.plan.grid.shape
        buffer.decode(self._job.sources, Window(0, 0, *shape))
        buffer.complete(shape, self._job.sources)
        return Call(window, *self._evaluator.first_arguments(buffer))


class Trial:
    """A strategy that is ready: its processes are up, its kernel is compiled."""

    pool: Pool | None = None  # its processes, where it has some
    prepared: float = 0.0  # seconds that went into what is done before the clock starts only for the sake of measuring
    outputs: Sequence[Array] = ()  # the results of the last run
    done: list[Window] | None = None  # the windows that the last run computed, each as often as it did; None for all

    def __init__(self, spec: TrialSpec, tile: tuple[int, int] | None = None, backend: str = "cpu") -> None:
        self.spec, self.work = spec, Workload(spec)
        self.job = self.work.job(tile, backend)
        self.step = self.job.plan.steps[0]
        began = time.perf_counter()
        self.launch = self.work.launch(self.job)
        self.compile = time.perf_counter() - began  # seconds that loading the kernel took, in one process

    def __call__(self) -> Stages:
        """Computes the sample, or what there is time for."""
        raise NotImplementedError

    def traffic(self) -> float | None:
        """Returns the seconds that it takes to move the same arrays and compute nothing; None where none are moved."""
        return None

    def close(self) -> None:
        """Ends its processes; threads have ended with the run."""
        if self.pool is not None:
            self.pool.terminate()
            self.pool.join()


def place(outputs: Sequence[Array], window: Window, results: Sequence[Array]) -> None:
    """Puts a tile's results where they belong."""
    where = window.slices(Window(0, 0, *outputs[0].shape[-2:]))
    for output, result in zip(outputs, results, strict=True):
        output[..., *where] = result


def empty(shape: Sequence[int], job: Job) -> list[Array]:
    """Returns an array for each result of the first step, for so many rows and columns, in fresh memory."""
    shaped = job.kernels[0].result_shape(*shape)
    return [np.empty(shaped, dtype) for dtype in job.plan.steps[0].signature.outputs]


def on_threads(function: Callable[[], object], count: int) -> None:
    """Calls a function in so many threads at once; an error of one is raised, where a thread would only print it."""
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(function) for _ in range(count)]
    for future in futures:
        future.result()


def stages_of(watch: Stopwatch, queued: Sequence[float] = ()) -> Stages:
    """Returns what a stopwatch shows, with the seconds in which threads waited for a core as ``queue``."""
    shown = {str(name): (t.wall, t.cpu) for name, t in watch.stages().items()}
    return {**shown, "queue": (sum(queued), 0.0)}


def summed(many: Sequence[Stages]) -> Stages:
    """Returns what many tiles took in each stage."""
    names = {name for stages in many for name in stages}
    pairs = {name: [stages[name] for stages in many if name in stages] for name in names}
    return {name: (sum(wall for wall, _ in times), sum(cpu for _, cpu in times)) for name, times in pairs.items()}


def queued_seconds() -> float:
    """Returns the seconds in which this thread could have run, and waited for a core; 0 where only Linux tells."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    return 0.0
