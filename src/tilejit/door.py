"""What a call of a kernel does: arrays are computed at once, Rasters become a lazy Raster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.cores import available_cores
from tilejit.dispatch import choose_backend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.kernel import Kernel


def door(kernel: Kernel, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Runs ``kernel`` over arrays, or applies it to Rasters; see `Kernel.__call__`."""
    if any(type(i).__name__ == "Raster" and type(i).__module__ == "tilejit.raster" for i in inputs):
        from tilejit.raster import apply_kernel

        return apply_kernel(kernel, inputs, options)
    from tilejit.arrays import run_on_arrays

    parameters = dict(options)
    # Arrays are in the CPU's memory and the result goes there too: "auto" leaves them where they are.
    backend, _ = choose_backend(parameters.pop("backend", "cpu"), [kernel])
    workers = parameters.pop("workers", None) or available_cores()
    out = parameters.pop("out", None)
    return run_on_arrays(kernel, inputs, parameters, backend=backend, workers=workers, out=out)
