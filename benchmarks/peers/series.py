"""Contenders in turn over jobs, compressors and sizes; every result compared with tilejit's."""

from __future__ import annotations

import shutil
import statistics
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.compare import difference, profile_of
from peers.jobs import CREATION, JOBS, OUR_DEFAULTS, PROFILES, Job
from peers.measure import ContenderError, Warm, run
from peers.roster import CODEC, CONTENDERS, FLOOR, OURS, Contender
from peers.task import Task
from terrain import write_bands, write_terrain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Runner = Callable[[str, Task, float], dict[str, Any]]

_WARM_UP = 512
"""Size of the raster that fills the caches of compiled code."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is run."""

    sizes: tuple[int, ...]
    """Rows and columns, ascending."""
    rounds: int
    """Runs of each contender, in turn with the others."""
    jobs: tuple[str, ...] = tuple(JOBS)
    """Jobs by name."""
    profiles: tuple[str, ...] = tuple(PROFILES)
    """Compressors by name; the first is run with every job, others with ``few``."""
    few: tuple[str, ...] = ("ndvi", "slope")
    """The jobs that are run with every compressor."""
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    """Contenders by module."""
    large: int = 16384
    """Above this size tilejit and the floor run alone, with ``large_jobs``."""
    large_jobs: tuple[str, ...] = ("ndvi", "slope", "mean")
    """The jobs at sizes above ``large``; three outputs of 17 GB would not fit most disks."""
    limit: float = 300.0
    """Seconds; who would take longer, going by the size before, is not run."""
    is_small: bool = False
    """Whether figures say nothing: nobody warms up, and one process of each does all."""

    @property
    def alone(self) -> tuple[str, ...]:
        """Who runs at sizes above ``large``."""
        return tuple(name for name in self.contenders if name in (OURS, FLOOR, CODEC))

    def groups(self) -> Iterator[tuple[int, str, str]]:
        """Yields size, job and compressor, smaller sizes first."""
        for size in self.sizes:
            for profile in self.profiles:
                for job in self.jobs:
                    if (profile == self.profiles[0] or job in self.few) and (
                        size <= self.large or job in self.large_jobs
                    ):
                        yield size, job, profile


@dataclass(frozen=True, slots=True)
class Row:
    """What one contender came to with one job, compressor and size."""

    size: int
    """Rows and columns."""
    job: str
    """The job's name."""
    profile: str
    """The compressor's name."""
    contender: str
    """The contender's module."""
    note: str = ""
    """Why it was not run, or how it failed; empty where all is well."""
    estimate: float | None = None
    """Seconds that it would take, going by the size before, where that is why it was not run."""
    medians: dict[str, float] = field(default_factory=dict)
    """``wall``, ``cpu``, ``process``, ``peak``, ``bytes`` and, for tilejit, ``read_ratio``."""
    apart: dict[str, Any] = field(default_factory=dict)
    """Output -> the largest difference from tilejit's, None where it is not compared."""
    rounds: tuple[dict[str, Any], ...] = ()
    """All figures of all rounds."""

    @property
    def key(self) -> tuple[int, str, str, str]:
        """What was run."""
        return self.size, self.job, self.profile, self.contender

    @staticmethod
    def of(fields: dict[str, Any]) -> Row:
        """Returns a row that was written as JSON."""
        return Row(**(fields | {"rounds": tuple(fields["rounds"])}))


def measure(choice: Choice, folder: Path) -> list[Row]:
    """Runs all that is chosen and installed.

    Args:
        choice: What to run.
        folder: Where data and results go; results are deleted on the way.

    Returns:
        A row for each contender, size, job and compressor.

    Raises:
        ContenderError: tilejit failed. Where another does, or makes other pixels, its row says so.
    """
    absent = {name: CONTENDERS[name].why_not() for name in choice.contenders}
    rows: list[Row] = []
    with Warm() as warm:
        for group in (_Group(JOBS[job], profile, size, folder) for size, job, profile in choice.groups()):
            able = []
            for name in choice.contenders if group.size <= choice.large else choice.alone:
                note, estimate = _why_not(CONTENDERS[name], absent[name], group, choice.limit, rows)
                if note:
                    rows.append(Row(*group.key, name, note, estimate))
                else:
                    able.append(name)
            print(*group.key, ", ".join(able), file=sys.stderr, flush=True)
            if choice.is_small:
                rows += group.run(able, choice.rounds, choice.limit, warm.run)
                continue
            if (group.size, group.profile) == (choice.sizes[0], choice.profiles[0]):
                replace(group, size=_WARM_UP).run(able, 1, choice.limit)
            rows += group.run(able, choice.rounds, choice.limit)
    return rows


def _why_not(
    contender: Contender, absent: str | None, group: _Group, limit: float, rows: Sequence[Row]
) -> tuple[str, float | None]:
    """Why a contender does not run: it is not there, has no such job, or would take too long."""
    if absent:
        return absent, None
    if group.job.name not in contender.jobs:
        return "has no such job", None
    if not group.fits():
        return f"needs {group.bytes_needed / 1e9:.0f} GB of disk", None
    for row in reversed(rows):
        if (row.job, row.profile, row.contender) == (group.job.name, group.profile, contender.module):
            known = row.medians.get("wall", row.estimate)
            expected = None if known is None else known * (group.size / row.size) ** 2
            if expected is not None and expected > limit:
                return f"about {expected:.0f} s, going by {row.size} x {row.size}", expected
            return (row.note, None) if known is None else ("", None)
    return "", None


@dataclass(frozen=True, slots=True)
class _Group:
    """One job, compressor and size."""

    job: Job
    """The job."""
    profile: str
    """The compressor's name."""
    size: int
    """Rows and columns."""
    folder: Path
    """Where files go."""

    @property
    def key(self) -> tuple[int, str, str]:
        """Size, job and compressor by name."""
        return self.size, self.job.name, self.profile

    @property
    def bytes_needed(self) -> int:
        """What inputs still to be made, tilejit's results and another's take on the disk, uncompressed."""
        inputs = 0 if self._has_inputs() else 4
        return self.size**2 * (inputs + 8 * len(self.job.outputs))

    def fits(self) -> bool:
        """Returns whether the disk has room."""
        return shutil.disk_usage(self.folder).free > self.bytes_needed

    def run(self, names: Sequence[str], rounds: int, limit: float, runner: Runner | None = None) -> list[Row]:
        """Runs contenders in turn, each round in another order."""
        self._make_inputs()
        kept = self._task(OURS, "reference")
        run(OURS, kept, limit * 10)
        figures: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        apart: dict[str, dict[str, Any]] = {}
        notes: dict[str, str] = {}
        for k in range(rounds):
            start = k % max(1, len(names))
            for name in [*names[start:], *names[:start]]:
                if name in notes:
                    continue
                task = self._task(name, "result", kept.outputs)
                try:
                    figures[name].append((runner or run)(name, task, limit * 2))
                    if not k:
                        apart[name] = self._compare(CONTENDERS[name], task)
                except ContenderError as error:
                    notes[name] = str(error)
                _remove(task.outputs)
        _remove(kept.outputs)
        return [
            Row(
                *(*self.key, name, notes.get(name, "")),
                medians=_medians(figures[name]),
                apart=apart.get(name, {}),
                rounds=tuple(figures[name]),
            )
            for name in names
        ]

    def _task(self, name: str, label: str, finished: tuple[str, ...] = ()) -> Task:
        inputs = tuple(str(self._input(n)) for n in self.job.inputs)
        written = () if name == CODEC else self.job.outputs
        outputs = tuple(str(self.folder / f"{label}-{name}-{o.name}.tif") for o in written)
        _remove(outputs)
        creation = CREATION | PROFILES[self.profile]
        if name == OURS:
            creation |= OUR_DEFAULTS.get(self.profile, {})
        return Task(self.job.name, inputs, outputs, finished, creation)

    def _input(self, name: str) -> Path:
        return self.folder / f"{self.size}-{name}.tif"

    def _has_inputs(self) -> bool:
        return all(self._input(name).exists() for name in self.job.inputs)

    def _make_inputs(self) -> None:
        if self._has_inputs():
            return
        if self.job.inputs == ("dem",):
            write_terrain(self._input("dem"), self.size, holes=True)
        else:
            write_bands(self._input("red"), self._input("nir"), self.size)

    def _compare(self, contender: Contender, task: Task) -> dict[str, Any]:
        """Holds a contender to tilejit's pixels and profile."""
        ours = [path.replace(f"result-{contender.module}-", f"reference-{OURS}-") for path in task.outputs]
        apart: dict[str, Any] = {}
        for output, first, second in zip(self.job.outputs if ours else (), ours, task.outputs, strict=True):
            what = f"{contender.title}: {output.name} at {self.size} x {self.size}"
            profiles = profile_of(first), profile_of(second)
            if profiles[0] != profiles[1] and output.name not in contender.other_profile:
                raise ContenderError(f"failed: {what} has the profile {profiles[1]}, not {profiles[0]}")
            if output.name in contender.other_pixels:
                apart[output.name] = None
                continue
            found = difference(first, second, output, self.job.border)
            if not found.equal:
                raise ContenderError(f"failed: {what} has other pixels: {found}, tolerance {output.tolerance}")
            apart[output.name] = found.worst
        return apart


def _medians(rounds: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians of the figures that are numbers."""
    names = [name for name, value in (rounds[0] if rounds else {}).items() if isinstance(value, (int, float))]
    return {name: statistics.median(one[name] for one in rounds) for name in names}


def _remove(paths: Sequence[str]) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)
