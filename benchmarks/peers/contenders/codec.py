"""The codec's own limit: the core seconds that its library alone takes to decode the inputs and encode the results.

Nothing else is in the clock: no files, no predictors, no windows. All cores work at once, so that they share the
memory's bandwidth as they do in a run; what is added up is the time of each call on its own core.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import tifffile
import zstandard

from peers.task import Task, cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFLATE = 8
LOCAL = threading.local()
"""The library's contexts of a thread."""


class Codec:
    """One file's codec: zstandard, or libdeflate, which GDAL takes too."""

    def __init__(self, page: tifffile.TiffPage, level: int) -> None:
        self.size = page.tilewidth * page.tilelength * page.dtype.itemsize
        self.decode: Callable[[bytes], bytes] = self._unzip if page.compression == DEFLATE else self._unpack
        self.encode: Callable[[bytes], bytes] = (
            partial(imagecodecs.deflate_encode, level=level)
            if page.compression == DEFLATE
            else zstandard.ZstdCompressor(level=level).compress
        )

    def _unzip(self, data: bytes) -> bytes:
        return imagecodecs.deflate_decode(data, out=self.size)

    def _unpack(self, data: bytes) -> bytes:
        if not hasattr(LOCAL, "unpacker"):
            LOCAL.unpacker = zstandard.ZstdDecompressor()
        return LOCAL.unpacker.decompress(data, max_output_size=self.size)


def clocked(call: Callable[[bytes], bytes], data: bytes) -> tuple[bytes, float]:
    """The result of a call, and its seconds of this thread's core."""
    start = time.thread_time()
    result = call(data)
    return result, time.thread_time() - start


def seconds_of(path: str, level: int, share: int, *, is_input: bool) -> tuple[float, float]:
    """Seconds of decoding and of encoding every n-th block of a file: an input is decoded, a result is encoded."""
    spent = [0.0, 0.0]
    with tifffile.TiffFile(path) as tiff, Path(path).open("rb") as file:
        page = tiff.pages.first
        codec = Codec(page, level)
        for offset, count in islice(stored(page), share, None, cores()):
            file.seek(offset)
            plain, decoding = clocked(codec.decode, file.read(count))
            if is_input:
                spent[0] += decoding
            else:
                spent[1] += clocked(codec.encode, plain)[1]
    return spent[0], spent[1]


def stored(page: tifffile.TiffPage) -> Iterator[tuple[int, int]]:
    """Place and bytes of each block that the file holds."""
    return ((o, n) for o, n in zip(page.dataoffsets, page.databytecounts, strict=True) if n)


def main() -> None:
    """All blocks, and the figures as the last line."""
    task = Task.from_arguments()
    level = int(task.creation.get("ZSTD_LEVEL") or task.creation["ZLEVEL"])
    spent = [0.0, 0.0]
    with ThreadPoolExecutor(cores()) as pool:
        for paths, is_input in ((task.inputs, True), (task.finished, False)):
            for path in paths:
                parts = pool.map(partial(seconds_of, path, level, is_input=is_input), range(cores()))
                spent = [a + b for a, b in zip(spent, map(sum, zip(*parts, strict=True)), strict=True)]
    figures = {"decode": spent[0], "encode": spent[1], "cpu": sum(spent), "wall": sum(spent) / cores()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
