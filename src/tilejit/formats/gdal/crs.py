"""What GDAL knows of where cells lie: grids of datasets, and how the units of a CRS turn into metres."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError, SourceError
from tilejit.formats.gdal.library import load_rasterio, quiet
from tilejit.grid import IDENTITY, Grid, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

_WEB_MERCATOR = re.compile(r"Popular Visualisation Pseudo|Mercator_Auxiliary_Sphere|\+nadgrids=@null")


def grid_of(path: str, dataset: Any) -> Grid:
    """The grid of an open rasterio dataset."""
    with quiet():
        transform, crs = tuple(dataset.transform)[:6], dataset.crs
    if transform[1] or transform[3]:
        raise SourceError(
            f"{path}: its cells are rotated or sheared (transform {transform}), which tilejit does not read: "
            "warp it to a north-up grid first (gdalwarp)"
        )
    # A zero-sized cell comes from broken tags; such a raster has no place on the ground.
    if not all(np.isfinite(transform)) or not transform[0] or not transform[4]:
        transform = IDENTITY
    try:
        wkt = crs.to_wkt() if crs else None
    except load_rasterio().errors.CRSError:
        wkt = None
    metric = metric_of(crs) if wkt else Metric()
    try:
        return Grid(dataset.height, dataset.width, transform, wkt or None, metric)
    except ValueError as error:
        raise SourceError(f"{path}: {error}") from error


def _known(text: str | None) -> tuple[Any, str] | None:
    """A rasterio CRS as a person writes it, as ``EPSG:32633``, and its WKT; None where nobody knows it."""
    rasterio = load_rasterio()
    try:
        with quiet():
            crs = rasterio.crs.CRS.from_user_input(text)
            return crs, str(crs.to_wkt())
    except (rasterio.errors.CRSError, ValueError):
        return None


def located(grid: Grid) -> Grid:
    """A grid whose CRS a person wrote with its WKT, and with what its units are in metres."""
    found = _known(grid.crs)
    if found is None:
        raise ParameterError(f"{grid.crs!r} is no CRS: give a code, as EPSG:32633, or WKT")
    with quiet():
        return replace(grid, crs=found[1], metric=metric_of(found[0]))


def wkt_of(crs: str) -> str:
    """The WKT of a CRS as a person writes it; itself where nobody knows it."""
    found = _known(crs)
    return crs if found is None else found[1]


def same_crs(one: str, other: str) -> bool:
    """Whether two definitions are of one CRS."""
    known = _known(one), _known(other)
    return one == other or (known[0] is not None and known[1] is not None and known[0][0] == known[1][0])


def metric_of(crs: Any) -> Metric:
    """How the units of a rasterio CRS turn into metres; of the kind "none" for one that has no lengths nor angles.

    rasterio has no ellipsoid of its own, so its numbers come from the CRS as PROJJSON.
    """
    errors = load_rasterio().errors
    try:
        if not (crs.is_geographic or crs.is_projected):
            return _local_metric(crs)
        axes = list(_axes(crs))
        height_unit = next((_axis_unit(axis) for axis in axes if axis["direction"] in {"up", "down"}), None)
        towards = _towards([axis["direction"] for axis in axes])
        if crs.is_geographic:
            return Metric("geographic", *_ellipsoid(crs), crs.units_factor[1], height_unit, towards)
        if _WEB_MERCATOR.search(crs.to_wkt()):
            return Metric("mercator", *_ellipsoid(crs), height_unit=height_unit)
        return Metric("projected", unit=crs.linear_units_factor[1], height_unit=height_unit, towards=towards)
    except (errors.CRSError, ValueError):
        # A damaged CRS: its raster can be read, and only asking for ground sizes is refused.
        return Metric()


def _local_metric(crs: Any) -> Metric:
    """That of a site's own system, which has lengths too."""
    if crs.to_dict(projjson=True).get("type") != "EngineeringCRS":
        return Metric()
    axes = list(_axes(crs))[:2]
    units = [axis.get("unit") for axis in axes]
    is_length = [unit == "metre" or (isinstance(unit, dict) and unit["type"] == "LinearUnit") for unit in units]
    return Metric("projected", unit=_axis_unit(axes[0])) if is_length == [True, True] else Metric()


def _ellipsoid(crs: Any) -> tuple[float, float]:
    """Semi-major axis in metres and inverse flattening."""
    ellipsoid = next(_find(crs.to_dict(projjson=True), "ellipsoid"), None)
    if ellipsoid is None:
        raise ValueError("the CRS names no ellipsoid")
    if "radius" in ellipsoid:
        return _number(ellipsoid["radius"]), 0.0
    semi_major = _number(ellipsoid["semi_major_axis"])
    if "inverse_flattening" in ellipsoid:
        return semi_major, _number(ellipsoid["inverse_flattening"])
    semi_minor = _number(ellipsoid["semi_minor_axis"])
    return semi_major, semi_major / (semi_major - semi_minor) if semi_major != semi_minor else 0.0


def _axes(crs: Any) -> Iterator[Any]:
    """The axes of a CRS, those of its vertical part among them, but not those of what it is derived from."""
    tree = crs.to_dict(projjson=True)
    while "source_crs" in tree:
        tree = tree["source_crs"]
    for part in tree.get("components", [tree]):
        whole = part.get("source_crs", part)
        yield from whole.get("coordinate_system", {}).get("axis", ())


def _axis_unit(axis: Any) -> float:
    """Metres per unit of an axis."""
    unit = axis["unit"]
    return float(unit["conversion_factor"]) if isinstance(unit, dict) else 1.0


def _towards(directions: list[str]) -> tuple[int, int]:
    """The signs of x and y where they grow west and south; a polar projection's axes both point north, or south."""
    if len(directions) < 2 or directions[0] not in {"east", "west"}:
        return 1, 1
    return (-1 if directions[0] == "west" else 1), (-1 if directions[1] == "south" else 1)


def _number(value: Any) -> float:
    """A PROJJSON number, which is an object where its unit is not the default."""
    return float(value["value"]) * _axis_unit(value) if isinstance(value, dict) else float(value)


def _find(tree: Any, key: str) -> Iterator[Any]:
    """Every value of a key in nested PROJJSON, outermost first."""
    if isinstance(tree, dict):
        if key in tree:
            yield tree[key]
        for value in tree.values():
            yield from _find(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from _find(value, key)
