"""Expressions of Rasters against NumPy: random trees, every dtype, tiled and whole, CPU and python backend."""

import operator
import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tilejit as tj
from raster_kernels import same_bits
from tilejit.errors import GridMismatchError, NodataWarning, ParameterError
from tilejit.kernel.nodata import default_nodata

RANDOM = settings(
    deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
"""Examples are not shrunk: each of them is compiled."""
SHAPE = (9, 14)
DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "uint32", "float32", "float64")
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@dataclass
class Plain:
    """What NumPy makes of an expression: integers of 64 bits, floats of one dtype, and where there is data."""

    cells: np.ndarray
    valid: np.ndarray
    dtype: np.dtype

    @classmethod
    def of(cls, array, nodata, compute):
        valid = np.ones(array.shape, bool) if nodata is None else array != nodata
        return cls(array.astype(compute if array.dtype.kind == "f" else np.int64), valid, array.dtype)

    def stored(self):
        """The cells as an output has them."""
        if self.dtype.kind == "f":
            return np.where(self.valid, self.cells, np.nan).astype(self.dtype)
        dtype = np.dtype(np.uint8) if self.dtype == bool else self.dtype
        limits = np.iinfo(dtype)
        return np.where(self.valid, np.clip(self.cells, limits.min, limits.max), default_nodata(dtype)).astype(dtype)


def whole(plain):
    return plain.cells.astype(np.int64) if plain.dtype == bool else plain.cells


def made(cells, valid, dtype):
    if cells.dtype.kind == "f":
        valid = valid & ~np.isnan(cells)
    return Plain(cells, valid, np.dtype(dtype))


def common(*dtypes):
    return np.result_type(*(np.dtype(np.uint8) if d.kind == "b" else d for d in dtypes))


def arithmetic(function, compute):
    def apply(a, b):
        dtype = common(a.dtype, b.dtype)
        x, y = ((whole(p) if dtype.kind != "f" else p.cells.astype(compute)) for p in (a, b))
        return made(function(x, y), a.valid & b.valid, dtype)

    return apply


def divided(compute):
    def apply(a, b):
        dtype = np.result_type(common(a.dtype, b.dtype), FLOAT32)
        return made(a.cells.astype(compute) / b.cells.astype(compute), a.valid & b.valid, dtype)

    return apply


def compared(function, compute):
    def apply(a, b):
        x, y = (p.cells.astype(compute) if "f" in (a.dtype.kind, b.dtype.kind) else whole(p) for p in (a, b))
        return made(function(x, y), a.valid & b.valid, bool)

    return apply


def chosen(compute):
    def apply(test, a, b):
        dtype = bool if a.dtype == b.dtype == bool else common(a.dtype, b.dtype)
        x, y = (p.cells.astype(compute) if np.dtype(dtype).kind == "f" else whole(p) for p in (a, b))
        where = test.cells.astype(bool)
        return made(np.where(where, x, y), test.valid & np.where(where, a.valid, b.valid), dtype)

    return apply


def filled(compute):
    def apply(a, b):
        there = Plain(a.valid, np.ones_like(a.valid), np.dtype(bool))
        return chosen(compute)(there, Plain(a.cells, a.valid, a.dtype), b)

    return apply


def logical(function):
    return lambda a, b: made(function(a.cells.astype(bool), b.cells.astype(bool)), a.valid & b.valid, bool)


# A tree is a leaf's number, or an operation's name and trees.
NUMERIC = ("add", "sub", "mul", "truediv", "minimum", "maximum", "where", "fillna", "floordiv", "mod")
TRUTHS = ("lt", "le", "eq", "and", "or", "xor", "isnull")


def trees(depth=3):
    leaf = st.integers(0, 2)
    if depth == 0:
        return leaf
    inner = trees(depth - 1)
    two = st.tuples(st.sampled_from([n for n in NUMERIC if n != "where"]), inner, inner)
    return st.one_of(leaf, two, two, st.tuples(st.just("where"), truths(depth - 1), inner, inner))


def truths(depth):
    inner = trees(max(depth, 0))
    tests = st.tuples(st.sampled_from(("lt", "le", "eq")), inner, inner)
    if depth <= 0:
        return tests
    sides = truths(depth - 1)
    joined = st.tuples(st.sampled_from(("and", "or", "xor")), sides, sides)
    return st.one_of(tests, joined, st.tuples(st.just("isnull"), inner))


def of_rasters(tree, leaves):
    if isinstance(tree, int):
        return leaves[tree]
    name, *parts = tree
    parts = [of_rasters(part, leaves) for part in parts]
    functions = {
        "minimum": np.minimum, "maximum": np.maximum, "where": tj.where, "and": operator.and_, "or": operator.or_,
        "isnull": lambda a: a.isnull(), "fillna": lambda a, b: a.fillna(b),
    }  # fmt: skip
    return (functions.get(name) or getattr(operator, name))(*parts)


def of_arrays(tree, leaves, compute):
    if isinstance(tree, int):
        return leaves[tree]
    name, *parts = tree
    parts = [of_arrays(part, leaves, compute) for part in parts]
    functions = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "minimum": np.minimum, "maximum": np.maximum,
        "floordiv": np.floor_divide, "mod": np.mod,
    }  # fmt: skip
    if name in functions:
        return arithmetic(functions[name], compute)(*parts)
    if name in {"lt", "le", "eq"}:
        return compared(getattr(operator, name), compute)(*parts)
    if name in {"and", "or", "xor"}:
        return logical({"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[name])(*parts)
    if name == "isnull":
        return made(~parts[0].valid, np.ones(SHAPE, bool), bool)
    return {"truediv": divided, "where": chosen, "fillna": filled}[name](compute)(*parts)


def computed_in(tree, dtypes):
    """Floats are float64 where a leaf that is used is wide, or any part of it is float64."""
    used = [dtypes[number] for number in leaves_of(tree)]
    if any(d.itemsize > 2 and d != FLOAT32 for d in used):
        return FLOAT64
    plain = [Plain(np.zeros(SHAPE, np.float32 if d.kind == "f" else np.int64), np.ones(SHAPE, bool), d) for d in dtypes]
    return FLOAT64 if any(of_arrays(part, plain, FLOAT32).dtype == FLOAT64 for part in parts_of(tree)) else FLOAT32


def leaves_of(tree):
    return {tree} if isinstance(tree, int) else set().union(*map(leaves_of, tree[1:]))


def parts_of(tree):
    yield tree
    for part in () if isinstance(tree, int) else tree[1:]:
        yield from parts_of(part)


def random_leaf(dtype, nodata, seed):
    rng = np.random.default_rng(seed)
    low = 0 if dtype.kind == "u" else -6
    cells = rng.integers(low, 7, SHAPE)
    return (cells / 4 if dtype.kind == "f" else cells).astype(dtype), nodata


@st.composite
def cases(draw):
    dtypes = [np.dtype(draw(st.sampled_from(DTYPES))) for _ in range(3)]
    leaves = [random_leaf(d, draw(st.sampled_from((None, 1))), k) for k, d in enumerate(dtypes)]
    return draw(st.one_of(trees(), truths(2))), leaves


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", NodataWarning)
        yield


def expected(case):
    tree, leaves = case
    compute = computed_in(tree, [array.dtype for array, _ in leaves])
    return of_arrays(tree, [Plain.of(array, nodata, compute) for array, nodata in leaves], compute)


def raster(case):
    tree, leaves = case
    return of_rasters(tree, [tj.from_array(array, nodata=nodata) for array, nodata in leaves])


@settings(RANDOM, max_examples=80)
@given(cases())
def test_trees_are_what_numpy_makes(case):
    if isinstance(case[0], int):
        return
    plain, lazy = expected(case), raster(case)
    np.testing.assert_array_equal(lazy.compute(backend="python")[0], plain.stored())


@pytest.mark.slow
@settings(RANDOM, max_examples=12)
@given(cases())
def test_trees_on_the_cpu_in_any_tiles(case):
    if isinstance(case[0], int):
        return
    plain, lazy = expected(case), raster(case)
    whole_one = lazy.compute(backend="cpu")
    np.testing.assert_array_equal(whole_one[0], plain.stored())
    assert same_bits(lazy.compute(backend="cpu", tile=(4, 5)), whole_one)
    assert same_bits(lazy.compute(backend="python"), whole_one)


A = np.uint16([[1, 2, 3, 40000], [5, 0, 7, 8]])
B = np.uint16([[4, 2, 0, 30000], [5, 0, 9, 7]])


def rasters(**options):
    return tj.from_array(A, **options), tj.from_array(B)


def lines(lazy):
    return lazy.kernel("python").rstrip()


@pytest.mark.parametrize(
    ("make", "dtype", "cells"),
    [
        (lambda a, b: a + b, "uint16", np.clip(A.astype(int) + B, 0, 65535)),
        (lambda a, b: a - b, "uint16", np.clip(A.astype(int) - B, 0, 65535)),
        (lambda a, b: (a - b) / (a + b), "float32", None),
        (lambda a, b: (a - b).astype("int32"), "int32", A.astype(int) - B),
        (lambda a, _: -a, "int32", -A.astype(int)),
        (lambda a, b: a // b, "uint16", np.floor_divide(A, np.where(B, B, 1)) * (B > 0)),
        (lambda a, _: a + 70000, "uint32", A.astype(int) + 70000),
        (lambda a, _: a * 0.5, "float32", A * np.float32(0.5)),
        (lambda a, b: a > b, "uint8", A > B),
        (lambda a, b: (a > b) + (a > 2) + (b > 2), "uint8", (A > B).astype(int) + (A > 2) + (B > 2)),
        (lambda a, b: ~(a > b), "uint8", A <= B),
        (lambda a, _: (a & 4) == 0, "uint8", A & 4 == 0),
        (lambda a, _: (a << 2) | 1, "uint16", np.clip(A.astype(int) << 2 | 1, 0, 65535)),
        (lambda a, _: np.sqrt(a), "float32", np.sqrt(A.astype(np.float32))),
        (lambda a, _: a**2, "uint16", np.clip(A.astype(int) ** 2, 0, 65535)),
        (lambda _, b: 2.0 ** b.clip(0, 9), "float32", 2.0 ** np.clip(B, 0, 9)),
        (lambda a, _: divmod(a, 3)[1], "uint16", A % 3),
        (lambda a, b: abs(a.astype("int32") - b), "int32", abs(A.astype(int) - B)),
        (lambda a, _: round(a / 7, 2), "float32", np.round(A / np.float32(7), 2)),
        (lambda a, _: (a / 7).astype("int16"), "int16", np.floor(A / 7 + 0.5)),
        (lambda a, b: np.where(a > b, a, 0), "uint16", np.where(A > B, A, 0)),
        (lambda a, _: np.clip(a, 2, 7), "uint16", np.clip(A, 2, 7)),
        (lambda a, b: np.maximum.reduce(tj.stack([a, b])), "uint16", np.maximum(A, B)),
        (lambda a, b: sum([a, b, a]), "uint16", np.clip(2 * A.astype(int) + B, 0, 65535)),
        (lambda a, _: np.float32(2) * a, "float32", 2 * A.astype(np.float32)),
        (np.logical_and, "uint8", np.logical_and(A, B)),
    ],
)
def test_dtypes_and_values(make, dtype, cells):
    found = make(*rasters()).compute(backend="python")[0]
    assert found.dtype == dtype
    if cells is not None:
        np.testing.assert_array_equal(found, cells.astype(dtype))


def test_common_parts_are_computed_once_in_one_loop():
    a, b = rasters(nodata=3)
    index = (a - b) / (a + b)
    again = (a - b) / (a + b)
    plan = (index * again + abs(index)).plan()
    assert len(plan.steps) == 1
    assert sum(len(read.bands) for read in plan.reads) == 2
    assert lines(index * again + abs(index)) == (
        "def expression(a, b):\n    t1 = (a - b) / (a + b)\n    return (t1 * t1) + abs(t1)"
    )
    assert "for _x in range" in (index * again).kernel()
    with pytest.raises(ParameterError, match="array is read, and no kernel computes it"):
        a.kernel()


def test_hundreds_of_operands():
    total = sum(tj.from_array(np.full((2, 2), k, np.float32)) for k in range(300))
    assert (total.compute(backend="python") == 300 * 299 / 2).all()


def test_what_does_not_fit_is_counted():
    a, b = rasters()
    with pytest.warns(NodataWarning, match=r"2 results beyond the type of the output.*\.astype"):
        found = (a - b).compute(backend="python")
    assert found[0, 0].tolist() == [0, 0, 3, 10000]
    with pytest.warns(NodataWarning, match="1 valid pixel got a result that equals the nodata value"):
        (a + 25535).compute(backend="python")


def test_no_number_of_64_bits_wraps():
    large = tj.from_array(np.int64([[2**62, 3]]))
    nodata = default_nodata(np.dtype(np.int64))
    assert (large * 4).compute(backend="python").tolist() == [[[nodata, 12]]]
    assert (large + large).compute(backend="python").tolist() == [[[nodata, 6]]]
    assert (large + 1).compute(backend="python").tolist() == [[[2**62 + 1, 4]]]


def test_float64_is_computed_in_float64():
    third = tj.from_array(np.float32([[1]])).astype("float64") / 3
    assert third.compute(backend="python")[0, 0, 0] == 1 / 3
    assert third.astype("float32").compute(backend="python")[0, 0, 0] == np.float32(1 / 3)


def test_no_data():
    a, b = rasters(nodata=3)
    assert (a > b).compute(backend="python")[0, 0].tolist() == [0, 0, 255, 1]
    assert a.isnull().compute(backend="python")[0, 0].tolist() == [0, 0, 1, 0]
    assert np.isnan(a).compute(backend="python")[0, 0].tolist() == [0, 0, 1, 0]
    assert a.notnull().compute(backend="python")[0, 0].tolist() == [1, 1, 0, 1]
    assert a.fillna(b).compute(backend="python")[0, 0].tolist() == [1, 2, 0, 40000]
    assert a.fillna(9).compute(backend="python")[0, 0].tolist() == [1, 2, 9, 40000]
    assert np.fmax(a, b).compute(backend="python")[0, 0].tolist() == [4, 2, 0, 40000]
    assert b.where(a < 3).compute(backend="python")[0, 0].tolist() == [4, 2, 65535, 65535]
    assert tj.where(b > 2, b, a).compute(backend="python")[0, 0].tolist() == [4, 2, 65535, 30000]
    assert tj.where(a > 2, np.nan, a).compute(backend="python").dtype == np.uint16
    assert ((a - a) / (b - b) > 0).compute(backend="python").tolist() == [[[255] * 4] * 2], "0 / 0 is no data"


def test_bands():
    a, b = rasters()
    two = tj.stack([a, b])
    assert ((two + 1).compute(backend="python") == np.stack([A, B]) + 1).all()
    assert ((two - b).compute(backend="python")[1] == 0).all()
    assert ((two == tj.stack([a, b])).compute(backend="python") == 1).all()
    with pytest.raises(ParameterError, match="has 2 bands, and another operand 3: both have as many"):
        two + tj.stack([a, b, b])


def test_dates_stay_with_what_has_them():
    a, b = rasters()
    dates = tj.stack([a, b], times=["2020-01-05", "2021-01-05"])
    assert (dates * 2).dates == dates.dates == (dates - dates.band(1)).dates
    assert (dates - tj.stack([a, b], times=["2020-01-05", "2022-01-05"])).dates is None


def test_statistics_are_operands():
    z = np.float32([[1, 2], [3, 6]])
    dem = tj.from_array(z)
    scaled = (dem - dem.mean()) / dem.std()
    np.testing.assert_allclose(scaled.compute(backend="python")[0], (z - z.mean()) / z.std(), rtol=1e-6)
    assert len(scaled.plan().earlier) == 1
    assert (dem.max() - dem).compute(backend="python")[0].tolist() == [[5, 4], [3, 0]]
    assert dem.clip(dem.min(), dem.mean()).compute(backend="python").max() == 3
    assert ((dem / 2).mean() + dem).compute(backend="python")[0, 0, 0] == 2.5


@tj.local
def halved(z):
    return z / 2


@tj.focal
def rise(z):
    return z[0, 1] - z[0, -1]


@tj.local
def above(z, *, limit=1.0):
    return z > limit


def test_kernels_before_and_after():
    a, b = rasters()
    steep = rise(a + b.clip(0, 9)) * 2 + halved(b)
    sums = A.astype(np.float32) + np.clip(B, 0, 9)
    wanted = (sums[:, 2:] - sums[:, :-2]) * 2 + B[:, 1:-1] / np.float32(2)
    np.testing.assert_array_equal(steep.compute(backend="python")[0, :, 1:-1], wanted)
    assert (~above(a, limit=4)).compute(backend="python")[0].tolist() == (A <= 4).astype(int).tolist()


def test_expressions_in_chains():
    @tj.chain
    def index(nir, red, *, gain=2.0):
        return gain * (nir - red) / (nir + red)

    found = index(A, B)
    wanted = 2 * (A.astype(np.float32) - B) / (A.astype(np.float32) + B)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_rasters_are_told_apart_by_identity():
    a, b = rasters()
    assert len({a, b, a}) == 2
    with pytest.raises(ParameterError, match=r"write & \| ~ for and, or, not"):
        bool(a > b)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda a: a + tj.from_array(np.zeros((3, 3), np.uint16)),
            GridMismatchError,
            r"operand 1 .* and operand 2 .* different grids",
        ),
        (lambda a: a + A, ParameterError, "ndarray in an expression of Rasters"),
        (lambda a: A * a, ParameterError, "ndarray in an expression of Rasters"),
        (lambda a: (a / 2) & 1, ParameterError, "bitwise_and of floats"),
        (lambda a: np.gcd(a, a), ParameterError, "np.gcd of Rasters"),
        (lambda a: np.sqrt(a, out=A), ParameterError, "takes no out="),
        (np.median, ParameterError, "np.median of Rasters"),
        (lambda a: a.astype("complex64"), ParameterError, "no dtype that a raster holds"),
        (lambda a: a.fillna("x"), ParameterError, "str in an expression"),
        (lambda _: tj.where(True, 1, 2), ParameterError, "at least one Raster"),
        (lambda a: a + "x", TypeError, "unsupported operand"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make(tj.from_array(A))


def test_the_kernel_of_an_expression_crosses():
    a, b = rasters()
    kernel = ((a - b) / (a + b)).bands[0].application.kernel
    assert pickle.loads(pickle.dumps(kernel)).fingerprint == kernel.fingerprint  # noqa: S301
    c, d = rasters()
    assert ((c - d) / (c + d)).bands[0].application.kernel is kernel


@pytest.mark.slow
def test_executors_and_resume(tmp_path):
    cells = np.random.default_rng(1).integers(0, 900, (2, 300, 200)).astype(np.uint16)
    tj.from_array(cells, nodata=5).save(tmp_path / "scene.tif", nodata=5)
    scene = tj.open(tmp_path / "scene.tif")
    index = (scene.band(1) - scene.band(2)) / (scene.band(1) + scene.band(2)) - scene.band(1).mean()
    wanted = index.compute()
    for executor, workers in (("serial", 1), ("processes", 2)):
        assert same_bits(index.compute(executor=executor, workers=workers), wanted)
    index.save(tmp_path / "index.tif", resume=True)
    assert same_bits(tj.open(tmp_path / "index.tif").compute(), wanted)
