"""Operands: the planes that a kernel takes, in the form in which it takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.kinds import common_dtype, compute_dtype
from tilejit.engine.planning.demands import plane_of, read_form, storable, taken_ports
from tilejit.engine.planning.graph import SourceBand
from tilejit.engine.planning.steps import Operand
from tilejit.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.engine.planning.graph import Application
    from tilejit.engine.planning.steps import Halo, Plane
    from tilejit.kernel.kernel import Kernel


def operands_of(
    application: Application, halo: Halo, planes: Sequence[Plane], numbers: Mapping[tuple[Any, ...], int]
) -> tuple[tuple[Operand, ...], list[np.dtype]]:
    """Returns the operands of an application that needs a halo, and for each the dtype that decides its results'.

    Raises:
        PlanError: A parameter is annotated with an integer dtype that a plane does not fit.
    """
    kernel = application.kernel
    ports = taken_ports(application)
    forms = [read_form(kernel, k, port, halo) for k, port in enumerate(ports)]
    inputs = [
        tuple(plane_of(numbers, band, form, kernel.edge, halo) for band in port)
        for port, form in zip(ports, forms, strict=True)
    ]
    operands = tuple(_operand(kernel, k, taken, planes, halo) for k, taken in enumerate(inputs))
    # Results are as wide as what the inputs hold, whether or not nodata makes floats of it.
    held = [
        common_dtype(
            storable(band.info.dtype) if isinstance(band, SourceBand) else planes[number].dtype
            for band, number in zip(port, taken, strict=True)
        )
        for port, taken in zip(ports, inputs, strict=True)
    ]
    return operands, held


def _operand(kernel: Kernel, index: int, numbers: tuple[int, ...], planes: Sequence[Plane], halo: Halo) -> Operand:
    taken, wanted = [planes[number] for number in numbers], kernel.rasters[index].dtype
    is_run = len({plane.run for plane in taken}) == 1 and numbers == tuple(range(numbers[0], numbers[-1] + 1))
    whole = all(p.halo == halo and not p.turned for p in taken) and is_run
    if wanted is None:
        dtype = common_dtype(compute_dtype((p.dtype,)) if _is_marked(p) else p.dtype for p in taken)
        direct = whole and all(p.dtype == dtype and not _is_marked(p) for p in taken)
        return Operand(numbers, dtype, halo, valid=False, direct=direct)
    for plane in taken:
        if plane.dtype.kind == "f" or not np.can_cast(plane.dtype, wanted, "safe"):
            raise PlanError(
                f"{kernel.name} takes {kernel.rasters[index].name} as {wanted}, and {plane.label} gives {plane.dtype}"
            )
    return Operand(numbers, wanted, halo, valid=True, direct=whole and all(p.nodata is None for p in taken))


def _is_marked(plane: Plane) -> bool:
    """Whether integers of it are no data."""
    return plane.dtype.kind != "f" and plane.nodata is not None
