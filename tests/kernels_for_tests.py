"""Kernels written to module files, and the comparison of backends on them."""

import importlib.util
import itertools
import sys

import numpy as np

from tilejit.backends import get_backend
from tilejit.compiler.form.kinds import Kind
from tilejit.kernel.nodata import nodata_value

_COUNT = itertools.count()

HEAD = """\
import math

import numpy as np

import tilejit as tj

"""


def write_module(folder, text, head=HEAD, name=None):
    """Imports source text as a fresh module, because a kernel is compiled from the text of its file."""
    name = name or f"kernels_{next(_COUNT)}"
    path = folder / f"{name}.py"
    path.write_text(head + text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def launch(kernel, backend, arrays, valid=None, nodata=None, **parameters):
    """One tile: arrays padded by the radius -> (outputs of the inner shape, what is told of them)."""
    signature = kernel.signature([a.dtype for a in arrays], nodata)
    rows, cols = kernel.radius
    shape = arrays[0].shape[0] - 2 * rows, arrays[0].shape[1] - 2 * cols
    outputs = [np.full(shape, 77, dtype) for dtype in signature.outputs]
    values = [nodata_value(d, n) for d, n in zip(signature.outputs, nodata or itertools.repeat(None), strict=False)]
    bound = kernel.bind(parameters)
    scalars = [signature.compute.type(bound[s.name]) if s.kind is Kind.FLOAT and s.quantity is None else bound[s.name]
               for s in kernel.scalars]  # fmt: skip
    scalars = [_quantity(s, v, signature.compute, shape) for s, v in zip(kernel.scalars, scalars, strict=True)]
    passed = []
    for k, (array, raster) in enumerate(zip(arrays, kernel.rasters, strict=True)):
        passed.append(np.ascontiguousarray(array))
        if raster.dtype is not None:
            passed.append(np.ones(array.shape, np.uint8) if valid is None else valid[k])
    tally = get_backend(backend).compile(kernel, signature)(passed, outputs, values, scalars)
    return outputs, tally


def _quantity(scalar, value, compute, shape):
    if scalar.quantity is None:
        return value
    if scalar.quantity.is_index:
        return 100
    if scalar.quantity.axis == "grid":
        return compute.type(30)
    length = shape[0] if scalar.quantity.axis == "row" else shape[1]
    return np.linspace(1, 2, length).astype(compute)


def assert_same(found, expected):
    """Fails unless both have the same bits."""
    np.testing.assert_array_equal(bits(found), bits(expected), strict=True)


def bits(array):
    """The bit pattern, every NaN the same one."""
    if array.dtype.kind != "f":
        return array
    same = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    return same.view(f"i{array.dtype.itemsize}")


def assert_same_bits(kernel, arrays, **options):
    """The interpreted body and the compiled one agree to the last bit."""
    expected, counted = launch(kernel, "python", arrays, **options)
    found, counted_by_cpu = launch(kernel, "cpu", arrays, **options)
    for k, (a, b) in enumerate(zip(expected, found, strict=True)):
        where = np.argwhere(bits(a) != bits(b))
        detail = [(tuple(w), a[tuple(w)], b[tuple(w)]) for w in where[:5]]
        assert not detail, f"{kernel.name}, result {k}: {len(where)} of {a.size} differ: {detail}"
    assert counted == counted_by_cpu
    return found


def holes(rng, shape, dtype, scale=10.0, share=0.05):
    """Random numbers of both signs with some NaN, zeros, halves and infinities among floats."""
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        return rng.integers(max(info.min, -300), min(info.max, 300), shape, dtype, endpoint=True)
    array = rng.normal(scale=scale, size=shape).astype(dtype)
    rounded = rng.random(shape) < 0.3
    array[rounded] = np.round(array[rounded] * 2) / 2
    array[rng.random(shape) < share] = np.nan
    array[rng.random(shape) < share / 5] = np.inf
    array[rng.random(shape) < share / 5] = -np.inf
    return array
