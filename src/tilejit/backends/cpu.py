"""Numba on the CPU: a serial tile function that releases the GIL, and one that uses all cores for whole arrays."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from tilejit.jit.cache import load_module
from tilejit.jit.native_function import NativeFunction
from tilejit.jit.object_code import compiler
from tilejit.jit.private_module import private_module
from tilejit.language.cpu import cpu_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.kernel.kernel import Kernel
    from tilejit.language.signature import Signature

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
        """Returns a launch that computes the inner part of whole arrays on ``workers`` threads."""
        return _whole(kernel, signature, workers)


class _Whole:
    """Hands whole arrays to the function that runs on all threads.

    Args:
        function: Numba's.
        workers: How many threads it uses.
    """

    def __init__(self, function: Any, workers: int) -> None:
        import numba

        self._function, self._get, self._set = function, numba.get_num_threads, numba.set_num_threads
        self._workers = min(workers, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any]) -> int:  # fmt: skip
        with _PARALLEL:
            before = self._get()
            if before != self._workers:  # setting it takes longer than asking for it
                self._set(self._workers)
            try:
                return int(self._function(*arrays, *outputs, *nodata, *scalars))
            finally:
                if before != self._workers:
                    self._set(before)


class _Tile:
    """Hands a tile to the machine code."""

    def __init__(self, function: NativeFunction) -> None:
        self.function = function

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any]) -> int:  # fmt: skip
        return self.function(*arrays, *outputs, *nodata, *scalars)


@functools.lru_cache(maxsize=512)
def _tile(kernel: Kernel, signature: Signature) -> _Tile:
    text = cpu_source(kernel, signature, whole=False)
    return _Tile(NativeFunction(text, "tile", kernel.name, kernel.c_functions))


@functools.lru_cache(maxsize=512)
def _whole(kernel: Kernel, signature: Signature, workers: int) -> _Whole:
    return _Whole(_whole_function(kernel, signature), workers)


@functools.lru_cache(maxsize=512)
def _whole_function(kernel: Kernel, signature: Signature) -> Any:
    text = cpu_source(kernel, signature, whole=True)
    if kernel.form.c_functions:
        return private_module(text, kernel.name, kernel.c_functions).whole
    return load_module(text, kernel.name, compiler(), "whole").whole
