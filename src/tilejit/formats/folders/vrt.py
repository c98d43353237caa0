"""GDAL's virtual rasters: a mosaic of shards as XML, written, read, and refused where it is not one raster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from tilejit.errors import SourceError
from tilejit.formats.files import BandTags, FileTags, GroundControl
from tilejit.formats.gdal.creation_options import stored_dtype
from tilejit.formats.gdal.library import load_rasterio, quiet
from tilejit.formats.gdal.rasterio_source import RasterioSource, open_rasterio
from tilejit.formats.geotiff.tiff_directory import TiffLayout, read_layout
from tilejit.formats.publishing import write_new
from tilejit.grid import IDENTITY, Grid
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tilejit.formats.sink import OutputProfile
    from tilejit.formats.source import BandInfo


@dataclass(frozen=True, slots=True)
class Shard:
    """A file that is a part of a raster, cell by cell."""

    name: str  # the file: beside the others, or a path
    window: Window  # its place in the raster


def write_vrt(path: Path, profile: OutputProfile, folder: Path, shards: Sequence[Shard], beside: str) -> None:
    """Write the VRT of shards that lie in a folder, which will be called something else beside it."""
    height, width = profile.grid.shape
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if profile.grid.crs is not None:
        _add(root, "SRS", _wkt(profile.grid.crs))
    if profile.grid.transform != IDENTITY:
        a, b, c, d, e, f = profile.grid.transform
        _add(root, "GeoTransform", ", ".join(map(repr, map(float, (c, a, b, f, d, e)))))
    if profile.tags.ground is not None and profile.grid.transform == IDENTITY:
        _add_ground(root, profile.tags.ground)
    is_placed = profile.grid.transform != IDENTITY or profile.grid.crs is not None
    _add_tags(root, ({"AREA_OR_POINT": "Area"} if is_placed else {}) | {**profile.tags.tags.get("", {})})
    for space, values in profile.tags.tags.items():
        _add_tags(root, values if space else {}, space)
    ordered = sorted(shards, key=lambda shard: (shard.window.row_off, shard.window.col_off))
    first = _first_shard(folder, ordered)
    for band in range(1, profile.count + 1):
        element = _add_band(root, profile, band, first)
        for shard in ordered:
            _add_source(element, beside, shard, band, _properties(profile, shard, first))
    ET.indent(root, " ")
    write_new(path, ET.tostring(root, encoding="utf-8"))


_NO_XML = re.compile("[^\\t\\n\\r\\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML has: control characters, and what Python makes of bytes that are no UTF-8."""


def can_be_named(file: str) -> bool:
    r"""Whether a VRT can name a file.

    Example:
        >>> can_be_named("été.tiles"), can_be_named("\x1b[31m.tiles")
        (True, False)
    """
    return _NO_XML.search(file) is None


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    """Add an element; characters that no XML has are left out, as GDAL leaves them out."""
    element = ET.SubElement(parent, tag, {name: _NO_XML.sub("", value) for name, value in attributes.items()})
    element.text = None if text is None else _NO_XML.sub("", text)
    return element


def _add_tags(parent: ET.Element, values: Mapping[str, str], space: str = "") -> None:
    if values:
        metadata = _add(parent, "Metadata", **({"domain": space} if space else {}))
        for key, value in values.items():
            _add(metadata, "MDI", value, key=key)


def _add_ground(root: ET.Element, ground: GroundControl) -> None:
    points = _add(root, "GCPList", **({} if ground.crs is None else {"Projection": _wkt(ground.crs)}))
    for number, place in enumerate(ground.points, 1):
        named = zip(("Line", "Pixel", "X", "Y", "Z"), place, strict=True)
        _add(points, "GCP", Id=str(number), **{name: repr(float(value)) for name, value in named})


def _wkt(crs: str) -> str:
    text: str = load_rasterio().crs.CRS.from_wkt(crs).to_wkt()
    return text


def _first_shard(folder: Path, shards: Sequence[Shard]) -> Mapping[str, Any]:
    """What the files say that no one asked for: how GDAL takes a band's colour, and how blocks are cut."""
    if not shards:
        return {}
    with quiet(), load_rasterio().open(folder / shards[0].name) as dataset:
        colours = [colour.name for colour in dataset.colorinterp]
        return {"colours": [name.capitalize() for name in colours], "block": dataset.block_shapes[0]}


def _type_name(dtype: np.dtype[Any]) -> str:
    """GDAL's name of a type: Byte, UInt16, Int8, Float32."""
    name = stored_dtype(dtype).name
    return "Byte" if name == "uint8" else name.capitalize().replace("Uint", "UInt")


def _add_band(root: ET.Element, profile: OutputProfile, band: int, first: Mapping[str, Any]) -> ET.Element:
    rows, cols = first.get("block", (None, None))
    blocks = {} if rows is None else {"blockXSize": str(cols), "blockYSize": str(rows)}
    element = _add(root, "VRTRasterBand", None, dataType=_type_name(profile.dtype), band=str(band), **blocks)
    for tag, texts in (("Description", profile.descriptions), ("UnitType", profile.units)):
        if texts and texts[band - 1]:
            _add(element, tag, texts[band - 1])
    if profile.nodata is not None:
        _add(element, "NoDataValue", str(profile.nodata))
    tags = profile.tags.bands[band - 1] if profile.tags.bands else BandTags()
    _add_tags(element, tags.tags)
    if tags.is_scaled:
        _add(element, "Offset", repr(tags.offset))
        _add(element, "Scale", repr(tags.scale))
    if "colours" in first and first["colours"][band - 1] != "Undefined":
        _add(element, "ColorInterp", first["colours"][band - 1])
    return element


def _properties(profile: OutputProfile, shard: Shard, first: Mapping[str, Any]) -> dict[str, str]:
    """What spares GDAL to open every shard before it needs one."""
    rows, cols = first["block"]
    return {
        "RasterXSize": str(shard.window.width),
        "RasterYSize": str(shard.window.height),
        "DataType": _type_name(profile.dtype),
        "BlockXSize": str(cols),
        "BlockYSize": str(rows),
    }


def _add_source(band: ET.Element, folder: str, shard: Shard, number: int, properties: dict[str, str]) -> None:
    source = _add(band, "SimpleSource")
    _add(source, "SourceFilename", f"{folder}/{shard.name}", relativeToVRT="1")
    _add(source, "SourceBand", str(number))
    _add(source, "SourceProperties", None, **properties)
    window = shard.window
    size = {"xSize": str(window.width), "ySize": str(window.height)}
    _add(source, "SrcRect", None, xOff="0", yOff="0", **size)
    _add(source, "DstRect", None, xOff=str(window.col_off), yOff=str(window.row_off), **size)


def read_shards(path: Path) -> list[Shard]:
    """Read the paths and places of the shards of a VRT that is nothing but a mosaic of whole files."""
    try:
        root = ET.fromstring(path.read_bytes())  # noqa: S314 - GDAL parses the same local file
    except (OSError, ET.ParseError) as error:
        raise SourceError(f"{path}: cannot be read as a VRT: {error}") from error
    bands = root.findall("VRTRasterBand")
    if root.tag != "VRTDataset" or root.get("subClass") or not bands:
        raise SourceError(f"{path}: is no VRT of shards, but {root.get('subClass') or root.tag}")
    found = [_read_band(path, band, number) for number, band in enumerate(bands, 1)]
    for number, shards in enumerate(found[1:], 2):
        if shards != found[0]:
            raise SourceError(f"{path}: band {number} is not made of the files, and at the places, of band 1")
    return found[0]


def _read_band(path: Path, band: ET.Element, number: int) -> list[Shard]:
    if band.get("subClass") or band.find("ComplexSource") is not None or band.find("KernelFilteredSource") is not None:
        raise SourceError(
            f"{path}: band {number} is not made of plain copies of files (SimpleSource): save it with "
            "tilejit.open(path).save(...), which reads any VRT"
        )
    return [_read_source(path, source, number) for source in band.findall("SimpleSource")]


def _read_source(path: Path, source: ET.Element, number: int) -> Shard:
    name = source.find("SourceFilename")
    if name is None or not name.text:
        raise SourceError(f"{path}: a source of band {number} names no file")
    file = str(path.resolve().parent / name.text) if name.get("relativeToVRT") == "1" else name.text
    taken, window = (_rectangle(source.find(tag)) for tag in ("SrcRect", "DstRect"))
    if taken is None or window is None or taken != Window(0, 0, *window.shape):
        raise SourceError(f"{path}: {name.text} is not shown whole and cell by cell: {taken} as {window}")
    if source.findtext("SourceBand", "1") != str(number):
        raise SourceError(f"{path}: band {number} is band {source.findtext('SourceBand', '1')} of {name.text}")
    return Shard(file, window)


def _rectangle(element: ET.Element | None) -> Window | None:
    """A rectangle of whole cells; None of any other."""
    if element is None:
        return None
    try:
        numbers = [float(element.get(key, "")) for key in ("yOff", "xOff", "ySize", "xSize")]
    except ValueError:
        return None
    return Window(*map(int, numbers)) if all(n == int(n) and n >= 0 for n in numbers) else None


@dataclass(frozen=True, slots=True, eq=False)
class ShardFile:
    """A shard that was opened, and where its blocks lie."""

    path: Path  # the file
    window: Window  # its place in the raster
    layout: TiffLayout | str  # where its blocks lie; or why they are not read directly


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """Shards of one kind that cover a raster, each cell once."""

    path: Path  # the VRT
    grid: Grid  # where its cells lie
    bands: tuple[BandInfo, ...]  # the bands, as the shards have them
    tiles: tuple[ShardFile, ...]  # the shards, from the top left
    tags: FileTags  # what the VRT says beside its cells


def read_mosaic(path: Path) -> Mosaic:
    """Read a VRT and the directories of its shards, of which it refuses all but one whole raster; no pixel is read."""
    shards = sorted(read_shards(path), key=lambda shard: (shard.window.row_off, shard.window.col_off))
    if not shards:
        raise SourceError(f"{path}: holds no shard")
    whole = open_rasterio(path)
    whole.close()
    tiles, bands, traits = zip(*(_read_tile(path, whole.grid, shard) for shard in shards), strict=True)
    _check_alike(path, [str(tile.path) for tile in tiles], traits)
    _check_whole(path, whole, bands[0])
    _check_cover(path, whole.grid, tiles, may_have_holes=all(band.nodata is not None for band in whole.bands))
    return Mosaic(path, whole.grid, bands[0], tiles, whole.storage.tags)


def _read_tile(path: Path, grid: Grid, shard: Shard) -> tuple[ShardFile, tuple[BandInfo, ...], dict[str, Any]]:
    source = open_rasterio(shard.name)
    try:
        _check_place(path, grid, shard, source)
        layout = read_layout(source, source.driver)
        return ShardFile(Path(shard.name), shard.window, layout), source.bands, _traits_of(source, layout)
    finally:
        source.close()


def _traits_of(source: RasterioSource, layout: TiffLayout | str) -> dict[str, Any]:
    """What shards of one raster have in common, by the word for it."""
    bands = source.bands
    stored = layout if isinstance(layout, str) else f"{layout.codec}"
    return {
        "number of bands": len(bands),
        "dtypes": [band.dtype.name for band in bands],
        "nodata values": [repr(band.nodata) for band in bands],
        "band descriptions": [band.description for band in bands],
        "units": [band.unit for band in bands],
        "masks": [band.has_mask for band in bands],
        "way of storing blocks": stored,
    }


def _check_alike(path: Path, names: Sequence[str], traits: Sequence[dict[str, Any]]) -> None:
    for name, other in zip(names, traits, strict=True):
        for word, value in other.items():
            if value != traits[0][word]:
                raise SourceError(
                    f"{path}: the shards differ in their {word}: {names[0]} has {traits[0][word]}, and {name} has "
                    f"{value}: make them alike, or save the VRT with tilejit.open(path).save(...)"
                )


def _check_whole(path: Path, whole: RasterioSource, bands: Sequence[BandInfo]) -> None:
    """Refuse a VRT that shows its shards as something else."""
    for ours, theirs in zip(whole.bands, bands, strict=True):
        for word, mine, other in (
            ("dtype", ours.dtype.name, theirs.dtype.name),
            ("nodata value", repr(ours.nodata), repr(theirs.nodata)),
        ):
            if mine != other:
                raise SourceError(f"{path}: band {ours.index} has the {word} {mine}, and the shards have {other}")


def _check_place(path: Path, grid: Grid, shard: Shard, source: RasterioSource) -> None:
    """Refuse a shard that lies elsewhere than the VRT shows it."""
    window = shard.window
    if window.row_end > grid.height or window.col_end > grid.width:
        raise SourceError(f"{path}: {shard.name} is shown at {window}, outside {grid.height} rows x {grid.width} cols")
    expected = grid.part(window)
    if grid.transform == IDENTITY and grid.crs is None:
        expected = source.grid if source.grid.shape == window.shape else expected
    differences = expected.differences(source.grid)
    if differences:
        raise SourceError(f"{path}: {shard.name} does not lie where it is shown, at {window}: {'; '.join(differences)}")


def _check_cover(path: Path, grid: Grid, tiles: Sequence[ShardFile], *, may_have_holes: bool) -> None:
    """Refuse shards that overlap, and holes where no value stands for no data."""
    rows = sorted({0, grid.height, *(n for t in tiles for n in (t.window.row_off, t.window.row_end))})
    cols = sorted({0, grid.width, *(n for t in tiles for n in (t.window.col_off, t.window.col_end))})
    # Between the edges of all shards a raster is of one piece: one cell stands for it.
    owner = np.full((len(rows) - 1, len(cols) - 1), -1, np.int64)
    for number, tile in enumerate(tiles):
        w = tile.window
        place = (
            slice(*np.searchsorted(rows, (w.row_off, w.row_end))),
            slice(*np.searchsorted(cols, (w.col_off, w.col_end))),
        )
        if (owner[place] >= 0).any():
            other = tiles[int(owner[place].max())]
            common = w.intersection(other.window)
            raise SourceError(f"{path}: {other.path} and {tile.path} overlap at {common}: which of them is right?")
        owner[place] = number
    holes = np.argwhere(owner < 0)
    if len(holes) and not may_have_holes:
        row, col = holes[0]
        hole = Window(rows[row], cols[col], rows[row + 1] - rows[row], cols[col + 1] - cols[col])
        raise SourceError(f"{path}: no shard holds {hole}, and there is no nodata value to fill it with")
