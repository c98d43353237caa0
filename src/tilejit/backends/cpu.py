"""Numba on the CPU: a serial tile function that releases the GIL, and one that uses all cores for whole arrays."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.pulse import interruptible, new_pulse
from tilejit.jit.cache import load_module
from tilejit.jit.native_function import NativeFunction
from tilejit.jit.object_code import compiler
from tilejit.jit.private_module import private_module
from tilejit.kernel.operations import is_open_ended, operations
from tilejit.kernel.tally import Tally
from tilejit.language.cpu import cpu_source
from tilejit.language.stores import counters_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.backends.pulse import Pulse
    from tilejit.kernel.kernel import Kernel
    from tilejit.language.signature import Signature

_SHORT, _SHORT_OPEN_ENDED = 2e9, 1 << 10
"""Operations that a core does in about a second, and pixels of a kernel whose text does not tell how long one takes: a
third of a second for 20,000 sines each."""
_PARALLEL = threading.Lock()
"""The workqueue layer, the only one that is always there, aborts the process when two threads are in it at once."""


class CpuBackend:
    """Compiles kernels with ``numba.njit``."""

    name = "cpu"

    def why_not(self) -> str | None:
        """A CPU is always there."""
        return None

    def compile(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns the serial ``nogil`` launch, to be called from several threads."""
        return _tile(kernel, signature)

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the module of the serial launch."""
        return cpu_source(kernel, signature, whole=False)

    def compile_whole(self, kernel: Kernel, signature: Signature, workers: int) -> Launch:
        """Returns a launch that computes the inner part of whole arrays on ``workers`` threads.

        Neither Ctrl-C nor a pulse stops it: give it no more than `short_pixels` at once.
        """
        return _whole(kernel, signature, workers)


class _Count:
    """Calls a compiled function, with an array to count in where it counts anything."""

    def __init__(self, kernel: Kernel, signature: Signature) -> None:
        self._name, self._counters = kernel.name, counters_of(kernel, signature)

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Tally:
        if not self._counters:
            function(*arguments)
            return Tally()
        counts = np.zeros(len(self._counters), np.int64)
        function(*arguments, counts)
        return Tally.of(self._name, self._counters, counts.tolist())


class _Whole:
    """Hands whole arrays to the function that runs on all threads.

    Args:
        function: Numba's.
        workers: How many threads it uses.
        count: What it counts.
    """

    def __init__(self, function: Any, workers: int, count: _Count) -> None:
        import numba

        self._function, self._get, self._set = function, numba.get_num_threads, numba.set_num_threads
        self._workers = min(workers, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        self._count = count

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any], pulse: Pulse | None = None) -> Tally:  # fmt: skip
        del pulse  # nothing stops it: callers give it no more than `short_pixels`
        with _PARALLEL:
            before = self._get()
            if before != self._workers:  # setting it takes longer than asking for it
                self._set(self._workers)
            try:
                return self._count(self._function, *arrays, *outputs, *nodata, *scalars)
            finally:
                if before != self._workers:
                    self._set(before)


class _Tile:
    """Hands a tile to the machine code."""

    def __init__(self, function: NativeFunction, count: _Count, short: int) -> None:
        self.function, self._count, self._short = function, count, short

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any], pulse: Pulse | None = None) -> Tally:  # fmt: skip
        pulse = new_pulse() if pulse is None else pulse
        arguments = (pulse, *arrays, *outputs, *nodata, *scalars)
        if outputs[0].size <= self._short:
            return self._count(self.function, *arguments)
        return interruptible(lambda: self._count(self.function, *arguments), pulse)


@functools.lru_cache(maxsize=512)
def short_pixels(kernel: Kernel) -> int:
    """The pixels that a core computes before somebody who pressed Ctrl-C gets impatient."""
    return _SHORT_OPEN_ENDED if is_open_ended(kernel) else int(_SHORT / max(1, operations(kernel)))


@functools.lru_cache(maxsize=512)
def _tile(kernel: Kernel, signature: Signature) -> _Tile:
    text = cpu_source(kernel, signature, whole=False)
    function = NativeFunction(text, "tile", kernel.name, kernel.c_functions)
    return _Tile(function, _Count(kernel, signature), short_pixels(kernel))


@functools.lru_cache(maxsize=512)
def _whole(kernel: Kernel, signature: Signature, workers: int) -> _Whole:
    return _Whole(_whole_function(kernel, signature), workers, _Count(kernel, signature))


@functools.lru_cache(maxsize=512)
def _whole_function(kernel: Kernel, signature: Signature) -> Any:
    text = cpu_source(kernel, signature, whole=True)
    if kernel.form.c_functions:
        return private_module(text, kernel.name, kernel.c_functions).whole
    return load_module(text, kernel.name, compiler(), "whole").whole
