"""The predictors, compiled."""

from __future__ import annotations

import functools
from pathlib import Path

from tilejit.jit.native_function import NativeFunction
from tilejit.jit.object_code import OPTIONS

_DECORATE = f"""

from numba import njit as _njit

for _name in COMPILED:
    globals()[_name] = _njit(**{{{OPTIONS}}})(globals()[_name])
"""


@functools.cache
def predictor(name: str) -> NativeFunction:
    """Returns a function of `tilejit.codecs.predictors` as machine code.

    Args:
        name: One of its ``COMPILED``.
    """
    text = Path(__file__).with_name("predictors.py").read_text("utf-8")
    return NativeFunction(text + _DECORATE, name, f"predictors_{name}")
