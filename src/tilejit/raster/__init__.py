"""Lazy Rasters, and what they do when they are asked: read, save, compute, go on after a failure, merge.

Here is what a call of a kernel or a chain does: arrays are computed at once, Rasters become a lazy Raster.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.kinds import LazyScalar
from tilejit.engine.planning.dispatch import choose_backend
from tilejit.system.limits import available_cores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.kernel.decorators import Chain
    from tilejit.kernel.kernel import Kernel


def call_kernel(kernel: Kernel, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Runs ``kernel`` over arrays, or applies it to Rasters, and to zones for a table; see `Kernel.__call__`."""
    if kernel.kind == "zonal":
        from tilejit.raster.zones import apply_zonal

        return apply_zonal(kernel, inputs, options)  # type: ignore[arg-type] # a ZonalKernel
    # No Raster exists before its module is imported, which takes GDAL's floor along: arrays do without it.
    raster = sys.modules.get("tilejit.raster.raster")
    parameters = dict(options)
    edge = parameters.pop("edge", None)
    if edge is not None:
        kernel = kernel.with_edge(edge)
    kernel = kernel.with_parameters(parameters)
    if raster is not None and any(isinstance(i, raster.Raster) for i in inputs):
        from tilejit.raster.making import apply_kernel

        return apply_kernel(kernel, inputs, parameters)
    parameters = {n: float(v) if isinstance(v, LazyScalar) else v for n, v in parameters.items()}
    from tilejit.arrays import run_on_arrays

    # Arrays are in the CPU's memory and the result goes there too: "auto" leaves them where they are.
    backend, _ = choose_backend(parameters.pop("backend", "cpu"), [kernel])
    workers = parameters.pop("workers", None) or available_cores()
    out = parameters.pop("out", None)
    return run_on_arrays(kernel, inputs, parameters, backend=backend, workers=workers, out=out)


def call_chain(chain: Chain, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Runs ``chain`` over arrays, or applies it to Rasters; see `Chain.__call__`."""
    from tilejit.raster.making import apply_chain, run_chain
    from tilejit.raster.raster import Raster

    if any(isinstance(i, Raster) for i in inputs):
        return apply_chain(chain, inputs, options)
    parameters = dict(options)
    backend = parameters.pop("backend", "cpu")
    workers, out = parameters.pop("workers", None), parameters.pop("out", None)
    return run_chain(chain, inputs, parameters, backend=backend, workers=workers, out=out)
