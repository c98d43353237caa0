"""NumPy's functions of numbers in a body: as NumPy computes them over arrays, and the same bits on every backend."""

import ast

import numpy as np
import pytest

from kernels_for_tests import assert_same_bits, holes, write_module

pytestmark = pytest.mark.slow

# What NumPy itself computes of the same text over whole arrays, to the last bit.
OF_FLOATS = [
    "np.maximum(a, b)", "np.minimum(a, b)", "np.fmax(a, b)", "np.fmin(a, b)", "np.maximum(a, 0.0) + np.minimum(1.5, b)",
    "np.maximum(np.minimum(a, b), np.abs(a) - 2)", "np.where(a > b, a, 2)", "np.where(a, b, -b)",
    "np.clip(a, -1, 2.5)", "np.clip(a, b, 2)", "np.clip(a, None, b)", "np.sign(a)", "np.square(a)",
    "np.heaviside(a, 0.5)", "np.sqrt(a)", "np.floor(a)", "np.ceil(a)", "np.rint(a)", "np.trunc(a)", "np.fix(b)",
    "np.round(a)", "np.round(a, 2)", "np.around(a, -1)", "np.isnan(a)", "np.isfinite(np.float64(a))",
    "np.logical_and(a, b)", "np.logical_xor(a, b)", "np.float32(a) * 1.0", "a * float('-inf')",
]  # fmt: skip
OF_INTEGERS = [
    "np.maximum(a, b)", "np.fmin(a, b)", "np.where(a > b, a, b)", "np.clip(a, -5, b)", "np.sign(a)", "np.abs(a)",
    "np.bitwise_and(a, 12) + np.left_shift(a, 2) - np.invert(b)", "np.power(a, 3)", "np.floor(a)", "np.round(b)",
    "np.uint8(a) + np.int8(b)", "np.uint16(a)", "np.int16(a * 1000)", "np.int32(b) + np.uint32(3)", "np.int64(a * 0.4)",
    "np.bool_(a)", "np.float64(a) / 3", "np.iinfo(np.int16).max - a", "np.float32(a) + 0.5",
]  # fmt: skip
# Python's own of one pair of numbers: (the same in a body and in Python, how far apart).
OF_PYTHON = [
    ("pow(a, 3)", 1), ("pow(abs(a), b / 4)", 4), ("pow(2, 5) * a", 0), ("quotient(a, 3.0)", 0), ("round(a, 2)", 1),
    ("round(a, -1)", 1), ("parts(a)", 0), ("math.inf if a > b else -a", 0), ("math.log(abs(a) + 2, 10)", 4),
    ("float('nan') if a > 0 else float('inf')", 0), ("np.nan if a > 0 else np.inf", 0),
]  # fmt: skip
# Two texts that come to the same code.
ALIKE = [
    ("np.sin(a) + np.cos(b)", "math.sin(a) + math.cos(b)"), ("np.tan(a)", "math.tan(a)"),
    ("np.arctan2(a, b) + np.hypot(a, b)", "math.atan2(a, b) + math.hypot(a, b)"),
    ("np.arcsin(a) + np.arccos(b)", "math.asin(a) + math.acos(b)"), ("np.arctan(a)", "math.atan(a)"),
    ("np.sinh(a) * np.cosh(a) * np.tanh(a)", "math.sinh(a) * math.cosh(a) * math.tanh(a)"),
    ("np.arcsinh(a) * np.arccosh(a) * np.arctanh(a)", "math.asinh(a) * math.acosh(a) * math.atanh(a)"),
    ("np.exp(a) - np.expm1(b)", "math.exp(a) - math.expm1(b)"), ("np.log(a) + np.log2(b)", "math.log(a) + math.log2(b)"),
    ("np.log10(a) * np.log1p(b)", "math.log10(a) * math.log1p(b)"), ("np.fabs(a) - np.copysign(a, b)",
    "math.fabs(a) - math.copysign(a, b)"), ("np.fmod(a, b) + np.isinf(a)", "math.fmod(a, b) + math.isinf(a)"),
    ("np.deg2rad(a) + np.degrees(b)", "math.radians(a) + math.degrees(b)"), ("np.rad2deg(a)", "math.degrees(a)"),
    ("np.radians(a)", "math.radians(a)"), ("np.abs(a) + np.absolute(b)", "abs(a) + abs(b)"),
    ("np.add(a, np.multiply(b, 2))", "a + b * 2"), ("np.subtract(a, np.divide(b, 2))", "a - b / 2"),
    ("np.mod(a, np.floor_divide(b, 2))", "a % (b // 2)"), ("np.power(a, 2) + np.negative(np.positive(b))", "a**2 + -+b"),
    ("pow(a, b) + np.float_power(a, b)", "a**b + a**b"), ("np.exp2(a)", "2.0**a"),
    ("np.logical_or(np.less(a, b), np.greater_equal(a, 2))", "not not (a < b or a >= 2)"),
    ("np.logical_not(np.equal(a, 1))", "not a == 1"), ("np.not_equal(a, b) & np.less_equal(a, b)", "(a != b) & (a <= b)"),
    ("a * np.pi + np.e", "a * math.pi + math.e"), ("np.float64(a)", "float(a)"), ("math.log(a, b)", "math.log(a) / math.log(b)"),
    ("np.finfo(np.float32).eps * a", "1.1920928955078125e-07 * a"),
]  # fmt: skip
HEADS = {"floats": "a, b", "integers": "a: np.int16, b: np.int16", "python": "a, b"}
HELPERS = """
def quotient(a, b):
    q, r = divmod(a, b)
    return q + r * 10


def parts(a):
    part, whole = math.modf(a)
    return part + whole * 3


"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    bodies = {
        "floats": OF_FLOATS,
        "integers": OF_INTEGERS,
        "python": [text for text, _ in OF_PYTHON],
    }
    text = "\n\n".join(
        f'@tj.local(nodata="kernel")\ndef {name}({HEADS[name]}):\n    return (\n        '
        + ",\n        ".join(texts) + ",\n    )\n"
        for name, texts in bodies.items()
    )  # fmt: skip
    return write_module(tmp_path_factory.mktemp("numpy"), HELPERS + text)


def pairs(dtype, share=0.05):
    rng = np.random.default_rng(5)
    a, b = (holes(rng, (12, 67), dtype, share=share) for _ in "ab")
    if dtype != np.int16:
        a[0, :4], b[0, :4] = [0.0, -0.0, 0.0, -0.0], [0.0, 0.0, -0.0, -0.0]
    return a, b


def evaluated(text, names, values):
    """What Python makes of a text."""
    return eval(text, names, values)  # noqa: S307 - our own text


def assert_near(found, expected, ulps, text):
    expected = np.asarray(expected).astype(found.dtype)
    with np.errstate(all="ignore"):
        off = np.abs(found.astype(float) - expected) / np.spacing(np.maximum(np.abs(expected.astype(float)), 1e-9))
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    assert np.all(same | (off <= ulps)), (text, found[~same][:5], expected[~same][:5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats(kernels, dtype):
    a, b = pairs(dtype)
    results = assert_same_bits(kernels.floats, [a, b])
    if dtype == np.float64:
        with np.errstate(all="ignore"):
            for text, found in zip(OF_FLOATS, results, strict=True):
                assert_near(found, evaluated(text, {"np": np}, {"a": a, "b": b}), 0, text)


def test_integers(kernels):
    a, b = pairs(np.int16)
    results = assert_same_bits(kernels.integers, [a, b])
    wide = {"a": a.astype(np.int64), "b": b.astype(np.int64)}
    for text, found in zip(OF_INTEGERS, results, strict=True):
        assert_near(found, evaluated(text, {"np": Casts()}, wide), 0, text)


class Casts:
    """NumPy, of which types of integers cast arrays as ``astype`` does."""

    def __getattr__(self, name):
        found = getattr(np, name)
        is_integer = isinstance(found, type) and issubclass(found, np.integer)
        return (lambda v: np.asarray(v).astype(np.int64).astype(found).astype(np.int64)) if is_integer else found

    def iinfo(self, _cast):
        return np.iinfo(np.int16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_python_s_own(kernels, dtype):
    a, b = pairs(dtype, share=0)
    results = assert_same_bits(kernels.python, [a, b])
    if dtype == np.float64:
        for (text, ulps), found in zip(OF_PYTHON, results, strict=True):
            numbers = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
            expected = [evaluated(text, vars(kernels), {"a": x, "b": y}) for x, y in numbers]
            assert_near(found.ravel(), expected, ulps, text)


def test_what_means_the_same_is_the_same_code(tmp_path):
    texts = [text for both in ALIKE for text in both]
    bodies = "\n\n".join(f"@tj.local\ndef f{k}(a, b):\n    return {text}\n" for k, text in enumerate(texts))
    module = write_module(tmp_path, bodies)
    for k, (one, other) in enumerate(ALIKE):
        first, second = (
            [ast.dump(s) for s in getattr(module, f"f{number}").form.body.body] for number in (2 * k, 2 * k + 1)
        )
        assert first == second, (one, other)
