"""Local arrays, interpreted: lists whose indices are held within them, and the functions that make and sort them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler import arrays
from tilejit.compiler.kinds import Kind
from tilejit.compiler.sorting import SHORT, by_gaps, by_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Convert = Callable[[Any], Any]


class LocalArray:
    """An array of one pixel; ``missing`` is called where an index lies outside."""

    def __init__(self, values: Iterable[Any], convert: Convert, missing: Callable[[], None]) -> None:
        self.values, self.convert, self.missing = [convert(v) for v in values], convert, missing

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def _held(self, index: int) -> int:
        """The place of an element, or the nearest one that is there."""
        if not -len(self) <= index < len(self):
            self.missing()
        return min(max(index + len(self) if index < 0 else index, 0), len(self) - 1)

    def __getitem__(self, index: int) -> Any:
        return self.values[self._held(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self.values[self._held(index)] = self.convert(value)

    def sort(self, n: int | None = None) -> None:
        """Sorts the first elements, as compiled code does."""
        count = len(self) if n is None else n
        if not 0 <= count <= len(self):
            self.missing()
        (by_network if len(self) <= SHORT else by_gaps)(self.values, min(max(count, 0), len(self)))
        self.values[:] = map(self.convert, self.values)  # NaN and infinity may be Python's


class LocalTuple(tuple[Any, ...]):  # noqa: SLOT001 - Python gives tuples none
    """A tuple of one pixel."""

    missing: Callable[[], None]

    @classmethod
    def of(cls, values: Iterable[Any], missing: Callable[[], None]) -> LocalTuple:
        """Makes one; ``missing`` is called where an index lies outside."""
        made = cls(values)
        made.missing = missing
        return made

    def __getitem__(self, index: Any) -> Any:
        if not -len(self) <= index < len(self):
            self.missing()
            return tuple.__getitem__(self, 0)
        return tuple.__getitem__(self, index)


class Arrays:
    """The functions that make and change them, for one compute dtype."""

    def __init__(self, number: Convert, kind_of: Callable[[Any], Kind], is_valid: Callable[[Any], bool],
                 missing: Callable[[], None]) -> None:  # fmt: skip
        self.number, self.is_valid, self.missing = number, is_valid, missing
        converts: dict[Kind, Convert] = {Kind.FLOAT: number, Kind.INT: int, Kind.BOOL: bool}
        self.converts, self.kind_of = converts, kind_of
        self.functions: list[tuple[object, Callable[..., Any]]] = [
            (arrays.zeros, self.zeros), (np.zeros, self.zeros), (np.empty, self.zeros), (np.ones, self.ones),
            (np.full, self.full), (arrays.sort, lambda a, n=None: a.sort(n)), (arrays.window, self.window),
            (list, self.listed), (sorted, self.sorted),
        ]  # fmt: skip

    def of(self, value: object) -> Callable[..., Any] | None:
        """What a captured function is in a body, where it makes or sorts arrays."""
        return next((made for function, made in self.functions if function is value), None)

    def listed(self, *values: Any) -> LocalArray:
        """``[a, b]``, or ``list(a)``: floats where any is one."""
        held = list(values[0]) if len(values) == 1 and not np.isscalar(values[0]) else list(values)
        is_float = any(isinstance(v, np.floating) for v in held)
        return LocalArray(held, self.number if is_float else _itself, self.missing)

    def held(self, value: Any) -> Any:
        """What a variable holds: a tuple as one whose indices are held within it."""
        return LocalTuple.of(value, self.missing) if type(value) is tuple else value

    def times(self, values: LocalArray, count: int) -> LocalArray:
        """``[0.0] * 16``."""
        return LocalArray(itertools.chain(*[values.values] * count), values.convert, self.missing)

    def sorted(self, values: Any) -> LocalArray:
        """A sorted copy."""
        result = self.listed(values) if isinstance(values, LocalArray) else self.listed(list(values))
        result.sort()
        return result

    def zeros(self, size: int, dtype: Any = float) -> LocalArray:
        """An array of zeros."""
        return self._filled(size, 0, dtype)

    def ones(self, size: int, dtype: Any = float) -> LocalArray:
        """An array of ones."""
        return self._filled(size, 1, dtype)

    def full(self, size: int, value: Any, dtype: Any = None) -> LocalArray:
        """An array of one value."""
        return self.times(self.listed(value), size) if dtype is None else self._filled(size, value, dtype)

    def _filled(self, size: int, value: Any, dtype: Any) -> LocalArray:
        return LocalArray([value] * size, self.converts[self.kind_of(dtype)], self.missing)

    def window(self, z: Any, size: int) -> tuple[LocalArray, int]:
        """The valid cells of a window, and how many they are."""
        steps = range(-(size // 2), size // 2 + 1)
        kept = [cell for cell in (z[dy, dx] for dy in steps for dx in steps) if self.is_valid(cell)]
        zero = type(kept[0])(0) if kept else self.number(0)
        return self.listed([*kept, *[zero] * (size * size - len(kept))]), len(kept)


def _itself(value: Any) -> Any:
    return value
