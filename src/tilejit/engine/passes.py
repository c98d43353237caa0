"""Passes: a run whose kernels take what earlier passes over the rasters make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.engine.planning.planner import bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.engine.pipeline.report import Report
    from tilejit.engine.planning.planner import Job


def run_passes(job: Job, run: Callable[[Job], Report]) -> tuple[Job, tuple[Report, ...]]:
    """Runs the passes before the last.

    Args:
        job: All passes.
        run: Runs one that writes nothing.

    Returns:
        The last pass, whose parameters are numbers now, and what each of the others did.
    """
    results: dict[tuple[Any, ...], Any] = {}
    reports = []
    for earlier in job.earlier:
        report = run(bound(earlier, results))
        reports.append(report)
        results |= {r.key: result for r, result in zip(earlier.reduced, report.results[1:], strict=True)}
    return bound(job, results), tuple(reports)
