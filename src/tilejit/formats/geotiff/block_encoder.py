"""Turns windows into the encoded blocks of a TIFF."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import SinkError
from tilejit.formats.geotiff.block_cutter import BlockCutter
from tilejit.formats.geotiff.constant_blocks import ConstantBlocks
from tilejit.formats.sink import check_write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tilejit.formats.codecs import BlockCodec
    from tilejit.formats.codecs.entropy import Encoded
    from tilejit.formats.geotiff.block_grid import BlockGrid
    from tilejit.formats.sink import OutputProfile
    from tilejit.window import Window


class BlockEncoder:
    """What a thread, or a worker in another process, needs to encode its own blocks; threads may share it.

    Args:
        profile: What the file will be.
        blocks: Its blocks.
        codec: What encodes them.
        sparse: Whether blocks of nothing but nodata are left out.
        auto: Whether cheaper encoders may stand in for the codec's level.
    """

    def __init__(
        self, profile: OutputProfile, blocks: BlockGrid, codec: BlockCodec, *, sparse: bool, auto: bool
    ) -> None:
        self.profile = profile
        """What the file will be."""
        self._made_of = profile, blocks, codec
        self._how = functools.partial(BlockEncoder, sparse=sparse, auto=auto)
        self._blocks = blocks
        self._cutter = BlockCutter(blocks, codec.samples)
        self._constants = ConstantBlocks(codec, profile.nodata, blocks=blocks.count, sparse=sparse, auto=auto)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process begins without what this one knows of the blocks so far."""
        return self._how, self._made_of

    @property
    def coding(self) -> str:
        """What has encoded the blocks so far, and about how much that cost; empty where there was no choice."""
        return self._constants.effort.summary()

    def check(self, window: Window, array: NDArray[Any]) -> None:
        """Refuse a write that the file cannot take.

        Raises:
            SinkError: It reaches outside, cuts a block, or has another shape or type.
        """
        profile = self.profile
        check_write(
            profile.path, grid=profile.grid, count=profile.count, dtype=profile.dtype, window=window, array=array
        )
        if not self._blocks.holds_whole(window):
            rows, cols = self._blocks.block
            raise SinkError(f"{profile.path}: {window} cuts blocks of {rows} x {cols}: write whole ones")

    def encode(self, window: Window, array: NDArray[Any]) -> Iterator[tuple[int, Encoded]]:
        """Encode the blocks of a window.

        Args:
            window: Whole blocks.
            array: (band, row, col), in the file's type.

        Yields:
            A block's number and the block as it is to be stored, which lives until the next; none for those that the
            file does without.
        """
        cells = array.view(np.uint8) if array.dtype == np.bool_ else array
        for place in self._blocks.places(window):
            data = self._constants.encode(self._cutter.cut(place, window, cells))
            if data is not None:
                yield self._blocks.number(place), data
