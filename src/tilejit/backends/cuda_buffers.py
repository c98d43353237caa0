"""The buffers that one thread's tiles go through: pinned memory on the host, and memory on the device."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.cuda_adapter import part
from tilejit.backends.cuda_device import one_line
from tilejit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Array = NDArray[Any]

_VIEWS = 16
"""Views of a buffer that are kept: a run has a few tile shapes, a session of arrays may have any number."""


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
