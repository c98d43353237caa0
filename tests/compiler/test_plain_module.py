"""Modules become machine code by tilejit's own compiler. Numba is the oracle: its types, its arithmetic, its bits."""

import itertools
import math
import operator

import numpy as np
import pytest
from numba.core import types
from numba.core.registry import cpu_target

import tilejit as tj
from kernels_for_tests import bits
from tilejit.backends import get_backend
from tilejit.backends.cpu import CpuLaunch, launch_facts
from tilejit.comparison.with_numba import numba_module
from tilejit.compiler.emitter.cpu import cpu_source
from tilejit.compiler.jit.assembly import Assembly
from tilejit.compiler.jit.machine_code import OPTIONS
from tilejit.compiler.jit.native_function import NativeFunction
from tilejit.compiler.jit.values import TYPES, UnknownTextError, Value
from tilejit.errors import BackendError

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
        except UnknownTextError:
            continue
        expected = context.resolve_function_type(OPERATORS[name], (NUMBA[a], NUMBA[b]), {})
        assert NUMBA[found] == expected.return_type, (a, b, found)
        done += 1
    assert done > 25


ARITHMETIC = f"""
import math
import numpy as np
from numba import njit

_INLINE = {{{OPTIONS}, "forceinline": True}}
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
    told = []
    for function in (NativeFunction(ARITHMETIC, "all_of", "plain"), numba_module(ARITHMETIC, "with_numba").all_of):
        out = [np.zeros((8, len(i)), np.int64), np.zeros((8, len(i))), np.zeros(len(i), np.bool_),
               np.zeros(2 * len(i), np.float32)[::2]]  # fmt: skip
        told.append((function(i, j, x, y, *out), *(a.tobytes() for a in out)))
    assert told[0] == told[1]


@tj.local
def counted(z, n: np.int32, *, most=9):
    a, steps = [z, z * 0.5, 3.0 - z], 0
    while a[steps % 3] < most and steps < 20:
        a[steps % 3] += abs(z) + 1
        steps += n // 7 if n > 6 else 1
    return math.tanh(a[2]) * (0.0, 0.25, 1.5)[steps % 3], steps * (n % 5)


@tj.focal
def steepness(z):
    return tj.math.atan(math.sqrt((z[0, 1] - z[0, -1]) ** 2 + (z[1, 0] - z[-1, 0]) ** 2))


@tj.focal(nodata="kernel")
def told_by_validity(z, n: np.int16):
    return np.floor(z[1, 1]) if tj.is_valid(n[0, -1]) else z[0, 0] ** 3, n[0, 1] << 2


@pytest.mark.parametrize("kernel", [steepness, counted, told_by_validity], ids=lambda k: k.name)
def test_kernels_have_the_bits_that_numba_gives(kernel):
    rng = np.random.default_rng(0)
    dtypes = [r.dtype or np.dtype(np.float32) for r in kernel.rasters]
    signature = kernel.signature(dtypes)
    given = [(9 * rng.normal(size=(23, 40))).astype(dtype) for dtype in dtypes]
    given[0][3, 4:9] = np.nan
    arrays = [part for a in given for part in ([a] if a.dtype.kind == "f" else [a, np.uint8(a != 0)])]
    scalars = [np.int64(s.default) if type(s.default) is int else np.float32(1.0) for s in kernel.scalars]
    nodata = [dtype.type(-9) for dtype in signature.outputs]
    facts = launch_facts(kernel, signature, "tile")
    loop = numba_module(cpu_source(kernel, signature), f"numba_{kernel.name}").tile
    found, (rows, cols) = [], kernel.radius
    for launch in (get_backend("cpu").compile(kernel, signature), CpuLaunch(loop, kernel, signature, facts)):
        found.append([np.zeros((23 - 2 * rows, 40 - 2 * cols), dtype) for dtype in signature.outputs])
        launch(arrays, found[-1], nodata, scalars)
    for own, numbas in zip(*found, strict=True):
        assert np.array_equal(bits(own), bits(numbas))
        assert len(np.unique(own)) > 5


def test_what_tilejit_does_not_write_is_told_as_its_own_mistake():
    text = "def element_of(x):\n    if x > 2:\n        return (4, 5, 6)[x]\n    return 1\n"
    with pytest.raises(
        BackendError, match=r"mistake of its own: an element .*, in element_of: return \(4, 5, 6\)\[x\]"
    ):
        NativeFunction(text, "element_of", "element_of")(1)


def test_variables_are_of_one_type():
    text = "def either(x):\n    y = 1\n    if x > 2:\n        y = 0.5\n    return y\n"
    with pytest.raises(BackendError, match=r"y is i64 and f64, in either: y = 0\.5"):
        NativeFunction(text, "either", "either")(1)
