"""A comparison: every strategy on every count of cores, as a value that prints and can be looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tilejit.comparison.measures import Limit, Measurement, Roofline, limit_of
from tilejit.comparison.strategies import REFERENCE, STRATEGIES
from tilejit.sizes import counted, format_size

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from tilejit.comparison.sample import SampleFiles

_EVEN = 1.1  # of strategies that take about as long, the one that leaves less to write oneself is the one to use
HEADINGS = ("strategy", "cores", "start", "compile", "Mpx/s", "speed-up", "over Python", "efficiency", "memory",
            "limited by", "pixels", "whole raster")  # fmt: skip
"""The columns of the table."""
WORDS = {"strategy", "limited by", "pixels"}  # columns of words, which are written from the left
_FAIR = (
    "every strategy decodes the same files with tilejit's reader and leaves its result in memory; each runs in "
    "processes of its own, held to its cores, up to fifteen times: the quickest, for what else runs only ever adds"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy on one count of cores."""

    strategy: str
    """The strategy's name."""
    cores: int
    """Its cores."""
    measured: Measurement | None
    """What was measured; None where it did not run."""
    why_not: str | None = None
    """Why it did not run."""
    limit: Limit | None = None
    """What limits it."""

    def __str__(self) -> str:
        return f"{self.strategy} on {counted(self.cores, 'core')}"

    @property
    def is_right(self) -> bool:
        """Whether it ran and got tilejit's pixels; of strategies that round otherwise, all but one in a thousand."""
        if self.measured is None:
            return False
        return self.measured.different <= (0 if STRATEGIES[self.strategy].is_exact else self.measured.pixels // 1000)

    @property
    def agreement(self) -> str:
        """How its pixels compare with tilejit's."""
        if self.measured is None:
            return ""
        if not self.is_right:
            return f"{self.measured.different:,} differ"
        distance = 0.0 if STRATEGIES[self.strategy].is_exact else self.measured.distance
        return f"to {distance:.0e}" if distance else "same bits"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `tilejit.compare` found out."""

    kernel: str
    """The kernel."""
    inputs: tuple[str, ...]
    """What it ran over."""
    pixels: int
    """Pixels of the whole raster."""
    sample: SampleFiles
    """What was measured on."""
    roofline: Roofline
    """What the machine can do."""
    rows: tuple[Row, ...]
    """One for each strategy and count of cores, in order; one for each strategy that did not run."""
    machine: str
    """The machine."""

    @property
    def title(self) -> str:
        """The kernel and its inputs."""
        return f"{self.kernel} over {', '.join(self.inputs)}"

    def row(self, strategy: str, cores: int | None = None) -> Row:
        """Returns a strategy's row; that of its first count of cores unless one is given."""
        return next(r for r in self.rows if r.strategy == strategy and cores in {None, r.cores})

    def speed_up(self, row: Row) -> float | None:
        """Returns a row's speed over that of the same strategy on one core."""
        one = next((r for r in self.rows if r.strategy == row.strategy and r.cores == 1), row)
        return _ratio(row, one)

    def over_python(self, row: Row) -> float | None:
        """Returns a row's speed over that of plain Python; None where that did not run."""
        return _ratio(row, next((r for r in self.rows if r.strategy == "python"), None))

    def efficiency(self, row: Row) -> float | None:
        """Returns the speed-up over one core, divided by the cores."""
        speed_up = self.speed_up(row)
        return None if speed_up is None else speed_up / row.cores

    def whole_seconds(self, row: Row) -> float | None:
        """Returns how long the whole raster would take: start, loading, and all pixels at the sample's speed."""
        if row.measured is None or not row.measured.speed:
            return None
        return row.measured.start + row.measured.compile + self.pixels / 1e6 / row.measured.speed

    @property
    def best(self) -> Row:
        """The row to use: the quickest over the whole raster, and of about equal ones tilejit's own."""
        timed = [(self.whole_seconds(r) or float("inf"), r) for r in self.rows if r.is_right]
        least = min(seconds for seconds, _ in timed)
        even = [r for seconds, r in timed if seconds <= _EVEN * least]
        own = [r for r in even if r.strategy.startswith("tilejit ")]
        return min(own or even, key=lambda r: (r.strategy != REFERENCE, self.whole_seconds(r) or 0.0))

    @property
    def verdict(self) -> str:
        """The strategy to use, and why, in a sentence or two."""
        best = self.best
        seconds, over = self.whole_seconds(best) or 0.0, self.over_python(best)
        parts = [f"{duration(seconds)} for the whole raster"]
        if over is not None:
            parts.append(f"{figure(over)} times as fast as plain Python")
        others = [r for r in self.rows if r.is_right and r.strategy != best.strategy]
        if others:
            other = min(others, key=lambda r: self.whole_seconds(r) or float("inf"))
            theirs = self.whole_seconds(other) or 0.0
            relation = "about as long as" if theirs < seconds else "the next is"
            parts.append(f"{relation} {other}, which takes {duration(theirs)}")
        limit = "" if best.limit is None else f" What limits it is {best.limit.name}: {best.limit.reason}."
        return f"Use {best}: {'; '.join(parts)}.{limit}"

    def cells(self, row: Row) -> tuple[str, ...]:
        """Returns a row's cells of the table; of a strategy that did not run the name, nothing, and the reason."""
        found = row.measured
        if found is None:
            return row.strategy, "", row.why_not or ""
        over, speed_up, efficiency = self.over_python(row), self.speed_up(row), self.efficiency(row)
        return (
            row.strategy,
            str(row.cores),
            f"{found.start:.2f} s",
            f"{found.compile:.2f} s",
            figure(found.speed),
            "" if row.cores == 1 or speed_up is None else f"{speed_up:.2f}",
            "" if over is None or row.strategy == "python" else figure(over),
            "" if row.cores == 1 or efficiency is None else f"{100 * efficiency:.0f} %",
            "" if found.memory is None else format_size(found.memory),
            row.limit.name if row.limit is not None else "",
            row.agreement,
            duration(self.whole_seconds(row) or 0.0),
        )

    @property
    def notes(self) -> list[str]:
        """What one must know to read the table: lines of a word and what is said of it."""
        sample, roofline, measured = self.sample, self.roofline, [r.measured for r in self.rows if r.measured]
        share = 100 * sample.pixels / self.pixels
        made = "" if not sample.pieces else f" in {sample.pieces} pieces that lie evenly over the raster"
        size = f"{sample.pixels / 1e6:.1f} of {self.pixels / 1e6:.1f} Mpx ({share:.0f} %){made}, {sample.note}"
        lines = [
            f"sample    {size}",
            f"fair      {_FAIR}",
            f"compile   {roofline.compile:.2f} s the first time; the table has what loading takes from then on",
            f"machine   {self.machine}",
            f"limits    {_limits(roofline)}",
        ]
        others = [one.others for one in measured]
        if sum(others) > 0.2 * len(others):
            lines.append(
                f"busy      other programs kept {sum(others) / len(others):.1f} cores busy meanwhile, "
                f"{max(others):.1f} at the worst: compare again when the machine is quiet"
            )
        part = {r.strategy: r.measured.share for r in self.rows if r.measured and r.measured.share < 1}
        if part:
            least = f"timed on {100 * min(part.values()):.2g} % of the sample or more, spread over it, and scaled"
            lines.append(f"parts     {', '.join(part)}: {least}")
        return lines

    def save_html(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a report with charts: one file that needs no other, and no network.

        The charts are Matplotlib's, and left out where it is not installed.

        Args:
            path: The file.
            overwrite: Whether one that is there may be replaced.

        Raises:
            SinkError: It cannot be written, or is there already.
        """
        from tilejit.comparison.page import Charts, Page

        ran = {row.strategy: row for row in self.rows if row.measured is not None}  # on the most cores
        speed_ups: dict[str, list[tuple[int, float]]] = {}
        for row in self.rows:
            speed_up = self.speed_up(row)
            if speed_up is not None and not STRATEGIES[row.strategy].is_serial:
                speed_ups.setdefault(row.strategy, []).append((row.cores, speed_up))
        bars = {
            f"{name}, {counted(row.cores, 'core')}": (duration(self.whole_seconds(row) or 0.0), self.stage_shares(row))
            for name, row in ran.items()
        }
        reached = {
            name: row.measured.speed * 1e6 * self.roofline.operations
            for name, row in ran.items()
            if row.measured is not None and not STRATEGIES[name].is_interpreted
        }
        rows = [(self._kind(r), self.cells(r), r.limit.reason if r.limit else "") for r in self.rows]
        charts = Charts(speed_ups, bars, self.roofline, reached)
        Page(self.title, self.verdict, HEADINGS, rows, charts, self.notes).save(path, overwrite=overwrite)

    def _kind(self, row: Row) -> str:
        if row.measured is None:
            return "absent"
        return "best" if row == self.best else "" if row.is_right else "wrong"

    def stage_shares(self, row: Row) -> dict[str, float]:
        """Returns the share of each stage in the time of a strategy over the whole raster.

        Threads that decode and compute at once share the time of the run; what is left of it is waiting.
        """
        found, total = row.measured, self.whole_seconds(row)
        if found is None or not total:
            return {}
        room = max(found.seconds * row.cores, 1e-9)
        decode, compute = (
            (found.wall(stage) if found.stages else found.core(stage, known_seconds(self.rows))) / room
            for stage in ("decode", "compute")
        )
        # Where threads take more than their lanes, as a driver that decodes beside its workers does, all shrink alike.
        over = max(1.0, decode + compute)
        decode, compute = decode / over, compute / over
        left = max(0.0, 1.0 - decode - compute)
        moved = found.wall("encode") / room if found.traffic is None else found.traffic / max(found.seconds, 1e-9)
        move = min(left, moved)
        shares = {"decode": decode, "compute": compute, "move": move, "wait": left - move}
        run = (total - found.start - found.compile) / total
        started = {"start": found.start / total, "compile": found.compile / total}
        return started | {stage: run * share for stage, share in shares.items()}

    def __str__(self) -> str:
        lines = [self.cells(row) for row in self.rows]
        full = [line for line in lines if len(line) == len(HEADINGS)]
        widths = [max(len(line[k]) for line in [HEADINGS, *full]) for k in range(len(HEADINGS))]
        widths[0] = max(len(line[0]) for line in lines)
        table = []
        for line in [HEADINGS, *lines]:
            parts = [c.ljust(w) if h in WORDS else c.rjust(w) for c, w, h in zip(line, widths, HEADINGS, strict=False)]
            table.append("  ".join(parts) if len(line) == len(HEADINGS) else f"{parts[0]}  {line[2]}")
        return "\n".join([self.title, *self.notes, "", *table, "", self.verdict])


def _ratio(row: Row, other: Row | None) -> float | None:
    if row.measured is None or other is None or other.measured is None or not other.measured.speed:
        return None
    return row.measured.speed / other.measured.speed


def with_limits(rows: Sequence[Row], roofline: Roofline) -> tuple[Row, ...]:
    """Returns the rows with what limits each."""
    known = known_seconds(rows)
    return tuple(
        row if row.measured is None else replace(row, limit=limit_of(row.measured, row.cores, roofline, known))
        for row in rows
    )


def known_seconds(rows: Sequence[Row]) -> Mapping[str, float]:
    """Returns the core seconds a pixel of decoding and computing, where tilejit's own threads did so."""
    found = next((r.measured for r in rows if r.strategy == REFERENCE and r.measured is not None), None)
    return {} if found is None else {stage: found.core(stage) / found.pixels for stage in ("decode", "compute")}


def _limits(roofline: Roofline) -> str:
    last = len(roofline.cores) - 1
    return (
        f"on {counted(roofline.cores[last], 'core')} a copy moves {roofline.bandwidth[last] / 1e9:.1f} GB/s, "
        f"arithmetic does {roofline.peak[last] / 1e9:.0f} Gop/s; the kernel, about {roofline.operations} operations "
        f"and {roofline.bytes_per_pixel:.0f} bytes a pixel, {figure(roofline.cached[last] / 1e6)} Mpx/s on cells in "
        "the cache"
    )


def figure(value: float) -> str:
    """Returns a number with about three digits.

    Example:
        >>> figure(0.1234), figure(12.34), figure(1234.5)
        ('0.123', '12.3', '1,234')
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Returns a time in the unit that suits it.

    Example:
        >>> duration(3.21), duration(600), duration(90000)
        ('3.2 s', '10 min', '25 h')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"
