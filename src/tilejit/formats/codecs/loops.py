"""TIFF's predictors and its LZW as loops; `tilejit.formats.codecs.block_codec.loop` compiles this file.

A row of a block is ``cols * samples`` cells. Predictor 2 stores each cell as its difference from the same sample of the
pixel before it. Predictor 3 sorts a row's bytes into planes, most significant first whatever the file's byte order, and
stores each byte as its difference from the byte ``samples`` before it, across the planes' boundaries.

Speeds are of one core over blocks of 512 x 512 that are in its cache. There imagecodecs' predictor 3 takes 5 (to
encode) and 10 times as long, and its predictor 2 of three bands of bytes 9 times to encode; of one band they are alike.

imagecodecs' LZW decoder follows a code that is in no table to memory that is not its own: one flipped bit of a constant
block ended the process. This one reads what libtiff reads, and refuses the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CORRUPT = -1  # what stands for an LZW code that is in no table
TABLE = 5120  # places in LZW's table: codes have 12 bits, and writers may be late with the one that clears it

_LANES = np.uint64(0x00FF00FF00FF00FF)
_BYTE = np.uint64(0xFF)
_CLEAR, _END, _FIRST = 256, 257, 258
_LOW, _HIGH = np.uint64(0xFFFF), np.uint64(0xFFFF0000)


def sum_rows(cells: NDArray[Any], samples: int) -> None:
    """Undo predictor 2 in place, in (row, col * sample) unsigned cells.

    A plain running sum, at 4,000 Mpx/s for 8 to 64 bits; four rows at once came to 5,800, which is nothing beside the
    entropy coder's few hundred.
    """
    for y in range(cells.shape[0]):
        if samples == 1:
            total = np.uint64(cells[y, 0])
            for x in range(1, cells.shape[1]):
                total += cells[y, x]
                cells[y, x] = total
        else:
            before, row = cells[y], cells[y, samples:]
            for x in range(len(row)):
                row[x] += before[x]


def difference_rows(cells: NDArray[Any], samples: int, out: NDArray[Any]) -> None:
    """Apply predictor 2 to (row, col * sample) unsigned cells; ``out`` is apart from them."""
    for y in range(cells.shape[0]):
        for x in range(samples):
            out[y, x] = cells[y, x]
        before, row, to = cells[y], cells[y, samples:], out[y, samples:]
        for x in range(len(row)):
            to[x] = row[x] - before[x]


def join_planes(coded: NDArray[np.uint8], samples: int, out: NDArray[Any]) -> None:
    """Undo predictor 3 of (row, byte), which is summed in place, into (row, col * sample) unsigned cells."""
    width, size = out.shape[1], coded.shape[1] // out.shape[1]
    byte = out.dtype.type(8)
    sum_rows(coded, samples)
    for y in range(out.shape[0]):
        row = out[y]
        for plane in range(size):
            part = coded[y, plane * width : (plane + 1) * width]
            for x in range(width):
                row[x] = (row[x] << byte) | part[x]


def join_planes_4(coded: NDArray[np.uint8], lanes: NDArray[np.uint64], out: NDArray[np.uint32]) -> None:
    """Undo predictor 3 of four-byte cells with one sample.

    A running sum waits for itself at each byte. Here the four bytes of a cell are summed at once, in the four 16-bit
    lanes of one number, and four quarters of a row beside each other: 2,650 Mpx/s against 1,120. ``lanes`` is for its
    own use.
    """
    width = out.shape[1]
    quarter = width // 4
    for y in range(out.shape[0]):
        # Where each plane begins: the sum of the planes before it.
        first = second = third = np.uint64(0)
        for x in range(width):
            first += coded[y, x]
            second += coded[y, width + x]
            third += coded[y, 2 * width + x]
            lanes[x] = (
                (np.uint64(coded[y, x]) << np.uint64(48))
                | (np.uint64(coded[y, width + x]) << np.uint64(32))
                | (np.uint64(coded[y, 2 * width + x]) << np.uint64(16))
                | np.uint64(coded[y, 3 * width + x])
            )
        first &= _BYTE
        second = (first + second) & _BYTE
        third = (second + third) & _BYTE
        begin = (first << np.uint64(32)) | (second << np.uint64(16)) | third
        a = b = c = d = np.uint64(0)
        for x in range(quarter):
            a = (a + lanes[x]) & _LANES
            lanes[x] = a
            b = (b + lanes[quarter + x]) & _LANES
            lanes[quarter + x] = b
            c = (c + lanes[2 * quarter + x]) & _LANES
            lanes[2 * quarter + x] = c
            d = (d + lanes[3 * quarter + x]) & _LANES
            lanes[3 * quarter + x] = d
        for k in range(4):
            for x in range(k * quarter, (k + 1) * quarter):
                total = (lanes[x] + begin) & _LANES
                total |= total >> np.uint64(8)
                out[y, x] = np.uint32(total & _LOW) | np.uint32((total >> np.uint64(16)) & _HIGH)
            begin = (begin + (a if k == 0 else b if k == 1 else c if k == 2 else d)) & _LANES
        for x in range(4 * quarter, width):
            begin = (begin + lanes[x]) & _LANES
            total = begin | (begin >> np.uint64(8))
            out[y, x] = np.uint32(total & _LOW) | np.uint32((total >> np.uint64(16)) & _HIGH)


def split_planes(cells: NDArray[Any], samples: int, planes: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Apply predictor 3: (row, col * sample) unsigned cells to (row, byte); ``planes`` is for its own use.

    A plane at a time vectorises: 6,500 Mpx/s of float32, against 1,500 cell by cell.
    """
    width, size = cells.shape[1], out.shape[1] // cells.shape[1]
    for y in range(cells.shape[0]):
        for plane in range(size):
            shift = cells.dtype.type(8 * (size - 1 - plane))
            part = planes[plane * width : (plane + 1) * width]
            for x in range(width):
                part[x] = cells[y, x] >> shift
        for x in range(samples):
            out[y, x] = planes[x]
        row, to = planes[samples:], out[y, samples:]
        for x in range(len(row)):
            to[x] = row[x] - planes[x]


def decode_lzw(  # noqa: C901, PLR0912 - one loop, for a call would cost as much as a code
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], out: NDArray[np.uint8]
) -> int:
    """Decode until the output is full or the data ends; returns how many bytes were written, or `CORRUPT`.

    The string of a code is the one before it and the byte after that, which lie in the output one after the other: the
    table (``starts`` and ``lengths``, for its own use) holds where, and no strings. The highest bits of a byte are a
    code's first; the lowest in files of before 1990.
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
    """Decode LZW blocks into (block, byte), with what `decode_lzw` returns of each in ``sizes``.

    ``spans`` holds the first byte of each in ``data``, and how many there are. A call for each of a kilobyte would take
    longer than its decoding.
    """
    for k in range(len(out)):
        begin = spans[k, 0]
        sizes[k] = decode_lzw(data[begin : begin + spans[k, 1]], starts, lengths, out[k])
