"""The report of a comparison: one HTML file that needs no other file and no network."""

from __future__ import annotations

import os
from html import escape
from typing import TYPE_CHECKING

from tilejit.comparison.charts import roofline_chart, speed_up_chart, stage_chart
from tilejit.comparison.ways import WAYS
from tilejit.comparison.wording import HEADINGS, cells, notes, verdict
from tilejit.errors import SinkError
from tilejit.formats.target import checked_file, write_text

if TYPE_CHECKING:
    from tilejit.comparison.comparison import Comparison, Row

# Okabe and Ito's colours, which the colour-blind tell apart, and some between: darker on white, lighter on black.
_LIGHT = ("#767676", "#b35900", "#8a6d00", "#00664b", "#0072b2", "#3b49b8", "#7a3fb0", "#1192b8", "#b0307a", "#c43c00",
          "#5b7300", "#8c564b", "#008c8c", "#d6336c", "#3d3d3d")  # fmt: skip
_DARK = ("#a8a8a8", "#f0a050", "#e0c040", "#2fc39a", "#56b4e9", "#8f9bff", "#c090f0", "#6fdcf5", "#f07fc0", "#ff7f50",
         "#b5d040", "#d0a090", "#40e0d0", "#ff8fab", "#f4f4f4")  # fmt: skip
_STAGES = {
    "start": ("#9a9a9a", "#8a8a8a"),
    "compile": ("#7a3fb0", "#b48ae0"),
    "decode": ("#0072b2", "#56b4e9"),
    "compute": ("#00805e", "#2fc39a"),
    "move": ("#d55e00", "#f08a40"),
    "wait": ("#d9d9d9", "#4a4a4a"),
}

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1c1c; --soft: #5c5c5c; --rule: #dedede; --best: #e8f5ee; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.2rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 .2rem; }
p { margin: 0 0 .8rem; max-width: 46rem; }
.verdict { font-size: 1.1rem; border-left: 4px solid #00805e; padding-left: .8rem; }
.table { overflow-x: auto; margin: 1.2rem 0; border: 1px solid var(--rule); border-radius: 6px; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 500; }
tr > :first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
td.words, th.words { text-align: left; }
tr.best td, tr.best > :first-child { background: var(--best); font-weight: 600; }
tr.absent td { color: var(--soft); text-align: left; }
tr.wrong td { color: #c43c00; }
tr:last-child td { border-bottom: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 2rem; }
figure { margin: 0; min-width: 0; }
figcaption { color: var(--soft); font-size: .88rem; margin-bottom: .6rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg text.name { fill: var(--ink); font-size: 13px; }
.grid { stroke: var(--rule); }
.ideal { stroke: var(--soft); stroke-dasharray: 4 4; }
.roof { stroke: var(--ink); stroke-width: 1.5; }
.lower { stroke-dasharray: 1 4; }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.line { stroke: var(--c); stroke-width: 2; }
.point { fill: var(--c); }
.dot { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; background: var(--c); margin-right: .35rem; }
.stage { fill: var(--c); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; list-style: none; margin: .5rem 0 0; padding: 0; font-size: .85rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem; margin: 1.5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 30rem) { th, td { padding: .3rem .45rem; } tr > :first-child { white-space: normal; min-width: 6.5rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
"""  # noqa: E501 - a rule of CSS to a line


def _style() -> str:
    """The style sheet, with the colours for light and for dark."""

    def rules(k: int) -> str:
        ways = "".join(f".c{n} {{ --c: {(_LIGHT, _DARK)[k][n]}; }}" for n in range(len(_LIGHT)))
        return ways + "".join(f".stage.{name} {{ --c: {pair[k]}; }}" for name, pair in _STAGES.items())

    dark = ":root { --paper: #161616; --ink: #ececec; --soft: #a6a6a6; --rule: #353535; --best: #17352a; }"
    wrong = "tr.wrong td { color: #ff7f50; }"
    return f"{_STYLE}{rules(0)}@media (prefers-color-scheme: dark) {{ {dark} {wrong} {rules(1)} }}"


def page(comparison: Comparison) -> str:
    """Returns the report."""
    title = f"{comparison.kernel} over {', '.join(comparison.inputs)}"
    notes_ = "".join(f"<dt>{escape(n[:10].strip())}</dt><dd>{escape(n[10:])}</dd>" for n in notes(comparison))
    charts = (
        _figure("Speed-up against cores", "Over one core of the same way; the broken line is as many times as cores.",
                speed_up_chart(comparison)),
        _figure("Where the time goes", "Of the whole raster, on the most cores measured; the time stands beside.",
                stage_chart(comparison)),
        _figure("Roofline", "What memory and arithmetic allow, what the kernel reaches on cells in the cache (ring), "
                "and what each way reaches in all, decoding included.", roofline_chart(comparison)),
    )  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escape(title)}</title>\n<style>{_style()}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<p class="verdict">{escape(verdict(comparison))}</p>\n{_table(comparison)}\n'
        f'<div class="charts">\n{"".join(charts)}</div>\n<dl>{notes_}</dl>\n</body>\n</html>\n'
    )


def _figure(title: str, caption: str, picture: str) -> str:
    return f"<figure><h2>{title}</h2><figcaption>{caption}</figcaption>{picture}</figure>\n"


def _table(comparison: Comparison) -> str:
    heads = "".join(f"<th{_kind(k)}>{heading}</th>" for k, heading in enumerate(HEADINGS))
    rows = "\n".join(_row(comparison, row) for row in comparison.rows)
    return f'<div class="table"><table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table></div>'


def _kind(column: int) -> str:
    return ' class="words"' if HEADINGS[column] in {"way", "limited by", "pixels"} else ""


def _row(comparison: Comparison, row: Row) -> str:
    found = cells(comparison, row)
    name = f'<td title="{escape(WAYS[row.way].is_like)}">{escape(found[0])}</td>'
    if row.outcome is None:
        return f'<tr class="absent">{name}<td colspan="{len(HEADINGS) - 1}">{escape(found[2])}</td></tr>'
    kind = "best" if row == comparison.best else "" if row.is_right else "wrong"
    reason = row.limit.reason if row.limit is not None else ""
    rest = "".join(
        f'<td{_kind(k)}{f" title={chr(34)}{escape(reason)}{chr(34)}" if HEADINGS[k] == "limited by" else ""}>'
        f"{escape(cell)}</td>"
        for k, cell in enumerate(found) if k
    )  # fmt: skip
    return f'<tr class="{kind}">{name}{rest}</tr>'


def write_page(comparison: Comparison, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Writes the report.

    Args:
        comparison: What it is of.
        path: The file.
        overwrite: Whether one that is there may be replaced.

    Raises:
        SinkError: It cannot be written.
    """
    name = os.fspath(path)
    target = checked_file(name, overwrite=overwrite)
    try:
        write_text(name, target, page(comparison), overwrite=overwrite)
    except OSError as error:
        raise SinkError(
            f"{path}: the report cannot be written: {error.strerror or error}; give another name"
        ) from error
