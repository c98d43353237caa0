"""Encoders that write one format, from the cheapest to the one that was asked for."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.formats.codecs.entropy import compress

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.codecs.entropy import Encoded

_ZSTD_TOP, _DEFLATE_TOP = 3, 6
"""Levels above these are asked for by those who want the smallest file: they get exactly what they ask for."""
_COSTS = {
    "ZSTD": {1: 1.4, 2: 1.7, 3: 2.3},
    "DEFLATE": {1: 5.0, 2: 6.0, 3: 6.3, 4: 6.8, 5: 7.5, 6: 8.3},
}
"""`Coder.cost` of the levels that others may stand in for."""
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Coder:
    """An encoder with its settings; threads may share it."""

    name: str
    """The library and its level, for reports."""
    encode: Callable[[NDArray[np.uint8]], Encoded]
    """Bytes to a block as it is stored."""
    cost: float
    """About how many nanoseconds a byte takes, of predicted float32."""


def coders_for(compression: str, level: int | None) -> tuple[Coder, ...]:
    """The encoders that may stand in for a level of a compression.

    MB/s on one core and size against the level asked for, over predicted float32 (slope; NDVI; hillshade):

    - ZSTD 1: 710, 720, 770. Level -1, which leaves literals uncoded: 1,200 (+0.2 %), 1,030 (+0.2 %), 1,170 (+5.1 %).
      Level 1 with a hash table of 4,096 places gains at most a tenth, which trying it costs.
    - DEFLATE 6 of libdeflate: 112, 133, 124. Level 3: 137 (+0.6 %), 188 (+1.0 %), 172 (+0.3 %). Level 1:
      180 (+0.8 %), 237 (+2.2 %), 220 (+0.7 %). ISA-L: 600 (+1.3 %), 700 (+3.3 %), 610 (+1.9 %); its levels 2 and 3 are
      slower and no smaller.

    Args:
        compression: One of `tilejit.formats.codecs.entropy.COMPRESSIONS`.
        level: What was asked for; None for the library's own.

    Returns:
        The cheapest first, the one asked for last.

    Example:
        >>> [coder.name for coder in coders_for("DEFLATE", 6)]
        ['ISA-L level 1', 'DEFLATE level 1', 'DEFLATE level 3', 'DEFLATE level 6']
    """
    cheaper: tuple[Coder, ...] = ()
    if compression == "ZSTD" and level is not None and 1 <= level <= _ZSTD_TOP:
        cheaper = (
            Coder("ZSTD level -1", _zstandard, 0.85),
            *(_library(compression, rung) for rung in (1,) if rung < level),
        )
    elif compression == "DEFLATE" and level is not None and 1 <= level <= _DEFLATE_TOP:
        cheaper = (
            Coder("ISA-L level 1", _isal, 1.6),
            *(_library(compression, rung) for rung in (1, 3) if rung < level),
        )
    return *cheaper, _library(compression, level)


def _library(compression: str, level: int | None) -> Coder:
    """Returns imagecodecs' coder.

    A buffer of ours for its result saves 2 % of ZSTD 1, and nothing of DEFLATE and LZW: fresh bytes are as good.
    """
    name = compression if level is None else f"{compression} level {level}"
    cost = _COSTS.get(compression, {}).get(level or 0, 0)
    return Coder(name, functools.partial(compress, compression, level=level), cost)


def _isal(data: NDArray[np.uint8]) -> bytes:
    from isal import isal_zlib

    return isal_zlib.compress(data, level=1)


def _zstandard(data: NDArray[np.uint8]) -> bytes:
    import zstandard

    # A compressor is one thread's, and keeps a megabyte of tables from block to block.
    compressor: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=-1)
    return compressor.compress(data.data)
