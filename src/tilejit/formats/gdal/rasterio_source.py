"""Rasters through GDAL: one dataset handle per thread, opened on first use."""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError, ReadError, SourceError
from tilejit.formats.file_names import absolute_name, check_unchanged, size_of, states_of
from tilejit.formats.file_tags import read_tags
from tilejit.formats.gdal.dataset_xml import dataset_xml
from tilejit.formats.gdal.environment import Environment
from tilejit.formats.gdal.library import cause_of, complaints, load_rasterio, quiet, speechless
from tilejit.formats.source import BandInfo, SourceStorage, blank, check_request, convert, flag, nodata_key, survives
from tilejit.grid import IDENTITY, Grid, Metric
from tilejit.system.limits import open_files_hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tilejit.window import Window

_MOST_BLOCK_BYTES = 1 << 30
"""GDAL decodes whole blocks: a file whose block is bigger cannot be read in windows at all."""


def open_rasterio(path: str | os.PathLike[str]) -> RasterioSource:
    """Open a raster that GDAL reads; no pixel is read.

    Args:
        path: A file, or a name in GDAL's own file systems (/vsimem/, /vsizip/, s3://, https://).

    Returns:
        The source; close it when done.

    Raises:
        SourceError: There is no such file, GDAL does not read it, or it holds what tilejit does not read: no
            bands, complex numbers, rotated cells, or blocks above 1 GiB.
    """
    return RasterioSource(absolute_name(os.fspath(path)))


class RasterioSource:
    """A raster that GDAL reads; threads may read at the same time, each through its own handle."""

    def __init__(self, path: str) -> None:
        self.name = path
        """The path."""
        self.environment = Environment.current()
        """What held of ``rasterio.Env`` when it was opened: it holds for all its reads."""
        self.storage = SourceStorage("through GDAL", environment=self.environment)
        """How it is stored."""
        self._lock = threading.Lock()
        self._local = threading.local()
        self._handles: list[Any] = []
        self._idle: list[Any] = []
        try:
            with speechless():
                dataset = self._handle()
                self.driver: str = dataset.driver
                """GDAL's name of the format."""
                self.grid: Grid = _grid_of(path, dataset)
                """Where its cells lie."""
                self.bands: tuple[BandInfo, ...] = _bands_of(path, dataset)
                """All its bands."""
                self.block: tuple[int, int]
                """Rows and columns of its storage blocks."""
                self.block, block_bytes = _block_of(path, dataset, self.bands)
                self.storage = replace(
                    self.storage,
                    block_bytes=block_bytes,
                    stored_bytes=size_of(path),
                    tags=read_tags(dataset),
                    files=states_of((path, *dataset.files)),
                )
        except BaseException:
            self.close()
            raise
        self._keys = tuple(nodata_key(band.dtype, band.nodata) for band in self.bands)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        # Another process opens the file for itself: handles do not travel.
        return self.environment.call, (open_rasterio, self.name)

    def __repr__(self) -> str:
        return f"RasterioSource({self.name!r})"

    def read(
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        valid: NDArray[np.uint8] | None = None,
    ) -> None:
        """Read a window; see `Source.read`.

        Raises:
            ReadError: A block cannot be read; the message has the file, band, window and GDAL's cause.
        """
        check_request(self, bands, window, out, valid)
        if window.is_empty or not bands:
            return
        if out.dtype.kind == "f":
            self._read_floats(bands, window, out)
            return
        self._read(bands, window, out)
        if valid is not None:
            for i, band in enumerate(bands):
                self._flag(band, window, out[i], valid[i])

    def ready(self, threads: int, blocks: int) -> None:
        """Open a handle for each of so many threads, here and now; see `tilejit.formats.source.make_ready`."""
        del blocks  # GDAL has a cache of its own
        check_unchanged(self.name, self.storage.files)
        handles = [self._new_handle() for _ in range(threads - len(self._idle))]
        with self._lock:
            self._idle += handles

    def close(self) -> None:
        """Close every thread's handle; a later read opens the file again, so that a lazy Raster runs twice."""
        with self._lock:
            self._local = threading.local()
            handles, self._handles, self._idle = self._handles, [], []
        with speechless(), self.environment.entered():
            for handle in handles:
                handle.close()

    def _read_floats(self, bands: tuple[int, ...], window: Window, out: NDArray[Any]) -> None:
        """Read into a floating array, with NaN where there is no data."""
        infos = [self.bands[band - 1] for band in bands]
        if all(survives(info.dtype, out.dtype, self._keys[info.index - 1]) for info in infos):
            self._read(bands, window, out)
            for i, info in enumerate(infos):
                if not info.has_mask:
                    blank(out[i], out[i], self._keys[info.index - 1])
        else:
            for i, info in enumerate(infos):
                self._read_native(info.index, window, out[i])
        for i, info in enumerate(infos):
            if info.has_mask:
                mask = self._scratch(window, np.dtype(np.uint8), "mask")
                self._read((info.index,), window, mask, masks=True)
                blank(out[i], mask[0], mask.dtype.type(0))

    def _read_native(self, band: int, window: Window, out: NDArray[Any]) -> None:
        """Read one band in its own type, compare there, and convert."""
        info, key = self.bands[band - 1], self._keys[band - 1]
        cells = self._scratch(window, info.dtype, "cells")
        self._read((band,), window, cells)
        convert(cells[0], out)
        if not info.has_mask:
            blank(out, cells[0], key)

    def _flag(self, band: int, window: Window, out: NDArray[Any], valid: NDArray[np.uint8]) -> None:
        """Set the flags of one band that has been read into an integer array."""
        info, key = self.bands[band - 1], self._keys[band - 1]
        if info.has_mask:
            self._read((band,), window, valid[np.newaxis], masks=True)
            np.minimum(valid, 1, out=valid)
        elif key is None and info.dtype.kind != "f":
            valid[...] = 1
        elif info.dtype == out.dtype:
            flag(valid, out, key)
        else:
            cells = self._scratch(window, info.dtype, "cells")
            self._read((band,), window, cells)
            flag(valid, cells[0], key)

    def _read(
        self,
        bands: tuple[int, ...],
        window: Window,
        out: NDArray[Any],
        *,
        masks: bool = False,
    ) -> None:
        dataset = self._handle()
        read = dataset.read_masks if masks else dataset.read
        place = (window.row_off, window.row_end), (window.col_off, window.col_end)
        what = f"{'the mask of band' if masks else 'band'} {', '.join(map(str, bands))}, {window}"
        try:
            with self.environment.entered(), complaints() as said:
                read(list(bands), window=place, out=out)
        except Exception as error:
            raise ReadError(f"{self.name}: cannot read {what}: {cause_of(error, self.name)}") from error
        if said:
            # GDAL keeps the block, and says nothing the next time.
            self._drop_handle()
            raise ReadError(
                f"{self.name}: cannot read {what}: a block is damaged: {'; '.join(dict.fromkeys(said))} "
                "(gdal_translate copies what GDAL makes of it)"
            )

    def _drop_handle(self) -> None:
        """Close this thread's dataset, with the blocks that it keeps."""
        dataset, self._local.dataset = self._local.dataset, None
        with self._lock:
            self._handles.remove(dataset)
        dataset.close()

    def _handle(self) -> Any:
        """This thread's dataset, opened on its first read."""
        dataset = getattr(self._local, "dataset", None)
        if dataset is None:
            with self._lock:
                dataset = self._idle.pop() if self._idle else None
            dataset = dataset or self._new_handle()
            self._local.dataset = dataset
        return dataset

    def _new_handle(self) -> Any:
        with self.environment.entered():
            dataset = _open(self.name)
        try:
            check_unchanged(self.name, {self.name: self.storage.files.get(self.name)})
        except BaseException:
            dataset.close()
            raise
        with self._lock:
            self._handles.append(dataset)
        return dataset

    def _scratch(self, window: Window, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
        """This thread's own (1, row, col) buffer, kept from read to read: fresh memory costs page faults."""
        wanted = window.height * window.width * dtype.itemsize
        buffer: NDArray[np.uint8] | None = getattr(self._local, name, None)
        if buffer is None or buffer.nbytes < wanted:
            buffer = np.empty(wanted, np.uint8)
            setattr(self._local, name, buffer)
        return buffer[:wanted].view(dtype).reshape(1, *window.shape)


def _open(path: str) -> Any:
    rasterio = load_rasterio()
    try:
        with quiet(), contextlib.ExitStack() as refused:
            dataset = rasterio.open(path, sharing=False)
            refused.callback(dataset.close)
            if dataset.count:
                dataset.overviews(1)  # GDAL reads other directories when it first needs to, and says what is odd there
            refused.pop_all()
            return dataset
    except Exception as error:
        advice = "GDAL does not read it (gdalinfo says more)"
        if not path.startswith("/vsi") and "://" not in path and not Path(path).exists():
            raise SourceError(f"{path}: cannot be opened: there is no such file: check the path") from error
        cause = cause_of(error, path)
        hint = open_files_hint(cause)
        raise SourceError(f"{path}: cannot be opened: {cause}{hint or f'; {advice}'}") from error


def _grid_of(path: str, dataset: Any) -> Grid:
    with quiet():
        transform, crs = tuple(dataset.transform)[:6], dataset.crs
    if transform[1] or transform[3]:
        raise SourceError(
            f"{path}: its cells are rotated or sheared (transform {transform}), which tilejit does not read: "
            "warp it to a north-up grid first (gdalwarp)",
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


def _bands_of(path: str, dataset: Any) -> tuple[BandInfo, ...]:
    if dataset.count == 0:
        holds = ", ".join(dataset.subdatasets[:3])
        advice = f"open one of its subdatasets, such as {holds}" if holds else "it holds no raster"
        raise SourceError(f"{path}: the file has no bands: {advice}")
    with quiet():
        flags = dataset.mask_flag_enums
        names = zip(dataset.descriptions, dataset.units, strict=True)
        scales = zip(dataset.scales, dataset.offsets, strict=True)
        nodata = dataset.nodatavals if _is_exact(dataset) else _exact_nodata(dataset)
        parts = zip(dataset.dtypes, nodata, names, flags, strict=True)
        bands = tuple(_band(path, i, part) for i, part in enumerate(parts, 1))
        return tuple(_with_scale(band, *scale) for band, scale in zip(bands, scales, strict=True))


def _is_exact(dataset: Any) -> bool:
    """Whether rasterio says all of the nodata values: those of 64-bit integers are rounded, or missing."""
    parts = zip(dataset.dtypes, dataset.nodatavals, dataset.mask_flag_enums, strict=True)
    marked = [(name, nodata) for name, nodata, flags in parts if "nodata" in {flag.name for flag in flags}]
    return not any(nodata is None or name in {"int64", "uint64"} for name, nodata in marked)


def _exact_nodata(dataset: Any) -> list[float | None]:
    """The nodata value of each band, in GDAL's own spelling."""
    texts = [band.findtext("NoDataValue") for band in dataset_xml(dataset).findall("VRTRasterBand")]
    return [None if text is None else int(text) if text.lstrip("-").isdecimal() else float(text) for text in texts]


def _band(path: str, index: int, part: tuple[str, float | None, tuple[str, str], list[Any]]) -> BandInfo:
    type_name, nodata, (description, unit), flags = part
    if type_name.startswith("complex"):
        raise SourceError(
            f"{path}: band {index} holds complex numbers ({type_name}), which tilejit does not read: split "
            "it into real bands first (gdal_calc, or a VRT with the real and imag pixel functions)",
        )
    dtype = np.dtype(type_name)
    names = {flag.name for flag in flags}
    has_mask = "all_valid" not in names and names != {"nodata"}
    if nodata is not None and dtype.kind in "iu":
        nodata = _integer_nodata(dtype, nodata)
    return BandInfo(index, dtype, nodata, description or None, unit or None, has_mask)


def _with_scale(band: BandInfo, scale: float, offset: float) -> BandInfo:
    """The band with its scale and offset, if they are such: 0 and infinity come from broken tags."""
    is_such = scale != 0 and math.isfinite(scale) and math.isfinite(offset)
    return replace(band, scale=float(scale), offset=float(offset)) if is_such else band


def _integer_nodata(dtype: np.dtype[Any], nodata: float) -> int | None:
    """The integer that GDAL's mask compares cells with: cut off, as C's casts do; None where no cell can hold it."""
    if not math.isfinite(nodata):
        return None
    value, info = math.trunc(nodata), np.iinfo(dtype)
    return value if info.min <= value <= info.max else None


def _block_of(path: str, dataset: Any, bands: tuple[BandInfo, ...]) -> tuple[tuple[int, int], int]:
    height, width = dataset.block_shapes[0]
    height, width = int(height), int(width)
    interleaved = dataset.interleaving is not None and dataset.interleaving.name == "pixel"
    size = height * width * bands[0].dtype.itemsize * (len(bands) if interleaved else 1)
    if size > _MOST_BLOCK_BYTES:
        raise SourceError(
            f"{path}: one storage block is {height} rows x {width} cols of {bands[0].dtype}, {size:,} bytes "
            f"with all that is decoded together, and tilejit takes {_MOST_BLOCK_BYTES:,}: the file is "
            "damaged, or needs to be tiled first (gdal_translate -co TILED=YES)",
        )
    # Decoded and compressed; GDAL takes interleaved bands apart into its cache, each once more (measured: 67 MB blocks
    # of two bands took 2 x 67 MB a thread and 20 MB of compressed bytes).
    return (height, width), size * (3 if interleaved and len(bands) > 1 else 2)


def metric_of(crs: Any) -> Metric:
    """How a CRS's units turn into metres.

    rasterio has no ellipsoid of its own, so its numbers come from the CRS as PROJJSON.

    Args:
        crs: A rasterio CRS.

    Returns:
        The metric; of the kind "none" for a CRS that is neither geographic nor projected.
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
    """That of a site's own system, which has lengths too; of the kind "none" for what has none."""
    if crs.to_dict(projjson=True).get("type") != "EngineeringCRS":
        return Metric()
    axes = list(_axes(crs))[:2]
    is_length = [
        unit == "metre" or (isinstance(unit, dict) and unit["type"] == "LinearUnit")
        for unit in (axis.get("unit") for axis in axes)
    ]
    return Metric("projected", unit=_axis_unit(axes[0])) if is_length == [True, True] else Metric()


def located(grid: Grid) -> Grid:
    """Returns a grid whose CRS a person wrote, as ``EPSG:32633``, with WKT and with what its units are in metres.

    Raises:
        ParameterError: There is no such CRS.
    """
    rasterio = load_rasterio()
    try:
        with quiet():
            crs = rasterio.crs.CRS.from_user_input(grid.crs)
            wkt, metric = crs.to_wkt(), metric_of(crs)
    except (rasterio.errors.CRSError, ValueError) as error:
        raise ParameterError(f"{grid.crs!r} is no CRS: give a code, as EPSG:32633, or WKT") from error
    return replace(grid, crs=wkt, metric=metric)


_WEB_MERCATOR = re.compile(r"Popular Visualisation Pseudo|Mercator_Auxiliary_Sphere|\+nadgrids=@null")


def _ellipsoid(crs: Any) -> tuple[float, float]:
    """Semi-major axis in metres and inverse flattening."""
    for ellipsoid in _find(crs.to_dict(projjson=True), "ellipsoid"):
        if "radius" in ellipsoid:
            return _number(ellipsoid["radius"]), 0.0
        semi_major = _number(ellipsoid["semi_major_axis"])
        if "inverse_flattening" in ellipsoid:
            return semi_major, _number(ellipsoid["inverse_flattening"])
        semi_minor = _number(ellipsoid["semi_minor_axis"])
        return semi_major, semi_major / (semi_major - semi_minor) if semi_major != semi_minor else 0.0
    raise ValueError("the CRS names no ellipsoid")


def _axes(crs: Any) -> Iterator[Any]:
    """The axes of a CRS, those of its vertical part among them, but not those of what it is derived from."""
    tree = crs.to_dict(projjson=True)
    while "source_crs" in tree:
        tree = tree["source_crs"]
    for part in tree.get("components", [tree]):
        whole = part.get("source_crs", part)
        yield from whole.get("coordinate_system", {}).get("axis", ())


def _axis_unit(axis: Any) -> float:
    """Metres per unit of a vertical axis."""
    unit = axis["unit"]
    return float(unit["conversion_factor"]) if isinstance(unit, dict) else 1.0


def _towards(directions: list[str]) -> tuple[int, int]:
    """The signs of x and y where they grow west and south; a polar projection's axes both point north, or south."""
    if len(directions) < 2 or directions[0] not in {"east", "west"}:
        return 1, 1
    return (-1 if directions[0] == "west" else 1), (-1 if directions[1] == "south" else 1)


def _number(value: Any) -> float:
    """A PROJJSON number, which is an object where its unit is not the default."""
    if isinstance(value, dict):
        unit = value["unit"]
        return float(value["value"]) * (unit["conversion_factor"] if isinstance(unit, dict) else 1.0)
    return float(value)


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
