"""The C library's functions of floats, for compiled code: NumPy's own differ in the last bit on some processors."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMES = {n: n for n in ("acos", "acosh", "asin", "asinh", "atanh", "cosh", "erf", "erfc", "expm1", "lgamma", "log10",
                         "log1p", "log2", "sinh", "tan", "tanh")} | {"gamma": "tgamma"}  # fmt: skip
"""Functions of ``math`` -> what C calls them."""


_NUMPY_NAMES = {"asin": "arcsin", "acos": "arccos", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
                "pow": "power"}  # fmt: skip


@functools.cache
def c_math(name: str, compute: Any) -> Callable[..., float]:
    """Returns a function of float32 or float64.

    Example:
        >>> import math
        >>> c_math("log10", np.float64)(2.0) == math.log10(2.0)
        True
    """
    library = _library()
    function: Any = None
    if name in _NAMES and library is not None:
        with contextlib.suppress(AttributeError):
            function = getattr(library, _NAMES[name] + "f" * (compute is np.float32))
    if function is None:
        return functools.partial(_float_math, name)
    kind = ctypes.c_float if compute is np.float32 else ctypes.c_double
    function.argtypes, function.restype = [kind], kind
    return lambda value: float(function(value))


@functools.cache
def _library() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("m")
    return None if name is None else ctypes.CDLL(name)


def _float_math(name: str, *values: Any) -> float:
    """A function of ``math`` that follows C instead of raising."""
    function = getattr(np, _NUMPY_NAMES.get(name, name), None)
    if function is not None:
        return float(function(*values))
    try:
        return float(getattr(math, name)(*values))
    except ValueError:
        return math.nan
    except OverflowError:
        return math.inf
