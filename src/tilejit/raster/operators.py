"""Operators on Rasters, and NumPy's functions: ``(nir - red) / (nir + red)``, ``np.sqrt(raster)``.

What they make is in `tilejit.raster.arithmetic`, which is imported when there is something to make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

from tilejit.compiler.form.kinds import LazyScalar
from tilejit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import DTypeLike

Operand = Any
"""A Raster, a number, or a statistic."""


def _arithmetic() -> Any:
    from tilejit.raster import arithmetic

    return arithmetic


class Operators:
    """What Python's operators, and NumPy's functions, make of a Raster; band by band, where there are several."""

    __slots__ = ()

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
            >>> print((2 * a + 1).kernel("python").rstrip())
            def expression(a):
                return (2 * a) + 1
        """
        text: str = _arithmetic().kernel_text(self, backend)
        return text

    def round(self, digits: int = 0) -> Self:
        """Returns it rounded to decimals, halves to even as `numpy.round`; integers are what they are.

        Args:
            digits: How many decimals; negative ones round to tens, hundreds.
        """
        made: Self = _arithmetic().rounded_to(self, digits)
        return made

    def where(self, condition: Operand, other: Operand = None) -> Self:
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
        made: Self = _arithmetic().masked(self, condition, other)
        return made

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
        held = self if low is None else self._of("maximum", self, low)
        return held if high is None else self._of("minimum", held, high)

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
        made: Self = _arithmetic().cast(self, dtype)
        return made

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
        made: Self = _arithmetic().filled_with(self, value)
        return made

    def isnull(self) -> Self:
        """Returns where it holds no data, as truth values.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> tj.from_array(np.float32([[7, np.nan]])).isnull().compute()
            array([[[0, 1]]], dtype=uint8)
        """
        made: Self = _arithmetic().without_data(self)
        return made

    def notnull(self) -> Self:
        """Returns where it holds data, as truth values."""
        return ~self.isnull()

    def _of(self, name: str, *operands: Operand) -> Self:
        """What an operator makes; of what is no operand the other side's class may know."""
        if not all(map(_arithmetic().is_operand, operands)):
            return NotImplemented  # type: ignore[no-any-return] # as Python wants it
        made: Self = _arithmetic().operation(name, *operands)
        return made

    def __add__(self, other: Operand) -> Self:
        return self._of("add", self, other)

    def __radd__(self, other: Operand) -> Self:
        return self._of("add", other, self)

    def __sub__(self, other: Operand) -> Self:
        return self._of("subtract", self, other)

    def __rsub__(self, other: Operand) -> Self:
        return self._of("subtract", other, self)

    def __mul__(self, other: Operand) -> Self:
        return self._of("multiply", self, other)

    def __rmul__(self, other: Operand) -> Self:
        return self._of("multiply", other, self)

    def __truediv__(self, other: Operand) -> Self:
        return self._of("divide", self, other)

    def __rtruediv__(self, other: Operand) -> Self:
        return self._of("divide", other, self)

    def __floordiv__(self, other: Operand) -> Self:
        return self._of("floor_divide", self, other)

    def __rfloordiv__(self, other: Operand) -> Self:
        return self._of("floor_divide", other, self)

    def __mod__(self, other: Operand) -> Self:
        return self._of("remainder", self, other)

    def __rmod__(self, other: Operand) -> Self:
        return self._of("remainder", other, self)

    def __divmod__(self, other: Operand) -> tuple[Self, Self]:
        return self // other, self % other

    def __rdivmod__(self, other: Operand) -> tuple[Self, Self]:
        return other // self, other % self

    def __pow__(self, other: Operand) -> Self:
        return self._of("power", self, other)

    def __rpow__(self, other: Operand) -> Self:
        return self._of("power", other, self)

    def __and__(self, other: Operand) -> Self:
        return self._of("bitwise_and", self, other)

    def __rand__(self, other: Operand) -> Self:
        return self._of("bitwise_and", other, self)

    def __or__(self, other: Operand) -> Self:
        return self._of("bitwise_or", self, other)

    def __ror__(self, other: Operand) -> Self:
        return self._of("bitwise_or", other, self)

    def __xor__(self, other: Operand) -> Self:
        return self._of("bitwise_xor", self, other)

    def __rxor__(self, other: Operand) -> Self:
        return self._of("bitwise_xor", other, self)

    def __lshift__(self, other: Operand) -> Self:
        return self._of("left_shift", self, other)

    def __rlshift__(self, other: Operand) -> Self:
        return self._of("left_shift", other, self)

    def __rshift__(self, other: Operand) -> Self:
        return self._of("right_shift", self, other)

    def __rrshift__(self, other: Operand) -> Self:
        return self._of("right_shift", other, self)

    def __lt__(self, other: Operand) -> Self:
        return self._of("less", self, other)

    def __le__(self, other: Operand) -> Self:
        return self._of("less_equal", self, other)

    def __gt__(self, other: Operand) -> Self:
        return self._of("greater", self, other)

    def __ge__(self, other: Operand) -> Self:
        return self._of("greater_equal", self, other)

    def __eq__(self, other: Operand) -> Self:  # type: ignore[override] # as NumPy's
        return self._of("equal", self, other)

    def __ne__(self, other: Operand) -> Self:  # type: ignore[override]
        return self._of("not_equal", self, other)

    __hash__ = object.__hash__  # by identity: two are one where they are the same object

    def __bool__(self) -> NoReturn:
        raise ParameterError(
            "the truth of a Raster is one for each cell: write & | ~ for and, or, not, and tj.where(test, a, b) for a "
            "choice; `raster is other` tells whether two are one object"
        )

    def __neg__(self) -> Self:
        return self._of("negative", self)

    def __pos__(self) -> Self:
        return self

    def __invert__(self) -> Self:
        return self._of("invert", self)

    def __abs__(self) -> Self:
        return self._of("absolute", self)

    def __round__(self, digits: int | None = None) -> Self:
        return self.round(digits or 0)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        from tilejit.raster.array_functions import apply_ufunc

        return apply_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Callable[..., Any], _: Any, inputs: Any, options: Any) -> Any:
        from tilejit.raster.array_functions import apply_function

        return apply_function(function, inputs, options)
