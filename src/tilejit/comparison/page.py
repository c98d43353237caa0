"""The report of a comparison: one HTML file that needs no other file and no network; its charts are Matplotlib's."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tilejit.comparison.strategies import STRATEGIES
from tilejit.formats.publishing import write_text
from tilejit.formats.target import checked_file
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.comparison.measures import Roofline

STAGES = {"start": "#9a9a9a", "compile": "#7a3fb0", "decode": "#0072b2", "compute": "#00805e", "move": "#d55e00",
          "wait": "#d9d9d9"}  # fmt: skip
"""What a run's time goes into, and its colour."""
_MARKERS = "os^Dv<>phX*P8"
_WITHOUT = (
    "<p>Speed-up against cores, where the time goes, and the roofline are drawn where Matplotlib is installed: "
    "pip install matplotlib</p>"
)
_STYLE = """
:root { color-scheme: light dark; --soft: color-mix(in srgb, CanvasText 65%, Canvas);
  --rule: color-mix(in srgb, CanvasText 15%, Canvas); }
body { margin: 0 auto; max-width: 72rem; padding: 1.2rem 1rem 3rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 .2rem; }
.verdict { font-size: 1.1rem; border-left: 4px solid #00805e; padding-left: .8rem; max-width: 46rem; }
.table { overflow-x: auto; margin: 1.2rem 0; border: 1px solid var(--rule); border-radius: 6px; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th, dt, figcaption, .absent { color: var(--soft); font-weight: normal; }
tr > :first-child, .words, .absent td { text-align: left; }
.best td { background: color-mix(in srgb, #00805e 20%, Canvas); font-weight: 600; }
.wrong td { color: #e04818; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 2rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .88rem; margin-bottom: .6rem; }
img { display: block; width: 100%; background: #fff; border-radius: 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem; margin: 1.5rem 0; }
dd { margin: 0; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True, slots=True)
class Charts:
    """What is drawn: strategy -> counts of cores and speed-up, bar -> time and shares of stages, strategy -> op/s."""

    speed_ups: Mapping[str, Sequence[tuple[int, float]]]
    bars: Mapping[str, tuple[str, Mapping[str, float]]]
    roofline: Roofline
    reached: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Page:
    """A report. A row of its table has a kind (best, wrong, absent or none), cells, and why it is limited as it is."""

    title: str
    verdict: str
    headings: Sequence[str]
    rows: Sequence[tuple[str, tuple[str, ...], str]]
    charts: Charts
    notes: Sequence[str]

    def __str__(self) -> str:
        notes = "".join(f"<dt>{escape(n[:10].strip())}</dt><dd>{escape(n[10:])}</dd>" for n in self.notes)
        charts = _drawn(self.charts) if find_spec("matplotlib") is not None else _WITHOUT
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f'<h1>{escape(self.title)}</h1>\n<p class="verdict">{escape(self.verdict)}</p>\n{self._table()}\n'
            f'<div class="charts">\n{charts}</div>\n<dl>{notes}</dl>\n</body>\n</html>\n'
        )

    def save(self, path: str | os.PathLike[str], *, overwrite: bool) -> None:
        """Writes it."""
        name = os.fspath(path)
        target = checked_file(name, overwrite=overwrite)
        write_text(name, target, str(self), overwrite=overwrite, doing="the report cannot be written")

    def _table(self) -> str:
        heads = "".join(f"<th>{heading}</th>" for heading in self.headings)
        rows = "\n".join(map(self._row, self.rows))
        return f'<div class="table"><table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table></div>'

    def _row(self, row: tuple[str, tuple[str, ...], str]) -> str:
        kind, (name, *rest), reason = row
        first = f'<td title="{escape(STRATEGIES[name].is_like)}">{escape(name)}</td>'
        if kind == "absent":
            return f'<tr class="absent">{first}<td colspan="{len(self.headings) - 1}">{escape(rest[-1])}</td></tr>'
        cells = ""
        for heading, text in zip(self.headings[1:], rest, strict=True):
            said = f' title="{escape(reason)}"' if heading == "limited by" else ""
            words = ' class="words"' if heading in {"limited by", "pixels"} else ""
            cells += f"<td{words}{said}>{escape(text)}</td>"
        return f'<tr class="{kind}">{first}{cells}</tr>'


def look_of(strategy: str) -> dict[str, Any]:
    """Returns the colour and the marker by which charts tell a strategy from the others."""
    from matplotlib import colormaps

    number = list(STRATEGIES).index(strategy)
    return {"color": colormaps["tab20"](number), "marker": _MARKERS[number]}


def _drawn(charts: Charts) -> str:
    drawn = (
        ("Speed-up against cores", "Over one core of the same strategy; the broken line is as many times as cores.",
         _speed_ups),
        ("Where the time goes", "Of the whole raster, on the most cores measured; the time stands beside.", _bars),
        ("Roofline", "What memory and arithmetic allow, and what the kernel (ring) and strategies reach.", _roofline),
    )  # fmt: skip
    return "".join(
        f"<figure><h2>{title}</h2><figcaption>{caption}</figcaption>{_image(title, draw, charts)}</figure>\n"
        for title, caption, draw in drawn
    )


def _image(title: str, draw: Any, charts: Charts) -> str:
    """A chart as a picture within the page; on its own axes, so that no program's settings and windows are touched."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(mpl.rcParamsDefault | {"backend": "svg", "svg.hashsalt": "tilejit", "legend.fontsize": 7}):
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        draw(figure.subplots(), charts)
        held = io.BytesIO()
        figure.savefig(held, format="svg", metadata={"Date": None})
    return f'<img alt="{title}" src="data:image/svg+xml;base64,{base64.b64encode(held.getvalue()).decode()}"/>'


def _speed_ups(axes: Any, charts: Charts) -> None:
    counts = sorted({cores for line in charts.speed_ups.values() for cores, _ in line})
    axes.plot(counts, counts, "--", color="gray", label="ideal")
    for strategy, line in charts.speed_ups.items():
        axes.plot(*zip(*line, strict=True), label=strategy, **look_of(strategy))
    axes.set(xlabel="cores", ylabel="speed-up over one core", xticks=counts, ylim=(0, None))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _bars(axes: Any, charts: Charts) -> None:
    labels = [f"{name}: {time}" for name, (time, _) in charts.bars.items()]
    begin = [0.0] * len(labels)
    for stage, colour in STAGES.items():
        widths = [100 * shares[stage] for _, shares in charts.bars.values()]
        axes.barh(labels, widths, left=begin, color=colour, label=stage)
        begin = [a + b for a, b in zip(begin, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="% of the time", xlim=(0, 100))
    axes.legend(ncols=len(STAGES), loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _roofline(axes: Any, charts: Charts) -> None:
    roofline, last = charts.roofline, len(charts.roofline.cores) - 1
    intensity = roofline.operations / roofline.bytes_per_pixel
    for k in sorted({0, last}):
        peak, bandwidth = roofline.peak[k] / 1e9, roofline.bandwidth[k] / 1e9
        ends = min(0.1, intensity / 4), max(1000.0, 4 * peak / bandwidth, 4 * intensity)
        label = f"{counted(roofline.cores[k], 'core')}: {peak:.0f} Gop/s, {bandwidth:.0f} GB/s"
        axes.plot([ends[0], peak / bandwidth, ends[1]], [ends[0] * bandwidth, peak, peak], "-" if k == last else ":",
                  color="black", label=label)  # fmt: skip
    axes.axvline(intensity, linestyle="--", color="gray")
    cached = roofline.cached[last] * roofline.operations / 1e9
    axes.plot([intensity], [cached], "o", markersize=9, fillstyle="none", color="black", label="cells in the cache")
    for strategy, speed in charts.reached.items():
        axes.plot([intensity], [speed / 1e9], linestyle="", label=strategy, **look_of(strategy))
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="Gop/s")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
