"""Turns windows into the encoded blocks of a TIFF."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tilejit.formats.geotiff.block_cutter import BlockCutter
from tilejit.formats.geotiff.constant_blocks import ConstantBlocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tilejit.formats.codecs import BlockCodec
    from tilejit.formats.codecs.entropy import Encoded
    from tilejit.formats.geotiff.blocks import BlockGrid
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
        self.blocks = blocks
        """Its blocks."""
        self._cutter = BlockCutter(blocks, codec.samples)
        self._constants = ConstantBlocks(codec, profile.nodata, blocks=blocks.count, sparse=sparse, auto=auto)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process begins without what this one knows of the blocks so far."""
        return self._how, self._made_of

    @property
    def coding(self) -> str:
        """What has encoded the blocks so far, and about how much that cost; empty where there was no choice."""
        return self._constants.effort.summary()

    def encode(self, window: Window, cells: NDArray[Any]) -> Iterator[tuple[int, Encoded]]:
        """Encode the blocks of a window.

        Args:
            window: Whole blocks.
            cells: (band, row, col), as they are stored.

        Yields:
            A block's number and the block as it is to be stored, which lives until the next; none for those that the
            file does without.
        """
        for place in self.blocks.places(window):
            data = self._constants.encode(self._cutter.cut(place, window, cells))
            if data is not None:
                yield self.blocks.number(place), data
