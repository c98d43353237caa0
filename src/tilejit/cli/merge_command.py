"""``tilejit merge``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tilejit.cli.console import show_labelled
from tilejit.cli.inputs import option_callback, parse_profile

if TYPE_CHECKING:
    from collections.abc import Mapping


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
def command(vrt: str, output: str, quiet: bool, profile: Mapping[str, Any] | None, **words: Any) -> None:
    """Merges."""
    from tilejit.raster.merging import merge

    merged = merge(vrt, output, profile=profile, progress=False if quiet else None, **words)
    if not quiet:
        show_labelled(f"{merged}\nwritten   {output}")
