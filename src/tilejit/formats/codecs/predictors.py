"""TIFF's predictors 2 and 3 as loops over unsigned cells; `codecs.compiled` compiles this file with Numba.

A row of a block is ``cols * samples`` cells. Predictor 2 stores each cell as its difference from the same sample of the
pixel before it. Predictor 3 sorts a row's bytes into planes, most significant first whatever the file's byte order, and
stores each byte as its difference from the byte ``samples`` before it, across the planes' seams.

Speeds are of one core over blocks of 512 x 512 that are in its cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPILED = ("sum_rows", "difference_rows", "join_planes", "join_planes_4", "split_planes")
"""The functions that are compiled."""

_LANES = np.uint64(0x00FF00FF00FF00FF)
_BYTE = np.uint64(0xFF)
_LOW, _HIGH = np.uint64(0xFFFF), np.uint64(0xFFFF0000)


def sum_rows(cells: NDArray[Any], samples: int) -> None:
    """Undo predictor 2 in place.

    A plain running sum, at 4,000 Mpx/s for 8 to 64 bits; four rows at once came to 5,800, which is nothing beside the
    entropy coder's few hundred.

    Args:
        cells: (row, col * sample), unsigned.
        samples: Samples of a pixel.
    """
    for y in range(cells.shape[0]):
        if samples == 1:
            total = cells[y, 0]
            for x in range(1, cells.shape[1]):
                total += cells[y, x]
                cells[y, x] = total
        else:
            before, row = cells[y], cells[y, samples:]
            for x in range(len(row)):
                row[x] += before[x]


def difference_rows(cells: NDArray[Any], samples: int, out: NDArray[Any]) -> None:
    """Apply predictor 2.

    Args:
        cells: (row, col * sample), unsigned.
        samples: Samples of a pixel.
        out: As ``cells``, and apart from it.
    """
    for y in range(cells.shape[0]):
        for x in range(samples):
            out[y, x] = cells[y, x]
        # Slices, because Numba looks at every index that may be negative, and then nothing is vectorised.
        before, row, to = cells[y], cells[y, samples:], out[y, samples:]
        for x in range(len(row)):
            to[x] = row[x] - before[x]


def join_planes(coded: NDArray[np.uint8], samples: int, out: NDArray[Any]) -> None:
    """Undo predictor 3.

    Args:
        coded: (row, byte); it is summed in place.
        samples: Samples of a pixel.
        out: (row, col * sample), unsigned.
    """
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
    lanes of one number, and four quarters of a row beside each other: 2,650 Mpx/s against 1,120.

    Args:
        coded: (row, byte).
        lanes: (col,), for its own use.
        out: (row, col).
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
    """Apply predictor 3; a plane at a time vectorises: 6,500 Mpx/s of float32, against 1,500 cell by cell.

    Args:
        cells: (row, col * sample), unsigned.
        samples: Samples of a pixel.
        planes: (byte,), for its own use.
        out: (row, byte).
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
