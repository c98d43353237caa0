"""Arithmetic on Rasters: what each method makes is a part of an expression, which is computed when it is asked for."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from tilejit.backends import get_backend
from tilejit.compiler.form.captured import plain_number
from tilejit.compiler.form.kinds import LazyScalar
from tilejit.engine.planning.expressions import band_of, node_of
from tilejit.engine.planning.graph import ResultBand
from tilejit.errors import ParameterError
from tilejit.kernel.expressions.functions import applied, chosen, converted, filled, is_null, rounded
from tilejit.kernel.expressions.nodes import Awaited, Missing, Node, Number
from tilejit.raster.options import RunOptions
from tilejit.raster.running import check_one_grid, plan_job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike

    from tilejit.engine.planning.graph import Band
    from tilejit.grid import Grid
    from tilejit.times import Dates

Operand = Any
"""A Raster, a number, or a statistic."""

NO_DATA = object()
"""An operand that has no data anywhere."""


def applied_by(name: str) -> Callable[..., Node]:
    """Returns what makes an operation of nodes, by NumPy's name of it."""
    return functools.partial(applied, name)


class Arithmetic:
    """What is computed of a Raster's cells; band by band, where there are several."""

    __slots__ = ()

    grid: Grid
    bands: tuple[Band, ...]
    dates: Dates | None

    def kernel(self, backend: str = "cpu") -> str:
        """Returns the text of the loops that compute it, as a backend has them generated.

        Args:
            backend: "cpu", "cuda", or "python" for the bodies themselves.

        Raises:
            ParameterError: No kernel computes it: it is read from a file.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> a = tj.from_array(np.float32([[1, 2]]))
            >>> print((2 * a + 1).kernel("python"))
            def expression(a):
                return (2 * a) + 1
        """
        job = plan_job(self, None, RunOptions(backend="cpu"))  # type: ignore[arg-type] # a Raster
        pairs = zip(job.kernels, job.plan.steps, strict=True)
        texts = [get_backend(backend).source(kernel, step.signature) for kernel, step in pairs]
        if not texts:
            raise ParameterError(f"{_label(self)} is read, and no kernel computes it")
        return "\n\n".join(dict.fromkeys(texts))

    def _combined(self, function: Callable[..., Node], *operands: Operand) -> Self:
        made: Self = combined(function, operands)
        return made

    def round(self, digits: int = 0) -> Self:
        """Returns it rounded to decimals, halves to even as `numpy.round`; integers are what they are.

        Args:
            digits: How many decimals; negative ones round to tens, hundreds.
        """
        return self._combined(lambda a: rounded(a, int(digits)), self)

    def where(self, condition: Operand, other: Operand = NO_DATA) -> Self:
        """Returns its cells where a condition holds, and another value elsewhere.

        Args:
            condition: A Raster of truth values.
            other: A Raster or a number; no data, if left out.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> dem = tj.from_array(np.int16([[-5, 3]]))
            >>> dem.where(dem > 0, 0).compute(), dem.where(dem > 0).compute()
            (array([[[0, 3]]], dtype=int16), array([[[-32768,      3]]], dtype=int16))
        """
        return self._combined(chosen, condition, self, other)

    def clip(self, low: Operand = None, high: Operand = None) -> Self:
        """Returns its cells, held between two bounds; or, of one place, the cells that lie there.

        Args:
            low: The least: a number, a statistic or a Raster; None for none. Alone also a place: bounds (left, bottom,
                right, top) in its CRS, a `tilejit.Grid` or a Raster, of which all cells are kept that are touched; or
                a geometry, outside of which there is no data then (see `mask`, which has options).
            high: The largest.

        Raises:
            GridMismatchError: The place and the raster do not meet.
            ParameterError: The bounds or the geometry are empty.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> raster = tj.from_array(np.uint8([[0, 7, 200]]))
            >>> raster.clip(5, 100).compute(), raster.clip((1, 0, 3, 1)).compute()
            (array([[[  5,   7, 100]]], dtype=uint8), array([[[  7, 200]]], dtype=uint8))
        """
        if high is None and low is not None and not isinstance(low, LazyScalar):
            from tilejit.raster.cutting import clipped, is_place

            if is_place(low):
                cut: Self = clipped(self, low)
                return cut
        held = self if low is None else self._combined(applied_by("maximum"), self, low)
        return held if high is None else self._combined(applied_by("minimum"), held, high)

    def astype(self, dtype: DTypeLike) -> Self:
        """Returns its cells as another dtype: floats become integers by rounding, halves away from zero.

        Inside an expression integers have 64 bits: what the dtype does not hold becomes its nearest value when it
        leaves the expression, and is counted, as in any output.

        Raises:
            ParameterError: The dtype is none that a raster holds.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> (tj.from_array(np.float32([[0.5, -1.2]])) * 10).astype("int16").compute()
            array([[[  5, -12]]], dtype=int16)
        """
        return self._combined(lambda a: converted(a, dtype), self)

    def fillna(self, value: Operand) -> Self:
        """Returns its cells, with another value where they hold no data.

        Args:
            value: A number, a statistic, or a Raster that is taken there.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> tj.from_array(np.uint8([[7, 255]]), nodata=255).fillna(0).compute()
            array([[[7, 0]]], dtype=uint8)
        """
        return self._combined(filled, self, value)

    def isnull(self) -> Self:
        """Returns where it holds no data, as truth values.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> tj.from_array(np.float32([[7, np.nan]])).isnull().compute()
            array([[[0, 1]]], dtype=uint8)
        """
        return self._combined(is_null, self)

    def notnull(self) -> Self:
        """Returns where it holds data, as truth values."""
        return self._combined(lambda a: applied("invert", is_null(a)), self)


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
    return isinstance(value, (Arithmetic, LazyScalar)) or plain_number(value) is not None


def combined(function: Callable[..., Node], operands: Sequence[Operand]) -> Any:
    """Returns a Raster of what a function makes of nodes, for each band of its operands.

    Raises:
        ParameterError: An operand is none, or Rasters have different numbers of bands.
        GridMismatchError: They lie on different grids.
    """
    rasters = [one for one in operands if isinstance(one, Arithmetic)]
    if not rasters:
        raise ParameterError("an expression has at least one Raster: tj.from_array(array) makes one of an array")
    check_one_grid(rasters, [f"operand {k}" for k in range(1, len(rasters) + 1)])  # type: ignore[arg-type]
    count = max(len(one.bands) for one in rasters)
    odd = [one for one in rasters if len(one.bands) not in {1, count}]
    if odd:
        raise ParameterError(
            f"{_label(odd[0])} has {len(odd[0].bands)} bands, and another operand {count}: both have as many, "
            "or one has one; choose with .band(1)"
        )
    made = [band_of(function(*(_node(one, k) for one in operands))) for k in range(count)]
    return replace(rasters[0], bands=tuple(made), dates=_dates(rasters, count))  # type: ignore[type-var]


def _node(operand: Operand, index: int) -> Node:
    if isinstance(operand, Arithmetic):
        return node_of(operand.bands[index if len(operand.bands) > 1 else 0])
    if operand is NO_DATA:
        return Missing()
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


def _label(raster: Any) -> str:
    label: str = raster.label
    return label


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
