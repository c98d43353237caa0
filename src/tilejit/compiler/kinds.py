"""The three kinds of value that a body computes with.

A body has no dtypes: it has truth values, integers (64-bit signed, so that ``uint16 - uint16`` cannot wrap) and floats
(the compute dtype of the call: float32 or float64). Literals are weak, as in NumPy 2: ``2 * z`` stays float32.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Kind(IntEnum):
    """The kind of a scalar value, ordered so that the kind of a mixed expression is the larger one."""

    BOOL = 0
    INT = 1
    FLOAT = 2

    def __str__(self) -> str:
        return {Kind.BOOL: "truth value", Kind.INT: "integer", Kind.FLOAT: "float"}[self]


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
    if isinstance(value, (float, np.floating)):
        return Kind.FLOAT
    return None


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
    """Returns the dtype of an integer result, for inputs of ``dtypes``: the wider of int32 and of what holds them all.

    An integer of a body has 64 bits, signed, so that this is int32 or int64.

    Example:
        >>> integer_dtype((np.dtype("uint16"), np.dtype("float32")))
        dtype('int32')
        >>> integer_dtype((np.dtype("uint32"),))
        dtype('int64')
    """
    wide = any(d.kind in "iu" and not np.can_cast(d, np.int32, "safe") for d in dtypes)
    return np.dtype(np.int64 if wide else np.int32)


def is_real(dtype: np.dtype) -> bool:
    """Whether a dtype is one that rasters have: truth values, integers of up to 64 bits, and floats of up to 64.

    Example:
        >>> is_real(np.dtype("uint64")), is_real(np.dtype("complex64")), is_real(np.dtype("longdouble"))
        (True, False, False)
    """
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def article(kind: Kind) -> str:
    """Returns the kind with its article, for errors: ``"an integer"``."""
    return f"an {kind}" if kind is Kind.INT else f"a {kind}"
