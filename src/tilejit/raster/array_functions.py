"""NumPy's functions on Rasters: ``np.sqrt(raster)`` and ``np.where(test, a, b)`` are parts of expressions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError
from tilejit.kernel.expressions.functions import CHOSEN_OF_TWO, chosen_of_two, is_null
from tilejit.raster.arithmetic import combined, operation, where
from tilejit.raster.running import LazyRaster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Returns a Raster of a ufunc; see ``numpy.lib.mixins``.

    Raises:
        ParameterError: The kernel language has no such function, or it is called with what Rasters do not have.
    """
    if method == "reduce":
        return _reduced(ufunc, *inputs, **options)
    if method != "__call__" or options:
        said = ", ".join(f"{name}=" for name in options) or f".{method}"
        raise ParameterError(f"np.{ufunc.__name__} of Rasters takes no {said}")
    if ufunc is np.isnan:
        return combined(is_null, inputs)
    if ufunc.nout == 2 and ufunc is np.divmod:
        return tuple(apply_ufunc(each, method, inputs, {}) for each in (np.floor_divide, np.remainder))
    if ufunc.__name__ in CHOSEN_OF_TWO:
        return combined(lambda a, b: chosen_of_two(ufunc.__name__, a, b), inputs)
    return operation(ufunc.__name__, *inputs)


def _reduced(ufunc: np.ufunc, rasters: Any, axis: int = 0, **options: Any) -> Any:
    """A ufunc over a list of Rasters, or over the bands of one."""
    given = {name: value for name, value in options.items() if value is not None and value is not np._NoValue}  # noqa: SLF001
    if axis not in {0, None} or given.keys() - {"keepdims"}:
        raise ParameterError(f"np.{ufunc.__name__}.reduce of Rasters goes over a list of them, axis=0")
    return functools.reduce(lambda a, b: apply_ufunc(ufunc, "__call__", (a, b), {}), list(rasters))


def _where(condition: Any, *choices: Any) -> Any:
    if len(choices) != 2:
        raise ParameterError("np.where of Rasters takes a condition and two choices: np.where(test, a, b)")
    return where(condition, *choices)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    low, high = bounds.pop("min", a_min), bounds.pop("max", a_max)
    if bounds or not isinstance(a, LazyRaster):
        raise ParameterError("np.clip of a Raster takes its bounds: np.clip(raster, low, high)")
    held = a if low is None else operation("maximum", a, low)
    return held if high is None else operation("minimum", held, high)


def _round(a: Any, decimals: int = 0) -> Any:
    return a.round(decimals)


_FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    np.where: _where,
    np.clip: _clip,
    np.round: _round,
    np.around: _round,
    np.fix: lambda x: apply_ufunc(np.trunc, "__call__", (x,), {}),
}


def apply_function(function: Callable[..., Any], inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Returns a Raster of one of NumPy's functions that is no ufunc.

    Raises:
        ParameterError: It is none of those that Rasters take.
    """
    found = _FUNCTIONS.get(function)
    if found is None:
        known = ", ".join(f"np.{one.__name__}" for one in _FUNCTIONS)
        raise ParameterError(
            f"np.{function.__name__} of Rasters: those taken are ufuncs and {known}; raster.compute() gives an array"
        )
    return found(*inputs, **options)
