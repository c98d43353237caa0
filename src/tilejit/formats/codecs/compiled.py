"""The predictors and LZW, compiled."""

from __future__ import annotations

import functools
from pathlib import Path

from tilejit.compiler.jit.machine_code import OPTIONS
from tilejit.compiler.jit.native_function import NativeFunction

_DECORATE = f"""

from numba import njit as _njit

for _name in COMPILED:
    globals()[_name] = _njit(**{{{OPTIONS}}})(globals()[_name])
"""


def predictor(name: str) -> NativeFunction:
    """Returns a function of `tilejit.formats.codecs.predictors` as machine code.

    Args:
        name: One of its ``COMPILED``.
    """
    return _compiled("predictors", name)


def lzw_decoder() -> NativeFunction:
    """Returns `tilejit.formats.codecs.lzw.decode_blocks` as machine code."""
    return _compiled("lzw", "decode_blocks")


@functools.cache
def _compiled(module: str, name: str) -> NativeFunction:
    text = Path(__file__).with_name(f"{module}.py").read_text("utf-8")
    return NativeFunction(text + _DECORATE, name, f"{module}_{name}")
