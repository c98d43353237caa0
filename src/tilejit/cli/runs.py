"""``tilejit run``, ``plan`` and ``merge``, and the arguments that they share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tilejit.cli.console import show_labelled
from tilejit.cli.inputs import (
    bind_parameters,
    open_inputs,
    option_callback,
    parse_edge,
    parse_nodata,
    parse_profile,
    parse_tile,
)
from tilejit.errors import ParameterError, TilejitError
from tilejit.kernel.discovery import find_kernel
from tilejit.sizes import counted, parse_size

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tilejit.engine.planning.planner import Job
    from tilejit.kernel.decorators import Applicable
    from tilejit.kernel.kernel import Edge
    from tilejit.raster.options import RunOptions
    from tilejit.raster.raster import Raster

    Function = TypeVar("Function", bound=Callable[..., Any])

KERNEL_HELP = """KERNEL is slope or terrain.slope (see tilejit list), my_kernels.py:name, or module:name."""
INPUT_HELP = """INPUT is file.tif, or 'file.tif[3]' for a band (in quotes: shells have a use for brackets), by position
or by the parameter's name: red=B4.tif nir=B5.tif."""
INPUTS_HELP = f"""{KERNEL_HELP} Several share one pass over the inputs: slope+hillshade, with one -o for each.

{INPUT_HELP}
"""

edge_option = click.option(
    "--edge", metavar="EDGE", callback=option_callback(parse_edge),
    help="What lies outside the raster, for kernels that read neighbours: nodata, nearest, reflect, wrap or a number.",
)  # fmt: skip

stack_option = click.option(
    "--stack", "--mask", "stacks", metavar="[NAME=]FILES", multiple=True,
    help="The files of a stack, as 'ndvi_*.tif' in quotes; repeated where a kernel takes several, in its order or as "
    "'qa=qa_*.tif', for which --mask is another word. Layers are in order of dates, or of names. A file of several "
    "bands is a stack by itself, and an INPUT.",
)  # fmt: skip

parameter_option = click.option("-p", "--parameter", "parameters", metavar="NAME=VALUE", multiple=True,
                                help="A parameter of the kernel; may be repeated.")  # fmt: skip
workers_option = click.option("--workers", type=click.IntRange(min=1), metavar="N",
                              help="Threads, or processes where they are started; all cores unless given.")  # fmt: skip
memory_option = click.option("--memory", metavar="SIZE", callback=option_callback(parse_size),
                             help="What the process may take, as 2GB.")  # fmt: skip
tile_option = click.option("--tile", metavar="ROWSxCOLS", callback=option_callback(parse_tile),
                           help="Rows and columns of a tile.")  # fmt: skip

_OPTIONS = (
    workers_option,
    click.option("--backend", type=click.Choice(["auto", "cpu", "cuda", "python"]), default="auto",
                 show_default=True, help="What computes."),
    memory_option,
    tile_option,
    click.option("--nodata", metavar="VALUE", callback=option_callback(parse_nodata),
                 help="Nodata value of the outputs; none for outputs without one."),
    click.option("--scaled/--counts", "scaled", default=None,
                 help="Take bands that have a scale and an offset as values everywhere, or as what is stored. "
                 "Unless given, kernels take values, and parameters annotated with an integer dtype what is stored."),
    click.option("--dtype", metavar="DTYPE",
                 help="Dtype of the outputs, as int16: values are rounded and held within its range."),
    click.option("--profile", metavar="OPTIONS", callback=option_callback(parse_profile),
                 help="GDAL's creation options, as compress=deflate,zlevel=6."),
)  # fmt: skip

_SAVING = (
    click.option("--overwrite", is_flag=True, help="Replace existing files."),
    click.option("--resume", is_flag=True,
                 help="Keep a journal, and go on where a run with --resume failed or was killed."),
    click.option("--cog", is_flag=True, help="Write cloud-optimised GeoTIFFs, with overviews."),
    click.option("--executor", metavar="NAME", default="threads", show_default=True,
                 help="What computes: threads, serial, processes, mpi (under mpiexec), dask, or a Dask scheduler's "
                      "address, tcp://host:8786."),
    click.option("--trace", metavar="FILE",
                 help="Write what each thread did when to a JSON file, for ui.perfetto.dev."),
    click.option("--quiet", "-q", is_flag=True, help="No progress bar and no report."),
)  # fmt: skip
OUTPUTS_HELP = "a GeoTIFF (.tif), GeoTIFF shards under a VRT (.vrt), or Zarr (.zarr)"


def run_options(function: Function) -> Function:
    """Gives a command the options of a run that say nothing of kernels."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def saving_options(function: Function) -> Function:
    """Gives a command the options of a run that writes files."""
    for option in reversed(_SAVING):
        function = option(function)
    return function


def job_arguments(function: Function) -> Function:
    """Gives a command the kernel, the inputs and the options of a run."""
    function = stack_option(parameter_option(run_options(edge_option(function))))
    function = click.argument("inputs", metavar="INPUT...", nargs=-1)(function)
    return click.argument("kernel", metavar="KERNEL")(function)


@dataclass(frozen=True, slots=True)
class JobWords:
    """A command line's kernels, applied to its inputs."""

    kernels: tuple[Applicable, ...]  # the kernels, in order
    rasters: tuple[Raster, ...]  # what each makes
    options: RunOptions  # how to run them

    def outputs(self, paths: tuple[str, ...]) -> dict[str | os.PathLike[str], Raster]:
        """Pairs the outputs with their files."""
        if len(paths) != len(self.kernels):
            names = " and ".join(k.name for k in self.kernels)
            raise click.UsageError(f"{counted(len(paths), 'output')} for {counted(len(self.kernels), 'kernel')}: "
                                   f"give one -o for {names}")  # fmt: skip
        if len(set(paths)) < len(paths):
            raise click.UsageError(f"{', '.join(paths)}: give each output a name of its own")
        named: Iterable[tuple[str | os.PathLike[str], Raster]] = zip(paths, self.rasters, strict=True)
        return dict(named)


def read_job(
    kernel: str, inputs: tuple[str, ...], parameters: tuple[str, ...], scaled: bool | None = None, *,
    stacks: tuple[str, ...] = (), edge: Edge | None = None, **options: Any,
) -> JobWords:  # fmt: skip
    """Finds the kernels, opens the inputs and applies the ones to the others; no pixel is read."""
    from tilejit.raster.options import RunOptions

    kernels = tuple(find_kernel(name, makes_table=False) for name in split_kernels(kernel))
    for one in kernels:
        if one.kind == "zonal":
            raise ParameterError(
                f"{one.name} makes a table, no raster: tilejit zonal {kernel} {' '.join(inputs)} ZONES"
            )
    bound = bind_parameters(kernels, parameters)
    # What an edge says nothing of is left alone; where that is all there is, the kernel refuses it.
    edged = [k for k in kernels if k.kind != "local"] or kernels
    rasters = open_inputs(kernels, inputs, scaled, stacks)
    edges = ({"edge": edge} if edge is not None and k in edged else {} for k in kernels)
    applied = tuple(k(*r, **b, **e) for k, r, b, e in zip(kernels, rasters, bound, edges, strict=True))
    return JobWords(
        kernels, applied, RunOptions(**{name: value for name, value in options.items() if value is not None})
    )


def split_kernels(text: str) -> list[str]:
    """Splits ``slope+hillshade``, but not the name of a file that has a plus in it."""
    parts, names = text.split("+"), []
    while parts:
        joined = (("+".join(parts[:n]), n) for n in range(2, len(parts) + 1))
        name, count = next(((j, n) for j, n in joined if "+" in _file_of(j)), (parts[0], 1))
        names.append(name)
        del parts[:count]
    return names


def _file_of(name: str) -> str:
    """The file that a kernel's name names, or nothing."""
    file = name if name.endswith(".py") else name.rpartition(":")[0]
    return file if Path(file).is_file() else ""


@click.command("run", help=f"""Run KERNEL over the INPUT rasters into files.

{INPUTS_HELP}
\b
tilejit run slope dem.tif -o slope.tif
tilejit run slope+hillshade dem.tif -o slope.tif -o shade.tif -p azimuth=300
tilejit run my_kernels.py:ndvi red=B4.tif nir=B5.tif -o ndvi.tif
tilejit run ndvi 'red=scene.tif[3]' 'nir=scene.tif[4]' -o ndvi.tif
tilejit run dates.py:clear --stack 't=ndvi_*' --stack 'qa=qa_*' -o out.tif
""")  # fmt: skip
@job_arguments
@click.option(
    "-o",
    "--output",
    "outputs",
    metavar="FILE",
    multiple=True,
    required=True,
    help=f"The file to write; one for each kernel: {OUTPUTS_HELP}. A tuple's results are its bands.",
)
@saving_options
def run(outputs: tuple[str, ...], quiet: bool, executor: str, **words: Any) -> None:
    """Runs kernels from file to file."""
    with leading(executor) as leads:
        if leads:
            _save(outputs, quiet, executor, words)


@contextmanager
def leading(executor: str) -> Iterator[bool]:
    """Whether this process leads the run, which the others of MPI work for until it ends."""
    if executor != "mpi":
        yield True
        return
    from tilejit.engine.executors.mpi import ranks

    with ranks() as leads:
        yield leads


def save_raster(output: str, make: Callable[[], Raster], words: Mapping[str, Any], *, quiet: bool) -> None:
    """Makes a raster and saves it, by the words of `run_options` and `saving_options`; and tells what the run did."""
    from tilejit.raster.options import RunOptions
    from tilejit.raster.running import save_outputs

    with leading(words["executor"]) as leads:
        if leads:
            given = {name: value for name, value in words.items() if value is not None}
            report = save_outputs({output: make()}, RunOptions(**given, progress=False if quiet else None))
            if not quiet:
                show_labelled(f"{report}\nwritten   {output}")


def _save(outputs: tuple[str, ...], quiet: bool, executor: str, words: dict[str, Any]) -> None:
    from tilejit.raster.running import save_outputs

    job = read_job(**words, executor=executor, progress=False if quiet else None)
    report = save_outputs(job.outputs(outputs), job.options)
    if not quiet:
        show_labelled(f"{report}\nwritten   {', '.join(outputs)}")


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
def plan(outputs: tuple[str, ...], timed: bool, quiet: bool, **words: Any) -> None:
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


@click.command("merge", help="""Put the shards of VRT together into one GeoTIFF.

Encoded blocks are copied as they are, unless --profile or --cog asks for others.

\b
tilejit run slope dem.tif -o slope.vrt
tilejit merge slope.vrt -o slope.tif
""")  # fmt: skip
@click.argument("vrt", metavar="VRT")
@click.option("-o", "--output", metavar="FILE", required=True, help="The GeoTIFF to write.")
@click.option("--cog", is_flag=True, help="Write a cloud-optimised GeoTIFF, with overviews.")
@click.option("--profile", metavar="OPTIONS", callback=option_callback(parse_profile),
              help="GDAL's creation options, as compress=deflate,zlevel=6; the shards' own unless given.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar and no report.")
def merge(vrt: str, output: str, quiet: bool, profile: Mapping[str, Any] | None, **words: Any) -> None:
    """Merges."""
    from tilejit.raster import merging

    merged = merging.merge(vrt, output, profile=profile, progress=False if quiet else None, **words)
    if not quiet:
        show_labelled(f"{merged}\nwritten   {output}")
