"""What surrounds a body on the CPU: nodata, the choice of variants, and the generated text."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest

import tilejit as tj
from kernels_for_tests import assert_same_bits, holes, launch, write_module
from tilejit.backends import get_backend
from tilejit.backends.cpu import launch_facts
from tilejit.compiler.emitter.cpu import cpu_source, has_two_variants
from tilejit.compiler.jit.native_function import NativeFunction
from tilejit.compiler.jit.object_compiler import optimised, this_machine
from tilejit.compiler.jit.plain_module import PlainModule

pytestmark = pytest.mark.slow

WIDE = " + ".join(f"z[{dy}, {dx}]" for dy in range(-3, 4) for dx in range(-3, 4))
PROPAGATED = {
    "arithmetic": ("focal", "z, w", "return z[0, 1] * w[-1, 0]"),
    "branch": ("focal", "z, w", "return 1.0 if z[0, 1] > 0 else w[0, 0]"),
    "minimum": ("focal", "z, w", "return min(z[0, 1], w[0, 0], 1.0)"),
    "multiplied by zero": ("focal", "z, w", "return z[0, 0] * 0 + w[1, 1]"),
    "to the power of zero": ("focal", "z, w", "return z[0, 0] ** 0 + w[0, 0]"),
    "one that is ignored": ("local", "z, w", "return z + 1"),
    "all that are ignored": ("local", "z, w", "return 3.0"),
    "one read in one branch": ("focal", "z, w", "if z[0, 0] > 0:\n        return w[2, -2]\n    return z[0, -1]"),
    "loops": ("focal", "z, w", "s = 0.0\n    for k in range(-2, 3):\n        s += z[k, 0]\n    return s + w[0, 0]"),
    "while": ("local", "z, w", "x = abs(z)\n    while not x > 100:\n        x = x * 2 + 1\n    return x + w"),
    "a wide footprint": ("focal", "z, w", f"return {WIDE} + w[0, 0]"),
    "a wide footprint with gaps": ("focal", "z, w", f"return {WIDE} - max(z[0, 6], w[0, 0])"),
    "a declared radius": ("focal(radius=2)", "z, w", "k = int(w[0, 0] > 0)\n    return z[k, 0] + w[0, 0]"),
    "an unused argument": ("focal", "z, w", "return unused(z[0, 1], w[0, 1])"),
    "a truth value": ("local", "z, w", "return z > w"),
    "an integer": ("local", "z, w", "return int(z > 0) + 2 * int(w > 0)"),
    "two results": ("focal", "z, w", "return z[0, 1], w[1, 0] > 0"),
}


def _kernel(folder, kind, parameters, body):
    decorator = f"@tj.{kind}"
    text = f"def unused(a, b):\n    return a\n\n{decorator}\ndef body({parameters}):\n    {body}\n"
    return write_module(folder, text).body


def _expected_nodata(kernel, valid):
    """A pixel is nodata where any cell of the footprint is, or its own: the definition, cell by cell."""
    rows, cols = kernel.radius
    height, width = valid[0].shape
    result = np.zeros((height - 2 * rows, width - 2 * cols), bool)
    for mask, raster in zip(valid, kernel.rasters, strict=True):
        cells = set(kernel.form.footprint[raster.name])
        for _, dy, dx in cells | ({(0, 0, 0)} if cells else set()):
            top, left = rows + dy, cols + dx
            result |= mask[top : top + result.shape[0], left : left + result.shape[1]] == 0
    return result


@pytest.mark.parametrize("name", PROPAGATED)
def test_nodata_propagates_from_every_cell_of_the_footprint(tmp_path, name):
    kernel = _kernel(tmp_path, *PROPAGATED[name])
    rng = np.random.default_rng(1)
    rows, cols = kernel.radius
    arrays = [rng.normal(size=(20 + 2 * rows, 33 + 2 * cols)).astype(np.float32) for _ in range(2)]
    for array in arrays:
        array[rng.random(array.shape) < 0.02] = np.nan
    nodata = _expected_nodata(kernel, [~np.isnan(a) for a in arrays])
    for output in assert_same_bits(kernel, arrays):
        invalid = np.isnan(output) if output.dtype.kind == "f" else output == _default(output)
        np.testing.assert_array_equal(invalid, nodata)
    assert_same_bits(kernel, [np.nan_to_num(a) for a in arrays])


def _default(output):
    info = np.iinfo(output.dtype)
    return info.max if output.dtype.kind == "u" else info.min


@pytest.mark.parametrize("name", ["branch", "loops", "while", "a wide footprint", "a wide footprint with gaps"])
def test_integer_rasters_propagate_by_their_validity(tmp_path, name):
    kind, _, body = PROPAGATED[name]
    kernel = _kernel(tmp_path, kind, "z: np.uint8, w: np.int16", body)
    rng = np.random.default_rng(2)
    rows, cols = kernel.radius
    shape = 20 + 2 * rows, 33 + 2 * cols
    arrays = [rng.integers(0, 200, shape).astype(d) for d in (np.uint8, np.int16)]
    valid = [(rng.random(shape) > 0.02).astype(np.uint8) for _ in arrays]
    (output,) = assert_same_bits(kernel, arrays, valid=valid)
    invalid = np.isnan(output) if output.dtype.kind == "f" else output == _default(output)
    np.testing.assert_array_equal(invalid, _expected_nodata(kernel, valid))


def test_the_kernel_asks_for_validity(tmp_path):
    text = """
@tj.focal(nodata="kernel")
def body(z, qa: np.uint8):
    s = 0.0
    n = 0
    for dx in range(-1, 2):
        if tj.is_valid(z[0, dx]) and tj.is_valid(qa[0, dx]) and qa[0, dx] != 3:
            s += z[0, dx]
            n += 1
    return s / n if n > 0 else math.nan
"""
    kernel = write_module(tmp_path, text).body
    assert has_two_variants(kernel)
    rng = np.random.default_rng(3)
    z = holes(rng, (9, 40), np.float32)
    qa = rng.integers(0, 5, z.shape).astype(np.uint8)
    valid = (rng.random(z.shape) > 0.3).astype(np.uint8)
    assert_same_bits(kernel, [z, qa], valid=[valid, valid])
    assert_same_bits(kernel, [np.nan_to_num(z), qa])


@pytest.mark.parametrize("nodata", ["propagate", "kernel"])
def test_a_cell_that_is_read_only_where_another_is_invalid(tmp_path, nodata):
    body = "return z[0, 0] if tj.is_valid(z[0, 0]) else z[1, 2]"
    kernel = _kernel(tmp_path, f"focal(nodata={nodata!r})", "z", body)
    assert kernel.radius == kernel.clean_form.radius == (1, 2)
    z = holes(np.random.default_rng(4), (9, 40), np.float32)
    assert_same_bits(kernel, [z])
    assert_same_bits(kernel, [np.nan_to_num(z)])


def test_fast_kernels_still_see_nan(tmp_path):
    body = "s = 0.0\n    for k in range(-1, 2):\n        s += 0.0 if math.isnan(z[0, k]) else z[0, k]\n    return s"
    kernel = _kernel(tmp_path, 'focal(nodata="kernel", fast=True)', "z", body)
    assert "'reassoc'" in get_backend("cpu").source(kernel, kernel.signature([np.dtype("f4")]))
    (found,), _ = launch(kernel, "cpu", [np.float32([[1, np.nan, 4, np.nan, np.inf]])])
    assert found.tolist() == [[5, 4, np.inf]]


@pytest.mark.parametrize("kind", ["focal", 'focal(nodata="kernel")'])
@pytest.mark.parametrize("body", ["z[0, 1] - z[0, -1] + q[1, 0]", "z[0, 1] if z[0, -1] > 0 else q[0, 0]"])
def test_a_lone_hole_stays_one(tmp_path, kind, body):
    """Of each raster that is read: floats whose NaN finds its own way or not, integers by their validity."""
    text = f"@tj.{kind}\ndef body(z, q{{}}, unread):\n    return {body}\n"
    for annotation in ("", ": np.uint8"):
        kernel = write_module(tmp_path, text.format(annotation)).body
        arrays = [np.ones((5 + 2 * kernel.radius[0], 9 + 2), d) for d in ("f4", "u1" if annotation else "f4", "f4")]
        valid = [np.ones(a.shape, np.uint8) for a in arrays]
        for k, (array, col) in enumerate(zip(arrays, (3, 6, 8), strict=True)):
            hole = 2 + kernel.radius[0], col + 1
            valid[k][hole] = 0
            if array.dtype.kind == "f":
                array[hole] = np.nan
        (output,) = assert_same_bits(kernel, arrays, valid=valid)
        assert np.isnan(output[2, [3, 6, 8]]).tolist() == [kind == "focal", kind == "focal", False]


CARRIES = {
    "return z[0, 1] + w[0, 0]": False,
    "return z[0, 1] - z[0, 0] + w[0, 0]": True,
    "return (z[0, 0] - w[0, 0]) / (z[0, 0] + w[0, 0])": True,
    "return math.sqrt(z[0, 0]) * math.atan2(w[0, 0], 2.0)": True,
    "return z[0, 0] * 0 + w[0, 0]": True,
    "return z[0, 0] ** 2 + w[0, 0] ** 3": True,
    "return math.hypot(z[0, 0], w[0, 0])": True,
    "return abs(-z[0, 0]) - math.exp(w[0, 0])": True,
    "a, b = pair(z, w)\n    return a * b": True,
    "return z[0, 0] + w[0, 0], z[0, 0] - w[0, 0]": True,
    "return 1 / z[0, 0] + w[0, 0] ** -1": True,
    "return z[0, 0] ** 0 + w[0, 0]": False,
    "return z[0, 0]": True,
    "return z[0, 0], w[0, 0]": False,
    "x = z[0, 0]\n    x = w[0, 0]\n    return x": False,
    "return unused(z[0, 0], w[0, 0])": False,
    "return min(z[0, 0], w[0, 0])": False,
    "return z[0, 0] if z[0, 0] > 0 else w[0, 0]": False,
    "return float(z[0, 0] > 0) + w[0, 0]": False,
    "return z[0, 0] > w[0, 0]": False,
    "return int(z[0, 0]) + w[0, 0]": False,
    "return math.floor(z[0, 0]) + w[0, 0]": False,
    "return math.pow(z[0, 0], w[0, 0])": False,
    "return z[0, 0] ** w[0, 0]": False,
    "return z[0, 0] // w[0, 0]": False,
    "return math.copysign(z[0, 0], w[0, 0])": False,
    "x = w[0, 0]\n    if z[0, 0] > 0:\n        x = z[0, 0]\n    return x": False,
    "x = w[0, 0] + z[0, 0]\n    for k in range(n):\n        x = 0.0\n    return x": False,
}
"""Whether NaN reaches every result by arithmetic alone; False is always safe."""


@pytest.mark.parametrize("body", CARRIES)
def test_nan_finds_its_own_way(tmp_path, body):
    helpers = "def pair(z, w):\n    return z[0, 0], w[0, 0]\n\ndef unused(a, b):\n    return a\n\n"
    kernel = write_module(tmp_path, f"{helpers}@tj.focal\ndef body(z, w, *, n=3):\n    {body}\n").body
    assert any(kernel.checked_cells.values()) is not CARRIES[body]
    if any(kernel.checked_cells.values()):
        return
    special = np.float32([np.nan, 0, 1, -1, np.inf, -np.inf, 1e30, 1e-40])
    z, w = (np.ascontiguousarray(a) for a in np.meshgrid(special, special))
    for output in assert_same_bits(kernel, [z, w]):
        nodata = _expected_nodata(kernel, [~np.isnan(z), ~np.isnan(w)])
        assert np.isnan(output)[nodata].all()


def test_a_result_that_is_no_number_becomes_a_nodata_value_that_is_one(tmp_path):
    kernel = write_module(tmp_path, "@tj.local\ndef body(z):\n    return z / z\n").body
    assert not any(kernel.checked_cells.values())
    (found,), tally = launch(kernel, "cpu", [np.float32([[0, 2, np.nan]])], nodata=[-9999])
    assert found.tolist() == [[-9999, 1, -9999]]
    assert tally.collisions == 0


TIDY = """
@tj.focal(nodata="kernel")
def body(z, *, gain=2.0):
    s = 0.0
    n = 0
    for dx in range(-1, 2):
        v = z[0, dx]
        if math.isnan(v):
            continue
        s += v
        n += 1
    return gain * s / n
"""

TEXT = '''\
"""body: (float32) -> float32 in float32, one tile at a time, on the CPU.

Written by tilejit from the body of body in tidy_kernels.py. Change that and not this: another body makes another file.
"""

import numpy as np
from numba import njit
from tilejit.compiler.jit.operations import _isnan, _select

f32 = np.float32
_INLINE = {"error_model": "numpy", "forceinline": True, "fastmath": False}
_NATIVE = {"error_model": "numpy", "fastmath": False}


@njit(**_INLINE)
def body(z, _y, _x, gain):
    s = f32(0.0)
    n = 0
    v = z[_y, _x]
    _test1 = _isnan(v)
    s = _select(_test1, s, s + v)
    n = _select(_test1, n, n + 1)
    v = z[_y, _x + 1]
    _test2 = _isnan(v)
    s = _select(_test2, s, s + v)
    n = _select(_test2, n, n + 1)
    v = z[_y, _x + 2]
    _test3 = _isnan(v)
    s = _select(_test3, s, s + v)
    n = _select(_test3, n, n + 1)
    return gain * s / f32(np.int32(n))


@njit(**_NATIVE)
def tile(_control, z, _out0, _nodata0, gain):
    _height = _out0.shape[0]
    for _y in range(_height):
        if _control[0] == 0:
            for _x in range(z.shape[1] - 2):
                _v0 = body(z, _y, _x, gain)
                _out0[_y, _x] = np.float32(_v0)
            _control[1] += 1
'''


def test_the_generated_module_reads_well(tmp_path):
    kernel = write_module(tmp_path, TIDY, name="tidy_kernels").body
    text = cpu_source(kernel, kernel.signature([np.dtype(np.float32)]))
    assert text == TEXT


def test_generated_modules_are_formatted_and_the_same_every_time(tmp_path):
    texts = []
    for name in ("one", "two"):
        body = f"max({WIDE}, qa[1, 0]) if qa[0, 0] else math.exp(z[0, 0])"
        text = f"@tj.focal\ndef body(z, qa: np.uint8) -> np.int16:\n    return {body}\n"
        (tmp_path / name).mkdir()
        kernel = write_module(tmp_path / name, text, name="same").body
        texts.append(cpu_source(kernel, kernel.signature([np.dtype("f8"), np.dtype("u1")])))
    assert texts[0] == texts[1]
    assert "\n\n\n\n" not in texts[0]
    assert all(part.startswith("@njit") for part in texts[0].split("\n\n\n")[1:])


def test_vector_code(tmp_path):
    """The loops over pixels are vector code: packed arithmetic in vector registers."""
    text = """
@tj.focal
def slope(z):
    x = z[0, 1] - z[0, -1]
    y = z[1, 0] - z[-1, 0]
    return math.atan(math.sqrt(x * x + y * y))

@tj.local
def ratio(a, b):
    return (b - a) / (b + a)

@tj.local
def iterated(c):
    x = 0.0
    for i in range(64):
        x = x * x * 0.5 + c
    return x
"""
    module = write_module(tmp_path, text)
    for kernel, dtype in [(module.slope, "f4"), (module.ratio, "f4"), (module.ratio, "u2"), (module.iterated, "f8")]:
        signature = kernel.signature([np.dtype(dtype)] * len(kernel.rasters))
        written = PlainModule(cpu_source(kernel, signature), kernel.name)
        written.entry("tile", launch_facts(kernel, signature, "tile").types)
        assembly = this_machine().emit_assembly(optimised(written.text))
        packed = re.findall(r"\b(?:v?(?:mul|div|sub|fmadd\w*)p[sd]|f(?:mul|div|sub|mla)\s+v\d)", assembly)
        assert len(packed) > 1, kernel.name


@pytest.mark.parametrize("name", ["floor", "exp", "tanh", "cosh"])
def test_a_new_process_finds_what_the_code_calls(tmp_path, name):
    text = f"""
import sys
import numpy as np
import tilejit as tj

@tj.local
def calling(z):
    return math.{name}(z) if z > 2 else z

if __name__ == "__main__":
    raster = calling(tj.from_array(np.full((1, 3), 3, np.float32)))
    print(raster.compute()[0, 0, 0], "numba" in sys.modules)
"""
    (tmp_path / "calling.py").write_text("import math\n" + text, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "calling.py")]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    value, numba_is_there = second.split()
    assert float(value) == pytest.approx(getattr(math, name)(3), rel=1e-6)
    assert first.split()[0] == value
    assert numba_is_there == "False"


@tj.focal
def of_all_kinds(z, n: np.uint16, *, times=2.0, steps=3, far=True, dx=tj.CELL_WIDTH, row=tj.ROW, col=tj.COL):
    return (z[0, 1] * times + n[0, 0] * steps + dx + row + col) if far else z[0, 0], n[0, 0]


@pytest.mark.parametrize("on", ["tiles", "arrays"])
def test_what_is_compiled_is_known_before_a_launch(monkeypatch, on):
    loaded, load = [], NativeFunction.load
    monkeypatch.setattr(NativeFunction, "load", lambda f, types: (loaded.append((f, types)), load(f, types))[1])
    z, n = np.ones((40, 50), np.int16), np.ones((40, 50), np.uint16)
    if on == "tiles":
        grid = tj.Grid(*z.shape, (0.1, 0.0, 7.0, 0.0, -0.1, 50.0), "EPSG:4326")
        of_all_kinds(*(tj.from_array(a, grid=grid, nodata=9) for a in (z, n))).read()
    else:
        of_all_kinds(z, n, far=False, dx=1)
    assert loaded
    assert len({id(f) for f, _ in loaded}) == len(set(loaded))
