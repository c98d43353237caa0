"""The kernel language: the interpreted body (the definition) and the compiled one give the same bits."""

import math
import warnings

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import assert_same_bits, bits, holes, launch, write_module

pytestmark = pytest.mark.slow

FLOATS = (np.float32, np.float64)

# Each is the body of `def body(a, b, *, p=0.75, n=3, flag=True)`, a focal kernel whose cells are floats.
FOCAL = {
    "if": """
        if a[0, 0] > b[0, 0]:
            return a[0, 1]
        return b[0, -1]""",
    "elif": """
        if a[0, 0] < -5:
            x = 1
        elif a[0, 0] < p:
            x = 2.5
        elif flag:
            x = a[1, 1]
        else:
            x = b[0, 0]
        return x * 2""",
    "ternary": "return a[0, 0] if a[0, 1] < b[0, 0] else (p if flag else b[1, 0])",
    "range": """
        s = 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                s += a[dy, dx] * (dy + 0.1 * dx)
        return s""",
    "range of a parameter": """
        s = 0.0
        for k in range(n):
            s = s * 0.5 + a[0, 0] * k
        return s""",
    "range of two parameters": """
        s = 0
        for k in range(-n, n, 2):
            s += k
        return s * a[0, 0]""",
    "negative steps": """
        s = 0.0
        for k in range(2, -3, -2):
            s = s * 0.25 + a[0, k]
        for k in range(n, 0, -1):
            s = s / k
        return s""",
    "nested ranges": """
        s = 0.0
        for i in range(n):
            for j in range(i, n):
                s += a[0, 0] * i - b[0, 0] / (j + 1)
        return s""",
    "loop variable in a range": """
        s = 0.0
        for dy in range(-1, 2):
            for dx in range(dy, 2):
                s += a[dy, dx]
        return s""",
    "loop variable after the loop": """
        for k in range(4):
            if k * p > 1:
                break
        for j in range(1000):
            if a[0, 0] * j > 100:
                break
        return k + j""",
    "loop variable set before the loop": """
        k = 7
        for k in range(n - 3):
            pass
        return a[0, 0] + k""",
    "while": """
        x = abs(a[0, 0]) + 1
        steps = 0
        while x < 1000:
            x *= 1.5
            steps += 1
        return x + steps""",
    "while true": """
        x = abs(a[0, 0])
        k = 0
        while True:
            x = x * 0.5 + 1
            k += 1
            if x < p or k > 20:
                break
        return x + k""",
    "break": """
        s = 0.0
        for dx in range(-2, 3):
            if a[0, dx] > 8:
                break
            s += a[0, dx]
        return s""",
    "continue": """
        s = 0.0
        n_seen = 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                v = a[dy, dx]
                if v < 0:
                    continue
                s += v
                n_seen += 1
        return s / n_seen""",
    "continue in both": """
        s = 0.0
        for k in range(n + 4):
            if k % 2 == 0:
                s += 1
            elif k == 3:
                continue
            else:
                s -= a[0, 0]
                continue
            s *= 2
        return s""",
    "continue deep down": """
        s = 0.0
        for k in range(6):
            if a[0, 0] > k:
                if b[0, 0] > k:
                    continue
                s += 1
            s += b[0, 0]
        return s""",
    "minimum and maximum": "return min(a[0, 0], b[0, 0], 3) - max(a[0, 1], b[0, 1], p, 0)",
    "python's order of NaN": "return min(a[0, 0] - b[0, 0], 1.0) + max(1.0, a[0, 0] / b[0, 0])",
    "absolute": "return abs(a[0, 0]) + abs(-n) + abs(True)",
    "own arithmetic": "return -a[0, 0] + +b[0, 0] - (a[0, 1] - b[0, 1]) * 2 / 3",
    "division by zero": "return a[0, 0] / (b[0, 0] - b[0, 0]) + 1 / (n - 3)",
    "floor division": "return a[0, 0] // b[0, 0] + a[0, 0] % b[0, 0] + a[0, 0] // 2 % 3",
    "integer division": "return n // 2 + n % 2 - (-n) // 2 + (-n) % 2 + n // (n - 3) + n % (n - 3) + a[0, 0] * 0",
    "powers": """
        x, y = a[0, 0], b[0, 0]
        return x ** 2 + y ** 3 - x ** 7 + y ** -2 + x ** 0 + n ** 2 + 2 ** -2""",
    "powers of truths": "return a[0, 0] ** True + n ** False",
    "chained comparison": "return 1.5 if -3 < a[0, 0] <= b[0, 0] < 5 else -1.5",
    "chained assignment": """
        x = y = a[0, 0]
        x = y = x + y
        return x - y * p""",
    "augmented": """
        x = a[0, 0]
        x += 2
        x -= b[0, 0]
        x *= p
        x /= 3
        x //= 0.5
        x %= 7
        x **= 2
        return x""",
    "augmented integers": """
        k = n
        k += 10
        k -= 3
        k *= 7
        k //= 2
        k %= 20
        k **= 2
        k &= 0xFF
        k |= 0x10
        k ^= 0x3
        k <<= 3
        k >>= 1
        return k + a[0, 0]""",
    "swap": """
        x, y = a[0, 0], b[0, 0]
        x, y = y, x
        return x * 2 + y""",
    "swap of kinds": """
        x, y = 1, a[0, 0]
        x, y = y, x
        return x * 2 + y""",
    "and or not": "return 1.0 if (a[0, 0] > 0 and b[0, 0] > 0) or not (a[0, 1] > 0 or flag) else 2.0",
    "numbers as truths": "return (1.0 if a[0, 0] else 2.0) + (4.0 if not n else 8.0) + (0.5 if not a[0, 0] else 0.0)",
    "in": "return 1.0 if n in (1, 3, 9) and a[0, 0] not in (0, 0.5, -0.5) else 0.0",
    "comparisons as numbers": "return (a[0, 0] > 0) + (b[0, 0] > 0) * 2 - (n == 3)",
    "kind widened in a loop": """
        s = 0
        last = 1
        for k in range(n):
            last = s
            s = s + a[0, 0]
        return s - last""",
    "conditional definition": """
        if flag:
            scale = 2
        else:
            scale = 0.5
        return a[0, 0] * scale""",
    "constants": "return a[0, 0] * (math.pi / 180) + 1 / 3 + 2 * 0.1 + math.e",
    "not a number": "return math.nan if a[0, 0] > 0 else -math.inf",
    "rounding": "return round(a[0, 0]) + int(b[0, 0] * 3) + int(True) + float(n) + round(n)",
    "whole": "return math.floor(a[0, 0]) + 10 * math.ceil(b[0, 0]) + math.trunc(a[0, 1]) + math.floor(n)",
    "tests": """
        x, y = a[0, 0], b[0, 0]
        return math.isnan(x) + 2 * math.isinf(y) + 4 * math.isfinite(x / y) + math.isnan(n)""",
    "truths of numbers": "return bool(a[0, 0]) + bool(n) + bool(flag)",
    "bits of truths": "return ((a[0, 0] > 0) & (b[0, 0] > 0)) + ((a[0, 0] > 0) ^ flag) + ((a[0, 0] > 0) | flag)",
    "bits": "return ((n & 1) | (n << 4) ^ 7) + (~n >> 1) + a[0, 0]",
    "wrapping": "return ((n * 6364136223846793005 + 1442695040888963407) >> 40) + a[0, 0]",
    "big numbers": "return n * 16777217 + a[0, 0]",
    "annotated": """
        x: float = a[0, 0]
        y: int
        return x""",
    "unused": "return a[0, 0]",
    "selects that follow each other": """
        x = a[0, 0]
        y = b[0, 0]
        if x > y:
            x, y = y, x
        if x > p:
            t = x - p
            x = t * t
            y = y + t
        else:
            y = x - y
            x = p
        return x * 3 + y""",
    "select of what the test reads": """
        x = a[0, 0]
        if x > 0:
            x = x - 5
            x = x * 2
        return x""",
    "nested selects": """
        best = -math.inf
        second = -math.inf
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                v = a[dy, dx]
                if v > best:
                    second = best
                    best = v
                elif v > second:
                    if v < p:
                        second = v
        return best - second""",
    "counter": """
        count = 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                if a[dy, dx] > 0:
                    count += 1
                    if a[dy, dx] > 5:
                        count += 1000
        return count / 9""",
    "counter of a parameter": """
        n += 2147483647
        if a[0, 0] > 0:
            n += 1
        return n * 0.5""",
    "counter that doubles": """
        k = 1
        k = k + k
        for j in range(40):
            k = k + k
        return k * 1.0 + a[0, 0]""",
}


def _focal(folder, text, decorator="@tj.focal", head=""):
    body = "\n".join(line.removeprefix("    ") for line in text.strip("\n").split("\n"))
    lines = body if body.startswith("    ") else f"    {body}"
    return write_module(folder, f"{head}\n{decorator}\ndef body(a, b, *, p=0.75, n=3, flag=True):\n{lines}\n").body


@pytest.mark.parametrize("name", FOCAL)
def test_focal_bodies(tmp_path, name):
    kernel = _focal(tmp_path, FOCAL[name])
    rng = np.random.default_rng(1)
    rows, cols = kernel.radius
    both = list(FOCAL).index(name) % 3 == 0  # a compilation takes half a second
    for dtype in FLOATS[: 1 + both]:
        arrays = [holes(rng, (13 + 2 * rows, 21 + 2 * cols), dtype) for _ in range(2)]
        assert_same_bits(kernel, arrays)
        assert_same_bits(kernel, arrays, p=-2.0, n=5, flag=False)
        inside = [np.where(np.isfinite(array), array, 0) for array in arrays]
        assert_same_bits(kernel, inside)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64])
def test_integer_arrays_compute_in_floats(tmp_path, dtype):
    kernel = _focal(tmp_path, "return (a[0, 0] - b[0, 0]) / (a[0, 0] + b[0, 1])")
    rng = np.random.default_rng(2)
    assert_same_bits(kernel, [holes(rng, (9, 12), dtype), holes(rng, (9, 12), dtype)])


INTEGERS = {
    "mask": "return 1 if qa & 0b1000 or qa & 0b100000 else 0",
    "shifts": "return (qa >> 2) + (qa << 3) - (qa ^ k)",
    "invert": "return ~qa + k",
    "in": "return 1.5 if qa in (1, 3, 250) else 0.5",
    "captured tuple": "return 1.5 if qa in CLOUDY else 0.5",
    "captured flags": "return 1 if qa & SNOW == SNOW else 2",
    "difference does not wrap": "return qa - k - 300",
    "division": "return qa / k + qa // 3 + qa % 7",
    "truth": "return qa > 3 and k < 5",
    "mixed": "return qa * 0.1 + k",
    "power": "return qa ** 2 - k ** 3",
    "math": "return math.sqrt(abs(qa)) + math.hypot(qa, k)",
    "counter": """
    count = 0
    for bit in range(8):
        if (qa >> bit) & 1:
            count += 1
    return count""",
    "while": """
    x = abs(qa) + 1
    steps = 0
    while x > 1 and steps < 100:
        if x % 2 == 0:
            x //= 2
        else:
            x = 3 * x + 1
        steps += 1
    return steps""",
    "saturation": "return qa * 1000.0",
}


@pytest.mark.parametrize("nodata", ["propagate", "kernel"])
@pytest.mark.parametrize("name", INTEGERS)
def test_integer_bodies(tmp_path, name, nodata):
    lines = INTEGERS[name].strip("\n")
    lines = lines if lines.startswith("    ") else f"    {lines}"
    head = f"CLOUDY = (3, 8, 9)\nSNOW = np.uint8(3)\n@tj.local(nodata={nodata!r})\n"
    text = f"{head}def body(qa: np.int16, k: np.uint8):\n{lines}\n"
    kernel = write_module(tmp_path, text).body
    rng = np.random.default_rng(3)
    arrays = [holes(rng, (9, 33), np.int16), holes(rng, (9, 33), np.uint8)]
    valid = [(rng.random((9, 33)) < 0.9).astype(np.uint8) for _ in arrays]
    assert_same_bits(kernel, arrays)
    assert_same_bits(kernel, arrays, valid=valid)


MATH = [
    *((f"math.{f}(x)", 0) for f in ("sqrt", "fabs", "atan", "sin", "cos", "exp", "log", "degrees", "radians")),
    ("math.atan2(x, y)", 0), ("math.hypot(x, y)", 0), ("math.fmod(x, y)", 0), ("math.copysign(x, y)", 0),
    *((f"math.{f}(x)", 4) for f in ("tan", "sinh", "cosh", "tanh", "asinh", "expm1", "log2", "log10", "log1p")),
    *((f"math.{f}(x / 11)", 4) for f in ("asin", "acos", "atanh")),
    ("math.acosh(abs(x) + 1)", 4), ("math.pow(abs(x), y)", 0), ("abs(x) ** y", 0), ("2 ** x", 0),
    ("math.erf(x)", 4), ("math.erfc(x)", 8), ("math.gamma(abs(x) + 0.5)", 40), ("math.lgamma(abs(x) + 3)", 16),
]  # fmt: skip
"""What a body calls, and by how many ulp the C library that Numba calls may differ from NumPy's and Python's."""


@pytest.fixture(scope="module", params=FLOATS)
def computed(request, tmp_path_factory):
    """x, y, and for each text of MATH what the two backends make of it, all in one kernel."""
    texts = [text for text, _ in MATH]
    body = f"@tj.local\ndef body(x, y):\n    return {', '.join(texts)}\n"
    kernel = write_module(tmp_path_factory.mktemp("math"), body).body
    x, y = (np.random.default_rng(4).normal(scale=3, size=(2, 20, 40))).astype(request.param)
    x[0, :5] = [0, -0.0, 1, -1, 10]
    expected, found = (launch(kernel, backend, [x, y])[0] for backend in ("python", "cpu"))
    return x, y, dict(zip(texts, zip(expected, found, strict=True), strict=True))


@pytest.mark.parametrize(("text", "ulps"), MATH)
def test_math_agrees_with_the_interpreted_body_and_with_python(computed, text, ulps):
    x, y, results = computed
    expected, found = results[text]
    if ulps == 0:
        np.testing.assert_array_equal(bits(found), bits(expected))
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    ok = np.isfinite(expected)
    np.testing.assert_array_equal(found[np.isinf(expected)], expected[np.isinf(expected)])
    assert np.all(np.abs(found[ok] - expected[ok]) <= ulps * np.spacing(np.abs(expected[ok])))
    _assert_near_python(text, x, y, found)


def _assert_near_python(text, x, y, found):
    for k in np.ndindex(x.shape):
        try:
            wanted = eval(text, {"math": math, "x": float(x[k]), "y": float(y[k])})  # noqa: S307
        except (ValueError, OverflowError, ZeroDivisionError):
            continue
        tolerance = 1e-5 if found.dtype == np.float32 else 1e-12
        assert found[k] == pytest.approx(wanted, rel=tolerance, abs=tolerance), (text, x[k], y[k])


HELPERS = """
from other import blend, pair, spread

RATE = 0.25
LIMITS = (1, 2)

def twice(v, by=2.0):
    return v * by

def both(v, *, low=RATE, high=4):
    if v < 0:
        return v * low, 1
    return v, v * high

def centre(z):
    return z[0, 0] * 2

def gradient(z, step):
    return z[0, step] - z[0, -step] if step == 1 else z[0, 0]

def outer(cells, k):
    return gradient_of(cells, k) + centre(z=cells)

def gradient_of(cells, k):
    return (cells[0, 1] - cells[0, -1]) / k

def truth(v):
    return v > 1

def unused(v, w):
    return v

def min_of(a, b):
    min = a
    if b < min:
        min = b
    return min

def make(weight, shift):
    @tj.local
    def closure(z):
        return twice(z) * weight + shift
    return closure

@tj.local
def plain(z):
    return twice(z) + twice(z, 3) + twice(v=z, by=RATE)

@tj.local
def tuples(z):
    a, b = both(z)
    c, d = both(a, high=0.5)
    return a + b, c - d

@tj.local
def forwards(z):
    return both(z, low=3)

@tj.focal
def windows(z):
    return outer(z, 2) - centre(z)

@tj.focal
def windows_by_keyword(z):
    return gradient_of(k=4.0, cells=z)

@tj.local
def elsewhere(z):
    lo, hi = pair(z, 3)
    return blend(lo, hi, t=0.1) + spread(z)

@tj.local
def truths(z):
    return 2.0 if truth(z) else 3.0

@tj.local
def ignoring(z, w):
    return unused(z, w)

@tj.local
def shadowing(z, *, abs=2.0, f32=3.0, np=1.5, tile=2):
    min = z * abs
    max = min + f32
    _y = np * tile
    math = max - _y
    return math

@tj.local
def helper_of_that_name(z):
    return min_of(z, 1.0) + min(z, 2.0)

@tj.local
def _private(twice):
    _x = twice + 1
    own_x = 5
    return _x * own_x

@tj.local
def tile(whole):
    part1 = whole * 2
    _test1 = 3
    launch = _test1
    return part1 + launch

@tj.local
def überhöht(höhe, *, faktor=2.5):
    größe = höhe * faktor
    return größe

@tj.local
def reassigned(red):
    red = red * 0.5
    if red > 1:
        red = 1
    return red

@tj.focal(radius=2)
def runtime(z, *, k=1):
    return z[k, 0] - z[0, k - 3]

@tj.focal
def corner(z, w):
    return z[-2, 1] + w

SMOOTH = (1, 2, 1)
TABLE = ((0.1, 0.2), (0.3, np.float32(0.4)))

@tj.focal
def weighted(z):
    s = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            s += SMOOTH[dy + 1] * SMOOTH[dx + 1] * z[dy, dx]
    return s / 16 + TABLE[1][0] * TABLE[-1][-1]

def shifted(cells, dy, dx=0):
    s = 0.0
    for k in range(-dy, dy + 1):
        s += cells[k, dx] * k
    return s

@tj.focal
def reaching(z):
    s = shifted(z, 1) + shifted(z, 2, dx=1)
    for k in range(1, 3):
        s -= shifted(z, k)
    return s

@tj.local
def located(z, *, row=tj.ROW, col=tj.COL):
    return row * 1000 + col + z * 0

@tj.local
def sized(z, *, w=tj.CELL_WIDTH, h=tj.GROUND_HEIGHT, x=tj.X, y=tj.Y):
    return z * w / h + x * y

@tj.local
def flagged(z, *, flag=False, level: int = 2, rate: float = 1):
    return z * rate if flag else z * level
"""

OTHER = """
SCALE = 3

def blend(a, b, t):
    return a + (b - a) * t

def pair(v, n):
    return v * SCALE, v + n

def spread(v):
    a, b = pair(v, n=2)
    return b - a
"""


@pytest.fixture(scope="module")
def helpers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("helpers")
    write_module(folder, OTHER, head="", name="other")
    return write_module(folder, HELPERS)


@pytest.mark.parametrize(
    "name",
    ["plain", "tuples", "forwards", "windows", "windows_by_keyword", "elsewhere", "truths", "ignoring", "shadowing",
     "helper_of_that_name", "_private", "tile", "überhöht", "reassigned", "runtime", "corner", "weighted", "reaching",
     "located", "sized", "flagged"],
)  # fmt: skip
def test_functions_names_and_parameters(helpers, name):
    kernel = getattr(helpers, name)
    rng = np.random.default_rng(5)
    rows, cols = kernel.radius
    for dtype in FLOATS:
        arrays = [holes(rng, (9 + 2 * rows, 17 + 2 * cols), dtype) for _ in kernel.rasters]
        assert_same_bits(kernel, arrays)


def test_runtime_offsets_stay_within_the_radius(helpers):
    arrays = [holes(np.random.default_rng(6), (12, 12), np.float32)]
    for k in (-9, -2, 0, 2, 5, 100):
        assert_same_bits(helpers.runtime, arrays, k=k)


def test_closures_are_told_apart(helpers):
    one, two = helpers.make(2.0, 1), helpers.make(np.float32(0.1), -3)
    arrays = [holes(np.random.default_rng(7), (5, 9), np.float32)]
    assert_same_bits(one, arrays)
    assert_same_bits(two, arrays)
    assert not np.array_equal(launch(one, "cpu", arrays)[0][0], launch(two, "cpu", arrays)[0][0], equal_nan=True)


CAPTURED = """
class Config:
    scale = np.float64(0.1)
HUGE = 2**62
SMALL = np.int16(-3)
SINGLE = np.float32(0.1)
ON = np.True_
NAN = float("nan")
INF = np.inf
EMPTY = ()

@tj.local
def body(z):
    if not ON:
        return surely_unknown, 1, 2
    x = HUGE - 1 if z > 0 else SMALL
    return x + z * SINGLE * Config.scale, NAN, -INF if z in EMPTY else INF
"""


def test_captured_constants(tmp_path):
    kernel = write_module(tmp_path, CAPTURED).body
    assert_same_bits(kernel, [holes(np.random.default_rng(8), (7, 9), np.float32)])


def test_whole_arrays_agree_with_the_interpreted_body(helpers, tmp_path):
    rng = np.random.default_rng(9)
    kernels = [helpers.windows, helpers.runtime, helpers.tuples, _focal(tmp_path, FOCAL["continue"])]
    for kernel in kernels:
        arrays = [holes(rng, (31, 23), np.float32) for _ in kernel.rasters]
        expected = kernel(*arrays, backend="python")
        found = kernel(*arrays)
        for a, b in zip(np.atleast_3d(expected), np.atleast_3d(found), strict=True):
            np.testing.assert_array_equal(bits(a), bits(b))


def test_any_width_gives_the_same_bits(tmp_path):
    """Vector code and its scalar remainder agree: a pixel's bits do not depend on where a tile ends."""
    text = """
    @tj.focal
    def body(z):
        s = 0.0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                s += z[dy, dx] * (1.1 + dy - 0.3 * dx)
        return math.atan(s) * math.exp(-s * s / 1e3) + math.sqrt(abs(s)) / (s + 0.7)
    """
    kernel = write_module(tmp_path, "\n".join(line[4:] for line in text.split("\n"))).body
    for dtype in FLOATS:
        z = np.random.default_rng(10).normal(size=(4, 300)).astype(dtype)
        (whole,), _ = launch(kernel, "cpu", [z])
        for width in [*range(3, 72), 130]:
            for start in (0, 1, 5):
                (part,), _ = launch(kernel, "cpu", [z[:, start : start + width]])
                np.testing.assert_array_equal(bits(part), bits(whole[:, start : start + width - 2]))


OUTPUTS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64, np.float32, np.float64]


@pytest.mark.parametrize("compute", FLOATS)
@pytest.mark.parametrize("dtype", OUTPUTS)
def test_outputs_round_halves_away_and_saturate(tmp_path, dtype, compute):
    name = np.dtype(dtype).name
    kernel = write_module(tmp_path, f"@tj.local\ndef body(z) -> np.{name}:\n    return z\n").body
    half = np.nextafter(compute(0.5), compute(0))
    z = np.array([0.5, half, 1.5, 2.5, -0.5, -half, -1.5, -2.5, 254.5, 255.4, 300, -300, 1e6, -1e6, 8388609, 3e9, -3e9,
                  1e19, -1e19, 1e30, np.inf, -np.inf, 0.0, -0.0, np.nan], compute)[None]  # fmt: skip
    (found,) = assert_same_bits(kernel, [z])
    if np.dtype(dtype).kind == "f":
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, z.astype(dtype))
        return
    info = np.iinfo(dtype)
    for value, result in zip(z[0, :-1].tolist(), found[0, :-1].tolist(), strict=True):
        away = value if math.isinf(value) else math.copysign(math.floor(abs(value)), value)
        away += math.copysign(abs(value) - abs(away) >= 0.5, value) if math.isfinite(value) else 0
        wanted = info.max if away >= info.max else info.min if away <= info.min else int(away)
        assert result == wanted, value


def test_integer_results_saturate(tmp_path):
    kernel = write_module(tmp_path, "@tj.local\ndef body(z: np.int32) -> np.int8:\n    return z * 3\n").body
    z = np.int32([[0, 42, 43, -42, -43, 2**31 - 1]])
    (found,) = assert_same_bits(kernel, [z])
    assert found.tolist() == [[0, 126, 127, -126, -128, 127]]


WHOLE = """
def halves(v):
    return round(v), math.floor(v)

@tj.local(nodata="kernel")
def body(z) -> tuple[np.int64, np.int64, np.int32, np.int64, np.uint8]:
    near, below = halves(z)
    return near, below, math.ceil(z), math.trunc(z), int(z) if z > -9 else -1
"""


@pytest.mark.parametrize("compute", FLOATS)
def test_floats_are_held_as_they_become_integers(tmp_path, compute):
    kernel = write_module(tmp_path, WHOLE).body
    numbers = [
        3.4028235e38,
        -3.4028235e38,
        np.inf,
        -np.inf,
        2.0**31,
        2.0**31 + 512,
        2.0**63,
        -(2.0**63),
        -0.0,
        2.5,
        -2.5,
    ]
    row = np.array([*numbers, np.nan], compute)
    z = np.stack([np.roll(np.resize(row, 37), k) for k in range(5)])  # in every lane, and in the rest
    found = assert_same_bits(kernel, [z])
    for value, results in zip(z.ravel(), zip(*(r.ravel().tolist() for r in found), strict=True), strict=True):
        if np.isnan(value):
            assert results == (-(2**53) + 1, -(2**53) + 1, -(2**31), -(2**53) + 1, 255)
            continue
        ends = 2**63 - 1 if value > 0 else -(2**63)
        whole = [f(float(value)) if np.isfinite(value) else ends for f in (round, math.floor, math.ceil, int)]
        held = [min(max(v, -(2**63)), 2**63 - 1) for v in whole]
        byte = held[3] if value > -9 else -1
        assert results == (held[0], held[1], min(max(held[2], -(2**31)), 2**31 - 1), held[3], min(max(byte, 0), 255))


BEYOND = """
def sums(z, k):
    total = 0.0
    for j in range(k):
        total += z[0, j]
    return total, z[1 - k, 0] if k < 3 else 0.0

@tj.focal(radius=2, nodata={!r})
def body(z, qa: np.int16, *, k: int = 2):
    total, above = sums(z, k)
    n = 7 if tj.is_valid(qa[k - 1, 0]) and qa[k, 0] >= 0 else 5
    return total, n, above if k < 3 else -1.0
"""


@pytest.mark.parametrize("nodata", ["propagate", "kernel"])
def test_offsets_that_leave_the_radius_are_no_data_and_told(tmp_path, nodata):
    kernel = write_module(tmp_path, BEYOND.format(nodata)).body
    rng = np.random.default_rng(6)
    z, qa = rng.normal(size=(9, 40)).astype(np.float32), np.ones((9, 40), np.int16)
    valid = (rng.random(qa.shape) < 0.8).astype(np.uint8)
    for k, last in ((1, 0), (2, 1), (5, 4)):
        total, n, _ = assert_same_bits(kernel, [z, qa], k=k)
        assert_same_bits(kernel, [z, qa], valid=[None, valid], k=k)
        cells = sum((z[2:-2, 2 + j : 38 + j] for j in range(min(k, 3))), np.zeros((5, 36), np.float32))
        if k <= 2:
            np.testing.assert_array_equal(total, cells)
            assert np.all(n == 7)
        else:
            assert np.all(np.isnan(total))
            assert np.all(n == (-(2**31) if nodata == "propagate" else 5))
        _, tally = launch(kernel, "cpu", [z, qa], k=k)
        assert tally.beyond == ({"body": total.size} if last > 2 else {})


def test_integers_wrap_as_numpy_s_do(tmp_path):
    text = """
        @tj.local
        def body(a: np.int64, b: np.int64) -> tuple[np.int64, np.int64, np.int64, np.int64, np.int64, np.int64, np.float64]:
            return a + b, a - b, a * b, -a, abs(b), a ** 5, a * 1.0
    """
    kernel = write_module(tmp_path, "\n".join(line[8:] for line in text.split("\n"))).body
    rng = np.random.default_rng(7)
    a, b = rng.integers(-(2**63), 2**63 - 1, (2, 6, 37), endpoint=True)
    a[0, :4] = -(2**63), 2**63 - 1, 0, 3
    found = assert_same_bits(kernel, [a, b])
    for result, wanted in zip(found, (a + b, a - b, a * b, -a, np.abs(b), a**5, a * 1.0), strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_integer_results_are_as_wide_as_their_inputs(tmp_path):
    text = "@tj.local\ndef body(a: np.{0}, b: np.int16):\n    return a + 1, b, a > 0\n"
    for name, wanted in {
        "uint8": "i4",
        "uint16": "i4",
        "int32": "i4",
        "uint32": "i8",
        "int64": "i8",
        "uint64": "i8",
    }.items():
        kernel = write_module(tmp_path, text.format(name)).body
        signature = kernel.signature([np.dtype(name), np.dtype(np.int16)])
        assert [d.str[1:] for d in signature.outputs] == [wanted, wanted, "u1"]
    (found, _, _) = assert_same_bits(kernel, [np.uint64([[3_000_000_000, 2**63 - 2]]), np.int16([[1, 2]])])
    assert found.tolist() == [[3_000_000_001, 2**63 - 1]]


@pytest.mark.parametrize("backend", ["python", "cpu"])
def test_results_are_as_wide_at_edges_and_beside_nodata(tmp_path, backend):
    """Where cells may be invalid, unannotated integers are read as floats; a border is computed on its own."""
    right = write_module(tmp_path, "@tj.focal(edge=0.0)\ndef right(z):\n    return int(z[0, 1]) + 1\n").right
    z, nothing = np.uint32([[7, 3_000_000_000, 5, 3_000_000_000]]), -(2**53) + 1
    whole = right(z, backend=backend)
    masked = right(np.ma.masked_equal(z, 5), backend=backend)
    (read,) = right(tj.from_array(z, nodata=5)).compute(backend=backend)
    assert {whole.dtype, masked.dtype, read.dtype} == {np.dtype(np.int64)}
    assert whole.tolist() == [[3_000_000_001, 6, 3_000_000_001, 1]]
    assert masked.tolist() == [[3_000_000_001, None, None, 1]]
    assert read.tolist() == [[3_000_000_001, nothing, nothing, 1]]


def test_what_an_integer_type_does_not_hold_is_told(tmp_path):
    text = "@tj.local\ndef body(a: np.uint64, z) -> tuple[np.uint64, np.uint8, np.int16]:\n    return a, z, z > 1\n"
    kernel = write_module(tmp_path, text).body
    a = np.uint64([[2**64 - 1, 2**63, 2**63 - 1, 5, 6, 7]])
    z = np.float32([[255.4, 255.5, -0.4, -0.5, np.inf, np.nan]])
    (one, two, _), tally = launch(kernel, "cpu", [a, z], nodata=[0, 9, 9])
    assert_same_bits(kernel, [a, z], nodata=[0, 9, 9])
    assert one.tolist() == [[2**63 - 1, 2**63 - 1, 2**63 - 1, 5, 6, 0]]
    assert two.tolist() == [[255, 255, 0, 0, 255, 9]]
    assert tally.saturated == {"body": 2 + 3}


def test_a_text_that_is_not_the_code_s_is_refused(tmp_path):
    text = "def helper(v):\n    return v * 2\n\n\n@tj.local\ndef body(z):\n    return helper(z)\n"
    module = write_module(tmp_path, text)
    path = tmp_path / f"{module.__name__}.py"
    before = path.read_text(encoding="utf-8")
    path.write_text("\n" + before.replace("helper(v)", "helper(v)  # the same, moved"), encoding="utf-8")
    with pytest.raises(tj.TilejitError, match=r"helper: the file was changed since helper was imported.*\n.*reload"):
        module.body(np.float32([[1]]))
    path.write_text(before.replace("v * 2", "v * 3"), encoding="utf-8")
    with pytest.raises(tj.TilejitError, match="what stands there is not what Python runs"):
        module.body(np.float32([[1]]))
    path.write_text(before.replace("    return v * 2", "    # a comment\n    return v * 2"), encoding="utf-8")
    assert module.body(np.float32([[1]])) == 2


def test_collisions_are_counted(tmp_path):
    text = "@tj.local\ndef body(z) -> tuple[np.uint8, np.float32]:\n    return z, z * 2\n"
    kernel = write_module(tmp_path, text).body
    z = np.float32([[255, 254, 300, np.nan, -4, 7]])
    (one, two), tally = launch(kernel, "cpu", [z], nodata=[255, -8])
    assert tally.collisions == 3
    assert one.tolist() == [[255, 254, 255, 255, 0, 7]]
    assert two.tolist() == [[510, 508, 600, -8, -8, 14]]
    assert_same_bits(kernel, [z], nodata=[255, -8])


def test_print_runs_in_debug_alone(tmp_path, capsys):
    text = "@tj.local\ndef body(z):\n    print('z is', z)\n    return z * 2\n"
    kernel = write_module(tmp_path, text).body
    z = np.float32([[1.5]])
    assert_same_bits(kernel, [z])
    assert not capsys.readouterr().out
    assert kernel.debug(z, 0, 0) == 3
    assert capsys.readouterr().out == "z is 1.5\n"


def test_no_warning_is_raised(tmp_path):
    kernel = _focal(tmp_path, FOCAL["division by zero"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(kernel, [np.zeros((3, 3), np.float32)] * 2)
