"""A compression level that nobody gave: as cheap an encoder as keeps the file within a few percent of its size."""

from __future__ import annotations

import functools
import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilejit.formats.codecs.block_codec import Encoded, compress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


_COSTS = {"ZSTD": {1: 1.4, 2: 1.7, 3: 2.3}, "DEFLATE": {1: 5.0, 2: 6.0, 3: 6.3, 4: 6.8, 5: 7.5, 6: 8.3}}
"""`Coder.cost` of the levels that others may stand in for: those above are asked for by who wants the smallest file."""
_LIMIT = 1.015
"""How much larger the file may become than the coder that was asked for would make it; half a percent below the 2 %
that are promised, because that size is an estimate for the blocks that it did not encode."""
_CEILING = 1.0175  # a block that was taken for another kind, and lifts the total above this, is encoded again
_DEAREST = 1.06  # a coder that writes more than that times what was asked for is left alone: few blocks would fit
_UNLIKE = 0.15
"""A block is of another kind than a sample if the bytes left, or those taken away, differ by this share and"""
_SLACK = 0.005  # this much more of the block
_SAMPLES = 16  # samples that are remembered; a file is seldom of more kinds of blocks
_FEW = 16  # a file of fewer blocks is encoded as asked: by the time that it is known, it is written
_PAUSES = (53, 61, 67)  # blocks between samples; primes, for samples should not all come from one column of blocks
_SAMPLE_BYTES = {"DEFLATE": 1 << 18}
"""How much of a block is tried: a quarter of 512 x 512 float32 tells ISA-L's size against DEFLATE 6 within 0.2 %, and
DEFLATE 6 takes five blocks' time for one. ZSTD's tables go by the size of what is encoded, so it needs the whole."""
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Coder:
    """An encoder with its settings; threads may share it."""

    name: str  # the library and its level, for reports
    encode: Callable[[NDArray[np.uint8]], Encoded]  # bytes to a block as it is stored
    cost: float  # about how many nanoseconds a byte takes, of predicted float32


def coders_for(compression: str, level: int | None) -> tuple[Coder, ...]:
    """The encoders that may stand in for a level of a compression: the cheapest first, the one asked for last.

    MB/s on one core and size against the level asked for, over predicted float32 (slope; NDVI; hillshade):

    - ZSTD 1: 710, 720, 770. Level -1, which leaves literals uncoded: 1,200 (+0.2 %), 1,030 (+0.2 %), 1,170 (+5.1 %).
      Level 1 with a hash table of 4,096 places gains at most a tenth, which trying it costs.
    - DEFLATE 6 of libdeflate: 112, 133, 124. Level 3: 137 (+0.6 %), 188 (+1.0 %), 172 (+0.3 %). Level 1:
      180 (+0.8 %), 237 (+2.2 %), 220 (+0.7 %). ISA-L: 600 (+1.3 %), 700 (+3.3 %), 610 (+1.9 %); its levels 2 and 3 are
      slower and no smaller.

    Example:
        >>> [coder.name for coder in coders_for("DEFLATE", 6)]
        ['ISA-L level 1', 'DEFLATE level 1', 'DEFLATE level 3', 'DEFLATE level 6']
    """
    cheaper: tuple[Coder, ...] = ()
    if level in _COSTS.get(compression, ()):
        first = (
            Coder("ZSTD level -1", _zstandard, 0.85) if compression == "ZSTD" else Coder("ISA-L level 1", _isal, 1.6)
        )
        rungs = (1,) if compression == "ZSTD" else (1, 3)
        cheaper = first, *(_library(compression, rung) for rung in rungs if level is not None and rung < level)
    return *cheaper, _library(compression, level)


def _library(compression: str, level: int | None) -> Coder:
    """Imagecodecs' coder; a buffer of ours for its result saves 2 % of ZSTD 1, and nothing of DEFLATE and LZW."""
    name = compression if level is None else f"{compression} level {level}"
    cost = _COSTS.get(compression, {}).get(level or 0, 0)
    return Coder(name, functools.partial(compress, compression, level=level), cost)


def _isal(data: NDArray[np.uint8]) -> bytes:
    from isal import isal_zlib

    return isal_zlib.compress(data, level=1)


def _zstandard(data: NDArray[np.uint8]) -> bytes:
    import zstandard

    # A compressor is one thread's, and keeps a megabyte of tables from block to block.
    compressor: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=-1)
    return compressor.compress(data.data)


@dataclass(frozen=True, slots=True, eq=False)
class SampleBlock:
    """A block that was tried; coders have numbers, and the last is the one that was asked for.

    Example:
        >>> sample = SampleBlock({0: 0.52, 1: 0.505, 2: 0.5}, (0.2, 0.7, 1.0))
        >>> sample.ratio(0)
        1.04
        >>> sample.pair(1.015)
        (0, 1)
    """

    left: Mapping[int, float]  # bytes left of each byte by each coder that was tried; the one asked for was
    costs: tuple[float, ...]  # what a byte costs each coder

    @property
    def asked(self) -> float:
        """Bytes left of each byte by the coder that was asked for."""
        return self.left[len(self.costs) - 1]

    def ratio(self, number: int) -> float:
        """How much larger a coder writes a block than the one asked for would."""
        return self.left[number] / self.asked

    def pair(self, limit: float) -> tuple[int, int]:
        """The two coders that keep the limit in the least time: the first while there is room, the second else."""
        ratios = {number: self.ratio(number) for number in self.left}
        within = [number for number, ratio in ratios.items() if ratio <= limit]
        over = [number for number, ratio in ratios.items() if limit < ratio <= _DEAREST]
        pairs = [(number, number) for number in within] + [(first, second) for first in over for second in within]
        return min(pairs, key=lambda pair: self._cost(pair, ratios, limit))

    def _cost(self, pair: tuple[int, int], ratios: Mapping[int, float], limit: float) -> float:
        first, second = pair
        if first == second:
            return self.costs[first]
        share = (limit - ratios[second]) / (ratios[first] - ratios[second])
        return share * self.costs[first] + (1 - share) * self.costs[second]

    def is_like(self, number: int, left: float, tolerance: float = _UNLIKE) -> bool:
        """Whether a coder left about as much of a block as of this one, or took about as much away."""
        bound = tolerance * min(left, abs(1 - left)) + _SLACK
        return number in self.left and abs(self.left[number] - left) <= bound


def merged(samples: Sequence[SampleBlock]) -> SampleBlock:
    """Samples as one, with the worst that each coder did against the one asked for.

    The mean would be passed half of the time, and more: those that a coder is used on are those it seemed good at.
    """
    asked = sum(sample.asked for sample in samples) / len(samples)
    numbers = {number for sample in samples for number in sample.left}
    ratios = {n: max(sample.ratio(n) for sample in samples if n in sample.left) for n in numbers}
    return SampleBlock({n: asked * ratio for n, ratio in ratios.items()}, samples[0].costs)


class MixedEncoder:
    """Encodes the blocks of one file, by a cheaper coder where that costs few bytes; threads may share it.

    Which coder is worth its time depends on the data, so it is measured: now and then a block is tried with several.
    The samples that a block is like, by the share of its bytes that are left, say what the coder asked for would have
    made of it. What is stored stays within 1.5 % of the total of that, by mixing two coders: the cheaper one while
    there is room for it. A block that is like no sample becomes one. Decisions of several threads may cross; the totals
    do not.

    Unless ``auto`` the level is obeyed bit for bit, and so it is in a file of few ``blocks``.

    Example:
        >>> import numpy as np
        >>> len(MixedEncoder("DEFLATE", 6).compress(np.zeros(4096, np.uint8))) < 100
        True
    """

    def __init__(self, compression: str, level: int | None, blocks: int = _FEW, *, auto: bool = True) -> None:
        coders = coders_for(compression, level)
        self._coders = coders if auto and blocks >= _FEW else coders[-1:]
        self._last = len(self._coders) - 1  # the number of the coder that was asked for
        self._costs = tuple(coder.cost for coder in self._coders)
        self._sample_bytes = _SAMPLE_BYTES.get(compression)
        self._lock = threading.Lock()
        self._samples: deque[SampleBlock] = deque(maxlen=_SAMPLES)
        self._like: SampleBlock | None = None  # what the next block is taken to be like
        self._begun = self._next_sample = 0
        self._stored = self._asked = 0.0  # bytes that were stored, and about how many the coder asked for would have
        self._blocks: Counter[int] = Counter()  # how many blocks each coder has encoded

    def compress(self, data: NDArray[np.uint8]) -> Encoded:
        """Encode a block of one byte or more as it is to be stored."""
        if self._last == 0:
            return self._coders[0].encode(data)
        number, encoded, like = self._encode(data)
        with self._lock:
            self._blocks[number] += 1
            self._stored += len(encoded)
            self._asked += len(encoded) / like.ratio(number)
        return encoded

    def summary(self) -> str:
        """Who encoded how many blocks, and about how much that cost; empty where there was no choice.

        Example:
            >>> MixedEncoder("LZW", None).summary()
            ''
        """
        with self._lock:
            blocks, stored, asked = sorted(self._blocks.items()), self._stored, self._asked
        total = sum(count for _, count in blocks)
        if not total:
            return ""
        parts = [f"{100 * count / total:.0f} % by {self._coders[number].name}" for number, count in blocks]
        return f"{', '.join(parts)}: about {100 * (stored / asked - 1):+.1f} % in size"

    def _encode(self, data: NDArray[np.uint8]) -> tuple[int, Encoded, SampleBlock]:
        """Encode a block; returns the coder, the block, and the sample that it is like."""
        if self._is_due():
            part = self._middle(data)
            if part.size == data.size:
                return self._learn(data, self._last, self._coders[-1].encode(data))
            self._remember(self._try(part, {}))
        number = self._choose(data.size)
        encoded = self._coders[number].encode(data)
        like = self._most_like(number, len(encoded) / data.size)
        if like is None:
            return self._learn(data, number, encoded)
        if not self._fits(like, number, data.size, _CEILING):
            number, encoded = self._last, self._coders[-1].encode(data)
        return number, encoded, like

    def _is_due(self) -> bool:
        """Whether the next block is tried: at first soon, then rarely."""
        with self._lock:
            self._begun += 1
            if self._begun <= self._next_sample:
                return False
            self._next_sample = self._begun + min(self._begun, _PAUSES[self._begun % len(_PAUSES)])
            return True

    def _middle(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of a block that is tried."""
        size = min(data.size, self._sample_bytes or data.size)
        begin = (data.size - size) // 2
        return data[begin : begin + size]

    def _try(self, data: NDArray[np.uint8], known: dict[int, float]) -> SampleBlock:
        """Encode as asked, and by cheaper coders until one is nearly as small."""
        left = dict(known)
        for number in (self._last, *range(self._last)):
            if number not in left:
                left[number] = len(self._coders[number].encode(data)) / data.size
            if number != self._last and left[number] <= _LIMIT * left[self._last]:
                break
        return SampleBlock(left, self._costs)

    def _learn(self, data: NDArray[np.uint8], number: int, encoded: Encoded) -> tuple[int, Encoded, SampleBlock]:
        """Make a sample of a block that a coder has encoded; it is stored as asked if that coder wrote too much."""
        known, asked = {number: len(encoded) / data.size}, encoded
        if number != self._last:
            asked = self._coders[-1].encode(data)
            known[self._last] = len(asked) / data.size
        sample = self._try(data, known)
        fits = self._fits(sample, number, data.size)
        self._remember(sample)
        return (number, encoded, sample) if fits else (self._last, asked, sample)

    def _remember(self, sample: SampleBlock) -> None:
        with self._lock:
            self._samples.append(sample)
            self._like = self._near(self._last, sample.asked)

    def _choose(self, size: int) -> int:
        """The cheaper coder of the pair that suits the next block while the total has room for it."""
        like = self._like
        if like is None:
            return self._last
        return next((number for number in like.pair(_LIMIT) if self._fits(like, number, size)), self._last)

    def _fits(self, sample: SampleBlock, number: int, size: int, limit: float = _LIMIT) -> bool:
        """Whether the total has room for a block that is like a sample."""
        with self._lock:
            room = limit * (self._asked + sample.asked * size) - self._stored
        return sample.left[number] * size <= room

    def _most_like(self, number: int, left: float) -> SampleBlock | None:
        """The samples of which a coder left about as much as of a block, as one: the next block is taken for such."""
        with self._lock:
            # Most blocks are like the one before, and looking at all samples takes as long as a small block.
            if self._like is None or not self._like.is_like(number, left, _UNLIKE / 2):
                self._like = self._near(number, left) or self._like
            like = self._like
        return like if like is not None and like.is_like(number, left) else None

    def _near(self, number: int, left: float) -> SampleBlock | None:
        samples = [sample for sample in self._samples if sample.is_like(number, left)]
        return merged(samples) if samples else None
