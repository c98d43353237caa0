"""The command: choices, tables, JSON and the README."""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peers.jobs import JOBS, PROFILES
from peers.roster import CODEC, CONTENDERS, FLOOR, OURS
from peers.series import Choice, Row, measure
from peers.table import beyond_the_codec, long_table, short_table
from report import described, machine, read_json, write_json, write_readme

SIZES = (4096, 16384, 65536)
PACKAGES = ("rasterio", "scipy", "rioxarray", "dask", "xarray-spatial")


def main() -> None:
    """Runs what is asked for."""
    parser = _parser()
    arguments = parser.parse_args()
    choice = _choice(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measure(choice, folder)
    about = {"date": dt.datetime.now(tz=dt.UTC).date().isoformat(), "machine": machine(*PACKAGES)}
    kept = not (arguments.small or arguments.dry)
    shown = _with_earlier(rows, about) if kept else rows
    if kept:
        write_json("peers.json", about | {"rows": [asdict(row) for row in shown]})
    short = [*short_table(shown, choice.large), "", _closing(shown, about["machine"])]
    print("\n".join([*long_table(shown), *beyond_the_codec(shown), "", *short]))
    if kept:
        write_readme("peers", short)
    failed = [f"{row.contender}, {row.job}, {row.size}: {row.note}" for row in rows if row.note.startswith("failed")]
    if failed:
        raise SystemExit("\n".join(failed))


def _with_earlier(rows: list[Row], about: dict[str, Any]) -> list[Row]:
    """Rows with those of other commands of this day and machine, so that a long series can be run in parts."""
    earlier = read_json("peers.json")
    if any(earlier.get(name) != value for name, value in about.items()):
        return rows
    found = {row.key: row for row in (*(Row.of(one) for one in earlier["rows"]), *rows)}
    return sorted(found.values(), key=lambda row: (row.size, [*PROFILES].index(row.profile), [*JOBS].index(row.job)))


def _closing(rows: list[Row], about: dict[str, str]) -> str:
    """What the figures rest on."""
    rounds = " or ".join(str(n) for n in sorted({len(row.rounds) for row in rows if row.rounds}))
    ratio = max(row.medians["read_ratio"] for row in rows if "read_ratio" in row.medians)
    return (
        f"From the first read to the output on the disk, with the same tiles, compressor and predictor, on all cores, "
        f"results equal to tilejit's. Others were given ZSTD 1 or DEFLATE 6, as was tilejit where a column says so; "
        f"where it says its own level, cheaper encoders of the same format stand in while its file stays within 2 %. "
        f"The codec's own limit is the core seconds that zstandard or libdeflate takes for the same blocks, without "
        f"predictors, shared out over all cores. "
        f"Medians of {rounds} interleaved rounds; tilejit "
        f"decoded each byte {ratio:.2f} times at most; {described(about)}."
    )


def _choice(arguments: argparse.Namespace) -> Choice:
    """What the arguments ask for; small runs take the smallest of everything."""
    contenders = tuple(dict.fromkeys((OURS, *arguments.contenders)))
    if arguments.small:
        sizes = tuple(arguments.sizes or (1024,))
        return Choice(sizes, 1, tuple(arguments.jobs), few=(), contenders=contenders, is_small=True)
    sizes = tuple(sorted(arguments.sizes or SIZES))
    return Choice(sizes, arguments.rounds, tuple(arguments.jobs), tuple(arguments.profiles), contenders=contenders)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="The same jobs over the same files by all contenders; prints tables, and writes them to the README "
        f"and to benchmarks/results/peers.json, beside what was measured here on the same day. Above 16384, {OURS}, "
        f"{FLOOR} and {CODEC} run alone."
    )
    parser.add_argument("--sizes", type=int, nargs="+", help=f"rows and columns (default: {SIZES})")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, interleaved (default: 3)")
    parser.add_argument("--folder", type=Path, help="where the data go and stay (default: a temporary folder)")
    parser.add_argument("--small", action="store_true", help="1024, one round, to see that it works; write nothing")
    parser.add_argument("--dry", action="store_true", help="print only; write nothing")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    return parser
