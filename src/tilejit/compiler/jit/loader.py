"""Which way compiled functions are called: as machine code where Numba's inner parts are what tilejit knows."""

from __future__ import annotations

import functools
import importlib.metadata
import os
from typing import TYPE_CHECKING

import numpy as np

from tilejit.compiler.jit.cache import kept_place
from tilejit.compiler.jit.dispatcher import load_dispatcher
from tilejit.compiler.jit.kept import read_kept, write_kept
from tilejit.compiler.jit.machine_code import MachineCode, load_machine_code
from tilejit.compiler.jit.object_code import OPTIONS, compile_object, compiler, processor
from tilejit.compiler.jit.private_module import private_module

if TYPE_CHECKING:
    from tilejit.compiler.jit.generated import Loader

TESTED = {
    "0.61": "0.44",
    "0.62": "0.45",
    "0.63": "0.46",
    "0.64": "0.46",
    "0.65": "0.47",
    "0.66": "0.48",
    "0.67": "0.49",
    "0.68": "0.50",
}
"""Series of Numba and of its llvmlite of which tilejit has called machine code in tests."""

_TRIAL = f'''"""Scales an array in place: is it called as Numba means it?"""

from numba import njit


@njit(**{{{OPTIONS}}})
def trial(cells, factor):
    for row in range(cells.shape[0]):
        for col in range(cells.shape[1]):
            cells[row, col] = factor * cells[row, col] + row
    return 1000 * cells.shape[0] + cells.size
'''
_PASSED = b"passed"


@functools.cache
def loader() -> tuple[Loader, str]:
    """Returns what loads functions in this process, and why it is not the faster one; empty where it is.

    ``TILEJIT_NATIVE=0`` asks for Numba's dispatchers.
    """
    obstacle = "TILEJIT_NATIVE is 0" if os.environ.get("TILEJIT_NATIVE") == "0" else _untested() or _misfit()
    return (load_dispatcher if obstacle else load_machine_code), obstacle


def _untested() -> str:
    """What is said of versions that were not tested; empty of others."""
    numba, llvmlite = (importlib.metadata.version(name) for name in ("numba", "llvmlite"))
    if TESTED.get(_series(numba)) == _series(llvmlite):
        return ""
    return f"{compiler()} is not among those tested (numba {', '.join(TESTED)})"


def _series(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _misfit() -> str:
    """What was other than expected when machine code was called, once for each version; empty where nothing was."""
    path = kept_place("trial", compiler(), processor(), _TRIAL, suffix=".trial")
    if path is not None and read_kept(path) == _PASSED:
        return ""
    try:
        _try()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other way is taken, and `tilejit info` tells
        return f"{compiler()}: {type(error).__name__}: {error}"
    if path is not None:
        write_kept(path, _PASSED)
    return ""


def _try() -> None:
    """Calls a function of an array, which is strided, and a number."""
    types = (np.dtype(np.float32), 2, "A"), (np.dtype(np.float64), 0, "")
    cells = np.arange(48, dtype=np.float32).reshape(6, 8)
    expected = cells.copy()
    expected[::-2, 1::3] = 0.5 * expected[::-2, 1::3] + np.arange(3)[:, np.newaxis]
    trial = MachineCode(types, compile_object(private_module(_TRIAL, "trial", {}), "trial", types))
    result = trial((cells[::-2, 1::3], 0.5))
    if result != 3009 or not np.array_equal(cells, expected):
        raise ValueError(f"a function of an array and a number returned {result} for 3009, or wrote other cells")
