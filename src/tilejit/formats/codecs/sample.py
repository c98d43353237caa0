"""What several coders made of one block, and whom to take for blocks like it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEAREST = 1.06
"""A coder that writes more than that times what was asked for is left alone: few of its blocks would fit in."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A block that was tried; coders have numbers, and the last is the one that was asked for.

    Example:
        >>> sample = Sample({0: 0.52, 1: 0.505, 2: 0.5}, (0.2, 0.7, 1.0))
        >>> sample.ratio(0)
        1.04
        >>> sample.pair(1.015)
        (0, 1)
    """

    left: Mapping[int, float]
    """Bytes left of each byte by each coder that was tried; the one asked for was."""
    costs: tuple[float, ...]
    """What a byte costs each coder."""

    @property
    def asked(self) -> float:
        """Bytes left of each byte by the coder that was asked for."""
        return self.left[len(self.costs) - 1]

    def ratio(self, number: int) -> float:
        """How much larger a coder writes a block than the one asked for would."""
        return self.left[number] / self.asked

    def pair(self, limit: float) -> tuple[int, int]:
        """The coders to mix.

        Args:
            limit: How much larger the whole may become than the coder asked for would make it.

        Returns:
            The coder to use while there is room, which may write more than the limit, and the one to use else, which
            does not. Of all pairs that keep the limit together it is the one that takes the least time.
        """
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


def merged(samples: Sequence[Sample]) -> Sample:
    """Returns samples as one, with the worst that each coder did against the one asked for.

    The mean would be passed half of the time, and more: those that a coder is used on are those it seemed good at.
    """
    asked = fmean(sample.asked for sample in samples)
    numbers = {number for sample in samples for number in sample.left}
    ratios = {n: max(sample.ratio(n) for sample in samples if n in sample.left) for n in numbers}
    return Sample({n: asked * ratio for n, ratio in ratios.items()}, samples[0].costs)
