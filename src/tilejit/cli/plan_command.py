"""``tilejit plan``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from tilejit.cli.console import show_labelled
from tilejit.cli.options import INPUTS_HELP, job_arguments, read_job
from tilejit.errors import TilejitError

if TYPE_CHECKING:
    from tilejit.engine.planning.planner import Job


@click.command("plan", help=f"""Show how a run would go.

Windows, halo, bytes, memory, which backend and why, without reading a pixel; and how long it will take, from some
tiles that are run in earnest, their results thrown away.

{INPUTS_HELP}""")  # fmt: skip
@job_arguments
@click.option("-o", "--output", "outputs", metavar="FILE", multiple=True,
              help="The file that would be written (.tif, .vrt, .zarr); one for each kernel, or none.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="As for run.")
@click.option("--time/--no-time", "timed", default=True, show_default=True, help="Predict the run time.")
@click.option("--quiet", "-q", is_flag=True, hidden=True)
def command(outputs: tuple[str, ...], timed: bool, quiet: bool, **words: Any) -> None:
    """Prints a plan."""
    from tilejit.raster.running import plan_outputs

    del quiet
    job = read_job(**words)
    # Names that were not given are made up: whether they exist is no concern of the plan's.
    paths = outputs or tuple(f"{k.name}.tif" for k in job.kernels)
    options = job.options if outputs else replace(job.options, overwrite=True)
    planned = plan_outputs(job.outputs(paths), options)[0]
    lines = [str(planned.plan)]
    if timed:
        lines.append(f"time      {_prediction(planned)}")
    show_labelled("\n".join(lines))


def _prediction(job: Job) -> str:
    """How long a run will take, or why that cannot be said."""
    from tilejit.engine.prediction import predict_job

    try:
        return str(predict_job(job))
    except (TilejitError, OSError) as error:  # the plan itself holds
        return f"not predicted: {error}"
