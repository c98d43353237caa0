"""What generated modules for the CPU take from here: operations that are one or two of LLVM's own instructions.

As functions, each would be typed, lowered and optimised by Numba for every kernel that uses it, 25 ms for each type.
Only such modules import this file, and with it Numba.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable


def _joined(typing: Any, a: Any, b: Any) -> Any:
    return types.unliteral(typing.unify_types(a, b))  # type: ignore[no-untyped-call]


def _compared(kind: Any, how: Callable[..., Any], context: Any, builder: Any, sides: Any) -> Any:
    return context.get_function(how, types.boolean(kind, kind))(builder, sides)


@intrinsic
def _select(typing: Any, test: Any, a: Any, b: Any) -> Any:  # noqa: ARG001 - its types tell
    """``a if test else b``."""
    kind = _joined(typing, a, b)
    return kind(types.boolean, kind, kind), lambda _context, builder, _signature, values: builder.select(*values)


@intrinsic
def _minimum(typing: Any, a: Any, b: Any) -> Any:
    """``b if b < a else a``."""
    return _chosen(_joined(typing, a, b), operator.lt)


@intrinsic
def _maximum(typing: Any, a: Any, b: Any) -> Any:
    """``b if b > a else a``."""
    return _chosen(_joined(typing, a, b), operator.gt)


def _chosen(kind: Any, how: Callable[..., Any]) -> Any:
    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        a, b = values
        return builder.select(_compared(kind, how, context, builder, (b, a)), b, a)

    return kind(kind, kind), code


@intrinsic
def _isnan(_typing: Any, a: Any) -> Any:
    """``a != a``."""
    kind = types.unliteral(a)  # type: ignore[no-untyped-call]

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _compared(kind, operator.ne, context, builder, (*values, *values))

    return types.boolean(kind), code


@intrinsic
def _within(_typing: Any, i: Any, n: Any) -> Any:  # noqa: ARG001
    """``i`` where that is from 0 to n - 1, and n elsewhere."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.select(builder.icmp_unsigned("<", *values), *values)

    return types.int64(types.int64, types.int64), code


@intrinsic
def _cut(_typing: Any, value: Any) -> Any:
    """The float cut towards zero, held within 64 bits; 0 for NaN."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        whole, given = ir.IntType(64), values[0].type
        name = f"llvm.fptosi.sat.i64.{given.intrinsic_name}"
        return builder.call(builder.module.declare_intrinsic(name, fnty=ir.FunctionType(whole, [given])), values)

    return types.int64(value), code


def _bits(result: Any, given: Any) -> Any:
    """The same bits as a number of another type."""

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(result))

    return intrinsic(lambda _typing, value: (result(given), code))  # noqa: ARG005 - its name is that of the argument


_int_of_32 = _bits(types.int32, types.float32)
_int_of_64 = _bits(types.int64, types.float64)
_float_of_32 = _bits(types.float32, types.int32)
_float_of_64 = _bits(types.float64, types.int64)
