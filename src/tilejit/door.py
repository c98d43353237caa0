"""What a call of a kernel does: arrays are computed at once, Rasters become a lazy Raster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.cores import available_cores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.kernel import Kernel


def door(kernel: Kernel, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Runs ``kernel`` over arrays, or applies it to Rasters; see `Kernel.__call__`."""
    from tilejit.arrays import run_on_arrays

    parameters = dict(options)
    backend = parameters.pop("backend", "cpu")
    workers = parameters.pop("workers", None) or available_cores()
    return run_on_arrays(kernel, inputs, parameters, backend=backend, workers=workers)
