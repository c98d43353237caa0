"""A new GeoTIFF as GDAL makes it: every tag that an output has, and no pixels yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilejit.errors import SinkError
from tilejit.formats.file_tags import colour_options, write_tags
from tilejit.formats.gdal.creation_options import gdal_options, stored_dtype
from tilejit.formats.gdal.library import cause_of, load_rasterio, messages, quiet
from tilejit.grid import IDENTITY
from tilejit.system.limits import open_files_hint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilejit.formats.output_file import OutputFile
    from tilejit.formats.sink import OutputProfile

_COLOUR_OPTIONS = {"PHOTOMETRIC", "ALPHA"}
"""Creation options that say how bands are coloured."""


def create_dataset(file: OutputFile, options: Mapping[str, str]) -> Any:
    """Create the temporary file with its tags.

    Args:
        file: The output.
        options: The creation options.

    Returns:
        The rasterio dataset, open for writing.

    Raises:
        SinkError: GDAL cannot create it, or warns that it is not as asked.
    """
    path = file.profile.path
    try:
        with quiet(), messages() as warned:
            dataset = _open(file, gdal_options(options))
    except Exception as error:
        cause = cause_of(error)
        raise SinkError(f"{path}: cannot be created: {cause}{open_files_hint(cause)}") from error
    if warned:
        dataset.close()
        raise SinkError(f"{path}: cannot be created as asked: {'; '.join(warned)}")
    return dataset


def _open(file: OutputFile, options: Mapping[str, str]) -> Any:
    rasterio, profile = load_rasterio(), file.profile
    has_colours = not _COLOUR_OPTIONS & {*options}
    # A side file would be litter: what GeoTIFF cannot hold is left out.
    with rasterio.Env(GDAL_PAM_ENABLED="NO"):
        dataset = rasterio.open(
            file.temporary,
            "w",
            driver="GTiff",
            height=profile.grid.height,
            width=profile.grid.width,
            count=profile.count,
            dtype=stored_dtype(profile.dtype).name,
            nodata=profile.nodata,
            **_place(rasterio, profile),
            **(colour_options(profile.tags) if has_colours else {}),
            **options,
        )
        try:
            _describe(dataset, profile)
            write_tags(dataset, profile.tags, colours=has_colours)
        except BaseException:
            dataset.close()
            raise
    return dataset


def _describe(dataset: Any, profile: OutputProfile) -> None:
    """Name the bands and their units."""
    for i, text in enumerate(profile.descriptions, 1):
        if text:
            dataset.set_band_description(i, text)
    for i, text in enumerate(profile.units, 1):
        if text:
            dataset.set_band_unit(i, text)


def _place(rasterio: Any, profile: OutputProfile) -> dict[str, Any]:
    """The grid as rasterio takes it."""
    place: dict[str, Any] = {}
    if profile.grid.transform != IDENTITY:
        place["transform"] = rasterio.Affine(*profile.grid.transform)
    crs, ground = profile.grid.crs, profile.tags.ground
    if ground is not None and not place and crs is None:
        from rasterio.control import GroundControlPoint

        place["gcps"], crs = [GroundControlPoint(*point) for point in ground.points], ground.crs
    if crs is not None:
        place["crs"] = rasterio.crs.CRS.from_wkt(crs)
    return place


def close_dataset(dataset: Any) -> None:
    """Close a dataset: GDAL writes its last blocks, and rasterio raises nothing where that fails.

    Raises:
        OSError: With the first that GDAL said: what follows comes of it.
    """
    # Outside an Env GDAL's handler is its default, which prints on standard error.
    with messages() as said, load_rasterio().Env():
        dataset.close()
    if said:
        raise OSError(said[0])
