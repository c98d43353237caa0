"""``tilejit zonal``: a table by zone, printed or written to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tilejit.cli.console import console, on_terminal, say
from tilejit.cli.inputs import bind_parameters, open_inputs, parse_input
from tilejit.cli.runs import memory_option, parameter_option, split_kernels, stack_option, tile_option, workers_option
from tilejit.errors import ParameterError, SourceError
from tilejit.kernel.discovery import find_kernel
from tilejit.kernel.zonal import ZonalKernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.engine.polygons import Cells
    from tilejit.grid import Grid
    from tilejit.kernel.decorators import Applicable
    from tilejit.raster.raster import Raster
    from tilejit.raster.zones import LazyTable, PolygonLayer, Table


@click.command("zonal", help="""Make a table by zone: KERNEL over the VALUES, a row for each zone in ZONES.

KERNEL is zonal.mean (see tilejit list), my_kernels.py:name, or several that share one pass: mean+maximum. VALUES are
rasters on one grid, as file.tif or 'file.tif[3]'. ZONES is one more that holds whole numbers, or a file of polygons.

\b
tilejit zonal mean+maximum dem.tif parcels.tif
tilejit zonal summary dem.tif parcels.gpkg --cells fraction -o table.parquet
""")  # fmt: skip
@click.argument("kernel", metavar="KERNEL")
@click.argument("values", metavar="VALUES...", nargs=-1)
@click.argument("zones", metavar="ZONES")
@stack_option
@click.option("-o", "--output", metavar="FILE", help="Write a .csv, .parquet, or of polygons .gpkg.")
@click.option(
    "--cells",
    type=click.Choice(["centre", "touched", "fraction"]),
    help="Cells of a polygon: whose centre it holds (unless given), all it touches, or the exact share of each.",
)
@click.option("--layer", metavar="NAME", help="The layer of a file of polygons that has several.")
@parameter_option
@workers_option
@memory_option
@tile_option
@click.option("--executor", metavar="NAME", default="threads", show_default=True, help="What computes the tiles.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def zonal(output: str | None, overwrite: bool, quiet: bool, kernel: str, values: tuple[str, ...], **words: Any) -> None:
    """Makes a table."""
    from tilejit.formats.target import checked_file
    from tilejit.raster.options import RunOptions
    from tilejit.raster.zones import compute_tables, csv_text, flat, table_suffix

    if output is not None:
        table_suffix(output)
        checked_file(output, overwrite=overwrite)
    asked = {name: words.pop(name) for name in ("zones", "cells", "layer", "parameters", "stacks")}
    tables = _tables(kernel, values, **asked)
    found = compute_tables(tables, RunOptions(progress=False if quiet else None, **words))
    table = _joined([table.kernel.name for table in tables], found)
    for note in table.notes:
        say(f"polygons: {note}", aside=True)
    if output is not None:
        table.save(output, overwrite=overwrite)
    elif on_terminal():
        _show(flat(table))
    else:
        click.echo(csv_text(flat(table)), nl=False)


def _tables(
    names: str, values: Sequence[str], *, zones: str, cells: Cells | None, layer: str | None,
    parameters: Sequence[str], stacks: Sequence[str],
) -> list[LazyTable]:  # fmt: skip
    kernels = [find_kernel(name, makes_table=True) for name in split_kernels(names)]
    for kernel in kernels:
        if not isinstance(kernel, ZonalKernel):
            raise ParameterError(f"{kernel.name} makes a raster, no table: tilejit run {kernel.name} …")
    bound = bind_parameters(kernels, parameters)
    applied: list[Applicable] = list(kernels)
    inputs = open_inputs(applied, values, stacks=stacks)
    parcels = _zones(zones, inputs[0][0].grid, cells, layer)
    return [
        kernel(*rasters, zones=parcels, **given) for kernel, rasters, given in zip(kernels, inputs, bound, strict=True)
    ]


def _zones(text: str, grid: Grid, cells: Cells | None, layer: str | None) -> Raster | PolygonLayer:
    """A raster if it is one, and nothing is asked of it that only polygons have; else a file of polygons."""
    from tilejit.formats.vector import has_layers
    from tilejit.raster.making import open_raster
    from tilejit.raster.zones import PolygonLayer

    one = parse_input(text)
    if cells is None and layer is None:
        try:
            return open_raster(one.path, band=one.band, scaled=False)
        except SourceError:
            if one.band is not None or not has_layers(one.path):
                raise
    return PolygonLayer.of(one.path, grid, cells or "centre", layer)


def _joined(names: Sequence[str], tables: Sequence[Table]) -> Table:
    """One table; a column whose name another kernel has too is called after its kernel as well."""
    from tilejit.raster.zones import COUNTS, Table

    columns = dict(tables[0])
    for kernel, table in zip(names[1:], tables[1:], strict=True):
        for name, column in list(table.items())[1:]:
            if name not in columns:
                columns[name] = column
            elif name not in COUNTS or columns[name].tolist() != column.tolist():
                columns[f"{kernel}_{name}"] = column
    last = {name: columns.pop(name) for name in COUNTS if name in columns}
    return Table(columns | last, tables[0].features, tables[0].notes)


def _show(columns: Mapping[str, NDArray[Any]]) -> None:
    from rich.table import Table as Printed

    printed = Printed(*columns)
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        printed.add_row(*(f"{value:g}" if isinstance(value, float) else str(value) for value in row))
    console().print(printed)
