"""What a run has to tell of its pixels: counts that launches, tiles and processes add up."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilejit.compiler.form.kinds import ALL
from tilejit.errors import NodataWarning
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tilejit.kernel.kernel import Kernel


COUNTERS = ("collisions", "beyond", "saturated", "missing")
"""What is counted."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels of which something must be told, by the kernels that they are results of.

    Example:
        >>> one, two = Counts.of("moved", ["beyond"], [3]), Counts.of("moved", ["collisions", "beyond"], [1, 2])
        >>> (one + two).collisions, (one + two).beyond
        (1, {'moved': 5})
    """

    collisions: int = 0
    """Valid pixels whose result equals the nodata value."""
    beyond: Mapping[str, int] = field(default_factory=dict)
    """Kernel -> pixels whose body asked for a cell beyond the declared radius."""
    saturated: Mapping[str, int] = field(default_factory=dict)
    """Kernel -> results that their type does not hold, and that became the nearest that it does."""
    clamped: Mapping[str, int] = field(default_factory=dict)
    """Output -> values that the dtype asked for does not hold, and that became the nearest that it does."""
    unmarked: Mapping[str, int] = field(default_factory=dict)
    """Output without a nodata value -> cells without data."""

    @classmethod
    def of_launch(
        cls, kernel: Kernel, counters: Sequence[str], counts: Sequence[int], arrays: Sequence[NDArray[Any]]
    ) -> Counts:
        """What a launch of a kernel over arrays counted, and how often.

        Raises:
            KernelError: Pixels asked for layers that are not in their stacks.
        """
        told = dict(zip(counters, counts, strict=True))
        if missing := told.pop("missing", 0):
            places = {(a.source, a.node.lineno, a.node.col_offset): a for a in kernel.form.asked if a.number == ALL}
            asked, *others = places.values()
            also = f", or another of {len(others) + 1} such subscripts" if others else ""
            layers = next((len(array) for array in arrays if array.ndim == 3), 0)
            of = f"lies outside {asked.of}" if asked.of else f"is of no layer of the stack, which has {layers}"
            asked.source.fail(asked.node, f"{ast.unparse(asked.node)}{also} {of}, at {counted(missing, 'pixel')}",
                              "keep the index within range(len(…)), or test it with if before")  # fmt: skip
        told.pop("outside", told.pop("first", 0))  # of which no launch with any returns
        return cls.of(kernel.name, list(told), list(told.values()))

    @classmethod
    def of(cls, kernel: str, counters: Sequence[str], counts: Sequence[int]) -> Counts:
        """What is told of pixels of a kernel, and how often."""
        found = {name: int(count) for name, count in zip(counters, counts, strict=True) if count}
        named = {name: {kernel: count} for name, count in found.items() if name != "collisions"}
        return cls(found.get("collisions", 0), **named)

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        if not any((other.collisions, other.beyond, other.saturated, other.clamped, other.unmarked)):
            return self  # as of most launches: adding dicts up would take a small array's call a tenth longer
        return Counts(
            self.collisions + other.collisions,
            dict(Counter(self.beyond) + Counter(other.beyond)),
            dict(Counter(self.saturated) + Counter(other.saturated)),
            dict(Counter(self.clamped) + Counter(other.clamped)),
            dict(Counter(self.unmarked) + Counter(other.unmarked)),
        )

    def warning(self, label: str, nodata: Iterable[float | None], advice: str) -> NodataWarning | None:
        """What a caller is to be warned of.

        Args:
            label: What was made.
            nodata: The nodata values of what kernels make.
            advice: What to do where results equal it.
        """
        told = list(self.lines())
        if self.collisions:
            values = ", ".join(dict.fromkeys(map(str, nodata)))
            pixels = counted(self.collisions, "valid pixel")
            told.insert(0, f"{pixels} got a result that equals the nodata value ({values}): {advice}")
        return NodataWarning(f"{label}: " + "\n".join(told).removeprefix(f"{label}: ")) if told else None

    def lines(self) -> Iterator[str]:
        """What there is to tell of each kernel, and what to do about it; collisions apart."""
        for kernel, count in self.beyond.items():
            yield (
                f"{kernel}: {counted(count, 'pixel')} asked for a cell beyond the declared radius, "
                "which is without data: declare a larger radius="
            )
        for kernel, count in self.saturated.items():
            yield (
                f"{kernel}: {counted(count, 'result')} beyond the type of the output became its nearest value: "
                "annotate a type that holds them, as -> np.float64, or of an expression take .astype(np.float64)"
            )
        for output, count in self.clamped.items():
            values = counted(count, "value")
            yield f"{Path(output).name}: {values} beyond its dtype became its nearest value: give a wider dtype="
        for output, count in self.unmarked.items():
            cells = counted(count, "cell")
            yield f"{Path(output).name}: {cells} without data, and no nodata value to tell by: leave nodata=none out"
