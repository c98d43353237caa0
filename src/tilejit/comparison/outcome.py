"""What one trial found out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

INSIDE = "TILEJIT_COMPARING"
"""Set in every child to the pid of the process that compares. A script that compares when it is imported, as children
import it, would start more without end: this tells it that it is one."""
SAYS = "tilejit-trial "
"""Begins the lines in which a trial says something: a kernel may print as well."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way on one count of cores, measured."""

    start: float = 0.0
    """Seconds until all its processes had imported what they need."""
    compile: float = 0.0
    """Seconds in which the kernel was loaded, compiled already, by one process."""
    seconds: float = 0.0
    """Seconds of the quickest run: what else the machine does only ever adds."""
    runs: int = 0
    """How many were made."""
    pixels: int = 0
    """Pixels that a run computed."""
    share: float = 1.0
    """Which part of the sample that is."""
    cpu: float = 0.0
    """Core seconds of that run, of all its processes."""
    others: float = 0.0
    """Cores that other programs kept busy meanwhile."""
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Seconds by the clock and of cores in each stage, summed over threads; empty where it is not known.

    ``queue`` is no stage: seconds in which threads could have run and waited for a core."""
    traffic: float | None = None
    """Seconds of a run that moves the same arrays and computes nothing; None where nothing is moved."""
    memory: int | None = None
    """The most bytes that all its processes held together; None where the system does not tell."""
    different: int = 0
    """Pixels that differ from tilejit's: in any bit, or by more than arithmetic rounds where it is another."""
    distance: float = 0.0
    """The largest relative difference of the others."""

    @property
    def speed(self) -> float:
        """Mpx/s."""
        return self.pixels / 1e6 / self.seconds if self.seconds else 0.0

    def wall(self, stage: str) -> float:
        """Returns the seconds of a stage by the clock."""
        return self.stages.get(stage, (0.0, 0.0))[0]

    def core(self, stage: str) -> float:
        """Returns the core seconds of a stage."""
        return self.stages.get(stage, (0.0, 0.0))[1]

    @property
    def busy(self) -> float:
        """Cores that were busy, on average."""
        return self.cpu / self.seconds if self.seconds else 0.0

    @classmethod
    def of(cls, values: dict[str, Any]) -> Outcome:
        """Makes one of what a child process wrote."""
        stages = {name: (float(wall), float(cpu)) for name, (wall, cpu) in values.pop("stages", {}).items()}
        return cls(stages=stages, **values)
