"""GeoTIFF outputs through GDAL: written under a temporary name, checked, synced and renamed."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.grid import IDENTITY
from tilejit.io.flusher import Flusher
from tilejit.io.gdal import cause_of, load_rasterio, messages, quiet
from tilejit.io.sink import OutputProfile, Sink, check_write
from tilejit.io.source import nodata_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from tilejit.window import Window

_BLOCK = 512
_STRIP_CELLS = 1 << 18
"""GDAL's own strips hold 8 KB, which is thousands of little blocks; ours hold as many cells as a tile."""

_SUFFIXES = (".tif", ".tiff", ".gtiff")
_SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL reads beside a TIFF: those of the file that is replaced must not attach to the new pixels."""

_REFUSED = {
    "APPEND_SUBDATASET": "tilejit writes one raster per file",
    "COPY_SRC_OVERVIEWS": "there is no source to copy from; add overviews with gdaladdo",
    "PROFILE": "another profile than GDAL's own loses the nodata value",
    "STREAMABLE_OUTPUT": "blocks are written in any order",
    "TFW": "the georeferencing is inside the file",
    "WORLDFILE": "the georeferencing is inside the file",
}
_YES, _NO = ("YES", "TRUE", "ON", "1"), ("NO", "FALSE", "OFF", "0")
_EXACT_NODATA = 2**53
"""rasterio hands nodata over as a float64, and GDAL then spells it with an exponent in the file: measured,
the int64 nodata -9223372036854775807 came back as -9."""


def open_sink(profile: OutputProfile, threads: int = 1) -> Sink:
    """Open the sink that the output's name asks for.

    Args:
        profile: What the file will be.
        threads: Threads that compress.

    Returns:
        A GeoTIFF sink.

    Raises:
        SinkError: The name is not a GeoTIFF's, or the file cannot be created.
    """
    return GeoTiffSink(profile, threads)


def default_options(
    dtype: np.dtype[Any],
    height: int,
    width: int,
    user_options: Mapping[str, str],
    count: int = 1,
) -> dict[str, str]:
    """The creation options of an output: tilejit's defaults, with the user's over them.

    ZSTD at level 1 instead of GDAL's 9 writes five times faster for 1.5 % more bytes (8192 x 8192 float32
    terrain: 69 against 13 Mpx per CPU second, 199.0 against 196.1 MB).

    Args:
        dtype: The type to store.
        height: Rows of the raster.
        width: Columns of the raster.
        user_options: GDAL's option names and values.
        count: Bands.

    Returns:
        All the options but NUM_THREADS, which the sink adds.

    Raises:
        SinkError: GDAL does not know an option or its value, or tilejit cannot honour it.

    Example:
        >>> default_options(np.dtype(np.float32), 4096, 4096, {"COMPRESS": "DEFLATE"})["PREDICTOR"]
        '3'
    """
    user = {name.upper(): str(value) for name, value in user_options.items()}
    options = {"COMPRESS": user.get("COMPRESS", "ZSTD").upper(), "BIGTIFF": "IF_SAFER"}
    if options["COMPRESS"] == "ZSTD":
        options["ZSTD_LEVEL"] = "1"
    predictor = _predictor(np.dtype(dtype))
    if predictor and options["COMPRESS"] in {"ZSTD", "DEFLATE", "LZW"} and "NBITS" not in user:
        options["PREDICTOR"] = predictor
    if count > 1:
        options["INTERLEAVE"] = "BAND"
    if user.get("TILED", "YES").upper() in _NO:
        options["BLOCKYSIZE"] = str(min(height, max(1, _STRIP_CELLS // width)))
    else:
        options |= {"TILED": "YES", "BLOCKXSIZE": _tile_side(width), "BLOCKYSIZE": _tile_side(height)}
    options |= user | {"COMPRESS": options["COMPRESS"]}
    _check_options(options, user, np.dtype(dtype), count)
    return options


def block_of(options: Mapping[str, str], height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the storage blocks that options give.

    Args:
        options: What `default_options` returned.
        height: Rows of the raster.
        width: Columns of the raster.

    Returns:
        Rows and columns; a strip is as wide as the raster.

    Example:
        >>> block_of({"TILED": "NO", "BLOCKYSIZE": "64"}, 1000, 800)
        (64, 800)
    """
    rows = int(options["BLOCKYSIZE"])
    if options.get("TILED", "NO").upper() in _NO:
        return min(rows, height), width
    return rows, int(options["BLOCKXSIZE"])


class GeoTiffSink:
    """A GeoTIFF that appears under its name only when it is complete and synced.

    Threads may call `write` at the same time: the sink takes a lock, and GDAL compresses on threads of its
    own while the next window is on its way.

    Raises:
        SinkError: The name, the folder, the type, the nodata value or an option is refused; nothing is left.
    """

    concurrent = False
    """GDAL takes one window at a time: workers that take turns themselves can tell how long they waited."""

    def __init__(self, profile: OutputProfile, threads: int = 1) -> None:
        self.profile = profile
        """What the file will be."""
        self.grid = profile.grid
        """Where its cells lie."""
        self._target = checked_target(profile)
        _check_values(profile)
        self.options = default_options(profile.dtype, self.grid.height, self.grid.width, profile.options, profile.count)
        """All the creation options."""
        self.options.setdefault("NUM_THREADS", str(max(1, threads)))
        self.block = block_of(self.options, self.grid.height, self.grid.width)
        """Rows and columns of the storage blocks."""
        self._lock = threading.Lock()
        self._failure: str | None = None
        # A name of its own length: the target's may already be as long as the file system takes.
        self._temporary = self._target.parent / (
            f".{self._target.stem[:60]}.{os.getpid()}-{secrets.token_hex(4)}.tmp.tif"
        )
        self._dataset: Any = None
        self._flusher: Flusher | None = None
        self._prepared = False
        try:
            self._create()
            self._flusher = Flusher(self._temporary)
        except BaseException:
            self.abort()
            raise

    def write(self, window: Window, array: NDArray[Any]) -> None:
        """Write a window; see `Sink.write`.

        Raises:
            SinkError: It cannot be written; the message has the file, window and GDAL's cause. The output
                cannot be completed after that.
        """
        profile = self.profile
        check_write(
            profile.path,
            grid=self.grid,
            count=profile.count,
            dtype=profile.dtype,
            window=window,
            array=array,
        )
        cells = array.view(np.uint8) if array.dtype == np.bool_ else array
        place = (window.row_off, window.row_end), (window.col_off, window.col_end)
        with self._lock:
            self._require_open()
            try:
                self._dataset.write(cells, window=place)
            except Exception as error:
                self._failure = f"cannot write {window}: {cause_of(error)}{_hint(self._target, error)}"
                raise SinkError(f"{profile.path}: {self._failure}") from error

    def prepare(self) -> None:
        """Close the file, check that every block is in it, and sync it: all that can still fail but its name.

        Raises:
            SinkError: A part of it did not reach the disk; nothing is left behind.
        """
        with self._lock:
            self._require_open()
            with self._completing():
                self._close()
                if self._flusher is not None:
                    self._flusher.finish()
                _check_blocks(self._temporary, self.profile, self.options, self.block)
                _sync(self._temporary)
                self._prepared = True

    def commit(self) -> None:
        """Prepare the file where that is not done yet, and give it its name.

        Raises:
            SinkError: A part of it did not reach the disk; nothing is left behind, and a file that was to be
                replaced is untouched.
        """
        if not self._prepared:
            self.prepare()
        with self._lock, self._completing():
            self._temporary.replace(self._target)
            for suffix in _SIDECARS:
                Path(f"{self._temporary}{suffix}").unlink(missing_ok=True)
                Path(f"{self._target}{suffix}").unlink(missing_ok=True)
            _sync(self._target.parent)

    @contextlib.contextmanager
    def _completing(self) -> Iterator[None]:
        """Leaves nothing behind where the output cannot be completed."""
        try:
            yield
        except Exception as error:
            hint = _hint(self._target, error)
            self._stop_flusher()
            self._remove()
            cause = cause_of(error, str(self._temporary))
            raise SinkError(f"{self.profile.path}: cannot be completed: {cause}{hint}") from error

    def _stop_flusher(self) -> None:
        if self._flusher is not None:
            self._flusher.stop()

    def abort(self) -> None:
        """Remove the temporary file; nothing happens after `commit`."""
        with self._lock:
            with contextlib.suppress(Exception):
                self._close()
            self._stop_flusher()
            self._remove()

    def _create(self) -> None:
        """Create the temporary file with its tags."""
        rasterio, profile = load_rasterio(), self.profile
        try:
            with quiet(), messages() as warned:
                # A side file would be litter: what GeoTIFF cannot hold is left out.
                with rasterio.Env(GDAL_PAM_ENABLED="NO"):
                    self._dataset = rasterio.open(
                        self._temporary,
                        "w",
                        driver="GTiff",
                        height=self.grid.height,
                        width=self.grid.width,
                        count=profile.count,
                        dtype=_stored(profile.dtype).name,
                        nodata=profile.nodata,
                        **_place(rasterio, profile),
                        **self.options,
                    )
                for i, text in enumerate(profile.descriptions, 1):
                    if text:
                        self._dataset.set_band_description(i, text)
                for i, text in enumerate(profile.units, 1):
                    if text:
                        self._dataset.set_band_unit(i, text)
        except Exception as error:
            raise SinkError(f"{profile.path}: cannot be created: {cause_of(error)}") from error
        if warned:
            raise SinkError(f"{profile.path}: cannot be created as asked: {'; '.join(warned)}")

    def _require_open(self) -> None:
        if self._failure is not None:
            raise SinkError(f"{self.profile.path}: an earlier write failed: {self._failure}")
        if self._dataset is None:
            raise SinkError(f"{self.profile.path}: the output has been committed or aborted")

    def _close(self) -> None:
        """Close the dataset: GDAL writes its last blocks, and rasterio raises nothing where that fails."""
        dataset, self._dataset = self._dataset, None
        if dataset is not None:
            # Outside an Env GDAL's handler is its default, which prints on standard error.
            with messages() as said, load_rasterio().Env():
                dataset.close()
            if said:
                raise OSError("; ".join(said))

    def _remove(self) -> None:
        for suffix in ("", *_SIDECARS):
            with contextlib.suppress(OSError):
                Path(f"{self._temporary}{suffix}").unlink(missing_ok=True)


def _predictor(dtype: np.dtype[Any]) -> str | None:
    if dtype.kind == "f":
        return "3"
    return "2" if dtype.itemsize > 1 else None


def _tile_side(cells: int) -> str:
    """512, or the next multiple of 16 that holds a smaller raster: TIFF takes no others."""
    return str(min(_BLOCK, 16 * math.ceil(cells / 16)))


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype


def _place(rasterio: Any, profile: OutputProfile) -> dict[str, Any]:
    """The grid as rasterio takes it."""
    place: dict[str, Any] = {}
    if profile.grid.transform != IDENTITY:
        place["transform"] = rasterio.Affine(*profile.grid.transform)
    if profile.grid.crs is not None:
        place["crs"] = rasterio.crs.CRS.from_wkt(profile.grid.crs)
    return place


def checked_target(profile: OutputProfile) -> Path:
    """The file behind the name, with every refusal that needs no GDAL."""
    name = profile.path
    if Path(name).suffix.lower() not in _SUFFIXES:
        raise SinkError(
            f"{name}: tilejit writes GeoTIFF: give a name that ends in .tif, and convert it after that "
            "(gdal_translate, rio convert)",
        )
    if name.startswith("/vsi") or "://" in name:
        raise SinkError(f"{name}: tilejit writes local files: write one, and copy it there after that")
    # Through a link, so that the link stays and its file is replaced.
    target = Path(os.path.realpath(name))
    if target.is_dir():
        raise SinkError(f"{name}: is a folder: give a file's name")
    if not target.parent.is_dir():
        raise SinkError(f"{name}: the folder {target.parent} does not exist: create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise SinkError(f"{name}: the folder {target.parent} cannot be written to: choose another")
    if target.exists() and not profile.overwrite:
        raise SinkError(f"{name}: exists already: give another name, or overwrite=True")
    return target


def _check_values(profile: OutputProfile) -> None:
    """Refuse a type or a nodata value that the file cannot hold."""
    name, dtype, nodata = profile.path, profile.dtype, profile.nodata
    if dtype.kind not in "iufb" or dtype.itemsize > 8 or dtype == np.float16:
        raise SinkError(f"{name}: GeoTIFF stores integers, float32 and float64, not {dtype}")
    if nodata is None:
        return
    if nodata_key(_stored(dtype), nodata) is None:
        raise SinkError(f"{name}: no {dtype} equals the nodata value {nodata}: give another")
    if dtype.kind in "iu" and abs(nodata) >= _EXACT_NODATA:
        raise SinkError(
            f"{name}: rasterio writes a nodata value exactly below 2 ** 53 only, not {nodata}: give another",
        )


def _check_options(
    options: Mapping[str, str],
    user: Mapping[str, str],
    dtype: np.dtype[Any],
    count: int,
) -> None:
    """Have GDAL take the options for a small raster in memory; it warns where it ignores one."""
    for option, why in _REFUSED.items():
        if option in options:
            raise SinkError(f"the creation option {option} is not for tilejit: {why}")
    # These GDAL takes as they come, without a word.
    if options.get("TILED", "YES").upper() not in (*_YES, *_NO):
        raise SinkError(f"TILED is YES or NO, not {options['TILED']}")
    threads = options.get("NUM_THREADS", "1")
    if threads.upper() != "ALL_CPUS" and not threads.isdecimal():
        raise SinkError(f"NUM_THREADS is a number or ALL_CPUS, not {threads}")
    for name in ("BLOCKXSIZE", "BLOCKYSIZE"):
        side = options.get(name, "16")
        if not side.isdecimal() or int(side) < 1:
            raise SinkError(f"{name} is a number of cells, one or more, not {side}")
    asked = ", ".join(f"{name}={value}" for name, value in user.items()) or "tilejit's own"
    _try_options(options, f"the creation options ({asked}) do not work for {dtype}", dtype, count)


def _try_options(options: Mapping[str, str], complaint: str, dtype: np.dtype[Any], count: int) -> None:
    """Write a raster of a few cells in memory with the options."""
    rasterio = load_rasterio()
    shape = (min(count, 4), 16, 16)
    profile = {"count": shape[0], "height": 16, "width": 16, "dtype": _stored(dtype).name}
    try:
        with (
            quiet(),
            messages() as warned,
            rasterio.MemoryFile() as memory,
            memory.open(driver="GTiff", **profile, **options) as dataset,
        ):
            dataset.write(np.zeros(shape, _stored(dtype)))
    except Exception as error:
        raise SinkError(f"{complaint}: {cause_of(error)}") from error
    if warned:
        raise SinkError(f"{complaint}: {'; '.join(warned)}")


def _check_blocks(
    path: Path,
    profile: OutputProfile,
    options: Mapping[str, str],
    block: tuple[int, int],
) -> None:
    """Find each block in the closed file: a full disk leaves offsets of zero or beyond the file's end.

    Raises:
        OSError: A block is missing.
    """
    size = path.stat().st_size
    sparse = options.get("SPARSE_OK", "NO").upper() in _YES
    separate = options.get("INTERLEAVE", "PIXEL").upper() == "BAND"
    rows, cols = (math.ceil(n / side) for n, side in zip(profile.grid.shape, block, strict=True))
    with quiet(), load_rasterio().open(path) as dataset:
        for band in range(1, (profile.count if separate else 1) + 1):
            for row, col in np.ndindex(rows, cols):
                offset = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band)
                length = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)
                if offset is None and sparse:
                    continue
                if offset is None or not int(length or 0) or int(offset) + int(length) > size:
                    raise OSError(
                        f"band {band}, block row {row}, block col {col} is not in the file: it should be at "
                        f"byte {offset}, {length} bytes long, and the file has {size}",
                    )


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hint(target: Path, error: BaseException) -> str:
    """What to do about a full disk."""
    try:
        stats = os.statvfs(target.parent)
    except OSError:
        return ""
    free = stats.f_bavail * stats.f_frsize
    if free > 1 << 24 and "space" not in str(error).lower():
        return ""
    return f" ({target.parent} has {free:,} bytes left: free some, or write elsewhere)"
