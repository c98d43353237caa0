"""What turns one block of a TIFF into cells and back."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import CodecError
from tilejit.formats.cells import scratch
from tilejit.formats.codecs.entropy import COMPRESSIONS, compress, decompress, decompress_run, loop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tilejit.formats.codecs.compression_level import MixedEncoder
    from tilejit.formats.codecs.entropy import Encoded

_local = threading.local()


@dataclass(frozen=True, slots=True)
class BlockCodec:
    """How blocks are coded; threads may share one.

    Raises:
        CodecError: There is no such compression or predictor for the type.

    Example:
        >>> codec = BlockCodec("DEFLATE", 2, np.dtype("<i2"))
        >>> block = np.arange(6, dtype=np.int16).reshape(2, 3, 1)
        >>> out = np.empty_like(block)
        >>> codec.decode(codec.encode(block), out)
        >>> out[1, :, 0].tolist()
        [3, 4, 5]
    """

    compression: str
    """``NONE``, ``DEFLATE``, ``ZSTD`` or ``LZW``."""
    predictor: int
    """1 for none, 2 for differences of cells, 3 for differences of the bytes of floats."""
    dtype: np.dtype[Any]
    """The type of a sample as stored, with its byte order."""
    samples: int = 1
    """Samples that are stored together in a pixel."""
    level: int | None = None
    """How hard to compress; None for the library's own."""

    def __post_init__(self) -> None:
        if self.compression not in COMPRESSIONS:
            raise CodecError(f"the compression is {self.compression}, and can be {', '.join(COMPRESSIONS)}")
        if self.dtype.kind not in "iuf" or self.dtype.itemsize > 8:
            raise CodecError(f"blocks hold integers and floats of up to 64 bits, not {self.dtype}")
        if self.predictor not in {1, 2, 3}:
            raise CodecError(f"predictors are 1, 2 and 3, not {self.predictor}")
        if self.predictor == 3 and (self.dtype.kind != "f" or self.dtype.itemsize < 4):
            raise CodecError(f"predictor 3 is for floats of 32 and 64 bits, not {self.dtype}: use 2")
        if self.predictor != 1 and self.compression == "NONE":
            raise CodecError(f"predictor {self.predictor} needs a compression, and it is NONE")

    def decode(self, data: Encoded, out: NDArray[Any]) -> None:
        """Decode a block.

        Args:
            data: The block as stored.
            out: (row, col, sample), C-contiguous and in the machine's byte order. Its cells are undefined if this
                raises.

        Raises:
            CodecError: The data is corrupt, or not as long as the block.
        """
        self._check(out)
        coded = self._coded(out)
        decompress(self.compression, data, coded)
        self._undo(coded, out)

    def decode_run(self, data: NDArray[np.uint8], spans: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Decode blocks of one shape, one under the other, into (row, col, sample) of all; see `decompress_run`.

        Raises:
            BlockError: A block is corrupt, or not as long as it should be; with its number among these.
        """
        self._check(out)
        coded = self._coded(out)
        decompress_run(self.compression, data, spans, coded.reshape(len(spans), -1))
        self._undo(coded, out)

    def _coded(self, out: NDArray[Any]) -> NDArray[np.uint8]:
        """Where the entropy decoder writes to."""
        return scratch(_local, "block", out.nbytes) if self.predictor == 3 else out.reshape(-1).view(np.uint8)

    def _undo(self, coded: NDArray[np.uint8], out: NDArray[Any]) -> None:
        """Undo the predictor, which goes by rows, wherever blocks end."""
        cells = self._rows(out)
        if self.predictor == 3:
            self._join(coded.reshape(len(cells), -1), cells)
            return
        if not self.dtype.isnative:
            cells.byteswap(inplace=True)
        if self.predictor == 2:
            loop("sum_rows")(cells, self.samples)

    def encode(self, block: NDArray[Any], mixed: MixedEncoder | None = None) -> Encoded:
        """Encode a block.

        Args:
            block: (row, col, sample), C-contiguous and in the machine's byte order.
            mixed: What chooses among the coders of the compression; the level itself without.

        Returns:
            The block as it is to be stored. Without compression this may be ``block``'s own memory.
        """
        data = self._predict(block)
        return compress(self.compression, data, self.level) if mixed is None else mixed.compress(data)

    def _predict(self, block: NDArray[Any]) -> NDArray[np.uint8]:
        """A block as the entropy coder gets it: this thread's until its next, or the block's own memory."""
        self._check(block)
        cells = self._rows(block)
        if self.predictor == 3:
            coded = scratch(_local, "block", block.nbytes)
            rows = coded.reshape(len(cells), -1)
            loop("split_planes")(cells, self.samples, scratch(_local, "row", rows.shape[1]), rows)
            return coded
        if self.predictor == 2:
            differences = scratch(_local, "block", block.nbytes).view(cells.dtype).reshape(cells.shape)
            loop("difference_rows")(cells, self.samples, differences)
            cells = differences
        if not self.dtype.isnative:
            cells = cells.byteswap()
        return cells.reshape(-1).view(np.uint8)

    def _join(self, coded: NDArray[np.uint8], cells: NDArray[Any]) -> None:
        if self.samples == 1 and cells.itemsize == 4:
            lanes = scratch(_local, "row", 8 * cells.shape[1]).view(np.uint64)
            loop("join_planes_4")(coded, lanes, cells)
        else:
            loop("join_planes")(coded, self.samples, cells)

    def _rows(self, block: NDArray[Any]) -> NDArray[Any]:
        """A block as (row, col * sample) of unsigned cells, in the same memory."""
        return block.reshape(len(block), -1).view(f"=u{self.dtype.itemsize}")

    def _check(self, block: NDArray[Any]) -> None:
        native = self.dtype.newbyteorder("=")
        right = block.ndim == 3 and block.shape[2] == self.samples and block.dtype == native
        if not right or not block.flags.c_contiguous or 0 in block.shape:
            raise CodecError(
                f"a block is C-contiguous (row, col, {self.samples}) of {native}, "
                f"not {block.shape} of {block.dtype} with strides {block.strides}"
            )
