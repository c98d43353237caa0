"""Syntax that is rewritten before a body is read: what Python makes of the body itself, and the same bits compiled."""

import math

import numpy as np
import pytest

from kernels_for_tests import assert_same_bits, holes, write_module
from tilejit.kernel import crossing

pytestmark = pytest.mark.slow

TEXT = '''
import collections
import dataclasses
import enum

METHOD, LIMIT, TOP, STEPS = "horn", None, 4.0, (0.5, 2.5, 7.0)


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = 2


class Land(enum.IntEnum):
    WATER = 1
    FOREST = 5


@dataclasses.dataclass(frozen=True)
class Sensor:
    gain: float = 1.5


MODE, SENSOR = Mode.SLOW, Sensor()
BAND = collections.namedtuple("Band", "scale offset")(0.5, 2)
square = lambda v: v * v


def made(weight):
    half = lambda v: v / 2

    @tj.focal(nodata="kernel")
    def functions(z, *, factor=2.0):
        """Functions inside see the body's variables, rasters, parameters and what the body sees."""
        rise = lambda dy, dx=0: z[dy, dx] - z[0, 0]

        def bounded(v, most=3.0):
            if v > most:
                return most + BAND.offset
            return scaled(v)

        def scaled(v):
            inner = lambda u: u * shift
            return inner(v) * factor + weight

        shift = 1.0
        total = 0.0
        for dy in range(-1, 2):
            shift = shift + 0.5
            total += bounded(rise(dy, 1)) - rise(dy)
        return total, (lambda v: v + factor)(total), square(half(total))

    return functions


functions = made(0.25)


@tj.local(nodata="kernel")
def matches(z, w):
    match math.floor(w):
        case 1 | 2:
            r = 1.0
        case -3:
            r = 7
        case Land.FOREST:
            r = 9
        case 3 if z > 0:
            r = 3.5
        case n if n > 6:
            r = n * 2
        case _:
            r = 0.0
    match METHOD:
        case "zt":
            r = math.nan
        case "horn":
            r += 100
    match (z > 0, w):
        case (_, 0):
            return r, 1
        case (p, q) if p:
            return r, q + 2
    return r, z


@tj.local(nodata="kernel")
def flags(z):
    assert z == z or z != z, "kept in Python alone"
    if METHOD != "horn" or MODE is Mode.FAST:
        z = LIMIT
    if LIMIT is not None and z > LIMIT:
        z = LIMIT
    top = TOP if TOP is not None else 0.0
    return z * SENSOR.gain + Mode.SLOW.value + (1 if METHOD in ("horn", "zt") else 2) + Land.WATER, min(z, top)


@tj.local(nodata="kernel")
def loops(z, w):
    for k in range(4):
        if z > k * w:
            found = k
            break
    else:
        found = -1
    for k in range(3):
        if k > 5:
            break
    else:
        found = found + 10
    for i in range(3):
        for j in range(3):
            if i * j > w:
                break
        else:
            continue
        break
    for step in STEPS:
        if step > z:
            found = found + step
            break
    else:
        found = -found
    i = 0
    while math.floor(w) > i:
        i += 2
        if i == 4:
            last = 1
            break
    else:
        last = 2.5
    while (rest := z - i) > 3 and i < 40:
        i += 1
    if (twice := w * 2) > 3:
        twice = twice + 1
    return found, last, rest, twice + i + j, z and w, (z or 2) * 2, (z > 0) and w, z > 1 or w > 1 or 3
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return write_module(tmp_path_factory.mktemp("syntax"), TEXT)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(7)
    z, w = (holes(rng, (14, 40), np.float64, scale=5) for _ in "zw")
    w[~np.isfinite(w)] = 0.5  # of which Python makes no integer
    w[2:4] = np.arange(80).reshape(2, 40) % 9
    z[3, 2:5] = 0.0
    return z, w


@pytest.mark.parametrize("name", ["functions", "matches", "flags", "loops"])
def test_what_python_makes_of_it(module, arrays, name):
    kernel = getattr(module, name)
    given = arrays[: len(kernel.rasters)]
    results = assert_same_bits(kernel, given)
    rows, cols = kernel.radius
    padded = given[0].shape
    for row in range(rows, padded[0] - rows):
        for col in range(cols, padded[1] - cols):
            with np.errstate(all="ignore"):
                expected = kernel.debug(*given, row, col)
            found = [result[row - rows, col - cols] for result in results]
            np.testing.assert_allclose(np.array(found, float), np.array(expected, float), rtol=1e-13)


@pytest.mark.parametrize("name", ["functions", "matches", "loops"])
def test_it_crosses_as_text(module, name):
    kernel = getattr(module, name)
    text = crossing.text_of(kernel)
    crossing._known.clear()
    assert text.find().fingerprint == kernel.fingerprint


def test_a_flag_is_part_of_the_fingerprint(tmp_path):
    text = "METHOD = {!r}\n\n@tj.local\ndef f(z):\n    return z if METHOD == 'horn' else -z\n"
    first, second, third = (write_module(tmp_path, text.format(m)).f.fingerprint for m in ("horn", "zt", "sobel"))
    assert first != second == third


def test_truth_values_of_their_own(tmp_path):
    text = "@tj.local\ndef f(z, *, on=True):\n    return 1 if on is True else 2 if (z > 0) is not False else 3\n"
    kernel = write_module(tmp_path, text).f
    z = np.array([[1.0, -1.0, math.inf]])
    for backend in ("python", "cpu"):
        assert kernel(z, on=False, backend=backend).tolist() == [[2, 3, 2]]
        assert kernel(z, backend=backend).tolist() == [[1, 1, 1]]
