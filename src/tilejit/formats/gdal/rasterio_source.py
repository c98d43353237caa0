"""Rasters through GDAL: one dataset handle per thread, opened on first use; blocks that tiles cut are shared."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from tilejit.errors import ParameterError, ReadError, SourceError
from tilejit.formats.cells import convert, nodata_key, scratch, set_nan, set_valid, survives
from tilejit.formats.files import OpenFile, absolute_name, check_unchanged, has_room, read_tags, size_of, states_of
from tilejit.formats.gdal.block_reader import BlockReader, decoding_of
from tilejit.formats.gdal.crs import grid_of
from tilejit.formats.gdal.library import Environment, cause_of, complaints, load_rasterio, quiet, speechless
from tilejit.formats.gdal.remote import forget, host_of, is_remote, remote_file, with_requests
from tilejit.formats.source import BandInfo, SourceStorage, check_request
from tilejit.system.limits import open_files_hint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.grid import Grid
    from tilejit.window import Window

_MOST_BLOCK_BYTES = 1 << 30  # GDAL decodes whole blocks: a file whose block is bigger cannot be read in windows at all
_HINT = "; GDAL does not read it (gdalinfo says more)"
_REMOTE_HINT = "; check the name, the network and the credentials (gdalinfo says more)"
_numbers = itertools.count()
_memory = threading.local()  # what a thread needs beside, whatever it reads


def open_rasterio(path: str | os.PathLike[str]) -> RasterioSource:
    """Open what GDAL reads: a file, or a name in its own file systems (/vsimem/, s3://); no pixel is read."""
    return RasterioSource(absolute_name(os.fspath(path)))


class RasterioSource:
    """A raster that GDAL reads; threads may read at the same time, each through its own handle."""

    def __init__(self, path: str, level: int = 0) -> None:
        self.name, self.level = path, level  # which overview, from 1; 0 for the raster itself
        # What held of ``rasterio.Env`` then holds for all reads.
        self.environment = with_requests(Environment.current(), path)
        through = f"overview {level}, through GDAL" if level else "through GDAL"
        if is_remote(path):
            through += f" from {host_of(path)}"
            forget(path)
        self.storage = SourceStorage(through, environment=self.environment, identity=through if level else "")
        self._lock = threading.Lock()
        self._local = threading.local()
        self._handles: list[OpenFile[Any]] = []
        self._idle: list[OpenFile[Any]] = []
        self._shared: BlockReader | None = None  # where a run's tiles cut blocks
        try:
            with speechless(), self._handle().held(self._open) as dataset:
                self.driver: str = dataset.driver  # GDAL's name of the format
                self.grid: Grid = grid_of(path, dataset)
                self.bands: tuple[BandInfo, ...] = _bands_of(path, dataset)
                self.block: tuple[int, int]
                self.block, block_bytes = _block_of(path, dataset, self.bands)
                interleaved = _is_interleaved(dataset)
                remote = remote_file(dataset.files, self.environment) if is_remote(path) else None
                size, state = (size_of(path), None) if remote is None else remote.told()
                self.storage = replace(
                    self.storage,
                    block_bytes=block_bytes,
                    decoding=None if self.driver == "VRT" else decoding_of(self, block_bytes, together=interleaved),
                    stored_bytes=size,
                    remote=remote,
                    state=state,
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
        self, bands: tuple[int, ...], window: Window, out: NDArray[Any], valid: NDArray[np.uint8] | None = None
    ) -> None:
        """Read a window; see `Source.read`."""
        check_request(self, bands, window, out, valid)
        if window.is_empty or not bands:
            return
        if out.dtype.kind == "f":
            self._read_floats(bands, window, out)
            return
        self._read(bands, window, out)
        if valid is not None:
            for i, band in enumerate(bands):
                self._set_valid(band, window, out[i], valid[i])

    def ready(self, threads: int, blocks: int) -> None:
        """Open a handle for each of so many threads, here and now; see `tilejit.formats.source.make_ready`."""
        decoding = self.storage.decoding
        self._shared = BlockReader.of(self, decoding, blocks, self._read_window) if decoding and blocks else None
        check_unchanged(self.name, self.storage.files)
        while len(self._idle) < threads and has_room():
            handle = self._new_handle()
            with handle.held(self._open), self._lock:
                self._idle.append(handle)

    def close(self) -> None:
        """Close every thread's handle; a later read opens the file again, so that a lazy Raster runs twice."""
        with self._lock:
            self._local = threading.local()
            handles, self._handles, self._idle = self._handles, [], []
            self._shared = None
        with speechless(), self.environment.entered():
            for handle in handles:
                handle.close()

    def _read_floats(self, bands: tuple[int, ...], window: Window, out: NDArray[Any]) -> None:
        """Read into a floating array, with NaN where there is no data."""
        infos = [self.bands[band - 1] for band in bands]
        is_whole = all(survives(info.dtype, out.dtype, self._keys[info.index - 1]) for info in infos)
        if is_whole:
            self._read(bands, window, out)
        for cells, info in zip(out, infos, strict=True):
            native = cells
            if not is_whole:
                native = self._read_native(info, window)
                convert(native, cells)
            if info.has_mask:
                native = self._scratch(window, np.dtype(np.uint8), "mask")
                self._read((info.index,), window, native[np.newaxis], masks=True)
            set_nan(cells, native, np.uint8(0) if info.has_mask else self._keys[info.index - 1])

    def _set_valid(self, band: int, window: Window, out: NDArray[Any], valid: NDArray[np.uint8]) -> None:
        """Set the flags of one band that has been read into an integer array."""
        info, key = self.bands[band - 1], self._keys[band - 1]
        if info.has_mask:
            self._read((band,), window, valid[np.newaxis], masks=True)
            np.minimum(valid, 1, out=valid)
        elif key is None and info.dtype.kind != "f":
            valid[...] = 1
        else:
            set_valid(valid, out if info.dtype == out.dtype else self._read_native(info, window), key)

    def _read_native(self, info: BandInfo, window: Window) -> NDArray[Any]:
        """One band in its own type."""
        cells = self._scratch(window, info.dtype, "cells")
        self._read((info.index,), window, cells[np.newaxis])
        return cells

    def _read(self, bands: tuple[int, ...], window: Window, out: NDArray[Any], *, masks: bool = False) -> None:
        """Read cells or masks: from blocks that threads share, where tiles cut them."""
        read = self._read_window if self._shared is None else self._shared.read
        read(bands, window, out, masks=masks)

    def _read_window(self, bands: tuple[int, ...], window: Window, out: NDArray[Any], *, masks: bool) -> None:
        place = (window.row_off, window.row_end), (window.col_off, window.col_end)
        what = f"{'the mask of band' if masks else 'band'} {', '.join(map(str, bands))}, {window}"
        handle = self._handle()
        with handle.held(self._open) as dataset:
            read = dataset.read_masks if masks else dataset.read
            try:
                with self.environment.entered(), complaints() as said:
                    read(list(bands), window=place, out=out)
            except Exception as error:
                raise ReadError(f"{self.name}: cannot read {what}: {cause_of(error, self.name)}") from error
        if said:
            handle.close()  # GDAL keeps the block, and says nothing the next time
            raise ReadError(
                f"{self.name}: cannot read {what}: a block is damaged: {'; '.join(dict.fromkeys(said))} "
                "(gdal_translate copies what GDAL makes of it)"
            )

    def _handle(self) -> OpenFile[Any]:
        """This thread's own."""
        handle: OpenFile[Any] | None = getattr(self._local, "handle", None)
        if handle is None:
            with self._lock:
                handle = self._idle.pop() if self._idle else None
            handle = self._local.handle = handle or self._new_handle()
        return handle

    def _new_handle(self) -> OpenFile[Any]:
        handle = OpenFile(methodcaller("close"))
        with self._lock:
            self._handles.append(handle)
        return handle

    def _open(self) -> Any:
        """A dataset of the file, which is still the one that the source was made of."""
        with self.environment.entered():
            dataset = _open(self.name, self.level)
        try:
            check_unchanged(self.name, {self.name: self.storage.files.get(self.name)})
        except BaseException:
            dataset.close()
            raise
        return dataset

    def _scratch(self, window: Window, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
        """This thread's own (row, col) buffer."""
        size = window.height * window.width * dtype.itemsize
        return scratch(_memory, name, size).view(dtype).reshape(window.shape)


def _open(path: str, level: int) -> Any:
    rasterio = load_rasterio()
    try:
        with quiet(), contextlib.ExitStack() as refused:
            dataset = rasterio.open(path, sharing=False)
            refused.callback(dataset.close)
            # GDAL reads other directories when it first needs to, and says what is odd there.
            found = dataset.overviews(1) if dataset.count else []
            if level:
                _check_level(path, level, found)
                dataset.close()
                dataset = rasterio.open(path, sharing=False, OVERVIEW_LEVEL=level - 1)
            refused.pop_all()
            return dataset
    except ParameterError:
        raise
    except Exception as error:
        if not path.startswith("/vsi") and "://" not in path and not Path(path).exists():
            raise SourceError(f"{path}: cannot be opened: there is no such file: check the path") from error
        cause = cause_of(error, path)
        hint = open_files_hint(cause) or (_REMOTE_HINT if is_remote(path) else _HINT)
        raise SourceError(f"{path}: cannot be opened: {cause}{hint}") from error


def _check_level(path: str, level: int, found: list[int]) -> None:
    if not 1 <= level <= len(found):
        known = f"overviews {', '.join(f'{k} (1:{n})' for k, n in enumerate(found, 1))}" if found else "no overviews"
        raise ParameterError(
            f"{path} has {known}, not {level}: gdaladdo makes them; or take "
            "raster.to(raster.grid.zoom_out(2), resampling='average')"
        )


def _bands_of(path: str, dataset: Any) -> tuple[BandInfo, ...]:
    if dataset.count == 0:
        holds = ", ".join(dataset.subdatasets[:3])
        advice = f"open one of its subdatasets, such as {holds}" if holds else "it holds no raster"
        raise SourceError(f"{path}: the file has no bands: {advice}")
    with quiet():
        flags = [{flag.name for flag in flags} for flags in dataset.mask_flag_enums]
        nodata = dataset.nodatavals if _is_exact(dataset, flags) else _exact_nodata(dataset)
        # Each of these asks every band.
        said = (dataset.dtypes, nodata, dataset.descriptions, dataset.units, flags, dataset.scales, dataset.offsets)
        return tuple(_band(path, i, parts) for i, parts in enumerate(zip(*said, strict=True), 1))


def _band(path: str, index: int, said: tuple[Any, ...]) -> BandInfo:
    dtype_name, nodata, description, unit, flags, scale, offset = said
    if dtype_name.startswith("complex"):
        raise SourceError(
            f"{path}: band {index} holds complex numbers ({dtype_name}), which tilejit does not read: split "
            "it into real bands first (gdal_calc, or a VRT with the real and imag pixel functions)"
        )
    dtype = np.dtype(dtype_name)
    has_mask = "all_valid" not in flags and flags != {"nodata"}
    if nodata is not None and dtype.kind in "iu":
        nodata = _integer_nodata(dtype, nodata)
    if scale == 0 or not math.isfinite(scale) or not math.isfinite(offset):  # from broken tags
        scale, offset = 1.0, 0.0
    return BandInfo(index, dtype, nodata, description or None, unit or None, has_mask, float(scale), float(offset))


def _is_exact(dataset: Any, flags: list[set[str]]) -> bool:
    """Whether rasterio says all of the nodata values: those of 64-bit integers are rounded, or missing."""
    parts = zip(dataset.dtypes, dataset.nodatavals, flags, strict=True)
    marked = [(name, nodata) for name, nodata, said in parts if "nodata" in said]
    return not any(nodata is None or name in {"int64", "uint64"} for name, nodata in marked)


def _exact_nodata(dataset: Any) -> list[float | None]:
    """The nodata value of each band in GDAL's own spelling, from the XML of a VRT, where 64-bit ones are integers."""
    rasterio = load_rasterio()
    from rasterio import shutil

    name = f"/vsimem/tilejit_{next(_numbers)}.vrt"
    shutil.copy(dataset, name, driver="VRT")
    try:
        with rasterio.open(name) as described:
            xml = ET.fromstring(described.tags(ns="xml:VRT")["xml:VRT"])  # noqa: S314 - GDAL has just written it
    finally:
        shutil.delete(name, driver="VRT")
    texts = [band.findtext("NoDataValue") for band in xml.findall("VRTRasterBand")]
    return [None if text is None else int(text) if text.lstrip("-").isdecimal() else float(text) for text in texts]


def _integer_nodata(dtype: np.dtype[Any], nodata: float) -> int | None:
    """The integer that GDAL's mask compares cells with: cut off, as C's casts do; None where no cell can hold it."""
    if not math.isfinite(nodata):
        return None
    value, info = math.trunc(nodata), np.iinfo(dtype)
    return value if info.min <= value <= info.max else None


def _is_interleaved(dataset: Any) -> bool:
    """Whether a block holds the pixels of all bands."""
    return dataset.interleaving is not None and dataset.interleaving.name == "pixel"


def _block_of(path: str, dataset: Any, bands: tuple[BandInfo, ...]) -> tuple[tuple[int, int], int]:
    """Rows and columns of a block, and the bytes that decoding one takes."""
    height, width = map(int, dataset.block_shapes[0])
    interleaved = _is_interleaved(dataset)
    size = height * width * bands[0].dtype.itemsize * (len(bands) if interleaved else 1)
    if size > _MOST_BLOCK_BYTES:
        raise SourceError(
            f"{path}: one storage block is {height} rows x {width} cols of {bands[0].dtype}, {size:,} bytes "
            f"with all that is decoded together, and tilejit takes {_MOST_BLOCK_BYTES:,}: the file is "
            "damaged, or needs to be tiled first (gdal_translate -co TILED=YES)"
        )
    # Decoded, once more in GDAL's cache, and as it is stored: a LERC strip of 201 MB, stored in as many, took 600.
    stored = dataset.get_tag_item("BLOCK_SIZE_0_0", "TIFF", bidx=1)
    return (height, width), 2 * size + min(int(stored or 0), size_of(path) or 0)
