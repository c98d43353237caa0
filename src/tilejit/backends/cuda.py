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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends import ROWS, STOP, simulating
from tilejit.backends.blocks import BlockLaunch, called
from tilejit.backends.cpu import launch_types
from tilejit.backends.cuda_device import (
    Device,
    current_device,
    numba_cuda,
    one_line,
    part,
    speak_c,
    versions,
    why_none,
)
from tilejit.backends.outside import refuse_outside
from tilejit.compiler.emitter.cuda import cuda_source, given_tables
from tilejit.compiler.emitter.passes import hoisted
from tilejit.compiler.emitter.pixels import counters_of
from tilejit.compiler.jit.modules import load_module
from tilejit.errors import BackendError
from tilejit.kernel.block_kernel import BlockKernel
from tilejit.kernel.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from tilejit.backends import Launch, LaunchControl
    from tilejit.compiler.form.kinds import Signature
    from tilejit.compiler.jit.native_function import Functions
    from tilejit.kernel.kernel import Kernel

    Array = NDArray[Any]

BLOCK = (32, 8)
"""Threads of a block in x and y: a warp along a row, so that its loads are one; 256 threads hide their latency."""

_VIEWS = 16
"""Views of a buffer that are kept: a run has a few tile shapes, a session of arrays may have any number."""
_SIMULATOR = threading.Lock()
"""Numba's simulator keeps the running kernel in a global: launches from two threads at once fail."""


class CudaBackend:
    """Compiles kernels with ``numba.cuda``."""

    name = "cuda"

    def why_not(self) -> str | None:
        """Returns what is missing: the package, the driver, a device, or a driver that is new enough."""
        return why_none()

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns the launch, compiled for the current device; it may be called from several threads."""
        problem = why_none()
        if problem is not None:
            raise BackendError(f"backend='cuda' cannot run here: {problem}")
        return _BlockLaunch(kernel, signature) if isinstance(kernel, BlockKernel) else _Launch(kernel, signature)

    def functions(self, kernel: Kernel, signature: Signature) -> Functions:
        """Numba compiles in this process, and for the device."""
        del kernel, signature
        return []

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the generated source; needs no device."""
        return cuda_source(kernel, signature)

    def host_array(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Returns an uninitialised array in pinned memory, from and to which launches copy with no detour."""
        array: Array = numba_cuda().pinned_array(shape, dtype)
        return array

    def device(self) -> Device:
        """Returns the GPU that kernels run on."""
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

    def of(dtype: np.dtype, dimensions: int, layout: str) -> Any:
        return types.Array(from_dtype(dtype), dimensions, layout) if dimensions else from_dtype(dtype)

    _, *known = launch_types(kernel, signature, len(hoisted(kernel).names))  # without a control
    tables = [table.stored(signature.compute) for table in given_tables(kernel, signature)]
    return tuple(of(*one) for one in (*known, *((t.dtype, t.ndim, "C") for t in tables)))


class _Launch:
    """Takes a tile through the device."""

    def __init__(self, kernel: Kernel, signature: Signature) -> None:
        self.function = load_launch(kernel, signature)
        self.kernel, self.counters = kernel, counters_of(kernel, signature)
        self.hoisted = hoisted(kernel)
        self.tables = [table.stored(signature.compute) for table in given_tables(kernel, signature)]
        self.signature = signature
        self.turn: Any = _SIMULATOR if simulating() else contextlib.nullcontext()

    def __call__(self, arrays: Sequence[Array], outputs: Sequence[Array], nodata: Sequence[Any],
                 scalars: Sequence[Any], control: LaunchControl | None = None) -> Counts:  # fmt: skip
        height, width = outputs[0].shape[-2:]
        # What a device has begun it ends: a run stops between tiles.
        if not height * width or (control is not None and control[STOP]):
            return Counts()
        grid = (-(-width // BLOCK[0]), -(-height // BLOCK[1]))
        counts = np.zeros(len(self.counters), np.int64)
        given, scalars = scalars, [*scalars, *self.hoisted.values(scalars, self.signature.compute)]
        with self.turn:
            workspace = _workspace()
            workspace.begin()
            inputs = [workspace.upload(a).device for a in arrays]
            results = [workspace.take(o) for o in outputs]
            numbers = [workspace.upload(s).device if isinstance(s, np.ndarray) else s for s in scalars]
            counter = [workspace.upload(counts)] if self.counters else []
            launch = self.function[grid, BLOCK, workspace.stream]
            after = [*(c.device for c in counter), *(workspace.upload(t).device for t in self.tables)]
            launch(*inputs, *(r.device for r in results), *nodata, *numbers, *after)
            workspace.download(zip([*results, *counter], [*outputs, *[counts] * bool(self.counters)], strict=True))
        if control is not None:
            control[ROWS] += height
        told = counts.tolist()
        if "outside" in self.counters and told[-2]:
            refuse_outside(self.kernel, self.signature, told[-2:], arrays, given, (height, width))
        return Counts.of_launch(self.kernel, self.counters, told, arrays)


class _BlockLaunch(BlockLaunch):
    """Calls a body of device arrays."""

    def __call__(self, arrays: Sequence[Array], outputs: Sequence[Array], nodata: Sequence[Any],
                 scalars: Sequence[Any], control: LaunchControl | None = None) -> Counts:  # fmt: skip
        if not outputs[0].size or (control is not None and control[STOP]):
            return Counts()
        body = self.kernel.device_body  # type: ignore[attr-defined]
        with _SIMULATOR if simulating() else contextlib.nullcontext():
            workspace = _workspace()
            workspace.begin()
            inputs = [workspace.upload(cells).device for cells in self.inputs(arrays)]
            made = [workspace.take(output) for output in outputs]
            given = {**self.scalars(scalars, outputs[0].shape[-2:]), "stream": workspace.stream}
            called(self.kernel, body, [*inputs, *(pair.device for pair in made)], given)
            results = [np.empty_like(output) for output in outputs]
            workspace.download(zip(made, results, strict=True))
        return self.stored(results, arrays, outputs, nodata)


@functools.cache
def _workspace() -> Workspace:
    return Workspace(numba_cuda())


@dataclass(frozen=True, slots=True)
class Pair:
    """Views of one shape into a slot's two buffers."""

    host: Array
    """In pinned memory."""
    device: Any
    """On the device."""


class _Slot:
    """Bytes in pinned memory and on the device, for one argument of the launches of one thread."""

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda
        self.capacity = 0
        self.host: Any = None
        self.device: Any = None
        self.views: dict[tuple[tuple[int, ...], np.dtype], Pair] = {}

    def fit(self, array: Array) -> Pair:
        """Returns views of the array's shape and dtype."""
        key = (array.shape, array.dtype)
        if self.host is None or array.nbytes > self.capacity:
            self._grow(max(1, array.nbytes))
        if key not in self.views:
            if len(self.views) >= _VIEWS:
                self.views.clear()
            buffers = (b[: array.nbytes].view(array.dtype) for b in (self.host, self.device))
            self.views[key] = Pair(*(b.reshape(array.shape) for b in buffers))
        return self.views[key]

    def _grow(self, size: int) -> None:
        self.views.clear()
        self.host = self.device = None
        self.capacity = 0
        try:
            self.host = self.cuda.pinned_array(size, np.uint8)
            self.device = self.cuda.device_array(size, np.uint8)
        except part("cudadrv.driver").CudaAPIError as error:
            raise BackendError(
                f"no room for a buffer of {size / 1e6:.0f} MB, pinned and on the device ({one_line(error)}): "
                "smaller tiles or fewer workers need less"
            ) from error
        self.capacity = size


class Workspace(threading.local):
    """One thread's stream and buffers, which the launches of all kernels share in turn."""

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda
        self.stream = cuda.stream()
        self.slots: list[_Slot] = []
        self.taken = 0

    def begin(self) -> None:
        """Makes all slots free."""
        self.taken = 0

    def take(self, array: Array) -> Pair:
        """Returns the next slot's views of the array's shape."""
        if self.taken == len(self.slots):
            self.slots.append(_Slot(self.cuda))
        self.taken += 1
        return self.slots[self.taken - 1].fit(array)

    def upload(self, array: Array) -> Pair:
        """Queues the copy of an array to the device."""
        pair = self.take(array)
        if not array.size:
            return pair
        source = array
        if not is_pinned(self.cuda, array):
            # The driver would stage it too, and wait. So only the end of the tile waits (benchmarks/gpu.py has both).
            np.copyto(pair.host, array)
            source = pair.host
        pair.device.copy_to_device(source, stream=self.stream)
        return pair

    def download(self, results: Iterable[tuple[Pair, Array]]) -> None:
        """Queues the copies of results to the host, waits for all that is queued, and fills the arrays."""
        staged = []
        for pair, output in results:
            if is_pinned(self.cuda, output):
                pair.device.copy_to_host(output, stream=self.stream)
            else:
                pair.device.copy_to_host(pair.host, stream=self.stream)
                staged.append((output, pair.host))
        self.stream.synchronize()
        for output, host in staged:
            np.copyto(output, host)


def is_pinned(cuda: Any, array: Array) -> bool:
    """Whether an array is C-contiguous and in memory from ``CudaBackend.host_array``, which the card reads itself."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    pinned = getattr(cuda, "PinnedMemory", None)  # the simulator has none
    return pinned is not None and isinstance(owner, pinned) and array.flags.c_contiguous
