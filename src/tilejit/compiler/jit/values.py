"""Values of LLVM's assembly language, with the types that Numba gives them.

What is written here of types is what Numba does: `joined` is the type of a sum, which the tests hold to Numba's own.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

FLOATS = {"f32": "float", "f64": "double"}
"""Float types and what LLVM calls them."""
_BITS = 8, 16, 32, 64
LLVM = {"b1": "i1", **FLOATS, **{f"{sign}{n}": f"i{n}" for n in _BITS for sign in "iu"}}
"""Types and what LLVM calls them."""
TYPES = {np.dtype(name): type_ for name, type_ in {
    "bool": "b1", "float32": "f32", "float64": "f64", **{f"int{n}": f"i{n}" for n in _BITS},
    **{f"uint{n}": f"u{n}" for n in _BITS}}.items()}  # fmt: skip


_SHORT = 32
"""Bits of small integers."""


class UnknownTextError(Exception):
    """A module has what tilejit never writes: an error of its own, and not of a user's body."""

    statement = ""
    """The function and the statement in which it is."""


class Value(NamedTuple):
    """A number."""

    type: str
    text: str
    literal: int | None = None
    """The integer that it is, where that stands in the text."""
    small: Small | None = None
    """The same integer in 32 bits, where it is known to fit."""


class Small(NamedTuple):
    """An integer of 32 bits, and between which numbers it lies."""

    text: str
    low: int
    high: int

    @property
    def fits(self) -> bool:
        """Whether 32 bits hold it."""
        return self.low >= -(2**31) and self.high < 2**31


class Array(NamedTuple):
    """An array: each extent, and how many bytes apart elements are; of a contiguous one that follows from extents."""

    element: str
    text: str
    shape: tuple[str, ...]
    strides: tuple[str, ...] | None
    is_control: bool = False
    """Whether another thread changes it, so that each read is one of memory."""

    @property
    def type(self) -> tuple[str, int, bool]:
        """What functions are made for."""
        return self.element, len(self.shape), self.strides is None


class Pointer(NamedTuple):
    """A local array."""

    element: str
    text: str

    @property
    def type(self) -> str:
        """What functions are made for."""
        return f"{self.element}*"


Any_ = Value | Array | Pointer | tuple  # type: ignore[type-arg]
"""What an expression may be; a tuple has several."""

Result = str | tuple[str, ...] | None
"""The type that a function returns, several, or nothing."""


def llvm(type_: str) -> str:
    """What LLVM calls a type in memory: truth values are bytes."""
    return "i8" if type_ == "b1" else LLVM[type_]


def size_of(type_: str) -> int:
    """How many bytes an element has."""
    return 1 if type_ == "b1" else int(type_[1:]) // 8


def constant(value: Any) -> Value:
    """Returns a number of Python or NumPy.

    Raises:
        UnknownTextError: It is something else.
    """
    if isinstance(value, np.generic) and value.dtype in TYPES:
        return typed(TYPES[value.dtype], value.item())
    if type(value) in {bool, int, float}:
        kind = {bool: "b1", int: "i64" if value < 2**63 else "u64", float: "f64"}
        return typed(kind[type(value)], value)
    raise UnknownTextError(f"{value!r} is no number")


def typed(type_: str, number: float) -> Value:
    """A literal of a type."""
    if type_ in FLOATS:
        with np.errstate(over="ignore"):
            held = float(np.float32(number)) if type_ == "f32" else float(number)
        return Value(type_, f"0x{struct.unpack('>Q', struct.pack('>d', held))[0]:016X}")
    bits = int(type_[1:])
    whole = int(number) & (1 << bits) - 1
    if type_[0] == "i" and whole >> bits - 1:
        whole -= 1 << bits
    small = Small(str(whole), whole, whole) if type_ == "i64" else None
    return Value(type_, str(whole), whole, small if small and small.fits else None)


ENDS = {"i8": (-128, 127), "i16": (-(2**15), 2**15 - 1), "u8": (0, 255), "u16": (0, 2**16 - 1), "b1": (0, 1)}
"""Between which numbers narrow integers lie."""


def ends_of(word: str, a: Small, b: Small) -> tuple[int, int] | None:
    """Between which numbers an operation's result lies; None where that is not known, or 32 bits may not hold it."""
    if word == "and" and max(a.low, b.low) >= 0:
        return 0, min(s.high for s in (a, b) if s.low >= 0)
    if word in {"or", "xor"} and min(a.low, b.low) >= 0:
        return 0, (1 << max(a.high, b.high).bit_length()) - 1
    if word == "ashr" and b.low == b.high and 0 <= b.low < _SHORT:
        return a.low >> b.low, a.high >> b.low
    sums = {"add nsw": int.__add__, "sub nsw": int.__sub__, "mul nsw": int.__mul__}
    if word not in sums:
        return None
    corners = [sums[word](i, k) for i in (a.low, a.high) for k in (b.low, b.high)]
    found = Small("", min(corners), max(corners))
    return (found.low, found.high) if found.fits else None


def unified(a: str, b: str) -> str:
    """Returns the type of a value that is either."""
    return a if a == b else joined(a, b)


def joined(a: str, b: str) -> str:
    """Returns the type of a sum; integers are of 64 bits.

    Raises:
        UnknownTextError: Numba would make a float of integers, or goes by more than this.
    """
    if a in FLOATS or b in FLOATS:
        if a in FLOATS and b in FLOATS:
            return a if a == b else "f64"
        if "f64" in {a, b} or {a, b} & {"i64", "u64"}:
            return "f64"
        raise UnknownTextError(f"{a} with {b}")
    if a[0] == "u" == b[0]:
        return "u64"
    if "u64" in {a, b}:
        raise UnknownTextError(f"{a} with {b}")
    return "i64"
