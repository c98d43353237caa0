"""What turns one block of a TIFF into cells and back: a predictor of our own, and an entropy coder.

Entropy coders are imagecodecs' bindings, which release the GIL, and an LZW decoder of our own.
"""

from __future__ import annotations

import functools
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit.native_function import Functions, NativeFunction
from tilejit.errors import CodecError
from tilejit.formats.cells import scratch
from tilejit.formats.codecs.loops import CORRUPT, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Spans = NDArray[np.int64]  # (block, 2): the first byte of each block as stored, and how many there are

Encoded = bytes | bytearray | memoryview | np.ndarray[tuple[int], np.dtype[np.uint8]]  # a block as it is stored

_NAMES = {"DEFLATE": "deflate", "LZW": "lzw", "ZSTD": "zstd"}
"""TIFF's DEFLATE is in zlib's container, which is what imagecodecs' ``deflate`` reads and writes, by libdeflate."""

COMPRESSIONS = ("NONE", *_NAMES)  # what can be coded
_PIECE, _ZSTD_PIECE = 1 << 18, 64
"""Bytes that are decoded, and ZSTD's that are given, at a time where a stream is longer than its block."""
_U8, _I64 = np.dtype(np.uint8), np.dtype(np.int64)
_BYTES, _ROWS, _INTEGER, _INTEGERS = (_U8, 1, "C"), (_U8, 2, "C"), (_I64, 0, ""), (_I64, 1, "C")
_LZW_TYPES = _BYTES, (_I64, 2, "C"), _INTEGERS, _INTEGERS, _INTEGERS, _ROWS  # of arguments of compiled functions
_LOOPS = Path(__file__).with_name("loops.py")
_local = threading.local()


def loop(name: str) -> NativeFunction:
    """A function of `tilejit.formats.codecs.loops` as machine code."""
    return NativeFunction.of_loops(_LOOPS, name)


class BlockError(CodecError):
    """One of several blocks is damaged."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number  # which of them, from 0


@dataclass(frozen=True, slots=True)
class BlockCodec:
    """How blocks are coded; threads may share one.

    Example:
        >>> codec = BlockCodec("DEFLATE", 2, np.dtype("<i2"))
        >>> block = np.arange(6, dtype=np.int16).reshape(2, 3, 1)
        >>> out = np.empty_like(block)
        >>> codec.decode(codec.encode(block), out)
        >>> out[1, :, 0].tolist()
        [3, 4, 5]
    """

    compression: str  # ``NONE``, ``DEFLATE``, ``ZSTD`` or ``LZW``
    predictor: int  # 1 for none, 2 for differences of cells, 3 for differences of the bytes of floats
    dtype: np.dtype[Any]  # the type of a sample as stored, with its byte order
    samples: int = 1  # samples that are stored together in a pixel
    level: int | None = None  # how hard to compress; None for the library's own

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

    @property
    def decoders(self) -> Functions:
        """The compiled functions that decoding calls, and what with."""
        cells = (np.dtype(f"u{self.dtype.itemsize}"), 2, "C")
        lzw: Functions = [(loop("decode_blocks"), _LZW_TYPES)] if self.compression == "LZW" else []
        if self.predictor == 1:
            return lzw
        if self.predictor == 2:
            return [*lzw, (loop("sum_rows"), (cells, _INTEGER))]
        if self.samples == 1 and self.dtype.itemsize == 4:
            return [*lzw, (loop("join_planes_4"), (_ROWS, (np.dtype(np.uint64), 1, "C"), cells))]
        return [*lzw, (loop("join_planes"), (_ROWS, _INTEGER, cells))]

    @property
    def encoders(self) -> Functions:
        """The compiled functions that encoding calls, and what with."""
        cells = (np.dtype(f"u{self.dtype.itemsize}"), 2, "C")
        if self.predictor == 2:
            return [(loop("difference_rows"), (cells, _INTEGER, cells))]
        return [(loop("split_planes"), (cells, _INTEGER, _BYTES, _ROWS))] if self.predictor == 3 else []

    def decode(self, data: Encoded, out: NDArray[Any]) -> None:
        """Decode a block into C-contiguous (row, col, sample) in the machine's byte order; undefined if this raises."""
        self._check(out)
        coded = self._coded(out)
        decompress(self.compression, data, coded)
        self._undo(coded, out)

    def decode_run(self, data: Bytes, spans: Spans, out: NDArray[Any]) -> None:
        """Decode blocks of one shape, one under the other, into (row, col, sample) of all; see `decompress_run`."""
        self._check(out)
        coded = self._coded(out)
        decompress_run(self.compression, data, spans, coded.reshape(len(spans), -1))
        self._undo(coded, out)

    def _coded(self, out: NDArray[Any]) -> Bytes:
        """Where the entropy decoder writes to."""
        return scratch(_local, "block", out.nbytes) if self.predictor == 3 else out.reshape(-1).view(np.uint8)

    def _undo(self, coded: Bytes, out: NDArray[Any]) -> None:
        """Undo the predictor, which goes by rows, wherever blocks end."""
        cells = self._rows(out)
        planes = coded.reshape(len(cells), -1)
        if self.predictor == 3 and self.samples == 1 and cells.itemsize == 4:
            loop("join_planes_4")(planes, scratch(_local, "row", 8 * cells.shape[1]).view(np.uint64), cells)
        elif self.predictor == 3:
            loop("join_planes")(planes, self.samples, cells)
        elif not self.dtype.isnative:
            cells.byteswap(inplace=True)
        if self.predictor == 2:
            loop("sum_rows")(cells, self.samples)

    def encode(self, block: NDArray[Any], coder: Callable[[Bytes], Encoded] | None = None) -> Encoded:
        """Encode a block, C-contiguous (row, col, sample) in the machine's byte order, by its level or by ``coder``.

        Without compression what is to be stored may be ``block``'s own memory.
        """
        data = self._predict(block)
        return compress(self.compression, data, self.level) if coder is None else coder(data)

    def _predict(self, block: NDArray[Any]) -> Bytes:
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


def decompress(compression: str, data: Encoded, out: Bytes) -> None:
    """Decode into an array that the result fills to the last byte.

    Never more is written than the array holds, whatever the data says of its own size. Data that goes on behind the end
    of the block is taken, as by libtiff, and rows beyond the block's, too: some writers store the last strip whole. But
    a stream of DEFLATE and ZSTD has to be whole, with its checksum where it has one: DEFLATE always does, ZSTD seldom,
    and LZW never, so that a flipped bit there may decode to other cells.
    """
    size = _DECODERS[compression](data, out)
    if size != out.size:
        raise CodecError(f"the {compression} data holds {size:,} bytes, and a block is {out.size:,}")


def decompress_run(compression: str, data: Bytes, spans: Spans, out: Bytes) -> None:
    """Decode blocks of one size into (block, byte), as `decompress` does each; ``spans`` says where they lie."""
    together = _RUN_DECODERS.get(compression)
    if together is not None and together(data, spans, out):
        return
    # What is wrong with a block is found where it is alone.
    for number, (begin, count) in enumerate(spans.tolist()):
        try:
            decompress(compression, data[begin : begin + count], out[number])
        except CodecError as error:
            raise BlockError(str(error), number) from error


def _inflate(data: Encoded, out: Bytes) -> int:
    try:
        return len(_function("DEFLATE", "decode")(data, out=out))
    except (RuntimeError, ValueError) as error:
        # libdeflate decodes all or nothing.
        if "INSUFFICIENT_SPACE" not in str(error):
            raise CodecError(f"corrupt DEFLATE data: {error}") from error
    try:
        return _take(_inflated(data), out)
    except zlib.error as error:
        raise CodecError(f"corrupt DEFLATE data: {error}") from error


def _inflated(data: Encoded) -> Iterator[bytes]:
    """What a stream holds, to its checksum."""
    stream, left = zlib.decompressobj(), bytes(data)
    while not stream.eof:
        part = stream.decompress(left, _PIECE)
        left = stream.unconsumed_tail
        if not part and not left and not stream.eof:
            raise CodecError("corrupt DEFLATE data: it ends within a block")
        yield part


def _decode_zstd(data: Encoded, out: Bytes) -> int:
    try:
        return len(_function("ZSTD", "decode")(data, out=out))
    except (RuntimeError, ValueError) as error:
        whole, cause = bytes(data), error
    import zstandard

    try:
        return _take(_frame(whole), out)
    except zstandard.ZstdError as error:
        raise CodecError(f"corrupt ZSTD data: {cause}") from error


def _frame(data: bytes) -> Iterator[bytes]:
    """What the first frame holds: ZSTD's own function takes nothing behind it, and no more than it has room for."""
    import zstandard

    stream = zstandard.ZstdDecompressor().decompressobj()
    # A few bytes at a time: four of them may be 128 KB of zeros.
    for begin in range(0, len(data), _ZSTD_PIECE):
        yield stream.decompress(data[begin : begin + _ZSTD_PIECE])
        if stream.eof:
            return
    raise CodecError("corrupt ZSTD data: it ends within a frame")


def _decode_zstd_run(data: Bytes, spans: Spans, out: Bytes) -> bool:
    """Decodes all blocks by one call; returns whether that went well.

    A kilobyte takes 4 microseconds so, and 31 by a call of its own, which makes a decoder each time (measured).
    """
    import zstandard

    decoder: zstandard.ZstdDecompressor | None = getattr(_local, "decoder", None)
    if decoder is None:
        decoder = _local.decoder = zstandard.ZstdDecompressor()
    frames = zstandard.BufferWithSegments(data.data, spans.astype(np.uint64).tobytes())
    sizes = np.full(len(out), out.shape[1], np.uint64).tobytes()
    try:
        decoded = decoder.multi_decompress_to_buffer(frames, decompressed_sizes=sizes, threads=1)
    except zstandard.ZstdError:
        return False
    parts: list[Any] = [decoded[number] for number in range(len(out))]
    _copy(b"".join(parts), out.reshape(-1))
    return True


def _decode_lzw(data: Encoded, out: Bytes) -> int:
    stored = np.frombuffer(data, np.uint8)
    size = int(_lzw_sizes(stored, np.array([[0, stored.size]]), out[np.newaxis])[0])
    if size == CORRUPT:
        raise CodecError("corrupt LZW data: a code is in no table")
    return size


def _lzw_sizes(data: Bytes, spans: Spans, out: Bytes) -> Spans:
    """Decodes blocks; returns how many bytes each gave."""
    table: Spans | None = getattr(_local, "table", None)
    if table is None:
        table = _local.table = np.empty((2, TABLE), np.int64)
    sizes = np.empty(len(spans), np.int64)
    loop("decode_blocks")(data, spans, table[0], table[1], sizes, out)
    return sizes


def _take(parts: Iterable[bytes], out: Bytes) -> int:
    """Keeps what there is room for, and goes to the end; returns how much that was."""
    done = 0
    for part in parts:
        done += _copy(part, out[done:])
    return done


def _copy(data: Encoded, out: Bytes) -> int:
    stored = np.frombuffer(data, np.uint8)
    size = min(stored.size, out.size)
    out[:size] = stored[:size]
    return size


def compress(compression: str, data: Bytes, level: int | None) -> Encoded:
    """Encode (byte,) at a level, None for the library's own; with NONE that is ``data`` itself."""
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


_DECODERS: dict[str, Callable[[Encoded, Bytes], int]] = {
    "NONE": _copy,
    "DEFLATE": _inflate,
    "LZW": _decode_lzw,
    "ZSTD": _decode_zstd,
}
"""What decodes; returns how many bytes it wrote."""
_RUN_DECODERS: dict[str, Callable[[Bytes, Spans, Bytes], bool]] = {
    "LZW": lambda data, spans, out: bool((_lzw_sizes(data, spans, out) == out.shape[1]).all()),
    "ZSTD": _decode_zstd_run,
}
"""What decodes several blocks by one call; whether that went well."""
