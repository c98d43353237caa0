"""Stacks in tables by zone and in iterations: as whole arrays have them, whatever the tiles and whoever computes."""

import math

import numpy as np
import pytest
from scipy import ndimage
from test_ports import files_of

import tilejit as tj
from raster_kernels import same_bits
from tilejit.errors import KernelError, ParameterError

pytestmark = pytest.mark.slow

SHAPE = (70, 90)


@tj.zonal(low="min", total="sum", layers="max")
def over_dates(t: tj.Stack, weight, *, factor=1.0):
    low, total = math.inf, 0.0
    for k in range(len(t)):
        low = min(low, t[k])
        total += t[k] * factor
    return low, total * weight, len(t)


@tj.focal(nodata="kernel", edge=0.0)
def flooded(seen, levels: tj.Stack):
    """Water spreads to cells that lie below it on most dates."""
    best = max(seen[-1, 0], seen[1, 0], seen[0, -1], seen[0, 1])
    below = 0
    for k in range(len(levels)):
        if tj.is_valid(levels[k]) and levels[k] < 60:
            below += 1
    return max(best, seen[0, 0]) if 2 * below > len(levels) else seen[0, 0]


@tj.focal
def shifted(t: tj.Stack):
    return t[0, 0, 1]


@pytest.fixture(scope="module")
def cells():
    return np.random.default_rng(3).integers(0, 99, (5, *SHAPE))


@pytest.fixture(scope="module")
def files(cells, tmp_path_factory):
    """Dates, a weight, and zones."""
    folder = tmp_path_factory.mktemp("dates")
    dates = tj.stack(files_of(folder, cells, "int16", (None, 3, None, 4, None)))
    weight, zones = np.meshgrid(np.arange(SHAPE[1]) % 3, np.arange(SHAPE[0]) // 20)
    for name, array in (("weight", weight.astype(np.float32)), ("zones", zones.astype(np.uint8))):
        tj.from_array(array, grid=dates.grid).save(folder / f"{name}.tif")
    return dates, tj.open(folder / "weight.tif"), tj.open(folder / "zones.tif")


@pytest.mark.parametrize("options", [{}, {"tile": (16, 32)}], ids=str)
def test_a_table_of_a_stack_is_what_numpy_finds(cells, files, options):
    dates, weight, zones = files
    table = over_dates(dates, weight, zones=zones, factor=2.0).compute(**options)
    valid, parcels = (cells[1] != 3) & (cells[3] != 4), zones.compute()[0]
    total = 2 * cells.sum(0) * weight.compute()[0]
    for row, zone in enumerate(table["zone"]):
        here = valid & (parcels == zone)
        assert table["low"][row] == cells.min(0)[here].min()
        assert table["total"][row] == total[here].sum()
        assert table["layers"][row] == 5
    assert "over_dates(stack of 5 dates, weight.tif)" in str(over_dates(dates, weight, zones=zones).plan())


def test_the_python_backend_and_arrays_make_the_same_table(cells):
    layers, zones = cells[:, :12, :9].astype(np.float32), np.arange(12)[:, None] // 4 + np.zeros((12, 9), int)
    given = layers, np.ones((12, 9), np.float32)
    tables = [over_dates(*given, zones=zones).compute(backend=backend) for backend in ("python", "cpu")]
    for name, column in tables[0].items():
        np.testing.assert_array_equal(column, tables[1][name])
    with pytest.raises(ParameterError, match="over_dates takes one band as weight, and array has 5"):
        over_dates(layers, layers, zones=zones)


@pytest.mark.parametrize("monotone", [False, True])
@pytest.mark.parametrize("tile", [(16, 16), (70, 90)])
def test_an_iteration_takes_stacks_that_stay_as_they_are(cells, files, monotone, tile):
    seen = np.zeros(SHAPE, np.float32)
    seen[::9, ::11] = 1
    found = tj.iterate(flooded, seen, files[0], monotone=monotone).read(tile=tile)[0]
    marked = np.where(cells == np.array([-1, 3, -1, 4, -1])[:, None, None], 99, cells)
    low = 2 * (marked < 60).sum(0) > 5
    wanted = ndimage.binary_propagation(seen > 0, mask=low | (seen > 0))
    np.testing.assert_array_equal(found == 1, wanted)


def test_an_iteration_of_stacks_on_the_python_backend_has_the_same_bits(cells):
    seen, levels = np.eye(9, 12, dtype=np.float32), cells[:, :9, :12].astype(np.float32)
    results = [tj.iterate(flooded, seen, levels).compute(backend=backend) for backend in ("python", "cpu")]
    same_bits(*results)
    mixed = tj.stack([tj.from_array(levels[k].astype(("u1", "f4")[k % 2])) for k in range(5)])
    same_bits(tj.iterate(flooded, tj.from_array(seen), mixed).compute(tile=(4, 4)), results[1])


def test_what_an_iteration_of_a_stack_cannot_be(cells):
    layers = cells[:, :9, :12].astype(np.float32)
    with pytest.raises(KernelError, match="shifted takes the stack t first, and an iteration goes on with its result"):
        tj.iterate(shifted, layers)
    with pytest.raises(ParameterError, match="flooded takes one band as seen"):
        tj.iterate(flooded, layers, layers)
