"""One surface, stored in any of four orders, gives one answer: bodies see every raster north-up and west-left."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest
import rasterio

import tilejit as tj
from oracles import ORACLES, punched
from raster_kernels import CODES, FIVE, MEAN, place, same_bits
from tilejit.backends import get_backend
from tilejit.engine.planning import tiles as tiles_module
from tilejit.grid import Grid, Metric
from tilejit.window import Window
from tilejit_kernels import terrain

SHAPE = (11, 13)
DEGREES = Grid(*SHAPE, (0.5, 0.0, -10.0, 0.0, -0.25, 52.0), None, Metric("geographic", unit=math.pi / 180))
"""North-up; halves and quarters, so that its mirror images have the very same coordinates."""
OTHERS = {"south up": (True, False), "east left": (False, True), "both": (True, True)}


@tj.focal
def northern(z):
    return z[-1, 0]


@tj.local
def index(z, *, row=tj.ROW, col=tj.COL) -> np.int32:
    return z * 0 + row * 100 + col


def flipped(array, flips):
    return array[tuple(slice(None, None, -1 if flip else None) for flip in flips)]


def stored(grid, flips):
    """The grid of the same place with its rows or columns in the other order."""
    a, _, c, _, e, f = grid.transform
    rows, cols = flips
    x, y = (c + a * grid.width if cols else c), (f + e * grid.height if rows else f)
    return replace(grid, transform=(-a if cols else a, 0.0, x, 0.0, -e if rows else e, y))


def computed(function, arrays, flips, backend="python", **options):
    """What a function of Rasters gives of arrays that are stored in an order, and is put back."""
    grid = stored(DEGREES, flips)
    raster = function(*(tj.from_array(np.ascontiguousarray(flipped(a, flips)), grid=grid) for a in arrays))
    return [flipped(band, flips) for band in raster.read(backend=backend, **options)]


def assert_one_answer(function, arrays):
    expected = computed(function, arrays, (False, False))
    for name, flips in OTHERS.items():
        found = computed(function, arrays, flips, tile=(5, 7), workers=2)
        assert all(same_bits(np.ascontiguousarray(f), e) for f, e in zip(found, expected, strict=True)), name


@pytest.mark.parametrize("name", ORACLES)
def test_every_shipped_kernel(name):
    oracle, rng = ORACLES[name], np.random.default_rng(20261130)
    parameters = {k: v for k, v in oracle.parameters.items() if k not in {"dx", "dy"}}
    arrays = punched(oracle.make(rng, SHAPE), rng)
    assert_one_answer(lambda *rasters: oracle.kernel(*rasters, **parameters), arrays)


@pytest.mark.parametrize("panels", [False, True])
def test_chains_at_every_edge(panels, monkeypatch):
    if panels:
        monkeypatch.setattr(tiles_module, "PANEL_BYTES", 1)
        monkeypatch.setattr(tiles_module, "BOUNDARY_SHARE", 1.0)
    (z,) = punched((np.random.default_rng(3).normal(1000, 50, SHAPE).astype(np.float32),), np.random.default_rng(4))
    codes = np.random.default_rng(5).integers(0, 99, SHAPE).astype(np.int16)
    assert_one_answer(lambda dem: terrain.slope(FIVE["reflect"](FIVE["nodata"](dem))), [z])
    assert_one_answer(MEAN["wrap"], [z])
    assert_one_answer(lambda q: CODES["nodata"](CODES[7.0](q)), [codes])


def test_the_north_is_up():
    (z,) = (np.arange(143.0).reshape(SHAPE),)
    assert_one_answer(northern, [z])
    south_up = tj.from_array(z, grid=stored(DEGREES, (True, False)))
    np.testing.assert_array_equal(northern(south_up).read(backend="python")[0, :-1], z[1:])


@pytest.mark.parametrize(
    ("name", "backend"), [("south up", "python"), ("east left", "python"), ("both", "python"), ("both", "cpu")]
)
def test_rows_and_columns_are_the_files_own_and_coordinates_the_cells(name, backend):
    grid = stored(DEGREES, OTHERS[name])
    raster = tj.from_array(np.zeros(SHAPE), grid=grid)
    rows, cols = np.indices(SHAPE)
    wanted = rows * 100 + cols
    np.testing.assert_array_equal(index(raster).read(tile=(5, 7), backend=backend)[0], wanted)
    found = place(raster).read(tile=(5, 7), backend=backend)[0]
    np.testing.assert_array_equal(found, wanted + grid.x(cols) * 0.25 - grid.y(rows))
    window = index(raster).read(Window(3, 4, 5, 6), backend=backend)
    np.testing.assert_array_equal(window[0], wanted[3:8, 4:10])

    async def tiles():
        return [tile async for tile in index(raster).tiles(tile=(5, 7), backend=backend)]

    for tile in asyncio.run(tiles()):
        np.testing.assert_array_equal(tile.array[0], wanted[tile.window.slices(Window(0, 0, *SHAPE))])


def test_a_gpu_counts_down_too():
    signature = index.signature([np.dtype(np.float32)])
    text = get_backend("cuda").source(index, replace(signature, counts_down=(True, False)))
    assert "_row_here = row - i64(_y)" in text
    assert "_col_here = col + i64(_x)" in text


@pytest.mark.parametrize("suffix", [".tif", ".vrt"])
def test_a_file_stored_bottom_row_first(suffix, tmp_path):
    """Falling to the south and a little to the west: 189.46 degrees. Copies and outputs keep the file's order."""
    transform = rasterio.Affine(30, 0, 5e5, 0, 30, 4998200)
    y = transform.f + 30 * (np.arange(21)[:, None] + 0.5)
    z = (1000 + 3 * (y - 4998200) / 30 + 0.5 * np.arange(18)).astype(np.float32)
    options = {"driver": "GTiff", "height": 21, "width": 18, "count": 1, "dtype": z.dtype, "crs": "EPSG:32630"}
    with rasterio.open(tmp_path / "dem.tif", "w", transform=transform, **options) as file:
        file.write(z, 1)
    dem = tj.open(tmp_path / "dem.tif")
    tj.save({tmp_path / f"a{suffix}": terrain.aspect(dem), tmp_path / "copy.tif": dem}, progress=False)
    aspect = tj.open(tmp_path / f"a{suffix}")
    assert aspect.grid.transform == dem.grid.transform
    np.testing.assert_allclose(aspect.read()[0, 1:-1, 1:-1], 180 + math.degrees(math.atan2(0.5, 3)), rtol=1e-6)
    np.testing.assert_array_equal(tj.open(tmp_path / "copy.tif").read()[0], z)
    assert "facing    rows run from south to north: kernels see them turned around" in str(terrain.aspect(dem).plan())
    assert "facing" not in str(dem.plan())


def test_memory_of_what_is_turned_is_planned():
    rasters = (
        tj.from_array(np.zeros(SHAPE, np.float32), grid=stored(DEGREES, (rows, False))) for rows in (False, True)
    )
    upright, turned = (northern(raster).plan() for raster in rasters)
    assert turned.worker_bytes - upright.worker_bytes == 4 * (13 * 13 + 11 * 13)


@pytest.mark.parametrize(
    ("transform", "flips"),
    [
        ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (False, False)),  # not georeferenced
        ((1.0, 0.0, 7.0, 0.0, 1.0, 3.0), (False, False)),  # a part of it
        ((2.0, 0.0, 0.0, 0.0, 2.0, 0.0), (True, False)),
        ((-2.0, 0.0, 0.0, 0.0, 2.0, 0.0), (True, True)),
        ((0.0, 2.0, 0.0, -2.0, 0.0, 0.0), (True, False)),  # a quarter turn of a mirror image
        ((0.0, -2.0, 0.0, -2.0, 0.0, 0.0), (False, False)),  # a quarter turn
    ],
)
def test_what_is_turned(transform, flips):
    grid = Grid(3, 5, transform)
    assert grid.flips == flips
    assert grid.north_up().flips == (False, False)
    corners = {grid.transform[2::3], grid.north_up().transform[2::3]}
    assert len(corners) == 1 + any(flips)


def test_of_a_rotated_mirror_image_hands_are_put_right():
    """A plane that falls along the grid's own right is 90 degrees off its up; the plan says where up is."""
    turn = math.radians(30)
    # Up is 30 degrees east of north; rows are stored against it.
    east, north = (math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))
    grid = Grid(5, 5, (east[0], north[0], 0.0, east[1], north[1], 0.0), None, Metric("projected"))
    assert grid.flips == (True, False)
    falls_right = -np.tile(np.arange(5.0), (5, 1)) - 2 * np.arange(5.0)[:, None]
    aspect = terrain.aspect(tj.from_array(falls_right, grid=grid))
    np.testing.assert_allclose(aspect.read(backend="python")[0, 1:-1, 1:-1], math.degrees(math.atan2(1, 2)))
    assert "up is 30 degrees clockwise from north" in str(aspect.plan())


@pytest.mark.parametrize(
    ("epsg", "towards"), [(2053, (-1, -1)), (32630, (1, 1)), (3031, (1, 1)), (3413, (1, 1)), (2193, (1, 1))]
)
def test_axes_that_point_west_and_south(epsg, towards, tmp_path):
    """Under Lo29 (EPSG:2053) x grows to the west and y to the south: a north-up raster has steps of -30 and 30."""
    options = {"driver": "GTiff", "height": 3, "width": 3, "count": 1, "dtype": "float32", "crs": f"EPSG:{epsg}"}
    sign_x, sign_y = towards
    transform = rasterio.Affine(30 * sign_x, 0, 3e6, 0, -30 * sign_y, 3e6)
    with rasterio.open(tmp_path / "dem.tif", "w", transform=transform, **options) as file:
        file.write(np.zeros((1, 3, 3), np.float32))
    grid = tj.open(tmp_path / "dem.tif").grid
    assert (grid.metric.towards, grid.flips) == (towards, (False, False))
