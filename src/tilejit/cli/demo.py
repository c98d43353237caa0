"""``tilejit demo``, and its picture of a terrain: shaded relief on the left, slope on the right."""

from __future__ import annotations

import math
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from tilejit.cli.console import say, show_labelled
from tilejit.errors import SinkError
from tilejit.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.raster.raster import Raster

    Floats = NDArray[np.float64]
    Ramp = tuple[tuple[float, tuple[int, int, int]], ...]  # values and their colours; between them colours blend

SIDE = 600  # about the pixels of each of the two pictures, down and across
GAP = 8  # white pixels between them

ELEVATION: Ramp = (
    (0.0, (78, 122, 76)), (0.12, (118, 150, 88)), (0.28, (176, 178, 112)), (0.45, (196, 166, 118)),
    (0.62, (160, 124, 98)), (0.78, (142, 128, 124)), (0.9, (214, 214, 218)), (1.0, (255, 255, 255)),
)  # fmt: skip
"""From lowland to snow; 1 is the highest cell."""
SLOPE: Ramp = (
    (0, (250, 246, 232)), (8, (247, 214, 140)), (18, (236, 140, 80)), (30, (190, 62, 88)), (42, (102, 28, 104)),
    (60, (28, 12, 60)),
)  # fmt: skip
"""Degrees."""
WATER, PALE_WATER = (74, 122, 158), (158, 186, 204)
FLAT_SHADE = math.cos(math.radians(45.0))  # what the hillshade of a level cell is, of 1


def picture(elevation: Raster, hillshade: Raster, slope: Raster) -> NDArray[np.uint8]:
    """Returns (row, col, 3) colours, where cells without data are water."""
    heights, dry = shrunk(elevation)
    (shades, _), (slopes, sloped) = shrunk(hillshade), shrunk(slope)
    shade = np.nan_to_num(shades / 255.0, nan=FLAT_SHADE)[..., np.newaxis]
    relief = coloured(heights / max(float(np.nanmax(heights, initial=1.0)), 1.0), ELEVATION)
    dark, bright = 0.25 + 0.75 * shade / FLAT_SHADE, 1.0 + 0.45 * (shade - FLAT_SHADE) / (1.0 - FLAT_SHADE)
    left = _mixed(relief * np.where(shade < FLAT_SHADE, dark, bright), WATER, dry)
    right = _mixed(coloured(slopes, SLOPE), PALE_WATER, np.where(sloped > 0, dry, 0.0))
    white = np.full((len(left), GAP, 3), 255.0)
    both = np.concatenate([left, white, right], axis=1)
    # 32 levels are plenty to the eye, and the file is half as large.
    colours = np.clip(both + 4.0, 0, 255).astype(np.uint8)
    return (colours & np.uint8(0xF8)) | np.uint8(0x04)


def _mixed(colours: Floats, other: tuple[int, int, int], share: Floats) -> Floats:
    """Lets colours fade into another where only a share of a block's cells has data."""
    return np.asarray(other) + (np.minimum(colours, 255.0) - other) * share[..., np.newaxis]


def shrunk(raster: Raster) -> tuple[Floats, Floats]:
    """Reads one band in strips and averages blocks of cells; a small raster's cells are repeated instead."""
    height, width = raster.grid.shape
    factor = max(1, math.ceil(max(height, width) / SIDE))
    rows, cols = max(1, height // factor), max(1, width // factor)
    means, shares = np.full((2, rows, cols), np.nan)
    step = max(1, 2_000_000 // (factor * width))
    for row in range(0, rows, step):
        count = min(step, rows - row)
        strip = raster.read(Window(row * factor, 0, count * factor, cols * factor))[0]
        blocks = strip.reshape(count, factor, cols, factor)
        shares[row : row + count] = np.isfinite(blocks).mean(axis=(1, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a block without data has no mean
            means[row : row + count] = np.nanmean(blocks, axis=(1, 3))
    larger = max(1, SIDE // max(rows, cols))
    means, shares = (part.repeat(larger, axis=0).repeat(larger, axis=1) for part in (means, shares))
    return means, shares


def coloured(values: Floats, ramp: Ramp) -> Floats:
    """Gives each value its colour, (…, 3); NaN gets that of the lowest."""
    stops = [stop for stop, _ in ramp]
    known = np.nan_to_num(values, nan=stops[0])
    return np.stack([np.interp(known, stops, [colour[k] for _, colour in ramp]) for k in range(3)], axis=-1)


@click.command("demo")
@click.option("--size", type=click.IntRange(32, 100_000), default=4096, show_default=True,
              help="Rows and columns of the terrain.")  # fmt: skip
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("tilejit-demo"),
              show_default=True, help="Where the files go.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the files of an earlier demo.")
def demo(size: int, folder: Path, overwrite: bool) -> None:
    """Make a fractal terrain, its slope and hillshade in one pass, and a picture of them.

    The terrain is in UTM with cells of 30 m, and its lakes are nodata. The files are demo_*.tif and
    demo_preview.png.
    """
    import tilejit as tj
    from tilejit.cli.terrain_demo import write_terrain
    from tilejit.formats.gdal.new_file import write_png
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
