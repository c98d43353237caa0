"""Every way of being parallel that is compared: one class and one line of this table each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilejit.backends.numba_info import LAYERS
from tilejit.comparison.ways.interpreted import PlainPython, PythonProcesses, PythonThreads
from tilejit.comparison.ways.numba_ways import NumbaParallel, NumbaSerial, NumbaThreads
from tilejit.comparison.ways.own import Cuda, TilejitExecutor, TilejitMpi, TilejitThreads
from tilejit.comparison.ways.pool import PicklingPool, SharedMemoryPool

if TYPE_CHECKING:
    from tilejit.comparison.ways.base import Way

_ALL: tuple[Way, ...] = (
    PlainPython(),
    PythonThreads(),
    PythonProcesses(),
    NumbaSerial(),
    *(NumbaParallel(layer) for layer in LAYERS),
    NumbaThreads(),
    PicklingPool(),
    SharedMemoryPool(),
    TilejitThreads(),
    TilejitExecutor("processes", "fork and shm_open"),
    TilejitMpi(),
    TilejitExecutor("dask", "a job queue", "distributed"),
    Cuda(),
)
WAYS: dict[str, Way] = {way.name: way for way in _ALL}
"""Name -> way, in the order of tables."""
REFERENCE = TilejitThreads.name
"""Whose pixels the others are held to."""
