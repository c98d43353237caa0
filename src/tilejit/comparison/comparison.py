"""A comparison: every way on every count of cores, as a value that prints and can be looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tilejit.comparison.limits import limit_of
from tilejit.comparison.ways import REFERENCE, WAYS

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from tilejit.comparison.limits import Limit
    from tilejit.comparison.outcome import Outcome
    from tilejit.comparison.roofs import Roofs
    from tilejit.comparison.sample import Sample

_EVEN = 1.1
"""Of ways that take about as long, the one that leaves less to write oneself is the one to use."""
_OWN = "tilejit "


@dataclass(frozen=True, slots=True)
class Row:
    """One way on one count of cores."""

    way: str
    """The way's name."""
    cores: int
    """Its cores."""
    outcome: Outcome | None
    """What was measured; None where it did not run."""
    why_not: str | None = None
    """Why it did not run."""
    limit: Limit | None = None
    """What limits it."""

    @property
    def is_right(self) -> bool:
        """Whether it ran and got tilejit's pixels; of ways that round otherwise, all but one in a thousand."""
        if self.outcome is None:
            return False
        allowed = 0 if WAYS[self.way].is_exact else self.outcome.pixels // 1000
        return self.outcome.different <= allowed


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `tilejit.compare` found out."""

    kernel: str
    """The kernel."""
    inputs: tuple[str, ...]
    """What it ran over."""
    pixels: int
    """Pixels of the whole raster."""
    sample: Sample
    """What was measured on."""
    roofs: Roofs
    """What the machine can do."""
    rows: tuple[Row, ...]
    """One for each way and count of cores, in order; one for each way that did not run."""
    machine: str
    """The machine."""

    @property
    def known(self) -> Mapping[str, float]:
        """Core seconds a pixel of decoding and computing, for ways that don't tell theirs."""
        return known_seconds(self.rows)

    def row(self, way: str, cores: int | None = None) -> Row:
        """Returns a way's row; that of its first count of cores unless one is given."""
        return next(r for r in self.rows if r.way == way and cores in {None, r.cores})

    def speed_up(self, row: Row) -> float | None:
        """Returns a row's speed over that of the same way on one core."""
        one = next((r for r in self.rows if r.way == row.way and r.cores == 1), row)
        if row.outcome is None or one.outcome is None or not one.outcome.speed:
            return None
        return row.outcome.speed / one.outcome.speed

    def over_python(self, row: Row) -> float | None:
        """Returns a row's speed over that of plain Python; None where that did not run."""
        plain = next((r.outcome for r in self.rows if r.way == "python"), None)
        return row.outcome.speed / plain.speed if row.outcome and plain and plain.speed else None

    def efficiency(self, row: Row) -> float | None:
        """Returns the speed-up over one core, divided by the cores."""
        speed_up = self.speed_up(row)
        return None if speed_up is None else speed_up / row.cores

    def whole_seconds(self, row: Row) -> float | None:
        """Returns how long the whole raster would take: start, loading, and all pixels at the sample's speed."""
        if row.outcome is None or not row.outcome.speed:
            return None
        return row.outcome.start + row.outcome.compile + self.pixels / 1e6 / row.outcome.speed

    @property
    def best(self) -> Row:
        """The row to use: the quickest over the whole raster, and of about equal ones tilejit's own."""
        timed = [(self.whole_seconds(r) or float("inf"), r) for r in self.rows if r.is_right]
        least = min(seconds for seconds, _ in timed)
        even = [r for seconds, r in timed if seconds <= _EVEN * least]
        own = [r for r in even if r.way.startswith(_OWN)]
        return min(own or even, key=lambda r: (r.way != REFERENCE, self.whole_seconds(r) or 0.0))

    @property
    def verdict(self) -> str:
        """The way to use, and why, in a sentence or two."""
        from tilejit.comparison.wording import verdict

        return verdict(self)

    def save_html(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a report with charts: one file that needs no other, and no network.

        Args:
            path: The file.
            overwrite: Whether one that is there may be replaced.

        Raises:
            SinkError: It cannot be written, or is there already.
        """
        from tilejit.comparison.report_page import write_page

        write_page(self, path, overwrite=overwrite)

    def __str__(self) -> str:
        from tilejit.comparison.wording import text

        return text(self)


def with_limits(rows: Sequence[Row], roofs: Roofs) -> tuple[Row, ...]:
    """Returns the rows with what limits each."""
    known = known_seconds(rows)
    return tuple(
        row if row.outcome is None else replace(row, limit=limit_of(row.outcome, row.cores, roofs, known))
        for row in rows
    )


def known_seconds(rows: Sequence[Row]) -> Mapping[str, float]:
    """Returns the core seconds a pixel of decoding and computing, where tilejit's own threads did so."""
    outcome = next((r.outcome for r in rows if r.way == REFERENCE and r.outcome is not None), None)
    if outcome is None:
        return {}
    return {stage: outcome.core(stage) / outcome.pixels for stage in ("decode", "compute")}
