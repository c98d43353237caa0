"""``tilejit demo``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from tilejit.cli.console import say, show_labelled
from tilejit.errors import SinkError


@click.command("demo")
@click.option("--size", type=click.IntRange(32, 100_000), default=4096, show_default=True,
              help="Rows and columns of the terrain.")  # fmt: skip
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("tilejit-demo"),
              show_default=True, help="Where the files go.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the files of an earlier demo.")
def command(size: int, folder: Path, overwrite: bool) -> None:
    """Make a fractal terrain, its slope and hillshade in one pass, and a picture of them.

    The terrain is in UTM with cells of 30 m, and its lakes are nodata. The files are demo_*.tif and
    demo_preview.png.
    """
    import tilejit as tj
    from tilejit.cli.preview import picture
    from tilejit.cli.terrain_demo import write_terrain
    from tilejit.formats.gdal.gdal_dataset import write_png
    from tilejit.formats.target import checked_file
    from tilejit.kernel.discovery import find_kernel

    _make_folder(folder)
    paths = {name: folder / f"demo_{name}.tif" for name in ("elevation", "slope", "hillshade")}
    preview = folder / "demo_preview.png"
    for path in (*paths.values(), preview):
        checked_file(str(path), overwrite=overwrite, sidecars=path != preview)
    made = write_terrain(paths["elevation"], size, overwrite=overwrite)
    say(f"{paths['elevation']}: {size} x {size} cells of terrain, made in {made.seconds:.1f} s")
    click.echo()
    elevation = tj.open(paths["elevation"])
    kernels = {name: find_kernel(f"terrain.{name}") for name in ("slope", "hillshade")}
    report = tj.save({paths[name]: kernel(elevation) for name, kernel in kernels.items()}, overwrite=overwrite)
    show_labelled(f"slope and hillshade of {paths['elevation']}, in one pass over it:\n{report}")
    click.echo()
    colours = picture(elevation, tj.open(paths["hillshade"]), tj.open(paths["slope"]))
    write_png(preview, colours, overwrite=overwrite)
    show_labelled("\n".join(f"{'written':<10}{path}" for path in (paths["slope"], paths["hillshade"], preview)))
    click.echo("\nThe same on a raster of your own, and what else there is:")
    click.echo("  tilejit run slope+hillshade dem.tif -o slope.tif -o hillshade.tif")
    say(f"  tilejit plan slope {shlex.quote(str(paths['elevation']))}")
    click.echo("  tilejit list")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(
            f"{folder}: the folder cannot be made: {error.strerror}; choose another with --folder"
        ) from error
