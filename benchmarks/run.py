"""All benchmarks, one command: ``python benchmarks/run.py``. Prints the table, writes JSON and the README's figures.

``--small`` runs everything at small sizes, to see that it works; its figures go nowhere.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from peers.roster import CODEC, CONTENDERS, FLOOR, OURS
from peers.series import Choice, measure
from peers.table import beyond_the_codec, core_share, file_share
from report import described, machine, write_json, write_readme

if TYPE_CHECKING:
    from peers.series import Row


def seconds(*command: str, rounds: int) -> float:
    """Median wall time of a whole process."""
    import os
    import time

    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def startup(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of an import, and of a warm run of the program on a small raster."""
    from terrain import write_terrain

    dem = folder / "small.tif"
    write_terrain(dem, 512)
    program = [
        sys.executable,
        "-m",
        "tilejit",
        "run",
        "tilejit_kernels.terrain:slope",
        str(dem),
        "-o",
        str(folder / "small-slope.tif"),
        "--overwrite",
        "--quiet",
    ]
    bare = seconds(sys.executable, "-c", "pass", rounds=rounds)
    imported = seconds(sys.executable, "-c", "import tilejit", rounds=rounds)
    return {"import_tilejit": imported - bare, "warm_run": seconds(*program, rounds=rounds)}


def memory_table(rows: list[dict]) -> list[str]:
    """The table of arrays in memory, in Markdown."""
    by_case: dict[str, dict[str, float]] = {}
    for row in rows:
        by_case.setdefault(row["case"], {})[row["contender"]] = row["mpx_s"]
    names = list(next(iter(by_case.values())))
    names = [
        n
        for n in dict.fromkeys(name for case in by_case.values() for name in case)
        if n in names or n == "xarray-spatial"
    ]
    lines = [
        f"| Mpx/s, {rows[0]['size']} x {rows[0]['size']} | {' | '.join(names)} | tilejit / by hand, by threads |",
        "|---|" + "---:|" * (len(names) + 1),
    ]
    for case, figures in by_case.items():
        cells = [f"{figures[n]:,.0f}" if n in figures else "" for n in names]
        lines.append(f"| {case} | {' | '.join(cells)} | {_over_by_hand(rows, case)} |")
    return lines


def _over_by_hand(rows: list[dict], case: str) -> str:
    """Speed over that of the loop written by hand, for each number of threads: the median of the rounds' ratios.

    The two run one after the other in each round, so that a machine that slows down for a while slows both.
    """
    seconds = {row["contender"]: row["seconds"] for row in rows if row["case"] == case}
    ours = [name for name in seconds if name.replace("tilejit", "by hand") in seconds.keys() - {name}]
    pairs = [zip(seconds[name], seconds[name.replace("tilejit", "by hand")], strict=True) for name in ours]
    return ", ".join(f"{statistics.median(h / t for t, h in pair):.2f}" for pair in pairs)


def files_table(rows: list[Row]) -> list[str]:
    """The table of files, in Markdown."""
    lines = [
        "| slope, file to file, ZSTD 1 | wall s | CPU s | of the codec's | peak MB | of the floor's wall | its file |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    floors, codecs = ({row.size: row for row in rows if row.contender == name} for name in (FLOOR, CODEC))
    for row in rows:
        wall, floor = row.medians["wall"], floors[row.size]
        peak = "" if row.contender in (FLOOR, CODEC) else f"{row.medians['peak'] / 1e6:.0f}"
        share = f"{wall / floor.medians['wall']:.2f}"
        cores = core_share(row, codecs.get(row.size))
        cells = (f"{wall:.2f}", f"{row.medians['cpu']:.2f}", cores, peak, share, file_share(row, floor))
        lines.append(f"| {row.size} x {row.size}: {CONTENDERS[row.contender].title} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes; write nothing")
    parser.add_argument("--folder", type=Path, help="where the data go (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    import in_memory

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        # A round is over in milliseconds, and what else the machine does shows in it.
        rows = in_memory.run(512 if arguments.small else 8192, 4 * arguments.rounds, 1 if arguments.small else 2)
        sizes = (1024, 2048) if arguments.small else (16384, 32768)
        contenders = (OURS, FLOOR, CODEC)
        choice = Choice(sizes, arguments.rounds, ("slope",), ("zstd1",), contenders=contenders, large=max(sizes),
                        is_small=arguments.small)  # fmt: skip
        files = measure(choice, folder)
        start = startup(folder, arguments.rounds)
    about = machine()
    times = f"`import tilejit` {start['import_tilejit']:.2f} s, a warm `tilejit run` {start['warm_run']:.2f} s"
    closing = f"{times} (512 x 512). Medians of interleaved rounds; {described(about)}."
    table = [*memory_table(rows), "", *files_table(files), *beyond_the_codec(files), "", closing]
    print("\n".join(table))
    if arguments.small:
        return
    stamp = dt.datetime.now(tz=dt.UTC).date().isoformat()
    measured = {"in_memory": rows, "files": [asdict(row) for row in files], "startup": start}
    write_json("cpu.json", {"date": stamp, "machine": about, **measured})
    write_readme("benchmark", table)


if __name__ == "__main__":
    main()
