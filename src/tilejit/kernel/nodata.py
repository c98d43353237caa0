"""Nodata: which value stands for it, and tiles that hold nothing else.

A raster's rim and its sea are tiles without a valid cell, and where nodata propagates so are the results: they are
known cheaply, carried as one value, and not computed with.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_ROWS = 64
"""Rows that are scanned at once: their flags stay in a core's cache, and a scan ends soon after a valid cell."""


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
    """Returns the nodata value as a plain number; NaN is one object, so that plans that hold it compare."""
    value: float = nodata_value(dtype, given).item()
    return math.nan if math.isnan(value) else value


@functools.lru_cache(maxsize=256, typed=True)
def nodata_value(dtype: np.dtype, given: float | None) -> Any:
    """Returns the nodata value as a scalar of ``dtype``, which must hold it: ParameterError."""
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


def is_nodata_tile(cells: Array, valid: Array | None, nodata: float | None) -> bool:
    """Whether no cell of a tile is valid, by a plane of validity, by NaN, or by the nodata value of integers.

    Five cells tell most tiles apart, so that looking costs microseconds; only one whose five are invalid is scanned, up
    to the first valid cell.

    Example:
        >>> is_nodata_tile(np.full((9, 9), np.nan), None, None), is_nodata_tile(np.zeros((9, 9), np.uint8), None, 0)
        (True, True)
    """
    if is_constant(cells):
        return True
    if valid is not None:
        return _all(valid, lambda part: part == 0)
    if cells.dtype.kind == "f":
        return _all(cells, np.isnan)
    return nodata is not None and _all(cells, lambda part: part == nodata)


def _all(cells: Array, is_invalid: Any) -> bool:
    rows, cols = cells.shape
    if not cells.size:
        return False
    corners = cells[:: max(1, rows - 1), :: max(1, cols - 1)]
    if not is_invalid(corners).all() or not is_invalid(cells[rows // 2, cols // 2]):
        return False
    return all(bool(is_invalid(cells[row : row + _ROWS]).all()) for row in range(0, rows, _ROWS))


def constant(values: Array, shape: tuple[int, int]) -> Array:
    """One value for each band, as a (band, row, col) array that takes no memory: rows and columns have strides of 0."""
    return np.broadcast_to(values[:, np.newaxis, np.newaxis], (len(values), *shape))


def is_constant(array: Array) -> bool:
    """Whether an array is known to hold one value for each band, by its strides alone.

    Example:
        >>> is_constant(constant(np.float32([7]), (4, 4))), is_constant(np.zeros((1, 4, 4)))
        (True, False)
    """
    return array.strides[-2:] == (0, 0)
