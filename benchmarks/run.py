"""All benchmarks, one command: ``python benchmarks/run.py``. Prints the table, writes JSON and the README's figures.

``--small`` runs everything at small sizes, to see that it works; its figures go nowhere.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
START, END = "<!-- benchmark:start -->", "<!-- benchmark:end -->"


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    import numba
    import numpy as np
    import rasterio

    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "cpu": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "numba": numba.__version__,
        "numpy": np.__version__,
        "gdal": rasterio.__gdal_version__,
    }


def seconds(*command: str, rounds: int = 5) -> float:
    """Median wall time of a whole process."""
    import statistics
    import time

    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def startup(folder: Path) -> dict[str, float]:
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
    bare = seconds(sys.executable, "-c", "pass")
    return {"import_tilejit": seconds(sys.executable, "-c", "import tilejit") - bare, "warm_run": seconds(*program)}


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
    lines = [f"| Mpx/s, {rows[0]['size']} x {rows[0]['size']} | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for case, figures in by_case.items():
        cells = [f"{figures[n]:,.0f}" if n in figures else "" for n in names]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return lines


def files_table(results: list[dict]) -> list[str]:
    """The table of files, in Markdown."""
    lines = [
        "| slope, file to file, ZSTD | wall s | CPU s | peak MB | of the floor's wall |",
        "|---|---:|---:|---:|---:|",
    ]
    for result in results:
        for name, figures in result["medians"].items():
            peak = f"{figures['peak'] / 1e6:.0f}" if "peak" in figures else ""
            ratio = f"{result['wall_ratio']:.2f}" if name == "tilejit" else "1.00"
            label = "tilejit" if name == "tilejit" else "GDAL's floor: read and write, nothing computed"
            cells = (f"{figures['wall']:.2f}", f"{figures['cpu']:.2f}", peak, ratio)
            lines.append(f"| {result['size']} x {result['size']}: {label} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes; write nothing")
    parser.add_argument("--folder", type=Path, help="where the data go (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE))
    import files
    import in_memory

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        rows = in_memory.run(512 if arguments.small else 8192, arguments.rounds, 1 if arguments.small else 2)
        sizes = (1024, 2048) if arguments.small else (16384, 32768)
        results = [files.run(folder, size, max(1, arguments.rounds - 2 * k)) for k, size in enumerate(sizes)]
        start = startup(folder)
    about = machine()
    described = ", ".join(f"{k} {v}" for k, v in about.items())
    times = f"`import tilejit` {start['import_tilejit']:.2f} s, a warm `tilejit run` {start['warm_run']:.2f} s"
    closing = f"{times} (512 x 512). Medians of interleaved rounds; {described}."
    table = [*memory_table(rows), "", *files_table(results), "", closing]
    print("\n".join(table))
    if arguments.small:
        return
    stamp = dt.datetime.now(tz=dt.UTC).date().isoformat()
    report = {"date": stamp, "machine": about, "in_memory": rows, "files": results, "startup": start}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "cpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    if START in text:
        before, rest = text.split(START)
        after = rest.split(END)[1]
        README.write_text(f"{before}{START}\n" + "\n".join(table) + f"\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
