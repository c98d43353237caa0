"""Backends: one file and one line of this table each."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

from tilejit.errors import BackendError

if TYPE_CHECKING:
    from tilejit.backends.base import Backend

BACKENDS = {
    "python": "tilejit.backends.python:PythonBackend",
    "cpu": "tilejit.backends.cpu:CpuBackend",
    "cuda": "tilejit.backends.cuda:CudaBackend",
}
"""Name -> where the class is; a heavy import happens when its backend is first asked for."""


@functools.cache
def get_backend(name: str) -> Backend:
    """Returns the backend of that name.

    Raises:
        BackendError: There is none.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend {name!r}; there are {', '.join(BACKENDS)} and auto")
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend
