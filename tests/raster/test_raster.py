"""Tiled equals whole, bit for bit; nodata, windows, files."""

import asyncio
import dataclasses
import inspect
import math
import threading
from dataclasses import replace
from fractions import Fraction

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
    kind_of,
    place,
    plus_one,
    same_bits,
)
from tilejit.errors import GridMismatchError, KernelError, ParameterError, PlanError, SinkError
from tilejit.grid import Grid, Metric
from tilejit.raster.options import RunOptions
from tilejit.window import Window

rasterio = pytest.importorskip("rasterio")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]

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
    """Workers and a tile shape, which may be larger than the raster; 100 tiles at most."""
    tile = tuple(draw(st.sampled_from((1, 2, 3, 7, 16, 33, 100))) for _ in shape)
    while math.prod(math.ceil(size / side) for size, side in zip(shape, tile, strict=True)) > 100:
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


@settings(SLOW, max_examples=25)
@given(st.data())
def test_files_hold_what_is_read(tmp_path_factory, data):
    """Several outputs in one pass, and each alone, in tiles of 16: the same pixels."""
    folder = tmp_path_factory.mktemp("files")
    dtype = data.draw(st.sampled_from(("uint8", "int16", "float32")))
    source, cells = data.draw(rasters((dtype,)))
    grid = replace(source.grid, crs=rasterio.crs.CRS.from_epsg(4326).to_wkt())
    with rasterio.open(
        folder / "in.tif", "w", driver="GTiff", height=grid.height, width=grid.width, count=1, dtype=dtype,
        transform=rasterio.Affine(*grid.transform), crs="EPSG:4326", nodata=source.bands[0].info.nodata, tiled=True,
        blockxsize=16, blockysize=32,
    ) as dataset:  # fmt: skip
        dataset.write(cells.array, 1)
    raster = tj.open(folder / "in.tif")
    edge = data.draw(st.sampled_from(EDGES))
    made = {"ground": GROUND[edge](raster), "chain": MEAN["nearest"](FIVE[edge](raster)), "kinds": kind_of(raster)}
    ground = by_numpy(GROUND[edge], [cells], raster.grid)
    chain = by_numpy(MEAN["nearest"], by_numpy(FIVE[edge], [cells], raster.grid), raster.grid)
    (kind, value) = by_numpy(kind_of, [cells], raster.grid)
    wanted = {"ground": ground, "chain": chain, "kinds": [Cells(kind.as_float(), kind.valid), value]}
    tile = tuple(16 * data.draw(st.integers(1, 5)) for _ in range(2))
    options = {"profile": {"blockxsize": 16, "blockysize": 16}, "workers": data.draw(st.integers(1, 4)), "tile": tile}
    report = soon(tj.save, {folder / f"{name}.tif": made[name] for name in made}, **options)
    assert report.tiles == math.ceil(grid.height / tile[0]) * math.ceil(grid.width / tile[1])
    for name, raster in made.items():
        raster.save(folder / "alone.tif", **options, overwrite=True)
        with rasterio.open(folder / f"{name}.tif") as fused, rasterio.open(folder / "alone.tif") as alone:
            stack = np.stack([band.array for band in wanted[name]])
            assert same_bits(fused.read(), stack)
            assert same_bits(alone.read(), stack)
            assert fused.descriptions == tuple(band.label for band in raster.bands)


def brute_force(array, nodata, reach):
    """Valid where the cell and all its neighbours within reach lie inside and hold data."""
    valid = np.zeros(array.shape, bool)
    for row, col in np.ndindex(array.shape):
        around = [
            (row + dy, col + dx)
            for dy in range(-reach, reach + 1)
            for dx in range(-reach, reach + 1)
            if reach == 0 or abs(dy) + abs(dx) <= 1
        ]
        valid[row, col] = all(
            0 <= r < array.shape[0]
            and 0 <= c < array.shape[1]
            and array[r, c] != nodata
            and not np.isnan(np.float64(array[r, c]))
            for r, c in around
        )
    return valid


@settings(SLOW, max_examples=30)
@given(st.data())
def test_nodata_spreads_as_a_brute_force_search_says(data):
    raster, cells = data.draw(rasters(most=25))
    nodata = raster.bands[0].info.nodata
    nodata = math.nan if nodata is None else nodata
    for kernel, reach in ((plus_one, 0), (FIVE["nodata"], 1)):
        got = soon(kernel(raster).read, **data.draw(tilings(raster.grid.shape)))[0]
        np.testing.assert_array_equal(~np.isnan(got), brute_force(cells.array, nodata, reach))


def whole(path):
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.nodata


@tj.local
def as_byte(z) -> np.uint8:
    return z


@tj.focal
def spread(z) -> np.int16:
    return z[0, 0] + z[0, 1]


def test_floats_get_the_nodata_value_asked_for(tmp_path):
    array = np.float32([[1, np.nan, -9999], [-10000, 5, 6]])
    raster = plus_one(tj.from_array(array))
    with pytest.warns(tj.NodataWarning, match=r"out\.tif: 1 valid pixel got .* nodata value \(-9999.0\)"):
        report = raster.save(tmp_path / "out.tif", nodata=-9999)
    assert report.collisions == 1
    cells, nodata = whole(tmp_path / "out.tif")
    assert nodata == -9999
    np.testing.assert_array_equal(cells[0], np.float32([[2, -9999, -9998], [-9999, 6, 7]]))


@pytest.mark.parametrize(("asked", "chosen", "collisions"), [(None, 255, 1), (0, 0, 2), (9, 9, 0)])
def test_integers_get_the_nodata_value_asked_for(tmp_path, asked, chosen, collisions):
    raster = as_byte(tj.from_array(np.float32([[0, 1, np.nan], [255, -3, 7]])))
    told = f"{collisions} valid pixel" if collisions else "1 result beyond the type"
    with pytest.warns(tj.NodataWarning, match=told):
        report = raster.save(tmp_path / "out.tif", nodata=asked)
    assert (report.collisions, dict(report.counts.saturated)) == (collisions, {"as_byte": 1})
    cells, nodata = whole(tmp_path / "out.tif")
    assert (cells.dtype, nodata) == (np.uint8, chosen)
    np.testing.assert_array_equal(cells[0], np.uint8([[0, 1, chosen], [255, 0, 7]]))


ODD = np.float64([[np.nan, 1.5, -0.5, -1.5, 254.5, 255.4], [255.5, -0.49, 1e10, -1e10, np.inf, 127.5]])


def converted(cells, dtype):
    """By exact arithmetic: rounded, halves away from 0, and held within the type; and which are beyond it."""
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    rounded = [
        math.copysign(math.floor(abs(Fraction(c)) + Fraction(1, 2)) if math.isfinite(c) else c, c) for c in cells
    ]
    return [int(min(max(r, low), high)) for r in rounded], sum(not low <= r <= high for r in rounded)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "int32", "int64"])
@pytest.mark.parametrize("kernel", [plus_one, None])
def test_outputs_of_another_dtype(tmp_path, dtype, kernel):
    raster = tj.from_array(ODD)
    raster, cells = (raster, ODD) if kernel is None else (kernel(raster), ODD + 1)
    valid = ~np.isnan(cells)
    wanted, beyond = converted(cells[valid].tolist(), dtype)
    with pytest.warns(tj.NodataWarning, match=rf"out\.tif: {beyond} values? beyond its dtype"):
        report = raster.save(tmp_path / "out.tif", dtype=dtype, nodata=100)
    got, tag = whole(tmp_path / "out.tif")
    assert (got.dtype, tag, sum(report.counts.clamped.values())) == (np.dtype(dtype), 100, beyond)
    assert (got[0][valid].tolist(), got[0][~valid].tolist()) == (wanted, [100])
    with pytest.warns(tj.NodataWarning):
        assert same_bits(raster.read(dtype=dtype, nodata=100, tile=(1, 4))[0], got[0])


def test_a_dtype_says_what_else_it_changes(tmp_path):
    whole_numbers = tj.from_array(np.int16([[1, -9999], [300, 4]]), nodata=-9999)
    with pytest.warns(tj.NodataWarning, match="the array: 1 value beyond its dtype became its nearest"):
        assert whole_numbers.compute(dtype="uint8").tolist() == [[[1, 255], [255, 4]]]
    assert whole_numbers.plan("o.tif", dtype=np.int32).writes[0].nodata == -9999
    floats = whole_numbers.compute(dtype="float64")
    np.testing.assert_array_equal(floats, [[[1, np.nan], [300, 4]]])
    with pytest.warns(tj.NodataWarning, match="1 value beyond its dtype"):
        assert np.isinf(tj.from_array(np.float64([[1e300, np.nan]])).compute(dtype="float32")[0, 0, 0])
    for odd in ("float16", "complex64", "str", "words", "longdouble"):
        with pytest.raises(ParameterError, match=r"dtype=.* is none that a raster holds"):
            whole_numbers.plan(dtype=odd)


@pytest.mark.parametrize("name", ["out.tif", "out.vrt"])
def test_outputs_without_a_nodata_value(tmp_path, name):
    sure = as_byte(tj.from_array(np.float32([[0, 1, 255], [255, 3, 7]])))
    sure.save(tmp_path / name, nodata="none")
    cells, nodata = whole(tmp_path / name)
    assert nodata is None
    np.testing.assert_array_equal(cells[0], [[0, 1, 255], [255, 3, 7]])
    holes = as_byte(tj.from_array(np.float32([[0, np.nan, 255], [np.nan, 3, 7]])))
    with pytest.warns(tj.NodataWarning, match="2 cells without data, and no nodata value to tell by"):
        report = holes.save(tmp_path / name, nodata="none", overwrite=True)
    assert report.collisions == 0
    cells, nodata = whole(tmp_path / name)
    assert nodata is None
    np.testing.assert_array_equal(cells[0], [[0, 255, 255], [255, 3, 7]])
    assert "no nodata value, 255 where there are no data" in str(holes.plan(tmp_path / "o.tif", nodata="none"))


@pytest.mark.parametrize("step", [-30.0, 30.0])
def test_cells_without_data_are_told_apart_from_equal_ones_whichever_way_rows_run(tmp_path, step):
    """Results are written straight into an output or, where rows are turned around, copied there."""
    grid = tj.Grid(2, 3, (30.0, 0.0, 0.0, 0.0, step, 0.0), "EPSG:32633")
    holes = as_byte(tj.from_array(np.float32([[0, np.nan, 255], [np.nan, 3, 255]]), grid=grid))
    with pytest.warns(tj.NodataWarning, match="2 cells without data, and no nodata value to tell by"):
        report = holes.save(tmp_path / "o.tif", nodata="none")
    assert report.collisions == 0
    np.testing.assert_array_equal(whole(tmp_path / "o.tif")[0][0], [[0, 255, 255], [255, 3, 255]])


def test_floats_without_a_nodata_value_keep_nan(tmp_path):
    plus_one(tj.from_array(np.float32([[0, np.nan]]))).save(tmp_path / "o.tif", nodata="none")
    cells, nodata = whole(tmp_path / "o.tif")
    assert nodata is None
    np.testing.assert_array_equal(cells[0], [[1, np.nan]])
    with pytest.raises(ParameterError, match=r"o\.zarr: a Zarr array has a fill value"):
        plus_one(tj.from_array(np.float32([[0, np.nan]]))).plan("o.zarr", nodata="none")
    with pytest.raises(ParameterError, match="nodata='some' is no number"):
        plus_one(tj.from_array(np.float32([[0, np.nan]]))).plan(nodata="some")


@tj.chain
def smoothed(z):
    return FIVE["nodata"](plus_one(z))


@pytest.mark.parametrize("edge", EDGES)
def test_an_edge_at_the_call(edge):
    array = np.float32(np.random.default_rng(1).random((9, 11)))
    raster = tj.from_array(array)
    wanted = FIVE[edge](array)
    for call in (FIVE["nodata"], FIVE["wrap"], FIVE["nearest"]):
        assert same_bits(call(array, edge=edge), wanted)
        assert same_bits(call(array, edge=edge, backend="python"), wanted)
        assert same_bits(call(raster, edge=edge).read(tile=(4, 5))[0], wanted)
    assert same_bits(FIVE[edge](array, edge=None), wanted)
    assert FIVE["nodata"].with_edge(edge) == FIVE["nodata"].with_edge(edge)
    if edge == "wrap":
        with pytest.raises(PlanError, match="wraps around"):
            smoothed(raster, edge=edge).plan()
        return
    for outer in (raster, plus_one(raster)):
        values = outer.read()[0]
        assert same_bits(smoothed(outer, edge=edge).read(tile=(4, 5))[0], FIVE[edge](plus_one(values)))
        assert same_bits(smoothed(values, edge=edge), FIVE[edge](plus_one(values)))
    before = FIVE["nearest"](raster)
    assert same_bits(smoothed(before, edge=edge).read()[0], FIVE[edge](plus_one(FIVE["nearest"](array))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: plus_one(z, edge="wrap"), "plus_one reads one pixel and has no edge"),
        (lambda z: only_local(z, edge="wrap"), "only_local applies no focal kernel and has no edge"),
        (lambda z: FIVE["wrap"](z, edge="mirror"), "five: edge='mirror'; it is one of nodata, nearest, reflect, wrap"),
        (lambda z: FIVE["wrap"](z, edge=True), "five: edge=True; it is one of"),
        (lambda z: FIVE["wrap"](z, edge=["wrap"]), r"five: edge=\['wrap'\]; it is one of"),
    ],
)
def test_edges_that_there_are_not(call, message):
    with pytest.raises(KernelError, match=message):
        call(tj.from_array(np.zeros((3, 3), np.float32)))


@tj.chain
def only_local(z):
    return plus_one(z)


def test_a_nodata_value_that_does_not_fit_is_refused(tmp_path):
    raster = as_byte(tj.from_array(np.float32([[1]])))
    for value, message in ((-9999, r"does not fit uint8 \(0 to 255\)"), (0.5, "no integer"), (math.nan, "no integer")):
        with pytest.raises(ParameterError, match=message):
            raster.save(tmp_path / "out.tif", nodata=value)
    with pytest.raises(ParameterError, match="does not fit float32"):
        plus_one(tj.from_array(np.float32([[1]]))).save(tmp_path / "out.tif", nodata=1e300)
    assert list(tmp_path.iterdir()) == []


def test_the_nodata_of_an_intermediate_integer_does_not_reach_the_output():
    inner = spread(tj.from_array(np.float32([[1, 2, np.nan, 4, 5]])))
    np.testing.assert_array_equal(plus_one(inner).read()[0], np.float32([[4, np.nan, np.nan, 10, np.nan]]))
    assert inner.read()[0].tolist() == [[3, -32768, -32768, 9, -32768]]


@pytest.mark.parametrize(("asked", "chosen"), [(None, math.nan), (-9999, -9999), (7, 7)])
def test_bands_of_different_dtypes_go_into_one_file(tmp_path, asked, chosen):
    kind_of(tj.from_array(np.float32([[1, 20, np.nan]]))).save(tmp_path / "out.tif", nodata=asked)
    cells, nodata = whole(tmp_path / "out.tif")
    np.testing.assert_equal(nodata, chosen)
    np.testing.assert_array_equal(cells, np.float32([[[0, 1, chosen]], [[1, 20, chosen]]]))


@pytest.fixture
def two_bands(tmp_path):
    """Bytes with the nodata value 3, descriptions and units."""
    path = tmp_path / "in.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=50, count=2, dtype="uint8", nodata=3, crs="EPSG:32630",
        transform=rasterio.Affine(30, 0, 5e5, 0, -30, 4e6),
    ) as dataset:  # fmt: skip
        dataset.write(np.random.default_rng(1).integers(0, 9, (2, 40, 50), np.uint8))
        dataset.descriptions, dataset.units = ("red", None), ("m", "degree")
    return path


def test_a_copy_keeps_everything(tmp_path, two_bands):
    tj.open(two_bands).save(tmp_path / "copy.tif")
    with rasterio.open(two_bands) as a, rasterio.open(tmp_path / "copy.tif") as b:
        assert (a.nodata, a.dtypes, a.crs, a.transform) == (b.nodata, b.dtypes, b.crs, b.transform)
        assert (a.descriptions, a.units) == (b.descriptions, b.units)
        np.testing.assert_array_equal(a.read(), b.read())
    assert tj.open(two_bands).read().dtype == np.uint8
    tj.open(two_bands).band(2).save(tmp_path / "second.tif")
    np.testing.assert_array_equal(whole(tmp_path / "second.tif")[0][0], whole(two_bands)[0][1])


def test_a_copy_with_another_nodata_value_moves_the_cells(tmp_path, two_bands):
    before = whole(two_bands)[0]
    with pytest.warns(tj.NodataWarning, match=f"{np.count_nonzero(before == 5)} valid pixels"):
        tj.open(two_bands).save(tmp_path / "five.tif", nodata=5)
    tj.open(two_bands).save(tmp_path / "big.tif", nodata=200)
    for name, value in (("five", 5), ("big", 200)):
        cells, nodata = whole(tmp_path / f"{name}.tif")
        assert nodata == value
        np.testing.assert_array_equal(cells, np.where(before == 3, value, before))


def test_a_copy_of_integers_without_nodata_has_none(tmp_path):
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    tj.from_array(array).save(tmp_path / "a.tif")
    assert whole(tmp_path / "a.tif")[1] is None
    with pytest.warns(tj.NodataWarning, match="1 valid pixel "):
        tj.from_array(array).save(tmp_path / "b.tif", nodata=4)
    # A value that no byte equals marks nothing.
    tj.from_array(array.astype(np.uint8), nodata=-9999).save(tmp_path / "c.tif")
    tj.from_array(array.astype(np.uint8), nodata=math.nan).save(tmp_path / "d.tif")
    assert whole(tmp_path / "c.tif")[1] is whole(tmp_path / "d.tif")[1] is None


def test_a_copied_mask_becomes_nodata(tmp_path):
    cells = np.arange(2000, dtype=np.uint8).reshape(1, 40, 50)
    mask = np.where(cells[0] % 7 == 0, 0, 255).astype(np.uint8)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 1, "dtype": "uint8", "crs": "EPSG:32630"}
        with rasterio.open(
            tmp_path / "in.tif", "w", **profile, transform=rasterio.Affine(1, 0, 5, 0, -1, 5)
        ) as dataset:
            dataset.write(cells)
            dataset.write_mask(mask)
    hits = np.count_nonzero((cells == 255) & (mask != 0))
    with pytest.warns(tj.NodataWarning, match=f"{hits} valid pixels"):
        tj.open(tmp_path / "in.tif").save(tmp_path / "out.tif")
    got, nodata = whole(tmp_path / "out.tif")
    assert nodata == 255
    np.testing.assert_array_equal(got[0], np.where(mask == 0, 255, cells[0]))


def test_floats_in_memory_have_nan_and_files_keep_their_value(tmp_path):
    raster = tj.from_array(np.float32([[1, -9999, np.nan]]), nodata=-9999)
    np.testing.assert_array_equal(raster.read()[0], np.float32([[1, np.nan, np.nan]]))
    raster.save(tmp_path / "out.tif")
    cells, nodata = whole(tmp_path / "out.tif")
    assert nodata == -9999
    np.testing.assert_array_equal(cells[0], np.float32([[1, -9999, -9999]]))
    np.testing.assert_array_equal(raster.read(nodata=0)[0], np.float32([[1, 0, 0]]))


@pytest.mark.parametrize("dtype", [">i2", ">u4", ">f4", ">f8", "bool", "float16", "int8", "uint32", "int64", "uint64"])
def test_arrays_of_any_real_dtype(tmp_path, dtype):
    array = np.array([[0, 1], [1, 0]], dtype)
    raster = tj.from_array(array)
    np.testing.assert_array_equal(plus_one(raster).read()[0], array.astype(np.float64) + 1)
    np.testing.assert_array_equal(raster.read()[0], array)
    raster.save(tmp_path / "out.tif")
    np.testing.assert_array_equal(whole(tmp_path / "out.tif")[0][0], array)


def test_one_raster_is_used_twice():
    raster = tj.from_array(np.float32([[1, 2], [3, np.nan]]))
    double = halves(raster, raster)
    assert same_bits(double.read(), np.stack([c.array for c in by_numpy(halves, [Cells.of(raster.read()[0], None)] * 2,
                                                                        raster.grid)]))  # fmt: skip
    assert tj.Raster(raster.grid, raster.bands * 3).read().shape == (3, 2, 2)


def test_grids_that_differ_are_both_shown():
    one, other = (tj.from_array(np.ones((2, n), np.float32), grid=grid_of(2, n)) for n in (3, 4))
    with pytest.raises(GridMismatchError, match=r"(?s)halves: a .*halves: b .*2 rows x 3 cols.*2 rows x 4 cols"):
        halves(one, other)
    with pytest.raises(GridMismatchError, match=r"(?s)a\.tif .*b\.tif .*size: 2 rows x 3 cols and 2 rows x 4 cols"):
        tj.save({"a.tif": plus_one(one), "b.tif": plus_one(other)})


def test_what_makes_no_sense_is_refused(tmp_path):
    raster = tj.from_array(np.ones((3, 4), np.float32))
    with pytest.raises(ParameterError, match="has one band, 1, not 0"):
        raster.band(0)
    with pytest.raises(ParameterError, match=r"b is ndarray, and another input is a Raster"):
        halves(raster, np.ones((3, 4)))
    for window in (Window(0, 0, 4, 4), Window(-1, 0, 2, 2), Window(0, 0, 0, 2)):
        with pytest.raises(ParameterError, match="is not inside 3 rows x 4 columns"):
            raster.read(window)
    with pytest.raises(PlanError, match="nothing to save"):
        tj.save({})
    for tile in ("512", 5, (3,), (2.5, 3), (0, 1), (-1, 2), (1, 2, 3)):
        with pytest.raises(ParameterError, match="it is rows and columns, 1 or more each"):
            raster.read(tile=tile)
    with pytest.raises(ParameterError, match="creation options by name"):
        raster.save(tmp_path / "out.tif", profile="deflate")
    with pytest.raises(SinkError, match=r"ends in \.tif"):
        raster.save(tmp_path / "out.png")
    for memory in ([], 0, -1, math.nan, math.inf, True, "2 elephants"):
        with pytest.raises(ParameterError, match="no size of memory"):
            raster.read(memory=memory)


def test_a_tile_larger_than_the_raster_takes_no_more_than_the_raster():
    raster = FIVE["nodata"](tj.from_array(np.ones((3, 4), np.float32)))
    plan = raster.plan(tile=(10**9, 10**9))
    assert plan.buffer_bytes < 10_000
    assert raster.read(tile=(10**9, 10**9)).shape == (1, 3, 4)


def test_rasters_print_what_they_are(two_bands):
    assert repr(tj.open(two_bands)).startswith(f"<Raster {two_bands}: 2 bands, 40 rows x 50 cols, cell 30 x -30")
    assert repr(plus_one(tj.open(two_bands).band(1))).startswith("<Raster plus_one: 1 band, ")


METHODS = ["save", "asave", "plan", "predict", "read", "compute", "acompute", "tiles"]


@pytest.mark.parametrize("function", [tj.save, tj.asave, *(getattr(tj.Raster, name) for name in METHODS)])
def test_editors_show_the_options_of_a_run(function):
    shown = {n: p.default for n, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
    known = {field.name: field.default for field in dataclasses.fields(RunOptions)}
    assert shown.items() <= known.items()
    assert {"nodata", "dtype", "backend", "executor", "workers", "memory", "tile", "trace"} <= set(shown)


@pytest.mark.parametrize("name", ["save", "plan", "predict", "read", "compute", "tiles", "asave", "acompute"])
def test_options_arrive_as_they_were_given(name, monkeypatch):
    """They are handed down in order, so that an exchange of two would be seen by no one."""
    method, seen = getattr(tj.Raster, name), []

    def stop(*arguments):
        seen.extend(argument for argument in arguments if isinstance(argument, RunOptions))
        raise InterruptedError

    for function in ("raster.plan_job", "raster.read_window", "raster.save_outputs", "asynchronous.save_in_thread",
                     "asynchronous.read_window", "asynchronous.tiles_job"):  # fmt: skip
        monkeypatch.setattr(f"tilejit.raster.{function}", stop)
    known = [p.name for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY]
    given = {option: object() for option in known} | {"workers": 7, "tile": (8, 9)}
    path = ["out.tif"] * (name in {"save", "asave"})
    with pytest.raises(InterruptedError):
        finished(method(tj.from_array(np.ones((4, 4))), *path, **given))
    assert {option: getattr(seen[0], option) for option in known} == given


def finished(awaited):
    async def first(tiles):
        return [tile async for tile in tiles]

    asyncio.run(first(awaited) if inspect.isasyncgen(awaited) else awaited)
