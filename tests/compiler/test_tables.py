"""Tables: captured numbers, indexed by data. Python's own indexing is the definition, on every backend."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tilejit as tj
from kernels_for_tests import bits, write_module
from tilejit.backends import get_backend
from tilejit.compiler.form.tables import read_table
from tilejit.errors import KernelError

pytestmark = pytest.mark.slow

SHAPE = (7, 9)
RNG = np.random.default_rng(20)
LUT = tuple(RNG.normal(size=40).tolist())
SQUARES = np.arange(256, dtype=np.uint16) ** 2
COLOURS = [[0.5, 0.25, 1.0], [1.0, 2.0, 3.0], [-1.0, 0.0, 8.0], [4.0, 5.0, 6.0]]
CLASSES = {11: 1, 12: 1, 21: 2, 42: -7, 90: 40}
CAP = np.array(
    [[0.3, 0.28, 0.47, 0.56], [-0.28, -0.24, -0.54, 0.72], [0.15, 0.2, 0.33, 0.34]]
)  # Tasseled cap, shortened
RAYS = ((0, 1, 0.5), (1, 1, 2), (1, 0, 0.25), (-1, 0, 1))
FLAGS = (True, False, True)


@tj.local
def looked_up(z):
    return LUT[int(z)]


@tj.local
def coloured(c: np.uint8, z):
    return COLOURS[c & 3][int(z) % 3] * z


@tj.local
def squared(c: np.uint8) -> np.uint16:
    return SQUARES[c]


@tj.local
def reclassified(z) -> np.int16:
    """Land cover classes, which a raster may hold as floats."""
    return CLASSES[z] + (100 if z + 9 in CLASSES else 0) + CLASSES.get(z + 1, 0)


@tj.local
def tasseled_cap(t: tj.Stack):
    bright, green, wet = 0.0, 0.0, 0.0
    for k in range(len(t)):
        bright += CAP[0, k] * t[k]
        green += CAP[1, k] * t[k]
        wet += CAP[2, k] * t[k]
    return bright, green, wet


@tj.focal(radius=1)
def along(z, which):
    k = int(which[0, 0])
    return z[RAYS[k][0], RAYS[k][1]] * RAYS[k][2] if FLAGS[k % 3] else z[0, 0]


def as_indices(low, high):
    return RNG.integers(low, high, SHAPE).astype(np.float32)


def floats(*shape):
    return RNG.normal(size=(*shape, *SHAPE)).astype(np.float32)


KEYS = RNG.choice(list(CLASSES), SHAPE).astype(np.float32)
CASES = {
    "a tuple of floats": (looked_up, as_indices(-40, 40)),
    "rows of a list": (coloured, RNG.integers(0, 256, SHAPE).astype(np.uint8), floats() * 10),
    "integers that need no test": (squared, RNG.integers(0, 256, SHAPE).astype(np.uint8)),
    "a dict": (reclassified, KEYS),
    "an array of coefficients": (tasseled_cap, floats(4)),
    "columns of unlike kinds": (along, floats(), as_indices(-4, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_compiled_bodies_have_the_bits_of_interpreted_ones(name):
    kernel, *arrays = CASES[name]
    results = [kernel(*arrays, backend=backend) for backend in ("python", "cpu")]
    for wanted, found in zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True):
        assert wanted.dtype == found.dtype
        np.testing.assert_array_equal(bits(wanted), bits(found))


def test_results_are_those_of_numpy():
    (_, index), (_, c, z) = CASES["a tuple of floats"], CASES["rows of a list"]
    np.testing.assert_array_equal(looked_up(index), np.float32(LUT)[index.astype(int)])
    np.testing.assert_allclose(coloured(c, z), np.array(COLOURS)[c & 3, z.astype(int) % 3] * z, rtol=1e-6)
    np.testing.assert_array_equal(
        squared(CASES["integers that need no test"][1]), SQUARES[CASES["integers that need no test"][1]]
    )
    wanted = [CLASSES[k] + 100 * (k + 9 in CLASSES) + CLASSES.get(k + 1, 0) for k in KEYS.ravel()]
    np.testing.assert_array_equal(reclassified(KEYS).ravel(), wanted)
    t = CASES["an array of coefficients"][1]
    for found, wanted in zip(tasseled_cap(t), np.einsum("ck,kyx->cyx", CAP, t.astype(float)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_an_index_that_its_expression_holds_within_the_table_is_not_tested():
    assert "outside" not in squared.form.body.notes
    assert "outside" not in coloured.form.body.notes
    assert "outside" in looked_up.form.body.notes


ELEMENTS = st.one_of(st.integers(-(2**40), 2**40), st.floats(width=32), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_table_is_indexed_as_python_does(data):
    table = data.draw(st.lists(ELEMENTS, min_size=1, max_size=20))
    kind = data.draw(st.sampled_from([tuple, list, np.array]))
    captured = kind(table)
    index = data.draw(st.integers(-len(table), len(table) - 1))

    @tj.local
    def element(z) -> np.float64:
        return captured[int(z)]

    found = element(np.full((1, 1), index, np.float64), backend="python")[0, 0]
    wanted = np.float64(captured[index])
    assert found == wanted or (np.isnan(found) and np.isnan(wanted))
    content = read_table(captured)
    assert content.values.shape == (len(table),)


@settings(max_examples=60, deadline=None)
@given(st.integers(-(2**62), 2**62))
def test_an_index_outside_is_an_error_and_no_other_memory(index):
    cells = np.full((2, 3), index, np.float64)
    for backend in ("python", "cpu"):
        if -40 <= index < 40:
            assert (looked_up(cells, backend=backend) == LUT[index]).all()
        else:
            with pytest.raises(
                KernelError, match=r"looked_up: LUT\[-?\d+\] is outside the table, which has 40 elements"
            ):
                looked_up(cells, backend=backend)


@pytest.mark.parametrize("backend", ["python", "cpu"])
def test_the_first_index_outside_is_told(backend):
    index = as_indices(-40, 40)
    index[5, 2], index[6, 3] = 99, -41
    with pytest.raises(
        KernelError, match=r"LUT\[99\] is outside the table, which has 40 elements there, at 2 pixels\n.*\n.*\^"
    ):
        looked_up(index, backend=backend)
    with pytest.raises(KernelError, match=r"CLASSES has no key 7.5, which is asked for at 63 pixels"):
        reclassified(np.full(SHAPE, 7.5, np.float32), backend=backend)
    with pytest.raises(KernelError, match=r"RAYS\[6\] is outside the table, which has 4 elements there, at 1 pixel\n"):
        along(floats(), np.where(np.arange(63).reshape(SHAPE) == 40, 6, 0).astype(np.float32), backend=backend)


def test_a_pixel_without_data_asks_for_nothing():
    index = np.full(SHAPE, np.nan, np.float32)
    assert np.isnan(looked_up(index)).all()


def test_an_index_outside_ends_a_run(tmp_path):
    index = as_indices(0, 40)
    index[3, 3] = 50
    tj.from_array(index).save(tmp_path / "index.tif")
    with pytest.raises(KernelError, match=r"LUT\[50\] is outside the table"):
        looked_up(tj.open(tmp_path / "index.tif")).save(tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


MODULE = """
TABLE = {table}

@tj.local
def element(c: np.uint8):
    return TABLE[c & 3]
"""


def test_the_content_belongs_to_the_fingerprint(tmp_path):
    texts = ["(1, 2, 3, 4)", "[1, 2, 3, 4]", "np.array([1, 2, 3, 4])", "(1, 2, 3, 5)", "np.array([1.0, 2.0, 3.0, 4.0])"]
    kernels = [write_module(tmp_path, MODULE.format(table=text)).element for text in texts]
    prints = [kernel.fingerprint for kernel in kernels]
    assert prints[0] == prints[1] == prints[2]
    assert len(set(prints)) == 3


def test_an_object_that_was_changed_in_place_is_refused(tmp_path):
    changes = {
        "np.arange(4)": lambda table: table.put(1, 7),
        "[1, 2, 3, 4]": lambda table: table.append(5),
        "{0: 1, 3: 4}": lambda table: table.update({3: 5}),
    }
    for table, change in changes.items():
        module = write_module(tmp_path, MODULE.format(table=table))
        cells = np.array([[0, 3]], np.uint8)
        module.element(cells, backend="python")
        change(module.TABLE)
        with pytest.raises(KernelError, match="TABLE was changed since element was first used"):
            module.element(cells, backend="python")


def test_kernels_of_the_main_module_take_their_tables_along(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import pickle, subprocess, sys\nimport numpy as np\nimport tilejit as tj\nTABLE = np.array([5.0, 7.0])\n"
        "@tj.local\ndef element(c: np.uint8):\n    return TABLE[c & 1]\n"
        "code = 'import pickle, sys, numpy as np; k = pickle.load(sys.stdin.buffer); '"
        "'print(k.fingerprint, k(np.uint8([[0, 1]]), backend=\"python\").tolist())'\n"
        "done = subprocess.run([sys.executable, '-c', code], input=pickle.dumps(element), capture_output=True)\n"
        "print(element.fingerprint, [[5.0, 7.0]], done.stdout.decode().strip(), done.stderr.decode(), sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    mine, values, theirs, *_ = done.stdout.splitlines()
    assert theirs == f"{mine} {values}", done.stdout


def test_a_kernel_of_a_module_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(looked_up)) is looked_up  # noqa: S301 - our own


def test_large_tables_make_short_text():
    @tj.local
    def large(c: np.uint16):
        return table[c]

    table = np.tile(np.arange(256, dtype=np.float32), 256)
    text = get_backend("cpu").source(large, large.signature([np.dtype(np.uint16)]))
    assert len(text) < 5000
    namespace = {}
    exec("\n".join(line for line in text.splitlines() if line.startswith(("import", "table ="))), namespace)  # noqa: S102
    np.testing.assert_array_equal(namespace["table"], table)


@pytest.mark.parametrize(
    ("ends", "stored"),
    [((0, 255), "uint8"), ((-1, 255), "int16"), ((0, 65536), "uint32"), ((-(2**63), 2**63 - 1), "int64")],
)
def test_integers_are_stored_in_as_few_bytes_as_hold_them(ends, stored):
    @tj.local
    def element(c):
        return ends[int(c)]

    (table,) = element.form.tables
    assert table.stored(np.dtype(np.float32)).dtype == stored
    assert table.stored(np.dtype(np.float32)).tolist() == [*ends, 0]  # the last is read where an index lies outside
