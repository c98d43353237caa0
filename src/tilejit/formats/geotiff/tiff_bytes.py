"""The directories of TIFFs as bytes: read from one file, and written into another one behind its header."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each of TIFF's types."""
_LONG, _LONG8 = 4, 16
_SUBFILE, _OFFSETS, _COUNTS = 254, 324, 325
_REDUCED = 1  # what NewSubfileType says of an overview
_OVERVIEW = {256, 257, 258, 259, 262, 277, 284, 317, 320, 322, 323, 324, 325, 338, 339, 42113}
"""Tags that an overview has: size, coding, colours, blocks and nodata; where it lies the first directory says."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a tiled TIFF: its tags, and where its blocks lie."""

    is_big: bool  # whether it is a BigTIFF's
    order: Literal["little", "big"]  # the order of bytes
    tags: Mapping[int, tuple[int, int, bytes]]  # by number: type, how many values, and these
    offsets: NDArray[np.int64] = field(repr=False)  # the first byte of each block
    counts: NDArray[np.int64] = field(repr=False)  # the bytes of each block; 0 where there is none

    @property
    def _sign(self) -> str:
        return "<" if self.order == "little" else ">"

    @property
    def offset_type(self) -> np.dtype[Any]:
        """How offsets are stored."""
        return np.dtype(f"{self._sign}u{8 if self.is_big else 4}")

    @property
    def count_type(self) -> np.dtype[Any]:
        """How byte counts are stored."""
        return np.dtype(f"{self._sign}u4")

    def as_overview(self) -> Directory:
        """The directory of an overview, with no more tags than it needs."""
        tags = {number: tag for number, tag in self.tags.items() if number in _OVERVIEW}
        return replace(self, tags=tags | {_SUBFILE: (_LONG, 1, _REDUCED.to_bytes(4, self.order))})


def read_directory(path: Path) -> Directory:
    """Read the first directory of a tiled TIFF."""
    with path.open("rb") as file:
        head = file.read(16)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"

        def number(data: bytes) -> int:
            return int.from_bytes(data, order)

        is_big = number(head[2:4]) == 43
        word, length = (8, 8) if is_big else (4, 2)
        file.seek(number(head[8:16] if is_big else head[4:8]))
        entries = [file.read(4 + 2 * word) for _ in range(number(file.read(length)))]
        tags = {}
        for entry in entries:
            code, kind, count = number(entry[:2]), number(entry[2:4]), number(entry[4 : 4 + word])
            size, value = count * _SIZES[kind], entry[4 + word :]
            if size > word:
                file.seek(number(value))
                value = file.read(size)
            tags[code] = kind, count, value[:size]
    sign = "<" if order == "little" else ">"
    offsets, counts = (
        np.frombuffer(tags[code][2], f"{sign}u{_SIZES[tags[code][0]]}").astype(np.int64) for code in (_OFFSETS, _COUNTS)
    )
    return Directory(is_big, order, tags, offsets, counts)


def written_directories(directories: Sequence[Directory], ghost: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """The beginning of a TIFF: header, ghost area, and directories, each with what it points to behind it.

    Returns:
        The bytes, and where those go in them that say the offset and the byte count of each block.
    """
    first = directories[0]
    word, length = (8, 8) if first.is_big else (4, 2)
    out = bytearray(b"II" if first.order == "little" else b"MM")
    out += (
        (43).to_bytes(2, first.order) + b"".join(n.to_bytes(2, first.order) for n in (8, 0))
        if first.is_big
        else ((42).to_bytes(2, first.order))
    )
    link, places = len(out), []
    out += bytes(word) + ghost
    for directory in directories:
        out += bytes(-len(out) % word)
        out[link : link + word] = len(out).to_bytes(word, first.order)
        place, link = _append(out, directory, word, length)
        places.append(place)
    out += bytes(-len(out) % word)
    return bytes(out), places


def _append(out: bytearray, directory: Directory, word: int, length: int) -> tuple[tuple[int, int], int]:
    """Append a directory; returns where offsets and byte counts go, and the link to the next one."""
    order = directory.order
    tags = dict(directory.tags)
    for code, kind in ((_OFFSETS, _LONG8 if directory.is_big else _LONG), (_COUNTS, _LONG)):
        tags[code] = kind, len(directory.counts), bytes(len(directory.counts) * _SIZES[kind])
    begin = len(out)
    out += len(tags).to_bytes(length, order) + bytes(len(tags) * (4 + 2 * word) + word)
    found = {}
    for at, code in enumerate(sorted(tags)):
        kind, count, value = tags[code]
        entry = begin + length + at * (4 + 2 * word)
        place = entry + 4 + word
        out[entry:place] = code.to_bytes(2, order) + kind.to_bytes(2, order) + count.to_bytes(word, order)
        if len(value) > word:
            out += bytes(-len(out) % 8)
            out[place : place + word] = len(out).to_bytes(word, order)
            place = len(out)
            out += value
        else:
            out[place : place + len(value)] = value
        found[code] = place
    return (found[_OFFSETS], found[_COUNTS]), begin + length + len(tags) * (4 + 2 * word)
