"""Modules become machine code without Numba, which is the oracle: its types, its arithmetic, its bits."""

import itertools
import operator

import numpy as np
import pytest
from numba.core import types
from numba.core.registry import cpu_target

from tilejit.backends import get_backend
from tilejit.backends.cpu import launch_facts
from tilejit.compiler.jit.assembly import Assembly
from tilejit.compiler.jit.machine_code import OPTIONS, MachineCode, ObjectCode
from tilejit.compiler.jit.object_compiler import compile_function, compile_text, module_of
from tilejit.compiler.jit.plain_module import PlainModule, compiled
from tilejit.compiler.jit.values import TYPES, NotPlainError, Value
from tilejit_kernels.filters import median_5x5
from tilejit_kernels.series import geometric_median
from tilejit_kernels.terrain import slope

NUMBA = {short: getattr(types, {"bool": "boolean"}.get(dtype.name, dtype.name)) for dtype, short in TYPES.items()}
OPERATORS = {
    "Add": operator.add, "Sub": operator.sub, "Mult": operator.mul, "Div": operator.truediv, "FloorDiv": operator.floordiv,
    "Mod": operator.mod, "BitAnd": operator.and_, "BitOr": operator.or_, "BitXor": operator.xor,
    "LShift": operator.lshift, "RShift": operator.rshift,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_types_of_operations_are_numbas(name):
    """But for those that are refused, among which is no pair that generated modules have."""
    context = cpu_target.typing_context
    context.refresh()
    done = 0
    for a, b in itertools.product(NUMBA, repeat=2):
        try:
            found = Assembly(set()).operation(name, Value(a, "%a"), Value(b, "%b")).type
        except NotPlainError:
            continue
        expected = context.resolve_function_type(OPERATORS[name], (NUMBA[a], NUMBA[b]), {})
        assert NUMBA[found] == expected.return_type, (a, b, found)
        done += 1
    assert done > 25


ARITHMETIC = f"""
import math
import numpy as np
from numba import njit

_INLINE = {{"error_model": "numpy", "forceinline": True, "_nrt": False, "no_cpython_wrapper": True}}
LIMIT = np.float64(2.5)
TABLE = np.array([[3, -1], [250, 7]], np.int16)


@njit(**_INLINE)
def parted(a, b):
    if b > 3:
        return a, b
    return b, a


@njit(**{{{OPTIONS}}})
def all_of(i, j, x, y, whole, real, told, strided):
    n = 0
    for k in range(len(i)):
        a, b, v, w = i[k], j[k], x[k], y[k]
        whole[0, k], whole[1, k], whole[2, k] = a // b, a % b, a ** 3
        whole[3, k] = (a & b) ^ (a >> 3) | (b << 2)
        whole[4, k] = TABLE[b & 1, a & 1] + (a if v < w else 3)
        whole[5, k] = np.uint8(a) + np.int16(b)
        whole[6, k] = max(a, b) - min(a, 7) + abs(b)
        whole[7, k] = int(v > w) + (a > 2 and b < a) + (a < 0 or not b != 3)
        real[0, k], real[1, k], real[2, k] = v % w, v // w, v ** 5
        real[3, k] = a / b
        real[4, k] = -v if v == v and not (v < LIMIT <= w) else w
        real[5, k] = np.floor(v) + np.rint(w) + math.sqrt(abs(v)) + np.fmod(v, w)
        real[6, k] = math.log10(abs(v)) + math.tan(w) + math.copysign(v, w)
        real[7, k] = np.float32(v) * np.float32(w) + a
        told[k] = math.isinf(v) | math.isfinite(w)
        c, d = parted(a, b)
        while True:
            if d > 100 or c < -5:
                break
            d += 7
            if d & 1:
                continue
            c -= 1
        n += c + d
        for step in range(9, k, -4):
            n += step
        strided[k] += k
    return n
"""


def test_arithmetic_is_numbas_to_the_last_bit():
    """Integers at the ends of 64 bits and by zero; floats that are infinite, NaN, zero of either sign."""
    whole = [0, 1, -1, 2, 3, -7, 1000, 2**40, 2**63 - 1, -(2**63)]
    real = [0.0, -0.0, 1.0, -1.5, 0.3, -7.25, 2.5, 1e300, 1e-320, np.inf, -np.inf, np.nan]
    i, j = np.array(list(itertools.product(whole, repeat=2)), np.int64).T.copy()
    x, y = np.array(list(itertools.product(real, repeat=2))[: len(i)]).T.copy()
    argument_types = [
        *[(np.dtype(np.int64), 1, "C")] * 2, *[(np.dtype(np.float64), 1, "C")] * 2,
        (np.dtype(np.int64), 2, "C"), (np.dtype(np.float64), 2, "C"), (np.dtype(np.bool_), 1, "C"),
        (np.dtype(np.float32), 1, "A"),
    ]  # fmt: skip
    told = []
    for made in (
        compiled(ARITHMETIC, "plain", "all_of", argument_types),
        compile_function(module_of(ARITHMETIC, "with_numba"), "all_of", argument_types),
    ):
        symbol, needs, code = made
        out = [np.zeros((8, len(i)), np.int64), np.zeros((8, len(i))), np.zeros(len(i), np.bool_),
               np.zeros(2 * len(i), np.float32)[::2]]  # fmt: skip
        count = MachineCode(argument_types, ObjectCode(symbol, tuple(needs), code))((i, j, x, y, *out))
        told.append((count, *(a.tobytes() for a in out)))
    assert told[0] == told[1]


@pytest.mark.parametrize("kernel", [slope, median_5x5, geometric_median], ids=lambda k: k.name)
def test_shipped_kernels_need_no_numba(kernel):
    signature = kernel.signature([np.dtype(np.float32)] * len(kernel.rasters))
    module = PlainModule(get_backend("cpu").source(kernel, signature), "shipped")
    module.entry("tile", launch_facts(kernel, signature, "tile").types)
    assert "define i32 @shipped_tile(" in module.text


def test_what_is_not_plain_is_left_to_numba():
    text = f"from numba import njit\n\n@njit(**{{{OPTIONS}}})\ndef element_of(x):\n    return (4, 5, 6)[x]\n"
    argument = [(np.dtype(np.int64), 0, "")]
    with pytest.raises(NotPlainError, match="an element of no array"):
        compiled(text, "refused", "element_of", argument)
    symbol, needs, code = compile_text(text, "left", "element_of", argument)
    assert symbol != "left_element_of"
    assert len(code) > 0
    assert isinstance(needs, list)


def test_variables_of_several_types_are_left_to_numba():
    text = f"""
from numba import njit

@njit(**{{{OPTIONS}}})
def either(x):
    y = 1
    if x > 2:
        y = 0.5
    return y
"""
    with pytest.raises(NotPlainError, match="y is i64 and f64"):
        compiled(text, "refused", "either", [(np.dtype(np.int64), 0, "")])
