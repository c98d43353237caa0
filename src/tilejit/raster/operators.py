"""Operators on Rasters, and NumPy's functions: ``(nir - red) / (nir + red)``, ``np.sqrt(raster)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

from tilejit.errors import ParameterError
from tilejit.raster.arithmetic import Arithmetic, Operand, applied_by, is_operand

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


class Operators(Arithmetic):
    """What Python's operators, and NumPy's functions, make of a Raster."""

    __slots__ = ()

    def _of(self, name: str, *operands: Operand) -> Self:
        """What an operator makes; of what is no operand the other side's class may know."""
        if not all(map(is_operand, operands)):
            return NotImplemented  # type: ignore[no-any-return] # as Python wants it
        return self._combined(applied_by(name), *operands)

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
