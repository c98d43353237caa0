"""GDAL's creation options of a GeoTIFF: tilejit's defaults, the user's over them, and what is refused."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.gdal.library import cause_of, load_rasterio, messages, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping

COG, RESAMPLING = "COG", "OVERVIEW_RESAMPLING"
"""Options that are tilejit's own among a GeoTIFF's: whether it is cloud-optimised, and how overviews are made."""
_WAYS = ("AVERAGE", "MODE", "NEAREST")
_BLOCK = 512
_STRIP_CELLS = 1 << 18  # of a strip, as many as of a tile: GDAL's own hold 8 KB, which is thousands of blocks

_REFUSED = {
    "APPEND_SUBDATASET": "tilejit writes one raster per file",
    "COPY_SRC_OVERVIEWS": "there is no source to copy from; add overviews with gdaladdo",
    "PROFILE": "another profile than GDAL's own loses the nodata value",
    "STREAMABLE_OUTPUT": "blocks are written in any order",
    "TFW": "the georeferencing is inside the file",
    "WORLDFILE": "the georeferencing is inside the file",
}
_LEVELS = {"DEFLATE": ("ZLEVEL", "6"), "ZSTD": ("ZSTD_LEVEL", "1")}
"""The option of a compression's level, and the level that files are as small as where nobody gave one."""
AUTO = "AUTO"  # a level that nobody gave: files are about as small as by that of `_LEVELS`, whoever encodes
_PIXELS_ONLY = {"WEBP"}  # colours that have to lie together: separate bands GDAL writes, and does not read
_YES, _NO = ("YES", "TRUE", "ON", "1"), ("NO", "FALSE", "OFF", "0")


def default_options(
    dtype: np.dtype[Any], height: int, width: int, user_options: Mapping[str, str], count: int = 1
) -> dict[str, str]:
    """All creation options of an output but NUM_THREADS: tilejit's defaults, and the user's over them.

    ZSTD at level 1 instead of GDAL's 9 writes five times faster for 1.5 % more bytes (8192 x 8192 float32 terrain: 69
    against 13 Mpx per CPU second, 199.0 against 196.1 MB).

    ZLEVEL and ZSTD_LEVEL are AUTO where nobody gave one, or asked for that: cheaper encoders may stand in for DEFLATE 6
    and ZSTD 1. A number is obeyed. LEVEL, which is the COG driver's name, stands for either.

    Example:
        >>> default_options(np.dtype(np.float32), 4096, 4096, {"COMPRESS": "DEFLATE"})["PREDICTOR"]
        '3'
    """
    user = {name.upper(): str(value) for name, value in user_options.items()}
    options = {"COMPRESS": user.get("COMPRESS", "ZSTD").upper(), "BIGTIFF": "IF_SAFER"}
    user = _with_level(user, options["COMPRESS"])
    if options["COMPRESS"] in _LEVELS:
        options[_LEVELS[options["COMPRESS"]][0]] = AUTO
    predictor = _predictor(np.dtype(dtype))
    if predictor and options["COMPRESS"] in {"ZSTD", "DEFLATE", "LZW"} and "NBITS" not in user:
        options["PREDICTOR"] = predictor
    if count > 1 and options["COMPRESS"] not in _PIXELS_ONLY:
        options["INTERLEAVE"] = "BAND"
    if user.get("TILED", "YES").upper() in _NO:
        options["BLOCKYSIZE"] = str(min(height, max(1, _STRIP_CELLS // width)))
    else:
        options |= {"TILED": "YES", "BLOCKXSIZE": _tile_side(width), "BLOCKYSIZE": _tile_side(height)}
    options |= user | {"COMPRESS": options["COMPRESS"]}
    _check_options(options, user, np.dtype(dtype), count)
    return options


def block_of(options: Mapping[str, str], height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the storage blocks that complete options give; a strip is as wide as the raster.

    Example:
        >>> block_of({"TILED": "NO", "BLOCKYSIZE": "64"}, 1000, 800)
        (64, 800)
    """
    rows = int(options["BLOCKYSIZE"])
    if options.get("TILED", "NO").upper() in _NO:
        return min(rows, height), width
    return rows, int(options["BLOCKXSIZE"])


def is_sparse(options: Mapping[str, str]) -> bool:
    """Whether blocks may be left out that hold nothing but nodata."""
    return options.get("SPARSE_OK", "NO").upper() in _YES


def level_of(options: Mapping[str, str]) -> int | None:
    """How hard a compression compresses, by the option or as `_LEVELS` says; None where it has no levels."""
    known = _LEVELS.get(options["COMPRESS"])
    return None if known is None else int(gdal_options(options)[known[0]])


def is_auto(options: Mapping[str, str]) -> bool:
    """Whether complete options let cheaper encoders stand in for the level.

    Example:
        >>> is_auto({"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1"})
        False
    """
    known = _LEVELS.get(options["COMPRESS"])
    return known is not None and options.get(known[0]) == AUTO


def gdal_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options as GDAL takes them: with a number for each level.

    Example:
        >>> gdal_options({"COMPRESS": "ZSTD", "ZSTD_LEVEL": "AUTO"})
        {'COMPRESS': 'ZSTD', 'ZSTD_LEVEL': '1'}
    """
    return dict(options) | {name: ours for name, ours in _LEVELS.values() if options.get(name) == AUTO}


def cog_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options as GDAL's COG driver takes them, which calls the level of any compression LEVEL.

    Example:
        >>> cog_options({"COMPRESS": "ZSTD", "ZSTD_LEVEL": "AUTO"})
        {'COMPRESS': 'ZSTD', 'LEVEL': '1'}
    """
    complete = dict(options)
    own, ours = _LEVELS.get(options.get("COMPRESS", "").upper(), ("LEVEL", AUTO))
    level = complete.pop(own, None)
    level = complete.pop("LEVEL", level)
    return complete if level is None else complete | {"LEVEL": ours if level.upper() == AUTO else level}


def _with_level(user: Mapping[str, str], compress: str) -> dict[str, str]:
    """The user's options, with LEVEL under the name that the compression has for it."""
    options = dict(user)
    if "LEVEL" in options:
        if compress not in _LEVELS:
            raise SinkError(
                f"LEVEL is for COMPRESS={' and '.join(_LEVELS)}, not {compress}: leave it out, or give its own option, "
                "if there is one"
            )
        options = {_LEVELS[compress][0]: options.pop("LEVEL")} | options
    levels = [name for name, _ in _LEVELS.values() if options.get(name, "").upper() == AUTO]
    return options | dict.fromkeys(levels, AUTO)


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that holds a dtype's values in the file: truth values are bytes."""
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype


def _predictor(dtype: np.dtype[Any]) -> str | None:
    if dtype.kind == "f":
        return "3"
    return "2" if dtype.itemsize > 1 else None


def _tile_side(cells: int) -> str:
    """512, or the next multiple of 16 that holds a smaller raster: TIFF takes no others."""
    return str(min(_BLOCK, 16 * math.ceil(cells / 16)))


def _check_options(options: Mapping[str, str], user: Mapping[str, str], dtype: np.dtype[Any], count: int) -> None:
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
    # Blocks of our own size are fine, and small ones take a tenth of the time.
    small = {name: "16" for name in ("BLOCKXSIZE", "BLOCKYSIZE") if name in options and name not in user}
    small |= {"SPARSE_OK": "FALSE"} if is_sparse(options) else {}
    _try_options(
        tuple((gdal_options(options) | small).items()),
        f"the creation options ({asked}) do not work for {dtype}",
        dtype,
        count,
    )


@functools.lru_cache(maxsize=64)
def _try_options(options: tuple[tuple[str, str], ...], complaint: str, dtype: np.dtype[Any], count: int) -> None:
    """Write a raster of a few cells in memory with the options, and read it; once, for it takes as long as the rest.

    Its cells are those that GDAL puts where none were written: rasterio's own write imports masked arrays, 10 ms.
    """
    rasterio = load_rasterio()
    profile = {"count": min(count, 4), "height": 16, "width": 16, "dtype": stored_dtype(dtype).name}
    try:
        with quiet(), messages() as warned, rasterio.MemoryFile() as memory:
            memory.open(driver="GTiff", **profile, **dict(options)).close()
            with memory.open() as written:
                written.read(1)
    except Exception as error:
        raise SinkError(f"{complaint}: {cause_of(error)}") from error
    if warned:
        raise SinkError(f"{complaint}: {'; '.join(warned)}")


def without_overviews(options: Mapping[str, str], dtype: np.dtype[Any], count: int) -> tuple[dict[str, str], str]:
    """The options that are GDAL's, and how overviews are made; "" where there are none.

    A COG's bands lie together unless INTERLEAVE says otherwise, as its readers expect.

    Example:
        >>> without_overviews({"COG": "YES", "COMPRESS": "LZW"}, np.dtype(np.float32), 1)
        ({'COMPRESS': 'LZW'}, 'AVERAGE')
        >>> without_overviews({"COG": "YES"}, np.dtype(np.uint8), 3)
        ({'INTERLEAVE': 'PIXEL'}, 'NEAREST')
    """
    plain = dict(options)
    is_cog = plain.pop(COG, "NO") == "YES"
    asked = plain.pop(RESAMPLING, None)
    if not is_cog:
        if asked is not None:
            raise SinkError(f"{RESAMPLING}={asked} is of a file with overviews: give cog=True, or leave it out")
        return plain, ""
    way = (asked or ("AVERAGE" if dtype.kind == "f" else "NEAREST")).upper()
    if way not in _WAYS:
        raise SinkError(f"{RESAMPLING} is one of {', '.join(_WAYS)}, not {way}")
    return ({"INTERLEAVE": "PIXEL"} if count > 1 else {}) | plain, way
