"""How the blocks of a TIFF are coded: the entropy coders of imagecodecs and predictors of our own.

Here are the compiled functions that a codec calls, and what with: they are compiled before a run has buffers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilejit.formats.codecs.block_codec import loop

if TYPE_CHECKING:
    from tilejit.compiler.jit.machine_code import ArgumentType
    from tilejit.compiler.jit.native_function import Functions
    from tilejit.formats.codecs.block_codec import BlockCodec

_U8, _I64, _U64 = np.dtype(np.uint8), np.dtype(np.int64), np.dtype(np.uint64)
_BYTES, _ROWS, _INTEGER, _INTEGERS = (_U8, 1, "C"), (_U8, 2, "C"), (_I64, 0, ""), (_I64, 1, "C")
_LZW_TYPES = _BYTES, (_I64, 2, "C"), _INTEGERS, _INTEGERS, _INTEGERS, _ROWS


def decoders_of(codec: BlockCodec) -> Functions:
    """Returns what decoding calls."""
    cells = _cells(codec)
    lzw: Functions = [(loop("decode_blocks"), _LZW_TYPES)] if codec.compression == "LZW" else []
    if codec.predictor == 1:
        return lzw
    if codec.predictor == 2:
        return [*lzw, (loop("sum_rows"), (cells, _INTEGER))]
    if codec.samples == 1 and codec.dtype.itemsize == 4:
        return [*lzw, (loop("join_planes_4"), (_ROWS, (_U64, 1, "C"), cells))]
    return [*lzw, (loop("join_planes"), (_ROWS, _INTEGER, cells))]


def encoders_of(codec: BlockCodec) -> Functions:
    """Returns what encoding calls."""
    cells = _cells(codec)
    if codec.predictor == 2:
        return [(loop("difference_rows"), (cells, _INTEGER, cells))]
    return [(loop("split_planes"), (cells, _INTEGER, _BYTES, _ROWS))] if codec.predictor == 3 else []


def _cells(codec: BlockCodec) -> ArgumentType:
    return np.dtype(f"u{codec.dtype.itemsize}"), 2, "C"
