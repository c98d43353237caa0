"""The sample as hand-written ways see it: tiles that are decoded into what a launch takes, and results to fill.

All of them read, pad and launch with tilejit's own functions: what differs between ways is how the work is spread, and
not how well somebody wrote a reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.engine.pipeline.evaluation import Evaluator, launches
from tilejit.engine.pipeline.tile_buffers import TileBuffer, TileMemory
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.planner import make_job
from tilejit.kernel.discovery import find_single_kernel
from tilejit.raster.making import apply_kernel, open_raster
from tilejit.raster.options import RunOptions
from tilejit.window import Window, tiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.comparison.task import Task
    from tilejit.engine.planning.planner import Job
    from tilejit.engine.planning.steps import Step

    Array = NDArray[Any]


class Work:
    """A task's kernel applied to its inputs, in this process."""

    def __init__(self, task: Task) -> None:
        self.task = task
        """What is to be done."""
        kernel = find_single_kernel(task.kernel)
        self.kernel = kernel if task.edge is None else kernel.with_edge(task.edge)
        """The kernel."""
        rasters = [open_raster(path, band=band) for path, band in task.inputs]
        self.raster = apply_kernel(self.kernel, rasters, task.parameters)
        """The kernel's results, lazy."""
        self.window = Window(0, 0, task.rows, self.raster.grid.width)
        """The cells that are computed."""

    def job(self, tile: tuple[int, int] | None = None, backend: str = "cpu") -> Job:
        """Plans the sample.

        Args:
            tile: Rows and columns of a tile; None for those that tilejit would choose.
            backend: What computes.
        """
        settings = RunOptions(workers=self.task.cores, backend=backend, tile=tile).settings(self.raster.bands)
        return make_job(self.raster.grid, [Request(self.raster.bands)], settings, self.window)

    def launch(self, job: Job) -> Launch:
        """Compiles the kernel, or loads what was compiled, and all else that the first tile needs."""
        compiled = launches(job)[0]
        Reader(job).call(Window(0, 0, 1, min(16, self.window.width)))  # predictors are compiled too
        return compiled

    def windows(self, tile: tuple[int, int]) -> list[Window]:
        """Returns the tiles of the sample, row by row."""
        return list(tiles(*self.window.shape, *tile))

    def outputs(self, job: Job) -> list[Array]:
        """Returns an array for each result, in fresh memory, as large as the sample."""
        return [np.empty(self.window.shape, dtype) for dtype in job.plan.steps[0].signature.outputs]


@dataclass(frozen=True, slots=True)
class Call:
    """What a launch takes for one tile."""

    window: Window
    """The tile."""
    arrays: list[Array]
    """The cells, padded, and the validity of integers."""
    nodata: Sequence[Any]
    """The nodata value of each result."""
    scalars: Sequence[Any]
    """The values of the kernel's keyword-only parameters."""

    def compute(self, launch: Launch, step: Step) -> list[Array]:
        """Launches it into arrays of its own."""
        outputs = [np.empty(self.window.shape, dtype) for dtype in step.signature.outputs]
        launch(self.arrays, outputs, self.nodata, self.scalars)
        return outputs


class Reader:
    """Decodes tiles in buffers of its own; one for each thread. A call lives until the next."""

    def __init__(self, job: Job) -> None:
        self._job, self._buffers, self._evaluator = job, TileMemory(job.plan), Evaluator(job, ())

    def call(self, window: Window) -> Call:
        """Decodes a tile with its halo and fills what lies outside the raster."""
        buffer, shape = TileBuffer(window, window, self._buffers), self._job.plan.grid.shape
        buffer.decode(self._job.sources, Window(0, 0, *shape))
        buffer.complete(shape, self._job.sources)
        return Call(window, *self._evaluator.first_arguments(buffer))


def place(outputs: Sequence[Array], window: Window, results: Sequence[Array]) -> None:
    """Puts a tile's results where they belong."""
    where = window.slices(Window(0, 0, *outputs[0].shape))
    for output, result in zip(outputs, results, strict=True):
        output[where] = result
