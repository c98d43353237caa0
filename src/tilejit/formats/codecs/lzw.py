"""TIFF's LZW as a loop; `tilejit.formats.codecs.compiled` compiles this file with Numba.

imagecodecs' decoder follows a code that is in no table to memory that is not its own: one flipped bit of a constant
block ended the process. This one reads what libtiff reads, and refuses the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPILED = ("decode_lzw", "decode_blocks")
"""The functions that are compiled."""
CORRUPT = -1
"""What stands for a code that is in no table."""
TABLE = 5120
"""Places in the table. Codes have 12 bits at the most; libtiff lets writers be late with the code that clears it."""

_CLEAR, _END, _FIRST = 256, 257, 258


def decode_lzw(  # noqa: C901, PLR0912 - one loop, for a call would cost as much as a code
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], out: NDArray[np.uint8]
) -> int:
    """Decode until the output is full or the data ends; what follows in the data is not looked at.

    The string of a code is the one before it and the byte after that, which lie in the output one after the other: the
    table holds where, and no strings.

    Args:
        data: (byte,). The highest bits of a byte are a code's first; the lowest in files of before 1990.
        starts: (`TABLE`,), for its own use: where in the output a code's string begins.
        lengths: (`TABLE`,), for its own use.
        out: (byte,).

    Returns:
        How many bytes were written; `CORRUPT` where a code is in no table.
    """
    size, room = len(data), len(out)
    # As libtiff tells them: the first code, 256 in nine bits, is 00 x1 with the lowest bits first, or 80.
    old = size >= 2 and data[0] == 0 and (data[1] & 1) == 1
    early = 0 if old else 1
    held, bits, at, done = np.uint64(0), 0, 0, 0
    width, limit = 9, 512 - early
    entries = 0  # before the first code, which makes the table
    begin, length = 0, 0  # of the string before; no bytes where there is none
    while done < room:
        while bits < width and at < size:
            if old:
                held |= np.uint64(data[at]) << np.uint64(bits)
            else:
                held = (held << np.uint64(8)) | np.uint64(data[at])
            bits += 8
            at += 1
        if bits < width:
            break
        bits -= width
        code = int((held if old else held >> np.uint64(bits)) & np.uint64((1 << width) - 1))
        if old:
            held >>= np.uint64(width)
        if code == _END:
            break
        if code == _CLEAR:
            width, entries, limit, length = 9, _FIRST, 512 - early, 0
            continue
        if length:
            # The string before, and the byte that comes next.
            starts[entries], lengths[entries] = begin, length + 1
            entries += 1
            if entries == limit and width < 12:
                width += 1
                limit = (1 << width) - early
        if code >= entries or entries == TABLE:
            return CORRUPT
        source, begin, length = starts[code], done, lengths[code]
        if code < _CLEAR:
            out[done], length = code, 1
            done += 1
            continue
        end = min(done + length, room)
        while done < end:  # byte by byte, for the string may reach into what is being written
            out[done] = out[source]
            done += 1
            source += 1
    return done


def decode_blocks(  # noqa: PLR0917 - no keywords in machine code
    data: NDArray[np.uint8],
    spans: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    sizes: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Decode blocks of one size; a call for each of a kilobyte would take longer than its decoding.

    Args:
        data: (byte,), what holds the blocks.
        spans: (block, 2): the first byte of each, and how many there are.
        starts: (`TABLE`,), for its own use.
        lengths: (`TABLE`,), for its own use.
        sizes: (block,), what `decode_lzw` returns of each.
        out: (block, byte).
    """
    for k in range(len(out)):
        begin = spans[k, 0]
        sizes[k] = decode_lzw(data[begin : begin + spans[k, 1]], starts, lengths, out[k])
