"""A comparison in words: the cells of its table, its verdict, and what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilejit.comparison.ways import WAYS
from tilejit.sizes import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.comparison.comparison import Comparison, Row
    from tilejit.comparison.roofs import Roofs

HEADINGS = ("way", "cores", "start", "compile", "Mpx/s", "speed-up", "over Python", "efficiency", "memory",
            "limited by", "pixels", "whole raster")  # fmt: skip
"""The columns."""
_FAIR = (
    "every way decodes the same files with tilejit's reader and leaves its result in memory; each runs in processes "
    "of its own, held to its cores, up to fifteen times: the quickest, for what else runs only ever adds"
)


def cells(comparison: Comparison, row: Row) -> tuple[str, ...]:
    """Returns a row's cells; of a way that did not run the name and the reason."""
    outcome = row.outcome
    if outcome is None:
        return row.way, "", row.why_not or ""
    over, speed_up, efficiency = comparison.over_python(row), comparison.speed_up(row), comparison.efficiency(row)
    return (
        row.way,
        str(row.cores),
        f"{outcome.start:.2f} s",
        f"{outcome.compile:.2f} s",
        figure(outcome.speed),
        "" if row.cores == 1 or speed_up is None else f"{speed_up:.2f}",
        "" if over is None or row.way == "python" else figure(over),
        "" if row.cores == 1 or efficiency is None else f"{100 * efficiency:.0f} %",
        "" if outcome.memory is None else format_size(outcome.memory),
        row.limit.name if row.limit is not None else "",
        agreement(row),
        duration(comparison.whole_seconds(row) or 0.0),
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


def agreement(row: Row) -> str:
    """Returns how a way's pixels compare with tilejit's."""
    outcome = row.outcome
    if outcome is None:
        return ""
    if not row.is_right:
        return f"{outcome.different:,} differ"
    if WAYS[row.way].is_exact:
        return "same bits"
    return f"to {outcome.distance:.0e}" if outcome.distance else "same bits"


def verdict(comparison: Comparison) -> str:
    """Returns the way to use, and why."""
    best = comparison.best
    seconds, over = comparison.whole_seconds(best) or 0.0, comparison.over_python(best)
    parts = [f"{duration(seconds)} for the whole raster"]
    if over is not None:
        parts.append(f"{figure(over)} times as fast as plain Python")
    other = _runner_up(comparison, best)
    if other is not None:
        theirs = comparison.whole_seconds(other) or 0.0
        relation = "about as long as" if theirs < seconds else "the next is"
        parts.append(f"{relation} {_way(other)}, which takes {duration(theirs)}")
    sentence = f"Use {_way(best)}: " + "; ".join(parts) + "."
    if best.limit is not None:
        sentence += f" What limits it is {best.limit.name}: {best.limit.reason}."
    return sentence


def _way(row: Row) -> str:
    return f"{row.way} on {_cores(row.cores)}"


def _cores(count: int) -> str:
    return counted(count, "core")


def _runner_up(comparison: Comparison, best: Row) -> Row | None:
    """The quickest of the other ways."""
    others = [r for r in comparison.rows if r.is_right and r.way != best.way]
    return min(others, key=lambda r: comparison.whole_seconds(r) or float("inf"), default=None)


def notes(comparison: Comparison) -> list[str]:
    """Returns what one must know to read the table."""
    sample, roofs = comparison.sample, comparison.roofs
    share = 100 * sample.pixels / comparison.pixels
    made = "" if not sample.pieces else f" in {sample.pieces} pieces that lie evenly over the raster"
    last = len(roofs.cores) - 1
    lines = [
        f"sample    {sample.pixels / 1e6:.1f} of {comparison.pixels / 1e6:.1f} Mpx ({share:.0f} %){made}, "
        + sample.note,
        f"fair      {_FAIR}",
        f"compile   {roofs.compile:.2f} s the first time; the table has what loading takes from then on",
        f"machine   {comparison.machine}",
        f"limits    on {_cores(roofs.cores[last])} {_limits(roofs, last)}",
    ]
    others = [r.outcome.others for r in comparison.rows if r.outcome is not None]
    if sum(others) > 0.2 * len(others):
        mean = sum(others) / len(others)
        lines.append(
            f"busy      other programs kept {mean:.1f} cores busy meanwhile, {max(others):.1f} at the worst: "
            "compare again when the machine is quiet"
        )
    part = parts(comparison.rows)
    return [*lines, f"parts     {part}"] if part else lines


def _limits(roofs: Roofs, at: int) -> str:
    return (
        f"a copy moves {roofs.bandwidth[at] / 1e9:.1f} GB/s, arithmetic does {roofs.peak[at] / 1e9:.0f} Gop/s; "
        "the kernel, "
        f"about {roofs.operations} operations and {roofs.bytes_per_pixel:.0f} bytes a pixel, "
        f"{figure(roofs.cached[at] / 1e6)} Mpx/s on cells in the cache"
    )


def parts(rows: Sequence[Row]) -> str:
    """Returns which ways did a part of the sample only, when their time was up."""
    part = [r for r in rows if r.outcome is not None and r.outcome.share < 1]
    if not part:
        return ""
    least = min(r.outcome.share for r in part if r.outcome is not None)
    names = ", ".join(dict.fromkeys(r.way for r in part))
    return f"{names}: timed on {100 * least:.2g} % of the sample or more, spread over it, and scaled"


def text(comparison: Comparison) -> str:
    """Returns the table as plain text, with the notes and the verdict."""
    lines = [cells(comparison, row) for row in comparison.rows]
    full = [line for line in lines if len(line) == len(HEADINGS)]
    widths = [max(len(line[k]) for line in [HEADINGS, *full]) for k in range(len(HEADINGS))]
    widths[0] = max(len(line[0]) for line in lines)
    said = [f"{comparison.kernel} over {', '.join(comparison.inputs)}", *notes(comparison), ""]
    for line in [HEADINGS, *lines]:
        name = line[0].ljust(widths[0])
        if len(line) < len(HEADINGS):
            said.append(f"{name}  {line[2]}")
            continue
        said.append("  ".join([name, *(c.ljust(w) if k in {9, 10} else c.rjust(w)
                                       for k, (c, w) in enumerate(zip(line, widths, strict=True)) if k)]))  # fmt: skip
    return "\n".join([*said, "", comparison.verdict])
