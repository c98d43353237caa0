"""Compares every way of being parallel on a made-up terrain, and writes what comes of it into docs/choosing.md.

``python benchmarks/choosing.py`` on a quiet machine: it takes some ten minutes, and says so in the page where other
programs were busy meanwhile.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

import tilejit as tj
from tilejit.discovery import find_kernel
from tilejit.files import replace_text
from tilejit.terrain_demo import write_terrain

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "choosing.md"


@click.command()
@click.option("--size", default=16384, show_default=True, help="Rows and columns of the terrain.")
@click.option("--seconds", default=1.0, show_default=True, help="How long the fastest way should take.")
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
    replace_text(page, between(text, "claims", claims(found["slope"], found["orbit"])))


def between(text, mark, new):
    """Replaces what stands between two markers."""
    start, end = f"<!-- {mark}:start -->\n", f"<!-- {mark}:end -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}{new}\n{end}{tail}"


def claims(slope, orbit):
    """What the tables show, in sentences."""
    most, loop = max(row.cores for row in slope.rows), layer(slope)
    first, then = slope.roofs.compile, slope.row("numba").outcome.compile
    lines = (
        f"**Python's threads**: {most} of them run the slope {up(slope, 'python threads')} times as fast as one, the "
        f"orbit {up(orbit, 'python threads')} times. **Python's processes**: {up(slope, 'python processes')} and "
        f"{up(orbit, 'python processes')}.",
        f"**Compiling**: Numba on one core runs the slope {over(slope, 'numba')} times as fast as Python does, the orbit "
        f"{over(orbit, 'numba')} times. The slope takes {first:.1f} s to compile, and {then:.1f} s to load from then on.",
        f"**Moving arrays**: on {most} cores a pool that pickles them does {speed(slope, 'pool, pickled arrays')} Mpx/s "
        f"of slope, one that reads for itself and shares memory {speed(slope, 'pool, shared memory')}; of the orbit "
        f"{speed(orbit, 'pool, pickled arrays')} and {speed(orbit, 'pool, shared memory')}.",
        f"**A parallel loop over an array** (`numba parallel, {loop}`) gains {up(slope, f'numba parallel, {loop}')} "
        f"times on the slope, where one thread decodes for all, and {up(orbit, f'numba parallel, {loop}')} on the orbit.",
        f"**tilejit's threads** gain {up(slope, 'tilejit threads')} and {up(orbit, 'tilejit threads')} times, and do "
        f"{speed(slope, 'tilejit threads')} and {speed(orbit, 'tilejit threads')} Mpx/s.",
        f"**Being ready** on {most} cores takes {', '.join(starts(slope))}.",
    )
    return "\n".join(f"- {line}" for line in lines)


def last(comparison, way):
    """A way's row with the most cores."""
    return [row for row in comparison.rows if row.way == way and row.outcome is not None][-1]


def up(comparison, way):
    return f"{comparison.speed_up(last(comparison, way)):.2f}"


def over(comparison, way):
    return f"{comparison.over_python(last(comparison, way)):,.0f}"


def speed(comparison, way):
    return f"{last(comparison, way).outcome.speed:,.0f}"


def layer(comparison):
    """The threading layer that Numba would take."""
    ways = [row.way for row in comparison.rows if row.way.startswith("numba parallel") and row.outcome is not None]
    return ways[0].rpartition(" ")[2]


def starts(comparison):
    """How long each kind of way takes to be ready."""
    ways = ("tilejit threads", "pool, shared memory", "tilejit processes", "tilejit mpi", "tilejit dask")
    ran = {row.way for row in comparison.rows if row.outcome is not None}
    return [f"{last(comparison, way).outcome.start:.1f} s ({way})" for way in ways if way in ran]


if __name__ == "__main__":
    main()
