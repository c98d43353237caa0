"""Polygons of files, GeoDataFrames, GeoJSON-like objects and shapely: read, and laid over a raster's cells."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError, SourceError
from tilejit.formats.gdal.crs import same_crs, wkt_of
from tilejit.grid import Grid, crs_name
from tilejit.sizes import counted

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    Array = NDArray[Any]


def optional_module(name: str, purpose: str = "this") -> ModuleType:
    """Imports a package of the extra ``vector``, or one that tables are handed to; the error says for what."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        wanted = "'tilejit[vector]'" if package in {"pyogrio", "pyproj", "shapely"} else package
        raise ParameterError(
            f"{package} is needed for {purpose}, and is not installed: pip install {wanted}"
        ) from error


class Package:
    """A package that may not be installed, imported where something of it is needed; see `optional_module`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(optional_module(self._name), attribute)


shapely, pyogrio, pyproj = map(Package, ("shapely", "pyogrio", "pyproj"))
_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7
_MISSING = -1
_NAMED = 5  # features that a note names
_NOTHING = None, np.zeros((0, 2)), (np.zeros(1), np.zeros(1))
"""What shapely makes of no polygon at all, were it to take none."""


@dataclass(frozen=True, eq=False, slots=True)
class Features:
    """Features that zones are made of, in their order."""

    name: str  # what messages call them
    shapes: Array  # (feature,): geometries of shapely; None where there is none
    index: Array  # (feature,): the id of each in its file, its label in its GeoDataFrame, or its number from 0
    crs: str | None  # the CRS of their coordinates, as WKT; None where it is not said
    table: Any = None  # what attributes are read from: a path and a layer; a GeoDataFrame; or each one's properties

    def attributes(self) -> dict[str, Array]:
        """Reads their attributes: name -> (feature,)."""
        if isinstance(self.table, tuple):
            meta, _, _, columns = _read(*self.table, read_geometry=False)
            if any(len(column) != len(self.index) for column in columns):
                raise SourceError(f"{self.name}: has other features than when the table was made: make it again")
            return dict(zip(meta["fields"].tolist(), columns, strict=True))
        if isinstance(self.table, list):
            names = dict.fromkeys(name for properties in self.table for name in properties)
            return {name: _column([properties.get(name) for properties in self.table]) for name in names}
        if self.table is None:
            return {}
        return {str(name): self.table[name].to_numpy() for name in self.table if name != self.table.geometry.name}


@dataclass(frozen=True, eq=False, slots=True)
class GridPolygons:
    """Polygons in columns and rows of a raster as bodies see it."""

    points: Array  # (point, 2): each ring ends where it begins
    rings: Array  # (ring + 1,): the first point of each
    parts: Array  # (part + 1,): the first ring of each part: its shell, which its holes follow
    polygons: Array  # (polygon + 1,): the first part of each
    outside: Array  # (polygon,): the area of each that lies outside of the raster, in cells
    notes: tuple[str, ...] = ()  # what was done to them, and what was assumed


def is_vector(zones: Any) -> bool:
    """Whether an object is, or names, features rather than cells."""
    if isinstance(zones, (str, os.PathLike)) or hasattr(zones, "__geo_interface__"):
        return True
    if isinstance(zones, Mapping):
        return "type" in zones
    if isinstance(zones, np.ndarray) and zones.dtype != object:
        return False
    if not isinstance(zones, (list, tuple, np.ndarray)):
        return False
    return all(zone is None or is_vector(zone) for zone in zones)


def has_layers(path: str) -> bool:
    """Whether a file is there that pyogrio reads."""
    if not Path(path).exists():
        return False
    optional_module("pyogrio", path)
    try:
        return len(pyogrio.list_layers(path)) > 0
    except pyogrio.errors.DataSourceError:
        return False


def read_features(zones: Any, layer: str | int | None = None) -> Features:
    """Reads features of a path that pyogrio reads, a GeoDataFrame, shapely, GeoJSON-like, or a list of such.

    GeoJSON-like is a geometry, Feature or FeatureCollection, or anything with ``__geo_interface__``. A file with
    several layers needs the name or number of one.
    """
    if isinstance(zones, (str, os.PathLike)):
        found = _read_file(os.fspath(zones), layer)
    elif layer is not None:
        raise ParameterError(f"layer={layer!r} is a file's, and the zones are {type(zones).__name__}: leave it out")
    elif hasattr(zones, "to_crs"):
        crs = None if zones.crs is None else wkt_of(zones.crs.to_wkt())
        table = zones if hasattr(zones, "columns") else None
        found = Features("the GeoDataFrame", np.asarray(zones.geometry, object), np.asarray(zones.index), crs, table)
    else:
        found = _read_objects(zones)
    if not len(found.shapes):
        raise ParameterError(f"{found.name}: there are no features in it: zones are one polygon or more")
    return found


def _read_file(path: str, layer: str | int | None) -> Features:
    for name in ("shapely", "pyogrio"):
        optional_module(name, path)
    try:
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except pyogrio.errors.DataSourceError as error:
        raise SourceError(
            f"{path}: cannot be opened as polygons: {str(error).removeprefix(f'{path}: ')}; a raster of zones is given "
            f"as tj.open({path!r})"
        ) from error
    if layer is None and len(layers) > 1:
        raise ParameterError(f"{path}: has {len(layers)} layers, {', '.join(layers)}: choose one with layer=…")
    chosen = layer if layer is not None or not layers else layers[0]
    meta, fids, shapes, _ = _read(path, chosen, columns=[], return_fids=True, force_2d=True)
    if shapes is None:
        raise SourceError(f"{path}: has no geometries: zones are polygons")
    crs = None if not meta["crs"] else wkt_of(meta["crs"])
    return Features(Path(path).name, shapely.from_wkb(shapes), fids, crs, (path, chosen))


def _read(path: str, layer: str | int | None, **options: Any) -> Any:
    try:
        return pyogrio.raw.read(path, layer=layer, **options)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


def _read_objects(zones: Any) -> Features:
    """Features of GeoJSON-like objects, and of shapely's."""
    given = [zones] if _is_one(zones) else list(zones)
    crs = None
    shapes: list[Any] = []
    properties: list[dict[str, Any]] = []
    for one in given:
        if isinstance(one, shapely.Geometry) or one is None:
            shapes.append(one)
            properties.append({})
            continue
        if not _is_one(one):
            raise ParameterError(
                f"feature {len(shapes)} is a {type(one).__name__}: zones are polygons, or one file of them"
            )
        plain = one if isinstance(one, Mapping) else one.__geo_interface__
        crs = crs or _json_crs(plain)
        for feature in plain["features"] if plain.get("type") == "FeatureCollection" else [plain]:
            is_feature = feature.get("type") == "Feature"
            shapes.append(_shape(feature["geometry"] if is_feature else feature, len(shapes)))
            properties.append(dict(feature.get("properties") or {}) if is_feature else {})
    array = np.empty(len(shapes), object)
    array[:] = shapes
    return Features("the zones", array, np.arange(len(shapes)), crs, properties if any(properties) else None)


def _is_one(zones: Any) -> bool:
    return isinstance(zones, Mapping) or hasattr(zones, "__geo_interface__")


def _shape(geometry: Any, number: int) -> Any:
    try:
        return None if geometry is None else shapely.geometry.shape(geometry)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
        raise ParameterError(f"feature {number} is no GeoJSON geometry: {error}") from error


def _json_crs(collection: Mapping[str, Any]) -> str | None:
    """The CRS that a GeoJSON of 2008 may name."""
    named = collection.get("crs")
    name = named.get("properties", {}).get("name") if isinstance(named, Mapping) else None
    return None if name is None else wkt_of(str(name))


def _column(values: Sequence[Any]) -> Array:
    """Properties as an array: of objects where they are not all of one kind."""
    if len({type(value) for value in values}) == 1 and isinstance(values[0], (bool, int, float, str)):
        return np.array(values)
    column = np.empty(len(values), object)
    column[:] = values
    return column


def lay(features: Features, grid: Grid) -> GridPolygons:
    """Lays polygons over a raster: reprojected to its CRS, in its columns and rows, and repaired where need be.

    Vertices are reprojected, and edges are straight between them. A coordinate that is within its own rounding of a
    cell's border lies on it. What is no valid polygon is made one by ``shapely.make_valid``. What is empty, or has no
    area, is a zone without cells; of a collection its polygons count.
    """
    _refuse_others(features)
    shapes, note = _reprojected(features, shapely.force_2d(features.shapes), grid)
    _refuse_nowhere(features, shapes, grid)
    shapes, repaired = _repaired(features, shapely.transform(shapes, lambda xy: _in_cells(xy, grid)))
    parts, owners = _polygons_in(shapes)
    outside = np.zeros(len(shapes))
    bounds = shapely.bounds(parts)
    is_beyond = (bounds[:, :2] < 0).any(axis=1) | (bounds[:, 2:] > grid.shape[::-1]).any(axis=1)
    beyond = shapely.difference(parts[is_beyond], shapely.box(0, 0, grid.width, grid.height))
    np.add.at(outside, owners[is_beyond], shapely.area(beyond))
    _, points, (rings, starts) = shapely.to_ragged_array(parts) if len(parts) else _NOTHING
    counts = np.searchsorted(owners, np.arange(len(shapes) + 1))
    rings, starts, counts = (np.asarray(ends, np.int64) for ends in (rings, starts, counts))
    return GridPolygons(
        np.array(points, np.float64, order="C"), rings, starts, counts, outside, tuple(filter(None, (note, repaired)))
    )


def _refuse_others(features: Features) -> None:
    kinds = shapely.get_type_id(features.shapes)
    others = ~np.isin(kinds, (_MISSING, _POLYGON, _MULTIPOLYGON, _COLLECTION)) & ~shapely.is_empty(features.shapes)
    if others.any():
        first = np.flatnonzero(others)[0]
        raise ParameterError(
            f"{features.name}: feature {features.index[first]} is a {features.shapes[first].geom_type}: zones are "
            "polygons; make one of it, as by shapely.buffer"
        )


def _refuse_nowhere(features: Features, shapes: Array, grid: Grid) -> None:
    points, owners = shapely.get_coordinates(shapes, return_index=True)
    odd = owners[~np.isfinite(points).all(axis=1)]
    if odd.size:
        first = odd[0]
        before = shapely.get_coordinates(features.shapes[first])
        what = "has coordinates that are no finite numbers: mend it, or leave it out"
        if np.isfinite(before).all():
            what = f"has points that are nowhere in {crs_name(grid.crs)}: cut it to the area of the raster first"
        raise ParameterError(f"{features.name}: feature {features.index[first]} {what}")


def _reprojected(features: Features, shapes: Array, grid: Grid) -> tuple[Array, str]:
    """Shapes in a raster's CRS, and what was done or assumed."""
    if features.crs is None or grid.crs is None:
        who = "their" if features.crs is None else "the raster's"
        told = grid.crs or features.crs
        return shapes, f"{who} CRS is not said, taken to be {crs_name(told)}" if told else ""
    if same_crs(features.crs, grid.crs):
        return shapes, ""
    transformer = pyproj.Transformer.from_crs(features.crs, grid.crs, always_xy=True)
    moved = shapely.transform(shapes, lambda xy: np.column_stack(transformer.transform(*xy.T)))
    return moved, f"reprojected from {crs_name(features.crs)} to {crs_name(grid.crs)}"


def _in_cells(xy: Array, grid: Grid) -> Array:
    """Coordinates as columns and rows of a raster as bodies see it, on a border where they are but for rounding."""
    a, b, c, d, e, f = grid.north_up().transform
    x, y = xy[:, 0] - c, xy[:, 1] - f
    if grid.is_rotated:
        whole = a * e - b * d
        x, y = (e * x - b * y) / whole, (a * y - d * x) / whole
    else:
        x, y = x / a, y / e
    cells = np.column_stack([x, y])
    borders = np.rint(cells)
    far = max(
        abs(c), abs(f), *(abs(value) for value in (a * grid.width, b * grid.height, d * grid.width, e * grid.height))
    )
    slack = 4 * np.finfo(np.float64).eps * far / min(grid.cell_width, grid.cell_height)
    return np.where(np.abs(cells - borders) <= slack, borders, cells)


def _repaired(features: Features, shapes: Array) -> tuple[Array, str]:
    """Shapes that are valid, and which were not."""
    wrong = np.flatnonzero(~shapely.is_valid(shapes) & ~shapely.is_missing(shapes))
    if not wrong.size:
        return shapes, ""
    reasons = [reason.partition("[")[0] for reason in shapely.is_valid_reason(shapes[wrong[:_NAMED]])]
    named = [f"{features.index[k]} ({reason})" for k, reason in zip(wrong, reasons, strict=False)]
    more = ", …" if wrong.size > _NAMED else ""
    shapes = shapes.copy()
    shapes[wrong] = shapely.make_valid(shapes[wrong])
    return shapes, f"{counted(wrong.size, 'polygon')} repaired by shapely.make_valid: {', '.join(named)}{more}"


def _polygons_in(shapes: Array) -> tuple[Array, Array]:
    """The polygons of shapes and of their parts, and the number of the shape that each belongs to."""
    parts, owners = shapes, np.arange(len(shapes))
    while np.isin(shapely.get_type_id(parts), (_MULTIPOLYGON, _COLLECTION)).any():
        parts, places = shapely.get_parts(parts, return_index=True)
        owners = owners[places]
    chosen = (shapely.get_type_id(parts) == _POLYGON) & ~shapely.is_empty(parts)
    return parts[chosen], owners[chosen]
