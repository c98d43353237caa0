"""What NumPy's functions of numbers mean for one scalar of a body; see `tilejit.compiler.syntax.numpy_names`."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.kinds import kind_of_dtype
from tilejit.compiler.syntax.numpy_names import FORMULAS, INTEGERS, ROUNDED, found_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.compiler.form.kinds import Kind
    from tilejit.compiler.syntax.numpy_names import Formula

    Function = Callable[..., Any]


class NumpyFunctions:
    """NumPy's functions in one compute dtype."""

    def __init__(self, to_float: Function, to_int: Function, to_function: Callable[[Formula], Function]) -> None:
        self.to_float, self.to_int, self.to_function = to_float, to_int, to_function
        self._found: dict[Any, Function] = {
            np.absolute: abs, np.float64: to_float, np.float32: lambda v: to_float(to_float(v, np.float32)),
            np.bool_: bool, np.round: self.round, np.around: self.round, np.clip: self._clip,
            np.trunc: self._whole(np.trunc), np.fix: self._whole(np.trunc), math.modf: self._modf, np.modf: self._modf,
            **{function: self._whole(function) for function in ROUNDED},
            **{kind: functools.partial(self._integer, dtype) for kind, dtype in INTEGERS.items()},
            **{function: self._formula(formula) for function, formula in FORMULAS.items()},
        }  # fmt: skip

    def find(self, function: object) -> Function | None:
        """Returns what a function of NumPy is in a body, or None where it is another."""
        found: Function | None = found_in(self._found, function)
        return found

    def kind_of(self, own: Mapping[Function, Kind], dtype: Any) -> Kind:
        """The kind of a dtype that a body names, as the body sees it."""
        dtype = getattr(dtype, "__wrapped__", dtype)  # of what arrays are given to, too
        named = (kind for kind, function in self._found.items() if function is dtype)
        return own[dtype] if dtype in own else kind_of_dtype(next(named, dtype))

    def round(self, value: Any, digits: int = 0) -> Any:
        """A whole float, or one of so many digits, as NumPy rounds; an integer is whole as it is.

        To tens and hundreds a body rounds floats alone: there an integer is the value of a variable that holds floats.
        """
        if isinstance(value, int) and digits >= 0:
            return int(value)
        if digits == 0:
            return self.to_float(np.rint(value))
        scale = self.to_float(10.0 ** abs(digits))
        return np.rint(value / scale) * scale if digits < 0 else np.rint(value * scale) / scale

    def _formula(self, formula: Formula) -> Function:
        """A function that an expression says; a float where one of the last two arguments is."""

        def apply(*values: Any) -> Any:
            values = tuple(int(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values)
            result = self.to_function(formula)(*values)
            is_float = any(isinstance(v, np.floating) for v in values[-2:])
            return self.to_float(result) if is_float and not isinstance(result, bool) else result

        return apply

    def _whole(self, function: Function) -> Function:
        return lambda value: int(value) if isinstance(value, int) else self.to_float(function(value))

    def _integer(self, dtype: np.dtype, value: Any) -> int:
        """An integer that wraps at the width of its type."""
        least = int(np.iinfo(dtype).min)
        return int((self.to_int(value) - least) % 2 ** (8 * dtype.itemsize) + least)

    def _clip(self, value: Any, least: Any, most: Any) -> Any:
        value = value if least is None else self._found[np.maximum](value, least)
        return value if most is None else self._found[np.minimum](value, most)

    def _modf(self, value: Any) -> tuple[Any, Any]:
        part, whole = np.modf(self.to_float(value))
        return self.to_float(part), self.to_float(whole)
