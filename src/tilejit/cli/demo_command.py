"""``tilejit demo``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from tilejit.cli.console import show_labelled
from tilejit.errors import SinkError


@click.command("demo")
@click.option("--size", type=click.IntRange(32, 100_000), default=4096, show_default=True,
              help="Rows and columns of the terrain.")  # fmt: skip
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("tilejit-demo"),
              show_default=True, help="Where the files go.")  # fmt: skip
def command(size: int, folder: Path) -> None:
    """Make a fractal terrain, its slope and hillshade in one pass, and a picture of them.

    The terrain is in UTM with cells of 30 m, and its lakes are nodata. The files, demo_*.tif and
    demo_preview.png, are replaced when they are there.
    """
    import tilejit as tj
    from tilejit.cli.preview import picture
    from tilejit.cli.terrain_demo import write_terrain
    from tilejit.io.gdal.png import write_png
    from tilejit.kernel.discovery import find_kernel

    _make_folder(folder)
    paths = {name: folder / f"demo_{name}.tif" for name in ("elevation", "slope", "hillshade")}
    made = write_terrain(paths["elevation"], size)
    click.echo(f"{paths['elevation']}: {size} x {size} cells of terrain, made in {made.seconds:.1f} s")
    click.echo()
    elevation = tj.open(paths["elevation"])
    kernels = {name: find_kernel(f"terrain.{name}") for name in ("slope", "hillshade")}
    report = tj.save({paths[name]: kernel(elevation) for name, kernel in kernels.items()}, overwrite=True)
    show_labelled(f"slope and hillshade of {paths['elevation']}, in one pass over it:\n{report}")
    click.echo()
    preview = folder / "demo_preview.png"
    write_png(preview, picture(elevation, tj.open(paths["hillshade"]), tj.open(paths["slope"])))
    show_labelled("\n".join(f"{'written':<10}{path}" for path in (paths["slope"], paths["hillshade"], preview)))
    click.echo("\nThe same on a raster of your own, and what else there is:")
    click.echo("  tilejit run slope+hillshade dem.tif -o slope.tif -o hillshade.tif")
    click.echo(f"  tilejit plan slope {shlex.quote(str(paths['elevation']))}")
    click.echo("  tilejit list")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(
            f"{folder}: the folder cannot be made: {error.strerror}; choose another with --folder"
        ) from error
