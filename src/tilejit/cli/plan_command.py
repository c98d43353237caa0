"""``tilejit plan``."""

from __future__ import annotations

from typing import Any

import click

from tilejit.cli.console import show_labelled
from tilejit.cli.options import INPUTS_HELP, job_arguments, read_job


@click.command("plan", help=f"""Show how a run would go, without reading a pixel.

Windows, halo, bytes, memory, and which backend and why.
{INPUTS_HELP}""")  # fmt: skip
@job_arguments
@click.option("-o", "--output", "outputs", metavar="FILE", multiple=True,
              help="The GeoTIFF that would be written; one for each kernel, or none.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="As for run.")
@click.option("--quiet", "-q", is_flag=True, hidden=True)
def command(outputs: tuple[str, ...], quiet: bool, **words: Any) -> None:
    """Prints a plan."""
    from tilejit.raster import plan_outputs

    del quiet
    job = read_job(**words)
    # Names that were not given are made up: whether they exist is no concern of the plan's.
    paths = outputs or tuple(f"{k.name}.tif" for k in job.kernels)
    options = job.options if outputs else {**job.options, "overwrite": True}
    plan = plan_outputs(job.outputs(paths), options)[0].plan
    show_labelled(str(plan))
