"""What generated modules call that is no function of theirs: operations, Python's own functions, NumPy's and C's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tilejit.compiler.jit import lanes
from tilejit.compiler.jit.values import (
    FLOATS,
    LLVM,
    TYPES,
    Array,
    Pointer,
    UnknownTextError,
    Value,
    llvm,
    typed,
    unified,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tilejit.compiler.jit.assembly import Assembly

_LIMIT = 2.0**63
_PURE = " nounwind willreturn memory(none)"
_OF_LLVM = {
    math.sqrt: "sqrt",
    np.sqrt: "sqrt",
    np.floor: "floor",
    np.ceil: "ceil",
    np.rint: "rint",
    math.log10: "log10",
    math.sin: "sin",
}
_OF_C = ("tan", "asin", "acos", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "expm1", "log1p", "log2", "erf",
         "erfc", "lgamma")  # fmt: skip
_C_NAMES = {getattr(math, name): name for name in _OF_C} | {math.gamma: "tgamma"}


def _select(to: Assembly, test: Value, a: Value, b: Value) -> Value:
    type_ = unified(a.type, b.type)
    return to.chosen(test, to.cast(a, type_), to.cast(b, type_))


def _extreme(how: str) -> Callable[..., Value]:
    """``b if b < a else a``, or with another comparison; of more than two, one after the other."""

    def chosen(to: Assembly, a: Value, *others: Value) -> Value:
        for b in others:
            type_ = unified(a.type, b.type)
            a, b = to.cast(a, type_), to.cast(b, type_)  # noqa: PLW2901
            a = to.chosen(to.compared(how, b, a), b, a)
        return a

    return chosen


def _is_nan(to: Assembly, value: Value) -> Value:
    return to.compared("NotEq", value, value)


def _within(to: Assembly, index: Value, count: Value) -> Value:
    index, count = to.cast(index, "i64"), to.cast(count, "i64")
    is_within = Value("b1", to.new(f"icmp ult i64 {index.text}, {count.text}"))
    return to.chosen(is_within, index, count)


def _cut(to: Assembly, value: Value) -> Value:
    """LLVM's own ``fptosi.sat`` does one number after the other, five instructions each; this is vector code."""
    if value.type not in FLOATS:
        raise UnknownTextError("an integer that is cut")
    zero, limit = typed(value.type, 0.0), typed(value.type, _LIMIT)
    least, most = typed("i64", -(2**63)), typed("i64", 2**63 - 1)
    is_low, is_high = to.compared("Lt", value, typed(value.type, -_LIMIT)), to.compared("GtE", value, limit)
    outside = to.whole_operation("or", to.compared("NotEq", value, value), to.whole_operation("or", is_low, is_high))
    whole = to.cast(to.chosen(outside, zero, value), "i64")
    return to.chosen(is_high, most, to.chosen(is_low, least, whole))


def _bits(result: str, given: str) -> Callable[..., Value]:
    def same(to: Assembly, value: Value) -> Value:
        value = to.cast(value, given)
        return Value(result, to.new(f"bitcast {LLVM[given]} {value.text} to {LLVM[result]}"))

    return same


def _len(to: Assembly, array: Any) -> Value:
    del to
    if not isinstance(array, Array):
        raise UnknownTextError("the length of no array")
    return Value("i64", array.shape[0])


def _float(to: Assembly, value: Value) -> Value:
    return value if value.type in FLOATS else to.cast(value, "f64")


OPERATIONS: dict[str, Callable[..., Any]] = {
    "_select": _select,
    "_minimum": _extreme("Lt"),
    "_maximum": _extreme("Gt"),
    "min": _extreme("Lt"),
    "max": _extreme("Gt"),
    "_isnan": _is_nan,
    "_within": _within,
    "_cut": _cut,
    "_int_of_32": _bits("i32", "f32"),
    "_int_of_64": _bits("i64", "f64"),
    "_float_of_32": _bits("f32", "i32"),
    "_float_of_64": _bits("f64", "i64"),
    "len": _len,
    "abs": lambda to, value: to.absolute(value),
    "int": lambda to, value: to.cast(value, "i64"),
    "float": _float,
    "bool": lambda to, value: to.truth(value),
    **lanes.OPERATIONS,
}
"""Functions by their names: those of `tilejit.compiler.jit.operations`, and Python's own."""


def _whole(how: str) -> Callable[..., Value]:
    """The integer below or above."""
    return lambda to, value: to.cast(to.intrinsic(f"llvm.{how}.{value.type}", value.type, [value]), "i64")


def _is_infinite(to: Assembly, value: Value) -> Value:
    both = [to.compared("Eq", value, typed(value.type, number)) for number in (math.inf, -math.inf)]
    return to.whole_operation("or", *both)


def _is_finite(to: Assembly, value: Value) -> Value:
    rest = to.float_operation("fsub", value, value)
    return to.compared("Eq", rest, rest)


_WRITTEN: dict[Any, Callable[..., Value]] = {
    math.ceil: _whole("ceil"),
    math.copysign: lambda to, a, b: to.intrinsic(f"llvm.copysign.{a.type}", a.type, [a, b]),
    math.floor: _whole("floor"),
    math.isfinite: _is_finite,
    math.isinf: _is_infinite,
    np.fmod: lambda to, a, b: to.float_operation("frem", a, b),
}


def called_of_numpy(to: Assembly, function: Any, arguments: list[Value]) -> Value:
    """Calls a function of ``math`` or NumPy, as Numba does.

    Raises:
        UnknownTextError: It is another one.
    """
    given = arguments[0].type if arguments else ""
    if given not in FLOATS or any(a.type != given for a in arguments):
        raise UnknownTextError("a function of integers")
    if function in _WRITTEN:
        return _WRITTEN[function](to, *arguments)
    if function in _OF_LLVM:
        return to.intrinsic(f"llvm.{_OF_LLVM[function]}.{given}", given, arguments)
    if function in _C_NAMES:
        return to.intrinsic(f"{_C_NAMES[function]}{'f' * (given == 'f32')}", given, arguments, _PURE)
    raise UnknownTextError(f"{function}")


def local(dtype: str, size: int) -> Callable[..., Pointer]:
    """What gives a local array its place."""
    element = TYPES[np.dtype(dtype)]
    return lambda to: Pointer(element, to.place(llvm(element), size))


def c_function(name: str, *types: str) -> Callable[..., Value]:
    """What calls a C function; the module is told its address when it is loaded."""
    result, *arguments = (TYPES[np.dtype(dtype)] for dtype in types)

    def called(to: Assembly, *values: Value) -> Value:
        return to.intrinsic(
            f"tilejit.c.{name}", result, [to.cast(v, t) for v, t in zip(values, arguments, strict=True)]
        )

    return called


def sorting(dtype: str, size: int, pairs: tuple[tuple[int, int], ...]) -> Callable[..., tuple[()]]:
    """What sorts the first elements of such an array by a network."""
    element = TYPES[np.dtype(dtype)]

    def sort(to: Assembly, array: Pointer, count: Value) -> tuple[()]:
        is_float, places = element in FLOATS, [typed("i64", k) for k in range(size)]
        old = [to.read(array, [k]) for k in places]
        first = [to.compared("Gt", count, k) for k in places]
        known, reals, keys = first, count, old
        if is_float:
            known = [to.whole_operation("and", t, to.compared("Eq", v, v)) for t, v in zip(first, old, strict=True)]
            reals = typed("i64", 0)
            for is_known in known:
                reals = to.whole_operation("add", reals, to.cast(is_known, "i64"))
            keys = [to.float_operation("fadd", v, typed(element, 0.0)) for v in old]  # -0.0 becomes 0.0
        largest = typed(element, math.inf if is_float else 2**63 - 1)
        keys = [to.chosen(t, v, largest) for t, v in zip(known, keys, strict=True)]
        for i, j in pairs:
            swaps = to.compared("Lt", keys[j], keys[i])
            keys[i], keys[j] = to.chosen(swaps, keys[j], keys[i]), to.chosen(swaps, keys[i], keys[j])
        for k, place in enumerate(places):
            new = to.chosen(to.compared("Gt", reals, place), keys[k], typed(element, math.nan)) if is_float else keys[k]
            to.write(array, [place], to.chosen(first[k], new, old[k]))
        return ()

    return sort
