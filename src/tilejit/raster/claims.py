"""Ranks of an MPI program that each run the whole job: seen by the outputs that they would write over each other."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tilejit.errors import PlanError, SinkError
from tilejit.formats.target import hidden_beside, local_target
from tilejit.system.files import is_locked, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tilejit.engine.executors.base import Executor

_LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
"""The variables by which Open MPI, MVAPICH, MPICH and those like it, and Slurm tell a rank its number and their count.

Slurm sets its own in the one process of a batch script, too: that a rank has a count is no fault by itself."""


@contextmanager
def claimed(paths: Iterable[str], executor: Executor | None) -> Iterator[None]:
    """Holds the outputs of a run against other ranks, where this is one of several and each leads a run of its own.

    What is written in memory, and by one rank alone, is nobody else's concern: only names that meet are refused.
    """
    rank = _rank()
    if rank is None or (executor is not None and executor.name == "mpi"):
        yield
        return
    with ExitStack() as claims:
        for path in paths:
            claims.enter_context(_claim(path, rank))
        try:
            yield
        except SinkError as error:
            error.add_note(f"this is {rank}, and each that runs this runs all of it: {_ADVICE}")
            raise


_ADVICE = 'give the executor "mpi" for one run on all of them, or each an output of its own'


def _rank() -> str | None:
    """What this process is called among the ranks of its program; None where it is none of several."""
    for names in _LAUNCHERS:
        number, count = (os.environ.get(name, "") for name in names)
        if number.isdecimal() and count.isdecimal() and int(count) > 1:
            return f"rank {number} of the {count} of an MPI program"
    return None


@contextmanager
def _claim(path: str, rank: str) -> Iterator[None]:
    """Holds a file beside an output while it is written; it is let go with the process that holds it."""
    place = hidden_beside(local_target(path), "rank")
    try:
        descriptor = _locked(place)
    except BlockingIOError as error:
        raise PlanError(f"{path}: another rank writes it too, and this is {rank}: {_ADVICE}") from error
    if descriptor is None:
        yield
        return
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(place: Path) -> int | None:
    """A new file that this process alone has locked; None where the system or the file system has no locks."""
    while True:
        descriptor = open_regular(place, os.O_RDWR | os.O_CREAT)
        try:
            if is_locked(descriptor, place):
                return descriptor
        except (ImportError, OSError) as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise
            place.unlink(missing_ok=True)
            return None
        os.close(descriptor)
