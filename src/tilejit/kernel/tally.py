"""What a run has to tell of its pixels: counts that launches, tiles and processes add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


COUNTERS = ("collisions", "beyond", "saturated")
"""What is counted."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Pixels of which something must be told, by the kernels that they are results of.

    Example:
        >>> one, two = Tally.of("moved", ["beyond"], [3]), Tally.of("moved", ["collisions", "beyond"], [1, 2])
        >>> (one + two).collisions, (one + two).beyond
        (1, {'moved': 5})
    """

    collisions: int = 0
    """Valid pixels whose result equals the nodata value."""
    beyond: Mapping[str, int] = field(default_factory=dict)
    """Kernel -> pixels whose body asked for a cell beyond the declared radius."""
    saturated: Mapping[str, int] = field(default_factory=dict)
    """Kernel -> results that their type does not hold, and that became the nearest that it does."""

    @classmethod
    def of(cls, kernel: str, counters: Sequence[str], counts: Sequence[int]) -> Tally:
        """What a launch of a kernel counted, and how often."""
        found = {name: int(count) for name, count in zip(counters, counts, strict=True) if count}
        named = {name: {kernel: count} for name, count in found.items() if name != "collisions"}
        return cls(found.get("collisions", 0), **named)

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.collisions + other.collisions,
            dict(Counter(self.beyond) + Counter(other.beyond)),
            dict(Counter(self.saturated) + Counter(other.saturated)),
        )

    def lines(self) -> Iterator[str]:
        """What there is to tell of each kernel, and what to do about it; collisions apart."""
        for kernel, count in self.beyond.items():
            yield (
                f"{kernel}: {count} pixels asked for a cell beyond the declared radius, which is without data: "
                "declare a larger radius="
            )
        for kernel, count in self.saturated.items():
            yield (
                f"{kernel}: {count} results do not fit the type of the output and became its nearest value: "
                "annotate a wider one, as -> np.int64"
            )
