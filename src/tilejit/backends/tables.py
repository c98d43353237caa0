"""Captured tables as the interpreted body sees them: indexed as Python does, and an index outside is a note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from tilejit.compiler.form.captured import TABLES
from tilejit.compiler.form.kinds import Kind
from tilejit.compiler.form.tables import TableError, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView

    from tilejit.kernel.kernel import Kernel

    Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Outside:
    """An index that a table does not have."""

    owner: Any
    """The captured object."""
    indices: tuple[Any, ...]
    """The indices up to it."""
    size: int
    """How many elements there are."""


class Elements(Sequence[Any]):
    """The elements of a table, or of a row of one."""

    def __init__(self, owner: Any, items: Sequence[Any], note: Callable[[Outside], None], path: Path = ()) -> None:
        self._owner, self._items, self._note, self._path = owner, items, note, path
        self.made: Callable[[Any, Sequence[Any]], Any] | None = None
        """What makes an array of the body's of elements of it."""

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        slices = isinstance(index, slice) or (isinstance(index, tuple) and any(isinstance(i, slice) for i in index))
        if slices and self.made is not None:
            return self.made(self._owner, self._items)[index]
        found: Any = self
        for one in index if isinstance(index, tuple) else (index,):
            found = found._at(int(one))  # noqa: SLF001 - a row is one of these
        return found

    def __iter__(self) -> Iterator[Any]:
        return map(self._at, range(len(self._items)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.made is None:
            raise AttributeError(name)
        return getattr(self.made(self._owner, self._items), name)

    def _at(self, index: int) -> Any:
        if not -len(self._items) <= index < len(self._items):
            self._note(Outside(self._owner, (*self._path, index), len(self._items)))
        item = self._items[index if -len(self._items) <= index < len(self._items) else 0]
        return Elements(self._owner, item, self._note, (*self._path, index)) if isinstance(item, tuple) else item


def whole_of(value: Any) -> Any:
    """A captured table as an array of the body's; anything else is as it is."""
    is_table = isinstance(value, Elements) and value.made is not None
    return value.made(value._owner, value._items) if is_table else value  # noqa: SLF001


class Entries:
    """The entries of a dict of numbers."""

    def __init__(self, owner: Any, entries: dict[int, Any], note: Callable[[Outside], None]) -> None:
        self._owner, self._entries, self._note = owner, entries, note

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __contains__(self, key: Any) -> bool:
        return key in self._entries

    def __getitem__(self, key: Any) -> Any:
        if key not in self._entries:
            self._note(Outside(self._owner, (key,), len(self._entries)))
            return next(iter(self._entries.values()))
        return self._entries[key]

    def keys(self) -> KeysView[int]:
        """Its keys."""
        return self._entries.keys()

    def values(self) -> ValuesView[Any]:
        """Its values."""
        return self._entries.values()

    def items(self) -> ItemsView[int, Any]:
        """Its keys, each with its value."""
        return self._entries.items()

    def get(self, key: Any, other: Any) -> Any:
        """The value of a key, or another."""
        return self._entries.get(key, other)


def table_of(value: Any, compute: Callable[[float], Any], note: Callable[[Outside], None]) -> Any:
    """What a captured tuple, list, dict or array is in a body; None where it is no table of numbers.

    Numbers of one dimension, or of one column of rows, are all of the widest kind among them.
    """
    converts: dict[Kind, Callable[[Any], Any]] = {Kind.FLOAT: compute, Kind.INT: int, Kind.BOOL: bool}

    def wrapped(part: Any, path: Path) -> Any:
        try:
            content = read_table(part)
        except TableError:
            if not isinstance(part, TABLES) or isinstance(part, dict):
                return None
            tables = [wrapped(one, (*path, k)) for k, one in enumerate(part)]  # which literals choose from
            return None if None in tables or not tables else Elements(value, tables, note, path)
        if isinstance(part, dict):
            convert = converts[content.kind]
            return Entries(value, {int(k): convert(v) for k, v in part.items()}, note)
        if content.values.ndim == 1:
            return Elements(value, tuple(converts[content.kind](e) for e in part), note, path)
        kinds = content.kinds * (content.values.shape[1] // len(content.kinds))
        rows = [tuple(converts[k](e) for k, e in zip(kinds, row, strict=True)) for row in part]
        return Elements(value, rows, note, path)

    return wrapped(value, ())


def refuse(kernel: Kernel, outside: Outside, count: int) -> NoReturn:
    """Raises the error of pixels that have indexed a table outside.

    Raises:
        KernelError: Always.
    """
    table = next(t for t in kernel.form.tables if t.owner is outside.owner)
    table.refuse(outside.indices, outside.size, count)
