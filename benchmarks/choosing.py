"""Compares every strategy for being parallel on a made-up terrain, and writes what comes of it into docs/choosing.md.

``python benchmarks/choosing.py`` on a quiet machine: it takes some ten minutes, and says so in the page where other
programs were busy meanwhile.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

import tilejit as tj
from tilejit.cli.terrain_demo import write_terrain
from tilejit.kernel.discovery import find_kernel
from tilejit.system.files import replace_bytes

ROOT = Path(__file__).resolve().parents[1]
BUSY = 0.2
"""Cores that others may take before the page says so."""
PAGE = ROOT / "docs" / "choosing.md"


@click.command()
@click.option("--size", default=16384, show_default=True, help="Rows and columns of the terrain.")
@click.option("--seconds", default=1.0, show_default=True, help="How long the fastest strategy should take.")
@click.option("--page", default=str(PAGE), show_default=True, help="Where the tables go.")
def main(size, seconds, page):
    """Compares, and writes the page."""
    kernels = {
        "slope": find_kernel("terrain.slope"),
        "orbit": find_kernel(f"{ROOT / 'benchmarks' / 'orbits.py'}:orbit"),
    }
    found = {}
    page = Path(page).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the tables name the file as it is given
        write_terrain(Path("terrain.tif"), size)
        for name, kernel in kernels.items():
            found[name] = tj.compare(kernel, "terrain.tif", seconds=seconds, tell=lambda s: click.echo(s, err=True))
            click.echo(found[name])
    text = page.read_text(encoding="utf-8")
    for name, comparison in found.items():
        text = between(text, name, f"```\n{comparison}\n```")
    replace_bytes(page, between(text, "claims", claims(found["slope"], found["orbit"])).encode())


def between(text, mark, new):
    """Replaces what stands between two markers."""
    start, end = f"<!-- {mark}:start -->\n", f"<!-- {mark}:end -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}{new}\n{end}{tail}"


CLAIMS = """\
- **Python's threads**: {cores} of them run the slope {up_threads} times as fast as one, the orbit {up_threads_2} times.
  **Python's processes**: {up_processes} and {up_processes_2}.
- **Compiling**: Numba on one core runs the slope {over} times as fast as Python does, the orbit {over_2} times. The
  slope takes {first} s to compile, and {then} s to load from then on.
- **Moving arrays**: on {cores} cores a pool that pickles them does {pickled} Mpx/s of slope, one that reads for itself
  and shares memory {shared}; of the orbit {pickled_2} and {shared_2}.
- **A parallel loop over an array** (`numba parallel`) gains {up_loop} times on the slope, where one thread decodes
  for all, and {up_loop_2} on the orbit.
- **tilejit's threads** gain {up_own} and {up_own_2} times, and do {own} and {own_2} Mpx/s.
- **Being ready** on {cores} cores takes {starts}."""


def claims(slope, orbit):
    """What the tables show, in sentences."""
    values = {
        "cores": max(row.cores for row in slope.rows),
        "first": f"{slope.roofline.compile:.1f}",
        "then": f"{slope.row('numba').measured.compile:.2f}",
        "starts": ", ".join(starts(slope)),
    }
    for end, found in (("", slope), ("_2", orbit)):
        values |= {
            f"up_threads{end}": up(found, "python threads"),
            f"up_processes{end}": up(found, "python processes"),
            f"over{end}": over(found, "numba"),
            f"pickled{end}": speed(found, "pool, pickled arrays"),
            f"shared{end}": speed(found, "pool, shared memory"),
            f"up_loop{end}": up(found, "numba parallel"),
            f"up_own{end}": up(found, "tilejit threads"),
            f"own{end}": speed(found, "tilejit threads"),
        }
    return CLAIMS.format(**values) + disturbance(slope, orbit)


def disturbance(*comparisons):
    """Says so where other programs took cores: what more of them bring is then worth little."""
    others = [row.measured.others for one in comparisons for row in one.rows if row.measured is not None]
    mean = sum(others) / len(others)
    if mean < BUSY:
        return ""
    return (
        f"\n\n**Other programs kept {mean:.1f} cores busy meanwhile.** Speed-ups over one core are worth little then, "
        "and all figures are too low; what each strategy costs beside the others still shows."
    )


def last(comparison, strategy):
    """A strategy's row with the most cores."""
    return [row for row in comparison.rows if row.strategy == strategy and row.measured is not None][-1]


def up(comparison, strategy):
    return f"{comparison.speed_up(last(comparison, strategy)):.2f}"


def over(comparison, strategy):
    return f"{comparison.over_python(last(comparison, strategy)):,.0f}"


def speed(comparison, strategy):
    return f"{last(comparison, strategy).measured.speed:,.0f}"


def starts(comparison):
    """How long each kind of strategy takes to be ready."""
    names = ("tilejit threads", "pool, shared memory", "tilejit processes", "tilejit mpi", "tilejit dask")
    ran = {row.strategy for row in comparison.rows if row.measured is not None}
    return [f"{last(comparison, name).measured.start:.1f} s ({name})" for name in names if name in ran]


if __name__ == "__main__":
    main()
