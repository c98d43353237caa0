"""What a body's values are: three kinds, the quantities of a grid, and the dtypes of one call.

A body has no dtypes: it has truth values, integers (64-bit signed, so that ``uint16 - uint16`` cannot wrap) and floats
(the compute dtype of the call: float32 or float64). Literals are weak, as in NumPy 2: ``2 * z`` stays float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL = -(2**63)
"""Each layer of a stack, where one is named by its number."""


class Kind(IntEnum):
    """The kind of a scalar value, ordered so that the kind of a mixed expression is the larger one."""

    BOOL = 0
    INT = 1
    FLOAT = 2

    def __str__(self) -> str:
        return {Kind.BOOL: "truth value", Kind.INT: "integer", Kind.FLOAT: "float"}[self]


def article(kind: Kind) -> str:
    """Returns the kind with its article, for errors: ``"an integer"``."""
    return f"an {kind}" if kind is Kind.INT else f"a {kind}"


def kind_of_dtype(dtype: npt.DTypeLike) -> Kind:
    """Returns the kind that a value of ``dtype`` has inside a body."""
    code = np.dtype(dtype).kind
    return {"b": Kind.BOOL, "i": Kind.INT, "u": Kind.INT}.get(code, Kind.FLOAT)


def kind_of_value(value: object) -> Kind | None:
    """Returns the kind of a captured constant, or None when it is no scalar number."""
    if isinstance(value, (bool, np.bool_)):
        return Kind.BOOL
    if isinstance(value, (int, np.integer)):
        return Kind.INT
    return Kind.FLOAT if isinstance(value, (float, np.floating)) else None


def compute_dtype(dtypes: tuple[np.dtype, ...]) -> np.dtype:
    """Returns the dtype that a body computes floats in, for inputs of ``dtypes``.

    float32 holds integers of up to 16 bits and float32 exactly; anything wider computes in float64.

    Example:
        >>> compute_dtype((np.dtype("uint16"), np.dtype("float32")))
        dtype('float32')
        >>> compute_dtype((np.dtype("int32"),))
        dtype('float64')
    """
    narrow = all(d.itemsize <= 2 or d == np.float32 for d in dtypes)
    return np.dtype(np.float32 if narrow else np.float64)


def integer_dtype(dtypes: tuple[np.dtype, ...]) -> np.dtype:
    """Returns the dtype of an integer result, for inputs of ``dtypes``: int64 where int32 does not hold them all.

    Example:
        >>> integer_dtype((np.dtype("uint16"), np.dtype("float32")))
        dtype('int32')
        >>> integer_dtype((np.dtype("uint32"),))
        dtype('int64')
    """
    wide = any(d.kind in "iu" and not np.can_cast(d, np.int32, "safe") for d in dtypes)
    return np.dtype(np.int64 if wide else np.int32)


def common_dtype(dtypes: Iterable[np.dtype]) -> np.dtype:
    """Returns the dtype that the layers of a stack are handed over in: their own, or where they differ a float's.

    Example:
        >>> common_dtype([np.dtype("uint16"), np.dtype("uint16")]), common_dtype([np.dtype("uint8"), np.dtype("int16")])
        (dtype('uint16'), dtype('float32'))
    """
    found = tuple(dict.fromkeys(dtypes))
    return found[0] if len(found) == 1 else compute_dtype(found)


def is_real(dtype: np.dtype) -> bool:
    """Whether a dtype is one that rasters have: truth values, integers of up to 64 bits, and floats of up to 64.

    Example:
        >>> is_real(np.dtype("uint64")), is_real(np.dtype("complex64")), is_real(np.dtype("longdouble"))
        (True, False, False)
    """
    return dtype.kind in "biuf" and dtype.itemsize <= 8


class Quantity(Enum):
    """A value of the grid, filled in by the driver; the default of a keyword-only parameter.

    Example:
        >>> Quantity.GROUND_WIDTH.axis
        'row'
    """

    CELL_WIDTH = "width of a cell in CRS units"
    CELL_HEIGHT = "height of a cell in CRS units"
    GROUND_WIDTH = "width of a cell on the ground in metres, by row"
    GROUND_HEIGHT = "height of a cell on the ground in metres, by row"
    Z_FACTOR = "metres per unit of height of the first raster; 1 where cells' sizes are given as numbers"
    X = "x of the cell's centre in CRS units"
    Y = "y of the cell's centre in CRS units"
    ROW = "row of the cell in its raster, from 0"
    COL = "column of the cell in its raster, from 0"

    __hash__ = object.__hash__
    """An Enum's own is in Python, and a call over a small array asks forty times."""

    @property
    def axis(self) -> Literal["row", "col", "grid"]:
        """What the quantity varies along."""
        if self in {Quantity.CELL_WIDTH, Quantity.CELL_HEIGHT, Quantity.Z_FACTOR}:
            return "grid"
        return "col" if self in {Quantity.X, Quantity.COL} else "row"

    @property
    def is_coordinate(self) -> bool:
        """Whether it is a place in the CRS, which float32 rounds to half a metre at 5,000 km."""
        return self in {Quantity.X, Quantity.Y}

    @property
    def is_index(self) -> bool:
        """Whether it counts cells (an integer) rather than measures them."""
        return self in {Quantity.ROW, Quantity.COL}

    def __repr__(self) -> str:
        return f"tj.{self.name}"


@dataclass(frozen=True, slots=True)
class Signature:
    """The dtypes that generated source depends on."""

    inputs: tuple[np.dtype, ...]
    """The dtypes of the arrays; a float parameter's array may be an integer one, cast as it is read."""
    compute: np.dtype
    """What floats are computed in."""
    outputs: tuple[np.dtype, ...]
    """The dtypes of the results."""
    nan_nodata: tuple[bool, ...]
    """For each result, whether its nodata value is NaN."""
    counts_down: tuple[bool, bool] = (False, False)
    """Whether ROW, and whether COL, counts down: bodies see the raster turned around, and these are the file's own."""

    def sign(self, quantity: Quantity) -> Literal["+", "-"]:
        """Which way ROW or COL counts."""
        return "-" if self.counts_down[0 if quantity.axis == "row" else 1] else "+"

    def __str__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        return f"({inputs}) -> {', '.join(map(str, self.outputs))} in {self.compute}"


class LazyScalar:
    """A number that is not known yet: an earlier pass of the same run makes it; ``float()`` computes it."""

    __slots__ = ()

    def __float__(self) -> float:
        """Computes it now."""
        raise NotImplementedError
