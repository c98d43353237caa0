"""Statistics of Rasters: lazy numbers, each a pass over the raster where it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from tilejit.engine.executors import opened
from tilejit.engine.pipeline.report import progress_bar
from tilejit.engine.pipeline.run import run_job
from tilejit.engine.planning.graph import Reduced, Statistic
from tilejit.engine.planning.planner import make_job, request_of
from tilejit.errors import ParameterError, warn_caller
from tilejit.raster.options import RunOptions
from tilejit.raster.running import warning_of
from tilejit.system.signals import ends_heard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.engine.planning.graph import Band
    from tilejit.engine.reductions import Reduction
    from tilejit.grid import Grid


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
    warning = warning_of(label, report, job)
    if warning is not None:
        warn_caller(warning)
    return report.results[1:]


class LazyNumber(Statistic):
    """A statistic of a raster: ``float()`` computes it, a kernel takes it as a parameter.

    As a parameter it becomes an earlier pass of the same run; statistics of rasters on one grid ride on one pass. It
    has the same bits whatever the tiling, the threads or the executor.
    """

    __slots__ = ()

    def __float__(self) -> float:
        """Computes it, on all cores."""
        return self.of(*run_reduced([self.reduced], repr(self), RunOptions(progress=False)))


class Statistics:
    """What a Raster of one band tells of its valid cells; each is a `LazyNumber`."""

    __slots__ = ()

    grid: Grid
    bands: tuple[Band, ...]

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
            ParameterError: One is no percentage.

        Example:
            >>> import numpy as np
            >>> import tilejit as tj
            >>> low, high = tj.from_array(np.arange(101, dtype=np.uint8)[np.newaxis]).percentile(2, 98)
            >>> float(low), float(high)
            (2.0, 98.0)
        """
        for percent in percents:
            if not 0 <= percent <= 100:
                raise ParameterError(f"percentile({percent!r}): percents are from 0 to 100")
        from tilejit.engine.reductions import RankCounts

        made = tuple(
            self._lazy(RankCounts("counts by value, for percentiles"), "percentile", (float(p),)) for p in percents
        )
        return made if len(made) > 1 else made[0]

    def _moment(self, part: str) -> LazyNumber:
        from tilejit.engine.reductions import Moments

        return self._lazy(Moments("count, sum, mean, std, min, max"), part)

    def _lazy(self, reduction: Reduction, part: str, arguments: tuple[float, ...] = ()) -> LazyNumber:
        if len(self.bands) != 1:
            raise ParameterError(
                f"a statistic is of one band, and there are {len(self.bands)}: choose one with .band(1)"
            )
        return LazyNumber(Reduced(self.grid, self.bands, reduction), part, arguments)
