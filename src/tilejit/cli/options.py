"""The arguments that ``run`` and ``plan`` share, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tilejit.cli.inputs import (
    bind_parameters,
    open_inputs,
    option_callback,
    parse_edge,
    parse_nodata,
    parse_profile,
    parse_tile,
)
from tilejit.kernel.discovery import find_kernel
from tilejit.sizes import counted, parse_size

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

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

_OPTIONS = (
    click.option("-p", "--parameter", "parameters", metavar="NAME=VALUE", multiple=True,
                 help="A parameter of the kernel; may be repeated."),
    click.option("--workers", type=click.IntRange(min=1), metavar="N",
                 help="Threads, or processes where they are started; all cores unless given."),
    click.option("--backend", type=click.Choice(["auto", "cpu", "cuda", "python"]), default="auto",
                 show_default=True, help="What computes."),
    click.option("--memory", metavar="SIZE", callback=option_callback(parse_size),
                 help="What the process may take, as 2GB."),
    click.option("--tile", metavar="ROWSxCOLS", callback=option_callback(parse_tile),
                 help="Rows and columns of a task."),
    click.option("--nodata", metavar="VALUE", callback=option_callback(parse_nodata),
                 help="Nodata value of the outputs; none for outputs without one."),
    click.option("--scaled/--counts", "scaled", default=None,
                 help="Take bands that have a scale and an offset as values everywhere, or as what is stored. "
                 "Unless given, kernels take values, and parameters annotated with an integer dtype what is stored."),
    click.option("--dtype", metavar="DTYPE",
                 help="Dtype of the outputs, as int16: values are rounded and held within its range."),
    edge_option,
    click.option("--profile", metavar="OPTIONS", callback=option_callback(parse_profile),
                 help="GDAL's creation options, as compress=deflate,zlevel=6."),
)  # fmt: skip


def job_arguments(function: Function) -> Function:
    """Gives a command the kernel, the inputs and the options of a run."""
    for option in reversed(_OPTIONS):
        function = option(function)
    function = click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)(function)
    return click.argument("kernel", metavar="KERNEL")(function)


@dataclass(frozen=True, slots=True)
class JobWords:
    """A command line's kernels, applied to its inputs."""

    kernels: tuple[Applicable, ...]
    """The kernels, in order."""
    rasters: tuple[Raster, ...]
    """What each makes."""
    options: RunOptions
    """How to run them."""

    def outputs(self, paths: tuple[str, ...]) -> dict[str | os.PathLike[str], Raster]:
        """Pairs the outputs with their files.

        Raises:
            click.UsageError: There are more or fewer files than kernels, or one is given twice.
        """
        if len(paths) != len(self.kernels):
            names = " and ".join(k.name for k in self.kernels)
            raise click.UsageError(f"{counted(len(paths), 'output')} for {counted(len(self.kernels), 'kernel')}: "
                                   f"give one -o for {names}")  # fmt: skip
        if len(set(paths)) < len(paths):
            raise click.UsageError(f"{', '.join(paths)}: give each output a name of its own")
        named: Iterable[tuple[str | os.PathLike[str], Raster]] = zip(paths, self.rasters, strict=True)
        return dict(named)


def read_job(
    kernel: str,
    inputs: tuple[str, ...],
    parameters: tuple[str, ...],
    scaled: bool | None = None,
    *,
    edge: Edge | None = None,
    **options: Any,
) -> JobWords:
    """Finds the kernels, opens the inputs and applies the ones to the others; no pixel is read.

    Raises:
        TilejitError: A kernel, an input or a parameter is not as it should be.
    """
    from tilejit.raster.options import RunOptions

    kernels = tuple(find_kernel(name) for name in split_kernels(kernel))
    bound = bind_parameters(kernels, parameters)
    # What an edge says nothing of is left alone; where that is all there is, the kernel refuses it.
    edged = [k for k in kernels if k.kind != "local"] or kernels
    rasters = open_inputs(kernels, inputs, scaled)
    edges = ({"edge": edge} if edge is not None and k in edged else {} for k in kernels)
    applied = tuple(k(*r, **b, **e) for k, r, b, e in zip(kernels, rasters, bound, edges, strict=True))
    return JobWords(
        kernels, applied, RunOptions(**{name: value for name, value in options.items() if value is not None})
    )


def split_kernels(text: str) -> list[str]:
    """Splits ``slope+hillshade``, but not the name of a file that has a plus in it.

    Example:
        >>> split_kernels("slope+hillshade")
        ['slope', 'hillshade']
    """
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
