"""Arithmetic on Rasters: what each makes is a part of an expression, which is computed when it is asked for."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tilejit.backends import get_backend
from tilejit.compiler.form.captured import plain_number
from tilejit.compiler.form.kinds import LazyScalar
from tilejit.engine.planning.expressions import band_of, node_of
from tilejit.engine.planning.graph import ResultBand
from tilejit.errors import ParameterError
from tilejit.kernel.expressions.functions import applied, chosen, converted, filled, is_null, rounded
from tilejit.kernel.expressions.nodes import Awaited, Missing, Node, Number
from tilejit.raster.options import RunOptions
from tilejit.raster.running import LazyRaster, check_one_grid, plan_job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike

    from tilejit.times import Dates

Operand = Any
"""A Raster, a number, or a statistic."""


def operation(name: str, *operands: Operand) -> Any:
    """Returns what an operation makes, by NumPy's name of it."""
    return combined(functools.partial(applied, name), operands)


def kernel_text(raster: LazyRaster, backend: str) -> str:
    """Returns the text of the loops that compute a Raster; see `Raster.kernel`."""
    job = plan_job(raster, None, RunOptions(backend="cpu"))
    pairs = zip(job.kernels, job.plan.steps, strict=True)
    texts = [get_backend(backend).source(kernel, step.signature) for kernel, step in pairs]
    if not texts:
        raise ParameterError(f"{raster.label} is read, and no kernel computes it")
    return "\n\n".join(dict.fromkeys(texts))


def rounded_to(raster: LazyRaster, digits: int) -> Any:
    """Returns a Raster rounded to decimals."""
    return combined(lambda a: rounded(a, int(digits)), [raster])


def masked(raster: LazyRaster, condition: Operand, other: Operand) -> Any:
    """Returns a Raster's cells where a condition holds, and others elsewhere: no data for None."""
    if other is None:
        return combined(lambda test, a: chosen(test, a, Missing()), [condition, raster])
    return where(condition, raster, other)


def cast(raster: LazyRaster, dtype: DTypeLike) -> Any:
    """Returns a Raster's cells as another dtype."""
    return combined(lambda a: converted(a, dtype), [raster])


def filled_with(raster: LazyRaster, value: Operand) -> Any:
    """Returns a Raster's cells, with another value where they hold no data."""
    return combined(filled, [raster, value])


def without_data(raster: LazyRaster) -> Any:
    """Returns where a Raster holds no data."""
    return combined(is_null, [raster])


def where(condition: Operand, a: Operand, b: Operand) -> Any:
    """Returns a Raster of ``a`` where a condition holds, and of ``b`` elsewhere.

    A cell holds no data where the condition does not, or the one that is chosen; what the other one holds there does
    not matter, so that a scene's clouds are filled of another scene.

    Args:
        condition: A Raster of truth values; of numbers, whether they are not 0.
        a: A Raster, a number or a statistic.
        b: The same.

    Raises:
        ParameterError: None of them is a Raster, or they have different numbers of bands.
        GridMismatchError: They lie on different grids.

    Example:
        >>> import numpy as np
        >>> import tilejit as tj
        >>> dem = tj.from_array(np.float32([[-5, 3]]))
        >>> tj.where(dem < 0, 0, dem).compute()
        array([[[0., 3.]]], dtype=float32)
    """
    return combined(chosen, [condition, a, b])


def is_operand(value: Any) -> bool:
    """Whether an operator takes it: a Raster, a number, or one that a pass makes."""
    return isinstance(value, (LazyRaster, LazyScalar)) or plain_number(value) is not None


def combined(function: Callable[..., Node], operands: Sequence[Operand]) -> Any:
    """Returns a Raster of what a function makes of nodes, for each band of its operands.

    Raises:
        ParameterError: An operand is none, or Rasters have different numbers of bands.
        GridMismatchError: They lie on different grids.
    """
    rasters = [one for one in operands if isinstance(one, LazyRaster)]
    if not rasters:
        raise ParameterError("an expression has at least one Raster: tj.from_array(array) makes one of an array")
    check_one_grid(rasters, [f"operand {k}" for k in range(1, len(rasters) + 1)])
    count = max(len(one.bands) for one in rasters)
    odd = [one for one in rasters if len(one.bands) not in {1, count}]
    if odd:
        raise ParameterError(
            f"{odd[0].label} has {len(odd[0].bands)} bands, and another operand {count}: both have as many, "
            "or one has one; choose with .band(1)"
        )
    made = [band_of(function(*(_node(one, k) for one in operands))) for k in range(count)]
    return replace(rasters[0], bands=tuple(made), dates=_dates(rasters, count))  # type: ignore[type-var]


def _node(operand: Operand, index: int) -> Node:
    if isinstance(operand, LazyRaster):
        return node_of(operand.bands[index if len(operand.bands) > 1 else 0])
    if isinstance(operand, LazyScalar):
        return Awaited(operand)
    value = plain_number(operand)
    if value is None:
        raise ParameterError(
            f"{type(operand).__name__} in an expression of Rasters: it takes Rasters on one grid, numbers and "
            "statistics; tj.from_array(array, grid=raster.grid) makes a Raster of an array"
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return Number(float(value))
    return Number(value) if isinstance(value, (bool, int)) or not math.isnan(value) else Missing()


def _dates(rasters: Sequence[Any], count: int) -> Dates | None:
    """The dates of the bands: those that all operands of as many bands agree upon."""
    found = [_known_dates(raster) for raster in rasters if len(raster.bands) == count]
    known = [dates for dates in found if dates is not None]
    return known[0] if known and all(dates == known[0] for dates in known) else None


def _known_dates(raster: Any) -> Dates | None:
    """When the bands of a Raster were taken, as far as it says so, or its files do."""
    if raster.dates is not None or any(isinstance(band, ResultBand) for band in raster.bands):
        return raster.dates  # type: ignore[no-any-return]
    return None if raster.times is None else tuple(raster.times)
