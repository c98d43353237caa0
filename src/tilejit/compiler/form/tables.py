"""Tables: captured tuples, lists, arrays and dicts of numbers, indexed by what is known only while running.

Their numbers become arrays of the generated module, each beside a function that reads it. Machine code holds them as
constants; a table's content is part of a kernel's fingerprint, as its text is.
"""

from __future__ import annotations

import ast
import base64
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tilejit.compiler.form.captured import Changing, frozen
from tilejit.compiler.form.kinds import Kind, is_real, kind_of_dtype, kind_of_value
from tilejit.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from tilejit.compiler.form.source import FunctionSource

MOST_KEYS = 1 << 16
"""How far apart the keys of a dict may lie: a table has a place for each number between."""
_WRITTEN_OUT = 64
"""Elements that a module's text shows; more are compressed."""
_DTYPES = {Kind.FLOAT: np.float64, Kind.INT: np.int64, Kind.BOOL: np.bool_}


_ROWS = tuple, list, np.ndarray
_TOO_LARGE = "holds an integer beyond 64 bits", "write it as a float: 1e20"


class TableError(Exception):
    """A captured object is no table: what is wrong, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Content:
    """The numbers of a captured object: a float64, int64 or bool array of one or two dimensions."""

    values: NDArray[Any]
    kinds: tuple[Kind, ...]
    """The kind of its elements; of the rows of a nested tuple, that of each column."""
    first: int = 0
    """The key of the first element; 0 but of dicts."""
    absent: NDArray[np.bool_] | None = None
    """Which keys between its first and its last a dict does not have, where it leaves some out."""

    @property
    def kind(self) -> Kind:
        """The widest kind."""
        return max(self.kinds)


def read_table(value: Any) -> Content:
    """Returns the numbers of a captured object.

    Raises:
        TableError: It is no tuple, list, dict or array of numbers, or one of more than two dimensions.

    Example:
        >>> read_table(((0, 1, 0.5), (1, 0, 2))).kinds
        (<Kind.INT: 1>, <Kind.INT: 1>, <Kind.FLOAT: 2>)
    """
    if isinstance(value, dict):
        return _read_dict(value)
    if not isinstance(value, (tuple, list, np.ndarray)):
        raise TableError("is no table of numbers", "a table is a tuple, a list, a dict or an array of numbers")
    if not (value.size if isinstance(value, np.ndarray) else len(value)):
        raise TableError("is empty", "a table has one element or more")
    if isinstance(value, np.ndarray):
        return _of_array(value)
    if not isinstance(value[0], _ROWS):
        return _of_rows([[e] for e in value], nested=False)
    if not all(isinstance(row, _ROWS) and len(row) == len(value[0]) > 0 for row in value):
        raise TableError("has rows of unlike lengths", "give all rows one length, or index the rows with literals")
    return _of_rows([list(row) for row in value], nested=True)


def _of_array(value: NDArray[Any]) -> Content:
    kind = kind_of_dtype(value.dtype)
    if not is_real(value.dtype) or value.ndim not in {1, 2}:
        raise TableError(f"is an array of {counted(value.ndim, 'dimension')} of {value.dtype}",
                         "a table has integers or floats of up to 64 bits, in one or two dimensions")  # fmt: skip
    if value.dtype == np.uint64 and value.max() >= 2**63:
        raise TableError(*_TOO_LARGE)
    return Content(value.astype(_DTYPES[kind]), (kind,))


def _of_rows(rows: list[list[Any]], *, nested: bool) -> Content:
    """The content of rows; those of one dimension have one element each."""
    kinds = [[kind_of_value(e) for e in column] for column in zip(*rows, strict=True)]
    for column in kinds:
        if None in column:
            wrong = next(e for row in rows for e in row if kind_of_value(e) is None)
            raise TableError(f"holds {wrong!r}, which is no number", "a table has numbers, in one or two dimensions")
    widest = tuple(max(k for k in column if k is not None) for column in kinds)
    try:
        values: NDArray[Any] = np.array(rows, _DTYPES[max(widest)])
    except OverflowError:
        raise TableError(*_TOO_LARGE) from None
    return Content(values if nested else values[:, 0], widest)


def _read_dict(value: dict[Any, Any]) -> Content:
    if not value or any(kind_of_value(k) in {None, Kind.FLOAT} for k in value):
        raise TableError("is no dict of integers", "the keys of a table are integers, one or more")
    keys = [int(k) for k in value]
    first, span = min(keys), max(keys) - min(keys) + 1
    if span > MOST_KEYS or not -(2**62) < first < 2**62:
        raise TableError(f"has keys from {first} to {max(keys)}",
                         f"keys lie within {MOST_KEYS} numbers: look others up before, and store a class")  # fmt: skip
    found = read_table(list(value.values()))
    if found.values.ndim != 1:
        raise TableError("is a dict of rows", "a dict of numbers has numbers for values: write a dict for each column")
    values: NDArray[Any] = np.zeros(span, found.values.dtype)
    absent = np.ones(span, np.bool_)
    places = np.array(keys) - first
    values[places], absent[places] = found.values, False
    return Content(values, found.kinds, first, absent if absent.any() else None)


def changing(tree: ast.AST, captured: Callable[[ast.expr], Any]) -> Iterator[Changing]:
    """Yields the captured objects that a function names and that may be changed in place."""
    for node in ast.walk(tree):
        owner = captured(node) if isinstance(node, (ast.Name, ast.Attribute)) else None
        if isinstance(owner, (list, dict, np.ndarray)):
            yield Changing(owner, ast.unparse(node), frozen(owner))


@dataclass(eq=False, slots=True)
class Table:
    """An array of the generated module."""

    key: tuple[Any, ...]
    """What of which captured object it is."""
    name: str
    """Its name there."""
    kind: Kind
    values: NDArray[Any]
    """Its numbers: float64, int64 or bool."""
    owner: Any
    """The captured object."""
    label: str
    """What its author calls it."""
    where: tuple[FunctionSource, ast.expr]
    """Where it is first indexed."""
    is_padded: bool = False
    """Whether it has one more element in each dimension, which is read where an index lies outside."""

    def stored(self, compute: np.dtype) -> NDArray[Any]:
        """Its numbers as the module holds them: integers in as few bytes as hold them all."""
        values = np.pad(self.values, (0, 1)) if self.is_padded else self.values
        if self.kind is Kind.FLOAT:
            with np.errstate(over="ignore"):
                return values.astype(compute)
        if self.kind is Kind.BOOL:
            return values.astype(np.uint8)
        ends = np.result_type(*(np.min_scalar_type(int(end)) for end in (values.min(), values.max())))
        return values.astype(ends if ends.kind in "iu" else np.int64)

    def text(self, compute: np.dtype) -> str:
        """Its definition in the module."""
        values = self.stored(compute)
        if values.size <= _WRITTEN_OUT:
            shown = repr(values.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
            return f"{self.name} = np.array({shown}, np.{values.dtype})"
        packed = str(base64.b85encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 6)), "ascii")
        shape = f".reshape{values.shape}" if values.ndim > 1 else ""
        return f'{self.name} = np.frombuffer(zlib.decompress(base64.b85decode("{packed}")), np.{values.dtype}){shape}'

    def reader(self, *, is_given: bool) -> str:
        """The parameters and the statement of the function that reads it."""
        index = "u64(i)" if self.values.ndim == 1 else "u64(i), u64(j)"
        cell, given = f"{self.name}[{index}]", f"{self.name}, " * is_given
        value = {Kind.FLOAT: cell, Kind.INT: f"i64({cell})", Kind.BOOL: f"{cell} != 0"}[self.kind]
        return f"({given}{'i' if self.values.ndim == 1 else 'i, j'}):\n    return {value}"

    def refuse(self, indices: Sequence[Any], size: int, count: int) -> NoReturn:
        """Raises the error of an index outside, at so many pixels.

        Raises:
            KernelError: Always.
        """
        (source, node), at = self.where, f"at {counted(count, 'pixel')}"
        if isinstance(self.owner, dict):
            source.fail(node, f"{self.label} has no key {indices[0]:g}, which is asked for {at}",
                        f"ask before: if c in {self.label}, or take {self.label}.get(c, 0)")  # fmt: skip
        place = self.label.partition("[")[0] + "".join(f"[{index}]" for index in indices)
        source.fail(node, f"{place} is outside the table, which has {counted(size, 'element')} there, {at}",
                    f"keep the index from {-size} to {size - 1}, or test it with if before")  # fmt: skip


def module_parts(
    tables: Sequence[Table], compute: np.dtype, decorator: str, given: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """The constants and the functions of tables in a module, as text; those that are given are no constants."""
    constants: list[str] = [table.text(compute) for table in tables if table.name not in given]
    if any("zlib." in text for text in constants):
        constants = ["import base64", "import zlib", "", *constants]
    return constants, [f"{decorator}\ndef _at_{t.name}{t.reader(is_given=t.name in given)}" for t in tables]
