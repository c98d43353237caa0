"""The predictors, compiled: from Numba's on-disk cache in every process but the first."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from tilejit.jit_cache import load_module

if TYPE_CHECKING:
    from types import ModuleType

_DECORATE = """

from numba import njit as _njit

for _name in COMPILED:
    globals()[_name] = _njit(error_model="numpy", nogil=True, cache=True)(globals()[_name])
"""


@functools.cache
def compiled_predictors() -> ModuleType:
    """Returns `tilejit.codecs.predictors` with its functions compiled.

    It is a copy in the user's private cache folder: Numba would keep its files beside the package, which need not be
    writable, or wherever NUMBA_CACHE_DIR says, which others may write to.
    """
    import numba

    text = Path(__file__).with_name("predictors.py").read_text("utf-8")
    return load_module(text + _DECORATE, "predictors", f"numba {numba.__version__}")
