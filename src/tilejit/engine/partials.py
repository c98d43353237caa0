"""Partials: small values of tiles that combine to one of the whole raster, as in map and reduce."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tilejit.kernel.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_Piece = TypeVar("_Piece")
State = Any  # what a partial has so far: of JSON's types, so that a journal keeps it and any process takes it


class Partial(Protocol):
    """A value that tiles are reduced to: counts, a table, a histogram.

    Tiles end in any order and are cut anywhere. So `combine` is associative and commutative to the last bit (integers,
    minima, exact sums), and the result is the same whatever the tiling, the threads or the executor.
    """

    @property
    def name(self) -> str:
        """What the result is called in a report, and by a later pass."""

    def init(self) -> State:
        """The state of no tile."""

    def combine(self, one: State, other: State) -> State:
        """The state of both together; neither is changed."""

    def finalize(self, state: State) -> Any:
        """The result."""


@dataclass(frozen=True, slots=True)
class CountsPartial:
    """What is to be told of pixels: the partial of every pass.

    Example:
        >>> partial = CountsPartial()
        >>> two = asdict(Counts(collisions=2, beyond={"moved": 1}))
        >>> partial.finalize(partial.combine(partial.combine(partial.init(), two), two)).beyond
        {'moved': 2}
    """

    name: str = "counts"

    def init(self) -> State:
        """No pixel."""
        return asdict(Counts())

    def combine(self, one: State, other: State) -> State:
        """Both counted."""
        return asdict(Counts(**one) + Counts(**other))

    def finalize(self, state: State) -> Counts:
        """The counts."""
        return Counts(**state)


def gathered(
    pieces: Iterable[_Piece], size: Callable[[_Piece], int], join: Callable[[_Piece, _Piece], _Piece]
) -> list[_Piece]:
    """Joins pieces of a state that grows with its tiles, until each has less than half the size of the one before.

    So what a tile holds is joined as often as its piece doubles, and not with each tile that comes after it.

    Example:
        >>> import operator
        >>> gathered(["a", "b", "cdefgh"], len, operator.add)
        ['cdefgh', 'ab']
    """
    found = sorted(pieces, key=size, reverse=True)
    while len(found) > 1 and 2 * size(found[-1]) >= size(found[-2]):
        found[-2:] = [join(*found[-2:])]
        found.sort(key=size, reverse=True)
    return found


class Totals:
    """What tiles have combined to so far; threads may add at the same time.

    Args:
        partials: The partials of a pass.
    """

    def __init__(self, partials: Sequence[Partial]) -> None:
        self.partials = tuple(partials)
        self.states: tuple[State, ...] = tuple(partial.init() for partial in self.partials)
        self._lock = threading.Lock()

    def add(self, states: Sequence[State]) -> None:
        """Combine with the states of other tiles, one for each partial."""
        with self._lock:
            rows = zip(self.partials, self.states, states, strict=True)
            self.states = tuple(partial.combine(one, other) for partial, one, other in rows)

    def results(self) -> tuple[Any, ...]:
        """The result of each partial."""
        return tuple(p.finalize(state) for p, state in zip(self.partials, self.states, strict=True))
