"""What Numba's CUDA simulator lacks: C's arithmetic, which neither raises nor warns."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form import MATH

if TYPE_CHECKING:
    from collections.abc import Callable


def speak_c(module: Any) -> None:
    """Lets a module behave in the simulator as on a device, where no arithmetic raises or warns."""
    module.math = SimpleNamespace(**{name: getattr(np, name, None) or _of_python(name) for name in MATH})
    module.i64, module.u64 = _signed, _unsigned
    module.launch.fn = _Silent(module.launch.fn)


class _Silent:
    """A function without NumPy's warnings: errstate holds for one thread, and the simulator has one for each pixel."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.__globals__ = function.__globals__  # where the simulator puts its own ``cuda``

    def __call__(self, *arguments: Any) -> None:
        with np.errstate(all="ignore"):
            self.function(*arguments)


def _of_python(name: str) -> Callable[[Any], Any]:
    """A function of ``math`` that NumPy does not have: erf, erfc, gamma, lgamma."""

    def function(value: Any) -> Any:
        try:
            return getattr(math, name)(value)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return function


def _unsigned(value: Any) -> np.uint64:
    return np.uint64(int(value) % 2**64)


def _signed(value: Any) -> np.int64:
    return _unsigned(value).view(np.int64)
