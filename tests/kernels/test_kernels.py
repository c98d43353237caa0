"""The shipped kernels against their oracles, on the backends that every machine has."""

import doctest
import functools
import inspect

import numpy as np
import pytest

import tilejit as tj
from oracles import ORACLES, punched
from tilejit_kernels import filters, indices, masks, morphology, terrain

pytestmark = pytest.mark.slow

MODULES = (terrain, indices, filters, masks, morphology)
KERNELS = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, (tj.Kernel, tj.Chain))
}
SMALL = (16, 16)
LARGE = (203, 301)


@pytest.fixture
def rng():
    return np.random.default_rng(20261124)


def as_tuple(results):
    return results if isinstance(results, tuple) else (results,)


def same_bits(first, second):
    """NaN equals NaN whatever its bits are: no processor promises those."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    same = first.view(f"u{first.itemsize}") == second.view(f"u{second.itemsize}")
    if first.dtype.kind == "f":
        same |= np.isnan(first) & np.isnan(second)
    return bool(same.all())


def test_every_kernel_has_an_oracle():
    assert {name: o.kernel for name, o in ORACLES.items()} == KERNELS


@pytest.mark.parametrize("name", ORACLES)
def test_python_agrees_with_the_oracle(name, rng):
    oracle = ORACLES[name]
    inputs = punched(oracle.make(rng, SMALL), rng)
    results = oracle.kernel(*inputs, backend="python", **oracle.parameters)
    assert oracle.worst(results, inputs) <= oracle.tolerance(np.dtype(np.float32))


def test_a_chain_of_arrays_is_that_of_rasters(rng):
    (z,) = punched(ORACLES["mean_11x11"].make(rng, LARGE), rng)
    assert same_bits(filters.mean_11x11(tj.from_array(z)).read(tile=(64, 32))[0], filters.mean_11x11(z))


@pytest.mark.parametrize("name", ORACLES)
def test_cpu_agrees_with_python_bit_for_bit(name, rng):
    oracle = ORACLES[name]
    inputs = punched(oracle.make(rng, SMALL), rng)
    expected = as_tuple(oracle.kernel(*inputs, backend="python", **oracle.parameters))
    results = as_tuple(oracle.kernel(*inputs, backend="cpu", workers=2, **oracle.parameters))
    assert all(same_bits(r, e) for r, e in zip(results, expected, strict=True))


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("name", ORACLES)
def test_cpu_agrees_with_the_oracle(name, holes, rng):
    oracle = ORACLES[name]
    inputs = oracle.make(rng, LARGE)
    if holes:
        inputs = punched(inputs, rng)
    results = oracle.kernel(*inputs, workers=2, **oracle.parameters)
    assert oracle.worst(results, inputs) <= oracle.tolerance(np.dtype(np.float32))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("ndvi", dtype) for dtype in ("uint8", "int16", "uint16", "float64")),
        ("laplacian", "int16"),
        ("minimum_3x3", "uint16"),
        ("tri", "float64"),
    ],
)
def test_other_inputs(name, dtype, rng):
    oracle = ORACLES[name]
    arrays = tuple(a.astype(dtype) for a in oracle.make(rng, (40, 50)))
    results = oracle.kernel(*arrays, **oracle.parameters)
    assert results.dtype == (np.float64 if dtype == "float64" else np.float32)
    assert oracle.worst(results, tuple(a.astype(np.float64) for a in arrays)) <= oracle.tolerance(results.dtype)


@pytest.mark.parametrize("name", KERNELS)
def test_docstring(name):
    """It names a source and its example runs."""
    kernel = KERNELS[name]
    assert "Args:" in kernel.__doc__
    assert "Returns:" in kernel.__doc__
    assert "Source:" in kernel.__doc__
    module = next(m for m in MODULES if name in vars(m))
    example = doctest.DocTestParser().get_doctest(inspect.cleandoc(kernel.__doc__), vars(module).copy(), name,
                                                  module.__file__, None)  # fmt: skip
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def inputs_of_zeros_and_ones(count):
    """All of them, a million at a time: each wire a row of bits."""
    low = min(count, 20)
    wires = [np.packbits((np.arange(2**low) >> k & 1).astype(bool)) for k in range(low)]
    for high in range(2 ** (count - low)):
        yield wires + [np.full_like(wires[0], 255 * (high >> k & 1)) for k in range(count - low)]


def ones_of(wires):
    return sum(np.unpackbits(w).astype(np.int8) for w in wires)


@pytest.mark.parametrize(("kernel", "radius"), [(filters.median_3x3, 1), (filters.median_5x5, 2)])
def test_median_networks_are_right_for_all_inputs(kernel, radius, monkeypatch):
    """The 0-1 principle: min and max that are right for all zeros and ones are right for all numbers."""
    monkeypatch.setattr(filters, "min", lambda *wires: functools.reduce(np.bitwise_and, wires), raising=False)
    monkeypatch.setattr(filters, "max", lambda *wires: functools.reduce(np.bitwise_or, wires), raising=False)
    reach = range(-radius, radius + 1)
    offsets = [(dy, dx) for dy in reach for dx in reach]
    for wires in inputs_of_zeros_and_ones(len(offsets)):
        median = np.unpackbits(kernel.source.function(dict(zip(offsets, wires, strict=True))))
        assert np.array_equal(median, ones_of(wires) > len(offsets) // 2)


def test_standard_deviation_far_from_zero():
    """The mean of squares less the squared mean would be off by thousands here."""
    board = np.indices((9, 9)).sum(0) % 2
    z = (1e6 + board).astype(np.float32)
    expected = np.std(np.float64([0, 1] * 4 + [0]))
    np.testing.assert_allclose(filters.standard_deviation_3x3(z)[1:-1, 1:-1], expected, rtol=2e-2)


def test_directions():
    """A plane that falls towards each of eight directions faces just there, and is lit best from there."""
    y, x = np.mgrid[:3, :3].astype(np.float32)
    for degrees in range(0, 360, 45):
        towards = np.radians(degrees)
        z = (-(np.sin(towards) * x - np.cos(towards) * y) * 10).astype(np.float32)
        assert abs((terrain.aspect(z, dx=10, dy=10)[1, 1] - degrees + 180) % 360 - 180) < 1e-4
        lit = [terrain.hillshade(z, azimuth=a, dx=10, dy=10)[1, 1] for a in range(0, 360, 45)]
        assert int(np.argmax(lit)) * 45 == degrees


def test_curvature_of_a_dome_and_a_bowl():
    """Down a dome the slope steepens and water parts."""
    y, x = np.mgrid[:5, :9].astype(np.float32)
    dome = -((x - 3) ** 2) - (y - 2) ** 2
    for sign, z in ((1, dome), (-1, -dome)):
        assert terrain.profile_curvature(z, dx=1, dy=1)[2, 6] == 2 * sign
        assert terrain.plan_curvature(z, dx=1, dy=1)[2, 6] == -2 * sign
    assert terrain.profile_curvature(dome, dx=1, dy=1)[2, 3] == 0


def test_level_ground_has_no_aspect():
    assert np.isnan(terrain.aspect(np.zeros((3, 3), np.float32), dx=1, dy=1)).all()


def test_index_of_darkness_is_nodata():
    assert np.isnan(indices.ndvi(np.uint16([[0]]), np.uint16([[0]]))[0, 0])


def test_unsigned_bands_do_not_wrap():
    assert indices.ndvi(np.uint16([[3]]), np.uint16([[1]]))[0, 0] == -0.5


def test_masks_leave_fill_out():
    assert masks.landsat_clear(np.uint16([[1]]))[0, 0] == 255
    assert masks.sentinel2_clear(np.uint8([[0]]))[0, 0] == 255
