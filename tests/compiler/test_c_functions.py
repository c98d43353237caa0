"""C functions in bodies, by ctypes and cffi: the same numbers everywhere, and clear refusals."""

import ctypes
import math
import os
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import tilejit as tj
from tilejit.backends import get_backend
from tilejit.engine.planning import dispatch
from tilejit.engine.planning.dispatch import choose_backend
from tilejit.errors import KernelError

CC = shutil.which("cc")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CC is None, reason="no C compiler: cc")]

C = """
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

double gamma_correct(double x, double g) { return pow(x, g); }
float half_of(float x) { return x * 0.5f; }
int64_t add(int64_t a, int32_t b) { return a + b; }
int64_t divide(int64_t a, int64_t b) { return a / b; }
bool is_odd(int64_t n) { return n & 1; }
int64_t choose(bool yes, int64_t a, int64_t b) { return yes ? a : b; }
int16_t narrow(int8_t a, uint8_t b, int16_t c, uint16_t d, uint32_t e) { return (int16_t)(a + b + c + d + e); }
int64_t whole_register(int32_t x) { return x; }
static int64_t nans = 0;
double watched(double x) { nans += x != x; return x; }
int64_t nans_seen(void) { return nans; }
double zero(void) { return 0.0; }
void nothing(double x) { (void)x; }
double sum(const double *x) { return *x; }
uint64_t large(uint64_t x) { return x; }
long double wide(long double x) { return x; }
double many(int count, ...) { return count; }
int counter = 3;
"""
DECLARED = re.sub(r" \{.*", ";", C.split("\n\n", 1)[1]).replace("static int64_t nans = 0;", "")
CTYPES = {
    "gamma_correct": (ctypes.c_double, [ctypes.c_double, ctypes.c_double]),
    "half_of": (ctypes.c_float, [ctypes.c_float]),
    "add": (ctypes.c_int64, [ctypes.c_int64, ctypes.c_int32]),
    "divide": (ctypes.c_int64, [ctypes.c_int64, ctypes.c_int64]),
    "is_odd": (ctypes.c_bool, [ctypes.c_int64]),
    "choose": (ctypes.c_int64, [ctypes.c_bool, ctypes.c_int64, ctypes.c_int64]),
    "narrow": (
        ctypes.c_int16,
        [ctypes.c_int8, ctypes.c_uint8, ctypes.c_int16, ctypes.c_uint16, ctypes.c_uint32],
    ),
    "whole_register": (ctypes.c_int64, [ctypes.c_int8]),
    "watched": (ctypes.c_double, [ctypes.c_double]),
    "nans_seen": (ctypes.c_int64, []),
    "zero": (ctypes.c_double, []),
    "nothing": (None, [ctypes.c_double]),
    "sum": (ctypes.c_double, [ctypes.POINTER(ctypes.c_double)]),
    "large": (ctypes.c_uint64, [ctypes.c_uint64]),
    "wide": (ctypes.c_longdouble, [ctypes.c_longdouble]),
}


def build(folder, text, name):
    (folder / f"{name}.c").write_text(text)
    path = folder / f"{name}.so"
    subprocess.run([CC, "-O2", "-shared", "-fPIC", "-o", path, folder / f"{name}.c", "-lm"], check=True)
    return path


def by_ctypes(path):
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in CTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def by_cffi(path):
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    ffi.cdef(DECLARED)
    return ffi.dlopen(str(path))


def by_compiled_cffi(folder):
    """A module that cffi compiles: its functions are built-in ones."""
    cffi = pytest.importorskip("cffi")
    pytest.importorskip("setuptools", reason="cffi compiles with setuptools")
    ffi = cffi.FFI()
    ffi.cdef(DECLARED)
    name = f"_api_{abs(hash(folder))}"
    ffi.set_source(name, C)
    try:
        ffi.compile(tmpdir=str(folder), verbose=False)
    except cffi.VerificationError as error:
        pytest.skip(f"no module for Python can be compiled: {error}")
    sys.path.insert(0, str(folder))
    try:
        return __import__(name).lib
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def library_file(tmp_path_factory):
    return build(tmp_path_factory.mktemp("c"), C, "user")


@pytest.fixture(scope="module", params=["ctypes", "cffi", "compiled cffi"])
def lib(request, library_file, tmp_path_factory):
    if request.param == "ctypes":
        return by_ctypes(library_file)
    return by_cffi(library_file) if request.param == "cffi" else by_compiled_cffi(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def loaded(library_file):
    return by_ctypes(library_file)


def array(*shape, nan=False):
    cells = np.random.default_rng(1).random(shape, np.float32) + np.float32(0.1)
    if nan:
        cells[3:5, 7] = np.nan
    return cells


def everywhere(kernel, *inputs, **parameters):
    """The results in memory on all threads, streamed on threads, and interpreted, which must be the same."""
    found = kernel(*inputs, **parameters)
    results = found if isinstance(found, tuple) else (found,)
    lazy = kernel(*(tj.from_array(a) for a in inputs), **parameters)
    streamed = lazy.compute(tile=(16, 24), workers=3)
    interpreted = lazy.compute(backend="python")
    for result, one, other in zip(results, streamed, interpreted, strict=True):
        np.testing.assert_array_equal(result, one)
        np.testing.assert_array_equal(result, other)
    return found


def test_a_local_body(lib):
    @tj.local
    def corrected(z, *, g=2.0):
        return lib.gamma_correct(z, g)

    cells = array(70, 50, nan=True)
    np.testing.assert_allclose(everywhere(corrected, cells), cells.astype(np.float64) ** 2, rtol=1e-6)
    assert corrected(cells).dtype == np.float32
    wide = cells.astype(np.float64)
    np.testing.assert_array_equal(everywhere(corrected, wide), wide**2)


def test_a_focal_body_with_a_helper(lib):
    def rise(z, scale):
        return lib.half_of(z[0, 1]) - lib.half_of(z[0, -1]) + scale * lib.zero()

    @tj.focal(edge="nearest")
    def steep(z):
        return rise(z, 2.0)

    cells = array(70, 50)
    padded = np.pad(cells, ((0, 0), (1, 1)), "edge")
    half = np.float32(0.5)
    np.testing.assert_array_equal(everywhere(steep, cells), padded[:, 2:] * half - padded[:, :-2] * half)


def test_a_function_that_is_captured_by_itself(lib):
    function = lib.half_of

    @tj.local
    def halved(z):
        return function(z)

    cells = array(20, 30)
    np.testing.assert_array_equal(everywhere(halved, cells), cells * np.float32(0.5))


def test_integers_and_truth_values(lib):
    @tj.local
    def codes(q: np.int32) -> tuple[np.int32, np.uint8, np.int32]:
        odd = 1 if lib.is_odd(q) else 0
        return lib.add(q, 3), odd, lib.choose(q > 10, 7, lib.add(q, q))

    cells = np.arange(-600, 600, dtype=np.int32).reshape(30, 40)
    total, odd, chosen = everywhere(codes, cells)
    np.testing.assert_array_equal(total, cells + 3)
    np.testing.assert_array_equal(odd, cells % 2)
    np.testing.assert_array_equal(chosen, np.where(cells > 10, 7, cells * 2))


def test_narrow_integers_wrap(lib):
    @tj.local
    def wrapped(q: np.int32) -> np.int32:
        return lib.narrow(q, q, q, q, q)

    cells = np.arange(-70_000, 70_000, 97, dtype=np.int32)[None]
    parts = [cells.astype(t).astype(np.int64) for t in (np.int8, np.uint8, np.int16, np.uint16, np.uint32)]
    np.testing.assert_array_equal(everywhere(wrapped, cells), sum(parts).astype(np.int16))


def test_narrow_arguments_fill_their_register(loaded):
    """As some compilers rely on; gcc does not, so the function reads more than it is said to take."""

    @tj.local
    def read(q: np.int32) -> np.int32:
        return loaded.whole_register(q)

    cells = np.arange(-400, 400, dtype=np.int32)[None]
    np.testing.assert_array_equal(everywhere(read, cells), cells.astype(np.int8))


def test_loops_and_conditions(loaded):
    @tj.focal(nodata="kernel")
    def mean(z):
        total = 0.0
        count = 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                if tj.is_valid(z[dy, dx]):
                    total += loaded.half_of(z[dy, dx])
                    count += 1
        n = 0
        while n < 3 and loaded.half_of(total) > 0.5:
            total = loaded.half_of(total)
            n += 1
        return total / count if count > 0 else math.nan

    found = everywhere(mean, array(40, 30, nan=True))
    assert np.isfinite(found).all()


def test_the_left_side_of_and_guards_the_right(loaded):
    """Dividing by zero ends a C program."""

    @tj.local
    def ratio(a: np.int32, b: np.int32) -> np.int32:
        if b != 0 and loaded.divide(a, b) > 2:
            return loaded.divide(a, b)
        return -1 if b == 0 or loaded.divide(a, b) < 0 else 0

    a, b = np.meshgrid(np.arange(-9, 40, dtype=np.int32), np.arange(-3, 4, dtype=np.int32))
    quotient = np.trunc(a / np.where(b == 0, 1, b)).astype(np.int32)
    expected = np.where((b != 0) & (quotient > 2), quotient, np.where((b == 0) | (quotient < 0), -1, 0))
    np.testing.assert_array_equal(everywhere(ratio, a, b), expected)


def test_a_choice_calls_one_side_only(loaded):
    @tj.local
    def ratio(a: np.int32, b: np.int32) -> np.int32:
        x = 0
        if b != 0:
            x = loaded.divide(a, b)
        return x + (loaded.divide(a, b) if b != 0 else 0)

    a, b = np.meshgrid(np.arange(40, dtype=np.int32), np.arange(3, dtype=np.int32))
    np.testing.assert_array_equal(everywhere(ratio, a, b), np.where(b == 0, 0, 2 * (a // np.maximum(b, 1))))


def test_nodata_does_not_reach_it(loaded):
    @tj.local
    def same(z):
        return loaded.watched(z)

    cells = array(40, 30, nan=True)
    np.testing.assert_array_equal(everywhere(same, cells), cells)
    assert loaded.nans_seen() == 0
    assert math.isnan(loaded.watched(math.nan))
    assert loaded.nans_seen() == 1


def test_debug_calls_it(loaded):
    @tj.focal
    def steep(z):
        return loaded.gamma_correct(z[0, 1], 2.0)

    assert steep.debug(np.float32([[1, 2, 3]]), 0, 1) == 9


def test_two_kernels_of_one_text_call_their_own(tmp_path):
    def kernel_of(number):
        text = f"double value(double x) {{ return x + {number}; }}"
        library = ctypes.CDLL(str(build(tmp_path, text, f"lib{number}")))
        library.value.argtypes, library.value.restype = [ctypes.c_double], ctypes.c_double

        @tj.local
        def moved(z):
            return library.value(z)

        return moved

    cells = array(20, 30)
    signature = [cells.dtype]
    kernels = [kernel_of(number) for number in (1, 2)]
    texts = {get_backend("cpu").source(k, k.signature(signature)) for k in kernels}
    assert len(texts) == 1
    for number, kernel in enumerate(kernels, 1):
        np.testing.assert_allclose(everywhere(kernel, cells), cells + number, rtol=1e-6)
    first, second = kernels
    both = second(first(tj.from_array(cells))).compute()[0]
    np.testing.assert_allclose(both, cells + 3, rtol=1e-6)


def test_two_functions_of_one_name_in_one_body(tmp_path):
    libraries = []
    for number in (1, 2):
        text = f"double value(double x) {{ return {number} * x; }}"
        libraries.append(ctypes.CDLL(str(build(tmp_path, text, f"named{number}"))))
        libraries[-1].value.argtypes, libraries[-1].value.restype = [ctypes.c_double], ctypes.c_double
    one, two = libraries

    @tj.focal(nodata="kernel")
    def value(z):
        tile = one.value(3.0) if not tj.is_valid(z[0, 0]) else two.value(z[0, 0])
        return tile + one.value(1.0)

    cells = array(20, 30, nan=True)
    np.testing.assert_array_equal(everywhere(value, cells), np.where(np.isnan(cells), 4, 2 * cells + 1))


def test_a_new_process_has_its_own_address(tmp_path, library_file):
    (tmp_path / "kernels.py").write_text(
        textwrap.dedent(f"""
        import ctypes
        import tilejit as tj
        lib = ctypes.CDLL({str(library_file)!r})
        lib.gamma_correct.argtypes, lib.gamma_correct.restype = [ctypes.c_double] * 2, ctypes.c_double

        @tj.local
        def corrected(z):
            return lib.gamma_correct(z, 2.0)
    """)
    )
    code = "import numpy as np; from kernels import corrected; print(corrected(np.float32([[3]]))[0, 0])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TILEJIT_CACHE_DIR": str(tmp_path / "cache")}
    times = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
                              env=environment)  # fmt: skip
        assert done.stdout.strip() == "9.0"
        times += [path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("corrected*.o")]
    assert len(times) == 2
    assert times[0] == times[1]


PROCESSES_RUN = """
from pathlib import Path
import numpy as np
import tilejit as tj
from kernels import corrected

if __name__ == "__main__":
    cells = np.random.default_rng(1).random((1, 300, 200), np.float32)
    tj.from_array(cells).save("z.tif")
    for executor in ("threads", "processes"):
        report = corrected(tj.open("z.tif")).save(f"{executor}.tif", executor=executor, workers=2, tile=(64, 64),
                                                  profile={"blockxsize": 64, "blockysize": 64})
        print(report.executor, report.tiles)
    assert np.array_equal(tj.open("processes.tif").read(), tj.open("threads.tif").read())
    assert np.allclose(tj.open("processes.tif").read(), cells.astype(np.float64) ** 2, rtol=1e-6)
    text = Path("kernels.py").read_text()
    Path("kernels.py").write_text(text.replace("2.0)", "3.0)"))
    try:
        corrected(tj.open("z.tif")).save("other.tif", executor="processes", workers=2)
    except tj.TilejitError as error:
        print(str(error).split(":")[0])
"""


@pytest.mark.parametrize("through", ["ctypes", "cffi"])
def test_worker_processes_load_it_themselves(tmp_path, library_file, through):
    """Each has the function at an address of its own; a body that is another there is refused as ever."""
    if through == "cffi":
        pytest.importorskip("cffi")
        load = f"""
        import cffi
        ffi = cffi.FFI()
        ffi.cdef("double gamma_correct(double x, double g);")
        lib = ffi.dlopen({str(library_file)!r})
        """
    else:
        load = f"""
        import ctypes
        lib = ctypes.CDLL({str(library_file)!r})
        lib.gamma_correct.argtypes, lib.gamma_correct.restype = [ctypes.c_double] * 2, ctypes.c_double
        """
    body = """
        import tilejit as tj

        @tj.local
        def corrected(z):
            return lib.gamma_correct(z, 2.0)
        """
    (tmp_path / "kernels.py").write_text(textwrap.dedent(load + body))
    (tmp_path / "run.py").write_text(PROCESSES_RUN)
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    *tasks, refusal = done.stdout.splitlines()
    assert tasks == ["threads 20", "processes 20"]
    assert refusal == "corrected of kernels is not the same in a worker as where the run was planned"
    assert not (tmp_path / "other.tif").exists()


def test_the_source_says_what_it_is_given(loaded):
    @tj.local
    def corrected(z):
        return loaded.gamma_correct(z, 2.0)

    text = get_backend("cpu").source(corrected, corrected.signature([np.dtype(np.float32)]))
    assert "gamma_correct = _c_function('gamma_correct', 'float64', 'float64', 'float64')" in text
    assert "f32(gamma_correct(f64(" in text
    assert list(corrected.c_functions) == ["gamma_correct"]


def test_a_gpu_refuses_it(loaded):
    def helper(z):
        return loaded.gamma_correct(z, 2.0)

    @tj.local
    def corrected(z):
        return helper(z) + 1

    message = (
        r"(?s)test_c_functions\.py:\d+: helper: loaded\.gamma_correct is a C function.*\n    +\^{20}\n.*backend='cpu'"
    )
    with pytest.raises(KernelError, match=message):
        corrected(tj.from_array(array(3, 3))).plan(backend="cuda")
    with pytest.raises(KernelError, match=message):
        corrected(array(3, 3), backend="cuda")
    with pytest.raises(KernelError, match=message):
        get_backend("cuda").source(corrected, corrected.signature([np.dtype(np.float32)]))


def test_auto_leaves_it_on_the_cpu(loaded, monkeypatch):
    @tj.local
    def corrected(z):
        return loaded.gamma_correct(z, 2.0)

    monkeypatch.setattr(dispatch, "missing_for_cuda", lambda: None)
    monkeypatch.setattr(type(get_backend("cuda")), "why_not", lambda _: None)
    assert choose_backend("auto", [corrected]) == ("cpu", "corrected calls C functions, which a GPU cannot")


def refusal(kernel):
    with pytest.raises(KernelError) as caught:
        kernel(array(3, 3))
    return str(caught.value)


def test_what_it_takes_must_be_set(library_file):
    fresh = ctypes.CDLL(str(library_file))

    @tj.local
    def corrected(z):
        return fresh.gamma_correct(z, 2.0)

    text = refusal(corrected)
    assert re.search(r"test_c_functions\.py:\d+: corrected: fresh\.gamma_correct does not say what it takes\n", text)
    assert "return fresh.gamma_correct(z, 2.0)\n           ^^^^^^^^^^^^^^^^^^^\n" in text
    assert "set its argtypes and its restype" in text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nothing", "returns nothing"),
        ("sum", r"takes (LP_c_double|double const \*|double \*)"),
        ("large", r"takes (c_u\w+|uint64_t)"),
        ("wide", "takes (c_longdouble|long double)"),
    ],
)
def test_only_numbers_pass(lib, name, problem):
    function = getattr(lib, name)

    @tj.local
    def called(z):
        return function(z)

    text = refusal(called)
    assert re.search(rf"called: function {problem}\n.*\n +\^{{8}}\n  pass and return double, float", text), text


def test_any_number_of_arguments(library_file):
    many = by_cffi(library_file).many

    @tj.local
    def called(z):
        return many(1, z)

    assert "many takes any number of arguments" in refusal(called)


def test_what_compiled_code_would_leave_out(library_file):
    checked = ctypes.CDLL(str(library_file)).zero
    checked.argtypes, checked.restype, checked.errcheck = [], ctypes.c_double, lambda *_: 1.0
    locked = ctypes.PyDLL(str(library_file)).zero
    locked.argtypes, locked.restype = [], ctypes.c_double
    null = ctypes.CFUNCTYPE(ctypes.c_double)(0)

    @tj.local
    def with_check(z):
        return checked() + z

    @tj.local
    def with_lock(z):
        return locked() + z

    @tj.local
    def with_null(z):
        return null() + z

    assert "checked has an errcheck" in refusal(with_check)
    assert "locked needs Python's lock" in refusal(with_lock)
    assert "null points to nothing" in refusal(with_null)


def test_arguments_that_do_not_fit(loaded):
    @tj.local
    def too_few(z):
        return loaded.gamma_correct(z)

    @tj.local
    def by_name(z):
        return loaded.gamma_correct(z, g=2.0)

    @tj.local
    def a_float(z):
        return loaded.add(z, 1)

    @tj.local
    def no_truth(z):
        return loaded.choose(int(z), 1, 2)

    @tj.local
    def missing(z):
        return loaded.nowhere(z)

    @tj.local
    def no_call(z):
        return loaded.zero + z

    assert "takes 2 arguments, 1 given" in refusal(too_few)
    assert "it takes float64, float64" in refusal(too_few)
    assert "with a keyword argument" in refusal(by_name)
    assert "a float, and the C function takes int64 here" in refusal(a_float)
    assert "write int(z)" in refusal(a_float)
    assert "an integer, and the C function takes bool here" in refusal(no_truth)
    assert "loaded.nowhere is no function of that library" in refusal(missing)
    assert "loaded.zero is not a number" in refusal(no_call)


def test_variables_of_a_library_are_not_captured(library_file):
    library = by_cffi(library_file)

    @tj.local
    def called(z):
        return z + library.counter

    assert "unknown name library.counter" in refusal(called)
