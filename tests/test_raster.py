"""Tiled equals whole, bit for bit; nodata, windows, files."""

import math
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilejit as tj
from raster_kernels import (
    CODES,
    EDGES,
    FIVE,
    GROUND,
    MEAN,
    Cells,
    bits,
    by_numpy,
    halves,
    place,
    plus_one,
    same_bits,
)
from tilejit.grid import Grid, Metric
from tilejit.window import Window

rasterio = pytest.importorskip("rasterio")

SECONDS = 60
DTYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
GEOGRAPHIC = Metric("geographic", unit=math.pi / 180)
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def soon(function, *arguments, **options):
    """Calls a function that must not hang."""
    found = []

    def call():
        try:
            found.append((function(*arguments, **options), None))
        except BaseException as error:  # noqa: BLE001
            found.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert found, "it hangs"
    result, error = found[0]
    if error is not None:
        raise error
    return result


def grid_of(height, width):
    return Grid(height, width, (0.25, 0.0, 10.0, 0.0, -0.5, 40.0), None, GEOGRAPHIC)


@st.composite
def rasters(draw, dtypes=DTYPES, most=70, shape=None):
    """A Raster, and the same as Cells."""
    height, width = shape or (draw(st.integers(1, most)), draw(st.integers(1, most)))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    array = random.integers(0, 30, (height, width)).astype(dtype)
    nodata = draw(st.sampled_from((None, 3)))
    if dtype.kind == "f":
        array = array + random.random((height, width)).astype(dtype).round(2)
        array[random.random((height, width)) < draw(st.sampled_from((0, 0.1, 0.9)))] = np.nan
    if nodata is not None:
        array[random.random((height, width)) < draw(st.sampled_from((0.02, 0.6)))] = nodata
    grid = grid_of(height, width)
    return tj.from_array(array, grid=grid, nodata=nodata), Cells.of(array, nodata)


@st.composite
def tilings(draw, shape):
    """Workers and a tile shape, which may be larger than the raster; 500 tiles at most."""
    tile = tuple(draw(st.sampled_from((1, 2, 3, 7, 16, 33, 100))) for _ in shape)
    while math.prod(math.ceil(size / side) for size, side in zip(shape, tile, strict=True)) > 500:
        tile = tuple(2 * side for side in tile)
    return {"tile": tile, "workers": draw(st.integers(1, 4))}


@st.composite
def windows(draw, shape):
    row, col = (draw(st.integers(0, size - 1)) for size in shape)
    return Window(row, col, draw(st.integers(1, shape[0] - row)), draw(st.integers(1, shape[1] - col)))


@st.composite
def chains(draw):
    """Up to three kernels of one input; one that wraps around must come first."""
    chain = []
    for _ in range(draw(st.integers(1, 3))):
        edges = EDGES if not chain else [edge for edge in EDGES if edge != "wrap"]
        table = draw(st.sampled_from(("plus_one", "place", "five", "mean")))
        edge = draw(st.sampled_from(edges))
        chain.append({"five": FIVE[edge], "mean": MEAN[edge], "plus_one": plus_one, "place": place}[table])
    return chain


@SLOW
@given(st.data())
def test_tiled_equals_whole(data):
    raster, cells = data.draw(rasters())
    grid = raster.grid
    for kernel in data.draw(chains()):
        raster, (cells,) = kernel(raster), by_numpy(kernel, [cells], grid)
    wanted = cells.array[np.newaxis]
    options = data.draw(tilings(grid.shape))
    assert same_bits(soon(raster.read, **options), wanted)
    window = data.draw(windows(grid.shape))
    rows, cols = window.slices(Window(0, 0, *grid.shape))
    assert same_bits(soon(raster.read, window, **options), wanted[:, rows, cols])


@SLOW
@given(st.data())
def test_several_inputs_and_results(data):
    first, first_cells = data.draw(rasters())
    grid = first.grid
    second, second_cells = data.draw(rasters(("uint8", "int32", "float32"), shape=grid.shape))
    edge = data.draw(st.sampled_from(EDGES[:3]))
    pair = halves(FIVE[edge](first), second)
    (five,) = by_numpy(FIVE[edge], [first_cells], grid)
    pair_cells = by_numpy(halves, [five, second_cells], grid)
    ground = GROUND[edge](pair.band(2))
    ground_cells = by_numpy(GROUND[edge], [pair_cells[1]], grid)
    last = halves(ground.band(2), MEAN[edge](pair.band(1)))
    last_cells = by_numpy(halves, [ground_cells[1], *by_numpy(MEAN[edge], [pair_cells[0]], grid)], grid)
    options = data.draw(tilings(grid.shape))
    for raster, cells in ((pair, pair_cells), (ground, ground_cells), (last, last_cells)):
        wanted = np.stack([c.array for c in cells])
        assert same_bits(soon(raster.read, **options), wanted)


@SLOW
@given(st.data())
def test_annotated_integers(data):
    raster, cells = data.draw(rasters(("uint8", "int16", "int32")))
    grid = raster.grid
    edge = data.draw(st.sampled_from(EDGES))
    codes, (code_cells,) = CODES[edge](raster), by_numpy(CODES[edge], [cells], grid)
    mixed, (mixed_cells,) = bits(codes, raster), by_numpy(bits, [code_cells, cells], grid)
    options = data.draw(tilings(grid.shape))
    assert same_bits(soon(codes.read, **options), code_cells.array[np.newaxis])
    assert same_bits(soon(mixed.read, **options), mixed_cells.array[np.newaxis])


@settings(SLOW, max_examples=15)
@given(st.data())
def test_the_python_backend_is_the_definition(data):
    raster, cells = data.draw(rasters(("int16", "float32"), most=9))
    grid = raster.grid
    edge = data.draw(st.sampled_from(EDGES))
    chain = data.draw(st.permutations((FIVE["nodata"], MEAN["nearest"], place)))
    for kernel in (CODES[edge] if cells.array.dtype.kind == "i" else FIVE[edge], *chain):
        raster, (cells,) = kernel(raster), by_numpy(kernel, [cells], grid, backend="python")
    options = data.draw(tilings(grid.shape))
    wanted = cells.array[np.newaxis]
    assert same_bits(soon(raster.read, **options), wanted)
    assert same_bits(soon(raster.read, backend="python", **options), wanted)
