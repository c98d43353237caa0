"""Numba on the CPU: a serial tile function that releases the GIL, and one that uses all cores for whole arrays."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tilejit.jit_cache import load_module
from tilejit.language.cpu import cpu_source
from tilejit.native_function import NativeFunction
from tilejit.object_code import compiler
from tilejit.private_module import private_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.kernel import Kernel
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
        import numba

        function = _whole(kernel, signature)
        most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]

        def launch(arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                   scalars: Sequence[Any]) -> int:  # fmt: skip
            with _PARALLEL, _threads(min(workers, most)):
                return int(function(*arrays, *outputs, *nodata, *scalars))

        return launch


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Has Numba use so many threads, and leaves its setting as it was; setting it takes longer than asking for it."""
    import numba

    before = numba.get_num_threads()
    if count == before:
        yield
        return
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)


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
def _whole(kernel: Kernel, signature: Signature) -> Any:
    text = cpu_source(kernel, signature, whole=True)
    if kernel.form.c_functions:
        return private_module(text, kernel.name, kernel.c_functions).whole
    return load_module(text, kernel.name, compiler()).whole
