"""Windows out of whole blocks that GDAL decodes, each once, where tiles cut them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from tilejit.formats.cells import convert
from tilejit.formats.shared_blocks import SMALL_BLOCK, Held, SharedBlocks
from tilejit.formats.source import BandInfo, Decoding, Source
from tilejit.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


class ReadWindow(Protocol):
    """How GDAL is asked for the cells of a window, or for their masks."""

    def __call__(self, bands: tuple[int, ...], window: Window, out: NDArray[Any], *, masks: bool) -> None:
        """Reads so many bands into a (band, row, col) array."""


def decoding_of(source: Source, thread_bytes: int, *, together: bool) -> Decoding | None:
    """Returns what it takes to share blocks, or None where GDAL's own cache has to do.

    Args:
        source: What is read; its blocks are known.
        thread_bytes: Bytes that GDAL takes to decode a block.
        together: Whether a block holds the pixels of all bands.
    """
    count = len(source.bands) if together else 1
    size = prod(source.block) * count * (source.bands[0].dtype.itemsize + _are_masked(source.bands))
    if size < SMALL_BLOCK or len({band.dtype for band in source.bands}) > 1:
        return None
    return Decoding(source.block, size, thread_bytes, is_apart=not together, by_rows=False)


def _are_masked(bands: tuple[BandInfo, ...]) -> bool:
    return any(band.has_mask for band in bands)


@dataclass(frozen=True, slots=True)
class BlockReader:
    """Reads windows out of whole blocks, which threads share; one of them decodes cells and masks at once."""

    bands: tuple[BandInfo, ...]
    block: tuple[int, int]
    raster: Window
    is_apart: bool  # whether each band has blocks of its own
    shared: SharedBlocks
    decode: ReadWindow

    @classmethod
    def of(cls, source: Source, decoding: Decoding, blocks: int, decode: ReadWindow) -> BlockReader:
        """Makes it, with room for so many blocks."""
        shared = SharedBlocks()
        shared.resize(blocks)
        return cls(source.bands, source.block, Window(0, 0, *source.grid.shape), decoding.is_apart, shared, decode)

    def read(self, bands: tuple[int, ...], window: Window, out: NDArray[Any], *, masks: bool) -> None:
        """Reads cells, or their masks, into a (band, row, col) array."""
        every = tuple(range(1, len(self.bands) + 1))
        for whole in self._blocks(window):
            part = window.intersection(whole)
            here, there = part.slices(whole), part.slices(window)
            for i, band in enumerate(bands):
                together = (band,) if self.is_apart else every
                with self.shared.hold((together, whole)) as held:
                    decoded = self._decoded(held, together, whole)[masks]
                    convert(decoded[(together.index(band), *here)], out[(i, *there)])

    def _blocks(self, window: Window) -> Iterator[Window]:
        """Yields the blocks that a window lies in, as far as they lie in the raster."""
        height, width = self.block
        for row in range(window.row_off // height * height, window.row_end, height):
            for col in range(window.col_off // width * width, window.col_end, width):
                yield Window(row, col, height, width).intersection(self.raster)

    def _decoded(self, held: Held, bands: tuple[int, ...], whole: Window) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Cells and masks of a block, one behind the other in its memory; without masks there are none."""
        dtype, shape, masked = self.bands[bands[0] - 1].dtype, (len(bands), *whole.shape), _are_masked(self.bands)
        size = prod(shape) * dtype.itemsize
        memory = held.room(size + prod(shape) * masked)
        cells, masks = memory[:size].view(dtype).reshape(shape), memory[size:].reshape(shape if masked else 0)
        if held.cells is None:
            self.decode(bands, whole, cells, masks=False)
            if masked:
                self.decode(bands, whole, masks, masks=True)
            self.shared.decoded(held, memory)
        return cells, masks
