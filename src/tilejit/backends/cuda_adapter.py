"""The one way to ``numba.cuda``, which takes half a second to import: everything else asks here, on first use.

numba-cuda puts itself in the place of the ``numba.cuda`` that comes with Numba; its successor numba-cuda-mlir has
another name, and takes the same generated modules.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import os
from typing import Any

import numpy as np


def simulating() -> bool:
    """Whether NUMBA_ENABLE_CUDASIM is set: kernels run in Python, for tests.

    Read as Numba reads it, without the 0.1 s that importing Numba's configuration takes: planning asks this.
    """
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0").strip() not in {"", "0"}


@functools.cache
def numba_cuda() -> Any:
    """Imports ``numba.cuda`` and mends what stands in its way.

    Raises:
        ImportError: It cannot be loaded.
    """
    if not hasattr(np, "row_stack"):
        # numba-cuda 0.30 looks it up at the first compile, NumPy 2.5 removed it; upstream declined (#907, #916).
        setattr(np, "row_stack", np.vstack)  # noqa: B010 - NumPy's stubs do not have it
    cuda = importlib.import_module("numba.cuda")
    if not simulating():
        # A small tile is no mistake of the user's: under -W error the warning would stop the run.
        part("core.config").CUDA_LOW_OCCUPANCY_WARNINGS = 0
    return cuda


def part(name: str) -> Any:
    """Returns a module of ``numba.cuda``: numba-cuda's where that is installed, which Numba's own does not match."""
    return importlib.import_module(f"numba.cuda.{name}")


def versions() -> str:
    """Returns the versions that compiled code depends on."""
    found = [f"numba {importlib.metadata.version('numba')}"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found.append(f"numba-cuda {importlib.metadata.version('numba-cuda')}")
    return ", ".join(found)
