"""What a call of a chain does: its function is run once, over lazy Rasters; arrays are wrapped as such and computed.

Over arrays, too, its kernels run tile by tile in one pass: what they hand each other stays in a core's cache, and the
nodata of integer results in between is known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.arrays import check_out, warn_of
from tilejit.compiler.names import IMPORTS
from tilejit.compiler.parameters import REQUIRED
from tilejit.engine.pipeline.pipeline import run_job
from tilejit.engine.planning.demands import Request
from tilejit.engine.planning.graph import ResultBand, applications_of
from tilejit.engine.planning.planner import Settings, make_job
from tilejit.errors import KernelError, ParameterError, TilejitError
from tilejit.formats.containers import Container, given_array
from tilejit.formats.sink import ArraySink
from tilejit.grid import Grid, Metric
from tilejit.raster.making import from_array, raster_of
from tilejit.raster.options import RunOptions
from tilejit.raster.raster import Raster
from tilejit.raster.running import check_one_grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.kinds import Signature
    from tilejit.engine.planning.graph import Application, Band
    from tilejit.kernel.chain import Chain
    from tilejit.kernel.kernel import Edge, Kernel

    Array = NDArray[Any]


def apply_chain(chain: Chain, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> Raster:
    """Applies a chain to Rasters lazily; see `Chain.__call__`.

    Raises:
        KernelError: The function fails, or returns no Raster.
        ParameterError: An input is no single band.
        GridMismatchError: The inputs lie on different grids; with both.
    """
    for parameter, raster in zip(chain.rasters, inputs, strict=True):
        if not isinstance(raster, Raster) or len(raster) != 1:
            given = f"{len(raster)} bands" if isinstance(raster, Raster) else type(raster).__name__
            raise ParameterError(
                f"{chain.name} takes one band as {parameter.name}, not {given}: "
                "give Rasters of one band, or arrays only; .band(1) chooses one"
            )
    check_one_grid(inputs, [f"{chain.name}: {p.name}" for p in chain.rasters])
    bound = {name: value for name, value in parameters.items() if name != "edge"}
    rasters = _parts(chain, _called(chain, inputs, chain.bind(bound)))
    check_one_grid(rasters, [f"{chain.name}, result {k + 1}" for k in range(len(rasters))])
    bands = tuple(band for raster in rasters for band in raster.bands)
    if parameters.get("edge") is not None:
        bands = _with_edge(chain, bands, [band for raster in inputs for band in raster.bands], parameters["edge"])
    if len(bands) == 1 and isinstance(bands[0], ResultBand):
        bands = (replace(bands[0], called=chain.name),)
    return Raster(rasters[0].grid, bands)


def _with_edge(chain: Chain, bands: Sequence[Band], inputs: Sequence[Band], edge: Edge) -> tuple[Band, ...]:
    """What a chain made, with another edge in every focal kernel that it applies; its inputs stay as they are."""
    before = {id(application) for application in applications_of(inputs)}
    within = [application for application in applications_of(bands) if id(application) not in before]
    if all(application.kernel.kind == "local" for application in within):
        raise KernelError(f"{chain.name} applies no focal kernel and has no edge: leave edge={edge!r} out")
    made: dict[int, Application] = {}

    def anew(band: Band) -> Band:
        known = made.get(id(band.application)) if isinstance(band, ResultBand) else None
        return band if known is None else replace(band, application=known)  # type: ignore[arg-type]

    for old in within:
        kernel = old.kernel if old.kernel.kind == "local" else old.kernel.with_edge(edge)
        made[id(old)] = replace(old, kernel=kernel, inputs=tuple(map(anew, old.inputs)))
    return tuple(map(anew, bands))


def _called(chain: Chain, inputs: Sequence[Any], parameters: Mapping[str, Any]) -> object:
    try:
        return chain.source.function(*inputs, **parameters)
    except TilejitError:
        raise
    except Exception as error:
        line = IMPORTS.get(error.name or "") if isinstance(error, NameError) else None
        advice = "a chain applies kernels to Rasters, whose cells are not there yet: write arithmetic as a kernel"
        raise KernelError(
            f"{chain.source.where}: {chain.name} failed: {type(error).__name__}: {error}\n"
            f"  {advice if line is None else f'write {line} above the chain'}"
        ) from error


def _parts(chain: Chain, made: object) -> tuple[Raster, ...]:
    """The Rasters that a chain returned."""
    parts = made if isinstance(made, tuple) else (made,)
    odd = [type(part).__name__ for part in parts if not isinstance(part, Raster)]
    if odd or not parts:
        raise KernelError(
            f"{chain.source.where}: {chain.name} returns {', '.join(odd) or 'nothing'}: "
            "return the Raster that a kernel makes of its Rasters, or a tuple of Rasters"
        )
    return parts


def run_chain(
    chain: Chain,
    inputs: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    backend: str,
    workers: int | None,
    out: Array | Sequence[Array] | None,
) -> Any:
    """Runs a chain over arrays.

    Args:
        chain: The chain.
        inputs: Arrays of one shape, one for each of its rasters; see `tilejit.arrays.run_on_arrays`.
        parameters: Its keyword-only parameters.
        backend: The backend's name.
        workers: Threads to use; None for all cores.
        out: Arrays to compute into, one for each band; new ones if left out.

    Returns:
        One array, or a tuple of them where there are several bands; in what the inputs came in.

    Raises:
        KernelError: An input has several bands, or ``out`` does not fit.
    """
    given = [given_array(v, f"{chain.name}: {r.name}") for v, r in zip(inputs, chain.rasters, strict=True)]
    for parameter, one in zip(chain.rasters, given, strict=True):
        if one.plane.ndim != 2:
            raise KernelError(
                f"{chain.name}: {parameter.name} has the shape {one.cells.shape}; a raster is one band, "
                "(rows, columns): pass array[0]"
            )
    raster = apply_chain(chain, [raster_of(one) for one in given], parameters)
    requests = [Request((band,)) for band in raster.bands]
    job = make_job(raster.grid, requests, RunOptions(backend=backend, workers=workers).settings(raster.bands))
    container, writes = Container.of(given), job.plan.writes
    shape = container.shape(raster.grid.shape)
    outs = None if out is None else [out] if isinstance(out, np.ndarray) else list(out)
    if outs is not None:
        check_out(chain.name, outs, [w.dtype for w in writes], shape, given)
    arrays = [np.empty(shape, write.dtype) for write in writes] if outs is None else outs
    sinks = [ArraySink(np.ma.getdata(a).reshape(1, *raster.grid.shape), raster.grid) for a in arrays]
    report = run_job(job, sinks)
    warn_of(report.counts, chain.name, job.plan.nodata_values)
    held = tuple(container.hold(a, w.nodata, chain.name, a) for a, w in zip(arrays, writes, strict=True))
    return held if len(held) > 1 else held[0]


def launches_of(chain: Chain, dtypes: Sequence[np.dtype]) -> list[tuple[Kernel, Signature]]:
    """The kernels that a chain applies, each with what it is compiled for, producers first.

    Args:
        chain: The chain.
        dtypes: What its inputs hold.
    """
    grid = Grid(1, 1, (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), None, Metric("projected"))
    rasters = [from_array(np.zeros((1, 1), dtype), grid=grid) for dtype in dtypes]
    # Their values are no matter: any will do for those that have no default.
    required = {s.name: s.convert(1) for s in chain.scalars if s.default is REQUIRED}
    raster = apply_chain(chain, rasters, required)
    job = make_job(grid, [Request(raster.bands)], Settings("cpu", "", workers=1))
    return [(kernel, step.signature) for kernel, step in zip(job.kernels, job.plan.steps, strict=True)]
