"""What generated modules for the CPU call, said in Python. `plain_calls` and `lanes` write it in a few instructions.

Tests and the comparison have Numba compile modules with these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAST, _MOST = -(2**63), 2**63 - 1


def _select(test: Any, a: Any, b: Any) -> Any:
    return a if test else b


def _minimum(a: Any, b: Any) -> Any:
    return b if b < a else a  # noqa: FURB136 - of NaN `min` is told nothing


def _maximum(a: Any, b: Any) -> Any:
    return b if b > a else a  # noqa: FURB136


def _isnan(a: Any) -> Any:
    return a != a  # noqa: PLR0124


def _within(i: Any, n: Any) -> Any:
    """The index, and the number of elements for one that is outside."""
    return i if 0 <= i < n else n


def _cut(value: Any) -> Any:
    """The float cut towards zero, held within 64 bits; 0 for NaN."""
    if value != value:  # noqa: PLR0124
        return 0
    if value >= 2.0**63:
        return _MOST
    return np.int64(value) if value > -(2.0**63) else _LEAST


def _int_of_32(value: Any) -> Any:
    """The bits of a float as an integer, and so below."""
    return np.float32(value).view(np.int32)


def _int_of_64(value: Any) -> Any:
    return np.float64(value).view(np.int64)


def _float_of_32(value: Any) -> Any:
    return np.int32(value).view(np.float32)


def _float_of_64(value: Any) -> Any:
    return np.int64(value).view(np.float64)


def _local(dtype: str, size: int) -> Callable[[], Any]:
    """Makes a function that makes a local array: memory of the stack, or registers where indices are literals."""
    kind = np.dtype(dtype)
    return lambda: np.empty(size, kind)


def _sorting(dtype: str, size: int, pairs: tuple[tuple[int, int], ...]) -> Callable[..., None]:
    """Makes a function that sorts the first elements of such an array, which ``pairs`` compares; NaN comes last."""
    del dtype, size, pairs

    def sort(array: Any, count: int) -> None:
        array[:count] = np.sort(array[:count] + array.dtype.type(0))  # -0.0 becomes 0.0

    return sort


def _sort_by_lanes(array: Any, keys: Any, counts: Any, pixels: int, lanes: int) -> None:  # noqa: ARG001
    """Sorts the first elements of arrays that lie beside each other; NaN comes last."""
    for x in range(pixels):
        elements = array[x::lanes][: counts[x]]
        elements[:] = np.sort(elements + array.dtype.type(0))


def _c_function(name: str, result: str, *arguments: str) -> Callable[..., Any]:
    """Makes what stands for a C function, whose address is told when the module is loaded."""

    def missing(*_: Any) -> Any:
        raise NotImplementedError(f"{result} {name}({', '.join(arguments)})")

    return missing
