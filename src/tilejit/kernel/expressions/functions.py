"""The operations of expressions: how each is written in a body, what it gives, and within which bounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.errors import ParameterError
from tilejit.kernel.expressions.nodes import (
    BOOL,
    UNBOUNDED,
    Awaited,
    Function,
    Leaf,
    Missing,
    Node,
    Number,
    Operation,
    floating,
    promoted,
    rasters_among,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilejit.kernel.expressions.nodes import Bounds

_INT64 = (-(2.0**63), 2.0**63 - 1)
_MOST_MULTIPLIED = 64
"""The largest exponent that bodies multiply out."""


def _spread(a: Bounds, b: Bounds, operation: Callable[[float, float], float]) -> Bounds:
    found = [operation(x, y) for x in a for y in b]
    return UNBOUNDED if any(value != value for value in found) else (min(found), max(found))  # noqa: PLR0124


def _size(a: Bounds) -> Bounds:
    return 0.0 if a[0] <= 0.0 <= a[1] else min(map(abs, a)), max(map(abs, a))


_BOUNDED: dict[str, tuple[str, Callable[..., Bounds]]] = {
    "add": ("{0} + {1}", lambda a, b: _spread(a, b, lambda x, y: x + y)),
    "subtract": ("{0} - {1}", lambda a, b: _spread(a, b, lambda x, y: x - y)),
    "multiply": ("{0} * {1}", lambda a, b: _spread(a, b, lambda x, y: x * y)),
    "negative": ("-{0}", lambda a: (-a[1], -a[0])),
    "absolute": ("abs({0})", _size),
    "minimum": ("np.minimum({0}, {1})", lambda a, b: (min(a[0], b[0]), min(a[1], b[1]))),
    "maximum": ("np.maximum({0}, {1})", lambda a, b: (max(a[0], b[0]), max(a[1], b[1]))),
    "sign": ("np.sign({0})", lambda _: (-1.0, 1.0)),
    "square": ("{0} * {0}", lambda a: (0.0, max(a[0] * a[0], a[1] * a[1]))),
}


def _no_larger(a: Bounds, _: Bounds) -> Bounds:
    return -_size(a)[1], _size(a)[1]


def _below(_: Bounds, b: Bounds) -> Bounds:
    return min(b[0], 0.0), max(b[1], 0.0)


def _bits(a: Bounds, b: Bounds) -> Bounds:
    most = max(a[1], b[1])
    return (0.0, 2.0 ** math.ceil(math.log2(most + 1))) if min(a[0], b[0]) >= 0.0 and most < 2.0**62 else _INT64


_WHOLE: dict[str, tuple[str, Callable[..., Bounds]]] = {
    "floor_divide": ("{0} // {1}", _no_larger),
    "remainder": ("{0} % {1}", _below),
    "left_shift": ("{0} << {1}", lambda *_: _INT64),
    "right_shift": ("{0} >> {1}", _no_larger),
    "bitwise_and": ("{0} & {1}", _bits),
    "bitwise_or": ("{0} | {1}", _bits),
    "bitwise_xor": ("{0} ^ {1}", _bits),
    "invert": ("~{0}", lambda a: (-a[1] - 1, -a[0] - 1)),
}
_BITS = {"left_shift", "right_shift", "bitwise_and", "bitwise_or", "bitwise_xor", "invert"}
_LOGICAL = {
    "and": "{0} and {1}", "or": "{0} or {1}", "xor": "{0} != {1}", "not": "not {0}",
}  # fmt: skip
_COMPARED = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!="}
_ROUNDED = {"floor", "ceil", "trunc", "fix", "rint"}
_TOLD = {"isfinite": "math.isfinite({0})", "isinf": "math.isinf({0})", "signbit": "np.signbit({0})"}
_FLOATS = {"divide": "{0} / {1}", "reciprocal": "1.0 / {0}", "fmod": "math.fmod({0}, {1})"}

_FUNCTIONS: Mapping[str, Function] = {
    **{name: Function(name, text, bounds) for name, (text, bounds) in _BOUNDED.items()},
    **{name: Function(name, text, bounds, is_whole=True) for name, (text, bounds) in _WHOLE.items()},
    **{name: Function(name, f"{{0}} {sign} {{1}}", hides=True) for name, sign in _COMPARED.items()},
    **{name: Function(name, text, hides=True) for name, text in _TOLD.items()},
    **{name: Function(name, f"np.{name}({{0}})") for name in _ROUNDED},
    **{name: Function(name, text) for name, text in _FLOATS.items()},
}
_OF_TRUTHS = {name: Function(f"logical_{name}", text) for name, text in _LOGICAL.items()}
_TRUTHS: Mapping[str, Function] = {
    **{f"logical_{name}": function for name, function in _OF_TRUTHS.items()},
    **{"invert" if name == "not" else f"bitwise_{name}": function for name, function in _OF_TRUTHS.items()},
}

WHERE = Function("where", "{1} if {0} else {2}", lambda _, a, b: (min(a[0], b[0]), max(a[1], b[1])))
FILLNA = Function("fillna", "", lambda a, b: (min(a[0], b[0]), max(a[1], b[1])))
ISNULL = Function("isnull", "")
TRUTH = Function("truth", "{0} != 0", hides=True)
FLOAT32 = Function("float32", "np.float32({0})")
FLOATS = Function("float", "float({0})")
INTEGERS = Function("int", "", lambda _: _INT64, hides=True)
RENAMED = Function("dtype", "{0}", lambda a: a)
POWER = Function("power", "{0} ** {1}", hides=True)
CHOOSING = {WHERE, FILLNA, ISNULL}
"""Those whose result may hold data where one of their operands does not."""


def applied(name: str, *operands: Node) -> Node:
    """Returns NumPy's function of that name, of operands that are checked.

    Raises:
        ParameterError: There is none in the kernel language, or it does not take such operands.
    """
    bits = name in _BITS
    if bits and any(_is_float(node) for node in operands):
        raise ParameterError(
            f"{name} of floats: it takes truth values and integers; compare first, as (a > 0) & (b > 0)"
        )
    if name in _TRUTHS and (not bits or all(map(_is_truth, operands))):
        return Operation(_TRUTHS[name], tuple(map(truth, operands)), BOOL)
    if name in {"power", "float_power"}:
        return _power(*operands)
    common = promoted(operands)
    if name == "positive" or (name in _ROUNDED and common.kind != "f"):
        return operands[0]
    function = _FUNCTIONS.get(name) or _of_math(name, len(operands))
    return Operation(function, operands, _dtype(name, common))


def _dtype(name: str, common: np.dtype) -> np.dtype:
    """The dtype of a function's result, for that which its operands have together."""
    if name in _COMPARED or name in _TOLD:
        return BOOL
    if name == "negative":
        return _signed(common)
    return common if name in _BOUNDED or name in _WHOLE else floating(common)


def truth(node: Node) -> Node:
    """Returns whether a node is not 0."""
    return node if _is_truth(node) else Operation(TRUTH, (node,), BOOL)


def _is_float(node: Node) -> bool:
    if isinstance(node, Number):
        return isinstance(node.value, float)
    return isinstance(node, Awaited) or (isinstance(node, (Leaf, Operation)) and node.dtype.kind == "f")


def _is_truth(node: Node) -> bool:
    return isinstance(node.value, bool) if isinstance(node, Number) else getattr(node, "dtype", None) == BOOL


def _signed(dtype: np.dtype) -> np.dtype:
    """What holds the negatives of a dtype; of 64 bits without a sign as many as int64 does."""
    if dtype.kind != "u":
        return dtype
    return np.dtype(np.int64) if dtype.itemsize == 8 else np.result_type(dtype, np.int8)


def _power(base: Node, exponent: Node) -> Node:
    """Powers of integers are integers where the exponent is a whole number that is multiplied out, else floats."""
    known = exponent.value if isinstance(exponent, Number) else None
    dtype = promoted([base, exponent])
    if type(known) is int and 0 < known <= _MOST_MULTIPLIED:
        kept = promoted([base])  # of which the exponent says nothing
        return Operation(Function(f"power {known}", f"{{0}} ** {known}", _powers(known)), (base,), kept)
    if dtype.kind == "f":
        return Operation(POWER, (base, exponent), dtype)
    floats = (_floats(node) for node in (base, exponent))
    return Operation(POWER, tuple(floats), floating(dtype))


def _powers(exponent: int) -> Callable[[Bounds], Bounds]:
    def bounds(a: Bounds) -> Bounds:
        ends = [float(end) ** exponent if abs(end) < 2.0**64 else math.inf for end in a]
        return (min(0.0, *ends), max(map(abs, ends))) if all(map(math.isfinite, ends)) else UNBOUNDED

    return bounds


def _floats(node: Node) -> Node:
    if isinstance(node, (Leaf, Operation)) and node.dtype.kind != "f":
        return Operation(FLOATS, (node,), floating(promoted([node])))
    return Number(float(node.value)) if isinstance(node, Number) else node


def _of_math(name: str, count: int) -> Function:
    """A function of floats that the language has."""
    from tilejit.compiler.syntax.numpy_names import math_name

    function = getattr(np, name, None)
    if not isinstance(function, np.ufunc) or (math_name(function) is None and name not in _LANGUAGE):
        raise ParameterError(f"np.{name} of Rasters: the kernel language has no such function (docs/language.md)")
    return Function(name, f"np.{name}({', '.join(f'{{{k}}}' for k in range(count))})", hides=name == "copysign")


_LANGUAGE = {"exp2", "cbrt", "logaddexp", "heaviside", "sinc"}
"""Functions of NumPy that are formulas in the language, and floats."""


def chosen(condition: Node, a: Node, b: Node) -> Node:
    """Returns ``a`` where a condition holds, ``b`` elsewhere; no data where the condition, or the chosen, has none."""
    return Operation(WHERE, (truth(condition), a, b), _either(a, b, condition))


def _either(a: Node, b: Node, condition: Node) -> np.dtype:
    """The dtype of one of two; that of two numbers is the least for them, beside the condition's uint8."""
    sides = [node for node in (a, b) if not isinstance(node, Missing)]
    if sides and all(map(_is_truth, sides)):
        return BOOL
    if not rasters_among(sides):
        least = Operation(TRUTH, (condition,), np.dtype(np.uint8))
        return promoted([least, *sides])
    return promoted(sides)


def filled(node: Leaf | Operation, value: Node) -> Node:
    """Returns a node with another value where it holds no data."""
    both = _is_truth(node) and _is_truth(value)
    return Operation(FILLNA, (node, value), BOOL if both else promoted([node, value]))


def is_null(node: Node) -> Node:
    """Returns whether a node holds no data."""
    return Operation(ISNULL, (node,), BOOL)


def rounded(node: Leaf | Operation, digits: int) -> Node:
    """Returns a node rounded to decimals, as NumPy rounds; integers are what they are."""
    if node.dtype.kind != "f":
        return node
    return Operation(Function(f"round {digits}", f"np.round({{0}}, {digits})"), (node,), node.dtype)


def converted(node: Leaf | Operation, dtype: Any) -> Node:
    """Returns a node as another dtype: floats become integers by rounding, halves away from zero, as outputs do.

    Raises:
        ParameterError: The dtype is none that a raster holds.
    """
    try:
        wanted = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        wanted = np.dtype(object)
    if wanted.kind not in "biuf" or wanted.itemsize > 8 or wanted == np.float16:
        raise ParameterError(f"astype({dtype!r}): no dtype that a raster holds: give uint8, int16, float32 or such")
    if wanted == node.dtype:
        return node
    if wanted == BOOL:
        return Operation(TRUTH, (node,), BOOL)
    if wanted.kind == "f":
        return Operation(FLOAT32 if wanted == np.float32 else FLOATS, (node,), wanted)
    return Operation(INTEGERS if node.dtype.kind == "f" else RENAMED, (node,), wanted)


CHOSEN_OF_TWO = {"fmin": "minimum", "fmax": "maximum"}
"""Functions that take the other one where one is NaN, which is no data."""


def chosen_of_two(name: str, a: Node, b: Node) -> Node:
    """Returns the smaller (``fmin``) or the larger of two; where one holds no data the other."""
    sides = [filled(one, other) if isinstance(one, (Leaf, Operation)) else one for one, other in ((a, b), (b, a))]
    return applied(CHOSEN_OF_TWO[name], *sides)
