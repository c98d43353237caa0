"""Compiled code by hand: serial, in threads that the GIL lets go, and with Numba's own parallel loops."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.backends.cpu import CpuLaunch
from tilejit.backends.numba_info import LAYERS, threading_layers
from tilejit.comparison.processes import queued_seconds
from tilejit.comparison.threads import on_threads
from tilejit.comparison.ways.base import Run, Way, stages_of
from tilejit.comparison.work import Reader, Work, place
from tilejit.compiler.cpu import cpu_source
from tilejit.compiler.jit.machine_code import OPTIONS
from tilejit.compiler.jit.object_compiler import module_of
from tilejit.engine.pipeline.stopwatch import Stopwatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.comparison.task import Task
    from tilejit.comparison.ways.base import Stages
    from tilejit.compiler.kinds import Signature
    from tilejit.kernel.kernel import Kernel

    Array = NDArray[Any]


class _Compiled(Run):
    """The kernel, compiled, and its tiles."""

    def __init__(self, task: Task, tile: tuple[int, int] | None = None) -> None:
        self.task, self.work = task, Work(task)
        self.job = self.work.job(tile)
        began = time.perf_counter()
        self.launch = self.work.launch(self.job)
        self.compile = time.perf_counter() - began


class _Whole(_Compiled):
    """The whole sample is decoded, then computed: how one calls a compiled function on an array."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, (task.rows, 1 << 40))

    def __call__(self) -> Stages:
        self.outputs, watch = self.work.outputs(self.job), Stopwatch()
        with watch.stage("decode"):
            call = Reader(self.job).call(self.work.window)
        with watch.stage("compute"):
            self.launch(call.arrays, self.outputs, call.nodata, call.scalars)
        return stages_of(watch)


class NumbaSerial(Way):
    """One call of a compiled function."""

    name: ClassVar[str] = "numba"
    is_like: ClassVar[str] = "a C loop"
    is_serial: ClassVar[bool] = True

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Whole(task)


_PARALLEL = {
    OPTIONS: '"error_model": "numpy", "nogil": True, "parallel": True',
    "from numba import njit": "from numba import njit, prange",
    "for _y in range(_height):": "for _y in prange(_height):",
    "for _strip in range(": "for _strip in prange(",
    "if _pulse[0] == 0:": "if True:",
}
"""What makes a parallel loop of tilejit's loop over the rows of an array, which nothing can stop then."""


def parallel_source(kernel: Kernel, signature: Signature) -> str:
    """Returns the module of whole arrays with Numba's parallel loop in it."""
    text = cpu_source(kernel, signature, whole=True)
    for ours, numbas in _PARALLEL.items():
        text = text.replace(ours, numbas)
    return text


def _parallel_launch(kernel: Kernel, signature: Signature) -> Launch:
    text = parallel_source(kernel, signature)
    return CpuLaunch(module_of(text, f"_tilejit_{kernel.name}", kernel.c_functions).whole, kernel, signature)


class _Parallel(_Whole):
    """The same with a parallel loop. Its outputs have a margin as wide as the kernel's radius."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        began = time.perf_counter()
        kernel, step = self.work.kernel, self.job.plan.steps[0]
        self._whole = _parallel_launch(kernel, step.signature)
        call = Reader(self.job).call(self.work.window)
        rows, cols = (min(2 * r + 2, n) for r, n in zip(kernel.radius, self.work.window.shape, strict=True))
        arrays = [np.ascontiguousarray(array[:rows, :cols]) for array in call.arrays]
        outputs = [np.empty((rows, cols), dtype) for dtype in step.signature.outputs]
        self._whole(arrays, outputs, call.nodata, call.scalars)
        self.compile += time.perf_counter() - began

    def __call__(self) -> Stages:
        watch, step = Stopwatch(), self.job.plan.steps[0]
        with watch.stage("decode"):
            call = Reader(self.job).call(self.work.window)
        cpu, began = time.process_time(), time.perf_counter()
        outputs = [np.empty(call.arrays[0].shape, dtype) for dtype in step.signature.outputs]
        self._whole(call.arrays, outputs, call.nodata, call.scalars)
        spent = self.task.cores * (time.perf_counter() - began), time.process_time() - cpu
        rows, cols = self.work.kernel.radius
        height, width = self.work.window.shape
        self.outputs = [output[rows : rows + height, cols : cols + width] for output in outputs]
        decoded = watch.stages()["decode"]
        return {"decode": (decoded.wall, decoded.cpu), "compute": spent}


class NumbaParallel(Way):
    """``parallel=True`` on one threading layer."""

    is_like: ClassVar[str] = "#pragma omp parallel for"
    name: str  # type: ignore[misc] # each layer is a way of its own

    def __init__(self, layer: str) -> None:
        self.layer, self.name = layer, f"numba parallel, {layer}"

    def why_not(self) -> str | None:
        """Whether the layer is there."""
        if self.layer in threading_layers():
            return None
        advice = {"tbb": "pip install tbb", "omp": "it needs an OpenMP runtime"}.get(self.layer, LAYERS[self.layer])
        return f"not installed: {advice}"

    def environment(self, task: Task) -> dict[str, str]:
        """Chooses the layer."""
        return {"NUMBA_THREADING_LAYER": self.layer, "NUMBA_NUM_THREADS": str(task.cores)}

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Parallel(task)


class _Threads(_Compiled):
    """Threads that each decode and compute tile after tile."""

    def __call__(self) -> Stages:
        self.outputs, watch = self.work.outputs(self.job), Stopwatch()
        waiting, queued = iter(self.work.windows(self.job.plan.tile)), [0.0]
        on_threads(lambda: self._loop(waiting, watch, queued), self.task.cores)
        return stages_of(watch, queued)

    def _loop(self, waiting: Any, watch: Stopwatch, queued: list[float]) -> None:
        reader, step = Reader(self.job), self.job.plan.steps[0]
        for window in waiting:
            with watch.stage("decode"):
                call = reader.call(window)
            with watch.stage("compute"):
                place(self.outputs, window, call.compute(self.launch, step))
        queued.append(queued_seconds())


class NumbaThreads(Way):
    """``nogil=True`` in threads of one's own."""

    name: ClassVar[str] = "threads, nogil numba"
    is_like: ClassVar[str] = "pthreads"

    def start(self, task: Task) -> Run:
        """Makes ready."""
        return _Threads(task)
