"""Generated modules under Numba: the comparison's parallel loop, and what tests hold tilejit's own compiler to."""

from __future__ import annotations

import ctypes
from types import FunctionType
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.jit.modules import module_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from tilejit.compiler.form.c_functions import CFunction


def numba_module(text: str, name: str, c_functions: Iterable[CFunction] = ()) -> ModuleType:
    """Returns the module of a text: functions that Numba compiles when they are called.

    Example:
        >>> numba_module("from tilejit.compiler.jit.operations import _minimum", "example")._minimum(3, 2)
        2
    """
    from numba import njit

    module = module_of(text, name)
    for called in c_functions:
        types = map(np.ctypeslib.as_ctypes_type, map(np.dtype, called.pointer.types))
        setattr(module, called.name, ctypes.CFUNCTYPE(*types)(called.pointer.address))
    functions = {name: f for name, f in vars(module).items() if isinstance(f, FunctionType)}
    vars(module).update({name: njit(error_model="numpy")(f) for name, f in functions.items()})
    return module
