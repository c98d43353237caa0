"""numba-cuda: host arrays in and out, one stream and one set of buffers for each calling thread.

A launch copies its inputs to the device, runs the kernel and copies the results back, all queued on the thread's own
stream, and waits. A tile's three steps follow one another, so it takes three threads to keep both directions of the bus
and the kernels going at once; the waits and the copies release the GIL. Buffers grow to the largest tile that their
thread has seen and stay, because freeing device memory stops the whole device.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.cuda_adapter import numba_cuda, part, simulating, versions
from tilejit.backends.cuda_buffers import Workspace
from tilejit.backends.cuda_device import Device, current_device, why_none
from tilejit.backends.cuda_simulator import speak_c
from tilejit.backends.pulse import ROWS, STOP
from tilejit.compiler.cuda import cuda_source
from tilejit.compiler.jit.modules import load_module
from tilejit.compiler.kinds import Kind
from tilejit.compiler.passes import hoisted
from tilejit.compiler.pixels import counters_of
from tilejit.errors import BackendError
from tilejit.kernel.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.backends.pulse import Pulse
    from tilejit.compiler.kinds import Signature
    from tilejit.kernel.kernel import Kernel

    Array = NDArray[Any]

BLOCK = (32, 8)
"""Threads of a block in x and y: a warp along a row, so that its loads are one; 256 threads hide their latency."""

_SIMULATOR = threading.Lock()
"""Numba's simulator keeps the running kernel in a global: launches from two threads at once fail."""


class CudaBackend:
    """Compiles kernels with ``numba.cuda``."""

    name = "cuda"

    def why_not(self) -> str | None:
        """Returns what is missing: the package, the driver, a device, or a driver that is new enough."""
        return why_none()

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns the launch, compiled for the current device; it may be called from several threads.

        Raises:
            BackendError: CUDA cannot run here.
        """
        problem = why_none()
        if problem is not None:
            raise BackendError(f"backend='cuda' cannot run here: {problem}")
        return _Launch(kernel, signature)

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the generated source; needs no device."""
        return cuda_source(kernel, signature)

    def host_array(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Returns an uninitialised array in pinned memory, from and to which launches copy with no detour."""
        array: Array = numba_cuda().pinned_array(shape, dtype)
        return array

    def device(self) -> Device:
        """Returns the GPU that kernels run on.

        Raises:
            BackendError: There is none.
        """
        return current_device()


@functools.lru_cache(maxsize=512)
def load_launch(kernel: Kernel, signature: Signature) -> Any:
    """Returns the generated module's ``launch``, compiled unless Numba simulates or there is no device."""
    text = cuda_source(kernel, signature)
    if simulating():  # its jit does not know the word
        text = text.replace('"forceinline": True, ', "")
    module = load_module(text, f"{kernel.name}_cuda", versions(), "launch")
    if simulating():
        speak_c(module)
    elif numba_cuda().is_available():
        # Before the worker threads start: Numba compiles under a lock that would stop them all.
        module.launch.compile(argument_types(kernel, signature))
    return module.launch


def argument_types(kernel: Kernel, signature: Signature) -> tuple[Any, ...]:
    """Returns the Numba types of what ``launch`` is called with."""
    types, from_dtype = part("types"), part("np.numpy_support").from_dtype

    def array(dtype: np.dtype, dimensions: int = 2) -> Any:
        return types.Array(from_dtype(dtype), dimensions, "C")

    inputs: list[Any] = []
    for raster, dtype in zip(kernel.rasters, signature.inputs, strict=True):
        inputs += [array(dtype)] if raster.dtype is None else [array(dtype), array(np.dtype(np.uint8))]
    numbers = {Kind.FLOAT: from_dtype(signature.compute), Kind.INT: types.int64, Kind.BOOL: types.boolean}
    scalars = [
        array(signature.compute, 1)
        if s.quantity is not None and s.quantity.axis != "grid" and not s.quantity.is_index
        else numbers[s.kind]
        for s in kernel.scalars
    ]
    scalars += [from_dtype(signature.compute)] * len(hoisted(kernel).names)
    counter = [array(np.dtype(np.int64), 1)] * bool(counters_of(kernel, signature))
    outputs = signature.outputs
    return (*inputs, *map(array, outputs), *map(from_dtype, outputs), *scalars, *counter)


class _Launch:
    """Takes a tile through the device."""

    def __init__(self, kernel: Kernel, signature: Signature) -> None:
        self.function = load_launch(kernel, signature)
        self.kernel, self.counters = kernel, counters_of(kernel, signature)
        self.hoisted = hoisted(kernel)
        self.compute = signature.compute
        self.turn: Any = _SIMULATOR if simulating() else contextlib.nullcontext()

    def __call__(self, arrays: Sequence[Array], outputs: Sequence[Array], nodata: Sequence[Any],
                 scalars: Sequence[Any], pulse: Pulse | None = None) -> Counts:  # fmt: skip
        height, width = outputs[0].shape
        # What a device has begun it ends: a run stops between tiles.
        if not height * width or (pulse is not None and pulse[STOP]):
            return Counts()
        grid = (-(-width // BLOCK[0]), -(-height // BLOCK[1]))
        counts = np.zeros(len(self.counters), np.int64)
        scalars = [*scalars, *self.hoisted.values(scalars, self.compute)]
        with self.turn:
            workspace = _workspace()
            workspace.begin()
            inputs = [workspace.upload(a).device for a in arrays]
            results = [workspace.take(o) for o in outputs]
            numbers = [workspace.upload(s).device if isinstance(s, np.ndarray) else s for s in scalars]
            counter = [workspace.upload(counts)] if self.counters else []
            launch = self.function[grid, BLOCK, workspace.stream]
            launch(*inputs, *(r.device for r in results), *nodata, *numbers, *(c.device for c in counter))
            workspace.download(zip([*results, *counter], [*outputs, *[counts] * bool(self.counters)], strict=True))
        if pulse is not None:
            pulse[ROWS] += height
        return Counts.of(self.kernel.name, self.counters, counts.tolist())


@functools.cache
def _workspace() -> Workspace:
    return Workspace(numba_cuda())
