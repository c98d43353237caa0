"""Statistics of Rasters: lazy numbers, each a pass over the raster where it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from tilejit.engine.executors import opened
from tilejit.engine.pipeline.report import progress_bar
from tilejit.engine.pipeline.run import run_job
from tilejit.engine.planning.graph import Reduced, Statistic
from tilejit.engine.planning.planner import make_job, request_of
from tilejit.errors import ParameterError
from tilejit.raster.options import RunOptions
from tilejit.raster.running import LazyRaster, warned, warning_of
from tilejit.system.signals import ends_heard

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.engine.planning.plan import Plan
    from tilejit.engine.reductions import Reduction


def run_reduced(reduced: Sequence[Reduced], label: str, options: RunOptions) -> tuple[Any, ...]:
    """Computes what one pass reduces bands to, all on one grid."""
    bands = [band for one in reduced for band in one.bands]
    with (
        ends_heard(),
        opened(options.executor, options.workers) as executor,
        progress_bar(label, show=options.progress) as progress,
    ):
        requests = [request_of(one) for one in reduced]
        job = make_job(reduced[0].grid, requests, options.settings(bands, executor))
        report = run_job(job, [], executor, progress=progress)
    return warned(report.results[1:], warning_of(label, report, job))


class LazyNumber(Statistic):
    """A statistic of a raster: ``float()`` computes it, a kernel takes it as a parameter.

    As a parameter it becomes an earlier pass of the same run; statistics of rasters on one grid ride on one pass. It
    has the same bits whatever the tiling, the threads or the executor.
    """

    __slots__ = ()

    def __float__(self) -> float:
        """Computes it, on all cores."""
        return self.of(*run_reduced([self.reduced], repr(self), RunOptions(progress=False)))


@dataclass(frozen=True, slots=True)
class LazyHistogram:
    """A histogram of a raster that is not computed yet."""

    reduced: Reduced
    """What it is made of."""

    def plan(self) -> Plan:
        """Returns how it would be computed: one pass, or two where the first finds the ends."""
        settings = RunOptions().settings(self.reduced.bands)
        return make_job(self.reduced.grid, [request_of(self.reduced)], settings).plan

    def compute(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Computes it, on all cores: the counts of the classes, and their edges, one more.

        Raises:
            ReadError: A block cannot be read, or the ends are found to be infinite.
        """
        counts, edges = run_reduced([self.reduced], repr(self), RunOptions(progress=False))[0]
        return counts, edges

    def __repr__(self) -> str:
        return f"histogram of {self.reduced.bands[0].label}"


class Statistics(LazyRaster):
    """What a Raster of one band tells of its valid cells; each is a `LazyNumber`."""

    __slots__ = ()

    def count(self) -> LazyNumber:
        """Returns how many cells hold data."""
        return self._moment("count")

    def sum(self) -> LazyNumber:
        """Returns the sum of its cells: the number nearest to the exact one."""
        return self._moment("sum")

    def mean(self) -> LazyNumber:
        """Returns the mean of its cells: the number nearest to the exact one.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> float(tj.from_array(np.float32([[1, 2], [np.nan, 6]])).mean())
            3.0
        """
        return self._moment("mean")

    def std(self) -> LazyNumber:
        """Returns the standard deviation of its cells, of the population as NumPy's (``ddof=0``)."""
        return self._moment("std")

    def min(self) -> LazyNumber:
        """Returns the least of its cells."""
        return self._moment("min")

    def max(self) -> LazyNumber:
        """Returns the greatest of its cells."""
        return self._moment("max")

    @overload
    def percentile(self, percent: float, /) -> LazyNumber: ...
    @overload
    def percentile(self, first: float, second: float, /, *more: float) -> tuple[LazyNumber, ...]: ...
    def percentile(self, *percents: float) -> LazyNumber | tuple[LazyNumber, ...]:
        """Returns percentiles of its cells, one number for each percent.

        Of integers of 8 and 16 bits they are exact, interpolated between ranks as NumPy's. Others are counted in
        classes of 1/2048 of their size, so that one pass in bounded memory does: a percentile is at most so much off.

        Args:
            *percents: From 0 to 100.

        Raises:
            ParameterError: One is no percentage, or there is none.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> low, high = tj.from_array(np.arange(101, dtype=np.uint8)[np.newaxis]).percentile(2, 98)
            >>> float(low), float(high)
            (2.0, 98.0)
        """
        if not percents:
            raise ParameterError("percentile() of no percentage: give one or more, percentile(2, 98)")
        for percent in percents:
            if not 0 <= percent <= 100:
                raise ParameterError(f"percentile({percent!r}): percents are from 0 to 100")
        from tilejit.engine.reductions import RankCounts

        made = tuple(
            self._lazy(RankCounts("counts by value, for percentiles"), "percentile", (float(p),)) for p in percents
        )
        return made if len(made) > 1 else made[0]

    def histogram(self, bins: int | Sequence[float] = 10, range: tuple[float, float] | None = None) -> LazyHistogram:  # noqa: A002
        """Returns how many of its cells lie in each class, as `numpy.histogram` has it.

        Args:
            bins: How many classes of equal width, or their edges, which rise.
            range: The ends of the classes; None: the least and the greatest cell, which an earlier pass finds.

        Raises:
            ParameterError: There is no class, or edges or ends do not rise.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> counts, edges = tj.from_array(np.float32([[0, 1, 5, 10]])).histogram(2).compute()
            >>> counts.tolist(), edges.tolist()
            ([2, 2], [0.0, 5.0, 10.0])
        """
        from tilejit.engine.histogram import classes

        reduction = classes(bins, range)
        after = None if reduction.edges else self._reduced(_moments())
        return LazyHistogram(self._reduced(reduction, after))

    def _moment(self, part: str) -> LazyNumber:
        return self._lazy(_moments(), part)

    def _lazy(self, reduction: Reduction, part: str, arguments: tuple[float, ...] = ()) -> LazyNumber:
        return LazyNumber(self._reduced(reduction), part, arguments)

    def _reduced(self, reduction: Reduction, after: Reduced | None = None) -> Reduced:
        if len(self.bands) != 1:
            raise ParameterError(
                f"a statistic is of one band, and there are {len(self.bands)}: choose one with .band(1)"
            )
        return Reduced(self.grid, self.bands, reduction, after)


def _moments() -> Reduction:
    from tilejit.engine.reductions import Moments

    return Moments("count, sum, mean, std, min, max")
