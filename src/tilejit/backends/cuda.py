"""numba-cuda: host arrays in and out, one stream and one set of buffers for each calling thread.

A launch copies its inputs to the device, runs the kernel and copies the results back, all queued on the thread's own
stream, and waits. So one thread keeps the card busy for a third of the time, and three threads keep both copy engines
and the kernels going at once; the waits and the copies release the GIL. Buffers grow to the largest tile that their
thread has seen and stay: the driver's own allocation stops the whole device.

Every import of CUDA is in this file and in ``ptx.py``, inside functions, because it takes half a second.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.cache import load_module
from tilejit.errors import BackendError
from tilejit.language.cuda import counts_collisions, cuda_source
from tilejit.language.functions import MATH
from tilejit.language.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.kernel import Kernel
    from tilejit.language.signature import Signature

    Array = NDArray[Any]

BLOCK = (32, 8)
"""Threads of a block in x and y: a warp along a row, so that its loads are one; 256 threads hide their latency."""

_INSTALL = "pip install 'tilejit[cuda]'"
_SIMULATOR = threading.Lock()
"""Numba's simulator keeps the running kernel in a global: launches from two threads at once fail."""
_VIEWS = 16
"""Views of a buffer that are kept: a run has a few tile shapes, a session of arrays may have any number."""


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU that kernels run on."""

    name: str
    """Its name."""
    memory: int
    """Its memory in bytes."""
    compute_capability: tuple[int, int]
    """Its architecture: 8.0 is A100, 9.0 H100 and H200."""
    driver: tuple[int, int]
    """The CUDA version that its driver supports."""

    def __str__(self) -> str:
        return (f"{self.name}, {self.memory / 2**30:.0f} GiB, compute capability {_dotted(self.compute_capability)}, "
                f"driver for CUDA {_dotted(self.driver)}")  # fmt: skip


class CudaBackend:
    """Compiles kernels with ``numba.cuda``."""

    name = "cuda"

    def why_not(self) -> str | None:
        """Returns what is missing: the package, the driver, a device, or a driver that is new enough."""
        if simulating():
            return None
        if find_spec("numba_cuda") is None:
            return f"numba-cuda is not installed: {_INSTALL}"
        try:
            return _problem(numba_cuda())
        except ImportError as error:  # Numba's CudaSupportError is one too
            return f"CUDA cannot be loaded: {_one_line(error)}"

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns the launch, compiled for the current device; it may be called from several threads.

        Raises:
            BackendError: CUDA cannot run here.
        """
        problem = self.why_not()
        if problem is not None:
            raise BackendError(f"backend='cuda' cannot run here: {problem}")
        return _Launch(load_launch(kernel, signature), counts=counts_collisions(signature))

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
        problem = self.why_not()
        if problem is not None:
            raise BackendError(f"no CUDA device: {problem}")
        if simulating():
            return Device("Numba's CUDA simulator", 0, (0, 0), (0, 0))
        return _device(numba_cuda())


def simulating() -> bool:
    """Whether NUMBA_ENABLE_CUDASIM is set: kernels run in Python, for tests."""
    from numba.core import config

    return bool(config.ENABLE_CUDASIM)


@functools.cache
def numba_cuda() -> ModuleType:
    """Imports ``numba.cuda`` and mends what stands in its way.

    Raises:
        ImportError: It cannot be loaded.
    """
    if not hasattr(np, "row_stack"):
        # numba-cuda 0.30 looks it up at the first compile, NumPy 2.5 removed it; upstream declined (#907, #916).
        setattr(np, "row_stack", np.vstack)  # noqa: B010 - NumPy's stubs do not have it
    cuda = importlib.import_module("numba.cuda")
    if not simulating():
        # A small tile is no mistake of the user's: under -W error the warning would stop the run.
        config = importlib.import_module("numba.cuda.core.config" if find_spec("numba_cuda") else "numba.core.config")
        config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]
    return cuda


def _problem(cuda: Any) -> str | None:
    from numba.cuda.cudadrv import nvrtc, nvvm

    if not nvvm.is_available():
        return f"libNVVM, the compiler, cannot be found: {_INSTALL}"
    if not cuda.is_available():
        return f"the CUDA driver does not answer: {_one_line(cuda.cuda_error())}"
    if not len(cuda.gpus):
        return "the CUDA driver sees no GPU; CUDA_VISIBLE_DEVICES may hide it"
    return too_old(_device(cuda), cuda.runtime.get_version(), nvrtc.get_lowest_supported_cc())


def too_old(device: Device, toolkit: tuple[int, int], least: tuple[int, int]) -> str | None:
    """Returns why a device or its driver does not go with the compiler, or None.

    Args:
        device: The device.
        toolkit: The CUDA version of the compiler.
        least: The lowest compute capability that it compiles for.
    """
    if device.driver[0] < toolkit[0]:
        return (f"its driver supports CUDA {_dotted(device.driver)} and the compiler is of CUDA {_dotted(toolkit)}: "
                f"update the driver, or pip install 'numba-cuda[cu{device.driver[0]}]'")  # fmt: skip
    if device.compute_capability < least:
        return (f"{device.name} has compute capability {_dotted(device.compute_capability)}, and the compiler of CUDA "
                f"{_dotted(toolkit)} needs {_dotted(least)}: an older one is pip install 'numba-cuda[cu12]'")  # fmt: skip
    return None


def _device(cuda: Any) -> Device:
    """Describes the first device, without the context that would take half a gigabyte of it."""
    from numba.cuda.cudadrv.driver import driver

    device = cuda.gpus[0]
    major, minor = device.compute_capability
    return Device(
        name=str(device.name),
        memory=int(driver.cuDeviceTotalMem(device.id)),
        compute_capability=(int(major), int(minor)),
        driver=driver.get_version(),
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


@functools.lru_cache(maxsize=512)
def load_launch(kernel: Kernel, signature: Signature) -> Any:
    """Returns the generated module's ``launch``, compiled unless Numba simulates or there is no device."""
    import numba

    cuda = numba_cuda()
    version = f"numba {numba.__version__}, {_numba_cuda_version()}"
    text = cuda_source(kernel, signature)
    if simulating():  # its jit does not know the word
        text = text.replace('"forceinline": True, ', "")
    module = load_module(text, f"{kernel.name}_cuda", version)
    if simulating():
        _speak_c(module)
    elif cuda.is_available():
        # Before the worker threads start: Numba compiles under a lock that would stop them all.
        module.launch.compile(argument_types(kernel, signature))
    return module.launch


def _numba_cuda_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"numba-cuda {version('numba-cuda')}"
    except PackageNotFoundError:
        return "no numba-cuda"


def argument_types(kernel: Kernel, signature: Signature) -> tuple[Any, ...]:
    """Returns the Numba types of what ``launch`` is called with."""
    from numba import types
    from numba.np.numpy_support import from_dtype

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
    counter = [array(np.dtype(np.int64), 1)] * counts_collisions(signature)
    outputs = signature.outputs
    return (*inputs, *map(array, outputs), *map(from_dtype, outputs), *scalars, *counter)


class _Launch:
    """Takes a tile through the device."""

    def __init__(self, function: Any, *, counts: bool) -> None:
        self.function = function
        self.counts = counts
        self.turn: Any = _SIMULATOR if simulating() else contextlib.nullcontext()

    def __call__(self, arrays: Sequence[Array], outputs: Sequence[Array], nodata: Sequence[Any],
                 scalars: Sequence[Any]) -> int:  # fmt: skip
        height, width = outputs[0].shape
        if not height * width:
            return 0
        grid = (-(-width // BLOCK[0]), -(-height // BLOCK[1]))
        collisions = np.zeros(1, np.int64)
        with self.turn:
            workspace = _workspace()
            workspace.begin()
            inputs = [workspace.upload(a) for a in arrays]
            results = [workspace.take(o) for o in outputs]
            numbers = [workspace.upload(s) if isinstance(s, np.ndarray) else s for s in scalars]
            counter = [workspace.upload(collisions)] if self.counts else []
            launch = self.function[grid, BLOCK, workspace.stream]
            launch(*inputs, *(r.device for r in results), *nodata, *numbers, *counter)
            workspace.download([*zip(results, outputs, strict=True)])
            if self.counts:
                counter[0].copy_to_host(collisions, stream=workspace.stream)
                workspace.stream.synchronize()
        return int(collisions[0])


@dataclass(frozen=True, slots=True)
class _Pair:
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
        self.views: dict[tuple[tuple[int, ...], np.dtype], _Pair] = {}

    def fit(self, array: Array) -> _Pair:
        """Returns views of the array's shape and dtype."""
        key = (array.shape, array.dtype)
        if array.nbytes > self.capacity:
            self._grow(array.nbytes)
        if key not in self.views:
            if len(self.views) >= _VIEWS:
                self.views.clear()
            size = array.nbytes
            self.views[key] = _Pair(*(b[:size].view(array.dtype).reshape(array.shape) for b in (self.host, self.device)))
        return self.views[key]

    def _grow(self, size: int) -> None:
        from numba.cuda.cudadrv.driver import CudaAPIError

        self.views.clear()
        self.host = self.device = None
        self.capacity = 0
        try:
            self.host = self.cuda.pinned_array(size, np.uint8)
            self.device = self.cuda.device_array(size, np.uint8)
        except CudaAPIError as error:
            raise BackendError(
                f"no room for a buffer of {size / 1e6:.0f} MB, pinned and on the device ({_one_line(error)}): "
                "smaller tiles or fewer workers need less"
            ) from error
        self.capacity = size


class _Workspace(threading.local):
    """One thread's stream and buffers, which the launches of all kernels share in turn."""

    def __init__(self) -> None:
        self.cuda: Any = numba_cuda()
        self.stream = self.cuda.stream()
        self.slots: list[_Slot] = []
        self.taken = 0

    def begin(self) -> None:
        """Makes all slots free."""
        self.taken = 0

    def take(self, array: Array) -> _Pair:
        """Returns the next slot's views of the array's shape."""
        if self.taken == len(self.slots):
            self.slots.append(_Slot(self.cuda))
        self.taken += 1
        return self.slots[self.taken - 1].fit(array)

    def upload(self, array: Array) -> Any:
        """Queues the copy of an array to the device and returns it there."""
        pair = self.take(array)
        if array.size:
            if is_pinned(array):
                source = array
            else:
                # The driver would stage it too, but in its own time: this copy is at work beside other threads' ones.
                np.copyto(pair.host, array)
                source = pair.host
            pair.device.copy_to_device(source, stream=self.stream)
        return pair.device

    def download(self, results: Sequence[tuple[_Pair, Array]]) -> None:
        """Queues the copies of results to the host, waits for all that is queued, and fills the arrays."""
        direct = [is_pinned(output) for _, output in results]
        for (pair, output), straight in zip(results, direct, strict=True):
            pair.device.copy_to_host(output if straight else pair.host, stream=self.stream)
        self.stream.synchronize()
        for (pair, output), straight in zip(results, direct, strict=True):
            if not straight:
                np.copyto(output, pair.host)


@functools.cache
def _workspace() -> _Workspace:
    return _Workspace()


def is_pinned(array: Array) -> bool:
    """Whether an array is C-contiguous in memory from ``CudaBackend.host_array``: only such copies run beside a kernel."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    pinned = getattr(numba_cuda(), "PinnedMemory", None)
    return pinned is not None and isinstance(owner, pinned) and array.flags.c_contiguous


def _speak_c(module: Any) -> None:
    """Lets a module behave in the simulator as on a device, where no arithmetic raises or warns."""
    module.math = SimpleNamespace(**{name: getattr(np, name, None) or _of_python(name) for name in MATH})
    module.int = lambda value: _whole(value, int)
    module.round = lambda value: _whole(value, round)
    module.launch.fn = _Silent(module.launch.fn)


class _Silent:
    """A function without NumPy's warnings: errstate holds for one thread, and the simulator has one for each pixel."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.__globals__ = function.__globals__  # where the simulator puts its own ``cuda``

    def __call__(self, *arguments: Any) -> None:
        with np.errstate(all="ignore"):
            self.function(*arguments)


def _of_python(name: str) -> Callable[[Any], Any]:
    """A function of ``math`` that NumPy does not have: erf, erfc, gamma, lgamma."""

    def function(value: Any) -> Any:
        try:
            return getattr(math, name)(value)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return function


def _whole(value: Any, function: Callable[[Any], int]) -> int:
    return function(value) if math.isfinite(value) else -(2**63)
