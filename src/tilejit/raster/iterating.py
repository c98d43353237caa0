"""Iteration: a kernel applied to its own result until no cell changes, as a lazy Raster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.kinds import common_dtype
from tilejit.engine.planning.demands import storable
from tilejit.engine.planning.graph import Application, Band, Iteration, SourceBand
from tilejit.errors import KernelError, ParameterError
from tilejit.formats.source import BandInfo
from tilejit.kernel.kernel import Kernel
from tilejit.kernel.nodata import default_nodata, holds_nodata
from tilejit.raster.making import apply_kernel, from_array
from tilejit.raster.raster import Raster
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


def iterate(
    kernel: Kernel,
    state: Any,
    *constants: Any,
    until: str = "unchanged",
    limit: int = 10_000,
    monotone: bool = False,
    **parameters: Any,
) -> Raster:
    """Applies a kernel to its own result, again and again until no cell changes, when the Raster is asked for.

    Each cell of a sweep is computed of the cells of the sweep before, so that the result has the same bits whatever the
    tiling, the threads or the executor. Tiles lie on the disk meanwhile, and only those are computed again of which a
    cell within the kernel's reach has changed. A cell has changed where its bits have; NaN is like any other NaN.

    Args:
        kernel: A focal kernel of one result: its first raster parameter is the state, which the result replaces; the
            others stay the same, and may be stacks.
        state: What it begins with: a Raster of one band, or an array.
        *constants: One for each of the kernel's other raster parameters, on the same grid.
        until: "unchanged": until a sweep changes no cell.
        limit: How many sweeps there may be.
        monotone: Whether cells only ever rise, or only ever fall, and rise (or fall) no less where their neighbours
            have done so. There is one end then, whatever the order, and it is reached in far fewer sweeps: each goes
            over a tile until that is settled. Only the limit then depends on the tiling.
        **parameters: The kernel's keyword-only parameters, and ``edge``.

    Returns:
        A lazy Raster of one band, in the kernel's type. A run of it raises IterationLimitError where cells still change
        in the last sweep that is allowed.

    Raises:
        KernelError: The kernel is not focal, has several results, or its result is of another type each time.
        ParameterError: A raster or a parameter does not fit.
        GridMismatchError: The rasters lie on different grids.

    Source:
        Jacobi's iteration; with ``monotone``, chaotic iteration (P. Cousot, "Asynchronous iterative methods for solving
        a fixed point system of monotone equations in a complete lattice", 1977).

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> @tj.focal(nodata="kernel")
        ... def spread(seen, land):
        ...     best = max(max(seen[-1, 0], seen[1, 0]), max(seen[0, -1], seen[0, 1]))
        ...     return min(max(best, seen[0, 0]), land[0, 0])
        >>> seen, land = np.float32([[1, 0, 0, 0, 0]]), np.float32([[1, 1, 1, 0, 1]])
        >>> tj.iterate(spread, seen, land, edge=0.0).compute()
        array([[[1., 1., 1., 0., 0.]]], dtype=float32)
    """
    if until != "unchanged":
        raise ParameterError(f"iterate(until={until!r}); it is 'unchanged'")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ParameterError(f"iterate(limit={limit!r}); it is a count of sweeps, 1 or more")
    if not isinstance(kernel, Kernel) or kernel.kind != "focal":
        name = getattr(kernel, "name", type(kernel).__name__)
        raise KernelError(f"iterate({name}): only what sees its neighbours comes to an end: give a @tj.focal kernel")
    kernel = kernel.taking(1 + len(constants)) if kernel.star else kernel
    if len(kernel.results) != 1:
        raise KernelError(f"{kernel.name} returns {len(kernel.results)} values, and an iteration goes on with one")
    if kernel.rasters[0].is_stack:
        raise KernelError(
            f"{kernel.name} takes the stack {kernel.rasters[0].name} first, and an iteration goes on with its result, "
            "which is one plane: let the first parameter be a plane; stacks may follow, and stay as they are"
        )
    edge = parameters.pop("edge", None)
    kernel = (kernel if edge is None else kernel.with_edge(edge)).with_parameters(parameters)
    given = (state, *constants)
    if len(given) != len(kernel.rasters):
        names = ", ".join(raster.name for raster in kernel.rasters)
        are = "is" if len(given) == 1 else "are"
        raise ParameterError(f"iterate({kernel.name}) takes {names}, and {counted(len(given), 'raster')} {are} given")
    first = next((one for one in given if isinstance(one, Raster)), None)
    grid = None if first is None else first.grid
    rasters = [one if isinstance(one, Raster) else from_array(one, grid=grid) for one in given]
    applied = apply_kernel(kernel, rasters, parameters)
    application = applied.bands[0].application  # type: ignore[union-attr]
    info = _state_info(application, applied.bands[0].unit)
    iteration = Iteration(application, limit, monotone, applied.grid, (info,))
    return Raster(applied.grid, (SourceBand(iteration, info),))


def _state_info(application: Application, unit: str | None) -> BandInfo:
    """The type of the state, which is that of the result, and its nodata value."""
    kernel, (first, *others) = application.kernel, map(_port_dtype, application.ports)
    dtype = kernel.signature([first, *others]).outputs[0]
    again = kernel.signature([dtype, *others]).outputs[0]
    if again != dtype:
        raise KernelError(
            f"{kernel.name} makes {dtype} of {first}, and {again} of that: annotate its result with a dtype"
        )
    if dtype.kind == "f":
        return BandInfo(1, dtype, None, kernel.name, unit)
    state = application.inputs[0]
    own = state.info.nodata if isinstance(state, SourceBand) else None
    return BandInfo(1, dtype, own if holds_nodata(dtype, own) else default_nodata(dtype), kernel.name, unit)


def _port_dtype(port: Sequence[Band]) -> np.dtype:
    """The type that an input is handed over in."""
    return common_dtype(map(_dtype, port))


def _dtype(band: Band) -> np.dtype:
    """The type that a band is read or computed in."""
    if isinstance(band, SourceBand):
        return storable(band.info.dtype)
    kernel, inputs = band.application.kernel, [_port_dtype(port) for port in band.application.ports]
    return kernel.signature(inputs).outputs[band.index]
