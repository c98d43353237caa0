"""Blocks that hold one value, which are decoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RATIO = 128
"""A block of one value takes less than this part of its bytes with any codec (LZW 0.6 %, DEFLATE 0.1 %)."""
_MOST_KNOWN = 64
"""Shapes and values that are remembered of one file: few hold more that come again."""


class KnownBlocks:
    """What blocks of one value were stored as: those that are stored alike need no decoding; threads may share it."""

    def __init__(self, block_bytes: int) -> None:
        self._most = block_bytes // _RATIO
        self._known: dict[tuple[bytes, tuple[int, ...]], NDArray[Any]] = {}

    def get(self, stored: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[Any] | None:
        """The block of that shape that bytes are, as a constant; None where that is not known."""
        if stored.size > self._most or not self._known:
            return None
        pixel = self._known.get((stored.tobytes(), shape))
        return None if pixel is None else np.broadcast_to(pixel, shape)

    def learn(self, stored: NDArray[np.uint8], block: NDArray[Any]) -> None:
        """Remember what a block was stored as, if it holds one value."""
        if stored.size <= self._most and len(self._known) < _MOST_KNOWN and constant_of(block) is not None:
            self._known[stored.tobytes(), block.shape] = block[0, 0].copy()


def constant_of(block: NDArray[Any]) -> bytes | None:
    r"""The bytes of the pixel that all pixels of a block are; None where they differ.

    The corners and the middle tell most blocks apart without a look at the rest.

    Args:
        block: (row, col, sample), C-contiguous, or with strides of 0 as a constant, which needs no look at all.

    Returns:
        The first pixel's bytes, or None.

    Example:
        >>> constant_of(np.full((2, 2, 1), 7, np.uint8))
        b'\x07'
    """
    bits = block.view(f"=u{block.itemsize}")
    if block.strides[:2] == (0, 0):
        return bytes(bits[0, 0].tobytes())
    rows, cols = bits.shape[0] - 1, bits.shape[1] - 1
    first = bits[0, 0]
    for row, col in ((rows, cols), (0, cols), (rows, 0), (rows // 2, cols // 2)):
        if (bits[row, col] != first).any():
            return None
    return first.tobytes() if bool((bits == first).all()) else None
