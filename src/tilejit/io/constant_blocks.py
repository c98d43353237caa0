"""Blocks that hold one value are encoded once, or left out of a sparse file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.codecs import Effort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.codecs import BlockCodec
    from tilejit.codecs.entropy import Encoded


class ConstantBlocks:
    """A codec that knows blocks of one value when it sees them; threads may share it."""

    def __init__(self, codec: BlockCodec, nodata: float | None, *, blocks: int, sparse: bool) -> None:
        self._codec = codec
        self.effort = Effort(codec.compression, codec.level, blocks)
        """What chooses the coder of all other blocks."""
        native = codec.dtype.newbyteorder("=")
        self._left_out = np.asarray(0 if nodata is None else nodata, native)
        """What readers take the cells of a missing block for."""
        self._sparse = sparse
        self._last: tuple[tuple[int, ...], bytes, bytes] | None = None
        """The shape and cell of the last constant block, and what it is stored as."""

    def encode(self, block: NDArray[Any]) -> Encoded | None:
        """Encode a block.

        Args:
            block: (row, col, sample), C-contiguous.

        Returns:
            The block as it is to be stored; None where the file does without it.
        """
        cell = constant_of(block)
        if cell is None:
            return self._codec.encode(block, self.effort)
        if self._sparse and self._is_left_out(block[0, 0]):
            return None
        last = self._last
        if last is not None and last[:2] == (block.shape, cell):
            return last[2]
        # A copy: what is stored without compression is the caller's own memory.
        encoded = bytes(self._codec.encode(block))
        self._last = block.shape, cell, encoded
        return encoded

    def _is_left_out(self, cell: NDArray[Any]) -> bool:
        """Whether a cell reads as itself where there is no block; minus zero does not."""
        same_bits = cell.tobytes() == np.full_like(cell, self._left_out).tobytes()
        both_nan = cell.dtype.kind == "f" and bool(np.isnan(cell).all()) and bool(np.isnan(self._left_out))
        return same_bits or both_nan


def constant_of(block: NDArray[Any]) -> bytes | None:
    r"""The bytes of the pixel that all pixels of a block are; None where they differ.

    The corners and the middle tell most blocks apart without a look at the rest.

    Args:
        block: (row, col, sample), C-contiguous.

    Returns:
        The first pixel's bytes, or None.

    Example:
        >>> constant_of(np.full((2, 2, 1), 7, np.uint8))
        b'\x07'
    """
    bits = block.view(f"=u{block.itemsize}")
    rows, cols = bits.shape[0] - 1, bits.shape[1] - 1
    first = bits[0, 0]
    for row, col in ((rows, cols), (0, cols), (rows, 0), (rows // 2, cols // 2)):
        if (bits[row, col] != first).any():
            return None
    return first.tobytes() if bool((bits == first).all()) else None
