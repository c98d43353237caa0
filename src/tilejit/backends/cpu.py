"""Numba on the CPU: a serial tile function that releases the GIL, and one that uses all cores for whole arrays."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from tilejit.jit_cache import load_module
from tilejit.language.cpu import cpu_source
from tilejit.private_module import private_module

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        return _Call(_function(kernel, signature, whole=False))

    def source(self, kernel: Kernel, signature: Signature) -> str:
        """Returns the module of the serial launch."""
        return cpu_source(kernel, signature, whole=False)

    def compile_whole(self, kernel: Kernel, signature: Signature, workers: int) -> Launch:
        """Returns a launch that computes the inner part of whole arrays on ``workers`` threads."""
        import numba

        function = _function(kernel, signature, whole=True)
        most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]

        def launch(arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                   scalars: Sequence[Any]) -> int:  # fmt: skip
            with _PARALLEL:
                before = numba.get_num_threads()
                numba.set_num_threads(min(workers, most))
                try:
                    return int(function(*arrays, *outputs, *nodata, *scalars))
                finally:
                    numba.set_num_threads(before)

        return launch


class _Call:
    """Hands a tile to the compiled function."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any]) -> int:  # fmt: skip
        return int(self.function(*arrays, *outputs, *nodata, *scalars))


@functools.lru_cache(maxsize=512)
def _function(kernel: Kernel, signature: Signature, *, whole: bool) -> Any:
    import numba

    text = cpu_source(kernel, signature, whole=whole)
    if kernel.form.c_functions:
        module = private_module(text, kernel.name, kernel.c_functions)
    else:
        module = load_module(text, kernel.name, f"numba {numba.__version__}")
    return module.whole if whole else module.tile
