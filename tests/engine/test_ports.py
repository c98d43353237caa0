"""Ports: what a kernel takes as a stack, from files, bands, results of kernels; tiled as whole, in place where it may be."""

import math

import numpy as np
import pytest
import rasterio
from test_raster import grid_of

import tilejit as tj
from raster_kernels import same_bits
from tilejit.errors import GridMismatchError, ParameterError, PlanError
from tilejit.raster.options import RunOptions
from tilejit.raster.resuming import _pass_parts
from tilejit.raster.running import plan_job

pytestmark = pytest.mark.slow

SHAPE, NODATA = (70, 90), (None, -1, -2, -3, -4)


@tj.focal
def changes(t: tj.Stack):
    total = 0.0
    for k in range(1, len(t)):
        total += abs(t[k, 0, 1] - t[k - 1, 0, -1]) + t[k]
    return total


@tj.local(nodata="kernel")
def clear(qa: tj.Stack[np.int32], t: tj.Stack):
    total, n = 0.0, 0
    for k in range(len(qa)):
        if tj.is_valid(qa[k]) and tj.is_valid(t[k]) and qa[k] % 2 == 0:
            total += t[k]
            n += 1
    return total / n if n > 0 else math.nan


@tj.local
def twice(z):
    return z * 2.0


@pytest.fixture(scope="module")
def cells():
    found = np.random.default_rng(3).integers(0, 99, (5, *SHAPE))
    found[1, 3, 4], found[2, 5:9, :] = -1, -2
    return found


def files_of(folder, cells, dtype, nodata=NODATA, **options):
    """A file for each date, each with its own nodata value."""
    paths = []
    for k, (date, marked) in enumerate(zip(cells, nodata, strict=True)):
        paths.append(folder / f"{np.dtype(dtype).name}_{k}.tif")
        profile = {"driver": "GTiff", "count": 1, "dtype": dtype, "tiled": True, "blockxsize": 32, "blockysize": 32}
        size = {"height": SHAPE[0], "width": SHAPE[1], "nodata": marked, "compress": "deflate"}
        place = {"transform": rasterio.Affine(*grid_of(*SHAPE).transform), "crs": "EPSG:32633"}
        with rasterio.open(paths[-1], "w", **{**profile, **size, **place, **options}) as file:
            file.write(date.astype(dtype), 1)
    return paths


@pytest.fixture(scope="module")
def files(cells, tmp_path_factory):
    return files_of(tmp_path_factory.mktemp("dates"), cells, "float32")


@pytest.fixture(scope="module")
def counts(cells, tmp_path_factory):
    return files_of(tmp_path_factory.mktemp("counts"), cells, "int16")


def with_nan(cells):
    """What kernels see: NaN where a date has its nodata value."""
    marks = np.array([np.nan if n is None else n for n in NODATA])[:, None, None]
    return np.where(cells == marks, np.nan, cells).astype(np.float32)


@pytest.mark.parametrize("tile", [(16, 16), (32, 64), (70, 90)])
@pytest.mark.parametrize("kind", ["files", "counts"])
def test_tiled_equals_whole_and_each_block_is_decoded_once(request, tmp_path, cells, kind, tile):
    stack = tj.stack(request.getfixturevalue(kind))
    report = changes(stack).save(tmp_path / "out.tif", tile=tile, profile={"blockxsize": 16, "blockysize": 16})
    same_bits(tj.open(tmp_path / "out.tif").compute(), changes(with_nan(cells))[np.newaxis])
    padded = 5 * 96 * 96 * 4  # whole blocks
    assert report.bytes_read <= padded


def test_dates_that_are_read_alike_are_taken_where_they_are_read(files, counts):
    whole = changes(tj.stack(files)).plan()
    (operand,) = whole.steps[0].operands
    assert operand.direct
    assert operand.planes == (0, 1, 2, 3, 4)
    assert "changes(stack of 5 dates)" in str(whole)
    assert "5 files, " in str(whole)
    turned_about = changes(tj.stack(files[::-1]))
    assert turned_about.plan().steps[0].operands[0].direct
    mixed = changes(tj.stack([files[0], counts[1], *files[2:]])).plan()
    assert mixed.steps[0].operands[0].direct  # both are read as float32
    first = tj.open(files[0])
    twice_one = changes(tj.stack([first, files[1], first])).plan()
    assert not twice_one.steps[0].operands[0].direct
    assert twice_one.worker_bytes > changes(tj.stack(files[:3])).plan().worker_bytes


def test_the_same_file_twice_and_bands_in_any_order(tmp_path, cells):
    with rasterio.open(files_of(tmp_path, cells, "float32")[0]) as first:
        profile = {**first.profile, "count": 5, "nodata": None}
    with rasterio.open(tmp_path / "bands.tif", "w", **profile) as file:
        file.write(cells.astype(np.float32))
    bands, plain = tj.open(tmp_path / "bands.tif"), cells.astype(np.float32)
    same_bits(changes(bands).compute(tile=(32, 32)), changes(plain)[np.newaxis])
    assert "changes(stack of 5 bands)" in str(changes(bands).plan())
    for order in ([3, 1, 4], [2, 2, 5]):
        found = changes(tj.stack(bands.band(k) for k in order)).compute(tile=(32, 32))
        same_bits(found, changes(np.ascontiguousarray(plain[[k - 1 for k in order]]))[np.newaxis])


def test_stacks_of_results_and_kernels_of_stacks_in_a_chain(files, cells):
    made = tj.stack([twice(band) for band in tj.stack(files)])
    found = twice(changes(made)).compute(tile=(32, 32))
    same_bits(found, (2 * changes(2 * with_nan(cells)))[np.newaxis])


def test_integers_come_with_their_validity(files, counts, cells):
    found = clear(tj.stack(counts), tj.stack(files)).compute(tile=(32, 32))
    seen = with_nan(cells)
    good = ~np.isnan(seen) & (cells % 2 == 0)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found[0], np.where(good, cells, 0).sum(0) / good.sum(0), rtol=1e-6)
    with pytest.raises(PlanError, match=r"takes qa as int32, and .* holds float32"):
        clear(tj.stack(files), tj.stack(files)).plan()


def test_a_date_without_a_valid_cell_makes_a_tile_nodata_where_nodata_propagates(tmp_path, cells):
    empty = cells.copy()
    empty[3] = -3
    paths = files_of(tmp_path, empty, "float32")
    assert np.isnan(changes(tj.stack(paths)).compute(tile=(32, 32))).all()


def test_rasters_that_are_turned_around(tmp_path, cells):
    """Kernels see rows from north to south, however they are stored."""
    up = files_of(tmp_path, cells[:, ::-1], "float32", transform=rasterio.Affine(30, 0, 5e5, 0, 30, 5e6))
    same_bits(changes(tj.stack(up)).compute(tile=(32, 32))[:, ::-1], changes(with_nan(cells))[np.newaxis])


def test_masked_arrays_and_arrays_of_dates(cells):
    masked = np.ma.MaskedArray(cells[:2].astype(np.int16), cells[:2] < 5)
    found = clear(masked, cells[:2].astype(np.float32))
    assert isinstance(found, np.ma.MaskedArray)
    assert found.shape == SHAPE
    xarray = pytest.importorskip("xarray")
    labelled = xarray.DataArray(cells.astype(np.float32), dims=("time", "y", "x"), coords={"y": np.arange(SHAPE[0])})
    made = changes(labelled)
    assert made.dims == ("y", "x")
    assert "y" in made.coords
    same_bits(made.values, changes(cells.astype(np.float32)))


def test_worker_processes_and_going_on(files, cells, tmp_path):
    options = {"tile": (32, 32), "profile": {"blockxsize": 32, "blockysize": 32}}
    changes(tj.stack(files)).save(tmp_path / "out.tif", executor="processes", workers=2, **options)
    changes(tj.stack(files)).save(tmp_path / "again.tif", resume=True, **options)
    for name in ("out.tif", "again.tif"):
        same_bits(tj.open(tmp_path / name).compute(), changes(with_nan(cells))[np.newaxis])


def test_what_a_run_goes_on_with_has_the_same_dates_in_the_same_order(files):
    jobs = [plan_job(changes(tj.stack(given)), None, RunOptions()) for given in (files, files[:4], files[::-1], files)]
    first, *others, same = [dict(_pass_parts(job)) for job in jobs]
    assert first == same
    assert all(first != other for other in others)


def test_what_no_stack_is_made_of(files):
    with pytest.raises(ParameterError, match="stack of no rasters"):
        tj.stack([])
    with pytest.raises(GridMismatchError, match=r"raster 1 .* and stack: raster 2"):
        tj.stack([files[0], tj.from_array(np.zeros((3, 3)))])
    with pytest.raises(ParameterError, match="qa has 2, t has 5"):
        clear(tj.stack(files[:2]), tj.stack(files))
    with pytest.raises(ParameterError, match="takes one band as z"):
        twice(tj.stack(files))
    assert "and 2 more: 5 bands" in repr(tj.stack(files))
