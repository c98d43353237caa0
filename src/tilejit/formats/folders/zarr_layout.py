"""What a Zarr output consists of, and what in such a folder somebody else has put there."""

from __future__ import annotations

import base64
import json
import re
import struct
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError, TilejitError
from tilejit.formats.gdal.creation_options import stored_dtype
from tilejit.formats.gdal.library import quiet
from tilejit.system.files import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tilejit.formats.sink import OutputProfile, Storage
    from tilejit.grid import Grid
    from tilejit.times import Dates


def load_zarr(path: str, refusal: type[TilejitError] = SinkError) -> Any:
    """Import zarr, or refuse a path where it is not installed, or too old for Zarr v3."""
    try:
        import zarr
        from zarr.codecs import ZstdCodec  # noqa: F401 - what version 3 has, and 2 has not
    except ImportError as error:
        raise refusal(f"{path}: Zarr needs the package zarr, 3 or later: pip install 'tilejit[zarr]'") from error
    return zarr


def band_names(profile: OutputProfile) -> list[str]:
    """The names of the arrays: that of the variable of which bands are the dates, or bands' descriptions, as words.

    Example:
        >>> from tilejit.grid import Grid
        >>> from tilejit.formats.sink import OutputProfile
        >>> names = "slope", "red (B4)", None, "slope"
        >>> band_names(OutputProfile(path="a.zarr", grid=Grid(1, 1), count=4, dtype="u1", descriptions=names))
        ['slope', 'red_B4', 'band_3', 'slope_4']
    """
    taken = {"x", "y", "spatial_ref", "time"}
    names: list[str] = []
    texts = profile.descriptions if profile.stacked is None else (profile.stacked.name,)
    for number, text in enumerate(texts or (None,) * profile.count, 1):
        name = re.sub(r"\W+", "_", text or "").strip("_") or f"band_{number}"
        while name in taken:
            name = f"{name}_{number}"
        taken.add(name)
        names.append(name)
    return names


def create_group(folder: Path, profile: OutputProfile, storage: Storage) -> None:
    """Write everything but the chunks into an empty folder."""
    group = load_zarr(profile.path).open_group(str(folder), mode="a", zarr_format=3)
    _add_place(group, profile.grid)
    time = () if profile.stacked is None else (profile.count,)
    if profile.stacked is not None:
        _add_times(group, profile.stacked.dates)
    for number, name in enumerate(band_names(profile), 1):
        group.create_array(
            name,
            shape=(*time, *profile.grid.shape),
            dtype=stored_dtype(profile.dtype).name,
            chunks=(*[1] * len(time), *storage.block),
            compressors=_compressors(storage),
            # GDAL takes the fill value for the nodata value; here it is that, where there is one.
            fill_value=0 if profile.nodata is None else profile.nodata,
            dimension_names=(*["time"] * len(time), "y", "x"),
            attributes=_attributes(profile, number),
        )


def consolidate(folder: Path) -> None:
    """Put all metadata into one file: without that, xarray opens each array's, and warns that it does."""
    # zarr warns that version 3 of the format does not mention it yet; xarray writes the same by default.
    with quiet():
        load_zarr(str(folder)).consolidate_metadata(str(folder), zarr_format=3)


def _compressors(storage: Storage) -> Any:
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    options = storage.options
    match options["COMPRESS"]:
        case "ZSTD":
            return ZstdCodec(level=int(options["ZSTD_LEVEL"]))
        case "GZIP":
            return GzipCodec(level=int(options["GZIP_LEVEL"]))
        case "BLOSC":
            # Zarr has no predictor; with the bytes of floats sorted, terrain takes 84 % of what ZSTD makes of it.
            return BloscCodec(cname="zstd", clevel=int(options["BLOSC_CLEVEL"]), shuffle="shuffle")
    return None


def _attributes(profile: OutputProfile, number: int) -> dict[str, Any]:
    """What CF's readers want to know of a band."""
    # By `coordinates`, xarray makes spatial_ref a coordinate, which is where rioxarray looks for it.
    attributes: dict[str, Any] = {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}
    for key, texts in (("long_name", profile.descriptions), ("units", profile.units)):
        if texts and texts[number - 1]:
            attributes[key] = texts[number - 1]
    if profile.stacked is not None:
        attributes["long_name"] = profile.stacked.name
    tags = profile.tags.bands[number - 1] if profile.tags.bands else None
    if tags is not None and tags.is_scaled:
        attributes |= {"scale_factor": tags.scale, "add_offset": tags.offset}
    if profile.nodata is not None:
        attributes["_FillValue"] = _fill_value(profile)
    return attributes


def _fill_value(profile: OutputProfile) -> int | str:
    """The nodata value as xarray spells it in JSON, which has no NaN: floats are eight bytes in base64."""
    if profile.dtype.kind != "f":
        return int(profile.nodata or 0)
    value = float(profile.dtype.type(profile.nodata))
    return base64.standard_b64encode(struct.pack("<d", value)).decode()


def _add_place(group: Any, grid: Grid) -> None:
    """Write where the cells lie: as CF has it (coordinates of cell centres, a grid mapping) and as GDAL has it."""
    a, b, c, d, e, f = grid.transform
    mapping: dict[str, Any] = {"GeoTransform": " ".join(map(repr, map(float, (c, a, b, f, d, e))))}
    if grid.crs is not None:
        mapping |= {"crs_wkt": grid.crs, "spatial_ref": grid.crs}
    _add_array(group, "spatial_ref", np.array(0, np.int64), (), mapping)
    if grid.is_rotated:  # there is no x of a column then
        return
    for name, axis, values in (
        ("x", "X", c + a * (np.arange(grid.width) + 0.5)),
        ("y", "Y", f + e * (np.arange(grid.height) + 0.5)),
    ):
        _add_array(group, name, values.astype(np.float64), (name,), _axis(grid, axis))


def _add_times(group: Any, dates: Dates) -> None:
    """Write when each layer was taken, as CF has it: in days, or in seconds where one is none."""
    seconds = np.array(dates, "datetime64[s]").astype(np.int64)
    unit, length = ("seconds", 1) if (seconds % 86400).any() else ("days", 86400)
    told = {
        "axis": "T",
        "standard_name": "time",
        "calendar": "proleptic_gregorian",
        "units": f"{unit} since 1970-01-01",
    }
    _add_array(group, "time", seconds // length, ("time",), told)


def _axis(grid: Grid, axis: str) -> dict[str, str]:
    kind = grid.metric.kind
    if kind == "none":
        return {"axis": axis}
    if kind == "geographic":
        name, unit = ("longitude", "degrees_east") if axis == "X" else ("latitude", "degrees_north")
        return {"axis": axis, "standard_name": name, "units": unit}
    attributes = {"axis": axis, "standard_name": f"projection_{axis.lower()}_coordinate"}
    return attributes | ({"units": "metre"} if grid.metric.unit == 1 else {})


def _add_array(group: Any, name: str, values: Any, dimensions: tuple[str, ...], attributes: dict[str, Any]) -> None:
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, dimension_names=dimensions, attributes=attributes
    )
    array[...] = values


METADATA = "zarr.json"  # the file that makes a folder a group or an array
_UNFINISHED = re.compile(r"\w+\.[0-9a-f]{32}\.partial")  # what zarr calls a file until it is written


def strangers(folder: Path) -> Iterator[Path]:
    """What lies in a group or an array of Zarr v3, in an array's folders too, that its metadata does not name.

    Chunks are named by the array's shape and chunks. All of a folder that is none of the two is strange, and so is a
    link.
    """
    node = _metadata(folder)
    members = ((node.get("consolidated_metadata") or {}).get("metadata") or {}).keys()
    chunks = _chunks(node)
    for place in sorted(folder.iterdir()):
        kind = kind_of(place)
        if node and kind == "a file" and (place.name == METADATA or _UNFINISHED.fullmatch(place.name)):
            continue
        if chunks is not None and place.name == "c":
            yield from _strange_chunks(place, chunks)
        elif node.get("node_type") == "group" and kind == "a folder" and _is_member(place, members):
            yield from strangers(place)
        else:
            yield place


def _metadata(folder: Path) -> dict[str, Any]:
    """A node's metadata; empty where the folder is none."""
    place = folder / METADATA
    try:
        node = json.loads(place.read_bytes()) if kind_of(place) == "a file" else {}
    except ValueError:
        return {}
    return node if isinstance(node, dict) and node.get("node_type") in {"group", "array"} else {}


def _is_member(place: Path, members: Any) -> bool:
    """Whether a folder is a node of its group: named where all are listed in one place, else by its own metadata."""
    return place.name in members if members else bool(_metadata(place))


def _chunks(node: dict[str, Any]) -> list[int] | None:
    """How many chunks an array has in each dimension; None of what is no array whose chunks are files in folders."""
    try:
        chunks = node["chunk_grid"]["configuration"]["chunk_shape"]
        key = node["chunk_key_encoding"]
        if (key["name"], key.get("configuration", {}).get("separator", "/")) != ("default", "/"):
            return None
        return [ceil(size / chunk) for size, chunk in zip(node["shape"], chunks, strict=True)]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _strange_chunks(place: Path, counts: Sequence[int]) -> Iterator[Path]:
    """What a chunk's file, or a folder of some, is or holds beyond the chunks that there can be."""
    if kind_of(place) != ("a folder" if counts else "a file"):
        yield place
        return
    for inner in sorted(place.iterdir()) if counts else ():
        if _is_number(inner.name, counts[0]):
            yield from _strange_chunks(inner, counts[1:])
        elif kind_of(inner) != "a file" or not _UNFINISHED.fullmatch(inner.name):
            yield inner


def _is_number(name: str, count: int) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name and int(name) < count
