"""Which value stands for nodata in a result."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tilejit.errors import ParameterError


def default_nodata(dtype: np.dtype) -> float | int:
    """Returns the nodata value of a dtype where none is given.

    NaN for floats; the largest value of unsigned integers; the smallest of signed ones, as GIS formats have it. Of
    64-bit ones it is the last that a float64 holds exactly, because GDAL's API passes it as one.

    Example:
        >>> default_nodata(np.dtype(np.int16)), default_nodata(np.dtype(np.uint8))
        (-32768, 255)
    """
    if dtype.kind == "f":
        return math.nan
    if dtype.itemsize == 8:
        return -(2**53) + 1 if dtype.kind == "i" else 2**53 - 1
    info = np.iinfo(dtype)
    return int(info.max if dtype.kind == "u" else info.min)


def holds_nodata(dtype: np.dtype, value: float | None) -> bool:
    """Returns whether a dtype can hold a nodata value.

    Example:
        >>> holds_nodata(np.dtype(np.uint8), -9999), holds_nodata(np.dtype(np.float32), -9999)
        (False, True)
    """
    if value is None:
        return False
    try:
        nodata_value(dtype, value)
    except ParameterError:
        return False
    return True


def plain_nodata(dtype: np.dtype, given: float | None) -> float:
    """Returns the nodata value as a plain number; NaN is one and the same object, so that plans that hold it compare.

    Raises:
        ParameterError: The dtype cannot hold it.
    """
    value: float = nodata_value(dtype, given).item()
    return math.nan if math.isnan(value) else value


@functools.lru_cache(maxsize=256, typed=True)
def nodata_value(dtype: np.dtype, given: float | None) -> Any:
    """Returns the nodata value as a scalar of ``dtype``.

    Raises:
        ParameterError: The dtype cannot hold it.
    """
    value = default_nodata(dtype) if given is None else given
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ParameterError(f"nodata={value!r} is no number")
    with np.errstate(over="ignore"):
        if dtype.kind != "f" and (value != int(value) if np.isfinite(value) else True):
            raise ParameterError(f"nodata={value!r} is no integer, and the output is {dtype}: choose another")
        if dtype.kind != "f" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            raise ParameterError(f"nodata={value!r} does not fit {dtype} ({low} to {high}): choose another")
        scalar = dtype.type(value)
        if np.isinf(scalar) and not np.isinf(value):
            raise ParameterError(f"nodata={value!r} does not fit {dtype}: choose another")
    return scalar
