"""What GDAL's own programs share: their options, and several of them at a time."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers.task import Task

CONFIG = ("--config", "GDAL_NUM_THREADS", "ALL_CPUS")
"""Decodes and encodes on all cores where the program goes through several blocks at a time."""


def creation(task: Task, flag: str = "-co", **changed: str) -> list[str]:
    """Returns the creation options as arguments, some of them changed; all cores compress."""
    options = {**task.creation, "NUM_THREADS": "ALL_CPUS", **changed}
    return [argument for name, value in options.items() for argument in (flag, f"{name}={value}")]


def run_all(commands: Sequence[Sequence[str]]) -> None:
    """Runs programs at the same time, as ``&`` and ``wait`` do in a shell.

    Raises:
        SystemExit: One failed; with what it said.
    """
    programs = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    for program, command in zip(programs, commands, strict=True):
        complaint = program.communicate()[1]
        if program.returncode:
            raise SystemExit(f"{' '.join(command)}: {complaint}")
