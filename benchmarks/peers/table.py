"""The tables, in Markdown: a short one to grasp at once, and one with every figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers.jobs import JOBS
from peers.roster import CODEC, CONTENDERS, FLOOR, OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers.series import Row

WITHIN = 1.2
"""Of the codec's core seconds, what a job may take from file to file; where it takes more, the stages say what for."""
_PROFILES = {
    "zstd": "ZSTD, tilejit's own level",
    "zstd1": "ZSTD 1",
    "deflate": "DEFLATE, tilejit's own level",
    "deflate6": "DEFLATE 6",
}


def short_table(rows: Sequence[Row], large: int) -> list[str]:
    """Wall seconds over tilejit's, a row for each contender and a column for each job; tilejit's own in seconds.

    Args:
        rows: All that was measured.
        large: The largest size at which peers run; the table is of the largest measured up to it.
    """
    size = max(row.size for row in rows if row.size <= large)
    own = [row for row in rows if row.size == size]
    columns = list(dict.fromkeys((row.job, row.profile) for row in own))
    first = columns[0][1]
    heads = [JOBS[job].title + (f", {_PROFILES[profile]}" if profile != first else "") for job, profile in columns]
    lines = [
        f"| {size} x {size}, {_PROFILES[first]}: times tilejit's wall time | {' | '.join(heads)} | peak MB |",
        "|---|" + "---:|" * (len(columns) + 1),
    ]
    found = {(row.contender, row.job, row.profile): row for row in own}
    for name in [name for name in CONTENDERS if any(row.contender == name for row in own)]:
        runs = {column: found[name, *column] for column in columns if (name, *column) in found}
        cells = [_cell(runs[column], found[OURS, *column]) if column in runs else "" for column in columns]
        peaks = [row.medians.get("peak", 0) for row in runs.values()]
        peak = f"{max(peaks) / 1e6:,.0f}" if any(peaks) and name not in (FLOOR, CODEC) else ""
        if all(row.note.startswith("not installed") for row in runs.values()):
            cells = ["not installed", *[""] * (len(columns) - 1)]
        lines.append(f"| {CONTENDERS[name].title} | {' | '.join(cells)} | {peak} |")
    sizes = [file_share(found[OURS, *column], found.get((FLOOR, *column))) for column in columns]
    if any(sizes):
        lines.append(f"| *tilejit's file, of the floor's* | {' | '.join(sizes)} |  |")
    shares = [core_share(found[OURS, *column], found.get((CODEC, *column))) for column in columns]
    if any(shares):
        lines.append(f"| *tilejit's core seconds, of the codec's* | {' | '.join(shares)} |  |")
    return [*lines, *_large(rows, large)]


def file_share(ours: Row, floor: Row | None) -> str:
    """Bytes of tilejit's files over the floor's, which GDAL encodes at the level asked for; empty where one is missing.

    Where no level is given, tilejit lets cheaper encoders of the same format stand in: this says what that cost.
    """
    if floor is None or not floor.medians or not ours.medians:
        return ""
    return f"{ours.medians['bytes'] / floor.medians['bytes']:.3f}"


def core_share(ours: Row, codec: Row | None) -> str:
    """Tilejit's core seconds over those that the codec alone takes; empty where one is missing."""
    share = _core_share(ours, codec)
    return f"{share:.2f}" if share else ""


def _core_share(ours: Row, codec: Row | None) -> float:
    if codec is None or not codec.medians or not ours.medians:
        return 0.0
    return ours.medians["cpu"] / codec.medians["cpu"]


def beyond_the_codec(rows: Sequence[Row]) -> list[str]:
    """A line for each job that takes more than 1.2 of the codec's core seconds: what the rest is, by stages."""
    found = {(row.contender, row.size, row.job, row.profile): row for row in rows}
    lines = []
    for (name, size, job, profile), row in found.items():
        codec = found.get((CODEC, size, job, profile))
        if name != OURS or codec is None or _core_share(row, codec) <= WITHIN:
            continue
        one, limit = row.rounds[-1], codec.medians
        stages = {stage: times["cpu"] for stage, times in one["stages"].items()}
        stages["the rest"] = one["cpu"] - sum(stages.values())
        parts = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items() if seconds >= 0.005)
        text = (
            f"{size} x {size}, {JOBS[job].title}, {_PROFILES[profile]}: {_core_share(row, codec):.2f} of the codec's "
            f"{limit['cpu']:.2f} core seconds (decoding {limit['decode']:.2f}, encoding {limit['encode']:.2f}); "
            f"tilejit's: {parts}."
        )
        lines += ["", text]
    return lines


def _cell(row: Row, ours: Row) -> str:
    """One contender's wall time in one column."""
    mine = ours.medians["wall"]
    if row.contender == OURS:
        return f"**{mine:.2f} s**"
    if row.estimate is not None:
        return f"about {row.estimate / mine:.0f}"
    return f"{row.medians['wall'] / mine:.2f}" if row.medians and not row.note else ""


def _large(rows: Sequence[Row], large: int) -> list[str]:
    """A line for each job at a size where tilejit and the floor ran alone."""
    found = {(row.contender, row.size, row.job, row.profile): row for row in rows if row.size > large and row.medians}
    lines = []
    for (name, size, job, profile), row in found.items():
        floor = found.get((FLOOR, size, job, profile))
        if name == OURS and floor is not None:
            wall, peak = row.medians["wall"], row.medians["peak"] / 1e6
            speed, ratio = size * size / 1e6 / wall, wall / floor.medians["wall"]
            what = f"{size} x {size}, {JOBS[job].title}, {_PROFILES[profile]}: {wall:.0f} s ({speed:.0f} Mpx/s)"
            lines += ["", f"{what}, {ratio:.2f} of GDAL's floor, {peak:.0f} MB of memory."]
    return lines


def long_table(rows: Sequence[Row]) -> list[str]:
    """Every figure: a row for each contender, size, job and compressor."""
    heads = ("size", "job", "compressor", "contender", "wall s", "Mpx/s", "CPU s", "process s", "peak MB", "file MB")
    lines = [f"| {' | '.join(heads)} | decoded / stored | pixels |", "|---:|---|---|---|" + "---:|" * 7 + "---|"]
    order = list(CONTENDERS)
    groups = list(dict.fromkeys((row.size, row.job, row.profile) for row in rows))
    for row in sorted(rows, key=lambda r: (groups.index((r.size, r.job, r.profile)), order.index(r.contender))):
        names = [str(row.size), row.job, _PROFILES[row.profile], CONTENDERS[row.contender].title]
        lines.append(f"| {' | '.join([*names, *_figures(row)])} |")
    return lines


def _figures(row: Row) -> list[str]:
    if row.note or not row.medians:
        return [row.note.strip().splitlines()[-1], *[""] * 7]
    one = row.medians
    # The floor holds the finished results, which is no memory that a program would need.
    peak = "" if row.contender in (FLOOR, CODEC) else f"{one['peak'] / 1e6:.0f}"
    apart = [f"{name} {'own formula' if worst is None else f'{worst:.1g}'}" for name, worst in row.apart.items()]
    return [
        f"{one['wall']:.2f}",
        f"{row.size**2 / 1e6 / one['wall']:.0f}",
        f"{one['cpu']:.2f}",
        f"{one['process']:.2f}",
        peak,
        f"{one['bytes'] / 1e6:.1f}" if one["bytes"] else "",
        f"{one['read_ratio']:.2f}" if "read_ratio" in one else "",
        f"equal ({', '.join(apart)})" if apart else "",
    ]
