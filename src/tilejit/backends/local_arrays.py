"""Local arrays, interpreted: lists whose indices are held within them, and the functions that make and sort them."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilejit.compiler.arrays import arrays
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.jit.sorting import SHORT, by_gaps, by_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Convert = Callable[[Any], Any]


class WholeFunctions(Protocol):
    """What arrays need of the body that they are in: see `tilejit.backends.whole_arrays`."""

    def product(self, a: LocalArray, b: LocalArray) -> Any:
        """``a @ b``."""

    def method(self, a: LocalArray, name: str) -> Any:
        """A method of an array."""


class LocalArray:
    """An array or a list of one pixel; ``missing`` is called where an index lies outside.

    An array of two dimensions is one of rows.
    """

    def __init__(self, values: Iterable[Any], convert: Convert, missing: Callable[[], None], word: str = "list",
                 functions: WholeFunctions | None = None) -> None:  # fmt: skip
        self.values, self.convert, self.missing = [convert(v) for v in values], convert, missing
        self.word, self.functions = word, functions

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def like(self, values: Iterable[Any], word: str | None = None) -> LocalArray:
        """Another one with other elements."""
        return LocalArray(values, self.convert, self.missing, word or self.word, self.functions)

    def _held(self, index: int) -> int:
        """The place of an element, or the nearest one that is there."""
        if not -len(self) <= index < len(self):
            self.missing()
        return min(max(index + len(self) if index < 0 else index, 0), len(self) - 1)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple):
            first, *rest = index
            found = self[first]
            if not rest:
                return found
            return found.like([row[rest[0]] for row in found]) if isinstance(first, slice) else found[tuple(rest)]
        if isinstance(index, slice):
            return self.like(self.values[index])
        if isinstance(index, LocalArray):
            is_mask = all(isinstance(i, bool) for i in index)
            return self.like(
                [v for v, i in zip(self.flat, index.flat, strict=True) if i]
                if is_mask
                else map(self.__getitem__, index)
            )
        place = self._held(index)
        return self.values[place] if self.values else self.convert(0)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, tuple) and not isinstance(index[0], slice):
            self[index[0]][index[1]] = value
        elif isinstance(index, (slice, tuple)):
            rows = range(len(self))[index[0] if isinstance(index, tuple) else index]
            for k, row in enumerate(rows):
                one = value.values[k] if isinstance(value, LocalArray) else value
                self[(row, index[1]) if isinstance(index, tuple) else row] = one
        elif isinstance(self.values[self._held(index)], LocalArray):
            self.values[self._held(index)][:] = value
        else:
            self.values[self._held(index)] = self.convert(value)

    def __delitem__(self, index: int) -> None:
        self.pop(index)

    def _each(self, function: Callable[..., Any], other: Any) -> Any:
        if self.word == "list":
            return bool(function(self.values, getattr(other, "values", other)))
        return by_element(lambda a, b: bool(function(a, b)), self, other)

    def __eq__(self, other: object) -> Any:
        return self._each(operator.eq, other)

    def __ne__(self, other: object) -> Any:
        return self._each(operator.ne, other)

    def __lt__(self, other: Any) -> Any:
        return self._each(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._each(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._each(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._each(operator.ge, other)

    __hash__ = None  # type: ignore[assignment]

    def __invert__(self) -> LocalArray:
        return by_element(lambda v: not v if isinstance(v, bool) else ~v, self)  # type: ignore[no-any-return]

    def __matmul__(self, other: LocalArray) -> Any:
        assert self.functions is not None  # noqa: S101 - as it was made
        return self.functions.product(self, other)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.functions is None:
            raise AttributeError(name)
        return self.functions.method(self, name)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many rows and columns it has."""
        inner = self.values[0].shape if self.values and isinstance(self.values[0], LocalArray) else ()
        return len(self), *inner

    @property
    def ndim(self) -> int:
        """Its dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return len(self.flat)

    @property
    def flat(self) -> LocalArray:
        """Its elements, row by row."""
        if self.ndim < 2:
            return self
        return self.values[0].like([v for row in self.values for v in row])  # type: ignore[no-any-return]

    @property
    def T(self) -> LocalArray:  # noqa: N802 - as NumPy has it
        """Rows and columns exchanged."""
        if self.ndim < 2:
            return self
        return self.like([self.values[0].like(column) for column in zip(*self.values, strict=True)])

    def append(self, value: Any) -> None:
        """One more."""
        self.values.append(self.convert(value))

    def extend(self, values: Iterable[Any]) -> None:
        """Some more."""
        self.values.extend(map(self.convert, values))

    def insert(self, index: int, value: Any) -> None:
        """One more, in front of another."""
        self.values.insert(index, self.convert(value))

    def pop(self, index: int = -1) -> Any:
        """Takes one out."""
        place = self._held(index)
        return self.values.pop(place) if self.values else self.convert(0)

    def remove(self, value: Any) -> None:
        """Takes out the first of that value."""
        self.pop(self.index(value))

    def clear(self) -> None:
        """Takes all out."""
        self.values.clear()

    def reverse(self) -> None:
        """The last becomes the first."""
        self.values.reverse()

    def copy(self) -> LocalArray:
        """Another one of the same elements."""
        return self.like([v.copy() if isinstance(v, LocalArray) else v for v in self.values])

    def index(self, value: Any) -> int:
        """Where the first of that value is."""
        return next((k for k, v in enumerate(self.values) if v == value), len(self))

    def count(self, value: Any) -> int:
        """How many have that value."""
        return sum(v == value for v in self.values)

    def fill(self, value: Any) -> None:
        """Gives all one value."""
        self.values[:] = [self.convert(value)] * len(self)

    def sort(self, n: int | None = None, reverse: bool = False) -> None:
        """Sorts the first elements, as compiled code does."""
        count = len(self) if n is None else n
        if not 0 <= count <= len(self):
            self.missing()
        (by_network if len(self) <= SHORT else by_gaps)(self.values, min(max(count, 0), len(self)))
        self.values[:] = map(self.convert, self.values)  # NaN and infinity may be Python's
        if reverse:
            self.values.reverse()


def by_element(function: Callable[..., Any], *sides: Any) -> Any:
    """What a function gives of the numbers that stand in the same places; a number stands in all, a row in each row."""
    arrays = [s for s in sides if isinstance(s, LocalArray)]
    if not arrays:
        return function(*sides)
    depth = max(a.ndim for a in arrays)
    deep = [a for a in arrays if a.ndim == depth]
    size = max(map(len, deep))
    rows = [s.values * (size // len(s)) if isinstance(s, LocalArray) and s.ndim == depth else [s] * size for s in sides]
    values = [by_element(function, *row) for row in zip(*rows, strict=True)]
    return LocalArray(values, _itself, deep[0].missing, "array", deep[0].functions)


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
        if isinstance(index, slice):
            return LocalTuple.of(tuple.__getitem__(self, index), self.missing)
        if not -len(self) <= index < len(self):
            self.missing()
            return tuple.__getitem__(self, 0)
        return tuple.__getitem__(self, index)


class LocalDict(dict[Any, Any]):
    """A dict of one pixel."""

    def __init__(self, entries: dict[Any, Any], missing: Callable[[], None]) -> None:
        super().__init__(entries)
        self.absent = missing

    def __missing__(self, key: Any) -> Any:
        self.absent()
        return next(iter(self.values()))

    def __setitem__(self, key: Any, value: Any) -> None:
        if key not in self:
            self.absent()
        super().__setitem__(key, value)


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
        self.whole: WholeFunctions | None = None
        """Methods and functions of whole arrays."""

    def of(self, value: object) -> Callable[..., Any] | None:
        """What a captured function is in a body, where it makes or sorts arrays."""
        return next((made for function, made in self.functions if function is value), None)

    def listed(self, *values: Any) -> LocalArray:
        """``[a, b]``, or ``list(a)``: floats where any is one."""
        held = list(values[0]) if len(values) == 1 and not np.isscalar(values[0]) else list(values)
        if any(isinstance(v, LocalArray) for v in held):
            return LocalArray(held, _itself, self.missing, functions=self.whole)
        is_float = any(isinstance(v, np.floating) for v in held)
        return LocalArray(held, self.number if is_float else _itself, self.missing, functions=self.whole)

    def of_table(self, owner: Any, values: Any) -> Any:
        """A captured array, list or tuple as one of the body's."""
        rows = [self.of_table(owner, v) if isinstance(v, tuple) else v for v in values]
        if isinstance(owner, tuple):
            return LocalTuple.of(rows, self.missing)
        return self.listed(*rows).like(rows, "array" if isinstance(owner, np.ndarray) else "list")

    def held(self, value: Any) -> Any:
        """What a variable holds: a tuple as one whose indices are held within it."""
        return LocalTuple.of(value, self.missing) if type(value) is tuple else value

    def times(self, values: LocalArray, count: int) -> LocalArray:
        """``[0.0] * 16``."""
        return values.like(itertools.chain(*[values.values] * count))

    def sorted(self, values: Any, *, reverse: bool = False) -> LocalArray:
        """A sorted copy."""
        result = self.listed(values) if isinstance(values, LocalArray) else self.listed(list(values))
        result.sort(reverse=reverse)
        return result

    def zeros(self, size: Any, dtype: Any = float) -> LocalArray:
        """An array of zeros."""
        return self._filled(size, 0, dtype)

    def ones(self, size: Any, dtype: Any = float) -> LocalArray:
        """An array of ones."""
        return self._filled(size, 1, dtype)

    def full(self, size: Any, value: Any, dtype: Any = None) -> LocalArray:
        """An array of one value."""
        convert = self.listed(value).convert if dtype is None else self.converts[self.kind_of(dtype)]
        return self._of_one(size, value, convert)

    def _filled(self, size: Any, value: Any, dtype: Any) -> LocalArray:
        return self._of_one(size, value, self.converts[self.kind_of(dtype)])

    def _of_one(self, size: Any, value: Any, convert: Convert) -> LocalArray:
        first, *rest = size if isinstance(size, tuple) else (size,)
        if rest:
            rows = [self._of_one(rest[0], value, convert) for _ in range(first)]
            return LocalArray(rows, _itself, self.missing, "array", self.whole)
        return LocalArray([value] * first, convert, self.missing, "array", self.whole)

    def window(self, z: Any, size: int) -> tuple[LocalArray, int]:
        """The valid cells of a window, and how many they are."""
        steps = range(-(size // 2), size // 2 + 1)
        kept = [cell for cell in (z[dy, dx] for dy in steps for dx in steps) if self.is_valid(cell)]
        zero = type(kept[0])(0) if kept else self.number(0)
        return self.listed([*kept, *[zero] * (size * size - len(kept))]), len(kept)


def _itself(value: Any) -> Any:
    return value
