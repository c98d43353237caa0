"""How many places lists that grow have: what is appended in a loop is counted as often as that goes round.

It is counted from the last time that the list is made anew whatever is chosen. A list that is copied in a loop may be
longer in the next round than the text shows up to there: then all is read once more, with what was found before.
"""

from __future__ import annotations

import ast
import contextlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Places:
    """What one reading of a function's text finds."""

    def __init__(self, before: Mapping[str, int]) -> None:
        self.before = before
        self.held: dict[str, ast.Constant] = {}
        """Each list and its places, a literal in the text that grows meanwhile."""
        self.around: list[tuple[int, int | None]] = []
        """The loops and branches around, each with how often it is gone through; None where only the run shows that."""
        self.entered = 0
        self.made: dict[str, list[list[tuple[int, int | None]]]] = {}
        self.asked: dict[str, int] = {}
        """What was answered in loops."""
        self.within: dict[str, str] = {}
        """Lists that have no more elements than another."""

    @contextlib.contextmanager
    def inside(self, rounds: int | None = 1) -> Iterator[None]:
        """In a loop of so many rounds, or in a branch."""
        self.entered += 1
        self.around.append((self.entered, rounds))
        yield
        self.around.pop()

    @property
    def is_repeated(self) -> bool:
        """Whether a loop is around."""
        return any(rounds != 1 for _, rounds in self.around)

    def begun(self, name: str) -> ast.Constant:
        """Notes that a list is made here; returns its places."""
        self.made.setdefault(name, []).append(list(self.around))
        return self.held.setdefault(name, ast.Constant(0))

    def rounds(self, name: str) -> int | None:
        """How often the run comes here after it has made the list anew."""
        sure = [made for made in self.made.get(name, []) if self.around[: len(made)] == made]
        rounds = [r for _, r in self.around[len(sure[-1]) if sure else 0 :]]
        known = [r for r in rounds if r is not None]
        return math.prod(known) if len(known) == len(rounds) else None

    def add(self, name: str, more: int) -> None:
        """Makes a list longer."""
        self.held[name].value = int(self.held[name].value) + more  # type: ignore[arg-type]

    def at_least(self, name: str, size: int) -> None:
        """Makes a list so long."""
        self.held[name].value = max(int(self.held[name].value), size)  # type: ignore[arg-type]

    def most(self, name: str) -> int:
        """How many elements a list may have here."""
        size = max(int(self.held[name].value), self.before.get(name, 0))  # type: ignore[arg-type]
        if self.is_repeated:
            self.asked[name] = size
        return size

    def end(self) -> None:
        """Gives a list that stays empty a place all the same."""
        for name in self.held:
            self.at_least(name, 1)

    @property
    def found(self) -> dict[str, int]:
        """The places of each list."""
        return {name: int(size.value) for name, size in self.held.items()}  # type: ignore[arg-type]

    @property
    def unsettled(self) -> str | None:
        """A list that became longer than was answered, or None."""
        return next((name for name, size in self.asked.items() if self.found[name] > size), None)
