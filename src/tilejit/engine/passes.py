"""Passes: a run whose kernels take what earlier passes over the rasters make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.engine.planning.planner import awaited, bound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.engine.pipeline.journal import Journal
    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.planning.planner import Job


def run_passes(
    job: Job, run: Callable[[Job], Report], journal: Journal | None = None
) -> tuple[Job, tuple[Report, ...]]:
    """Runs the passes before the last, if no journal has what they made.

    Args:
        job: All passes.
        run: Runs one that writes nothing.
        journal: Where the numbers are kept that the last pass takes.

    Returns:
        The last pass, whose parameters are numbers now, and what each of the others did.
    """
    if journal is not None and journal.numbers is not None:
        return bound(job, journal.numbers), ()
    results: dict[tuple[Any, ...], Any] = {}
    reports = []
    for earlier in job.earlier:
        report = run(bound(earlier, _numbers(earlier, results)))
        reports.append(report)
        results |= {r.key: result for r, result in zip(earlier.reduced, report.results[1:], strict=True)}
    numbers = _numbers(job, results)
    if journal is not None and numbers:
        journal.note_numbers(numbers)
    return bound(job, numbers), tuple(reports)


def _numbers(job: Job, results: Mapping[tuple[Any, ...], Any]) -> list[float]:
    return [statistic.of(results[statistic.reduced.key]) for statistic in awaited(job)]
