"""Histograms: a reduction that counts the cells of a band by class."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tilejit.engine.reductions import Summary, contiguous, loop
from tilejit.errors import ParameterError, ReadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.jit.native_function import Functions
    from tilejit.engine.partials import State
    from tilejit.window import Window

_I64, _F64 = np.dtype(np.int64), np.dtype(np.float64)


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How many cells lie in each class: it has its lower edge, and the last one both, as with `numpy.histogram`.

    Example:
        >>> from tilejit.window import Window
        >>> counts = ClassCounts("classes", 2, (0.0, 1.0, 4.0))
        >>> counts.finalize(counts.of([np.float32([[0.5, 1, 4, 9]])], [None], Window(0, 0, 1, 4)))[0].tolist()
        [1, 2]
    """

    name: str
    bins: int  # how many classes
    edges: tuple[float, ...] = ()
    """Those of the classes; none until an earlier pass has told which they are, from the least cell to the greatest."""
    is_even: bool = False  # whether classes are equally wide

    cell_bytes: ClassVar[int] = 17  # a copy, and of integers two

    @classmethod
    def between(cls, bins: int, low: float, high: float) -> ClassCounts:
        """Classes that are equally wide; where both ends are one they lie around it."""
        ends = (low - 0.5, high + 0.5) if low == high else (low, high)
        return cls(f"counts in {bins} classes", bins, tuple(np.linspace(*ends, bins + 1).tolist()), is_even=True)

    @property
    def state_bytes(self) -> int:
        """Bytes of the counts."""
        return 8 * self.bins

    def functions(self, dtypes: Sequence[np.dtype]) -> Functions:
        """As of any reduction."""
        cells = contiguous((_counted_as(dtypes[0]), 2), (_F64, 1), (_I64, 1))
        return [(loop("count_classes"), (*cells, (_I64, 0, "")))]

    def given(self, summary: Summary) -> ClassCounts:
        """The reduction from the least cell to the greatest; from 0 to 1 where there is none."""
        low, high = (0.0, 1.0) if not summary.count else (summary.min, summary.max)
        if not math.isfinite(high - low):
            raise ReadError(f"a histogram from {low:g} to {high:g} has no classes: give it range=(low, high)")
        return replace(self.between(self.bins, low, high), name=self.name)

    def init(self) -> State:
        """No cell."""
        return np.zeros(self.bins, np.int64)

    def of(self, bands: Sequence[NDArray[Any]], flags: Sequence[NDArray[np.bool_] | None], _: Window) -> State:
        """The counts of one tile: see `tilejit.engine.reductions.Reduction.of`."""
        (cells,), (valid,), counts = bands, flags, self.init()
        cells = cells if valid is None else cells[valid][np.newaxis]
        floats = np.ascontiguousarray(cells, _counted_as(cells.dtype))
        loop("count_classes")(floats, np.array(self.edges), counts, int(self.is_even))
        return counts

    def combine(self, one: State, other: State) -> State:
        """Both together."""
        return one + other

    def finalize(self, state: State) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The counts and the edges."""
        return state, np.array(self.edges)


def classes(bins: int | Sequence[float], ends: tuple[float, float] | None) -> ClassCounts:
    """The reduction that classes are asked for by: how many, or their edges."""
    edges = None if isinstance(bins, int) else tuple(map(float, bins))
    rising = edges or tuple(map(float, ends or ()))
    if (edges is None and bins < 1) or (edges is not None and len(edges) < 2):  # type: ignore[operator]
        raise ParameterError(f"histogram({bins!r}): give one class or more, or the edges of one")
    if not all(low < high for low, high in pairwise(rising)):
        raise ParameterError(f"histogram({bins!r}, {ends!r}): edges rise, from a lower to a greater one")
    if edges is not None:
        return ClassCounts(f"counts in {len(edges) - 1} classes", len(edges) - 1, edges)
    count = int(bins)  # type: ignore[arg-type]
    return ClassCounts.between(count, *rising) if rising else ClassCounts(f"counts in {count} classes", count)


def _counted_as(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.kind == "f" else _F64
