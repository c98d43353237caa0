"""A handful of kernels that the tests of the driver share, and what they are held to.

The oracle knows nothing of plans, tiles and frames: it pads whole arrays with `numpy.pad` and launches each kernel
once over all of them.
"""

import itertools
from dataclasses import dataclass

import numpy as np

import tilejit as tj
from tilejit.backends import get_backend
from tilejit.compiler.form.kinds import compute_dtype
from tilejit.kernel.nodata import nodata_value

PAD_MODES = {"nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}
EDGES = ("nodata", "nearest", "reflect", "wrap", 7.0)


@tj.local
def plus_one(z):
    return z + 1


@tj.local
def halves(a, b):
    if a > b:
        return a / b, b
    return a, b * 0.5


@tj.local
def bits(q: np.int32, z) -> np.int16:
    if tj.is_valid(q) and q & 1:
        return 1
    return z


@tj.local
def place(z, *, row=tj.ROW, col=tj.COL, x=tj.X, y=tj.Y):
    return z + row * 100 + col + x * 0.25 - y


@tj.local
def kind_of(z) -> tuple[np.uint8, np.float32]:
    return z > 10, z


def five_of(edge):
    @tj.focal(edge=edge)
    def five(z):
        return z[-1, 0] + z[0, -1] * 3 - z[0, 0] + z[0, 1] * 0.5 + z[1, 0]

    return five


def mean_of(edge):
    @tj.focal(edge=edge, nodata="kernel")
    def mean(z):
        total = 0.0
        count = 0
        for dy in range(-2, 3, 2):  # nine cells of 25: a third of the time to compile
            for dx in range(-2, 3, 2):
                if tj.is_valid(z[dy, dx]):
                    total += z[dy, dx]
                    count += 1
        return total / count

    return mean


def codes_of(edge):
    @tj.focal(edge=edge, nodata="kernel")
    def codes(q: np.int32) -> np.int16:
        found = 0
        for dy in range(-1, 2):
            if tj.is_valid(q[dy, 2]):
                found += q[dy, 2] & 3
        return found

    return codes


def ground_of(edge):
    @tj.focal(edge=edge)
    def ground(z, *, dx=tj.GROUND_WIDTH, dy=tj.GROUND_HEIGHT, cell=tj.CELL_WIDTH):
        return (z[0, 1] - z[0, -1]) / dx * 1000 + (z[1, 0] - z[-1, 0]) / dy * 1000 + cell, z[-1, 2]

    return ground


FIVE, MEAN, CODES, GROUND = ({edge: make(edge) for edge in EDGES} for make in (five_of, mean_of, codes_of, ground_of))
LOCALS = (plus_one, place)
FOCALS = (FIVE, MEAN)


@dataclass
class Cells:
    """A band in memory: its values, and which of them hold data."""

    array: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, array, nodata):
        valid = ~np.isnan(array) if array.dtype.kind == "f" else np.ones(array.shape, bool)
        if nodata is not None and not np.isnan(nodata):
            valid &= array != nodata
        return cls(array, valid)

    def as_float(self):
        cells = self.array.astype(compute_dtype((self.array.dtype,)))
        cells[~self.valid] = np.nan
        return cells


def pad(array, radius, edge, outside):
    widths = tuple((side, side) for side in radius)
    if edge in PAD_MODES:
        return np.pad(array, widths, PAD_MODES[edge])
    return np.pad(array, widths, constant_values=outside if edge == "nodata" else array.dtype.type(edge))


def by_numpy(kernel, inputs, grid, nodata=None, backend="cpu", **parameters):
    """A kernel over whole bands: a `Cells` for each result."""
    arrays, dtypes = [], []
    for parameter, cells in zip(kernel.rasters, inputs, strict=True):
        if parameter.dtype is None:
            arrays.append(pad(cells.as_float(), kernel.radius, kernel.edge, np.nan))
            dtypes.append(arrays[-1].dtype)
            continue
        arrays.append(pad(cells.array.astype(parameter.dtype), kernel.radius, kernel.edge, 0))
        dtypes.append(parameter.dtype)
        edge = kernel.edge if isinstance(kernel.edge, str) else 1
        arrays.append(pad(cells.valid.astype(np.uint8), kernel.radius, edge, 0))
    signature = kernel.signature(dtypes)
    values = [nodata_value(d, nodata if d.kind != "f" else None) for d in signature.outputs]
    outputs = [np.empty(grid.shape, dtype) for dtype in signature.outputs]
    launch = get_backend(backend).compile(kernel, signature)
    launch([np.ascontiguousarray(a) for a in arrays], outputs, values, scalars(kernel, signature, grid, parameters))
    return [Cells.of(o, v) for o, v in zip(outputs, values, strict=True)]


def scalars(kernel, signature, grid, parameters):
    height, width = grid.shape
    rows, cols = np.arange(height), np.arange(width)
    made = {
        tj.ROW: lambda: 0,
        tj.COL: lambda: 0,
        tj.X: lambda: grid.x(cols),
        tj.Y: lambda: grid.y(rows),
        tj.CELL_WIDTH: lambda: grid.cell_width,
        tj.GROUND_WIDTH: lambda: grid.ground_width(rows),
        tj.GROUND_HEIGHT: lambda: grid.ground_height(rows),
    }
    found = []
    for scalar in kernel.scalars:
        value = parameters[scalar.name] if scalar.quantity is None else made[scalar.quantity]()
        if isinstance(value, np.ndarray):
            value = value.astype(signature.compute)
        elif not isinstance(value, int):
            value = signature.compute.type(value)
        found.append(value)
    return found


def same_bits(one, other):
    """Whether two arrays hold the same bits, all NaN being one."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    word = {4: np.uint32, 8: np.uint64}[one.dtype.itemsize]
    alike = one.view(word) == other.view(word)
    return bool((alike | (np.isnan(one) & np.isnan(other))).all())


def pairs(*things):
    return list(itertools.product(*things))
