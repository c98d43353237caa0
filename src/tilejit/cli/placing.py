"""``tilejit clip``, ``warp`` and ``mosaic``: rasters cut to a place, put on another grid, and joined to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tilejit.cli.inputs import files_of, parse_input
from tilejit.cli.runs import OUTPUTS_HELP, run_options, save_raster, saving_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from tilejit.grid import Grid
    from tilejit.raster.raster import Raster

    Function = TypeVar("Function", bound=Callable[..., Any])

_RESAMPLINGS = ("nearest", "bilinear", "cubic", "lanczos", "average", "sum", "minimum", "maximum", "median", "mode")
_METHODS = ("first", "last", "min", "max", "mean", "median")
_BOUNDS = click.option("--bounds", type=float, nargs=4, metavar="LEFT BOTTOM RIGHT TOP",
                       help="What is covered, in units of the CRS.")  # fmt: skip
_OUTPUT = click.option("-o", "--output", metavar="FILE", required=True, help=f"The file to write: {OUTPUTS_HELP}.")
_GRID = (
    click.option("--like", metavar="RASTER", help="A raster that has the grid that is wanted."),
    click.option("--crs", metavar="CRS", help="A CRS, as EPSG:3857; that of the raster unless given."),
    click.option("--resolution", type=float, metavar="SIZE", help="A cell's width and height, in units of the CRS."),
    click.option("--aligned", is_flag=True, help="Have edges on multiples of the resolution."),
    _BOUNDS,
    click.option("--resampling", type=click.Choice(_RESAMPLINGS),
                 help="How cells are made; nearest for classes and bilinear for others unless given."),
)  # fmt: skip


def _grid_options(function: Function) -> Function:
    for option in reversed(_GRID):
        function = option(function)
    return function


def _wanted(
    own: Callable[[], Grid], like: str | None, crs: str | None, bounds: tuple[float, ...] | None, *,
    resolution: float | None, aligned: bool,
) -> Grid | None:  # fmt: skip
    """The grid that options ask for; None where there are none."""
    if like is not None:
        if crs or bounds or resolution or aligned:
            raise click.UsageError("--like has a grid already: leave --crs, --bounds, --resolution and --aligned out")
        return _open(like).grid
    if not (crs or bounds or resolution or aligned):
        return None
    grid = own().to_crs(crs, resolution=resolution, aligned=aligned) if crs else own()
    if crs and not bounds:
        return grid
    return type(grid).from_bounds(
        bounds or grid.bounds,  # type: ignore[arg-type] # four
        grid.crs,
        resolution=resolution or grid.resolution,
        aligned=aligned,
    )


def _open(word: str, scaled: bool | None = None) -> Raster:
    from tilejit.raster.making import open_raster

    one = parse_input(word)
    return open_raster(one.path, band=one.band, scaled=scaled)


@click.command("clip", help="""Cut INPUT to bounds, a raster's place, polygons, or what holds data.

\b
tilejit clip dem.tif --bounds 500000 5200000 520000 5210000 -o part.tif
tilejit clip dem.tif --polygons basin.gpkg -o basin.tif
tilejit clip dem.tif --like scene.tif -o same_place.tif
tilejit clip dem.tif --polygons lakes.gpkg --invert -o land.tif
""")  # fmt: skip
@click.argument("raster", metavar="INPUT")
@_OUTPUT
@_BOUNDS
@click.option("--like", metavar="RASTER", help="A raster that covers what is kept.")
@click.option("--polygons", metavar="FILE", help="Polygons outside of which there is no data.")
@click.option("--layer", metavar="NAME", help="The layer of a file of polygons that has several.")
@click.option("--all-touched", is_flag=True, help="Keep all cells that polygons touch; else those by their centre.")
@click.option("--invert", is_flag=True, help="Keep what lies outside the polygons, and the raster's size.")
@click.option("--valid", is_flag=True, help="Keep the rows and columns that hold data.")
@run_options
@saving_options
def clip(
    raster: str, *, scaled: bool | None, output: str, quiet: bool, bounds: tuple[float, ...] | None, like: str | None,
    polygons: str | None, layer: str | None, all_touched: bool, invert: bool, valid: bool, **words: Any,
) -> None:  # fmt: skip
    """Cuts a raster."""
    if not (bounds or like or polygons or valid):
        raise click.UsageError("to what? Give --bounds, --like, --polygons or --valid")

    def cut() -> Raster:
        made = _open(raster, scaled)
        made = made.clip(bounds) if bounds else made
        made = made.clip(_open(like).grid) if like else made
        if polygons:
            made = made.mask(polygons, layer=layer, all_touched=all_touched, invert=invert, crop=not invert)
        return made.crop_to_valid() if valid else made

    save_raster(output, cut, words, quiet=quiet)


@click.command("warp", help="""Put INPUT on another grid.

\b
tilejit warp dem.tif --like scene.tif -o dem_there.tif
tilejit warp dem.tif --crs EPSG:3857 --resolution 30 --aligned -o web.tif
tilejit warp classes.tif --resolution 100 --resampling mode -o coarse.tif
""")  # fmt: skip
@click.argument("raster", metavar="INPUT")
@_OUTPUT
@_grid_options
@run_options
@saving_options
def warp(
    raster: str, *, scaled: bool | None, output: str, quiet: bool, like: str | None, crs: str | None,
    resolution: float | None, aligned: bool, bounds: tuple[float, ...] | None, resampling: str | None, **words: Any,
) -> None:  # fmt: skip
    """Warps a raster."""
    if not (like or crs or resolution or bounds or aligned):
        raise click.UsageError("onto which grid? Give --like, or --crs, --resolution, --bounds")

    def warped() -> Raster:
        made = _open(raster, scaled)
        grid = _wanted(lambda: made.grid, like, crs, bounds, resolution=resolution, aligned=aligned)
        return made.to(grid, resampling=resampling)

    save_raster(output, warped, words, quiet=quiet)


@click.command("mosaic", help="""Join INPUT rasters, on whatever grids, to one; their order decides.

A pattern in quotes, as 'tiles/*.tif', names files in the order of their names, numbers as numbers. Unless a grid is
given, the cells are those of the first raster.

\b
tilejit mosaic 'tiles/*.tif' -o all.tif
tilejit mosaic new.tif old.tif --method max --like dem.tif -o both.tif
""")  # fmt: skip
@click.argument("rasters", metavar="INPUT...", nargs=-1, required=True)
@_OUTPUT
@click.option("--method", type=click.Choice(_METHODS), default="first", show_default=True,
              help="What a cell is that several have.")  # fmt: skip
@_grid_options
@run_options
@saving_options
def mosaic(
    rasters: tuple[str, ...], *, scaled: bool | None, output: str, quiet: bool, method: str, like: str | None,
    crs: str | None, resolution: float | None, aligned: bool, bounds: tuple[float, ...] | None,
    resampling: str | None, **words: Any,
) -> None:  # fmt: skip
    """Joins rasters."""

    def joined() -> Raster:
        from tilejit.raster.joining import mosaic as join
        from tilejit.raster.making import open_raster

        given = [(one.band, path) for one in map(parse_input, rasters) for path in files_of(one.path, "")]
        found = [open_raster(path, band=band, scaled=scaled) for band, path in given]
        grid = _wanted(lambda: join(found).grid, like, crs, bounds, resolution=resolution, aligned=aligned)
        return join(found, method, grid=grid, resampling=resampling)

    save_raster(output, joined, words, quiet=quiet)
