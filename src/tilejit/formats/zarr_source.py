"""A variable of a Zarr store, version 2 or 3, through zarr: of three dimensions, the layers are bands with times."""

from __future__ import annotations

import base64
import itertools
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.form.kinds import is_real
from tilejit.errors import ReadError, SourceError
from tilejit.formats.cells import fill, nodata_key
from tilejit.formats.files import BandTags, FileTags, absolute_name, check_unchanged, states_of
from tilejit.formats.folders.zarr_layout import load_zarr
from tilejit.formats.gdal.crs import located
from tilejit.formats.gdal.library import Environment, quiet
from tilejit.formats.source import BandInfo, SourceStorage, check_request
from tilejit.grid import IDENTITY, Grid, Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tilejit.window import Window

ZARR_NAME = re.compile(r'ZARR:"([^"]+)":/?(.+)', re.DOTALL)
"""A variable's name, as GDAL spells it: ``ZARR:"cube.zarr":/ndvi``."""
_EVEN = 1e-3  # how far, in cells, coordinates may lie from even steps


def open_zarr(name: str) -> ZarrSource:
    """Open a variable of a Zarr store by a name such as `ZARR_NAME`; no chunk of it is read."""
    return ZarrSource(absolute_name(name))


class ZarrSource:
    """A variable whose last two dimensions are rows and columns; threads may read at the same time."""

    def __init__(self, name: str) -> None:
        self.name = name
        found = ZARR_NAME.fullmatch(name)
        if found is None:
            raise SourceError(f'{name}: the name of a variable is ZARR:"store.zarr":/variable')
        path, variable = found[1], found[2]
        group = _group(path)
        self._array = _variable(name, group, variable)
        told, shape = dict(self._array.attrs), self._array.shape
        dims = _dimensions(self._array)
        self.grid: Grid = _grid(name, group, told, dims, shape)
        self.block: tuple[int, int] = tuple((self._array.shards or self._array.chunks)[-2:])
        count = 1 if len(shape) == 2 else shape[0]
        dtype, nodata = self._array.dtype.newbyteorder("="), _nodata(self._array)
        scale, offset = float(told.get("scale_factor", 1)), float(told.get("add_offset", 0))
        self.bands: tuple[BandInfo, ...] = tuple(
            BandInfo(k, dtype, nodata, told.get("long_name"), told.get("units"), scale=scale, offset=offset)
            for k in range(1, count + 1)
        )
        self._key = nodata_key(dtype, nodata)
        places = [place for folder in (Path(path), Path(path, variable)) for place in folder.glob("*zarr*")]
        cells = int(np.prod(self._array.shards or self._array.chunks))
        self.storage = SourceStorage(
            "by zarr",
            block_bytes=cells * dtype.itemsize,
            tags=_tags(group, dims, count, scale, offset),
            files=states_of(str(place) for place in places if place.is_file()),
            environment=Environment.current(),
        )

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (self.storage.environment or Environment()).call, (open_zarr, self.name)

    def read(
        self, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None = None
    ) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        rows, cols = slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)
        for first, count in _runs(bands):
            start = bands[first] - 1
            try:
                place = (rows, cols) if self._array.ndim == 2 else (slice(start, start + count), rows, cols)
                cells = np.asarray(self._array[place]).reshape(count, *window.shape)
            except Exception as error:  # whatever a store or a codec raises
                raise ReadError(f"{self.name}: cannot read band {start + 1}, {window}: {error}") from error
            for k, layer in enumerate(cells, first):
                fill(out[k], None if valid is None else valid[k], layer, self._key)

    def ready(self, threads: int, blocks: int) -> None:
        """Refuse a variable that is another than when it was opened; see `make_ready`."""
        del threads, blocks
        check_unchanged(self.name, self.storage.files)

    def close(self) -> None:
        """Nothing is held open."""


def _runs(bands: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Bands that follow one another: the place of the first, and how many."""
    for _, run in itertools.groupby(enumerate(bands), lambda pair: pair[1] - pair[0]):
        places = [place for place, _ in run]
        yield places[0], len(places)


def _group(path: str) -> Any:
    zarr = load_zarr(path, SourceError)
    try:
        with quiet():  # some metadata are not in the specification yet
            return zarr.open_group(path, mode="r")
    except Exception as error:
        raise SourceError(f"{path}: cannot be opened as a Zarr store: {error}") from error


def only_variable(path: str) -> str:
    """The variable of a store that has one.

    Raises:
        SourceError: It has none or several.
    """
    names = _rasters(dict(_group(path).arrays()))
    if len(names) != 1:
        what = f"holds the variables {', '.join(names)}: give variable=, one of them" if names else "holds no raster"
        raise SourceError(f"{path}: {what}")
    return names[0]


def _rasters(arrays: dict[str, Any]) -> list[str]:
    """The names of what may be a raster: coordinates have one dimension, or none."""
    return sorted(key for key, array in arrays.items() if array.ndim in {2, 3} and is_real(array.dtype))


def _variable(name: str, group: Any, variable: str) -> Any:
    arrays = dict(group.arrays())
    rasters = ", ".join(_rasters(arrays)) or "none"
    array = arrays.get(variable)
    if array is None:
        raise SourceError(f"{name}: there is no variable {variable}: give variable=, one of {rasters}")
    if array.ndim not in {2, 3} or 0 in array.shape or not is_real(array.dtype):
        raise SourceError(
            f"{name}: is {array.dtype} of the shape {array.shape}, and a raster has numbers by row and column, and "
            f"maybe by time before them: give variable=, one of {rasters}"
        )
    return array


def _dimensions(array: Any) -> tuple[str, ...]:
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS", ())
    return tuple(name or "" for name in names) if len(names) == array.ndim else ("",) * array.ndim


def _grid(name: str, group: Any, told: dict[str, Any], dims: tuple[str, ...], shape: tuple[int, ...]) -> Grid:
    """By coordinates of the cells' centres, which CF has, and the CRS of the grid mapping."""
    mapping = told.get("grid_mapping", "spatial_ref")
    place = dict(group[mapping].attrs) if mapping in group else {}
    *_, height, width = shape
    top, down = _axis(name, group, dims[-2], height)
    left, right = _axis(name, group, dims[-1], width)
    transform: Transform = (right, 0.0, left, 0.0, down, top)
    grid = Grid(height, width, transform, place.get("crs_wkt") or place.get("spatial_ref") or None)
    return grid if grid.crs is None else located(grid)


def _axis(name: str, group: Any, dim: str, size: int) -> tuple[float, float]:
    """Where the first cell begins, and how far it is to the next."""
    if not dim or dim not in group:
        return IDENTITY[2], IDENTITY[0]
    values = np.asarray(group[dim][:], np.float64)
    if size < 2:
        return float(values[0]) - 0.5, 1.0
    step = (values[-1] - values[0]) / (size - 1)
    if not step or np.abs(values - (values[0] + step * np.arange(size))).max() > _EVEN * abs(step):
        raise SourceError(f"{name}: the coordinate {dim} has no even steps, which a raster's cells have")
    return float(values[0] - step / 2), float(step)


def _nodata(array: Any) -> float | None:
    """``_FillValue``, which xarray writes in base64 for floats; of Zarr 2 the fill value is that."""
    value = array.attrs.get("_FillValue", array.attrs.get("missing_value"))
    if value is None and array.metadata.zarr_format == 2:
        value = array.fill_value
    if isinstance(value, str):
        try:
            stored = base64.standard_b64decode(value)
            value = struct.unpack("<d" if len(stored) == 8 else "<f", stored)[0]
        except (ValueError, struct.error):
            value = float(value)
    if value is None:
        return None
    return int(value) if array.dtype.kind in "iu" and float(value).is_integer() else float(value)


def _tags(group: Any, dims: tuple[str, ...], count: int, scale: float, offset: float) -> FileTags:
    """What the coordinate of the layers says, as GDAL says it of netCDF."""
    dim = dims[0] if len(dims) == 3 else ""
    if not dim or dim not in group:
        return FileTags(bands=(BandTags({}, scale, offset),) * count)
    told, values = dict(group[dim].attrs), np.asarray(group[dim][:]).tolist()
    tags = {f"{dim}#{key}": str(told[key]) for key in ("units", "calendar") if key in told}
    return FileTags({"": tags}, tuple(BandTags({f"NETCDF_DIM_{dim}": str(v)}, scale, offset) for v in values))
