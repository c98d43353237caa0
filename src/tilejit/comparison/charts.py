"""The charts of a comparison: speed-up against cores, time by stage, and a roofline."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tilejit.comparison.limits import core_seconds
from tilejit.comparison.svg import Scale, drawing, element, path, words
from tilejit.comparison.ways import WAYS
from tilejit.comparison.wording import duration, figure
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tilejit.comparison.comparison import Comparison, Row
    from tilejit.comparison.outcome import Outcome

STAGES = ("start", "compile", "decode", "compute", "move", "wait")
"""What a run's time goes into."""
_WIDTH, _HEIGHT = 460.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 20.0, 14.0, 42.0
_BAR, _ROOM = 15.0, 42.0


def colour_of(way: str) -> str:
    """Returns the class of a way's colour."""
    return f"c{list(WAYS).index(way)}"


def legend(ways: Iterable[str]) -> str:
    """Returns the names of ways beside their colours."""
    items = [f'<li><span class="dot {colour_of(way)}"></span>{escape(way)}</li>' for way in ways]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _axes(x: Scale, y: Scale, labels: tuple[str, str], x_ticks: Sequence[float] | None = None) -> list[str]:
    """Grid lines, figures along both axes, and what they are."""
    parts = []
    for value in y.ticks():
        parts.append(element("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), class_="grid"))
        parts.append(words(x.start - 6, y(value) + 4, _tick(value), anchor="end"))
    for value in x.ticks() if x_ticks is None else x_ticks:
        parts.append(element("line", x1=x(value), x2=x(value), y1=y.start, y2=y.end, class_="grid"))
        parts.append(words(x(value), y.start + 16, _tick(value), anchor="middle"))
    parts.append(words((x.start + x.end) / 2, y.start + 34, labels[0], anchor="middle"))
    parts.append(
        element("text", escape(labels[1]), transform=f"translate(12 {(y.start + y.end) / 2:.0f}) rotate(-90)",
                class_="axis", text_anchor="middle")
    )  # fmt: skip
    return parts


def _tick(value: float) -> str:
    return f"{value:g}" if value < 10_000 else f"{value:,.0f}"


def speed_up_chart(comparison: Comparison) -> str:
    """Speed-up over one core of the same way, with the line of as many times as cores."""
    lines = {way: line for way, line in _speed_ups(comparison).items() if len(line) > 1}
    most = max((cores for line in lines.values() for cores, _ in line), default=1)
    if most == 1:
        return '<p class="none">Measured on one core: there is no speed-up to show.</p>'
    highest = max([float(most), *(y for line in lines.values() for _, y in line)])
    x = Scale(1, most, _LEFT, _WIDTH - _RIGHT)
    y = Scale(0, 1.05 * highest, _HEIGHT - _BOTTOM, _TOP)
    counts = sorted({cores for line in lines.values() for cores, _ in line})
    parts = _axes(x, y, ("cores", "speed-up over one core"), counts)
    parts.append(path([(x(1), y(1)), (x(most), y(most))], class_="ideal"))
    parts.append(words(x(most) - 8, y(most) - 5, "ideal", anchor="end"))
    for way, line in lines.items():
        places = [(x(cores), y(speed)) for cores, speed in line]
        parts.append(path(places, class_=f"line {colour_of(way)}"))
        parts += [_point(px, py, way, f"{way}: {speed:.2f} on {counted(cores, 'core')}")
                  for (px, py), (cores, speed) in zip(places, line, strict=True)]  # fmt: skip
    return drawing(_WIDTH, _HEIGHT, "Speed-up against cores", *parts) + legend(lines)


def _speed_ups(comparison: Comparison) -> dict[str, list[tuple[int, float]]]:
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in comparison.rows:
        speed_up = comparison.speed_up(row)
        if speed_up is not None and not WAYS[row.way].is_serial:
            lines.setdefault(row.way, []).append((row.cores, speed_up))
    return lines


def _point(x: float, y: float, way: str, label: str, kind: str = "point") -> str:
    return element("circle", element("title", escape(label)), cx=x, cy=y, r=4, class_=f"{kind} {colour_of(way)}")


def stage_shares(comparison: Comparison, row: Row) -> dict[str, float]:
    """Returns the share of each stage in the time of a way over the whole raster.

    Threads that decode and compute at once share the time of the run; what is left of it is waiting.
    """
    outcome, total = row.outcome, comparison.whole_seconds(row)
    if outcome is None or not total:
        return {}
    run = (total - outcome.start - outcome.compile) / total
    decode, compute = (_lane_share(comparison, outcome, row, stage) for stage in ("decode", "compute"))
    # Where threads take more than their lanes, as a driver that decodes beside its workers does, all shrink alike.
    over = max(1.0, decode + compute)
    decode, compute = decode / over, compute / over
    left = max(0.0, 1.0 - decode - compute)
    copied = outcome.wall("encode") / max(outcome.seconds * row.cores, 1e-9)
    move = min(left, copied if outcome.traffic is None else outcome.traffic / max(outcome.seconds, 1e-9))
    shares = {"decode": decode, "compute": compute, "move": move, "wait": left - move}
    started = {"start": outcome.start / total, "compile": outcome.compile / total}
    return started | {stage: run * share for stage, share in shares.items()}


def _lane_share(comparison: Comparison, outcome: Outcome, row: Row, stage: str) -> float:
    """Which part of its cores' time a stage takes."""
    if outcome.stages:
        return outcome.wall(stage) / max(outcome.seconds * row.cores, 1e-9)
    return core_seconds(outcome, stage, comparison.known) / max(outcome.seconds * row.cores, 1e-9)


def stage_chart(comparison: Comparison) -> str:
    """Where the time of each way goes, on the most cores that it was measured on; the time itself beside."""
    rows = list({row.way: row for row in comparison.rows if row.outcome is not None}.values())
    x = Scale(0, 1, 0, _WIDTH - 62)
    parts = []
    for number, row in enumerate(rows):
        top = number * _ROOM
        cores = counted(row.cores, "core")
        parts.append(words(0, top + 14, f"{row.way}, {cores}", "name"))
        begin = 0.0
        for stage, share in stage_shares(comparison, row).items():
            title = element("title", f"{stage}: {100 * share:.0f} %")
            parts.append(
                element("rect", title, x=x(begin), y=top + 20, width=max(0.0, x(begin + share) - x(begin)),
                        height=_BAR, class_=f"stage {stage}")
            )  # fmt: skip
            begin += share
        parts.append(words(_WIDTH, top + 32, duration(comparison.whole_seconds(row) or 0), "name", "end"))
    items = [f'<li><span class="dot stage {stage}"></span>{stage}</li>' for stage in STAGES]
    picture = drawing(_WIDTH, max(1, len(rows)) * _ROOM, "Time by stage", *parts)
    return f'{picture}<ul class="legend">{"".join(items)}</ul>'


def roofline_chart(comparison: Comparison) -> str:
    """Operations a second against operations a byte: what memory and arithmetic allow, and what each way reaches."""
    roofs, at = comparison.roofs, len(comparison.roofs.cores) - 1
    intensity = roofs.operations / roofs.bytes_per_pixel
    reached = _reached(comparison)
    cached = roofs.cached[at] * roofs.operations / 1e9
    peak, bandwidth = roofs.peak[at] / 1e9, roofs.bandwidth[at] / 1e9
    ridge = peak / bandwidth
    least = min([cached, *(speed for _, speed in reached.values())]) / 2
    x = Scale(min(0.1, intensity / 4), max(1000.0, 4 * ridge, 4 * intensity), _LEFT + 6, _WIDTH - _RIGHT, is_log=True)
    y = Scale(least, 3 * max(peak, cached), _HEIGHT - _BOTTOM, _TOP, is_log=True)
    parts = _axes(x, y, ("operations a byte", "Gop/s"))
    counts = sorted({0, at})
    parts += [_roof(comparison, k, x, y) for k in counts]
    parts.append(element("line", x1=x(intensity), x2=x(intensity), y1=y.start, y2=y.end, class_="ideal"))
    parts.append(words(x(intensity) + 6, y.start - 6, comparison.kernel))
    label = f"{comparison.kernel} on cells in the cache: {figure(cached)} Gop/s"
    parts.append(element("circle", element("title", escape(label)), cx=x(intensity), cy=y(cached), r=6, class_="ring"))
    for way, (cores, speed) in reached.items():
        parts.append(_point(x(intensity), y(speed), way, f"{way}, {counted(cores, 'core')}: {figure(speed)} Gop/s"))
    said = "".join(f"<li>{_roof_text(comparison, k)}</li>" for k in counts)
    roof_list = f'<ul class="legend">{said}</ul>'
    return drawing(_WIDTH, _HEIGHT, "Roofline", *parts) + roof_list + legend(reached)


def _reached(comparison: Comparison) -> dict[str, tuple[int, float]]:
    """Way -> its cores, and the operations a second that it reaches in all, decoding included; of compiled ways."""
    return {
        row.way: (row.cores, row.outcome.speed * comparison.roofs.operations / 1e3)
        for row in comparison.rows
        if row.outcome is not None and not WAYS[row.way].is_interpreted
    }


def _roof(comparison: Comparison, k: int, x: Scale, y: Scale) -> str:
    """The bandwidth's slope and the arithmetic's flat for one count of cores; broken but for the most cores."""
    roofs = comparison.roofs
    peak, bandwidth = roofs.peak[k] / 1e9, roofs.bandwidth[k] / 1e9
    begin = max(x.least, y.least / bandwidth)
    points = [(begin, begin * bandwidth), (peak / bandwidth, peak), (x.most, peak)]
    kind = "roof" if k == len(roofs.cores) - 1 else "roof lower"
    return path([(x(a), y(b)) for a, b in points], class_=kind)


def _roof_text(comparison: Comparison, k: int) -> str:
    roofs = comparison.roofs
    cores = counted(roofs.cores[k], "core")
    line = "unbroken" if k == len(roofs.cores) - 1 else "dotted"
    return f"{cores} ({line}): {roofs.peak[k] / 1e9:.0f} Gop/s, {roofs.bandwidth[k] / 1e9:.0f} GB/s"
