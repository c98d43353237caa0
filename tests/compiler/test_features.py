"""Small bodies of one feature of Python, math or NumPy each: what is taken means what Python makes of it.

`features.txt` has them, each under its name. Numba's njit takes all but the few of ``PYTHON_ALONE``, and gives what
Python gives (run once by hand: Numba 0.61, 60 pixels). Those of ``REFUSED`` are refused, and told what to write.
"""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tilejit.backends import get_backend
from tilejit.errors import KernelError

pytestmark = pytest.mark.slow

NAMES = """
import math
from enum import IntEnum
from functools import reduce
from typing import NamedTuple
import numpy as np
import tilejit as tj

CODES = (3, 5, 8)
WEIGHTS = (0.5, 2.0, -1.0, 0.25)
TABLE = np.array([1.0, 2.5, -3.0, 4.0, 0.5])
MATRIX = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])
XS, YS = np.array([0.0, 1.0, 2.5, 4.0]), np.array([10.0, 20.0, 15.0, 0.0])
METHOD, NOTHING, VERBOSE, SCALE = "horn", None, True, 2.5

class Limits(NamedTuple):
    low: float
    high: float

LIMITS = Limits(0.2, 0.4)

class Land(IntEnum):
    WATER = 3
    FOREST = 5

def helper(x, y):
    return x * 2 - y

def helper_with_default(x, n=3):
    return x * n

def helper_of_list(a):
    return a[0] + a[1] * len(a)

def helper_of_tuple(t):
    return t[0] - t[1]

def helper_pair(x, y):
    return x + y, x - y

def helper_array(x):
    a = np.zeros(2)
    a[0] = x
    a[1] = x * x
    return a

def helper_rows(a):
    return np.array([a, a * 2])

def helper_doubled(a):
    return [v * 2 for v in a]

def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)

def helper_square(x):
    return x * x

def helper_cube(x):
    return x * x * x

def applied(f, x):
    return f(x) + 1

SQUARE = lambda x: x * x
"""
PARTS = (Path(__file__).parent / "features.txt").read_text(encoding="utf-8").split("## ")
HELD, COMPILED, KEPT_OUT = (dict(re.findall(r"^# (.*)\n((?:(?!# ).*\n)+)", part, re.MULTILINE)) for part in PARTS)
BODIES = {**HELD, **COMPILED, **KEPT_OUT}
REFUSED = {
    "walrus behind and": "assign on a line of its own",
    "walrus in a comprehension's test": "assign on a line of its own",
    "list comprehension over a running range": "append in loops over literal ranges",
    "sum of an appended list": "append in loops over literal ranges",
    "dict assignment": "keep the index within range(len(…)), or test it with if before",
    "set of values": "a body may call",
    "sets unioned": "use one variable for each value",
    "nested function inside a branch": "write it at the top of the body",
    "closure handed on": "give it what it needs as a parameter",
    "recursive helper": "write the recursion as a while loop",
    "raise": "return math.nan for a pixel that has no result",
    "try and except": "test with if",
    "np unique": "sort them, and count where neighbours differ",
    "np bincount": "count in a loop",
    "np histogram": "count in a loop: h = tj.zeros(8, dtype=int); h[k] += 1",
    "complex numbers": "write the real and the imaginary part as two variables",
    "complex literal": "write its real and its imaginary part as two variables",
    "float methods": "a body may call",
    "pixel by a truncated tuple of functions": "a body captures numbers and plain functions",
    "np zeros with a dtype by name": "integers of a body have 64 bits: dtype=int",
}
SIZE = 48
RNG = np.random.default_rng(7)
Z, W, K = RNG.uniform(-2, 2, (1, 16)), RNG.uniform(0.2, 3, (1, 16)), RNG.integers(0, 8, (1, 16))


def text_of(name, function="f"):
    return f"def {function}(z, w, k):\n" + "".join(f"    {line}\n" for line in BODIES[name].splitlines())


def module_of(folder, name, text):
    path = folder / f"{name}.py"
    path.write_text(NAMES + text)
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kernel_of(folder, names):
    """A kernel of as many results as there are bodies, and the plain functions of these."""
    functions = "".join(f"\n{text_of(name, f'f{i}')}" for i, name in enumerate(names))
    calls = ", ".join(f"f{i}(z, w, k)" for i in range(len(names)))
    text = f"{functions}\n@tj.local\ndef kernel(z, w, k: np.int16):\n    return {calls}, 0\n"
    module = module_of(folder, f"features_{abs(hash(names))}", text)
    return module.kernel, [getattr(module, f"f{i}") for i in range(len(names))]


def assert_pythons(names, functions, found):
    """Results are those of plain Python."""
    for name, function, values in zip(names, functions, found, strict=False):
        wanted = [float(function(*each)) for each in zip(Z[0].tolist(), W[0].tolist(), K[0].tolist(), strict=True)]
        np.testing.assert_allclose(np.float64(values)[0], wanted, rtol=1e-12, atol=1e-13, err_msg=name)


def groups(bodies, size):
    names = list(bodies)
    return [tuple(names[k : k + size]) for k in range(0, len(names), size)]


@pytest.mark.parametrize("names", groups(HELD, 150), ids=lambda names: names[0])
def test_what_other_tests_compile_is_typed_and_means_what_python_makes_of_it(names, tmp_path):
    kernel, functions = kernel_of(tmp_path, names)
    assert_pythons(names, functions, kernel(Z, W, K.astype(np.int16), backend="python"))


@pytest.mark.parametrize("names", groups(COMPILED, 45), ids=lambda names: names[0])
def test_machine_code_means_what_python_makes_of_it(names, tmp_path):
    kernel, functions = kernel_of(tmp_path, names)
    found = kernel(Z, W, K.astype(np.int16))
    assert_pythons(names, functions, found)
    signature = kernel.signature([Z.dtype, W.dtype, np.dtype(np.int16)], None)
    ast.parse(get_backend("cuda").source(kernel, signature))
    for name, one, two in zip(names, found, kernel(Z, W, K.astype(np.int16), backend="python"), strict=False):
        np.testing.assert_array_equal(one, two, name)


@pytest.mark.parametrize("name", KEPT_OUT)
def test_what_is_refused_says_what_to_write(name, tmp_path):
    kernel, _ = kernel_of(tmp_path, (name,))
    with pytest.raises(KernelError) as raised:
        kernel(Z, W, K.astype(np.int16))
    *_, line, caret, instead = str(raised.value).splitlines()
    assert "^" in caret
    assert REFUSED[name] in instead
    assert line.strip()
