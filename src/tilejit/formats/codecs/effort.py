"""As little effort in compressing as keeps the file within a few percent of the size that was asked for."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING

from tilejit.formats.codecs.compression_level import coders_for
from tilejit.formats.codecs.sample import Sample, merged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tilejit.formats.codecs.entropy import Encoded

_LIMIT = 1.015
"""How much larger the file may become than the coder that was asked for would make it; half a percent below the 2 %
that are promised, because that size is an estimate for the blocks that it did not encode."""
_CEILING = 1.0175
"""A block that turns out to be like others than was expected, and would lift the total above this, is encoded again."""
_UNLIKE = 0.15
"""A block is of another kind than a sample if the bytes left, or those taken away, differ by this share and"""
_SLACK = 0.005
"""this much more of the block."""
_SAMPLES = 16
"""Samples that are remembered; a file is seldom of more kinds of blocks."""
_FEW = 16
"""A file of fewer blocks is encoded as asked: by the time that it is known, it is written."""
_PAUSES = (53, 61, 67)
"""Blocks between samples. Primes, for samples should not all come from one column of blocks."""
_SAMPLE_BYTES = {"DEFLATE": 1 << 18}
"""How much of a block is tried: a quarter of 512 x 512 float32 tells ISA-L's size against DEFLATE 6 within 0.2 %, and
DEFLATE 6 takes five blocks' time for one. ZSTD's tables go by the size of what is encoded, so it needs the whole."""


class Effort:
    """Encodes the blocks of one file, by a cheaper coder where that costs few bytes; threads may share it.

    Which coder is worth its time depends on the data, so it is measured: now and then a block is tried with several.
    The samples that a block is like, by the share of its bytes that are left, say what the coder asked for would have
    made of it. What is stored stays within 1.5 % of the total of that, by mixing two coders: the cheaper one while
    there is room for it. A block that is like no sample becomes one.

    Decisions of several threads may cross; the totals do not.

    Args:
        compression: One of `tilejit.formats.codecs.entropy.COMPRESSIONS`.
        level: How small the file is to be; None for the library's own.
        blocks: How many the file has.
        auto: Whether others than the coder of that level may encode; a level that somebody gave is obeyed bit for bit.

    Example:
        >>> import numpy as np
        >>> effort = Effort("DEFLATE", 6)
        >>> len(effort.compress(np.zeros(4096, np.uint8))) < 100
        True
    """

    def __init__(self, compression: str, level: int | None, blocks: int = _FEW, *, auto: bool = True) -> None:
        coders = coders_for(compression, level)
        self._coders = coders if auto and blocks >= _FEW else coders[-1:]
        self._last = len(self._coders) - 1
        """The number of the coder that was asked for."""
        self._costs = tuple(coder.cost for coder in self._coders)
        self._sample_bytes = _SAMPLE_BYTES.get(compression)
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self._like: Sample | None = None
        """What the next block is taken to be like."""
        self._begun = self._next_sample = 0
        self._stored = self._asked = 0.0
        """Bytes that were stored, and about how many the coder asked for would have stored."""
        self._blocks: Counter[int] = Counter()
        """How many blocks each coder has encoded."""

    def compress(self, data: NDArray[np.uint8]) -> Encoded:
        """Encode a block.

        Args:
            data: (byte,), one or more.

        Returns:
            The block as it is to be stored.
        """
        if self._last == 0:
            return self._coders[0].encode(data)
        number, encoded, like = self._encode(data)
        with self._lock:
            self._blocks[number] += 1
            self._stored += len(encoded)
            self._asked += len(encoded) / like.ratio(number)
        return encoded

    def summary(self) -> str:
        """Returns who encoded how many blocks, and about how much that cost; empty where there was no choice.

        Example:
            >>> Effort("LZW", None).summary()
            ''
        """
        with self._lock:
            blocks, stored, asked = sorted(self._blocks.items()), self._stored, self._asked
        total = sum(count for _, count in blocks)
        if not total:
            return ""
        parts = [f"{100 * count / total:.0f} % by {self._coders[number].name}" for number, count in blocks]
        return f"{', '.join(parts)}: about {100 * (stored / asked - 1):+.1f} % in size"

    def _encode(self, data: NDArray[np.uint8]) -> tuple[int, Encoded, Sample]:
        """Encode a block.

        Returns:
            The coder, the block as it is to be stored, and the sample that it is like.
        """
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

    def _try(self, data: NDArray[np.uint8], known: dict[int, float]) -> Sample:
        """Encode as asked, and by cheaper coders until one is nearly as small."""
        left = dict(known)
        for number in (self._last, *range(self._last)):
            if number not in left:
                left[number] = len(self._coders[number].encode(data)) / data.size
            if number != self._last and left[number] <= _LIMIT * left[self._last]:
                break
        return Sample(left, self._costs)

    def _learn(self, data: NDArray[np.uint8], number: int, encoded: Encoded) -> tuple[int, Encoded, Sample]:
        """Make a sample of a block that a coder has encoded; it is stored as asked if that coder wrote too much."""
        known, asked = {number: len(encoded) / data.size}, encoded
        if number != self._last:
            asked = self._coders[-1].encode(data)
            known[self._last] = len(asked) / data.size
        sample = self._try(data, known)
        fits = self._fits(sample, number, data.size)
        self._remember(sample)
        return (number, encoded, sample) if fits else (self._last, asked, sample)

    def _remember(self, sample: Sample) -> None:
        with self._lock:
            self._samples.append(sample)
            self._like = self._near(self._last, sample.asked)

    def _choose(self, size: int) -> int:
        """The cheaper coder of the pair that suits the next block while the total has room for it."""
        like = self._like
        if like is None:
            return self._last
        return next((number for number in like.pair(_LIMIT) if self._fits(like, number, size)), self._last)

    def _fits(self, sample: Sample, number: int, size: int, limit: float = _LIMIT) -> bool:
        """Whether the total has room for a block that is like a sample."""
        with self._lock:
            room = limit * (self._asked + sample.asked * size) - self._stored
        return sample.left[number] * size <= room

    def _most_like(self, number: int, left: float) -> Sample | None:
        """The samples of which a coder left about as much as of a block, as one: the next block is taken for such."""
        with self._lock:
            # Most blocks are like the one before, and looking at all samples takes as long as a small block.
            if self._like is None or not _alike(self._like, number, left, _UNLIKE / 2):
                self._like = self._near(number, left) or self._like
            like = self._like
        return like if like is not None and _alike(like, number, left, _UNLIKE) else None

    def _near(self, number: int, left: float) -> Sample | None:
        samples = [sample for sample in self._samples if _alike(sample, number, left, _UNLIKE)]
        return merged(samples) if samples else None


def _alike(sample: Sample, number: int, left: float, tolerance: float) -> bool:
    """Whether a coder left about as much of a block as of a sample, or took about as much away."""
    return number in sample.left and abs(sample.left[number] - left) <= tolerance * min(left, abs(1 - left)) + _SLACK
