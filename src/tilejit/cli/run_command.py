"""``tilejit run``."""

from __future__ import annotations

from typing import Any

import click

from tilejit.cli.console import show_labelled
from tilejit.cli.options import INPUTS_HELP, job_arguments, read_job


@click.command("run", help=f"""Run KERNEL over the INPUT rasters into files.

{INPUTS_HELP}
\b
tilejit run slope dem.tif -o slope.tif
tilejit run slope+hillshade dem.tif -o slope.tif -o shade.tif -p azimuth=300
tilejit run my_kernels.py:ndvi red=B4.tif nir=B5.tif -o ndvi.tif
tilejit run ndvi 'red=scene.tif[3]' 'nir=scene.tif[4]' -o ndvi.tif
""")  # fmt: skip
@job_arguments
@click.option("-o", "--output", "outputs", metavar="FILE", multiple=True, required=True,
              help="The file to write; one for each kernel: a GeoTIFF (.tif), GeoTIFF shards under a VRT (.vrt), "
              "or Zarr (.zarr). A tuple's results are its bands.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option("--resume", is_flag=True,
              help="Keep a journal, and go on where a run with --resume failed or was killed.")  # fmt: skip
@click.option("--executor", metavar="NAME", default="threads", show_default=True,
              help="What runs the tasks: threads, serial, processes, mpi (under mpiexec), dask, or a Dask scheduler's "
                   "address, tcp://host:8786.")  # fmt: skip
@click.option("--trace", metavar="FILE",
              help="Write what each thread did when to a JSON file, for ui.perfetto.dev.")  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="No progress bar and no report.")
def command(outputs: tuple[str, ...], quiet: bool, executor: str, **words: Any) -> None:
    """Runs kernels from file to file."""
    if executor != "mpi":
        _run(outputs, quiet, executor, words)
        return
    from tilejit.engine.executors.mpi import ranks

    with ranks() as leads:
        if leads:
            _run(outputs, quiet, executor, words)


def _run(outputs: tuple[str, ...], quiet: bool, executor: str, words: dict[str, Any]) -> None:
    from tilejit.raster.running import save_outputs

    job = read_job(**words, executor=executor, progress=False if quiet else None)
    report = save_outputs(job.outputs(outputs), job.options)
    if not quiet:
        show_labelled(f"{report}\nwritten   {', '.join(outputs)}")
