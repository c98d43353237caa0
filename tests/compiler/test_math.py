"""tj.math: accuracy, C99's special cases, and the same bits in plain Python and in compiled loops."""

import ast
import doctest
import functools
import inspect
import math
import platform
import re

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit.math as tjm
from tilejit.math import float32, float64

pytestmark = pytest.mark.slow

MODULES = {np.float32: float32, np.float64: float64}
DTYPES = list(MODULES)
UNARY = ["atan", "sin", "cos", "exp", "log", "degrees", "radians"]
BINARY = ["atan2", "hypot"]
BITS = {np.float32: np.uint32, np.float64: np.uint64}
# The bounds that the docstrings state, in ulp.
BOUNDS = {
    "atan": (1.9, 1.9),
    "atan2": (2.0, 2.0),
    "sin": (1.6, 1.1),
    "cos": (1.6, 1.1),
    "exp": (1.0, 0.9),
    "log": (0.9, 0.9),
    "degrees": (0.7, 0.9),
    "radians": (0.7, 0.7),
    "hypot": (1.2, 1.2),
}
NUMPY = {
    "atan": np.arctan,
    "atan2": np.arctan2,
    "sin": np.sin,
    "cos": np.cos,
    "exp": np.exp,
    "log": np.log,
    "hypot": np.hypot,
}


@functools.cache
def pasted(dtype):
    """Do as the code generator does: paste the text, decorate every function, compile."""
    source = inspect.getsource(MODULES[dtype])
    lines = ["import numpy as np", "import numba"]
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            lines.append(
                '@numba.njit(error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)'
            )
        if isinstance(node, ast.FunctionDef | ast.Assign):
            lines.append(ast.get_source_segment(source, node))
    namespace = {}
    exec(compile("\n".join(lines), "<pasted>", "exec"), namespace)  # noqa: S102
    return namespace


@functools.cache
def loop(name, dtype):
    function = pasted(dtype)[name]

    def unary(a, out):
        for i in range(a.size):
            out[i] = function(a[i])

    def binary(a, b, out):
        for i in range(a.size):
            out[i] = function(a[i], b[i])

    return numba.njit(error_model="numpy")(unary if name in UNARY else binary)


def compiled(name, *args):
    args = [np.ascontiguousarray(a) for a in args]
    out = np.empty_like(args[0])
    loop(name, out.dtype.type)(*args, out)
    return out


def plain(name, *args):
    dtype = args[0].dtype.type
    function = getattr(MODULES[dtype], name)
    with np.errstate(all="ignore"):
        results = [function(*scalars) for scalars in zip(*args, strict=True)]
    assert {type(r) for r in results} == {dtype}
    return np.array(results, dtype)


def exact(name, *args):
    """Compute in a wider type: float64 for float32, 80-bit for float64."""
    wide = np.float64 if args[0].dtype == np.float32 else np.longdouble
    if args[0].dtype == np.float64 and np.finfo(np.longdouble).nmant < 63:
        pytest.skip("no 80-bit reference on this platform")
    args = [a.astype(wide) for a in args]
    pi = wide(np.pi) + wide(1.2246467991473532e-16)
    with np.errstate(all="ignore"):
        if name == "degrees":
            return args[0] * (180 / pi)
        return args[0] * (pi / 180) if name == "radians" else NUMPY[name](*args)


def ulps(got, want):
    info = np.finfo(got.dtype)
    exponent = np.frexp(np.maximum(abs(want), want.dtype.type(info.tiny)))[1]
    one = np.ldexp(want.dtype.type(1), exponent - info.nmant - 1)
    return abs(got.astype(want.dtype) - want) / one


def worst(name, *args):
    got, want = compiled(name, *args), exact(name, *args)
    with np.errstate(over="ignore"):
        finite = np.isfinite(want.astype(got.dtype))
    # Within half an ulp of the largest number, inf and finite are both right enough.
    agree = np.isfinite(got) == finite
    assert agree.mean() > 0.99999
    keep = agree & finite
    return float(ulps(got[keep], want[keep]).max())


def both_signs(rng, low, high, n):
    """Half spread evenly over the exponents, half over the numbers, of both signs."""
    spread = np.concatenate([np.exp(rng.uniform(np.log(low), np.log(high), n)), rng.uniform(low, high, n)])
    return spread * rng.choice([-1.0, 1.0], spread.size)


def samples(name, dtype, n=200_000):
    rng = np.random.default_rng(20)
    info = np.finfo(dtype)
    tiny, big = float(info.tiny), float(info.max)
    small = float(info.smallest_subnormal)
    if name in {"sin", "cos"}:
        limit = 4e8 if dtype is np.float32 else 1.6e6
        # Where it hurts: next to the multiples of pi/2, at their full precision.
        turns = rng.integers(0, int(limit * 0.63), n).astype(np.longdouble)
        near = turns * (np.longdouble(np.pi / 2) + np.longdouble(6.123233995736766e-17))
        parts = [both_signs(rng, small, limit, n), both_signs(rng, 1e-3, 8192, n), near]
        return np.concatenate(parts).astype(dtype)
    if name == "exp":
        low, high = (-104, 89) if dtype is np.float32 else (-746, 710)
        dense = np.linspace(low, high, 4 * n)
        return np.concatenate([dense, both_signs(rng, small, 2.0, n)]).astype(dtype)
    if name == "log":
        parts = [
            abs(both_signs(rng, small, big, n)),
            rng.uniform(0.5, 2.0, 2 * n),
            1 + both_signs(rng, 1e-6, 0.1, n),
        ]
        positive = np.concatenate(parts).astype(dtype)
        return positive[positive > 0]
    if name == "atan":
        parts = [both_signs(rng, small, big, n), np.linspace(-5, 5, 4 * n)]
        return np.concatenate(parts).astype(dtype)
    low = tiny * 1e3 if name == "radians" else small
    return both_signs(rng, low, big / 100, n).astype(dtype)


def pairs(dtype, low, high, n=400_000):
    rng = np.random.default_rng(21)
    x = both_signs(rng, low, high, n)
    # Most ratios near 1, where the reductions change over; some far from it.
    y = np.where(rng.random(x.size) < 0.8, x * rng.uniform(-4, 4, x.size), rng.permutation(x))
    keep = abs(y) > low
    return y[keep].astype(dtype), x[keep].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_accuracy_of_one_argument(name, dtype):
    assert worst(name, samples(name, dtype)) <= BOUNDS[name][DTYPES.index(dtype)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_accuracy_of_two_arguments(name, dtype):
    info = np.finfo(dtype)
    low, high = float(info.tiny) * 1e-3, float(info.max) / 8
    if name == "hypot":
        low, high = (1e-18, 1e18) if dtype is np.float32 else (1e-153, 1e153)
    assert worst(name, *pairs(dtype, low, high)) <= BOUNDS[name][DTYPES.index(dtype)]


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_angles_degrade_with_their_own_precision(name):
    for magnitude in (1e9, 1e12, 1e15):
        x = np.random.default_rng(22).uniform(0, magnitude, 20_000)
        error = abs(compiled(name, x) - exact(name, x))
        assert error.max() <= magnitude * 2.0**-53
        x = x.astype(np.float32)
        error = abs(compiled(name, x) - exact(name, x))
        assert error.max() <= magnitude * 2.0**-53 + 2.0**-23


def special(dtype):
    info = np.finfo(dtype)
    inner = [
        1.0,
        0.5,
        2.0,
        np.pi,
        0.4375,
        16 / 7,
        88.8,
        104.5,
        709.9,
        745.5,
        info.tiny,
        info.smallest_subnormal,
    ]
    values = [0.0, np.inf, info.max, *inner]
    return np.array([np.nan, *values, *(-v for v in values)], dtype)


def assert_like_c99(name, got, *args):
    wide = np.float64 if got.dtype == np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        if name in NUMPY:
            want = NUMPY[name](*(a.astype(wide) for a in args))
        else:
            want = getattr(np, name)(*(a.astype(wide) for a in args))
        rounded = want.astype(got.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    number = ~np.isnan(rounded)
    got, want, rounded = got[number], want[number], rounded[number]
    np.testing.assert_array_equal(np.signbit(got), np.signbit(rounded))
    exact_ones = np.isinf(rounded) | (rounded == 0)
    np.testing.assert_array_equal(got[exact_ones], rounded[exact_ones])
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(rounded))
    assert (ulps(got[~exact_ones], want[~exact_ones]) <= 2.0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [plain, compiled])
@pytest.mark.parametrize("name", UNARY)
def test_special_values_of_one_argument(name, run, dtype):
    x = special(dtype)
    if name in {"sin", "cos"}:
        x = x[~(np.isfinite(x) & (abs(x) > 1e6))]
    assert_like_c99(name, run(name, x), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [plain, compiled])
def test_atan2_special_values(run, dtype):
    y, x = (a.ravel() for a in np.meshgrid(special(dtype), special(dtype)))
    assert_like_c99("atan2", run("atan2", y, x), y, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [plain, compiled])
def test_hypot_special_values(run, dtype):
    nan, inf = np.nan, np.inf
    table = [
        (3, 4, 5),
        (0, 0, 0),
        (-0.0, 0, 0),
        (inf, 1, inf),
        (1, -inf, inf),
        (inf, nan, nan),
        (nan, 0, nan),
    ]
    x, y, want = (np.array(column, dtype) for column in zip(*table, strict=True))
    np.testing.assert_array_equal(run("hypot", x, y), want)
    limit = np.array([1.9e19 if dtype is np.float32 else 1.4e154], dtype)
    assert run("hypot", limit, limit) == inf


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 0.6), (np.float64, 0.9)])
def test_accuracy_of_powers(dtype, bound):
    rng, n = np.random.default_rng(25), 60_000
    x = np.concatenate([np.exp(rng.uniform(-80, 80, n)), rng.uniform(0.5, 2, n), 1 + rng.normal(0, 1e-3, n)]).astype(
        dtype
    )
    reach = 80 if dtype is np.float32 else 700
    y = np.concatenate(
        [rng.uniform(-reach, reach, n) / np.log(x[:n]), rng.uniform(-100, 100, n), rng.uniform(-9e3, 9e3, n)]
    )
    y = y.astype(dtype)
    wide = np.float64 if dtype is np.float32 else np.longdouble
    want, got = np.power(x.astype(wide), y.astype(wide)), compiled("pow", x, y)
    normal = (want > np.finfo(dtype).tiny) & (want < np.finfo(dtype).max)
    assert ulps(got[normal], want[normal]).max() <= bound
    a, b = any_bits(dtype, 26, 500), any_bits(dtype, 27, 500)
    assert_same_bits("pow", a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [plain, compiled])
def test_powers_of_special_values(run, dtype):
    inf, nan = np.inf, np.nan
    table = [
        (nan, 0, 1), (nan, -0.0, 1), (1, nan, 1), (1, inf, 1), (-1, inf, 1), (-1, -inf, 1), (nan, 1, nan), (2, nan, nan),
        (0, 3, 0), (-0.0, 3, -0.0), (-0.0, 2, 0), (-0.0, 0.5, 0), (0, -2, inf), (-0.0, -3, -inf), (-0.0, -2, inf),
        (inf, 2, inf), (inf, -2, 0), (-inf, 3, -inf), (-inf, 2, inf), (-inf, -3, -0.0), (-inf, 0.5, inf),
        (0.5, inf, 0), (0.5, -inf, inf), (-2, inf, inf), (-2, 3, -8), (-2, -2, 0.25), (-2, 0.5, nan), (3, 4, 81),
        (2, 1e30, inf), (2, -1e30, 0), (0.5, 1e30, 0), (-3, 1e30, inf), (0, inf, 0), (0, -inf, inf),
    ]  # fmt: skip
    x, y, want = (np.array(column, dtype) for column in zip(*table, strict=True))
    got = run("pow", x, y)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [plain, compiled])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_without_meaning_are_nan(name, run, dtype):
    x = np.array([2.0**52, -1e30, np.inf, -np.inf], dtype)
    assert np.isnan(run(name, x)).all()


def nans(dtype):
    """NaNs of both signs, quiet and signalling, with the payload at both ends."""
    bits = BITS[dtype]
    quiet = int(np.array(np.nan, dtype).view(bits))
    sign = 1 << (8 * np.dtype(dtype).itemsize - 1)
    signalling = int(np.array(np.inf, dtype).view(bits)) + 1
    patterns = [quiet, quiet + 1, quiet | sign, sign - 1, 2 * sign - 1, signalling, signalling | sign]
    return np.array(patterns, bits).view(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [plain, compiled])
@pytest.mark.parametrize("name", UNARY)
def test_nan_in_nan_out(name, run, dtype):
    got = run(name, nans(dtype))
    assert np.isnan(got).all()
    if name not in {"degrees", "radians"}:
        assert set(got.view(BITS[dtype])) == {np.array(np.nan, dtype).view(BITS[dtype])[()]}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [plain, compiled])
@pytest.mark.parametrize("name", BINARY)
def test_nan_in_either_argument(name, run, dtype):
    a, b = (v.ravel() for v in np.meshgrid(nans(dtype), special(dtype)))
    for got in (run(name, a, b), run(name, b, a)):
        assert set(got.view(BITS[dtype])) == {np.array(np.nan, dtype).view(BITS[dtype])[()]}


def any_bits(dtype, seed, n=2000):
    """Every kind of number alike, and as many of everyday size."""
    rng = np.random.default_rng(seed)
    wild = rng.integers(0, np.iinfo(BITS[dtype]).max, n, BITS[dtype], endpoint=True).view(dtype)
    return np.concatenate([wild, rng.uniform(-20, 20, n).astype(dtype), special(dtype)])


def assert_same_bits(name, *args):
    bits = BITS[args[0].dtype.type]
    np.testing.assert_array_equal(plain(name, *args).view(bits), compiled(name, *args).view(bits))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY + BINARY)
def test_plain_python_and_numba_give_the_same_bits(name, dtype):
    x, y = any_bits(dtype, 23), any_bits(dtype, 24)
    assert_same_bits(name, *((x,) if name in UNARY else (x, y)))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_same_bits_and_right_angle_anywhere(dtype, data):
    numbers = st.floats(width=32 if dtype is np.float32 else 64)
    y = np.array(data.draw(st.lists(numbers, min_size=8, max_size=8)), dtype)
    x = np.array(data.draw(st.lists(numbers, min_size=8, max_size=8)), dtype)
    for name in UNARY:
        assert_same_bits(name, x)
    for name in BINARY:
        assert_same_bits(name, y, x)
    assert_like_c99("atan2", compiled("atan2", y, x), y, x)
    assert_like_c99("atan", compiled("atan", x), x)
    assert_like_c99("log", compiled("log", x), x)
    assert_like_c99("exp", compiled("exp", x), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_text_can_be_pasted(dtype):
    module = MODULES[dtype]
    tree = ast.parse(inspect.getsource(module))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    known = {f.name for f in functions} | {"np", "abs"}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            known |= {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    assert {"atan", "atan2", "sin", "cos", "exp", "log", "degrees", "radians", "hypot"} <= known
    for function in functions:
        assert ast.get_docstring(function)
        body = [node for statement in function.body[1:] for node in ast.walk(statement)]
        assert {type(s) for s in function.body[1:]} <= {ast.Assign, ast.Return}
        # A bare number would be typed differently by Python and by Numba.
        assert not any(isinstance(node, ast.Constant) for node in body)
        names = {node.id for node in body if isinstance(node, ast.Name)}
        stored = {node.id for node in body if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        assert names <= known | stored | {a.arg for a in function.args.args}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="looks for x86 instructions")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY + BINARY)
def test_loops_use_vector_registers(name, dtype):
    if "+avx" not in numba.core.codegen.get_host_cpu_features().split(","):
        pytest.skip("no AVX on this machine")
    one = np.ones(1, dtype)
    compiled(name, *((one,) if name in UNARY else (one, one)))
    (assembly,) = loop(name, dtype).inspect_asm().values()
    suffix = "s" if dtype is np.float32 else "d"
    assert re.search(rf"\bvmulp{suffix}\s.*%[yz]mm", assembly)
    # libm is called through its address: movabsq $sinf, %rax
    assert not re.search(r"\$(sin|cos|exp|log|atan|atan2|hypot)f?\b", assembly)


@pytest.mark.parametrize("name", UNARY + BINARY)
def test_dispatch_follows_the_arguments(name):
    function = getattr(tjm, name)
    n = 1 if name in UNARY else 2
    for narrow in (np.float32(0.5), np.float16(0.5)):
        got = function(*[narrow] * n)
        assert type(got) is np.float32
        assert got == getattr(float32, name)(*[np.float32(0.5)] * n)
    for wide in (0.5, np.float64(0.5)):
        got = function(*[wide] * n)
        assert type(got) is np.float64
        assert got == getattr(float64, name)(*[np.float64(0.5)] * n)
    for integer in (1, True, np.int16(1), np.uint8(1), np.int64(1)):
        assert type(function(*[integer] * n)) is np.float64
    if n == 2:
        assert type(function(np.float32(1), 2.0)) is np.float32
        assert type(function(2, np.float32(1))) is np.float32
        assert type(function(np.float64(1), np.float32(1))) is np.float64


def test_close_to_the_standard_library():
    for name in UNARY:
        assert getattr(tjm, name)(0.7) == pytest.approx(getattr(math, name)(0.7), rel=1e-15)
    for name in BINARY:
        assert getattr(tjm, name)(0.7, -1.3) == pytest.approx(getattr(math, name)(0.7, -1.3), rel=1e-15)


def test_examples_in_the_docstrings():
    extra = {"np": np, **{name: getattr(tjm, name) for name in tjm.__all__}}
    result = doctest.testmod(tjm, extraglobs=extra)
    assert result.attempted == len(tjm.__all__)
    assert result.failed == 0
