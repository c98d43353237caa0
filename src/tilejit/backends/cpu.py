"""Numba on the CPU: serial functions without the GIL, one for tiles, and one for rows of whole arrays."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.backends.pulse import interruptible, new_pulse
from tilejit.compiler.cpu import cpu_source
from tilejit.compiler.jit.native_function import NativeFunction
from tilejit.compiler.pixels import counters_of
from tilejit.kernel.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tilejit.backends.base import Launch
    from tilejit.backends.pulse import Pulse
    from tilejit.compiler.kinds import Signature
    from tilejit.kernel.kernel import Kernel

_SHORT, _SHORT_OPEN_ENDED = 2e9, 1 << 10
"""Operations that a core does in about a second, and pixels of a kernel whose text does not tell how long one takes: a
third of a second for 20,000 sines each."""


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

    def compile_whole(self, kernel: Kernel, signature: Signature) -> Launch:
        """Returns the serial launch whose outputs have the shape of its inputs, of which it fills the inner rows.

        It goes on until it is done or its pulse stops it, and does not count its rows.
        """
        return _whole(kernel, signature)


class CpuLaunch:
    """Calls a compiled function, with an array to count in where it counts anything.

    Args:
        function: What was compiled of `cpu_source`.
        kernel: Of this kernel.
        signature: For these dtypes.
    """

    def __init__(self, function: Callable[..., Any], kernel: Kernel, signature: Signature) -> None:
        self._function, self._name, self._counters = function, kernel.name, counters_of(kernel, signature)

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any], pulse: Pulse | None = None) -> Counts:  # fmt: skip
        """Computes one tile, or some rows of whole arrays: see `Launch`."""
        arguments = (new_pulse() if pulse is None else pulse, *arrays, *outputs, *nodata, *scalars)
        if not self._counters:
            self._function(*arguments)
            return Counts()
        counts = np.zeros(len(self._counters), np.int64)
        self._function(*arguments, counts)
        return Counts.of(self._name, self._counters, counts.tolist())


class _Tile:
    """Hands a tile to the machine code, so that Ctrl-C stops it if it takes long."""

    def __init__(self, launch: CpuLaunch, short: int) -> None:
        self._launch, self._short = launch, short

    def __call__(self, arrays: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], nodata: Sequence[Any],
                 scalars: Sequence[Any], pulse: Pulse | None = None) -> Counts:  # fmt: skip
        pulse = new_pulse() if pulse is None else pulse
        if outputs[0].size <= self._short:
            return self._launch(arrays, outputs, nodata, scalars, pulse)
        return interruptible(lambda: self._launch(arrays, outputs, nodata, scalars, pulse), pulse)


@functools.lru_cache(maxsize=512)
def short_pixels(kernel: Kernel) -> int:
    """The pixels that a core computes before somebody who pressed Ctrl-C gets impatient."""
    return _SHORT_OPEN_ENDED if kernel.is_open_ended else int(_SHORT / max(1, kernel.operations))


@functools.lru_cache(maxsize=512)
def _tile(kernel: Kernel, signature: Signature) -> _Tile:
    return _Tile(_launch(kernel, signature, "tile"), short_pixels(kernel))


@functools.lru_cache(maxsize=512)
def _whole(kernel: Kernel, signature: Signature) -> CpuLaunch:
    return _launch(kernel, signature, "whole")


def _launch(kernel: Kernel, signature: Signature, entry: str) -> CpuLaunch:
    text = cpu_source(kernel, signature, whole=entry == "whole")
    return CpuLaunch(NativeFunction(text, entry, kernel.name, kernel.c_functions), kernel, signature)
