"""``tilejit zonal``: a table by zone, printed or written to a file."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import click

from tilejit.cli.console import console, on_terminal
from tilejit.cli.inputs import bind_parameters, open_inputs, option_callback, parse_input, parse_tile
from tilejit.cli.runs import split_kernels
from tilejit.errors import ParameterError, SinkError
from tilejit.kernel.discovery import find_kernel
from tilejit.kernel.zonal import ZonalKernel
from tilejit.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.kernel.decorators import Applicable
    from tilejit.raster.zones import LazyTable

    Columns = dict[str, NDArray[Any]]


@click.command("zonal", help="""Make a table by zone: KERNEL over the VALUES, a row for each number in ZONES.

KERNEL is zonal.mean (see tilejit list), my_kernels.py:name, or several that share one pass: mean+maximum. VALUES and
ZONES are rasters on one grid, as file.tif or 'file.tif[3]'; ZONES holds whole numbers.

\b
tilejit zonal mean+maximum dem.tif parcels.tif
tilejit zonal summary dem.tif parcels.tif -o table.csv
""")  # fmt: skip
@click.argument("kernel", metavar="KERNEL")
@click.argument("values", metavar="VALUES...", nargs=-1, required=True)
@click.argument("zones", metavar="ZONES")
@click.option("-o", "--output", metavar="FILE", help="Write a .csv.")
@click.option("-p", "--parameter", "parameters", metavar="NAME=VALUE", multiple=True, help="A parameter of the kernel.")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Threads, or processes; all cores unless given."
)
@click.option("--memory", metavar="SIZE", callback=option_callback(parse_size), help="What may be taken, as 2GB.")
@click.option("--tile", metavar="ROWSxCOLS", callback=option_callback(parse_tile), help="Rows and columns of a task.")
@click.option("--executor", metavar="NAME", default="threads", show_default=True, help="What runs the tasks.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def zonal(output: str | None, overwrite: bool, quiet: bool, kernel: str, values: tuple[str, ...], **words: Any) -> None:
    """Makes a table."""
    from tilejit.formats.publishing import write_text
    from tilejit.formats.target import checked_file
    from tilejit.raster.options import RunOptions
    from tilejit.raster.zones import compute_tables

    target = None if output is None else checked_file(output, overwrite=overwrite)
    if output is not None and not output.lower().endswith(".csv"):
        raise SinkError(f"{output}: a table is written as CSV: give a name that ends in .csv")
    tables = _tables(kernel, values, words.pop("zones"), words.pop("parameters"))
    found = compute_tables(tables, RunOptions(progress=False if quiet else None, **words))
    columns = _joined([table.kernel.name for table in tables], found)
    if output is None or target is None:
        _show(columns)
    else:
        write_text(output, target, _csv(columns), overwrite=overwrite)


def _tables(names: str, values: Sequence[str], zones: str, parameters: Sequence[str]) -> list[LazyTable]:
    from tilejit.raster.making import open_raster

    kernels = [find_kernel(name) for name in split_kernels(names)]
    for kernel in kernels:
        if not isinstance(kernel, ZonalKernel):
            raise ParameterError(f"{kernel.name} makes a raster, no table: tilejit run {kernel.name} …")
    one = parse_input(zones)
    parcels = open_raster(one.path, band=one.band, scaled=False)
    bound = bind_parameters(kernels, parameters)
    applied: list[Applicable] = list(kernels)
    rows = zip(kernels, open_inputs(applied, values), bound, strict=True)
    return [kernel(*rasters, zones=parcels, **given) for kernel, rasters, given in rows]


def _joined(names: Sequence[str], tables: Sequence[Columns]) -> Columns:
    """One table; a column whose name another kernel has too is called after its kernel as well."""
    columns: Columns = {"zone": tables[0]["zone"]}
    for kernel, table in zip(names, tables, strict=True):
        for name, column in list(table.items())[1:]:
            columns[f"{kernel}_{name}" if name in columns else name] = column
    return columns


def _rows(columns: Columns) -> list[tuple[Any, ...]]:
    return list(zip(*(column.tolist() for column in columns.values()), strict=True))


def _show(columns: Columns) -> None:
    if not on_terminal():
        click.echo(_csv(columns), nl=False)
        return
    from rich.table import Table

    table = Table(*columns)
    for row in _rows(columns):
        table.add_row(*(f"{value:g}" if isinstance(value, float) else str(value) for value in row))
    console().print(table)


def _csv(columns: Columns) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([tuple(columns), *_rows(columns)])
    return text.getvalue()
