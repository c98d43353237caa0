"""Comparing every strategy for being parallel on one's own kernel and raster."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.comparison.comparison import Comparison, Row, with_limits
from tilejit.comparison.measures import INSIDE, TrialSpec
from tilejit.comparison.runner import run_roofline, run_trial
from tilejit.comparison.sample import SampleFiles, make_sample
from tilejit.comparison.strategies import REFERENCE, STRATEGIES
from tilejit.engine.planning.graph import sources_of
from tilejit.errors import BackendError, ParameterError, TilejitError
from tilejit.formats.registry import check_no_input
from tilejit.formats.target import checked_file
from tilejit.raster.making import apply_kernel, from_array, open_raster, times_of
from tilejit.raster.raster import Raster
from tilejit.sizes import counted, format_size
from tilejit.system.limits import available_cores, available_memory
from tilejit.system.signals import ends_heard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tilejit.comparison.strategy import Strategy
    from tilejit.kernel.kernel import Edge, Kernel

    Tell = Callable[[str], None]

_FIRST_PIXELS = 1 << 22  # pixels of the first sample, which tells how many a second there are
_MOST_TIMES = 4  # how much longer than all cores a few may take: beyond that they get fewer rows of the sample
_STEP = 1024  # rows of the sample by which that goes: those of a piece


def compare(
    kernel: Kernel,
    *inputs: Any,
    cores: Iterable[int] | None = None,
    seconds: float = 1.0,
    strategies: Iterable[str] | None = None,
    html: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    edge: Edge | None = None,
    tell: Tell | None = None,
    **parameters: Any,
) -> Comparison:
    """Measures every strategy for being parallel on a sample of one's own job.

    Each strategy runs in processes of its own, held to its count of cores, over the same files, and its pixels are
    compared with tilejit's. Files are decoded and results stay in memory: how they are written is the same for all.

    Args:
        kernel: The kernel.
        *inputs: A path, a Raster, or an array for each raster parameter: of one band, or of a stack's layers.
        cores: Counts of cores; None for 1, 2, 4 … up to those that there are.
        seconds: How long the fastest strategy should take for the sample; no slower one runs much longer than that.
        strategies: Names of strategies; None for all.
        html: Where to write a report; it has charts where Matplotlib is installed.
        overwrite: Whether a report that is there may be replaced.
        edge: What lies outside the raster, instead of what the kernel declares; see `tilejit.focal`.
        tell: Called with a line before each strategy.
        **parameters: The kernel's keyword-only parameters.

    Returns:
        The figures; print it.

    Raises:
        KernelError: The kernel takes another number of inputs, cannot go to other processes, or it has no such edge.
        ParameterError: An input, a parameter, a count of cores or a strategy is not as it should be.
        BackendError: tilejit's own threads did not run.
        SinkError: The report cannot be written there; nothing is measured.

    Example:
        ``print(tj.compare(slope, "dem.tif", html="report.html"))``
    """
    if os.environ.get(INSIDE):
        raise ParameterError(
            f"{kernel.source.file} compares when it is imported, as the processes that are compared do: "
            'put that under  if __name__ == "__main__":'
        )
    if edge is not None:
        kernel = kernel.with_edge(edge)
    kernel = kernel.taking(len(inputs)).with_parameters(parameters)
    rasters = [_raster(one) for one in inputs]
    _check(kernel, rasters, parameters)
    if html is not None:
        page = checked_file(os.fspath(html), overwrite=overwrite)
        sources = [source for raster in rasters for source in sources_of(raster.bands)]
        check_no_input(os.fspath(html), [page], sources, "the report")
    chosen, counts = _chosen(strategies), _counts(cores)
    if not seconds > 0:
        raise ParameterError(f"seconds={seconds!r}; it is how long the fastest strategy should take, more than 0")
    with ends_heard(), tempfile.TemporaryDirectory(prefix="tilejit-compare-") as folder:
        comparing = _Comparing(kernel, rasters, parameters, seconds, Path(folder), tell or (lambda _: None))
        found = comparing.compare(chosen, counts)
    if html is not None:
        found.save_html(html, overwrite=overwrite)
    return found


def _raster(one: Any) -> Raster:
    if isinstance(one, Raster):
        return one
    return from_array(one) if isinstance(one, np.ndarray) else open_raster(one)


def _check(kernel: Kernel, rasters: Sequence[Raster], parameters: dict[str, Any]) -> None:
    """Refuses what planning refuses, before any process is started."""
    apply_kernel(kernel, rasters, parameters).plan(backend="cpu")


def _chosen(names: Iterable[str] | None) -> list[Strategy]:
    if names is None:
        return list(STRATEGIES.values())
    wanted = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in STRATEGIES]
    if unknown:
        raise ParameterError(f"no strategy {', '.join(unknown)}; there are {', '.join(STRATEGIES)}")
    return [strategy for name, strategy in STRATEGIES.items() if name in {*wanted, REFERENCE}]


def _counts(cores: Iterable[int] | None) -> list[int]:
    """The counts of cores, from the least: 1, 2, 4 … and all that there are unless they are given."""
    there = available_cores()
    if cores is None:
        return sorted({1, there, *(1 << k for k in range(there.bit_length()) if 1 << k <= there)})
    counts = sorted(set(cores))
    if not counts or counts[0] < 1 or counts[-1] > there:
        raise ParameterError(f"cores={counts}; this process may use 1 to {there}")
    return counts


class _Comparing:
    """The rasters, the folder of samples, and what is said meanwhile."""

    def __init__(  # noqa: PLR0917 - what a comparison is of
        self, kernel: Kernel, rasters: Sequence[Raster], parameters: dict[str, Any], seconds: float, folder: Path,
        tell: Tell,
    ) -> None:  # fmt: skip
        self._kernel, self._rasters = kernel, rasters
        self._parameters = {n: v.item() if isinstance(v, np.generic) else v for n, v in parameters.items()}
        self._seconds, self._folder, self._tell = seconds, folder, tell
        self._cache = folder / "cache"

    def compare(self, strategies: Sequence[Strategy], counts: Sequence[int]) -> Comparison:
        self._most = counts[-1]
        self._tell("choosing a sample")
        first = make_sample(self._rasters, _FIRST_PIXELS, self._folder)
        spec = self._spec(REFERENCE, counts[-1], first, self._folder / "first.npy")
        self._tell("measuring what the machine can do")
        roofline = run_roofline(spec, counts, self._cache)
        sample = self._sized(first, run_trial(spec, self._cache).speed)
        # The reference is made first, whatever the order of the table.
        reference = self._folder / "reference.npy"
        own = {n: self._measured(REFERENCE, n, sample, reference) for n in reversed(counts)}
        if own[counts[-1]].measured is None:
            raise BackendError(f"{own[counts[-1]]} {own[counts[-1]].why_not}")
        rows: list[Row] = []
        for one in strategies:
            if one.name == REFERENCE:
                rows += [own[n] for n in counts]
            elif (obstacle := one.why_not()) is not None:
                rows.append(Row(one.name, 1, None, obstacle))
            else:
                rows += [self._measured(one.name, n, sample, reference) for n in counts[: 1 if one.is_serial else None]]
        return Comparison(
            kernel=self._kernel.name,
            inputs=tuple(raster.label for raster in self._rasters),
            pixels=self._rasters[0].grid.height * self._rasters[0].grid.width,
            sample=sample,
            roofline=roofline,
            rows=with_limits(rows, roofline),
            machine=_machine(),
        )

    def _sized(self, first: SampleFiles, speed: float) -> SampleFiles:
        """A sample that the fastest strategy takes so many seconds for; the first where that is about enough."""
        wanted = int(speed * 1e6 * self._seconds)
        if first.pieces == 0 or wanted <= 1.5 * first.pixels:
            return first
        folder = self._folder / "larger"
        folder.mkdir()
        return make_sample(self._rasters, wanted, folder)

    def _measured(self, name: str, cores: int, sample: SampleFiles, reference: Path) -> Row:
        self._tell(f"measuring {name}, {counted(cores, 'core')}")
        try:
            return Row(name, cores, run_trial(self._spec(name, cores, sample, reference), self._cache))
        except TilejitError as error:
            return Row(name, cores, None, str(error))

    def _spec(self, name: str, cores: int, sample: SampleFiles, reference: Path) -> TrialSpec:
        share = min(1.0, _MOST_TIMES * cores / self._most)
        rows = min(sample.height, math.ceil(share * sample.height / _STEP) * _STEP)
        dates = tuple(map(times_of, self._rasters))
        return TrialSpec(
            name, cores, self._kernel, sample.inputs, self._parameters, rows, self._seconds, str(reference), dates
        )


def _machine() -> str:
    memory = available_memory()
    free = f", {format_size(memory)} free" if memory is not None else ""
    versions = f"Python {platform.python_version()}, Numba {version('numba')}"
    return f"{_processor()}, {counted(available_cores(), 'core')}{free}, {versions}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {platform.machine()}"
    return f"{platform.processor()}, {platform.machine()}"
