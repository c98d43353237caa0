"""The entropy coders, by TIFF's names for them: imagecodecs' bindings, which release the GIL."""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Encoded = bytes | bytearray | memoryview | np.ndarray[tuple[int], np.dtype[np.uint8]]
"""A block as it is stored."""

_NAMES = {"DEFLATE": "deflate", "LZW": "lzw", "ZSTD": "zstd"}
"""TIFF's DEFLATE is in zlib's container, which is what imagecodecs' ``deflate`` reads and writes, by libdeflate."""

COMPRESSIONS = ("NONE", *_NAMES)
"""What can be coded."""


def decompress(compression: str, data: Encoded, out: NDArray[np.uint8]) -> None:
    """Decode into an array that the result fills to the last byte.

    Never more is written than the array holds, whatever the data says of its own size. Data that goes on behind the end
    of the block is taken, as by libtiff, but for ZSTD.

    Args:
        compression: One of `COMPRESSIONS`.
        data: The block as stored.
        out: (byte,).

    Raises:
        CodecError: The data is corrupt, or decodes to another size.
    """
    if compression == "NONE":
        size = _copy(data, out)
    else:
        try:
            size = len(_function(compression, "decode")(data, out=out))
        except (RuntimeError, ValueError) as error:
            if "INSUFFICIENT_SPACE" not in str(error):
                raise CodecError(f"corrupt {compression} data: {error}") from error
            size = _begin_inflating(data, out)
    if size != out.size:
        raise CodecError(f"the {compression} data holds {size:,} bytes, and a block is {out.size:,}")


def _begin_inflating(data: Encoded, out: NDArray[np.uint8]) -> int:
    """Decodes what fits; libdeflate decodes all or nothing.

    Some writers store the last strip whole, with rows beyond the raster. GDAL 3.10 with libdeflate gives what its
    memory held for such a strip, and reports nothing; zlib gives the rows.
    """
    try:
        return _copy(zlib.decompressobj().decompress(memoryview(data), out.size), out)  # type: ignore[arg-type]
    except zlib.error as error:
        raise CodecError(f"corrupt DEFLATE data: {error}") from error


def _copy(data: Encoded, out: NDArray[np.uint8]) -> int:
    stored = np.frombuffer(data, np.uint8)
    size = min(stored.size, out.size)
    out[:size] = stored[:size]
    return size


def compress(compression: str, data: NDArray[np.uint8], level: int | None) -> Encoded:
    """Encode an array.

    Args:
        compression: One of `COMPRESSIONS`.
        data: (byte,).
        level: ZSTD's or DEFLATE's level; None for the library's own.

    Returns:
        The block as it is to be stored; of NONE, ``data`` itself.
    """
    if compression == "NONE":
        return data
    options = {} if level is None or compression == "LZW" else {"level": level}
    encoded: Encoded = _function(compression, "encode")(data, **options)
    return encoded


@functools.cache
def _function(compression: str, verb: str) -> Callable[..., Any]:
    import imagecodecs

    function: Callable[..., Any] = getattr(imagecodecs, f"{_NAMES[compression]}_{verb}")
    return function
