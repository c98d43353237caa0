"""What an expression is made of: bands, numbers, numbers that a pass makes, and operations on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from tilejit.compiler.form.kinds import LazyScalar

Bounds = tuple[float, float]
"""The least and the largest value that a whole number may have."""

UNBOUNDED = (-math.inf, math.inf)
BOOL, FLOAT32, FLOAT64 = np.dtype(bool), np.dtype(np.float32), np.dtype(np.float64)


def _unbounded(*_: Bounds) -> Bounds:
    return UNBOUNDED


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """An operation as a body has it."""

    name: str
    """What tells it from others."""
    text: str
    """How it is written: ``{0} + {1}``."""
    bounds: Callable[..., Bounds] = _unbounded
    """Within which bounds its result is, for those of its operands, where all are whole numbers."""
    is_whole: bool = False
    """Whether it takes integers as integers, and not as the floats that hold them."""
    hides: bool = False
    """Whether an operand that is NaN may give a result that is not."""
    helper: Any = None
    """The body of a kernel that it calls as ``{name}``."""
    is_integer: bool = False
    """Whether what that gives is no float."""


@dataclass(frozen=True, eq=False, slots=True)
class Leaf:
    """A band."""

    band: Any
    """What it is to whoever makes the expression."""
    dtype: np.dtype
    """What its cells are."""
    key: Hashable
    """What tells the band from others."""


@dataclass(frozen=True, eq=False, slots=True)
class Number:
    """A number, which adapts to the rasters beside it."""

    value: bool | int | float
    """Its value."""

    @property
    def key(self) -> Hashable:
        """What tells it from others: the sign of zeros too."""
        return type(self.value), repr(self.value)


@dataclass(frozen=True, eq=False, slots=True)
class Awaited:
    """A number that an earlier pass makes: a float, which adapts too."""

    value: LazyScalar
    """What makes it."""

    @property
    def key(self) -> Hashable:
        """What tells it from others."""
        return repr(self.value), id(self.value)


@dataclass(frozen=True, eq=False, slots=True)
class Missing:
    """No data, whatever it stands beside."""

    key = "no data"


@dataclass(frozen=True, eq=False, slots=True)
class Operation:
    """A function of nodes, cell by cell."""

    function: Function
    """The function."""
    operands: tuple[Node, ...]
    """What it takes."""
    dtype: np.dtype
    """What its result is when it leaves the expression."""


Node = Leaf | Number | Awaited | Missing | Operation
"""A part of an expression."""


def rasters_among(nodes: Sequence[Node]) -> list[Leaf | Operation]:
    """Returns the nodes that have cells, and so a dtype."""
    return [node for node in nodes if isinstance(node, (Leaf, Operation))]


def promoted(nodes: Sequence[Node]) -> np.dtype:
    """Returns the dtype that operands have together.

    That of NumPy's promotion, with truth values as uint8. A number adapts: only a whole one that the integers do not
    hold widens them, and a float makes floats of them, float32 where that holds them all.

    Example:
        >>> band = Leaf("a", np.dtype(np.uint8), 0)
        >>> promoted([band, Number(2)]), promoted([band, Number(300)]), promoted([band, Number(0.5)])
        (dtype('uint8'), dtype('uint16'), dtype('float32'))
    """
    dtypes = [np.dtype(np.uint8) if node.dtype == BOOL else node.dtype for node in rasters_among(nodes)]
    common = np.result_type(*dtypes)
    for node in nodes:
        if common.kind == "f":
            return common
        if isinstance(node, Awaited) or (isinstance(node, Number) and isinstance(node.value, float)):
            common = floating(common)
        elif isinstance(node, Number) and not np.iinfo(common).min <= node.value <= np.iinfo(common).max:
            common = np.result_type(common, np.min_scalar_type(int(node.value)))
    return common


def floating(dtype: np.dtype) -> np.dtype:
    """Returns the dtype of floats that are made of a dtype: float32 of integers up to 16 bits, as in any kernel.

    Example:
        >>> floating(np.dtype(np.uint16)), floating(np.dtype(np.int32))
        (dtype('float32'), dtype('float64'))
    """
    return np.result_type(dtype, FLOAT32)


def operations_in(root: Operation) -> list[Operation]:
    """Returns the operations of an expression, each once, operands first."""
    done: dict[int, Operation] = {}
    waiting: list[Operation] = [root]
    while waiting:  # a tree may be deeper than calls may be
        node = waiting[-1]
        left = [one for one in node.operands if isinstance(one, Operation) and id(one) not in done]
        waiting += left
        if not left:
            done[id(node)] = node
            waiting.pop()
    return list(done.values())


def with_leaves(root: Operation, of: Callable[[Leaf], Node]) -> Operation:
    """Returns an expression with something else for each of its leaves."""
    made: dict[int, Operation] = {}

    def node(operand: Node) -> Node:
        return (
            made[id(operand)]
            if isinstance(operand, Operation)
            else of(operand)
            if isinstance(operand, Leaf)
            else operand
        )

    for one in operations_in(root):
        made[id(one)] = Operation(one.function, tuple(map(node, one.operands)), one.dtype)
    return made[id(root)]
